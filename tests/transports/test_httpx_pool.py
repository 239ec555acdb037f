"""The cost over httpx of many calls at once, and of one after many. Function calls are counted, because time depends on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import anyio
import pytest

from mux_async.testing.loopback import Peer, Reply, listen
from mux_async.transport import ConnectError, HttpRequest, Timeouts, TransportError, TransportSettings, TransportTimeoutError
from mux_async_httpx import HttpxTransport

pytestmark = pytest.mark.anyio

LIBRARIES = pytest.mark.parametrize("library", ["httpx", "httpx2"])


class Counter:
    """Counts function calls of the libraries and the adapter, without those of the server and the event loop."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Counter:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: Any, event: str, _argument: object) -> None:
        if event == "call" and ("httpcore" in frame.f_code.co_filename or "mux_async_httpx" in frame.f_code.co_filename):
            self.count += 1


async def get(transport: HttpxTransport, url: str, timeouts: Timeouts | None = None) -> bytes:
    response = await transport.send(HttpRequest("GET", url, timeouts=timeouts or Timeouts()))
    try:
        return b"".join([piece async for piece in response.body])
    finally:
        await response.body.aclose()


async def at_once(count: int, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(call)


class Gate:
    """A server that answers when *width* requests are there, or at once when it is 0."""

    def __init__(self) -> None:
        self.width = 0
        self.waiting = 0
        self.most = 0
        self.arrived = anyio.Event()
        self._open = anyio.Event()

    def open(self) -> None:
        self.width = 0
        self._open.set()

    async def __call__(self, peer: Peer) -> None:
        while await peer.request() is not None:
            self.waiting += 1
            self.arrived.set()
            self.most = max(self.most, self.waiting)
            if self.waiting >= self.width:
                self._open.set()
                self._open = anyio.Event()
            else:
                await self._open.wait()
            self.waiting -= 1
            await peer.reply(Reply(body=b"ok"))


@LIBRARIES
async def test_after_many_connections(library: Literal["httpx", "httpx2"]) -> None:
    """A call after a hundred connections were open costs what it did before, and no more than a few of them are kept."""
    gate = Gate()
    async with listen(gate) as site:
        transport = HttpxTransport(library=library)
        url = site.origin + "/"
        await get(transport, url)
        with Counter() as before:
            await get(transport, url)
        gate.width = 100
        await at_once(100, lambda: get(transport, url))
        gate.open()
        await get(transport, url)
        with Counter() as after:
            await get(transport, url)
        assert site.open <= 11
        await transport.aclose()

    assert gate.most == 100
    assert after.count < 4 * before.count


@LIBRARIES
@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.proof)])
async def test_many_at_once(library: Literal["httpx", "httpx2"], count: int) -> None:
    """With many calls at once each costs a small multiple of one alone, however many wait behind it, and connections are used again."""
    gate = Gate()
    async with listen(gate) as site:
        transport = HttpxTransport(TransportSettings(max_connections=20), library=library)
        url = site.origin + "/"
        await get(transport, url)
        with Counter() as alone:
            await get(transport, url)
        answers: list[bytes] = []

        async def call() -> None:
            answers.append(await get(transport, url, Timeouts(connect=60.0)))

        with Counter() as together:
            await at_once(count, call)
        assert answers == [b"ok"] * count
        assert site.connections <= 40
        await transport.aclose()

    assert together.count / count < 15 * alone.count


async def test_waiting_for_a_connection() -> None:
    """A call that gets no connection in time says that nothing was sent; earlier and later calls succeed."""
    gate = Gate()
    gate.width = 2
    async with listen(gate) as site:
        transport = HttpxTransport(TransportSettings(max_connections=1))
        url = site.origin + "/"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get, transport, url)
            await gate.arrived.wait()
            with pytest.raises(TransportTimeoutError, match=r"no connection to .* within 0.05 s") as caught:
                await get(transport, url, Timeouts(connect=0.05))
            assert caught.value.delivery.name == "NEVER_SENT"
            gate.open()
        assert await get(transport, url) == b"ok"
        await transport.aclose()


async def test_cancelled_together() -> None:
    """Calls that wait for a connection and are cancelled together leave it to the next."""
    gate = Gate()
    gate.width = 100
    async with listen(gate) as site:
        transport = HttpxTransport(TransportSettings(max_connections=2))
        url = site.origin + "/"
        with anyio.move_on_after(0.2):
            await at_once(50, lambda: get(transport, url))
        gate.open()
        for _ in range(4):
            assert await get(transport, url) == b"ok"
        await transport.aclose()


async def test_failures_give_back_what_they_took() -> None:
    """Calls that fail, in connecting or in the middle of a response, give their slot back."""

    async def cut(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    async with listen(cut) as site:
        transport = HttpxTransport(TransportSettings(max_connections=2))
        for _ in range(5):
            with pytest.raises(ConnectError):
                await get(transport, "http://127.0.0.1:1/")
            with pytest.raises(TransportError):
                await get(transport, site.origin + "/", Timeouts(connect=5.0))
        await transport.aclose()
