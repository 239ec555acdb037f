"""A scripted server on 127.0.0.1 for tests of transports. The conformance checks of `mux_async.testing` use it.

A script says what each request is answered with::

    async with listen(talk(always(Reply(body=b"ok")))) as site:
        response = await transport.send(HttpRequest("GET", site.origin + "/"))

For what is no well-formed response (a reset, a truncated body, silence), write a `Conversation`: it handles one connection, byte by byte
if need be. Sockets are driven without an HTTP library, because a library's server would not send any of that. The server knows only as
much of HTTP/1.1 as tests need. It runs on asyncio and trio.
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

__all__ = ["Conversation", "Peer", "Received", "Reply", "Script", "Site", "always", "listen", "talk"]

_MAX_HEAD = 64 * 1024
_READ = 64 * 1024


@attrs.define(eq=False)
class Received:
    """A request as it arrived."""

    method: str
    target: str
    """Path and query as they were sent."""
    headers: CIMultiDictProxy[str]
    body: bytes = b""
    """The part of the body that has arrived so far."""
    is_complete: bool = False
    """Whether the body arrived to its declared end."""


@attrs.frozen
class Reply:
    """A response to send.

    Attributes:
        status: HTTP status.
        headers: Names and values in order; names may repeat.
        body: Bytes, sent with a ``Content-Length``; or pieces, each sent as a chunk.
    """

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | Sequence[bytes] = b""


Script: TypeAlias = Callable[[Received], Reply]
"""Returns the response to a request."""


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
    """The server's end of one connection. `listen` makes one for each connection that it accepts.

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
        """Perform the server's half of a TLS handshake; everything after it is encrypted."""
        self._stream = await TLSStream.wrap(self._raw, server_side=True, ssl_context=context, standard_compatible=False)

    async def head(self) -> Received | None:
        """Read the head of the next request and add it to `Site.requests`; ``None`` if the client closed the connection."""
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
        """Read the next request to its end, and add it to `Site.requests`; ``None`` if the client closed the connection before its head."""
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
        """Return the bytes that arrived and were not read yet, after waiting for some; empty if the client closed the connection."""
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
        """Return whether bytes arrived that were not read yet. Does not wait."""
        return bool(self._buffer) or bool(select.select([self._raw.raw], [], [], 0)[0])

    def send_now(self, data: bytes) -> None:
        """Write *data* without TLS and without a switch to other tasks: the client has not run when it returns."""
        self._raw.raw.sendall(data)

    def end_now(self) -> None:
        """Shut the sending side down without a switch to other tasks."""
        self._raw.raw.shutdown(socket.SHUT_WR)

    async def reply(self, reply: Reply, *, method: str = "GET", also: bytes = b"") -> None:
        """Write a well-formed response to a request with *method*, and the bytes *also* after it, in one go."""
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
        """Reset the connection: the client sees ``ECONNRESET`` instead of an end."""
        self._raw.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._raw.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._raw.aclose()

    async def wait_closed(self) -> None:
        """Read and drop bytes until the client has closed its end."""
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
"""Serves one connection. When it returns, the connection is closed."""


@attrs.define(eq=False)
class Site:
    """A running server, as `listen` gives it.

    Attributes:
        origin: ``http://127.0.0.1:port``, or ``https://``.
        requests: Requests whose heads arrived, oldest first.
        connections: Number of connections that were accepted.
        open: Number of connections that are open now.
        sent: Bytes written to clients.
    """

    origin: str
    requests: list[Received] = attrs.field(factory=list[Received])
    connections: int = 0
    open: int = 0
    sent: int = 0
    _change: anyio.Event = attrs.field(factory=anyio.Event)

    async def wait_idle(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            await self._change.wait()


@attrs.define(eq=False)
class _ServedSite(Site):
    """A site whose open connections are counted."""

    def count(self, by: int) -> None:
        """Count a connection that was opened (+1) or closed (-1)."""
        self.open += by
        self._change.set()
        self._change = anyio.Event()


def always(reply: Reply) -> Script:
    """Return a script that answers every request with *reply*."""
    return lambda _received: reply


def talk(script: Script) -> Conversation:
    """Return a conversation that answers every request by *script*, until the client closes or a reply says ``Connection: close``."""

    async def conversation(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            reply = script(received)
            await peer.reply(reply, method=received.method)
            if ("Connection", "close") in reply.headers:
                return

    return conversation


@asynccontextmanager
async def listen(conversation: Conversation, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Site, None]:
    """Serve *conversation* on a free port of 127.0.0.1 while the block lasts; connections that are open at its end are cut.

    Args:
        conversation: Serves one connection; runs once for each, and several at once.
        tls: Context of the server's side. With one, every connection begins with a handshake.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        scheme = "http" if tls is None else "https"
        site = _ServedSite(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_accept, listener, site, conversation, tls, tasks)
            try:
                yield site
            finally:
                tasks.cancel_scope.cancel()


async def _accept(
    listener: socket.socket,
    site: _ServedSite,
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


async def _serve(peer: Peer, site: _ServedSite, conversation: Conversation, tls: ssl.SSLContext | None) -> None:
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
