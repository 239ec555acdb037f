"""The programs in `examples/`, run as a user would, against the emulator."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.server import serve

EXAMPLES = Path(__file__).parents[2] / "examples"


async def run(origin: str, *command: str) -> str:
    environment = {**os.environ, "MUX_BASE_URL": origin, "MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "test-secret"}
    with anyio.fail_after(50):
        done = await anyio.run_process([sys.executable, *command], env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.asyncio
async def test_upload_with_progress(tmp_path: Path) -> None:
    """The upload example ends with a playback URL."""
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(300_000))
    async with serve(Emulator(EmulatorSettings(time_to_ready=0.1))) as origin:
        printed = await run(origin, str(EXAMPLES / "upload_with_progress.py"), str(film))

    assert "100.0%" in printed
    assert printed.rstrip().endswith(".m3u8")


@pytest.mark.asyncio
async def test_trio_overview() -> None:
    """The trio example lists assets and live streams."""
    async with serve(Emulator(EmulatorSettings(time_to_ready=0.0))) as origin:
        limits = LimitSettings(enabled=False)
        async with Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=limits) as mux:
            asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])
            stream = await mux.video.live_streams.create()
        printed = await run(origin, str(EXAMPLES / "trio_overview.py"))

    assert f"asset {asset.id} ready" in printed
    assert f"live stream {stream.id} idle" in printed


def test_every_example_is_run() -> None:
    """No example is left out: programs of one file are run here, larger ones by tests of their own."""
    tests = "".join(path.read_text() for path in EXAMPLES.parent.glob("tests/examples/test_*.py"))

    assert all(f"{path.name}" in Path(__file__).read_text() for path in EXAMPLES.glob("*.py"))
    assert all(f'"-m", "examples.{path.parent.name}"' in tests for path in EXAMPLES.glob("*/__main__.py"))
