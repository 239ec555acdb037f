"""No import circles: the graph of all imports, with those under ``TYPE_CHECKING`` and inside functions, is read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

import pytest

from tools._sources import modules

KNOWN_CIRCLES: Mapping[frozenset[str], int] = {
    frozenset({"_models"}): 1,
    frozenset({"emulator"}): 1,
}
"""How many circles are still to be removed, by the top-level modules and packages that they go through. The numbers may only fall."""


def imported(source: str, known: Iterable[str]) -> Iterator[str]:
    """Yield the modules among *known* that *source* imports, at any depth.

    ``from package import name`` imports the module ``package.name`` if there is one, else ``package``. The packages above an imported
    module do not count: an ``__init__`` that re-exports its submodules is a circle only if a submodule imports the package itself.
    """
    names = set(known)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                if module in names:
                    yield module
                elif node.module in names:
                    yield node.module


def circles(graph: Mapping[str, Iterable[str]]) -> list[frozenset[str]]:
    """Return the sets of nodes that all reach each other (strongly connected components of two or more; Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[frozenset[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        path.append(node)
        for other in graph[node]:
            if other not in number:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in path:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            start = path.index(node)
            if len(path) - start > 1:
                found.append(frozenset(path[start:]))
            del path[start:]

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return found


def import_graph() -> dict[str, set[str]]:
    paths = modules()
    return {name: set(imported(path.read_text(), paths)) - {name} for name, path in paths.items()}


def test_no_import_circles() -> None:
    """No module imports another that imports it back, directly or through others, whenever the import runs."""
    found: dict[frozenset[str], list[list[str]]] = {}
    for circle in circles(import_graph()):
        found.setdefault(frozenset(name.split(".")[1] for name in circle), []).append(sorted(circle))

    assert not {tuple(rooms): names for rooms, names in found.items() if len(names) > KNOWN_CIRCLES.get(rooms, 0)}
    assert {rooms: len(names) for rooms, names in found.items()} == KNOWN_CIRCLES, "a circle is gone: lower its number"


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set[str]()}, []),
        ({"a": {"b"}, "b": {"a"}}, [{"a", "b"}]),
        ({"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": {"d"}}, [{"d", "e"}, {"a", "b", "c"}]),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], expected: list[set[str]]) -> None:
    """Circles of two, three and several modules are found, and nothing else."""
    assert circles(graph) == expected


def test_all_imports_count() -> None:
    """An import inside a function or under ``TYPE_CHECKING`` counts, and a name of a package is the package."""
    source = """
if TYPE_CHECKING:
    from package.one import Name
def function():
    from package import two, Other
    import elsewhere
"""

    assert list(imported(source, {"package", "package.one", "package.two"})) == ["package.one", "package.two", "package"]
