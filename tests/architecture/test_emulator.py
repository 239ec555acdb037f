"""Who may import whom around the emulator, read off the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "mux_async"
EMULATOR = CORE / "emulator"
FOLDERS = sorted(path.parent.name for path in EMULATOR.glob("*/__init__.py"))
RESERVED = {"_settings"}
"""Modules beside the folders that every folder may import. The others put the folders together, and no folder imports them."""


def modules(below: Path) -> list[Path]:
    return sorted(below.rglob("*.py"))


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Return the dotted name of everything that *path* imports, at import time or not, under ``TYPE_CHECKING`` or not."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found += (f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(found)


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def module_of(name: str) -> Path | None:
    """Return the file that an imported name of the emulator comes from."""
    parts = name.split(".")[1:]
    for count in (len(parts), len(parts) - 1):
        path = CORE.joinpath(*parts[:count])
        if path.with_suffix(".py").exists():
            return path.with_suffix(".py")
        if (path / "__init__.py").exists():
            return path / "__init__.py"
    return None


def private_imports(below: Path, is_foreign: Callable[[str], bool]) -> list[str]:
    """Return the private names that the modules below a folder import from elsewhere: ``path: name`` each."""
    return [
        f"{path.relative_to(CORE)}: {name}"
        for path in modules(below)
        for name in imported(path)
        if is_foreign(name) and is_private(name)
    ]


def is_of_the_sdk(name: str) -> bool:
    return name.startswith("mux_async.") and not is_of_the_emulator(name)


def is_of_the_emulator(name: str) -> bool:
    return name.startswith("mux_async.emulator")


def test_emulator_imports_public_names_of_the_sdk() -> None:
    """The emulator imports nothing of the SDK that another package could not import."""
    assert private_imports(EMULATOR, is_of_the_sdk) == []


def test_command_line_uses_public_names_of_the_emulator() -> None:
    """The command line needs nothing of the emulator that a user could not import."""
    assert private_imports(CORE / "cli", is_of_the_emulator) == []


def test_sdk_imports_no_emulator() -> None:
    """The SDK imports nothing of the emulator, not even inside a function; the pytest plugin does that in its fixtures."""
    plugin = CORE / "testing/plugin.py"
    paths = [path for path in modules(CORE) if path.relative_to(CORE).parts[0] not in {"cli", "emulator"} and path != plugin]
    found = [f"{path.relative_to(CORE)}: {name}" for path in paths for name in imported(path) if is_of_the_emulator(name)]
    tree = ast.parse(plugin.read_text())

    assert found == []
    assert [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and "emulator" in str(node.module)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_what_their_docstrings_allow(folder: str) -> None:
    """Each folder of the emulator imports exactly the folders that its docstring says it may import."""
    docstring = ast.get_docstring(ast.parse((EMULATOR / folder / "__init__.py").read_text())) or ""
    allowed = set(re.findall(r"``(\w+)``", docstring.rpartition("\n\n")[2])) & set(FOLDERS)
    used: set[str] = set()
    for path in modules(EMULATOR / folder):
        for name in imported(path):
            if name.startswith("mux_async.emulator."):
                used.add(name.split(".")[2])

    assert used - RESERVED - {folder} - ({"_emulator"} if folder == "frontends" else set()) == allowed


def test_no_import_circles() -> None:
    """No module of the emulator imports itself by way of others, counting imports under ``TYPE_CHECKING`` and inside functions."""
    graph = {
        path: {
            found for name in imported(path) if name.startswith("mux_async.emulator.") and (found := module_of(name)) != path
        }
        for path in modules(EMULATOR)
        if path != EMULATOR / "__init__.py"
    }

    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
