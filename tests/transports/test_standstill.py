"""An event loop that stood still while the server closed: a frozen function, or a loop that runs only now and then."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import attrs
import pytest
import uvloop

from mux_async import LimitSettings, Mux
from mux_async.transport import Transport, TransportSettings
from mux_async_aiohttp import AiohttpTransport
from mux_async_httpx import HttpxTransport

BODY = b'{"data": {"id": "a1", "status": "preparing"}}'
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
BIG = "x" * 40_000

Make = Callable[[TransportSettings], Transport]


def by_session(settings: TransportSettings) -> Transport:
    return AiohttpTransport(attrs.evolve(settings, trust_env=True))


@attrs.define
class Server:
    """Answers each request in a thread of its own, promises to keep the connection, and closes it."""

    origin: str
    requests: int = 0
    closed: threading.Event = attrs.field(factory=threading.Event)


@contextmanager
def serving() -> Generator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def serve() -> None:
            while True:
                try:
                    connected, _ = listener.accept()
                except OSError:
                    return
                with connected:
                    connected.settimeout(10)
                    data = b""
                    while b"\r\n\r\n" not in data:
                        if not (piece := connected.recv(65536)):
                            break
                        data += piece
                    else:
                        head, _, body = data.partition(b"\r\n\r\n")
                        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
                        while len(body) < length:
                            body += connected.recv(65536)
                        server.requests += 1
                        connected.sendall(ANSWER)
                server.closed.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def client(server: Server, make: Make) -> Mux:
    return Mux(
        token_id="id", token_secret="secret", base_url=server.origin, transport=make, limits=LimitSettings(enabled=False)
    )


async def create(mux: Mux, title: str) -> None:
    asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], passthrough=title)
    assert asset.id == "a1"


@pytest.mark.parametrize("make", [AiohttpTransport, by_session, HttpxTransport], ids=["aiohttp", "session", "httpx"])
@pytest.mark.parametrize("title", ["small", BIG], ids=["small", "large"])
@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_loop_that_stood_still(make: Make, title: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Creates after a standstill in which the server closed the kept connection are answered, each by one request."""
    with serving() as server, asyncio.Runner(loop_factory=loop_factory) as runner:
        mux = client(server, make)

        async def create_and_freeze() -> None:
            server.closed.clear()
            await create(mux, title)
            assert server.closed.wait(10)  # a frozen function: the loop does not run meanwhile

        async def create_many() -> None:
            for _ in range(5):
                await create_and_freeze()

        runner.run(create_many())
        for _ in range(5):
            runner.run(create_and_freeze())  # and here no loop runs between two calls at all
        runner.run(mux.aclose())

        assert server.requests == 10
