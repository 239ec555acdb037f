"""aioresponses through the real client and the real aiohttp adapter: how users of aiohttp test their programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aioresponses import CallbackResult
from yarl import URL

from mux_async import AmbiguousOutcomeError, Mux, NotFoundError, testing
from mux_async.transport import Body, Delivery, HttpRequest, TransportError, TransportTimeoutError
from mux_async_aiohttp import AiohttpTransport

pytestmark = pytest.mark.asyncio

ASSETS = "https://api.mux.com/video/v1/assets"


# aioresponses annotates half of itself, which strict checkers complain about at every use.
patched_aioresponses: Any = testing.patched_aioresponses


def open_mux(**options: Any) -> Mux:
    return Mux(token_id="id", token_secret="secret", **options)


async def test_typed_answer() -> None:
    """A scripted answer comes out of the client as a typed model, with its request id."""
    with patched_aioresponses() as mocked:
        data = {"id": "a1", "status": "ready", "created_at": "1700000000", "passthrough": "film"}
        mocked.get(f"{ASSETS}/a1", payload={"data": data}, headers={"X-Request-Id": "r1"})
        async with open_mux() as mux:
            raw = await mux.video.assets.with_raw_response.retrieve("a1")

    assert raw.value.passthrough == "film"
    assert raw.request_id == "r1"


async def test_what_was_sent() -> None:
    """The body of a request can be read as bytes, with the headers it was sent with."""
    with patched_aioresponses() as mocked:
        mocked.post(ASSETS, status=201, payload={"data": {"id": "a1", "status": "preparing", "created_at": "1"}})
        async with open_mux() as mux:
            await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])

    [call] = mocked.requests["POST", URL(ASSETS)]
    assert call.kwargs["data"] == b'{"inputs":[{"url":"https://example.com/a.mp4"}]}'
    assert call.kwargs["headers"]["Authorization"].startswith("Basic ")


async def test_error_status() -> None:
    """An error status is raised as the error it is."""
    with patched_aioresponses() as mocked:
        mocked.get(f"{ASSETS}/a1", status=404, payload={"error": {"type": "not_found", "messages": ["gone"]}})
        async with open_mux() as mux:
            with pytest.raises(NotFoundError, match="gone"):
                await mux.video.assets.retrieve("a1")


async def test_lost_post() -> None:
    """A POST whose connection is lost is reported as ambiguous, as on a real network, and was sent once."""
    with patched_aioresponses() as mocked:
        mocked.post(ASSETS, exception=aiohttp.ServerDisconnectedError(), repeat=True)
        async with open_mux() as mux:
            with pytest.raises(AmbiguousOutcomeError):
                await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])

    assert len(mocked.requests["POST", URL(ASSETS)]) == 1


async def test_callbacks() -> None:
    """Answers computed by a function work, plain and async."""

    def plain(url: URL, **kwargs: Any) -> CallbackResult:
        return CallbackResult(status=308, headers={"Range": "bytes=0-9"})

    async def later(url: URL, **kwargs: Any) -> CallbackResult:
        return CallbackResult(body=kwargs["data"])

    async def chunks() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"def"

    with patched_aioresponses() as mocked:
        mocked.put("https://upload.test/u", callback=plain)
        mocked.put("https://upload.test/u", callback=later)
        transport = AiohttpTransport()
        first = await transport.send(HttpRequest("PUT", "https://upload.test/u", body=b"0123456789"))
        second = await transport.send(HttpRequest("PUT", "https://upload.test/u", body=Body(chunks, 6)))
        echoed = b"".join([piece async for piece in second.body])
        await transport.aclose()

    assert (first.status, first.headers["range"]) == (308, "bytes=0-9")
    assert echoed == b"abcdef"


async def test_timeout() -> None:
    """A scripted timeout is a timeout, after the request was sent."""
    with patched_aioresponses() as mocked:
        mocked.post(ASSETS, timeout=True)
        transport = AiohttpTransport()
        with pytest.raises(TransportTimeoutError) as caught:
            await transport.send(HttpRequest("POST", ASSETS, body=b"{}"))
        await transport.aclose()

    assert caught.value.delivery is Delivery.MAYBE_PROCESSED


async def test_unmatched() -> None:
    """An address that nothing was said about is a lost connection."""
    transport = AiohttpTransport()
    with patched_aioresponses(), pytest.raises(TransportError):
        await transport.send(HttpRequest("GET", ASSETS))
    await transport.aclose()


async def test_as_decorator() -> None:
    """It decorates test functions, as the original does."""

    async def decorated(mocked: Any) -> int:
        mocked.get(ASSETS, status=204)
        transport = AiohttpTransport()
        response = await transport.send(HttpRequest("GET", ASSETS))
        await response.body.aclose()
        await transport.aclose()
        return response.status

    assert await patched_aioresponses()(decorated)() == 204


async def test_imports_nothing_early() -> None:
    """`mux_async.testing` imports no HTTP library, trio or aioresponses before they are used."""
    heavy = {"aiohttp", "httpx", "httpx2", "aioresponses", "trio", "trustme"}
    code = f"import mux_async.testing, sys; print(sorted({heavy!r} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout  # noqa: ASYNC221

    assert output.strip() == "[]"
