"""Lists: one page by ``await``, every item by ``async for``.

The three styles of the API differ only in how the next page is asked for and how the end shows; `next_query` holds both, and
is pure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

import attrs

from mux_async._operation import Pagination
from mux_async._types import UNSET

T = TypeVar("T")
E = TypeVar("E")


@attrs.frozen(repr=False, eq=False)
class Page(Generic[T, E]):
    """One page of a list: its items, and where it stands.

    Attributes:
        data: The items, in the order Mux gave them (newest first, for assets, uploads and live streams).
        envelope: The whole typed body, for what some lists say besides: ``timeframe``, ``meta``, ...
        next_cursor: What the next page starts from; ``None`` at the end, and for lists without cursors.
        total: Rows in all pages together; ``None`` when the list does not say.
        next_query: What to add to the query for the next page; ``None`` when this page is known to be the last.
    """

    data: list[T]
    envelope: E
    next_cursor: str | None
    total: int | None
    next_query: Mapping[str, object] | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self.data[index]

    def __repr__(self) -> str:
        return f"<Page of {len(self.data)} next={dict(self.next_query) if self.next_query else None} total={self.total}>"


FetchPage = Callable[[Mapping[str, object]], Awaitable[Page[T, E]]]


class Paginator(Generic[T, E]):
    """A list that has not been asked for yet.

    ``await`` it for one page, ``async for`` over it for every item of every page from there, or over `pages()` for the pages.
    Each page is one request; nothing is fetched ahead of need. With ``page`` style lists an item can appear twice when
    others are added meanwhile: the list is newest first, and pages shift.
    """

    def __init__(self, fetch: FetchPage[T, E]) -> None:
        self._fetch = fetch

    def __await__(self) -> Generator[Any, Any, Page[T, E]]:
        return self._fetch({}).__await__()

    async def pages(self) -> AsyncIterator[Page[T, E]]:
        """Yield pages until the end. Empty pages are not yielded."""
        query: Mapping[str, object] | None = {}
        while query is not None:
            page = await self._fetch(query)
            if page.data:
                yield page
            query = page.next_query

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.data:
                yield item


def next_query(
    style: Pagination,
    query: Mapping[str, object],
    *,
    received: int,
    next_cursor: str | None,
    total: int | None,
) -> Mapping[str, object] | None:
    """Decide what to ask for after a page.

    Args:
        style: Of the operation.
        query: That the page was asked for with, by wire name.
        received: Items on the page.
        next_cursor: From the envelope; null, empty and absent all mean the end (facts/BEHAVIOUR.md, 12, question 9).
        total: Rows in all, when the envelope says.

    Returns:
        Members to set in the next query, or ``None`` when there is no next page. A short page is not taken for the end
        (the server may cap ``limit``); an empty one is, and so is one that reaches *total*.
    """
    if style is Pagination.CURSOR and query.get("page", UNSET) is UNSET:
        return {"cursor": next_cursor} if next_cursor else None
    if style is Pagination.NONE or not received:
        return None
    number = query.get("page", UNSET)
    page = number if isinstance(number, int) else 1
    limit = query.get("limit", UNSET)
    if total is not None and isinstance(limit, int) and page * limit >= total:
        return None
    return {"page": page + 1}
