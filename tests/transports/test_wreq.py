"""What is particular to the wreq adapter: whom it asks, what goes by aiohttp, and how interpreters end that used it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mux_async.testing._loopback import Peer, Reply, always, listen, talk
from mux_async.transport import (
    Body,
    ConnectError,
    Delivery,
    HttpRequest,
    HttpResponse,
    Timeouts,
    Transport,
    TransportClosedError,
    TransportError,
    TransportFactory,
    TransportSettings,
    TransportTimeoutError,
)
from mux_async_wreq import WreqTransport, create_transport
from mux_async_wreq._places import Places

_fits: type[Transport] = WreqTransport
_makes: TransportFactory = create_transport

OK = talk(always(Reply(body=b"ok")))


async def content(response: HttpResponse) -> bytes:
    return b"".join([piece async for piece in response.body])


async def get(transport: Transport, url: str, timeouts: Timeouts | None = None) -> bytes:
    return await content(await transport.send(HttpRequest("GET", url, timeouts=timeouts or Timeouts())))


@pytest.mark.asyncio
async def test_options() -> None:
    """``options`` go to the client that is made, and win over the settings."""
    async with listen(OK) as site:
        transport = create_transport(TransportSettings(options={"headers": {"X-Option": "1"}}))
        await get(transport, site.origin + "/")
        await transport.aclose()

        assert site.requests[0].headers["X-Option"] == "1"


@pytest.mark.asyncio
async def test_no_connection_is_kept_for_no_time() -> None:
    """With ``keepalive=0`` a connection is not used again."""
    async with listen(OK) as site:
        transport = create_transport(TransportSettings(keepalive=0))
        for _ in range(2):
            await get(transport, site.origin + "/")
            await asyncio.sleep(0.01)
        await transport.aclose()

        assert site.connections == 2


@pytest.mark.asyncio
async def test_what_wreq_cannot_ask() -> None:
    """A method that wreq does not know is refused in a sentence, and nothing is sent."""
    async with listen(OK) as site:
        transport = create_transport(TransportSettings())
        await get(transport, site.origin + "/")
        with pytest.raises(ConnectError, match="has no method 'PROPFIND'"):
            await transport.send(HttpRequest("PROPFIND", site.origin + "/"))
        await transport.aclose()

        assert len(site.requests) == 1


@pytest.mark.asyncio
async def test_timeouts_of_each_request() -> None:
    """Timeouts belong to the request: requests with others in between change nothing about a connection that is kept."""

    async def slow_once(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            if received.target == "/slow":
                await peer.wait_closed()
            await peer.reply(Reply(body=b"ok"))

    async with listen(slow_once) as site:
        transport = create_transport(TransportSettings())
        assert await get(transport, site.origin + "/") == b"ok"
        with pytest.raises(TransportTimeoutError):
            await get(transport, site.origin + "/slow", Timeouts(read=0.05))
        assert await get(transport, site.origin + "/", Timeouts(connect=None, read=None, write=None)) == b"ok"
        assert await get(transport, site.origin + "/") == b"ok"
        await transport.aclose()


async def _chunks() -> AsyncIterator[bytes]:
    for _ in range(4):
        yield b"x" * 50_000


@pytest.mark.asyncio
async def test_larger_bodies_count_too() -> None:
    """A body that goes by aiohttp takes one of the connections, as long as its answer is open."""
    async with listen(OK) as site:
        transport = create_transport(TransportSettings(max_connections=1))
        hurried = Timeouts(connect=0.05)
        for body in (Body(_chunks, 200_000), Body(_chunks), bytes(200_000)):
            response = await transport.send(HttpRequest("PUT", site.origin + "/", body=body))
            with pytest.raises(TransportTimeoutError) as caught:
                await get(transport, site.origin + "/", hurried)
            assert await content(response) == b"ok"
            assert await get(transport, site.origin + "/", hurried) == b"ok"

            assert caught.value.delivery is Delivery.NEVER_SENT
        response = await transport.send(HttpRequest("PUT", site.origin + "/", body=Body(_chunks)))
        await response.body.aclose()
        await response.body.aclose()
        assert await get(transport, site.origin + "/", hurried) == b"ok"
        await transport.aclose()


@pytest.mark.asyncio
async def test_closed_under_way() -> None:
    """Who is under way or waits when the transport is closed is told so, and is not taken for cancelled."""

    arrived = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await peer.wait_closed()

    async with listen(silent) as site:
        transport = create_transport(TransportSettings(max_connections=1))
        first = asyncio.create_task(get(transport, site.origin + "/"))
        await arrived.wait()
        second = asyncio.create_task(get(transport, site.origin + "/"))
        await asyncio.sleep(0)
        await transport.aclose()

        with pytest.raises(TransportError, match="closed while") as caught:
            await first
        assert caught.value.delivery is Delivery.MAYBE_PROCESSED
        with pytest.raises(TransportClosedError):
            await second


@pytest.mark.asyncio
async def test_closed_while_a_body_is_collected() -> None:
    """A transport that is closed while the caller's generator is at work sends nothing after that."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        asked.set()
        await go_on.wait()
        yield b"late"

    async with listen(OK) as site:
        transport = create_transport(TransportSettings())
        sending = asyncio.create_task(transport.send(HttpRequest("PUT", site.origin + "/", body=Body(chunks, 4))))
        await asked.wait()
        await transport.aclose()
        go_on.set()

        with pytest.raises(TransportClosedError):
            await sending
        assert not site.requests


@pytest.mark.asyncio
async def test_unverified() -> None:
    """A context that does not verify is taken at its word."""
    import trustme

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere.test").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with listen(OK, tls=server) as site:
        transport = create_transport(TransportSettings(ssl_context=trusting))
        assert await get(transport, site.origin + "/") == b"ok"
        await transport.aclose()


@pytest.mark.asyncio
async def test_lowest_version() -> None:
    """A context that wants TLS 1.3 gets no connection to a server that has 1.2 only."""
    import trustme

    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    client = ssl.create_default_context()
    authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    async with listen(OK, tls=server) as site:
        transport = create_transport(TransportSettings(ssl_context=client))
        assert await get(transport, site.origin + "/") == b"ok"
        await transport.aclose()
        client.minimum_version = ssl.TLSVersion.TLSv1_3
        transport = create_transport(TransportSettings(ssl_context=client))
        with pytest.raises(ConnectError):
            await get(transport, site.origin + "/")
        await transport.aclose()


@pytest.mark.asyncio
async def test_places_go_round_in_order() -> None:
    """Who waits gets a place in order of arrival, nobody passes, and one who leaves, in whatever moment, costs none."""
    places = Places(1)
    order: list[str] = []

    async def take(name: str) -> None:
        await places.take(None)
        order.append(name)

    assert places.take_nowait()
    tasks = [asyncio.create_task(take(name)) for name in "abcd"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    places.give_back()
    assert not places.take_nowait()
    tasks[0].cancel()  # has been handed the place, and does not know yet
    await asyncio.gather(*tasks[:2], return_exceptions=True)
    await tasks[2]
    with pytest.raises(TimeoutError):
        await places.take(0.001)
    places.give_back()
    await tasks[3]
    places.give_back()

    assert order == ["c", "d"]
    assert places.take_nowait()
    assert not places.take_nowait()


SERVER = """
import asyncio, sys

async def answer(reader, writer):
    try:
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            if b"/never" in head:
                await asyncio.sleep(60)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nbody")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.wait_for(asyncio.to_thread(sys.stdin.read), 60)
    import os; os._exit(0)

asyncio.run(main())
"""

PROGRAM = """
import asyncio, os, sys, threading, time
from mux_async.transport import Body, HttpRequest, TransportSettings
from mux_async_wreq import create_transport

async def get(transport, path="/"):
    async for piece in (await transport.send(HttpRequest("GET", sys.argv[1] + path))).body:
        pass

async def chunks():
    while True:
        yield bytes(100_000)
        await asyncio.sleep(0)

async def upload(transport):
    await transport.send(HttpRequest("PUT", sys.argv[1] + "/never", body=Body(chunks)))

async def use(times=20):
    global transport
    transport = create_transport(TransportSettings())
    await asyncio.gather(*(get(transport) for _ in range(times)))
    return transport

async def ask_for_ever():
    transport = await use()
    while True:
        await asyncio.gather(*(get(transport) for _ in range(10)))

async def open_for_ever():
    while True:
        await (await use(1)).aclose()

async def leave(*calls):
    global tasks
    transport = await use(1)
    tasks = [asyncio.create_task(call) for call in [get(transport, "/never"), get(transport), upload(transport)]]
    await asyncio.sleep(0.03)

async def closed():
    await (await use()).aclose()

def daemon(call):
    threading.Thread(target=asyncio.run, args=(call,), daemon=True).start()
    time.sleep(0.3)
"""

ENDS = {
    "closed": "asyncio.run(closed())",
    "never closed": "asyncio.run(use())",
    "cancelled in flight": "asyncio.run(leave())",
    "in flight in a loop that stopped": "asyncio.new_event_loop().run_until_complete(leave())",
    "in a daemon thread that asks": "daemon(ask_for_ever())",
    "in a daemon thread that opens": "daemon(open_for_ever())",
    "in a child after a fork": """
asyncio.run(use())
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
asyncio.run(asyncio.wait_for(use(), 30))
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_ends_of_interpreters(end: str) -> None:
    """However a program leaves the transport behind, its interpreter ends in order."""
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM + ENDS[end]]
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        origin = f"http://127.0.0.1:{int(server.stdout.readline())}"

        def run(_number: int) -> tuple[int, list[str]]:
            done = subprocess.run([*program, origin], capture_output=True, text=True, timeout=50, check=False)
            lines = done.stderr.splitlines()
            # aiohttp mentions a session that was not closed; anything else would be news.
            return done.returncode, [
                line for line in lines if not line.startswith(("Unclosed client session", "client_session:"))
            ]

        with ThreadPoolExecutor(2) as threads:
            ended = list(threads.map(run, range(6)))
        server.stdin.close()

    assert ended == [(0, [])] * 6
