"""Where a list goes on, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mux_async._operation import Pagination
from mux_async._pagination import next_query

CURSOR, PAGE, TOTAL = Pagination.CURSOR, Pagination.PAGE, Pagination.PAGE_WITH_TOTAL


@pytest.mark.parametrize(
    ("style", "query", "received", "cursor", "total", "expected"),
    [
        (CURSOR, {}, 2, "c", None, {"cursor": "c"}),
        (CURSOR, {}, 0, "c", None, {"cursor": "c"}),
        (CURSOR, {}, 2, None, None, None),
        (CURSOR, {"page": 3}, 2, "c", None, {"page": 4}),
        (PAGE, {}, 2, None, None, {"page": 2}),
        (PAGE, {"page": 2, "limit": 10}, 1, None, None, {"page": 3}),
        (PAGE, {"page": 2}, 0, None, None, None),
        (TOTAL, {"page": 1, "limit": 10}, 10, None, 11, {"page": 2}),
        (TOTAL, {"page": 2, "limit": 10}, 10, None, 20, None),
        (TOTAL, {"page": 2, "limit": 10}, 10, None, None, {"page": 3}),
        (TOTAL, {}, 10, None, 11, {"page": 2}),
        (Pagination.NONE, {}, 10, "c", 20, None),
    ],
)
def test_next_query(
    style: Pagination,
    query: Mapping[str, object],
    received: int,
    cursor: str | None,
    total: int | None,
    expected: Mapping[str, object] | None,
) -> None:
    """A list goes on until it says that it ends: no cursor, an empty page, or as many rows as there are in all."""
    assert next_query(style, query, received=received, next_cursor=cursor, total=total) == expected
