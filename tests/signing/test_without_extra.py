"""What is left without the extra ``jwt``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
sys.modules[{missing!r}] = None
from mux_async import Mux
from mux_async.errors import MissingExtraError
from mux_async.playback import Playback
print(Playback("id").hls_url())
try:
    Mux(token_id="a", token_secret="b").signer
except MissingExtraError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", ["jwt", "cryptography"])
def test_without(missing: str) -> None:
    """Addresses need no extra; signing says which one it needs."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(missing=missing)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert done.stdout.splitlines() == [
        "https://stream.mux.com/id.m3u8",
        "signing needs PyJWT and cryptography: pip install 'mux-async[jwt]'",
    ], done.stderr
