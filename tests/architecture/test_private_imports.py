"""Tests import public names: the number of files that import private ones has a limit.

A module or a name of this repository's packages is private if it has a leading underscore. A test of a pure module by itself (arithmetic,
state machines, parsing) imports it, and so may a helper that tests share. Claims about behaviour are tested through public names, so that
a change of the code behind them leaves the tests as they are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PACKAGES = {"codegen", "mux_async", "mux_async_aiohttp", "mux_async_httpx", "tools"}
LIMIT = 50
"""The most files that may import private names. It is only ever lowered."""


def private_imports(source: str) -> Iterator[str]:
    """Yield the private names that *source* imports, by their full names, wherever it does so.

    Besides import statements these are attributes of an imported package, names in strings that are arguments of a call (``import_module``,
    ``monkeypatch.setattr``), and imports of programs in strings, which tests run in processes of their own.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0, names=names):
                found = [f"{module}.{alias.name}" for alias in names]
            case ast.Attribute(attr=attribute) if attribute.startswith("_"):
                found = [ast.unparse(node)]
            case ast.Call(args=arguments):
                found = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            case ast.Constant(value=str(text)) if "import " in text:
                yield from private_imports_of_program(text)
                continue
            case _:
                continue
        yield from filter(is_private, found)


def private_imports_of_program(text: str) -> Iterator[str]:
    try:
        ast.parse(text)
    except SyntaxError:  # prose
        return
    yield from private_imports(text)


def is_private(name: str) -> bool:
    package, *rest = name.split(".")
    return package in PACKAGES and any(part.startswith("_") and not part.startswith("__") for part in rest)


def test_few_files_import_private_names() -> None:
    """At most `LIMIT` files of the tests import private modules or names."""
    files = [
        str(path.relative_to(TESTS))
        for path in sorted(TESTS.rglob("*.py"))
        if path != Path(__file__) and any(private_imports(path.read_text("utf-8")))
    ]

    assert len(files) <= LIMIT, f"{len(files)} files import private names: {', '.join(files)}"


@pytest.mark.parametrize(
    "source",
    [
        "import mux_async._retry",
        "from mux_async import _retry",
        "from mux_async._retry import decide",
        "from mux_async.limits import _gate as gate",
        "from mux_async.limits._gate import Gate",
        "import tools\ntools._sources.modules()",
        "def test():\n    if True:\n        from codegen._facts import SCHEMAS",
        "import_module('mux_async._retry')",
        "monkeypatch.setattr('mux_async._retry.decide', None)",
        "run('import mux_async._retry')",
    ],
)
def test_private_imports_are_found(source: str) -> None:
    """Every way to get at a private name is found, also inside of functions and strings."""
    assert list(private_imports(source))


@pytest.mark.parametrize(
    "source",
    [
        "import mux_async",
        "from mux_async import __version__",
        "from mux_async.limits import Limits",
        "import _thread",
        "from tests._servers import free_port",
        "names = {'mux_async._types'}",
        "'An import of mux_async._types in a sentence.'",
    ],
)
def test_public_imports_are_not_found(source: str) -> None:
    """Public names, other packages, the helpers of the tests, and a private name that is only mentioned do not count."""
    assert list(private_imports(source)) == []
