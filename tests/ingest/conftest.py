"""Fixtures of ingests with a journal."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.mp4").write_bytes(Random(number).randbytes(1000 + number * 300_000))
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "films.journal"
