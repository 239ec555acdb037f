"""The stream of events under load: many listeners, bursts, readers that do not read, and a proxy that buffers."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import attrs
import pytest

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings, Request, serve
from tests import _servers
from tests.emulator.harness import basic

pytestmark = [pytest.mark.proof, pytest.mark.asyncio]

STREAM = "/system/v1/webhook-events/stream"
HEADERS = {"Authorization": basic()}
MANY = 1_000
SETTINGS = EmulatorSettings(limits=None, instant=True)


def create_assets(emulator: Emulator, count: int) -> None:
    """Create assets, each of which causes two events."""
    body = b'{"inputs": [{"url": "https://example.com/film.mp4"}]}'
    for _ in range(count):
        assert emulator.handle(Request("POST", "/video/v1/assets", HEADERS, body)).status == 201


@asynccontextmanager
async def session() -> AsyncGenerator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS, timeout=aiohttp.ClientTimeout(60)) as opened:
        yield opened


async def slowest(opened: aiohttp.ClientSession, origin: str, count: int = 50) -> float:
    """Return the seconds of the slowest of some small requests."""
    found = list[float]()
    for _ in range(count):
        began = time.perf_counter()
        async with opened.get(f"{origin}/video/v1/assets?limit=1") as response:
            await response.read()
        found.append(time.perf_counter() - began)
    return max(found)


def read_all(reader: socket.socket) -> bytes:
    """Read a response up to its end, which chunked encoding marks."""
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
    reader.settimeout(20)
    text = b""
    while not text.endswith(b"0\r\n\r\n"):
        piece = reader.recv(65_536)
        assert piece, text[-200:]
        text += piece
    return text


async def test_a_thousand_listeners() -> None:
    """A thousand listeners at once all get an event, leave nothing behind when they end, and hold up no other request."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3 * MANY:
        pytest.skip(f"{hard} open files are too few for {MANY} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3 * MANY), hard))
    emulator = Emulator(SETTINGS)
    async with asyncio.timeout(60), serve(emulator) as origin, session() as opened:
        streams = [await opened.get(origin + STREAM) for _ in range(MANY)]
        assert await slowest(opened, origin) < 0.5
        create_assets(emulator, 1)
        for stream in streams:
            while b"video.asset.ready" not in await stream.content.readline():
                pass
            stream.close()
        assert await slowest(opened, origin) < 0.5

        tracemalloc.start()
        try:
            sizes = list[int]()
            for _ in range(3):  # the first round fills caches
                for _ in range(100):
                    async with opened.get(origin + STREAM) as stream:
                        assert await stream.content.readline() == b"event: connected\n"
                        stream.close()
                await asyncio.sleep(0)
                sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert sizes[-1] - sizes[0] < 100 * 2_000


async def test_a_burst_of_ten_thousand() -> None:
    """Ten thousand events at once arrive at a client of the SDK, whole and in order, and other requests are answered meanwhile."""
    emulator = Emulator(SETTINGS)
    async with (
        asyncio.timeout(60),
        serve(emulator) as origin,
        session() as opened,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=LimitSettings(enabled=False)) as mux,
        mux.webhook_events() as events,
    ):
        create_assets(emulator, 5_000)
        wanted = [event.id for event in emulator.events]
        assert len(wanted) == 10_000
        probe = asyncio.create_task(slowest(opened, origin))
        got = [(await anext(events)).id for _ in wanted]
        assert await probe < 1.0
    assert got == wanted


async def test_readers_that_do_not_read() -> None:
    """Readers that do not read take the memory of a buffer each, and no other request is slower; later they are told to reconnect."""
    arrived = asyncio.Semaphore(0)
    settings = attrs.evolve(SETTINGS, max_events=2_000)
    emulator = Emulator(settings, on_arrival=lambda _: arrived.release())
    async with asyncio.timeout(60), serve(emulator) as origin, session() as opened:
        host, _, port = origin.removeprefix("http://").partition(":")
        idle = list[socket.socket]()
        try:
            for _ in range(20):
                reader = socket.create_connection((host, int(port)))
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
                reader.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {basic()}\r\n\r\n".encode())
                idle.append(reader)
                await arrived.acquire()
            create_assets(emulator, 1_000)  # fills the log
            await slowest(opened, origin)
            tracemalloc.start()
            try:
                for _ in range(30):
                    create_assets(emulator, 100)
                    await asyncio.sleep(0)
                longest = await slowest(opened, origin)
                grown = tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
            assert longest < 0.5
            assert grown < 32_000_000  # the assets and events; readers that read would get 130 MB
            text = await asyncio.to_thread(read_all, idle[0])
            assert b"because they were not read in time; connect again" in text
        finally:
            for reader in idle:
                reader.close()


async def test_behind_a_proxy_that_buffers(tmp_path: Path) -> None:
    """nginx, which buffers responses by default, passes each event on at once, because the response asks for that."""
    port = _servers.free_port()
    emulator = Emulator(SETTINGS)
    async with asyncio.timeout(60), serve(emulator) as origin:
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(
            f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f;\n"
            f"uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s; gzip on; gzip_types *;\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {origin}; }} }} }}\n"
        )
        with _servers.running(
            [_servers.require("nginx"), "-p", str(tmp_path), "-c", str(configuration)], port, tmp_path / "log"
        ):
            async with (
                Mux(
                    token_id="test-token",
                    token_secret="test-secret",
                    base_url=f"http://127.0.0.1:{port}",
                    limits=LimitSettings(enabled=False),
                ) as mux,
                mux.webhook_events("video.asset.created") as events,
            ):
                for _ in range(3):
                    create_assets(emulator, 1)
                    assert (await anext(events)).type == "video.asset.created"
