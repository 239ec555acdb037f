"""Identical reads at the same time: who sends, who waits, who gets what. Over a fake transport, in virtual time, on asyncio and trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import pytest

from mux_async import DeadlineExceededError, LimitSettings, Mux, ServerError
from mux_async.errors import ResponseTooLargeError
from mux_async.models import Asset
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


def client(answer: Callable[[SentRequest], HttpResponse], *, seconds: float = 1.0, **options: Any) -> tuple[Mux, FakeTransport]:
    """Return a client of a server that takes *seconds* to answer."""

    async def slowly(request: SentRequest) -> HttpResponse:
        made = answer(request)
        await anyio.sleep(seconds)
        return made

    transport = FakeTransport(slowly)
    settings: dict[str, Any] = {
        "token_id": "id",
        "token_secret": "secret",
        "base_url": "https://mux.test",
        "account": f"test-{uuid4()}",
        "clock": anyio.current_time,
        "random": Random(1),
        "limits": LimitSettings(enabled=False),
    }
    return Mux(transport=transport, **{**settings, **options}), transport


def counted() -> Callable[[SentRequest], HttpResponse]:
    """Return a server that numbers its answers."""
    given = iter(range(1000))

    def answer(request: SentRequest) -> HttpResponse:
        return respond(json={"data": {"id": f"answer-{next(given)}", "tracks": []}})

    return answer


async def together(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Run *calls* at the same time; return what each returned, in order."""
    results: list[Any] = [None] * len(calls)

    async def run(index: int) -> None:
        results[index] = await calls[index]()

    async with anyio.create_task_group() as tasks:
        for index in range(len(calls)):
            tasks.start_soon(run, index)
    return results


def later(seconds: float, call: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    async def run() -> Any:
        await anyio.sleep(seconds)
        return await call()

    return run


async def test_identical_reads_are_sent_once() -> None:
    """Fifty identical GETs at the same time are one request, and everybody gets its answer, decoded for itself."""
    mux, transport = client(counted())
    values: list[Asset] = await together(*[lambda: mux.video.assets.retrieve("a")] * 50)

    assert len(transport.requests) == 1
    assert {value.id for value in values} == {"answer-0"}
    tracks = {id(value.tracks) for value in values}
    assert len(tracks) == 50
    assert transport.unfinished == 0


async def test_nothing_is_kept() -> None:
    """A GET that starts when the other has been answered is a request of its own."""
    mux, transport = client(counted())
    first = await mux.video.assets.retrieve("a")
    second = await mux.video.assets.retrieve("a")

    assert (first.id, second.id) == ("answer-0", "answer-1")
    assert len(transport.requests) == 2


async def test_raw_answers_are_shared() -> None:
    """Raw answers show the attempts and the bytes of the one request."""
    mux, transport = client(counted())
    raws = await together(*[lambda: mux.video.assets.with_raw_response.retrieve("a")] * 3)

    assert len(transport.requests) == 1
    assert {raw.content for raw in raws} == {raws[0].content}
    assert [len(raw.attempts) for raw in raws] == [1, 1, 1]


async def test_different_reads_are_sent_each() -> None:
    """Another path, query, header, class of service or bound makes another request; writes always do."""
    mux, transport = client(counted())
    assets = mux.video.assets
    await together(
        lambda: assets.retrieve("a"),
        lambda: assets.retrieve("b"),
        lambda: assets.retrieve("a", extra_query={"x": "1"}),
        lambda: assets.retrieve("a", extra_headers={"X-Team": "blue"}),
        lambda: mux.with_options(priority="interactive").video.assets.retrieve("a"),
        lambda: mux.with_options(max_response_bytes=1000).video.assets.retrieve("a"),
        lambda: assets.update("a", passthrough="x"),
        lambda: assets.update("a", passthrough="x"),
    )

    assert len(transport.requests) == 8


@pytest.mark.parametrize(
    "other", [{"priority": "interactive"}, {"priority": "batch"}, {"max_response_bytes": 1000}, {"max_attempts": 1}]
)
async def test_what_differs_in_one_option_is_sent_apart(other: dict[str, Any]) -> None:
    """Two reads of the same address share a request only when their class of service, attempts and bound are the same."""
    mux, transport = client(counted())
    await together(lambda: mux.video.assets.retrieve("a"), lambda: mux.with_options(**other).video.assets.retrieve("a"))

    assert len(transport.requests) == 2


async def test_callers_of_two_priorities_in_turn() -> None:
    """Each priority shares one request, also if its callers come in turn with those of another priority."""
    mux, transport = client(counted())
    batch = mux.with_options(priority="batch")
    values: list[Asset] = await together(*[partial(each.video.assets.retrieve, "a") for each in (mux, batch)] * 10)

    assert len(transport.requests) == 2
    first, second = ({value.id for value in values[turn::2]} for turn in (0, 1))
    assert first | second == {"answer-0", "answer-1"}
    assert len(first) == len(second) == 1  # which of them was sent first is the event loop's choice


async def test_it_can_be_turned_off() -> None:
    """With ``share_reads=False`` every GET is sent."""
    mux, transport = client(counted())
    alone = mux.with_options(share_reads=False)
    await together(*[lambda: alone.video.assets.retrieve("a")] * 3)

    assert len(transport.requests) == 3


async def test_errors_are_shared() -> None:
    """Each caller gets the failure as an error of its own, with the attempts of the shared request."""
    mux, transport = client(lambda _: respond(500, json={"error": {"type": "oops", "messages": ["no"]}}), max_attempts=2)

    async def fail() -> ServerError:
        with pytest.raises(ServerError) as caught:
            await mux.video.assets.retrieve("a")
        return caught.value

    errors: list[ServerError] = await together(*[fail] * 5)

    assert len(transport.requests) == 2
    assert len({id(error) for error in errors}) == 5
    for error in errors:
        assert (error.status, error.type, error.messages, len(error.attempts)) == (500, "oops", ("no",), 2)
        assert str(error) == str(errors[0])
        assert error.operation == "GET /video/v1/assets/{ASSET_ID}"


async def test_unusable_answers_are_shared() -> None:
    """An answer that is too large is too large for everybody who set the same bound."""
    mux, transport = client(lambda _: respond(body=b"x" * 100), max_response_bytes=10)

    async def fail() -> None:
        with pytest.raises(ResponseTooLargeError, match="10 bytes"):
            await mux.video.assets.retrieve("a")

    await together(fail, fail)
    assert len(transport.requests) == 1


async def test_a_cancelled_caller_is_replaced() -> None:
    """When the caller that sends is cancelled, one of those that wait sends again, once, and all of them are served."""
    mux, transport = client(counted())
    scope = anyio.CancelScope()

    async def first() -> None:
        with scope:
            await mux.video.assets.retrieve("a")

    async def cancel() -> None:
        await anyio.sleep(0.5)
        scope.cancel()

    values = await together(
        first, later(0.1, lambda: mux.video.assets.retrieve("a")), later(0.2, lambda: mux.video.assets.retrieve("a")), cancel
    )

    assert len(transport.requests) == 2
    assert [value.id for value in values[1:3]] == ["answer-1", "answer-1"]
    assert anyio.current_time() >= 1.5


async def test_a_cancelled_follower_disturbs_nobody() -> None:
    """A caller that only waits can be cancelled without anybody noticing."""
    mux, transport = client(counted())

    async def impatient() -> bool:
        with anyio.move_on_after(0.5) as scope:
            await mux.video.assets.retrieve("a")
        return scope.cancelled_caught

    values = await together(lambda: mux.video.assets.retrieve("a"), later(0.1, impatient))

    assert values[0].id == "answer-0"
    assert values[1] is True
    assert len(transport.requests) == 1


async def test_each_keeps_its_deadline() -> None:
    """A deadline ends the wait of its own caller at its own time, whether that caller sends or waits, and no other wait."""
    mux, transport = client(counted(), seconds=2.0)

    async def hurried() -> float:
        start = anyio.current_time()
        with pytest.raises(DeadlineExceededError) as caught:
            await mux.with_options(deadline=1.0).video.assets.retrieve("a")
        assert caught.value.deadline == 1.0
        return anyio.current_time() - start

    values = await together(hurried, later(0.2, hurried), later(0.4, lambda: mux.video.assets.retrieve("a")))

    assert values[0] == pytest.approx(1.0)
    assert values[1] == pytest.approx(1.0)
    assert values[2].id.startswith("answer-")
    assert transport.unfinished == 0


async def test_what_was_written_is_read() -> None:
    """A GET that starts after a write has ended does not join one that started before, even when that is still under way."""
    title = ["old"]

    def answer(request: SentRequest) -> HttpResponse:
        if request.method == "PATCH":
            title[0] = "new"
        return respond(json={"data": {"id": "a", "passthrough": title[0]}})

    mux, transport = client(answer)

    async def write_and_read() -> str | None:
        await anyio.sleep(0.5)
        with anyio.move_on_after(0.2):
            await mux.video.assets.update("a", passthrough="new")  # it is acted on, and its caller does not stay
        return (await mux.video.assets.retrieve("a")).passthrough

    values = await together(
        lambda: mux.video.assets.retrieve("a"), write_and_read, later(0.6, lambda: mux.video.assets.retrieve("a"))
    )

    assert values[0].passthrough == "old"
    assert values[1] == "new"
    assert values[2].passthrough == "old"
    assert [request.method for request in transport.requests] == ["GET", "PATCH", "GET"]


async def test_streams_are_not_shared() -> None:
    """A streamed body belongs to who opened it."""
    mux, transport = client(lambda _: respond(body=b"text"))

    async def stream() -> bytes:
        async with mux.video.playback.thumbnail("p", extension="png").stream() as chunks:
            return b"".join([chunk async for chunk in chunks])

    assert await together(stream, stream) == [b"text", b"text"]
    assert len(transport.requests) == 2
