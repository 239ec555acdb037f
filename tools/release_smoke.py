"""What an installed wheel has to do. ``make release-check`` runs a copy in an empty environment: python release_smoke.py VERSION EXTRA."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path

import mux_async
from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings, serve

EXPECTED, EXTRA = sys.argv[1:]


async def use(transport: str) -> None:
    """Create and list an asset, over a real socket."""
    async with (
        serve(Emulator(EmulatorSettings(limits=None))) as origin,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin, transport=transport) as mux,
    ):
        created = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], playback_policies=["public"])
        listed = [asset.id async for asset in mux.video.assets.list()]
    assert listed == [created.id], listed


assert "site-packages" in mux_async.__file__, mux_async.__file__
assert version("mux-async") == EXPECTED
assert (Path(mux_async.__file__).parent / "py.typed").is_file()
ours = {(point.group, point.name): point for point in distribution("mux-async").entry_points}
assert len(ours) == 5, ours
assert importlib.util.find_spec("mux_async.testing.plugin"), "pytest's entry point"
for transport in ("aiohttp", "httpx") if EXTRA else ("aiohttp",):
    ours["mux_async.transports", transport].load()
    asyncio.run(use(transport))

command = Path(sys.executable).parent / "mux-async"
done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=False)
if EXTRA:
    ours["opentelemetry_instrumentor", "mux_async"].load()
    assert (done.returncode, done.stdout.split()) == (0, ["mux-async", EXPECTED]), done
else:
    assert done.returncode == 2, done
    assert "pip install 'mux-async[cli]'" in done.stderr, done
