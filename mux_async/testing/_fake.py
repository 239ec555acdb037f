"""A transport that asks a function: what tests put in the place of a network."""

from __future__ import annotations

import inspect
import json as _json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async._types import UNSET, Unset
from mux_async.transport import Body, HttpRequest, HttpResponse, TransportClosedError

Piece: TypeAlias = bytes | BaseException
"""What a scripted body is made of: bytes to deliver, or an exception to raise at that place."""


@attrs.frozen(repr=False)
class SentRequest(HttpRequest):
    """A request as a fake saw it: the same values, with a streamed body read to its end."""

    @property
    def content(self) -> bytes:
        """The body; empty when there was none."""
        return self.body if isinstance(self.body, bytes) else b""

    @property
    def json(self) -> Any:
        """The body, decoded; ``None`` when there was none."""
        return _json.loads(self.content) if self.content else None

    @property
    def path(self) -> str:
        """The path of the URL, percent-decoded."""
        return unquote(urlsplit(self.url).path)

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query of the URL, decoded, in order, repeated names kept."""
        return parse_qsl(urlsplit(self.url).query, keep_blank_values=True)


Answer: TypeAlias = HttpResponse | BaseException
Handler: TypeAlias = Callable[[SentRequest], Answer | Awaitable[Answer]]
"""Decides what a request is answered with. A returned exception is raised, like a raised one."""


class FakeBody:
    """The body of a scripted answer. Knows whether it was read to its end or closed."""

    def __init__(self, pieces: Iterable[Piece] | AsyncIterable[Piece]) -> None:
        self._pieces = aiter(pieces) if isinstance(pieces, AsyncIterable) else iter(pieces)
        self.is_finished: bool = False
        """Whether it was read to its end, failed, or was closed: what every answer must come to."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece that is not empty."""
        is_over = True
        try:
            while not self.is_finished:
                piece = await anext(self._pieces) if isinstance(self._pieces, AsyncIterator) else next(self._pieces, None)
                if isinstance(piece, BaseException):
                    raise piece
                if piece is None:
                    break
                if piece:
                    is_over = False
                    return piece
        finally:
            if is_over:
                await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Finish. Any number of times."""
        self.is_finished = True
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


def respond(
    status: int = 200,
    *,
    json: object | Unset = UNSET,
    body: bytes | Iterable[Piece] | AsyncIterable[Piece] = b"",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> HttpResponse:
    """Build an answer.

    Args:
        status: HTTP status.
        json: A value to encode as the body; sets ``Content-Type`` unless *headers* has one.
        body: The bytes, or pieces of them; an exception among the pieces is raised when reading gets there.
        headers: Names and values; pairs may repeat a name.
    """
    items: CIMultiDict[str] = CIMultiDict(headers)
    if not isinstance(json, type(UNSET)):
        body = _json.dumps(json).encode()
        items.setdefault("Content-Type", "application/json")
    pieces: Iterable[Piece] | AsyncIterable[Piece] = [body] if isinstance(body, bytes) else body
    if isinstance(body, bytes):
        items.setdefault("Content-Length", str(len(body)))
    return HttpResponse(status, CIMultiDictProxy(items), FakeBody(pieces))


class FakeTransport:
    """A transport without a network: a function decides what comes back.

    ::

        transport = FakeTransport(lambda request: respond(json={"data": {"id": "a1"}}))
        async with Mux(transport=transport, token_id="id", token_secret="secret") as mux:
            asset = await mux.video.assets.retrieve("a1")
        assert transport.requests[0].path == "/video/v1/assets/a1"

    Args:
        handler: Called with each request after its body was read; returns an answer (`respond`) or an exception to raise, or an
            awaitable of either. It may also raise. The default answers 200 with an empty JSON object.

    Attributes:
        requests: What was sent, oldest first.
        is_closed: Whether ``aclose`` was called.
    """

    def __init__(self, handler: Handler | None = None) -> None:
        self._handler: Handler = handler or (lambda _request: respond(json={}))
        self._bodies: list[FakeBody] = []
        self.requests: list[SentRequest] = []
        self.is_closed: bool = False

    @property
    def unfinished(self) -> int:
        """Answers handed out whose body was neither read to its end nor closed. After a test: 0."""
        return sum(not body.is_finished for body in self._bodies)

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Record *request* and answer as the handler says.

        Raises:
            TransportClosedError: ``aclose`` was called before.
        """
        if self.is_closed:
            raise TransportClosedError("fake")
        content = await _drain(request.body) if isinstance(request.body, Body) else request.body
        sent = SentRequest(request.method, request.url, request.headers, content, request.timeouts)
        self.requests.append(sent)
        answer = self._handler(sent)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer.body, FakeBody):
            self._bodies.append(answer.body)
        return answer

    async def aclose(self) -> None:
        """Refuse further requests."""
        self.is_closed = True


async def _drain(body: Body) -> bytes:
    chunks = body.chunks()
    received = bytearray()
    try:
        async for chunk in chunks:
            received += chunk
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return bytes(received)
