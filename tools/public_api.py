"""List the public API: every name in the ``__all__`` of every public module, with its signature.

``python -m tools.public_api`` (or ``make api``) writes ``docs/api.txt``; a test fails when it is not up to date. So every change of the
public API is a change of that file. Generated modules are listed by name only: their sources are in the repository and show a change
themselves.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import Final, TypeAlias

import attrs

from tools.sources import ROOT, modules

LISTING: Final = ROOT / "docs" / "api.txt"
GENERATED: Final = ("mux_async.models", "mux_async.params", "mux_async.resources", "mux_async.webhooks.events")
SPECIAL_METHODS: Final = frozenset(
    f"__{name}__" for name in ("init", "call", "await", "iter", "aiter", "anext", "len", "getitem", "aenter", "enter")
)
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen
class Found:
    """The definition of a name."""

    module: str
    node: ast.stmt


def is_public(module: str) -> bool:
    """Whether no part of a module's name starts with an underscore."""
    return not any(part.startswith("_") for part in module.split("."))


@cache
def tree(module: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(modules()[module].read_text("utf-8"))


@cache
def exported(module: str) -> tuple[str, ...] | None:
    """Return the names in ``__all__``; ``None`` if the module has none."""
    for node in tree(module).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == "__all__" and isinstance(node, ast.Assign | ast.AnnAssign):
            return tuple(ast.literal_eval(node.value or ast.List([])))
    return None


def defines_names(module: str) -> bool:
    """Whether a module defines or imports any public name."""
    return any(not name.startswith("_") for name in definitions(module))


def statements(parent: ast.Module | ast.If) -> Iterator[ast.stmt]:
    """Yield the statements of a module, with those of its ``if`` blocks."""
    for node in parent.body:
        if isinstance(node, ast.If):
            yield from statements(node)
        else:
            yield node


def names_of(node: ast.stmt) -> tuple[str, ...]:
    """Return the names that a statement defines."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return (node.name,)
        case ast.Assign():
            return tuple(target.id for target in node.targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            return (name,)
        case ast.ImportFrom() if node.module != "__future__":
            return tuple(alias.asname or alias.name for alias in node.names)
        case _:
            return ()


@cache
def definitions(module: str) -> dict[str, list[ast.stmt]]:
    """Return the statements of a module by the names that they define."""
    found: dict[str, list[ast.stmt]] = {}
    for node in statements(tree(module)):
        for name in names_of(node):
            found.setdefault(name, []).append(node)
    return found


def find(module: str, name: str) -> list[Found]:
    """Return the definition of *name*, through re-exports; several for overloads, and none for a name from another library."""
    found: list[Found] = []
    for node in definitions(module).get(name, ()):
        if isinstance(node, ast.ImportFrom):
            original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
            if node.module in modules():
                return find(node.module, original)
        else:
            found.append(Found(module, node))
    return found


def home(found: Found, name: str) -> str | None:
    """Return the public module that lists a definition as its own."""
    return found.module if is_public(found.module) and name in (exported(found.module) or ()) else None


def signature(node: Function, indent: str) -> Iterator[str]:
    """Yield the lines of a function, without its body."""
    for decorator in node.decorator_list:
        if ast.unparse(decorator) in {"overload", "property", "cached_property", "classmethod", "staticmethod"}:
            yield f"{indent}@{ast.unparse(decorator)}"
    keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    yield f"{indent}{keyword} {node.name}({ast.unparse(node.args)}){returns}"


def members(found: Found, hidden: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the public members of a class, with those of its private base classes."""
    assert isinstance(found.node, ast.ClassDef)
    own: set[str] = set()
    for node in statements(ast.Module([*found.node.body], [])):
        for name in names_of(node):
            if name in hidden or (name.startswith("_") and name not in SPECIAL_METHODS):
                continue
            own.add(name)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if any(isinstance(each, ast.Attribute) and each.attr == "setter" for each in node.decorator_list):
                    continue
                yield from signature(node, "    ")
            elif not isinstance(node, ast.ImportFrom):
                yield f"    {ast.unparse(node)}"
    for base in found.node.bases:
        base_name = ast.unparse(base).partition("[")[0]
        for each in find(found.module, base_name):
            if isinstance(each.node, ast.ClassDef) and home(each, base_name) is None:
                yield from members(each, hidden | own)


def describe(module: str, name: str) -> Iterator[str]:
    """Yield the lines of one exported name."""
    if f"{module}.{name}" in modules():
        yield f"module {name}"
        return
    found = find(module, name)
    if not found:
        yield f"{name} (of another library)"
        return
    elsewhere = home(found[0], name)
    if elsewhere is not None and elsewhere != module:
        yield f"{name} = {elsewhere}.{name}"
        return
    for each in found:
        match each.node:
            case ast.ClassDef():
                bases = ", ".join(ast.unparse(base) for base in [*each.node.bases, *each.node.keywords])
                yield f"class {name}({bases})" if bases else f"class {name}"
                yield from members(each)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from signature(each.node, "")
            case _:
                yield ast.unparse(each.node)


def listing() -> str:
    """Return the whole listing."""
    lines = ["The public API. Written by `make api`; a test compares it with the sources.", ""]
    for module in sorted(modules()):
        names = exported(module) if is_public(module) else None
        if not names:
            continue
        lines += ["", module, "=" * len(module), ""]
        for name in sorted(names):
            lines += [name] if module.startswith(GENERATED) else describe(module, name)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    LISTING.write_text(listing(), "utf-8")
