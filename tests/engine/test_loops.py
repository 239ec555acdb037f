"""One client in several event loops, with connections of its own in each. Real sockets, real loops."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator

import anyio
import pytest
import trio
import uvloop

from mux_async import LimitSettings, Mux
from mux_async.errors import ClosedError, WrongRuntimeError

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"data":{}}'


@pytest.fixture
def origin() -> Iterator[str]:
    """A server in a thread that answers every request head alike, and counts nothing."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65536):
                connection.sendall(ANSWER * data.count(b"\r\n\r\n"))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def client(origin: str, transport: str = "aiohttp") -> Mux:
    return Mux(token_id="id", token_secret="s", base_url=origin, transport=transport, limits=LimitSettings(enabled=False))


async def use(mux: Mux) -> object:
    async with mux:
        return (await mux.request("GET", "/x")).value


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
def test_one_client_in_several_loops_in_turn(origin: str, transport: str) -> None:
    """A client that was closed in one event loop opens anew in the next, on asyncio and uvloop."""
    mux = client(origin, transport)

    assert asyncio.run(use(mux)) == {"data": {}}
    assert asyncio.run(use(mux)) == {"data": {}}
    assert uvloop.run(use(mux)) == {"data": {}}
    if transport == "httpx":
        assert trio.run(use, mux) == {"data": {}}


def test_one_client_in_two_loops_at_once(origin: str) -> None:
    """Two threads with an event loop each can use one client at the same time."""
    mux, results = client(origin), list[object]()

    async def several() -> None:
        async with mux:
            for _ in range(20):
                results.append((await mux.request("GET", "/x")).value)

    threads = [threading.Thread(target=asyncio.run, args=(several(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [{"data": {}}] * 40


def test_closed_is_closed(origin: str) -> None:
    """After ``aclose`` a call in the same event loop is refused in a sentence."""
    mux = client(origin)

    async def main() -> None:
        await mux.request("GET", "/x")
        await mux.aclose()
        await mux.aclose()
        with pytest.raises(ClosedError, match="closed in this event loop"):
            await mux.request("GET", "/x")

    asyncio.run(main())


def test_a_transport_that_cannot_run_here_says_what_can(origin: str) -> None:
    """On trio the aiohttp transport is refused before anything is sent, with the one that would do."""
    mux = client(origin)
    with pytest.raises(WrongRuntimeError, match=r"'aiohttp' transport runs on asyncio, and this is trio; .*transport='httpx'"):
        trio.run(use, mux)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # the server of this test is a thread
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
def test_after_a_fork(origin: str, transport: str) -> None:
    """A client made and used before a fork works in the child, and goes on working in the parent."""
    mux = client(origin, transport)
    assert asyncio.run(use(mux)) == {"data": {}}
    child = os.fork()
    if not child:
        try:
            os._exit(0 if asyncio.run(use(mux)) == {"data": {}} else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert asyncio.run(use(mux)) == {"data": {}}


def test_anyio_runs_it_too(origin: str) -> None:
    """`anyio.run` with either backend gives the same."""
    assert anyio.run(use, client(origin)) == {"data": {}}
    assert anyio.run(use, client(origin, "httpx"), backend="trio") == {"data": {}}
