"""The fake transport: answers by a function, remembers what was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import (
    Body,
    ConnectError,
    Delivery,
    HttpRequest,
    HttpResponse,
    Phase,
    Transport,
    TransportClosedError,
    TransportError,
)

pytestmark = pytest.mark.anyio

_fits: type[Transport] = FakeTransport


async def _read(response: HttpResponse) -> bytes:
    return b"".join([piece async for piece in response.body])


async def test_answers_by_the_request() -> None:
    """The handler sees the request and decides the answer: status, headers, JSON."""

    def handler(request: SentRequest) -> HttpResponse:
        return respond(201, json={"path": request.path, "query": request.query}, headers=[("X-A", "1"), ("X-A", "2")])

    transport = FakeTransport(handler)
    response = await transport.send(HttpRequest("GET", "https://api.test/a%2Fb?x=1&x=%2B"))

    assert response.status == 201
    assert response.headers.getall("x-a") == ["1", "2"]
    assert response.headers["content-type"] == "application/json"
    assert await _read(response) == b'{"path": "/a/b", "query": [["x", "1"], ["x", "+"]]}'


async def test_records_streamed_bodies() -> None:
    """A streamed body is read to its end, closed, and kept with the request."""
    closed: list[bool] = []

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b'{"a":'
            yield b" 1}"
        finally:
            closed.append(True)

    transport = FakeTransport()
    await transport.send(HttpRequest("PUT", "https://api.test/", body=Body(chunks)))

    assert transport.requests[0].content == b'{"a": 1}'
    assert transport.requests[0].json == {"a": 1}
    assert closed == [True]


async def test_failures() -> None:
    """An exception that the handler returns or raises is raised by ``send``; awaitable answers are awaited."""
    refused = ConnectError("no")

    async def later(request: SentRequest) -> HttpResponse | ConnectError:
        await anyio.lowlevel.checkpoint()
        return refused if request.method == "POST" else respond(204)

    def raises(request: SentRequest) -> HttpResponse:
        raise refused

    transport = FakeTransport(later)
    assert (await transport.send(HttpRequest("GET", "https://api.test/"))).status == 204
    with pytest.raises(ConnectError):
        await transport.send(HttpRequest("POST", "https://api.test/"))
    with pytest.raises(ConnectError):
        await FakeTransport(raises).send(HttpRequest("GET", "https://api.test/"))


async def test_body_that_breaks() -> None:
    """An exception among the pieces of a body is raised when reading gets there."""
    broken = TransportError("cut", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY)
    transport = FakeTransport(lambda _: respond(body=[b"abc", broken]))
    response = await transport.send(HttpRequest("GET", "https://api.test/"))
    pieces = aiter(response.body)

    assert await anext(pieces) == b"abc"
    with pytest.raises(TransportError, match="cut"):
        await anext(pieces)


async def test_unfinished() -> None:
    """Responses that were neither read to the end nor closed are counted."""
    transport = FakeTransport(lambda _: respond(body=[b"abc", b"def"]))
    read = await transport.send(HttpRequest("GET", "https://api.test/"))
    closed = await transport.send(HttpRequest("GET", "https://api.test/"))
    await _read(read)
    assert transport.unfinished == 1
    await closed.body.aclose()

    assert transport.unfinished == 0


async def test_closed() -> None:
    """A closed fake refuses requests as any transport does; closing again does nothing."""
    transport = FakeTransport()
    await transport.aclose()
    await transport.aclose()
    with pytest.raises(TransportClosedError):
        await transport.send(HttpRequest("GET", "https://api.test/"))

    assert transport.requests == []
