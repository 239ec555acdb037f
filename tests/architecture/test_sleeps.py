"""Tests do not wait for real time, read off their sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LONGEST = 0.1
SLEEPS = {"anyio.sleep", "asyncio.sleep", "time.sleep", "trio.sleep"}


def long_sleeps(source: str) -> Iterator[str]:
    """Yield the sleeps of more than `LONGEST` in code that is neither in virtual time nor a proof."""
    tree = ast.parse(source)
    has_virtual_loop = "VirtualTimeLoop" in source
    assigned = {
        target.id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def names_virtual_loop(function: ast.AST) -> bool:
        return has_virtual_loop and "VirtualTimeLoop" in ast.unparse(function)

    def visit(node: ast.AST, *, is_exempt: bool) -> Iterator[str]:
        match node:
            case ast.Call(func=ast.Attribute(attr="sleep"), args=[ast.Constant(value=float() | int() as duration), *_]):
                if duration > LONGEST and ast.unparse(node.func) in SLEEPS and not is_exempt:
                    yield f"{node.lineno}: {ast.unparse(node)}"
            case _:
                pass
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            is_exempt = is_exempt or is_marked(decorators) or names_virtual_loop(node)
        elif isinstance(node, ast.ClassDef | ast.Module):
            marks = [
                ast.unparse(each.value)
                for each in node.body
                if isinstance(each, ast.Assign) and "pytestmark" in ast.unparse(each)
            ]
            marks += [assigned.get(mark, "") for mark in marks]
            marks += map(ast.unparse, getattr(node, "decorator_list", ()))
            is_exempt = is_exempt or is_marked(" ".join(marks))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, is_exempt=is_exempt)

    return visit(tree, is_exempt=False)


def is_marked(marks: str) -> bool:
    return "mark.proof" in marks or "virtual" in marks


def test_no_long_sleeps() -> None:
    """No test sleeps for more than 0.1 s of real time, unless it is marked as a proof."""
    paths = [path for path in sorted(TESTS.rglob("*.py")) if path != Path(__file__)]

    assert [f"{path.relative_to(TESTS)}:{found}" for path in paths for found in long_sleeps(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("async def test_a():\n    await anyio.sleep(0.2)", 1),
        ("async def test_a():\n    await anyio.sleep(0.1)", 0),
        ("def helper():\n    def inner():\n        time.sleep(1)", 1),
        ("@pytest.mark.proof\ndef test_a():\n    time.sleep(1)\ndef test_b():\n    time.sleep(1)", 1),
        ("pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]\nasync def test_a():\n    await anyio.sleep(9)", 0),
        (
            "fast = mark.virtual_time\nclass TestA:\n    pytestmark = fast\n    async def test_a(self):\n        await anyio.sleep(9)",
            0,
        ),
        ("@pytest.mark.virtual_time\nclass TestA:\n    async def test_a(self):\n        await anyio.sleep(9)", 0),
        ("def test_a():\n    async def main():\n        await asyncio.sleep(9)\n    run(main, VirtualTimeLoop)", 0),
    ],
)
def test_long_sleeps_are_found(source: str, count: int) -> None:
    """A long sleep is found in tests and helpers, and is allowed where the clock jumps or the test is marked."""
    assert len(list(long_sleeps(source))) == count
