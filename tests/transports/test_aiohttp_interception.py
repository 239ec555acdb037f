"""Mocks of aiohttp's session get every request, and the server gets none; without them the fast path is used again."""

from __future__ import annotations

import gc
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async import AmbiguousOutcomeError, LimitSettings, Mux
from mux_async.testing.loopback import Reply, Site, always, listen, talk
from mux_async.transport import HttpRequest, TransportError
from mux_async_aiohttp import AiohttpTransport

pytestmark = pytest.mark.asyncio

HEADERS = CIMultiDictProxy(CIMultiDict({"User-Agent": "me"}))
VERBS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]


def serve() -> AbstractAsyncContextManager[Site]:
    """A server that must not be reached while its responses are mocked."""
    return listen(talk(always(Reply(body=b"real"))))


async def fetch(transport: AiohttpTransport, site: Site, method: str = "GET", body: bytes | None = None) -> bytes:
    response = await transport.send(HttpRequest(method, f"{site.origin}/x", HEADERS, body))
    try:
        return b"".join([piece async for piece in response.body])
    finally:
        await response.body.aclose()


def canned(content: bytes = b"canned") -> Any:
    """A response as mocks make it: with the attributes that are read, and no more."""
    pieces = [content]

    async def readany() -> bytes:
        return pieces.pop() if pieces else b""

    stream = SimpleNamespace(readany=readany)
    return SimpleNamespace(status=200, headers=CIMultiDictProxy(CIMultiDict[str]()), content=stream, closed=True)


def by_coroutine(name: str) -> AbstractContextManager[Any]:
    return mock.patch.object(aiohttp.ClientSession, name, mock.AsyncMock(return_value=canned()))


def by_context(name: str) -> AbstractContextManager[Any]:
    """As for ``async with session.get(...) as response``."""
    found = mock.MagicMock()
    found.return_value.__aenter__.return_value = canned()
    return mock.patch.object(aiohttp.ClientSession, name, found)


@pytest.mark.parametrize("body", [None, b"{}", bytes(100_000)], ids=["no body", "small", "large"])
@pytest.mark.parametrize("replace", [by_coroutine, by_context])
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after the first request"])
@pytest.mark.parametrize("name", ["request", "get", "post", "put", "delete", "patch", "head", "options"])
async def test_methods(name: str, replace: Any, body: bytes | None, *, is_first: bool) -> None:
    """A replaced method of the session gets its requests, however its result is used, until it is restored."""
    async with serve() as site:
        method = "POST" if name == "request" else name.upper()
        transport = AiohttpTransport()
        if not is_first:
            await fetch(transport, site, method, body)
        before = len(site.requests)
        with replace(name) as replaced:
            assert await fetch(transport, site, method, body) == b"canned"
        assert replaced.call_count == 1
        assert len(site.requests) == before
        await fetch(transport, site, method, body)
        await transport.aclose()

        assert (replaced.call_count, len(site.requests)) == (1, before + 1)


@pytest.mark.parametrize("method", VERBS)
async def test_the_inner_method(method: str) -> None:
    """``_request``, which recorders replace, gets requests of every method."""
    async with serve() as site:
        transport = AiohttpTransport()
        with by_coroutine("_request") as replaced:
            assert await fetch(transport, site, method, b"x") == b"canned"
        await transport.aclose()

        assert replaced.call_count == 1
        assert not site.requests


async def test_entering() -> None:
    """A test that replaces what ``async with ClientSession()`` gives has its session used."""
    async with serve() as site:
        transport = AiohttpTransport()
        stand_in = mock.MagicMock()
        stand_in.request = mock.AsyncMock(return_value=canned())
        with mock.patch.object(aiohttp.ClientSession, "__aenter__", mock.AsyncMock(return_value=stand_in)):
            assert await fetch(transport, site) == b"canned"
        await transport.aclose()

        assert not site.requests


async def test_the_whole_class() -> None:
    """A class of session that is replaced before the transport is made is used."""
    async with serve() as site:
        stand_in = mock.MagicMock()
        stand_in.return_value.request = mock.AsyncMock(return_value=canned())
        stand_in.return_value.closed = False
        stand_in.return_value.close = mock.AsyncMock()
        with mock.patch.object(aiohttp, "ClientSession", stand_in):
            transport = AiohttpTransport()
            assert await fetch(transport, site) == b"canned"
            await transport.aclose()
        assert not site.requests


@pytest.mark.parametrize("is_handed_in", [True, False])
@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
async def test_a_subclass(monkeypatch: pytest.MonkeyPatch, *, is_handed_in: bool) -> None:
    """A subclass of the session gets every request, passed in or as a replacement of aiohttp's class."""
    async with serve() as site:
        seen: list[str] = []

        class Subclass(aiohttp.ClientSession):
            def request(self, method: str, url: Any, **options: Any) -> Any:
                seen.append(method)
                return super().request(method, url, **options)

        monkeypatch.setattr(aiohttp, "ClientSession", Subclass)
        async with Subclass() as session:
            transport = AiohttpTransport(session=session) if is_handed_in else AiohttpTransport()
            assert await fetch(transport, site) == b"real"
            await transport.aclose()
        assert seen == ["GET"]


@pytest.mark.filterwarnings("ignore:Setting custom:DeprecationWarning")
@pytest.mark.parametrize("name", ["request", "get", "_request"])
async def test_an_instance(name: str) -> None:
    """A method that is replaced on one session is used for that one."""
    async with serve() as site:
        async with aiohttp.ClientSession() as session:
            setattr(session, name, mock.AsyncMock(return_value=canned()))
            transport = AiohttpTransport(session=session)
            assert await fetch(transport, site) == b"canned"
            await transport.aclose()
        gc.collect()

        assert not site.requests


async def test_what_a_stand_in_raises() -> None:
    """An error from a mock says that the request may have been processed, unless it is an error of the connection."""
    async with serve() as site:
        transport = AiohttpTransport()
        refused = aiohttp.ClientConnectorError(mock.Mock(ssl=True), OSError(111, "refused"))
        for error, wanted in [
            (aiohttp.ServerDisconnectedError(), "MAYBE_PROCESSED"),
            (ValueError("x"), "MAYBE_PROCESSED"),
            (KeyError("x"), "MAYBE_PROCESSED"),
            (refused, "NEVER_SENT"),
        ]:
            for body in (None, bytes(100_000)):
                with (
                    mock.patch.object(aiohttp.ClientSession, "request", side_effect=error),
                    pytest.raises(TransportError) as caught,
                ):
                    await fetch(transport, site, "POST", body)
                assert caught.value.delivery.name == wanted
        await transport.aclose()


async def test_through_the_client() -> None:
    """A create of the client goes to the mock too, and an unknown outcome is ambiguous."""
    async with serve() as site:
        limits = LimitSettings(enabled=False)
        async with Mux(token_id="id", token_secret="s", base_url=site.origin, limits=limits) as mux:
            await mux.with_options(max_attempts=1).request("HEAD", "/warm")
            with (
                mock.patch.object(aiohttp.ClientSession, "request", side_effect=aiohttp.ServerDisconnectedError()) as replaced,
                pytest.raises(AmbiguousOutcomeError),
            ):
                await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])
        assert replaced.call_count == 1
        assert len(site.requests) == 1
