"""The steps of a list: queries of the next page, what a query may hold as its page, and how loops of cursors are found."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any, cast

import pytest

from mux_async._list_cycles import CursorsSeen
from mux_async._operation import Pagination
from mux_async._pagination import Page, Paginator, check_page, next_query, whole_number
from mux_async._types import UNSET
from mux_async.errors import InvalidRequestError, RepeatedPageError

CURSOR, PAGE, TOTAL, NONE = Pagination.CURSOR, Pagination.PAGE, Pagination.PAGE_WITH_TOTAL, Pagination.NONE


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
        (NONE, {}, 10, "c", 20, None),
        (CURSOR, {}, 2, "", None, None),
        (CURSOR, {"page": UNSET}, 2, "c", 9, {"cursor": "c"}),
        (CURSOR, {"page": "3"}, 2, None, None, {"page": 4}),
        (CURSOR, {"page": 3}, 0, "c", None, None),
        (PAGE, {}, 1, None, None, {"page": 2}),
        (PAGE, {"page": UNSET, "limit": UNSET}, 1, "c", None, {"page": 2}),
        (PAGE, {"page": UNSET, "limit": UNSET}, 1, "c", 1, {"page": 2}),
        (PAGE, {"page": 0, "limit": 10}, 1, None, 1, {"page": 1}),
        (PAGE, {"page": "7"}, 1, None, None, {"page": 8}),
        (PAGE, {"page": "x"}, 1, None, None, None),
        (PAGE, {"limit": 1}, 1, None, 0, None),
        (TOTAL, {"page": 2, "limit": "10"}, 10, None, 21, {"page": 3}),
        (TOTAL, {"page": 2, "limit": "10"}, 10, None, 20, None),
        (TOTAL, {"page": 2, "limit": "10"}, 10, None, 19, None),
        (TOTAL, {"page": 2, "limit": "ten"}, 10, None, 20, {"page": 3}),
        (TOTAL, {"limit": 10}, 10, None, 10, None),
        (NONE, {"page": 1}, 10, "c", None, None),
    ],
)
def test_the_next_query(
    style: Pagination,
    query: Mapping[str, object],
    received: int,
    cursor: str | None,
    total: int | None,
    expected: Mapping[str, object] | None,
) -> None:
    """The next page has the next number or cursor. None follows an empty page, the total, a missing cursor or an invalid number."""
    assert next_query(style, query, received=received, next_cursor=cursor, total=total) == expected


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (7, 7),
        ("7", 7),
        ("007", 7),
        ("9" * 19, int("9" * 19)),
        ("9" * 20, None),
        ("", None),
        ("-7", None),
        ("\u0667", None),
        (" 7", None),
        (True, None),
        (7.0, None),
        (None, None),
        (UNSET, None),
    ],
)
def test_whole_numbers(value: object, number: int | None) -> None:
    """A whole number may be text; a number of more than 19 digits, a float and a ``bool`` are not."""
    found = whole_number(value)

    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize("style", [CURSOR, PAGE, TOTAL])
def test_pages_that_are_no_numbers(style: Pagination) -> None:
    """A page that is no number is refused, with the value, cut to eighty characters; others are not."""
    for page in ("next", 1.5, None, True):
        with pytest.raises(InvalidRequestError) as caught:
            check_page(style, {"page": page})
        assert str(caught.value) == f"page is {page!r}; it is a whole number, and the first page is 1"
    with pytest.raises(InvalidRequestError) as caught:
        check_page(style, {"page": "x" * 100})
    assert str(caught.value) == f"page is '{'x' * 79}; it is a whole number, and the first page is 1"
    queries: list[dict[str, object]] = [{"page": 1}, {"page": "1"}, {"page": 0}, {"page": UNSET}, {}, {"limit": "x"}]
    for query in queries:
        check_page(style, query)


def test_lists_without_pages_take_any() -> None:
    """An operation that has no pages may have a parameter of that name."""
    check_page(NONE, {"page": "next"})


def page(data: list[int], **following: object) -> Page[int, None]:
    return Page(data=data, envelope=None, next_cursor=None, total=7, next_query=following or None)


def test_a_page_is_a_sequence() -> None:
    """A page has length, items and slices, and shows where it stands and nothing of what is on it."""
    found = page([1, 2, 3], cursor="c")

    assert (len(found), list(found), found[0], found[-1], found[1:]) == (3, [1, 2, 3], 1, 3, [2, 3])
    assert repr(found) == "<Page of 3 next={'cursor': 'c'} total=7>"
    assert repr(page([])) == "<Page of 0 next=None total=7>"


def served(*pages: Page[int, None], cursor: object = None) -> tuple[Paginator[int, None], list[dict[str, object]]]:
    """Return a list that is served *pages* in turn, and the queries it asked with."""
    left, asked = list(pages), list[dict[str, object]]()

    async def fetch(query: Mapping[str, object]) -> Page[int, None]:
        asked.append(dict(query))
        return left.pop(0)

    return Paginator(fetch, "GET /x", cursor), asked


def run(awaitable: Any) -> Any:
    """Run what never waits, without an event loop."""
    try:
        awaitable.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


async def collected(found: Paginator[int, None]) -> tuple[list[list[int]], str]:
    """Return the pages that come, and the error that ends them."""
    pages: list[list[int]] = []
    try:
        async for each in found.pages():
            pages.append(list(each))  # noqa: PERF401 - what came before the error counts
    except RepeatedPageError as error:
        line = error.operation if str(error).startswith(f"{error.operation} does not go on") else str(error)
        return pages, f"{line} {error.cursor} {error.page}"
    return pages, ""


def test_pages_in_turn() -> None:
    """Each page is requested with the cursor of the one before, and empty pages are skipped."""
    found, asked = served(page([1], cursor="a"), page([], cursor="b"), page([2]))

    assert run(collected(found)) == ([[1], [2]], "")
    assert asked == [{}, {"cursor": "a"}, {"cursor": "b"}]


@pytest.mark.parametrize(("first", "cursors", "seen"), [("a", "a", 1), (None, "aa", 2), (None, "aba", 3), (5, "aa", 2)])
def test_cursors_that_come_back(first: object, cursors: str, seen: int) -> None:
    """A cursor that was asked for before, by the caller too, ends the list with an error that names it."""
    found, asked = served(*(page([number], cursor=cursor) for number, cursor in enumerate(cursors)), cursor=first)

    assert run(collected(found)) == ([[number] for number in range(seen)], "GET /x a None")
    assert len(asked) == seen


def test_a_page_that_is_ignored() -> None:
    """If two pages in a row repeat the one before, the list ends with an error that names the page; one repeated page does not."""
    found, asked = served(page([1], page=2), page([1], page=3), page([1], page=4))
    assert run(collected(found)) == ([[1]], "GET /x None 2")
    assert asked == [{}, {"page": 2}, {"page": 3}]

    found, asked = served(page([1], page=2), page([1], page=3), page([2], page=4), page([3]))
    assert run(collected(found)) == ([[1], [1], [2], [3]], "")
    assert asked == [{}, {"page": 2}, {"page": 3}, {"page": 4}]


def test_the_last_page_after_an_accident() -> None:
    """The page that confirms may be the last, or empty."""
    for last, seen in ((page([2]), [[1], [1], [2]]), (page([]), [[1], [1]])):
        found, _ = served(page([1], page=2), page([1], page=3), last)
        assert run(collected(found)) == (seen, "")


@pytest.mark.parametrize(
    ("limit", "items", "requests"),
    [(None, [1, 2, 3], 2), (0, [], 0), (1, [1], 1), (2, [1, 2], 1), (3, [1, 2, 3], 2), (9, [1, 2, 3], 2)],
)
def test_as_many_as_asked_for(limit: int | None, items: list[int], requests: int) -> None:
    """As many items as asked for, and no request more than they need."""
    found, asked = served(page([1, 2], cursor="a"), page([3]))

    assert run(found.collect(limit)) == items
    assert len(asked) == requests


def test_less_than_nothing() -> None:
    """A negative limit is refused before anything is asked for."""
    found, asked = served(page([1]))
    with pytest.raises(InvalidRequestError) as caught:
        run(found.collect(-1))

    assert str(caught.value) == "limit is -1; it is how many items to return at most, 0 or more, or None for all"
    assert asked == []


def test_first() -> None:
    """The first item is the first of the first page that has any."""
    assert run(served(page([], cursor="a"), page([5, 6]))[0].first()) == 5
    assert run(served(page([]))[0].first()) is None


def test_shown() -> None:
    """The repr of a list says how to use it; so does the error of ``for``."""
    found, asked = served(page([1]))
    said = "<Paginator of GET /x: await it for one page, or use async for for every item>"
    assert repr(found) == said
    plain: Any = found
    with pytest.raises(TypeError) as caught:
        iter(plain)

    assert str(caught.value) == (
        f"{said} cannot be iterated by for, because each page is a request: use async for, or await it first"
    )
    assert asked == []


def test_stepped_by_hand() -> None:
    """As a coroutine it makes one request for each time it is run, and is closed without one where it was not begun."""
    found, asked = served(page([1]), page([2]))
    found.close()
    for number in (1, 2):
        with pytest.raises(StopIteration) as caught:
            found.send(None)
        assert list(caught.value.value) == [number]
    with pytest.raises(KeyError, match="thrown"):
        found.throw(KeyError("thrown"))
    with pytest.raises(KeyError):
        found.throw(KeyError)

    assert asked == [{}, {}]


class Suspended:
    """Waits for what it is sent."""

    def __await__(self) -> Generator[str, Any, Any]:
        return (yield "waits")


def waiting() -> tuple[Paginator[int, None], list[object]]:
    """Return a list whose every request waits, and what each of them was sent or ended by."""
    seen = list[object]()

    async def fetch(_: Mapping[str, object]) -> Page[int, None]:
        try:
            seen.append(await Suspended())
        except BaseException as error:
            seen.append(error)
            raise
        return page([1])

    return Paginator(fetch, "GET /x"), seen


def test_what_is_sent_comes_in() -> None:
    """A value that is sent to a waiting request reaches it."""
    found, seen = waiting()
    assert found.send(None) == "waits"
    with pytest.raises(StopIteration):
        found.send("value")

    assert seen == ["value"]


@pytest.mark.parametrize("how", ["one", "two", "three"])
def test_what_is_thrown_comes_in(how: str) -> None:
    """An exception is raised where the request waits, as it was thrown: by itself, with its class, or with its traceback."""
    found, seen = waiting()
    found.send(None)
    error = KeyError("thrown")
    traceback: TracebackType | None = None
    try:
        raise ValueError
    except ValueError as other:
        traceback = other.__traceback__
    thrown: dict[str, tuple[Any, ...]] = {"one": (error,), "two": (KeyError, error), "three": (KeyError, error, traceback)}
    with pytest.raises(KeyError) as caught:
        found.throw(*thrown[how])

    assert caught.value is error
    assert seen == [error]
    lines = list[int]()
    trace = error.__traceback__
    while trace is not None:
        lines.append(id(trace))
        trace = trace.tb_next
    assert (id(traceback) in lines) == (how == "three")


def test_closed_while_it_waits() -> None:
    """A request that waits is ended by closing, and the next step makes a new one."""
    found, seen = waiting()
    found.send(None)
    found.close()
    assert [type(each) for each in seen] == [GeneratorExit]

    assert found.send(None) == "waits"
    found.close()


def test_closed_within_a_task() -> None:
    """Closing ends the request of the task that closes."""
    found, seen = waiting()

    async def main() -> None:
        found.send(None)
        found.close()
        assert [type(each) for each in seen] == [GeneratorExit]

    asyncio.run(main())


def test_awaited() -> None:
    """``await`` is one page."""
    found, asked = served(page([1]), page([2]))

    async def twice() -> list[list[int]]:
        return [list(await found), list(await found)]

    assert run(twice()) == [[1], [2]]
    assert asked == [{}, {}]


def test_each_task_has_its_own_request() -> None:
    """Tasks that await one list at the same time get a page each, and cancelling one ends no other."""
    ended = list[BaseException]()
    count = 0

    async def fetch(_: Mapping[str, object]) -> Page[int, None]:
        nonlocal count
        count += 1
        number = count
        try:
            for _step in range(3):
                await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            ended.append(error)
            raise
        return page([number])

    async def main() -> list[list[int]]:
        found = Paginator[int, None](fetch, "GET /x")
        tasks = [asyncio.create_task(found) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert count == len(tasks)
        tasks[1].cancel()
        return [list(await task) for task in (tasks[0], tasks[2])]

    assert asyncio.run(main()) == [[1], [3]]
    assert len(ended) == 1


def test_the_repr_of_a_list_that_was_not_made() -> None:
    """A list whose constructor failed has a repr: tools that show errors with locals call it."""
    unfinished = object.__new__(cast("type[object]", Paginator))

    assert repr(unfinished) == "<Paginator of nothing: await it for one page, or use async for for every item>"


def test_a_million_cursors() -> None:
    """Cursors of a long list take less than two megabytes, and loops of any length are found before they were gone through three times."""
    seen = CursorsSeen()
    assert not any(seen.has(f"cursor-{number:040}") for number in range(20_000))
    size = sum(map(sys.getsizeof, (seen._recent, seen._order, *seen._recent)))  # pyright: ignore[reportPrivateUsage]
    assert size < 2_000_000
    assert seen.has(f"cursor-{19_999:040}")

    for length in (1, 2, 4096, 4097, 10_000):
        for before in (0, 5, 20_000):
            seen = CursorsSeen()
            assert not any(seen.has(f"b{number}") for number in range(before))
            count = next(count for count in range(1, 3 * (length + before) + 20_000) if seen.has(f"c{count % length}"))
            assert count <= (length + 1 if length <= 4096 else 3 * (length + before) + 8192)
