"""Thousands of requests to a server that does everything a server should not: each caller gets its own answer, or an error that is true.

The server runs in the event loop of the client, and does what it does unasked only while nothing of a request has arrived. So nothing
happens between the client's check of a connection and its write, which no client could tell from an answer, and every rule is exact.
Under httpx, anyio and trio run the event loop between the two; there the server waits for a moment without a request on its way.
"""

from __future__ import annotations

import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.lowlevel
import attrs
import pytest
import trustme

from mux_async import LimitSettings, Mux
from mux_async.errors import Delivery, TransportError
from mux_async.testing.loopback import Peer, Reply, listen
from mux_async.transport import Body, HttpRequest, Timeouts, Transport, TransportSettings
from mux_async_aiohttp import AiohttpTransport
from mux_async_httpx import HttpxTransport

pytestmark = [pytest.mark.proof, pytest.mark.anyio, pytest.mark.timeout(300)]

SEED = 20_260_612
CONNECTIONS = 20
STRAYS = [
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray" * 2,
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Le",
    b"HTTP/1.1 100 Continue\r\n\r\n",
]
ACTIONS = {
    "answer": 40,
    "answer and close": 8,
    "answer and a stray at once": 8,
    "answer, then a stray": 10,
    "answer, then close": 10,
    "answer, then reset": 4,
    "interim answers, then answer": 8,
    "late": 6,
    "half an answer": 2,
    "close": 2,
    "reset": 2,
}


@attrs.define
class Server:
    """What the server did with each request, by its number."""

    seed: int
    arrived: Counter[int] = attrs.field(factory=Counter[int])
    did: Counter[str] = attrs.field(factory=Counter[str])
    cancel: Callable[[int], None] = lambda _number: None
    unasked: int = 0
    """How often it did something on an idle connection."""
    on_its_way: set[int] | None = None
    """Requests that have not arrived, where that matters."""

    def choose(self, number: int) -> tuple[str, random.Random]:
        rng = random.Random(f"{self.seed}-{number}")
        return rng.choices(list(ACTIONS), list(ACTIONS.values()))[0], rng

    async def converse(self, peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            number = int(received.target[1:])
            self.arrived[number] += 1
            if self.on_its_way is not None:
                self.on_its_way.discard(number)
            action, rng = self.choose(number)
            self.did[action] += 1
            answer = Reply(body=b"answer to %d" % number)
            if action == "late":
                self.cancel(number)
                for _ in range(rng.randrange(20)):
                    await anyio.lowlevel.checkpoint()
            for _ in range(rng.randrange(1, 4) if action.startswith("interim") else 0):
                await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            if action == "half an answer":
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nansw")
            elif action not in {"close", "reset"}:
                also = rng.choice([STRAYS[0], STRAYS[1], STRAYS[2], STRAYS[4]]) if action.endswith("at once") else b""
                await peer.reply(answer, also=also)
            if action == "reset":
                await peer.reset()
            if action in {"half an answer", "close", "reset", "answer and close"}:
                return
            if ", then" in action and action.startswith("answer"):
                for _ in range(rng.randrange(12)):
                    await anyio.lowlevel.checkpoint()
                for _ in range(100):
                    if not self.on_its_way or peer.has_input():
                        break
                    await anyio.lowlevel.checkpoint()
                if self.on_its_way or peer.has_input():
                    continue  # the next request is there already
                self.unasked += 1
                if action.endswith("stray"):
                    await peer.send(rng.choice(STRAYS))
                elif action.endswith("reset"):
                    await peer.reset()
                    return
                else:
                    return


@attrs.define
class Caller:
    """Sends requests and judges what comes of each."""

    transport: Transport
    origin: str
    server: Server
    said: Counter[str] = attrs.field(factory=Counter[str])
    scopes: dict[int, anyio.CancelScope] = attrs.field(factory=dict[int, anyio.CancelScope])
    wrong: list[str] = attrs.field(factory=list[str])

    def body(self, number: int) -> bytes | Body | None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
                yield b"x" * 10

        return [b"{}", None, b"{}", b"x" * 33_000, Body(chunks, 30), Body(chunks)][number % 6]

    async def call(self, number: int) -> None:
        method = "GET" if self.body(number) is None else "POST"
        timeouts = Timeouts(connect=60.0, read=60.0, write=60.0)
        request = HttpRequest(method, f"{self.origin}/{number}", body=self.body(number), timeouts=timeouts)
        on_its_way = self.server.on_its_way if self.server.on_its_way is not None else set[int]()
        on_its_way.add(number)
        with anyio.CancelScope() as scope:
            self.scopes[number] = scope
            try:
                response = await self.transport.send(request)
                try:
                    content = b"".join([piece async for piece in response.body])
                finally:
                    await response.body.aclose()
            except TransportError as error:
                self.said[error.delivery.name] += 1
                arrived = self.server.arrived[number]
                if arrived and error.delivery is Delivery.NEVER_SENT:
                    self.wrong.append(f"{number} arrived, and was never sent: {error!r}")
                if not arrived and error.delivery is not Delivery.NEVER_SENT:
                    self.wrong.append(f"{number} ({method}) never arrived, and may have been processed: {error!r}")
            else:
                self.said["answer"] += 1
                if response.status != 200 or content != b"answer to %d" % number:
                    self.wrong.append(f"{number} got {response.status} {content!r}")
        if scope.cancelled_caught:
            self.said["cancelled"] += 1
        on_its_way.discard(number)
        del self.scopes[number]

    def cancel(self, number: int) -> None:
        self.scopes[number].cancel()


async def storm(
    make: Callable[[TransportSettings], Transport], count: int, *, with_tls: bool = False, is_httpx: bool = False
) -> Caller:
    client, tls = None, None
    if with_tls:
        authority = trustme.CA()
        client, tls = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType] - names pyOpenSSL's types
        authority.issue_cert("127.0.0.1").configure_cert(tls)  # pyright: ignore[reportUnknownMemberType]
    server = Server(SEED, on_its_way=set() if is_httpx else None)
    async with listen(server.converse, tls=tls) as site:
        transport = make(TransportSettings(max_connections=CONNECTIONS, ssl_context=client))
        caller = Caller(transport, site.origin, server)
        server.cancel = caller.cancel
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                await caller.call(number)
                for _ in range(20 if is_httpx else 0):  # or there would never be a moment without a request on its way
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            for _ in range(3 if is_httpx else CONNECTIONS + 5):
                tasks.start_soon(work)
        await transport.aclose()

    assert not caller.wrong[:5]
    assert sum(caller.said.values()) == count
    assert all(times == 1 for times in server.arrived.values())
    return caller


def by_session(settings: TransportSettings) -> Transport:
    return AiohttpTransport(attrs.evolve(settings, trust_env=True))


def by_httpx(settings: TransportSettings) -> Transport:
    return HttpxTransport(settings, library="httpx")


def by_httpx2(settings: TransportSettings) -> Transport:
    return HttpxTransport(settings, library="httpx2")


@pytest.mark.runtimes("asyncio")
async def test_aiohttp() -> None:
    """10,000 requests, by the fast path and by the session: each has its own answer, or an error that says truly whether it arrived."""
    caller = await storm(AiohttpTransport, 10_000)

    assert caller.server.did.keys() == ACTIONS.keys()
    assert caller.said["answer"] > 8000


@pytest.mark.runtimes("asyncio", "uvloop")
@pytest.mark.parametrize("make", [AiohttpTransport, by_session], ids=["both", "session"])
@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "TLS"])
async def test_aiohttp_elsewhere(make: Callable[[TransportSettings], Transport], *, with_tls: bool) -> None:
    """So it is with TLS, on uvloop, and where every request goes by the session."""
    caller = await storm(make, 1_000, with_tls=with_tls)

    assert caller.said["answer"] > 800


@pytest.mark.parametrize("make", [by_httpx, by_httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "TLS"])
async def test_httpx(make: Callable[[TransportSettings], Transport], *, with_tls: bool) -> None:
    """So it is over httpx and httpx2."""
    caller = await storm(make, 600, with_tls=with_tls, is_httpx=True)

    assert caller.said["answer"] > 480
    assert caller.server.unasked > 20


@pytest.mark.parametrize("make", [by_httpx2, by_httpx, AiohttpTransport, by_session])
@pytest.mark.parametrize("size", [10, 40_000])
async def test_sixty_creates(anyio_backend_name: str, make: Callable[[TransportSettings], Transport], size: int) -> None:
    """Against a server that says keep-alive and closes after each answer, none of 60 creates in a row is ambiguous."""
    if make in (AiohttpTransport, by_session) and anyio_backend_name == "trio":
        pytest.skip("aiohttp runs on asyncio")

    async def conversation(peer: Peer) -> None:
        if await peer.request() is not None:
            await peer.reply(Reply(201, [("Connection", "keep-alive")], b'{"data": {"id": "a1"}}'))

    async with listen(conversation) as site:
        limits = LimitSettings(enabled=False)
        async with Mux(token_id="id", token_secret="secret", base_url=site.origin, transport=make, limits=limits) as mux:
            for _ in range(60):
                await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], passthrough="x" * size)

        assert len(site.requests) == site.connections == 60
