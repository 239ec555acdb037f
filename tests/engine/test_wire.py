"""Arguments into queries and paths."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import pytest

from mux_async import UNSET, Mux
from mux_async.errors import InvalidRequestError
from mux_async.testing import FakeTransport, respond


def urls_of(call: Callable[[Mux], Awaitable[object]]) -> list[str]:
    """Return the URLs that *call* sends requests to; an error is raised if there are any."""
    transport = FakeTransport(lambda _request: respond(json={}))

    async def run() -> None:
        await call(Mux(token_id="id", token_secret="secret", transport=transport))

    try:
        asyncio.run(run())
    except InvalidRequestError:
        assert not transport.requests
        raise
    return [request.url for request in transport.requests]


def query_of(name: str, value: object) -> str:
    (url,) = urls_of(lambda mux: mux.request("GET", "/x", query={name: value}))
    return urlsplit(url).query


class Order(str, enum.Enum):  # noqa: UP042 - as programs for older Pythons have it
    NEWEST = "desc"


class Size(enum.IntEnum):
    SMALL = 10


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a b&c", "x=a+b%26c"),
        (True, "x=true"),
        (Order.NEWEST, "x=desc"),
        (Size.SMALL, "x=10"),
        (0.5, "x=0.5"),
        (datetime(2026, 1, 2, tzinfo=UTC), "x=1767312000"),
        (date(2026, 1, 2), "x=2026-01-02"),
        ([Order.NEWEST, "b"], "x=desc&x=b"),
        ([], ""),
        (UNSET, ""),
    ],
)
def test_queries(value: object, written: str) -> None:
    """Every kind of value is written as Mux reads it; members of an enum as their value."""
    assert query_of("x", value) == written


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), datetime(2026, 1, 2), b"a", {"a"}, "\ud800", [["a"]]])  # noqa: DTZ001
def test_values_that_a_query_cannot_hold(value: object) -> None:
    """What has no form in a query is refused before anything is sent, by name."""
    with pytest.raises(InvalidRequestError, match=r"^x "):
        query_of("x[]", value)


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "a b", "a%2Fb", "a?b", "a\n", "\ud800", None, 5])
def test_ids_that_are_none(value: str) -> None:
    """An id that would change the shape of the path, or cannot be written, is refused by name."""
    with pytest.raises(InvalidRequestError, match=r"^asset_id "):
        urls_of(lambda mux: mux.video.assets.retrieve(value))
