"""Layers: imports go down, there are no import circles, and the picture in CONTRIBUTING.md is up to date."""

from __future__ import annotations

import re

import pytest

from tools.layers import LAYERS, PAGE, circle, import_graph, imported, layer_of, page_with_picture
from tools.sources import ROOT, modules

ORDER = list(LAYERS)


def test_every_module_has_a_layer() -> None:
    """Each module has a place in LAYERS of tools/layers.py."""
    assert [module for module in modules() if layer_of(module) is None] == []


def test_imports_go_down() -> None:
    """A module imports from its own layer and from those below, whenever the import runs."""
    height = {module: ORDER.index(layer) for module in modules() if (layer := layer_of(module)) is not None}
    graph = import_graph()

    assert [
        f"{module} imports {other}" for module, own in height.items() for other in graph[module] if height.get(other, own) > own
    ] == []


def test_no_import_circles() -> None:
    """No module imports another that imports it back, directly or through others, whenever the import runs."""
    assert circle(import_graph()) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set[str]()}, set[str]()),
        ({"a": {"b"}, "b": {"a"}}, {"a", "b"}),
        ({"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": set[str]()}, {"a", "b", "c"}),
    ],
)
def test_a_circle_is_found(graph: dict[str, set[str]], expected: set[str]) -> None:
    """A circle of two or three modules is found, and nothing else."""
    assert set(circle(graph)) == expected


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


def test_picture_is_up_to_date() -> None:
    """The picture in CONTRIBUTING.md is what `make layers` draws from the imports."""
    page = PAGE.read_text("utf-8")

    assert page_with_picture(page) == page, "run `make layers`"


def test_files_of_the_page_exist() -> None:
    """CONTRIBUTING.md names files and folders that exist, by their paths from the root of the repository."""
    text = PAGE.read_text("utf-8")
    named = {
        each
        for each in re.findall(r"`([\w./-]+)`", text)
        if "/" in each or re.fullmatch(r"[\w.-]+\.(py|md|txt|toml|lock|lua|json)", each)
    }
    named.update(re.findall(r"\bdocs/[\w./-]+\.md\b", text))

    assert len(named) > 40
    assert not sorted(each for each in named if not (ROOT / each).exists())


def test_make_targets_of_the_page_exist() -> None:
    """CONTRIBUTING.md names targets of the Makefile that exist."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert set(re.findall(r"`make ([a-z-]+)`", PAGE.read_text("utf-8"))) <= targets
