"""The status of an answer counts before its body, over real sockets: every transport, and both paths of the one for aiohttp."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mux_async import AmbiguousOutcomeError, LimitSettings, Mux, MuxError, NotFoundError, RetryPolicy, ServerError
from mux_async.errors import AuthenticationError, Delivery, UndecodableResponseError
from mux_async.testing.loopback import Peer, Reply, listen

pytestmark = pytest.mark.anyio

Headers = list[tuple[str, str]]
OK = b'{"data": {"id": "a1"}}'
PACKED = gzip.compress(OK, mtime=0)
BROKEN: dict[str, tuple[Headers, bytes]] = {
    "unknown": ([("Content-Encoding", "br")], b"x"),
    "false": ([("Content-Encoding", "gzip")], OK),
    "flipped": ([("Content-Encoding", "gzip")], PACKED[:12] + b"\xff\xff" + PACKED[14:]),
    "too long": ([], b"x" * 5000),
}
LONG = {"note": "x" * 40_000}
"""A body that goes by the session of aiohttp."""


def answering(*replies: tuple[int, tuple[Headers, bytes]]) -> Callable[[Peer], Awaitable[None]]:
    """Return a server that gives *replies* in turn, whatever connection they are asked for on."""
    left = list(replies)

    async def serve(peer: Peer) -> None:
        while left and await peer.request() is not None:
            status, (headers, body) = left.pop(0)
            await peer.reply(Reply(status, headers, body))

    return serve


def client(origin: str, transport: str) -> Mux:
    return Mux(
        token_id="i",
        token_secret="s",
        base_url=origin,
        account=f"status-{origin}",
        transport=transport,
        max_response_bytes=4000,
        limits=LimitSettings(enabled=False),
        retry=RetryPolicy(first=0.01, longest=0.01),
    )


async def check(name: str, transport: str, body: dict[str, Any] | None) -> None:
    broken = BROKEN[name]
    fine: tuple[Headers, bytes] = ([], OK)
    replies = [(503, broken), (502, broken), (200, fine), (401, broken), (404, broken), (502, broken), (201, broken)]
    async with listen(answering(*replies)) as site, client(site.origin, transport) as mux:
        raw = await mux.request("PUT", "/x", body=body)
        assert [attempt.status for attempt in raw.attempts] == [503, 502, 200]
        for kind in (AuthenticationError, NotFoundError):
            with pytest.raises(kind, match="its body was lost"):
                await mux.request("POST", "/x", body=body)
        with pytest.raises(AmbiguousOutcomeError) as ambiguous:
            await mux.request("POST", "/x", body=body)
        assert (ambiguous.value.status, type(ambiguous.value.__cause__)) == (502, ServerError)
        with pytest.raises(MuxError) as acted:
            await mux.request("POST", "/x", body=body)
        error: Any = acted.value
        assert (error.status, error.delivery) == (201, Delivery.ANSWERED)
        assert isinstance(error, UndecodableResponseError) == (name != "too long")


@pytest.mark.runtimes("asyncio", "uvloop")
@pytest.mark.parametrize("body", [None, LONG], ids=["direct", "session"])
@pytest.mark.parametrize("name", BROKEN)
async def test_over_aiohttp(name: str, body: dict[str, Any] | None) -> None:
    """Errors are sent again, raised or ambiguous as their status says, and a 2xx that cannot be read says that it was acted on."""
    await check(name, "aiohttp", body)


@pytest.mark.parametrize("name", BROKEN)
async def test_over_httpx(name: str) -> None:
    """The same over httpx, on trio too."""
    await check(name, "httpx", LONG)
