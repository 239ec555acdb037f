"""Both type checkers, strict, agree with the consumer's program: every type in it, and every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "command",
    [
        ("mypy", "--strict", "--warn-unused-ignores", "--no-incremental"),
        ("pyright", "--warnings", "--pythonpath", sys.executable),
    ],
    ids=["mypy", "pyright"],
)
def test_consumer(command: tuple[str, ...]) -> None:
    """The program is accepted, and each line that must be refused is (its ignore is used)."""
    done = subprocess.run(
        [sys.executable, "-m", *command, str(HERE / "consumer.py")], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
