"""What a conformance check works with: a transport under test, servers to talk to, and a way to say what is wrong."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import attrs

from mux_async.errors import Delivery, Phase, TransportError
from mux_async.testing.loopback import Conversation, Peer, Received, Reply, Script, Site, listen, talk
from mux_async.transport import Body, HttpRequest, HttpResponse, Timeouts, Transport, TransportFactory, TransportSettings

E = TypeVar("E", bound=BaseException)

PATIENCE = 10.0
"""Seconds after which something that should have happened has not. Only a failing check waits as long."""


class ConformanceError(AssertionError):
    """A transport does not keep its contract; the message says which part."""


def expect(is_kept: object, message: str) -> None:
    """Raise `ConformanceError` with *message* unless *is_kept*."""
    if not is_kept:
        raise ConformanceError(message)


class Bench(Protocol):
    """Where a check that only exchanges whole messages runs: over sockets, or inside the process."""

    def serve(self, script: Script) -> AbstractAsyncContextManager[Site]:
        """Answer requests to the origin of the returned site by *script*."""
        ...

    def transport(self) -> AbstractAsyncContextManager[Transport]:
        """Open a transport with default settings; it is closed at the end."""
        ...


class SocketBench:
    """A bench with real sockets on 127.0.0.1, for transports that have any."""

    def __init__(self, make_transport: TransportFactory) -> None:
        self._make_transport = make_transport

    def serve(self, script: Script) -> AbstractAsyncContextManager[Site]:
        return listen(talk(script))

    def listen(self, conversation: Conversation, **options: Any) -> AbstractAsyncContextManager[Site]:
        """Serve what is not an exchange of whole messages."""
        return listen(conversation, **options)

    @asynccontextmanager
    async def transport(self, **settings: Any) -> AsyncGenerator[Transport, None]:
        """Open a transport with *settings*, fields of `TransportSettings`; it is closed at the end."""
        transport = self._make_transport(TransportSettings(**settings))
        try:
            yield transport
        finally:
            with anyio.CancelScope(shield=True):
                await transport.aclose()


Connect: TypeAlias = Callable[[Script], Transport]
"""Makes an in-process transport whose every request is answered by the script. `Received.target` is path and query, and
``Received.headers`` holds the ``Host`` that was asked for."""


class InProcessBench:
    """A bench without sockets: the sites live in a dictionary, told apart by host."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._scripts: dict[str, tuple[Site, Script]] = {}

    @asynccontextmanager
    async def serve(self, script: Script) -> AsyncGenerator[Site, None]:
        host = f"site-{len(self._scripts)}.test"
        site = Site(f"http://{host}")
        self._scripts[host] = site, script
        yield site

    @asynccontextmanager
    async def transport(self) -> AsyncGenerator[Transport, None]:
        transport = self._connect(self._answer)
        try:
            yield transport
        finally:
            await transport.aclose()

    def _answer(self, received: Received) -> Reply:
        site, script = self._scripts[received.headers["Host"]]
        site.requests.append(received)
        return script(received)


@attrs.frozen
class Check:
    """One promise of the transport boundary, and how to see whether it is kept.

    Attributes:
        name: Short, for reports: ``"refused connection"``.
        claim: The promise, in a sentence.
        run: Takes a bench and raises `ConformanceError` when the promise is broken.
        needs_sockets: Whether it is about what happens on the wire; ``run`` takes a `SocketBench` then.
    """

    name: str
    claim: str
    run: Callable[[Any], Awaitable[None]] = attrs.field(repr=False)
    needs_sockets: bool

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def message_check(run: Callable[[Any], Awaitable[None]]) -> Check:
    """Make a check of a function, which also runs without sockets. Its name and docstring are the check's."""
    return Check(
        getattr(run, "__name__", "").replace("_", " "), " ".join((run.__doc__ or "").split()), run, needs_sockets=False
    )


def socket_check(run: Callable[[Any], Awaitable[None]]) -> Check:
    """Make a check of a function, which takes a `SocketBench`."""
    return attrs.evolve(message_check(run), needs_sockets=True)


# Helpers of the checks

LONG = Timeouts(connect=PATIENCE, read=PATIENCE, write=PATIENCE)
"""For checks in which no timeout should fire."""
SHORT_CONNECT = attrs.evolve(LONG, connect=0.15)
SHORT_READ = attrs.evolve(LONG, read=0.15)
SHORT_WRITE = attrs.evolve(LONG, read=0.15, write=0.15)
"""Libraries that cannot time a write alone may leave it to ``read``."""


def request(
    site: Site,
    target: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | Body | None = None,
    timeouts: Timeouts = LONG,
) -> HttpRequest:
    """Build a request to *site*."""
    return HttpRequest(method, site.origin + target, headers or {"User-Agent": "conformance"}, body, timeouts)


async def read(response: HttpResponse) -> bytes:
    """Read the body to its end and close it."""
    content = bytearray()
    async for piece in response.body:
        expect(piece, "the body gave an empty piece; pieces are not empty")
        content += piece
    await response.body.aclose()
    return bytes(content)


async def exchange(transport: Transport, site: Site, target: str = "/", **options: Any) -> tuple[HttpResponse, bytes]:
    """Send a request and read the answer to its end."""
    response = await transport.send(request(site, target, **options))
    return response, await read(response)


async def expect_alive(transport: Transport, site: Site) -> None:
    """Check that the transport still works."""
    response, content = await exchange(transport, site, "/alive")
    expect(response.status == 200 and content == b"alive", "the request after it did not work")


async def failing(awaitable: Awaitable[object], kind: type[E]) -> E:
    """Await what should raise *kind*, and return what it raised."""
    try:
        with anyio.fail_after(PATIENCE):
            result = await awaitable
    except kind as error:
        return error
    except Exception as error:
        raise ConformanceError(f"it raised {error!r}; {kind.__name__} was due") from error
    raise ConformanceError(f"it gave {result!r}; {kind.__name__} was due")


BODIES = {"GET": None, "POST": b'{"a": 1}', "PUT": b"x" * 1000, "DELETE": None}
"""One request of each kind, by method: safe or not, idempotent or not, with a body or without."""


def expect_failure(error: TransportError, delivery: Delivery, *phases: Phase) -> None:
    """Check what *error* says about the request, and in which phase it came."""
    expect(error.delivery is delivery, f"delivery is {error.delivery.value!r}, and it was {delivery.value!r}: {error!r}")
    names = " or ".join(repr(phase.value) for phase in phases)
    expect(error.phase in phases, f"phase is {error.phase.value!r}, and it was {names}: {error!r}")


class Upload:
    """A streamed request body that knows what became of it."""

    def __init__(self, pieces: int = 3, size: int = 1000, *, length: int | None = None) -> None:
        self._pieces = pieces
        self._size = size
        self._length = length
        self.given = 0
        """Bytes produced."""
        self.opened = 0
        self.closed = 0
        self.failure: BaseException | None = None
        """Raised after the first piece, when set."""

    @property
    def content(self) -> bytes:
        """All bytes of the body."""
        return b"".join(self._piece(number) for number in range(self._pieces))

    @property
    def body(self) -> Body:
        """The body to send."""
        return Body(self._chunks, self._length)

    async def _chunks(self) -> AsyncIterator[bytes]:
        self.opened += 1
        try:
            for number in range(self._pieces):
                self.given += self._size
                yield self._piece(number)
                await anyio.lowlevel.checkpoint()
                if self.failure is not None:
                    raise self.failure
        finally:
            self.closed += 1

    def _piece(self, number: int) -> bytes:
        return bytes([65 + number % 26]) * self._size

    def expect_closed(self) -> None:
        """Check that the generator was closed as often as it was opened."""
        expect(self.opened == self.closed, "the generator of the request body was left open")


def sending(data: bytes = b"", *, waits: bool = False) -> Conversation:
    """Make a conversation that sends *data* unchanged after a request, and then closes, or waits until the client closes."""

    async def conversation(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        if waits:
            await peer.wait_closed()

    return conversation
