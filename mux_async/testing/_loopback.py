"""A server on 127.0.0.1 that does what a check tells it, byte for byte; it knows no more of HTTP than a check needs.

Sockets are driven by hand (readiness from anyio, calls from the standard library), because the checks are about what a library's server
would tidy away: resets, truncated answers, silence.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import anyio
import anyio.abc
import attrs
from anyio.streams.tls import TLSStream
from multidict import CIMultiDict, CIMultiDictProxy

_MAX_HEAD = 64 * 1024
_READ = 64 * 1024


@attrs.define(eq=False)
class Received:
    """A request as it arrived."""

    method: str
    target: str
    """Path and query as they were on the wire."""
    headers: CIMultiDictProxy[str]
    body: bytes = b""
    """What has arrived so far."""
    is_complete: bool = False
    """Whether the body arrived to its declared end."""


@attrs.frozen
class Reply:
    """What to answer.

    Attributes:
        status: HTTP status.
        headers: Names and values in order; names may repeat.
        body: Bytes, sent with their length; or pieces, sent as they are without a length known before.
    """

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | Sequence[bytes] = b""


Script: TypeAlias = Callable[[Received], Reply]
"""Decides what a request is answered with."""


class _Socket(anyio.abc.ByteStream):
    """A connected socket as anyio's streams see it."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw

    async def receive(self, max_bytes: int = _READ) -> bytes:
        while True:
            with suppress(BlockingIOError):
                data = self.raw.recv(max_bytes)
                break
            await anyio.wait_readable(self.raw)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        view = memoryview(item)
        while view:
            with suppress(BlockingIOError):
                view = view[self.raw.send(view) :]
                continue
            await anyio.wait_writable(self.raw)

    async def send_eof(self) -> None:
        self.raw.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        if self.raw.fileno() != -1:
            anyio.notify_closing(self.raw)
            self.raw.close()


class Peer:
    """The server's end of one connection.

    Attributes:
        number: Of the connection at its site, from 0.
    """

    def __init__(self, site: Site, number: int, raw: _Socket) -> None:
        self._site = site
        self._raw = raw
        self._stream: anyio.abc.ByteStream = raw
        self._buffer = bytearray()
        self.number = number

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Perform the server's half of a TLS handshake."""
        self._stream = await TLSStream.wrap(self._raw, server_side=True, ssl_context=context, standard_compatible=False)

    async def head(self) -> Received | None:
        """Read the head of the next request and note it at the site; ``None`` when the client closed instead."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_HEAD or not await self._fill():
                return None
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer[:] = rest
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _version = first.split(" ", 2)
        headers: CIMultiDict[str] = CIMultiDict()
        for line in lines:
            name, _, value = line.partition(":")
            headers.add(name, value.strip())
        received = Received(method, target, CIMultiDictProxy(headers))
        self._site.requests.append(received)
        return received

    async def request(self) -> Received | None:
        """Read the next request to its end; ``None`` when the client closed before that."""
        received = await self.head()
        if received is None:
            return None
        if "chunked" in received.headers.get("Transfer-Encoding", ""):
            while size := int((await self._until(b"\r\n")).split(b";")[0], 16):
                received.body += await self._exactly(size)
                await self._exactly(2)
            await self._exactly(2)
        else:
            received.body = await self._exactly(int(received.headers.get("Content-Length", "0")))
        received.is_complete = True
        return received

    async def receive(self) -> bytes:
        """Return whatever has arrived and was not read yet; empty when the client closed."""
        if not self._buffer and not await self._fill():
            return b""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def send(self, data: bytes) -> None:
        """Write *data* as it is."""
        await self._stream.send(data)
        self._site.sent += len(data)

    def has_input(self) -> bool:
        """Whether something of a request is here."""
        return bool(self._buffer) or bool(select.select([self._raw.raw], [], [], 0)[0])

    def send_now(self, data: bytes) -> None:
        """Write *data* without TLS, before the event loop, which is the client's too, runs again."""
        self._raw.raw.sendall(data)

    def end_now(self) -> None:
        """End the connection before the event loop runs again."""
        self._raw.raw.shutdown(socket.SHUT_WR)

    async def reply(self, reply: Reply, *, method: str = "GET", also: bytes = b"") -> None:
        """Write a well-formed answer, and *also* something more with it."""
        lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in reply.headers)]
        has_body = method != "HEAD" and reply.status not in (204, 304)
        if isinstance(reply.body, bytes):
            if has_body:
                lines.append(f"Content-Length: {len(reply.body)}")
            payload = reply.body
        else:
            lines.append("Transfer-Encoding: chunked")
            payload = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in reply.body) + b"0\r\n\r\n"
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (payload if has_body else b"") + also)

    async def reset(self) -> None:
        """Cut the connection: the client sees a reset, not an end."""
        self._raw.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._raw.aclose()

    async def aclose(self) -> None:
        """End the connection in order."""
        await self._raw.aclose()

    async def wait_closed(self) -> None:
        """Wait until the client has closed its end."""
        while await self.receive():
            pass

    async def _fill(self) -> bool:
        try:
            self._buffer += await self._stream.receive()
        except anyio.EndOfStream:
            return False
        return True

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if not await self._fill():
                raise anyio.EndOfStream
        line, _, rest = bytes(self._buffer).partition(mark)
        self._buffer[:] = rest
        return line

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not await self._fill():
                raise anyio.EndOfStream
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


Conversation: TypeAlias = Callable[[Peer], Awaitable[None]]
"""The server's part on one connection; when it returns, the connection is closed in order."""


@attrs.define(eq=False)
class Site:
    """A server while it serves.

    Attributes:
        origin: ``http://127.0.0.1:port``, or https.
        requests: Heads that arrived, oldest first.
        connections: How many were accepted.
        open: How many are open now.
        sent: Bytes written to clients.
    """

    origin: str
    requests: list[Received] = attrs.field(factory=list[Received])
    connections: int = 0
    open: int = 0
    sent: int = 0
    _change: anyio.Event = attrs.field(factory=anyio.Event)

    async def wait_idle(self) -> None:
        """Wait until no connection is open: every client has closed."""
        while self.open:
            await self._change.wait()

    def count(self, by: int) -> None:
        """Note that a connection was opened (+1) or closed (-1)."""
        self.open += by
        self._change.set()
        self._change = anyio.Event()


def always(reply: Reply) -> Script:
    """Make a script that gives the same answer to everything."""
    return lambda _received: reply


def talk(script: Script) -> Conversation:
    """Make a conversation of a script: request after request is answered until the client closes."""

    async def conversation(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            reply = script(received)
            await peer.reply(reply, method=received.method)
            if ("Connection", "close") in reply.headers:
                return

    return conversation


@asynccontextmanager
async def listen(conversation: Conversation, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Site, None]:
    """Serve *conversation* on a free port of 127.0.0.1 while the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        scheme = "http" if tls is None else "https"
        site = Site(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_accept, listener, site, conversation, tls, tasks)
            try:
                yield site
            finally:
                tasks.cancel_scope.cancel()


async def _accept(
    listener: socket.socket,
    site: Site,
    conversation: Conversation,
    tls: ssl.SSLContext | None,
    tasks: anyio.abc.TaskGroup,
) -> None:
    while True:
        with suppress(BlockingIOError):
            connected, _address = listener.accept()
            connected.settimeout(0)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent arrives, also after an answer
            tasks.start_soon(_serve, Peer(site, site.connections, _Socket(connected)), site, conversation, tls)
            site.connections += 1
            continue
        await anyio.wait_readable(listener)


async def _serve(peer: Peer, site: Site, conversation: Conversation, tls: ssl.SSLContext | None) -> None:
    site.count(+1)
    try:
        # A client that goes away is what most checks are about.
        with suppress(OSError, ssl.SSLError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            if tls is not None:
                await peer.start_tls(tls)
            await conversation(peer)
    finally:
        await peer.aclose()
        site.count(-1)
