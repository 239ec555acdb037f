"""The table of `tests.mutants` against the tree and the decision file."""

from __future__ import annotations

import pytest

from tests.mutants import MODULES, TREE


@pytest.mark.parametrize("module", MODULES)
def test_what_is_broken(module: str) -> None:
    """Each module and each of its tests is a file, and the decision file has a row with its numbers."""
    assert [name for name in (module, *MODULES[module]) if not (TREE / name).is_file()] == []
    assert f"\n| `{module.removeprefix('mux_async/')}` | " in (TREE / "docs/decisions/mutants.md").read_text("utf-8")
