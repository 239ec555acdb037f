"""The bot of `examples/bot`, run as its users run it, between a Discord on loopback and the emulator."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings, WebhookFault, WebhookSettings
from mux_async.emulator.server import serve
from tests._servers import free_port
from tests.examples.discord import CHANNEL, TOKEN, Discord, discord

pytestmark = pytest.mark.proof

if find_spec("hikari") is None and not os.environ.get("CI"):
    pytest.skip("the bot's library is not installed: pip install hikari", allow_module_level=True)

ROOT = Path(__file__).parents[2]
PATIENCE = 25.0


@asynccontextmanager
async def running(fake: Discord, origin: str, port: int) -> AsyncGenerator[None]:
    """Run ``python -m examples.bot`` until the block is over; it ends by itself, and well, when it is interrupted."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "transports")]),
        "MUX_BASE_URL": origin,
        "MUX_TOKEN_ID": "test-token",
        "MUX_TOKEN_SECRET": "test-secret",
        "MUX_WEBHOOK_SECRET": "hook secret",
        "DISCORD_TOKEN": TOKEN,
        "DISCORD_CHANNEL_ID": CHANNEL,
        "DISCORD_API_URL": f"{fake.origin}/api/v10",
        "PORT": str(port),
    }
    process = await anyio.open_process(
        [sys.executable, "-m", "examples.bot"], env=environment, cwd=ROOT, stdout=None, stderr=None
    )
    is_over = False

    async def watch_over() -> None:
        status = await process.wait()
        assert is_over, "the bot ended by itself"
        assert status == 0

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_over)
            yield
            is_over = True
            process.send_signal(signal.SIGINT)
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


@pytest.mark.asyncio
async def test_films_and_broadcasts() -> None:
    """A film that becomes ready is announced, once although its webhooks come twice; a command starts a stream, whose key only the
    person who asked sees; the channel is told when it is on air, and where its recording is."""
    port = free_port()
    hook = WebhookSettings(f"http://127.0.0.1:{port}/webhooks/mux", "hook secret")
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.05, time_scale=60.0, webhooks=(hook,)))
    emulator.webhook_faults.add(WebhookFault(copies=2))
    async with serve(emulator) as origin, discord() as fake:
        mux = Mux(
            token_id="test-token",
            token_secret="test-secret",
            base_url=origin,
            limits=LimitSettings(enabled=False),
            account="bot",
        )
        async with mux, running(fake, origin, port):
            with anyio.fail_after(PATIENCE):
                await fake.until_offered()
                film = await mux.video.assets.create(
                    inputs=[{"url": "https://example.com/film.mp4"}], playback_policies=["public"]
                )
                await fake.until_posted("Ready to watch", (film.playback_ids or [])[0].id)

                await fake.command("live", title="Town hall")
                told = await fake.until_answered("rtmps://")
                (stream,) = [each async for each in mux.video.live_streams.list()]
                assert stream.stream_key in told
                emulator.live.connect(stream.id)
                on_air = await fake.until_posted("Town hall is live")
                emulator.live.disconnect(stream.id)
                recorded = await fake.until_posted("Recorded")
                (recording,) = [each async for each in mux.video.assets.list(live_stream_id=stream.id)]

    assert [command["name"] for command in fake.commands] == ["live"]
    assert (stream.playback_ids or [])[0].id in on_air
    assert (recording.playback_ids or [])[0].id in recorded
    assert len(fake.posted) == 3
    assert not [text for text in fake.posted if re.search(stream.stream_key, text)]


@pytest.mark.asyncio
async def test_what_is_missing_is_said() -> None:
    """Without its settings the bot says which are missing, and ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MUX_", "DISCORD_"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "transports")])
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process([sys.executable, "-m", "examples.bot"], env=environment, cwd=ROOT, check=False)

    assert done.returncode == 1
    assert b"set MUX_TOKEN_ID, MUX_TOKEN_SECRET, MUX_WEBHOOK_SECRET, DISCORD_TOKEN, DISCORD_CHANNEL_ID first" in done.stderr
