"""The Makefile against the tree."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_named_tests_exist() -> None:
    """Every test file that a target names is there: pytest with two workers says only that it ran no tests."""
    named = re.findall(r"tests/[\w/]+\.py", (ROOT / "Makefile").read_text("utf-8"))

    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
