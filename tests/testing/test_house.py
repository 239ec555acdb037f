"""What the test configuration itself promises: nothing that was left open or never awaited passes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[2]

LEAKS = """
import asyncio, socket
import aiohttp, pytest

@pytest.mark.anyio
async def test_never_awaited():
    asyncio.sleep(0)

@pytest.mark.anyio
async def test_socket():
    socket.socket()

@pytest.mark.asyncio
async def test_session():
    aiohttp.ClientSession()

@pytest.mark.anyio
@pytest.mark.runtimes("trio")
async def test_generator():
    async def generate():
        try:
            yield 1
        finally:
            pass
    async for _ in generate():
        break

@pytest.mark.anyio
async def test_clean():
    await asyncio.sleep(0) if False else None
"""


def test_leaks_fail(tmp_path: Path) -> None:
    """A coroutine never awaited, a socket, a session and a generator left open: each fails its test, on either plugin."""
    file = tmp_path / "test_leaks.py"
    file.write_text(LEAKS)
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(file)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert "6 failed, 2 passed" in result.stdout, result.stdout
