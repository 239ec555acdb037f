"""Checks of connections: when they are kept, when they are cut, and that a cancelled task leaves none behind."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from unittest.mock import patch

import anyio
import anyio.lowlevel

from mux_async.errors import Delivery, TransportError
from mux_async.testing._bench import (
    PATIENCE,
    SocketBench,
    Upload,
    exchange,
    expect,
    expect_alive,
    failing,
    request,
    sending,
    socket_check,
)
from mux_async.testing.loopback import Peer, Reply, Site, always, talk
from mux_async.transport import Body, Transport, is_unsent

_alive = talk(always(Reply(body=b"alive")))


@socket_check
async def kept_connection(bench: SocketBench) -> None:
    """One connection serves request after request, with bodies both ways, whatever the status."""
    not_found = Reply(404, (), [b"not ", b"found"])
    async with bench.listen(talk(always(not_found))) as site, bench.transport() as transport:
        for _ in range(3):
            await exchange(transport, site)
            await exchange(transport, site, method="POST", body=b"{}")
            await exchange(transport, site, method="PUT", body=Upload(2, 10, length=20).body)

        expect(site.connections == 1, f"{site.connections} connections were made for 9 requests in a row")


@socket_check
async def connection_the_server_will_not_keep(bench: SocketBench) -> None:
    """After an answer with ``Connection: close`` the next request gets a new connection."""
    async with (
        bench.listen(talk(always(Reply(200, [("Connection", "close")], b"alive")))) as site,
        bench.transport() as transport,
    ):
        await expect_alive(transport, site)
        await expect_alive(transport, site)

        expect(site.connections == 2, "a connection was used again after Connection: close")


@socket_check
async def body_without_end(bench: SocketBench) -> None:
    """A body of unknown length is read as it is asked for, not into memory; closing it cuts the connection."""

    async def conversation(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.send(b"x" * 1_000_000)

    async with bench.listen(conversation) as site, bench.transport() as transport:
        response = await transport.send(request(site))
        await anext(aiter(response.body))
        await _settle(site)

        expect(site.sent < 64_000_000, f"{site.sent} bytes were read, and one piece was asked for")
        await response.body.aclose()
        await _expect_none_left(site, "a body that was closed")


@socket_check
async def closing_with_an_answer_open(bench: SocketBench) -> None:
    """``aclose`` cuts connections in use and idle ones."""

    async def conversation(peer: Peer) -> None:
        received = await peer.request()
        if received is not None and received.target == "/alive":
            await peer.reply(Reply(body=b"alive"))
            await peer.wait_closed()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await peer.wait_closed()

    async with bench.listen(conversation) as site:
        async with bench.transport() as transport:
            response = await transport.send(request(site))
            await expect_alive(transport, site)
            expect(site.open == 2, "two connections were due")
        await response.body.aclose()
        await _expect_none_left(site, "aclose")


@socket_check
async def cancelled_while_connecting(bench: SocketBench) -> None:
    """A task cancelled in the middle of a handshake leaves no connection, and the transport usable; nothing was sent, and it says so."""
    reached = anyio.Event()

    async def conversation(peer: Peer) -> None:
        first = await peer.receive()
        if first.startswith(b"GET /alive"):
            await peer.reply(Reply(200, [("Connection", "close")], b"alive"))
            return
        reached.set()
        await peer.wait_closed()

    async with bench.listen(conversation) as site, bench.transport() as transport:
        secure = Site(site.origin.replace("http:", "https:"))
        is_marked = await _cancel(partial(transport.send, request(secure)), reached)
        expect(is_marked, "a request cancelled while it was connecting is not marked as unsent")
        await _expect_recovered(transport, site)


@socket_check
async def cancelled_while_uploading(bench: SocketBench) -> None:
    """A task cancelled in the middle of an upload leaves no connection, closes the generator, and the transport is usable."""
    reached = anyio.Event()

    async def conversation(peer: Peer) -> None:
        received = await peer.head()
        if received is not None and received.target == "/alive":
            await peer.reply(Reply(200, [("Connection", "close")], b"alive"))
            return
        for _ in range(10):
            await peer.receive()
        reached.set()
        await peer.wait_closed()

    for length in (None, 1_000_000_000):
        upload = Upload(10_000, 100_000, length=length)
        reached = anyio.Event()
        async with bench.listen(conversation) as site, bench.transport() as transport:
            is_marked = await _cancel(partial(transport.send, request(site, method="PUT", body=upload.body)), reached)
            expect(not is_marked, "a request cancelled in its body is marked as unsent")
            upload.expect_closed()
            await _expect_recovered(transport, site)


@socket_check
async def cancelled_while_waiting_for_an_answer(bench: SocketBench) -> None:
    """A task cancelled between request and answer leaves no connection, and the late answer goes to nobody."""
    reached = anyio.Event()

    async def conversation(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            if received.target == "/alive":
                await peer.reply(Reply(body=b"alive"))
                continue
            reached.set()
            await peer.receive()
            await peer.reply(Reply(body=b"late"))

    for method, body in (("GET", None), ("POST", b"{}")):
        reached = anyio.Event()
        async with bench.listen(conversation) as site, bench.transport() as transport:
            is_marked = await _cancel(partial(transport.send, request(site, method=method, body=body)), reached)
            expect(not is_marked, f"a {method} that arrived, cancelled, is marked as unsent")
            await _expect_recovered(transport, site)


@socket_check
async def cancelled_in_the_body(bench: SocketBench) -> None:
    """A task cancelled while it reads a body leaves no connection once the body is closed, and the transport usable."""
    reached = anyio.Event()

    async def conversation(peer: Peer) -> None:
        received = await peer.request()
        if received is not None and received.target == "/alive":
            await peer.reply(Reply(body=b"alive"))
            return
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await peer.wait_closed()

    async with bench.listen(conversation) as site, bench.transport() as transport:

        async def read_some() -> None:
            response = await transport.send(request(site))
            try:
                async for _piece in response.body:
                    reached.set()
            finally:
                await response.body.aclose()

        await _cancel(read_some, reached)
        await _expect_recovered(transport, site)


@socket_check
async def cancelled_while_waiting_for_a_connection(bench: SocketBench) -> None:
    """A task cancelled in the queue for a connection leaves the queue: those behind it still get theirs."""
    release = anyio.Event()
    waiting = anyio.Event()

    async def conversation(peer: Peer) -> None:
        while await peer.request() is not None:
            await release.wait()
            await peer.reply(Reply(body=b"alive"))

    async with bench.listen(conversation) as site, bench.transport(max_connections=1) as transport:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expect_alive, transport, site)
            while not site.requests:
                await anyio.lowlevel.checkpoint()

            async def queue() -> None:
                waiting.set()
                await transport.send(request(site, "/never"))

            is_marked = await _cancel(queue, waiting)
            expect(is_marked, "a request cancelled in the queue is not marked as unsent")
            tasks.start_soon(expect_alive, transport, site)
            release.set()
        with anyio.fail_after(PATIENCE):
            await expect_alive(transport, site)

        expect(all(received.target == "/alive" for received in site.requests), "a cancelled request was sent after all")


@socket_check
async def proxies_of_the_environment(bench: SocketBench) -> None:
    """Proxy variables count only when ``trust_env`` says so; ``proxy`` always does, and gets the whole URL."""
    async with bench.listen(_alive) as proxy, bench.listen(_alive) as site:
        with patch.dict(os.environ, http_proxy=proxy.origin, HTTP_PROXY=proxy.origin, all_proxy=proxy.origin, no_proxy=""):
            async with bench.transport() as transport:
                await expect_alive(transport, site)
            expect(not proxy.requests, "a proxy of the environment was used unasked")
            async with bench.transport(trust_env=True) as transport:
                await expect_alive(transport, site)
            expect(len(proxy.requests) == 1, "trust_env did not use the proxy of the environment")
        async with bench.transport(proxy=proxy.origin) as transport:
            await exchange(transport, Site("http://nowhere.test"), "/a%2Fb?c=d")

        expect(proxy.requests[-1].target == "http://nowhere.test/a%2Fb?c=d", "the proxy did not get the whole URL as it stands")


@socket_check
async def closed_with_requests_under_way(bench: SocketBench) -> None:
    """``aclose`` ends what is under way, by a `TransportError` that says what may have been sent; nothing hangs or looks cancelled."""
    errors: list[TransportError] = []
    async with bench.listen(sending(waits=True)) as site, bench.transport(max_connections=10) as transport:

        async def call(number: int) -> None:
            body: bytes | Body = b"{}" if number % 3 else b"x" * 40_000 if number % 2 else Upload(2, 10, length=20).body
            errors.append(await failing(exchange(transport, site, f"/{number}", method="POST", body=body), TransportError))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(call, number)
                while sum(received.is_complete for received in site.requests) < 10:
                    await anyio.lowlevel.checkpoint()
                await transport.aclose()
        await _expect_none_left(site, "aclose")

        unsent = sum(error.delivery is Delivery.NEVER_SENT for error in errors)
        expect(unsent == 90, f"10 of 100 requests were sent, and {100 - unsent} errors say that theirs may have been")


async def _cancel(call: Callable[[], Awaitable[object]], reached: anyio.Event) -> bool:
    """Run *call* until *reached*, then cancel it; it must end by that. Returns whether it ended marked as unsent."""
    ended: list[str] = []
    is_marked = False
    finished = anyio.Event()

    async def run(scope: anyio.CancelScope) -> None:
        nonlocal is_marked
        try:
            with scope:
                try:
                    await call()
                except anyio.get_cancelled_exc_class() as cancellation:
                    is_marked = is_unsent(cancellation)
                    raise
                ended.append("it returned")
        except Exception as error:  # noqa: BLE001 - to be shown
            ended.append(f"it raised {error!r}")
        finally:
            finished.set()

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scope)
        with anyio.move_on_after(PATIENCE):
            await reached.wait()
        expect(reached.is_set(), f"the point to cancel at was never reached: {ended}")
        scope.cancel()
        with anyio.move_on_after(PATIENCE):
            await finished.wait()
        expect(finished.is_set(), "a cancelled request did not end")
    expect(not ended and scope.cancelled_caught, f"a cancelled request ended otherwise: {ended}")
    return is_marked


async def _expect_recovered(transport: Transport, site: Site) -> None:
    await _expect_none_left(site, "a cancelled request")
    await expect_alive(transport, site)


async def _expect_none_left(site: Site, after: str) -> None:
    with anyio.move_on_after(PATIENCE):
        await site.wait_idle()
    expect(not site.open, f"{after} left {site.open} connections open")


async def _settle(site: Site) -> None:
    """Wait until the server's writes have stalled."""
    sent = -1
    while sent != site.sent and site.sent < 64_000_000:
        sent = site.sent
        await anyio.sleep(0.05)
