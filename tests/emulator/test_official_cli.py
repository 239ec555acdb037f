"""Mux's own command line from npm, unchanged: ``mux webhooks listen`` works with the emulator as with Mux."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest
from aiohttp import web

from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings, Fault, Token, serve
from mux_async.webhooks import unwrap
from tests._servers import free_port
from tests.emulator import official

pytestmark = [pytest.mark.proof, pytest.mark.asyncio]

PATIENCE = 40


@attrs.define(eq=False)
class Receiver:
    """An endpoint that events are forwarded to."""

    url: str
    arrived: asyncio.Queue[tuple[bytes, dict[str, str]]] = attrs.field(factory=asyncio.Queue[tuple[bytes, dict[str, str]]])

    async def take(self, request: web.BaseRequest) -> web.Response:
        await self.arrived.put((await request.read(), dict(request.headers)))
        return web.Response()


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    port = free_port()
    receiver = Receiver(f"http://127.0.0.1:{port}/hook")
    runner = web.ServerRunner(web.Server(receiver.take))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def mux(home: Path, origin: str, *arguments: str) -> AsyncGenerator[Process]:
    """Run the command line with credentials of the emulator; interrupt it at the end."""
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "MUX_BASE_URL": origin,
        "MUX_TOKEN_ID": "test-token",
        "MUX_TOKEN_SECRET": "test-secret",
    }
    process = await asyncio.create_subprocess_exec(official.mux_cli(), *arguments, env=environment, stdout=PIPE, stderr=STDOUT)
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_until(process: Process, wanted: str) -> str:
    """Read the program's output up to the line with *wanted*."""
    assert process.stdout is not None
    text = ""
    while wanted not in text:
        line = await process.stdout.readline()
        assert line, text
        text += line.decode()
    return text


async def create_asset(origin: str) -> None:
    async with Mux(base_url=origin, token_id="test-token", token_secret="test-secret") as client:
        await client.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])


async def test_listen_and_forward(tmp_path: Path) -> None:
    """It connects, forwards every event, signed with the secret that it prints, and does so again after a restart of the server."""
    settings, port = EmulatorSettings(limits=None, instant=True), free_port()
    async with receiving() as receiver, AsyncExitStack() as server:
        origin = await server.enter_async_context(serve(Emulator(settings), port=port))
        async with mux(tmp_path, origin, "webhooks", "listen", "--forward-to", receiver.url) as process:
            head = await read_until(process, "Connected to event stream")
            secret = head.partition("signing secret: \x1b[1m")[2].partition("\x1b")[0]
            await create_asset(origin)
            for wanted in ("video.asset.created", "video.asset.ready"):
                body, headers = await receiver.arrived.get()
                assert unwrap(body, headers, secret).type == wanted

            await server.aclose()
            await read_until(process, "Reconnecting in")
            await server.enter_async_context(serve(Emulator(settings), port=port))
            await read_until(process, "Connected to event stream")
            await create_asset(origin)
            body, headers = await receiver.arrived.get()
            assert unwrap(body, headers, secret).type == "video.asset.created"

            process.send_signal(signal.SIGINT)
            assert "event(s) received" in await read_until(process, "forwarded successfully, 0 failed")


@pytest.mark.parametrize("status", [403, 404])
async def test_refusals(tmp_path: Path, status: int) -> None:
    """It stops at a token without permission, and where the route does not exist."""
    permissions = ("video:read",) if status == 403 else ("system:read",)
    emulator = Emulator(EmulatorSettings(limits=None, tokens=(Token("test-token", "test-secret", permissions=permissions),)))
    if status == 404:
        emulator.faults.add(Fault(path="/system/v1/webhook-events/stream", status=404))
    async with serve(emulator) as origin, mux(tmp_path, origin, "webhooks", "listen") as process:
        assert "Permission denied or this route does not exist" in await read_until(process, "Permission denied")
        assert await process.wait() == 1
