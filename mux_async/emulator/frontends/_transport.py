"""The in-process frontend: a transport that passes requests to an emulator instead of a network.

Runs on asyncio and trio, opens no socket, and raises what a real transport raises when a fault asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, cast
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async.emulator.frontends._responses import follow, read, settled
from mux_async.emulator.http._messages import Request, Response
from mux_async.emulator.routing._exchange import Reply
from mux_async.errors import ConnectError, Delivery, Phase, TransportClosedError, TransportError, TransportTimeoutError
from mux_async.transport import Body, HttpRequest, HttpResponse, ResponseBody, Transport

_PIECE = 64 * 1024


class Conversation(Protocol):
    """One request being received; see `mux_async.emulator.Exchange`."""

    @property
    def is_refused(self) -> bool: ...

    def feed(self, data: bytes, /) -> bool: ...

    def finish(self) -> Reply: ...

    def cut(self) -> None: ...


class Endpoint(Protocol):
    """What responds to requests: an `Emulator`, or a replacement."""

    def begin(self, request: Request, /) -> Conversation: ...


class EmulatorTransport:
    """A `mux_async.transport.Transport` whose other end is an `Emulator`.

    Any host is answered, so that no base URL needs to be set; upload URLs point to the host that was asked.

    Args:
        emulator: May be shared by any number of transports and event loops of one thread.
    """

    def __init__(self, emulator: Endpoint) -> None:
        self._endpoint = emulator
        self._is_closed = False

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Perform one exchange. See `mux_async.transport.Transport.send`."""
        if self._is_closed:
            raise TransportClosedError("emulator")
        exchange = self._endpoint.begin(_translate(request))
        if exchange.is_refused:
            exchange.cut()
            await anyio.lowlevel.checkpoint()
            raise ConnectError("a fault of the emulator refused the connection")
        try:
            await self._send_body(request, exchange)
            await anyio.lowlevel.checkpoint()
            reply = exchange.finish()
        finally:
            exchange.cut()  # no effect after `finish`
        if reply.response is not None:
            reply = attrs.evolve(reply, response=await settled(reply.response))
        await _wait(reply, request)
        if reply.response is None:
            raise TransportError(
                "a fault of the emulator broke the connection before the response",
                delivery=Delivery.MAYBE_PROCESSED,
                phase=Phase.READ_HEAD,
            )
        return _answer(request, reply.response, reply.truncate)

    @staticmethod
    async def _send_body(request: HttpRequest, exchange: Conversation) -> None:
        if isinstance(request.body, Body):
            async with aclosing(request.body.pieces()) as pieces:
                async for piece in pieces:
                    if not exchange.feed(bytes(piece)):
                        return
                    await anyio.lowlevel.checkpoint()
        elif request.body:
            exchange.feed(request.body)

    async def aclose(self) -> None:
        """Refuse further requests. The emulator stays as it is."""
        self._is_closed = True


def _translate(request: HttpRequest) -> Request:
    parts = urlsplit(request.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = CIMultiDict(request.headers)
    length = request.body.length if isinstance(request.body, Body) else len(request.body or b"")
    if length is not None:
        headers["Content-Length"] = str(length)
    return Request(request.method, target, headers, origin=f"{parts.scheme}://{parts.netloc}")


async def _wait(reply: Reply, request: HttpRequest) -> None:
    limit = request.timeouts.read
    if limit is not None and reply.delay > limit:
        await anyio.sleep(limit)
        raise TransportTimeoutError(f"no answer within {limit} s", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
    if reply.delay:
        await anyio.sleep(reply.delay)


def _answer(request: HttpRequest, response: Response, truncate: int | None) -> HttpResponse:
    headers = CIMultiDict(response.headers)
    if response.status != 204 and response.feed is None:
        headers["Content-Length"] = str(response.length)
    if response.feed is not None:
        pieces = follow(response.feed, runs_steps=True)
    elif response.file is None or request.method == "HEAD":
        pieces = _cut(b"" if request.method == "HEAD" else response.body)
    else:
        pieces = read(response.file)
    return HttpResponse(response.status, CIMultiDictProxy(headers), cast("ResponseBody", _body(pieces, truncate)))


async def _cut(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


async def _body(pieces: AsyncGenerator[bytes, None], truncate: int | None) -> AsyncGenerator[bytes, None]:
    """Yield the body of a response; break off after *truncate* bytes."""
    left = truncate
    async with aclosing(pieces):
        async for piece in pieces:
            await anyio.lowlevel.checkpoint()
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            if not piece:
                break
            yield piece
            if left == 0:
                break
    await anyio.lowlevel.checkpoint()
    if left is not None:
        raise TransportError(
            "a fault of the emulator broke the connection within the response",
            delivery=Delivery.ANSWERED,
            phase=Phase.READ_BODY,
        )


_transport_type: type[Transport] = EmulatorTransport  # checked by the type checkers
