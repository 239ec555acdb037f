"""Lists: read to their end, in part, as a coroutine, and with servers that repeat pages."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
from collections.abc import AsyncIterable, Callable, Iterator
from operator import attrgetter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from mux_async import LimitSettings, Mux, MuxError, Page, Paginator, RepeatedPageError
from mux_async.errors import InvalidRequestError
from mux_async.models import Asset
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

Query = dict[str, str]
Answer = Callable[[Query, int], dict[str, Any]]
PAGE_LISTS: dict[str, dict[str, Any]] = {
    "video.live_streams.list": {},
    "video.uploads.list": {},
    "video.assets.list": {"page": 1},
    "video.delivery_usage.list": {},
    "data.video_views.list": {},
    "data.dimensions.list_values": {"dimension_id": "country"},
}


def ask(mux: Mux, name: str, **more: Any) -> Paginator[Any, Any]:
    found: Paginator[Any, Any] = attrgetter(name)(mux)(**{**PAGE_LISTS.get(name, {}), **more})
    return found


class Server:
    """Answers a list by *answer*, which gets the query and the number of the request; it gives up at thirty."""

    def __init__(self, answer: Answer) -> None:
        self.queries: list[Query] = []

        async def handle(request: SentRequest) -> HttpResponse:
            self.queries.append({name: values[-1] for name, values in parse_qs(urlsplit(request.url).query).items()})
            assert len(self.queries) <= 30, "the list goes on for ever"
            return respond(json=answer(self.queries[-1], len(self.queries)))

        self.mux = Mux(
            token_id="id", token_secret="secret", transport=FakeTransport(handle), limits=LimitSettings(enabled=False)
        )


def rows(*ids: object) -> dict[str, Any]:
    return {"data": [{"id": str(number)} for number in ids]}


def by_cursor(*cursors: str | None, empty: bool = False) -> Answer:
    """Pages that name these cursors in a cycle."""

    def answer(_: Query, count: int) -> dict[str, Any]:
        return {**(rows() if empty else rows(count)), "next_cursor": cursors[(count - 1) % len(cursors)]}

    return answer


async def read(items: AsyncIterable[Any]) -> tuple[list[Any], MuxError | None]:
    """Return what a list gives, and the error that ended it."""
    found: list[Any] = []
    try:
        async for item in items:
            found += [item]
    except MuxError as error:
        return found, error
    return found, None


@pytest.mark.parametrize("empty", [False, True], ids=["full", "empty"])
@pytest.mark.parametrize("cursors", ["A", "AB", "ABC", "ABCDEFGHIJ"])
async def test_cursors_in_a_circle(cursors: str, empty: bool) -> None:
    """A cursor that comes back ends the list with an error that names it, when what came before was given once."""
    server = Server(by_cursor(*cursors, empty=empty))
    found, error = await read(server.mux.video.assets.list())

    assert isinstance(error, RepeatedPageError)
    assert error.cursor == "A"
    assert "'A' came back" in str(error)
    assert error.operation == "GET /video/v1/assets"
    assert len(found) == (0 if empty else len(cursors) + 1)
    assert [query.get("cursor") for query in server.queries] == [None, *cursors]


@pytest.mark.parametrize("how", [{"cursor": "A"}, {"extra_query": {"cursor": "A"}}])
async def test_cursor_of_the_first_page(how: dict[str, Any]) -> None:
    """The cursor that a list begins with counts, however it was passed; the next one replaces it."""
    server = Server(by_cursor("B", "A"))
    found, error = await read(server.mux.video.assets.list(**how))

    assert isinstance(error, RepeatedPageError)
    assert error.cursor == "A"
    assert len(found) == 2
    assert [query["cursor"] for query in server.queries] == ["A", "B"]


async def test_empty_pages_go_on() -> None:
    """An empty page in the middle of a list with cursors is skipped."""
    pages = [rows(1), rows(), rows(), rows(2)]
    cursors = ["a", "b", "c", None]
    server = Server(lambda _, count: {**pages[count - 1], "next_cursor": cursors[count - 1]})
    found, error = await read(server.mux.video.assets.list())

    assert error is None
    assert [asset.id for asset in found] == ["1", "2"]


@pytest.mark.parametrize("total", [None, 3, 1000])
@pytest.mark.parametrize("limit", [{}, {"limit": 2}, {"extra_query": {"limit": "2"}}], ids=str)
@pytest.mark.parametrize("name", PAGE_LISTS)
async def test_ignored_page(name: str, limit: dict[str, Any], total: int | None) -> None:
    """If a server returns the first page for every page, its items come once, and then an error."""
    more = {} if total is None else {"total_row_count": total, "timeframe": [0, 1]}
    server = Server(lambda _, count: {**rows(1, 2), **more, "timeframe": [count, count + 86_400]})
    found, error = await read(ask(server.mux, name, **limit))

    assert isinstance(error, RepeatedPageError)
    assert error.page == 2
    assert "page 2" in str(error)
    assert len(found) == 2
    assert len(server.queries) == 3


@pytest.mark.parametrize("touch", [False, True])
async def test_ignored_page_that_was_read(touch: bool) -> None:
    """Whether the items were decoded, converted or kept meanwhile makes no difference."""
    server = Server(lambda _, __: {"data": [{"id": "1", "created_at": 7, "tomorrow": [1.0]}]})
    looked_at: list[object] = []

    async def look() -> None:
        nonlocal looked_at
        async for stream in server.mux.video.live_streams.list():
            looked_at += [(repr(stream), stream.created_at) if touch else None]

    with pytest.raises(RepeatedPageError):
        await look()
    assert len(looked_at) == 1


async def test_shifted_by_a_page() -> None:
    """As many new items as are on a page make the next page the same once more; that is no error, and nothing is missed."""
    pages = {"1": rows(3, 2), "2": rows(3, 2), "3": rows(1, 0)}
    server = Server(lambda query, _: pages.get(query.get("page", "1"), rows()))
    found, error = await read(server.mux.video.live_streams.list(limit=2))

    assert error is None
    assert [stream.id for stream in found] == ["3", "2", "3", "2", "1", "0"]


async def test_shifted_by_one() -> None:
    """A page that shares some items with the one before goes on, and so does a last page that is a part of it."""
    pages = {"1": rows(3, 2), "2": rows(2, 1), "3": rows(1)}
    server = Server(lambda query, _: pages.get(query.get("page", "1"), rows()))
    found, error = await read(server.mux.video.live_streams.list(limit=2))

    assert error is None
    assert [stream.id for stream in found] == ["3", "2", "2", "1", "1"]


@pytest.mark.parametrize("name", PAGE_LISTS)
@pytest.mark.parametrize("page", [3, "3"], ids=["number", "text"])
async def test_first_page(name: str, page: object) -> None:
    """A list that begins at a page goes on at the next, also where the number is text in ``extra_query``."""
    server = Server(lambda query, count: rows(count) if int(query["page"]) < 5 else rows())
    found, error = await read(ask(server.mux, name, extra_query={"page": page}))

    assert error is None
    assert [query["page"] for query in server.queries] == ["3", "4", "5"]
    assert len(found) == 2


async def test_limit_as_text() -> None:
    """A limit that is text counts for the end as a number does."""
    server = Server(lambda _, count: {**rows(count, count + 10), "total_row_count": 4})
    found, _ = await read(server.mux.data.video_views.list(extra_query={"limit": "2"}))

    assert len(found) == 4
    assert len(server.queries) == 2


@pytest.mark.parametrize("page", ["x", "", "-1", "1.0", 1.5, True, [2], "\u0663"], ids=ascii)
async def test_page_that_is_no_number(page: object) -> None:
    """An invalid page number is refused before anything is sent: it has no next page."""
    server = Server(lambda _, __: rows(1))
    uploads = server.mux.video.uploads.list(extra_query={"page": page})
    for awaited in (uploads, uploads.first()):
        with pytest.raises(InvalidRequestError, match="page is"):
            await awaited
    assert server.queries == []


def stream_of(count: int, size: int = 2) -> Server:
    """A list of *count* assets in pages of *size*."""

    def answer(query: Query, _: int) -> dict[str, Any]:
        start = int(query.get("cursor", "0"))
        more = start + size < count
        return {**rows(*range(start, min(start + size, count))), "next_cursor": str(start + size) if more else None}

    return Server(answer)


async def test_first() -> None:
    """`first` is the first item at the price of a request, past empty pages, and ``None`` where there is no item."""
    server = stream_of(5)
    asset = await server.mux.video.assets.list().first()
    assert isinstance(asset, Asset)
    assert asset.id == "0"
    assert len(server.queries) == 1

    assert await stream_of(0).mux.video.assets.list().first() is None
    later = Server(lambda query, _: {**rows(*([1] if query else [])), "next_cursor": None if query else "b"})
    found = await later.mux.video.assets.list().first()
    assert found is not None


@pytest.mark.parametrize(
    ("limit", "items", "requests"), [(None, 5, 3), (0, 0, 0), (1, 1, 1), (2, 2, 1), (3, 3, 2), (5, 5, 3), (9, 5, 3)]
)
async def test_collect(limit: int | None, items: int, requests: int) -> None:
    """`collect` returns a list of the items, as many as are wanted, and asks for no page that is not needed."""
    server = stream_of(5)
    found = await server.mux.video.assets.list().collect(limit=limit)

    assert [asset.id for asset in found] == [str(number) for number in range(items)]
    assert len(server.queries) == requests


async def test_collect_less_than_nothing() -> None:
    """A negative limit is refused before anything is sent."""
    server = stream_of(5)
    with pytest.raises(InvalidRequestError, match="limit is -1"):
        await server.mux.video.assets.list().collect(-1)
    assert server.queries == []


async def test_repr() -> None:
    """A list says what it is and how it is used, and nothing of the query: it may hold a stream key."""
    shown = repr(stream_of(1).mux.video.live_streams.list(stream_key="CANARY"))

    assert "GET /video/v1/live-streams" in shown
    assert "async for" in shown
    assert "await" in shown
    assert "CANARY" not in shown


async def test_plain_for() -> None:
    """A list in a plain ``for``, or in ``list()`` says to use ``async for``, and sends nothing."""
    server = stream_of(5)
    assets: Any = server.mux.video.assets.list()
    uses: list[Callable[[], object]] = [lambda: [*assets], lambda: list(assets), lambda: dict(assets)]
    for use in uses:
        with pytest.raises(TypeError, match="use async for"):
            use()
    with pytest.raises(TypeError, match="use async for"):
        for _ in assets:
            pass
    assert server.queries == []


@pytest.mark.runtimes("asyncio")
async def test_asyncio_takes_it_as_a_coroutine() -> None:
    """Every function of asyncio that takes a coroutine takes a list."""
    mux = stream_of(5).mux
    assert asyncio.iscoroutine(mux.video.assets.list())

    pages: list[Page[Any, Any]] = [
        await asyncio.create_task(mux.video.assets.list(), name="list"),
        *await asyncio.gather(mux.video.assets.list(), mux.video.assets.list()),
        await asyncio.wait_for(mux.video.assets.list(), 5),
        await asyncio.shield(mux.video.assets.list()),
        await asyncio.ensure_future(mux.video.assets.list()),
        await next(asyncio.as_completed([mux.video.assets.list()])),
    ]
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(mux.video.assets.list())
    assert [len(page) for page in (*pages, task.result())] == [2] * (len(pages) + 1)
    assert "Paginator" in repr(asyncio.create_task(mux.video.assets.list()))


@pytest.mark.runtimes("asyncio")
async def test_one_list_in_several_tasks() -> None:
    """A list can be awaited as often as one likes, also by tasks at the same time; each has a request of its own."""
    server = stream_of(5)
    assets = server.mux.video.assets.list()
    pages = await asyncio.gather(*[asyncio.create_task(assets) for _ in range(10)], assets)

    assert [len(page) for page in pages] == [2] * 11
    assert pages[0] is not pages[1]
    assert len(await assets) == 2


@pytest.mark.runtimes("asyncio")
@pytest.mark.parametrize("begun", [False, True])
async def test_cancelled_task(begun: bool) -> None:
    """A task of a list can be cancelled, before it began and while it waits, and the list can be asked for again."""
    started, gate = asyncio.Event(), asyncio.Event()

    async def handle(_: SentRequest) -> HttpResponse:
        started.set()
        await gate.wait()
        return respond(json=rows(1))

    mux = Mux(token_id="id", token_secret="secret", transport=FakeTransport(handle))
    assets = mux.video.assets.list()
    task = asyncio.create_task(assets)
    if begun:
        await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()

    assert len(await asyncio.create_task(assets)) == 1


def test_run() -> None:
    """`asyncio.run` takes a list, and leaves no warning of a coroutine that was not awaited."""
    assert len(asyncio.run(stream_of(5).mux.video.assets.list())) == 2
    stream_of(5).mux.video.assets.list().close()
    gc.collect()


async def test_start_soon() -> None:
    """Task groups start what returns a list, on each runtime."""
    server = stream_of(5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.mux.video.assets.list)
        tasks.start_soon(lambda: server.mux.video.assets.list(limit=1))

    assert len(server.queries) == 2


async def test_errors_come_through() -> None:
    """What a call raises comes out of each way to ask for a list."""

    async def handle(_: SentRequest) -> HttpResponse:
        return respond(404, json={"error": {"type": "not_found"}})

    mux = Mux(token_id="id", token_secret="secret", transport=FakeTransport(handle))
    ways: list[Callable[[Paginator[Any, Any]], Any]] = [lambda it: it, lambda it: it.first(), lambda it: it.collect()]
    for way in ways:
        with pytest.raises(MuxError, match="404"):
            await way(mux.video.assets.list())


def test_error_is_kept() -> None:
    """The error can be copied and pickled, with what it says."""
    error = RepeatedPageError("GET /video/v1/assets", cursor="A", page=None)
    for made in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(made), made.cursor, made.page) == (str(error), "A", None)


@pytest.fixture(autouse=True)
def no_warnings(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    gc.collect(1)  # what a test leaves is young
    assert [str(each.message) for each in recwarn if "never awaited" in str(each.message)] == []
