"""Lists: one page by ``await``, every item by ``async for``.

The three styles of the API differ only in how the next page is asked for and how the end shows; `next_query` holds both, and
is pure. A list that does not go on, because a cursor comes back or ``page`` is ignored, ends with an error: `_list_cycles` detects that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar, cast, overload

import attrs

from mux_async._operation import Pagination
from mux_async._tracebacks import hides_locals
from mux_async._types import UNSET
from mux_async.errors import InvalidRequestError, RepeatedPageError

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

    # The fields are not shown: rich goes by them, and not by `__repr__`.
    data: list[T] = attrs.field(repr=False)
    envelope: E = attrs.field(repr=False)
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

    def _repr_html_(self) -> str:
        from mux_async._html_table import html_table  # only notebooks ask

        columns = [name for name in _COLUMNS if any(getattr(item, name, None) is not None for item in self.data)]
        rows = [[getattr(item, name, None) for name in columns] for item in self.data]
        if not columns:
            columns, rows = ["item"], [[repr(item)] for item in self.data]
        of_all = "" if self.total is None else f" of {self.total}"
        more = ", more follow" if self.next_query else ""
        return html_table(columns, rows, f"{len(self.data)}{of_all}{more}")


_COLUMNS: Final = ("id", "name", "type", "status", "created_at", "duration", "policy")
"""Fields by which a notebook shows the items of a page, where they have them."""

FetchPage = Callable[[Mapping[str, object]], Coroutine[Any, Any, Page[T, E]]]


def whole(value: object) -> object:
    """Return the whole body of a page; any other value as it is."""
    page: Any = value
    return page.envelope if isinstance(value, Page) else value


class Paginator(Coroutine[Any, Any, Page[T, E]], Generic[T, E]):
    """A list that has not been asked for yet.

    ``await`` it for one page, ``async for`` over it for every item of every page from there, or over `pages()` for the pages;
    `first` and `collect` do that for the usual cases. ``asyncio.create_task``, ``gather`` and ``wait_for`` take it as any coroutine.
    Each page is one request; nothing is fetched ahead of need. With ``page`` style lists an item can appear twice when
    others are added meanwhile: the list is newest first, and pages shift.

    Args:
        fetch: Returns a page; gets what is to be added to the query.
        line: The HTTP line of the operation.
        cursor: What the first page is asked for with, if it is a cursor.
    """

    __slots__ = ("_awaited", "_cursor", "_fetch", "_line")

    def __init__(self, fetch: FetchPage[T, E], line: str, cursor: object = None) -> None:
        self._fetch = fetch
        self._line = line
        self._cursor = cursor
        self._awaited: dict[int | None, Coroutine[Any, Any, Page[T, E]]] = {}
        """By task, what `send` drives."""

    def __await__(self) -> Generator[Any, Any, Page[T, E]]:
        return self._fetch({}).__await__()

    @hides_locals
    async def pages(self) -> AsyncGenerator[Page[T, E]]:
        """Yield pages until the end. Empty pages are not yielded.

        Raises:
            RepeatedPageError: The list does not go on: the server's next cursor leads to a page that was read before, or it ignores
                ``page``. What came before that was yielded.
        """
        from mux_async._list_cycles import CursorsSeen, is_repeated, remember  # one page needs none of it

        cursors = CursorsSeen()
        if isinstance(self._cursor, str):
            cursors.has(self._cursor)
        query: Mapping[str, object] = {}
        former: list[object] = []
        while True:
            page = await self._fetch(query)
            following = page.next_query
            if "page" in query and is_repeated(page.data, former):
                # Honest when as many items as there are on a page were added since the page before. The next one shows it.
                confirming = await self._fetch(query := _page_after(query))
                if is_repeated(confirming.data, former):
                    raise self._repeated(page=cast("int", query["page"]) - 1)
                yield page
                page, following = confirming, confirming.next_query
            if following is not None and "page" in following:
                former = remember(page.data)  # before it is read by whom it is yielded to
            if page.data:
                yield page
            if following is None:
                return
            if (cursor := following.get("cursor")) is not None and cursors.has(cast("str", cursor)):
                raise self._repeated(cursor=cast("str", cursor))
            query = following

    @hides_locals
    async def __aiter__(self) -> AsyncIterator[T]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for item in page.data:
                    yield item

    @hides_locals
    async def first(self) -> T | None:
        """Return the first item, or ``None`` when there is no item."""
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                return page.data[0]
        return None

    @hides_locals
    async def collect(self, limit: int | None = None) -> list[T]:
        """Return the items of all pages, in their order.

        Args:
            limit: How many at most; no page is asked for once there are as many. ``None`` for all, however many requests that takes.

        Raises:
            InvalidRequestError: *limit* is negative.
            RepeatedPageError: See `pages`.
        """
        if limit is not None and limit < 0:
            raise InvalidRequestError(f"limit is {limit!r}; it is how many items to return at most, 0 or more, or None for all")
        found: list[T] = []
        if limit == 0:
            return found
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                found += page.data
                if limit is not None and len(found) >= limit:
                    return found[:limit]
        return found

    def __repr__(self) -> str:
        line = getattr(self, "_line", "nothing")  # a constructor that failed leaves none
        return f"<Paginator of {line}: await it for one page, or use async for for every item>"

    if not TYPE_CHECKING:  # a type checker would take it for an iterable

        def __iter__(self) -> NoReturn:
            raise TypeError(
                f"{self!r} cannot be iterated by for, because each page is a request: use async for, or await it first"
            )

    # The protocol of coroutines, for what does not use `await`: asyncio's tasks step them. Each task that does so has a request of its own.

    def send(self, value: Any, /) -> Any:
        """Go on, as a coroutine does."""
        return self._step(lambda awaited: awaited.send(value))

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None, /) -> Any:
        """Raise an exception where it waits, as a coroutine does."""
        error: BaseException = typ if val is None else val
        return self._step(lambda awaited: awaited.throw(error if tb is None else error.with_traceback(tb)))

    def close(self) -> None:
        """Stop, as a coroutine does; nothing where it was not begun."""
        awaited = self._awaited.pop(_current_task(), None)
        if awaited is not None:
            awaited.close()

    def _step(self, step: Callable[[Coroutine[Any, Any, Page[T, E]]], Any]) -> Any:
        task = _current_task()
        awaited = self._awaited.get(task)
        if awaited is None:
            awaited = self._awaited[task] = self._fetch({})
        try:
            return step(awaited)
        except BaseException:
            del self._awaited[task]
            raise

    def _repeated(self, *, cursor: str | None = None, page: int | None = None) -> RepeatedPageError:
        error = RepeatedPageError(self._line, cursor=cursor, page=page)
        error.operation = self._line
        return error


def _current_task() -> int | None:
    import anyio

    try:
        return anyio.get_current_task().id
    except RuntimeError:  # outside of any event loop, or of any task
        return None


def _page_after(query: Mapping[str, object]) -> dict[str, object]:
    return {"page": cast("int", query["page"]) + 1}


def next_query(
    style: Pagination, query: Mapping[str, object], *, received: int, next_cursor: str | None, total: int | None
) -> Mapping[str, object] | None:
    """Decide what to ask for after a page.

    Args:
        style: Of the operation.
        query: That the page was asked for with, by wire name. Numbers may be text, as in ``extra_query``.
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
    page = 1 if number is UNSET else whole_number(number)
    if page is None:
        return None
    limit = whole_number(query.get("limit", UNSET))
    if total is not None and limit is not None and page * limit >= total:
        return None
    return {"page": page + 1}


def check_page(style: Pagination, query: Mapping[str, object]) -> None:
    """Make sure that the page after the one that *query* asks for can be named.

    Raises:
        InvalidRequestError: ``page`` is not a number.
    """
    if style is not Pagination.NONE and (page := query.get("page", UNSET)) is not UNSET and whole_number(page) is None:
        raise InvalidRequestError(f"page is {page!r:.80}; it is a whole number, and the first page is 1")


def whole_number(value: object) -> int | None:
    """Return a whole number that a query may hold, also as text; ``None`` for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
    try:
        return int(cast("Any", value).__index__())
    except AttributeError:
        return None
