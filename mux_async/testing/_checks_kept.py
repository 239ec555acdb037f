"""Checks of kept connections: an answer belongs to the request before it, and a connection that ended carries no request.

RFC 9112, section 9.2: what a client receives while no request is outstanding is not a response, and the connection is to be closed. What
arrives between the client's check and its write cannot be told from an answer, and is not checked here.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import anyio
import anyio.lowlevel
import attrs

from mux_async.errors import Delivery, TransportError, TransportTimeoutError
from mux_async.testing._bench import PATIENCE, SocketBench, Upload, exchange, expect, request, socket_check
from mux_async.testing._checks_tls import make_certificates
from mux_async.testing.loopback import Peer, Received, Reply, Site
from mux_async.transport import Body, Transport

_WHOLE_STRAYS = {
    "a refusal": b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
    "two answers": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray" * 2,
    "a head without its body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}
_STRAYS = {**_WHOLE_STRAYS, "no HTTP": b"\x15\x03\x03 stray", "half a head": b"HTTP/1.1 200 OK\r\nContent-Le"}
"""What a server may send unasked."""

_REQUESTS: dict[str, Callable[[], tuple[str, bytes | Body | None]]] = {
    "a request without a body": lambda: ("GET", None),
    "a small body": lambda: ("POST", b'{"a": 1}'),
    "a large body": lambda: ("POST", b"x" * 40_000),
    "a streamed body": lambda: ("PUT", Upload(3, 20_000, length=60_000).body),
    "a body of unknown length": lambda: ("POST", Upload(3, 1000).body),
}
"""Requests that adapters may send in different ways."""


@attrs.define
class _Talk:
    """A server that answers every request with the target of that request, and a client of it."""

    transport: Transport
    site: Site
    peers: list[Peer]
    """Of the connections, oldest first."""
    numbers: count[int] = attrs.field(factory=count)

    async def send(self, what: str, *, prefix: str = "/") -> None:
        """Send a request; its answer must be its own."""
        method, body = _REQUESTS[what]()
        await self.expect_own(what, method, body, prefix=prefix)

    async def expect_own(self, what: str, method: str, body: bytes | Body | None, *, prefix: str = "/") -> None:
        """Send this request; its answer must be its own, and it must arrive once."""
        target = f"{prefix}{next(self.numbers)}"
        try:
            response, content = await exchange(self.transport, self.site, target, method=method, body=body)
        except TransportError as error:
            expect(False, f"{what} failed: {error!r} ({error.delivery.value})")  # noqa: FBT003
            return
        is_own = response.status == 200 and content == target.encode()
        expect(is_own, f"{what} was given an answer that is not its own: {response.status} {content!r}")
        times = sum(received.target == target for received in self.site.requests)
        expect(times == 1, f"{what} was put on the wire {times} times")


@asynccontextmanager
async def _talk(
    bench: SocketBench, *, also: bytes = b"", tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None, closes: bool = False
) -> AsyncGenerator[_Talk, None]:
    """Open a `_Talk`; requests to ``/also`` are answered with *also* after their own answer, in one write."""
    peers: list[Peer] = []

    async def conversation(peer: Peer) -> None:
        peers.append(peer)
        while (received := await peer.request()) is not None:
            more = also if received.target.startswith("/also") else b""
            await peer.reply(_own(received), method=received.method, also=more)
            if closes:
                return

    client, server = tls or (None, None)
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(bench.listen(conversation, tls=server))
        transport = await stack.enter_async_context(bench.transport(ssl_context=client))
        yield _Talk(transport, site, peers)


def _own(received: Received) -> Reply:
    return Reply(body=received.target.encode())


async def _turn() -> None:
    """Let the event loop read what there is."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


@socket_check
async def stray_answer_with_an_answer(bench: SocketBench) -> None:
    """What arrives together with an answer, after its end, is no answer to the next request."""
    for name, stray in _WHOLE_STRAYS.items():
        async with _talk(bench, also=stray) as talk:
            for what in _REQUESTS:
                for first in _REQUESTS:
                    await talk.send(first, prefix="/also")
                    await talk.send(what, prefix="/after-")
            expect(talk.site.connections > 1, f"a connection with {name} on it was used again")


@socket_check
async def stray_answer_while_idle(bench: SocketBench) -> None:
    """What arrives on an idle connection is no answer to the next request, which goes out on another connection."""
    for stray in _STRAYS.values():
        async with _talk(bench) as talk:
            for what in _REQUESTS:
                await talk.send("a small body")
                await talk.peers[-1].send(stray)
                await _turn()
                await talk.send(what)


@socket_check
async def stray_answer_not_read_yet(bench: SocketBench) -> None:
    """The same, when the event loop had no time to read it: it is seen before the request is written."""
    for stray in _STRAYS.values():
        async with _talk(bench) as talk:
            for what in _REQUESTS:
                await talk.send("a small body")
                talk.peers[-1].send_now(stray)
                await talk.send(what)


@socket_check
async def stray_answer_over_tls(bench: SocketBench) -> None:
    """What arrives on an idle connection with TLS is no answer to the next request; without that, the connection is kept."""
    tls = make_certificates("127.0.0.1")
    for stray in (_STRAYS["a refusal"], _STRAYS["an answer"]):
        async with _talk(bench, tls=tls, also=stray) as talk:
            for what in _REQUESTS:
                await talk.send("a small body")
                await talk.peers[-1].send(stray)
                await talk.send(what)
                await talk.peers[-1].send(stray)
                await _turn()
                await talk.send(what)
                await talk.send(what, prefix="/also")
                await talk.send(what)
            before = talk.site.connections
            for what in _REQUESTS:
                await talk.send(what)

            expect(talk.site.connections == before, "a connection with TLS is not used again, though nothing came unasked")


@socket_check
async def stray_answer_while_the_body_is_waited_for(bench: SocketBench) -> None:
    """What arrives before the first byte of a request was written is no answer to it: the request may fail, as never sent."""
    for stray in (_STRAYS["a refusal"], _STRAYS["an answer"], _STRAYS["half a head"]):
        for length in (5, None):
            async with _talk(bench) as talk:
                await talk.send("a small body")

                async def chunks(talk: _Talk = talk, stray: bytes = stray) -> AsyncIterator[bytes]:
                    await talk.peers[-1].send(stray)
                    await _turn()
                    yield b"piece"

                # An adapter may have written the head by then, which makes an answer of what arrives: not a stray one.
                target = "/waited"
                try:
                    response, content = await exchange(
                        talk.transport, talk.site, target, method="POST", body=Body(chunks, length)
                    )
                except TransportError as error:
                    seen = any(received.target == target for received in talk.site.requests)
                    expect(
                        not seen or error.delivery is not Delivery.NEVER_SENT,
                        "a request is said never to have been sent, and it arrived",
                    )
                else:
                    seen = any(received.target == target for received in talk.site.requests)
                    expect(seen, f"a request that never arrived was answered: {response.status} {content!r}")
                await talk.send("a small body")


@socket_check
async def closed_while_idle(bench: SocketBench) -> None:
    """A request goes out on another connection when the server ended the idle one, whether the event loop saw that or not."""
    for tls in (None, make_certificates("127.0.0.1")):
        async with _talk(bench, tls=tls) as talk:
            for what in _REQUESTS:
                await talk.send("a small body")
                talk.peers[-1].end_now()
                await talk.send(what)
                talk.peers[-1].end_now()
                await _turn()
                await talk.send(what)
                await talk.peers[-1].reset()
                await talk.send(what)


@socket_check
async def closed_after_each_answer(bench: SocketBench) -> None:
    """Against a server that closes after each answer and does not say so, every request is answered."""
    async with _talk(bench, closes=True) as talk:
        for _ in range(12):
            for what in _REQUESTS:
                await talk.send(what)

        expect(talk.site.connections == 60, f"60 requests made {talk.site.connections} connections")


@socket_check
async def late_answer_after_a_cancel(bench: SocketBench) -> None:
    """The answer to a cancelled request, whole or begun, is given to nobody else: its connection is not used again."""
    for what in _REQUESTS:
        for begun in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nlate"):
            arrived, is_cancelled = anyio.Event(), anyio.Event()

            async def conversation(
                peer: Peer, arrived: anyio.Event = arrived, is_cancelled: anyio.Event = is_cancelled, begun: bytes = begun
            ) -> None:
                while (received := await peer.request()) is not None:
                    if received.target != "/cancelled":
                        await peer.reply(_own(received))
                        continue
                    await peer.send(begun)
                    arrived.set()
                    await is_cancelled.wait()
                    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

            async with bench.listen(conversation) as site, bench.transport() as transport:
                talk = _Talk(transport, site, [])
                await talk.send("a small body")
                async with anyio.create_task_group() as tasks:

                    async def cancelled(transport: Transport = transport, site: Site = site, what: str = what) -> None:
                        method, body = _REQUESTS[what]()
                        await exchange(transport, site, "/cancelled", method=method, body=body)

                    tasks.start_soon(cancelled)
                    with anyio.fail_after(PATIENCE):
                        await arrived.wait()
                    await _turn()
                    tasks.cancel_scope.cancel()
                is_cancelled.set()
                for other in _REQUESTS:
                    await talk.send(other)


@socket_check
async def switching_protocols(bench: SocketBench) -> None:
    """A 101 is final, other than the rest of 1xx: it comes out, or as a failure, at once; and its connection is not used again."""

    async def conversation(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            if received.target == "/switch":
                await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nhello")
            else:
                await peer.reply(_own(received))

    async with bench.listen(conversation) as site, bench.transport() as transport:
        with anyio.fail_after(PATIENCE):
            try:
                response = await transport.send(request(site, "/switch"))
            except TransportTimeoutError as error:
                expect(False, f"the answer after a 101 was waited for: {error!r}")  # noqa: FBT003
            except TransportError as error:
                expect(error.delivery is not Delivery.NEVER_SENT, f"a 101 came out as {error!r}, never sent")
            else:
                expect(response.status == 101, f"a 101 came out as {response.status}")
                await response.body.aclose()
            talk = _Talk(transport, site, [])
            for what in _REQUESTS:
                await talk.send(what)

        expect(site.connections == 2, f"{site.connections} connections were made; 2 were due")
