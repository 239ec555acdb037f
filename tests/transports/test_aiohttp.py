"""The aiohttp adapter: sessions of its own and of others, and requests that were never sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from mux_async.testing.loopback import Peer, Reply, always, listen, talk
from mux_async.transport import (
    Body,
    Delivery,
    HttpRequest,
    Timeouts,
    Transport,
    TransportClosedError,
    TransportError,
    TransportFactory,
    TransportSettings,
)
from mux_async_aiohttp import AiohttpTransport, create_transport

pytestmark = pytest.mark.asyncio

_fits: type[Transport] = AiohttpTransport
_makes: TransportFactory = create_transport

OK = talk(always(Reply(body=b"ok")))


async def test_session_handed_in() -> None:
    """A session that was passed in is used, with its own settings, and stays open when the transport closes."""
    async with listen(OK) as site, aiohttp.ClientSession(headers={"X-Mine": "yes"}) as session:
        transport = AiohttpTransport(session=session)
        response = await transport.send(HttpRequest("GET", site.origin + "/"))
        content = b"".join([piece async for piece in response.body])
        await transport.aclose()

        assert content == b"ok"
        assert site.requests[0].headers["X-Mine"] == "yes"
        assert not session.closed
        with pytest.raises(TransportClosedError):
            await transport.send(HttpRequest("GET", site.origin + "/"))


async def test_session_closed_by_its_owner() -> None:
    """When the owner of the session closes it, the transport is closed too, and says so."""
    session = aiohttp.ClientSession()
    transport = AiohttpTransport(session=session)
    await session.close()

    with pytest.raises(TransportClosedError):
        await transport.send(HttpRequest("GET", "http://127.0.0.1:1/"))


async def _cut_at_second_request(peer: Peer) -> None:
    if await peer.request() is not None:
        await peer.reply(Reply(body=b"ok"))
    if await peer.request() is not None:
        await peer.reset()


@pytest.mark.parametrize("is_ours", [True, False])
async def test_sent_once(monkeypatch: pytest.MonkeyPatch, *, is_ours: bool) -> None:
    """A session that was passed in, and one of an aiohttp release without the switch that we know, sends a read once too."""
    original = aiohttp.ClientSession.__init__

    def without_switch(self: aiohttp.ClientSession, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        vars(self)["_retry_connection"] = Truthy()

    class Truthy:
        pass

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", without_switch)
    async with listen(_cut_at_second_request) as site, aiohttp.ClientSession() as session:
        transport = AiohttpTransport(session=None if is_ours else session)
        response = await transport.send(HttpRequest("GET", site.origin + "/first"))
        _ = [piece async for piece in response.body]

        with pytest.raises(TransportError):
            await transport.send(HttpRequest("GET", site.origin + "/second"))
        assert [received.target for received in site.requests] == ["/first", "/second"]
        await transport.aclose()


async def test_options() -> None:
    """``options`` go to the session that is made."""
    settings = TransportSettings(options={"headers": {"X-Option": "1"}})
    async with listen(OK) as site:
        transport = create_transport(settings)
        response = await transport.send(HttpRequest("GET", site.origin + "/"))
        await response.body.aclose()
        await transport.aclose()

        assert site.requests[0].headers["X-Option"] == "1"


async def test_large_bytes() -> None:
    """Bytes beyond a megabyte, which aiohttp warns about, are sent without a warning (warnings are errors here)."""
    async with listen(OK) as site:
        transport = AiohttpTransport()
        response = await transport.send(HttpRequest("POST", site.origin + "/", body=bytes(2_000_000)))
        await response.body.aclose()
        await transport.aclose()

        assert len(site.requests[0].body) == 2_000_000


async def test_lost_before_the_first_byte() -> None:
    """A kept connection that goes while the body's first bytes are still being fetched: nothing was sent, and it says so.

    aiohttp holds the head back until then, so even a POST may be sent again.
    """
    leave = asyncio.Event()

    async def conversation(peer: Peer) -> None:
        await peer.request()
        await peer.reply(Reply(body=b"ok"))
        await leave.wait()

    async with listen(conversation) as site:

        async def chunks() -> AsyncIterator[bytes]:
            leave.set()
            await site.wait_idle()
            # The loop has to see the end of the connection too.
            for _ in range(5):
                await asyncio.sleep(0)
            yield b"too late"

        transport = AiohttpTransport()
        first = await transport.send(HttpRequest("GET", site.origin + "/"))
        assert [piece async for piece in first.body] == [b"ok"]
        with pytest.raises(TransportError) as caught:
            await transport.send(HttpRequest("POST", site.origin + "/", body=Body(chunks, 8)))
        await transport.aclose()

        assert caught.value.delivery is Delivery.NEVER_SENT
        assert len(site.requests) == 1


async def test_timeouts_of_each_request() -> None:
    """Timeouts belong to the request: one that runs out does not shorten the next."""

    async def slow_once(peer: Peer) -> None:
        received = await peer.request()
        if received is not None and received.target == "/slow":
            await peer.wait_closed()
        await peer.reply(Reply(body=b"ok"))

    async with listen(slow_once) as site:
        transport = AiohttpTransport()
        with pytest.raises(TimeoutError):
            await transport.send(HttpRequest("GET", site.origin + "/slow", timeouts=Timeouts(read=0.05)))
        response = await transport.send(HttpRequest("GET", site.origin + "/"))
        await response.body.aclose()
        await transport.aclose()
