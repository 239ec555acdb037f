"""Arguments into queries and paths."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime

import pytest

from mux_async._types import UNSET
from mux_async._wire import build_path, encode_query
from mux_async.errors import InvalidRequestError


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
    assert encode_query({"x": value}, None) == written


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), datetime(2026, 1, 2), b"a", {"a"}, "\ud800", [["a"]]])  # noqa: DTZ001
def test_values_that_a_query_cannot_hold(value: object) -> None:
    """What has no form in a query is refused before anything is sent, by name."""
    with pytest.raises(InvalidRequestError, match=r"^x "):
        encode_query({"x[]": value}, None)


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "a b", "a%2Fb", "a?b", "a\n", "\ud800", None, 5])
def test_ids_that_are_none(value: str) -> None:
    """An id that would change the shape of the path, or cannot be written, is refused by name."""
    with pytest.raises(InvalidRequestError, match=r"^asset_id "):
        build_path("/assets/{ASSET_ID}", {"ASSET_ID": value})
