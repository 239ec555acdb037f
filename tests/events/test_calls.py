"""Every event of a call, in order, for each way in which a call can go. In virtual time, on asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from mux_async import (
    AmbiguousOutcomeError,
    BucketSettings,
    DeadlineExceededError,
    InvalidRequestError,
    LimitSettings,
    LimitWaitError,
    Mux,
    MuxError,
    NotFoundError,
    UndecodableResponseError,
)
from mux_async.errors import ConnectError, Delivery, Phase, TransportError
from mux_async.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallRetried,
    CallStarted,
    CallThrottled,
    GrantWaited,
    ReadShared,
)
from mux_async.limits import Bucket
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse, mark_unsent
from tests.events.recording import client, recorded, script, story

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

RESET = TransportError("connection reset", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
REFUSED = ConnectError("connection refused")
CUT = TransportError("the body broke off", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY)
ASSET = {"data": {"id": "a1", "status": "ready"}}


def ok() -> HttpResponse:
    return respond(json=ASSET, headers={"X-Request-Id": "r1"})


def status(number: int, **headers: str) -> Callable[[], HttpResponse]:
    return lambda: respond(number, json={}, headers=headers)


async def test_success() -> None:
    """A call that goes well: it starts, is sent, is answered and ends, with what a span needs to be made of it."""
    mux, events = recorded(script(ok))
    await mux.video.assets.retrieve("a1")

    assert story(events) == ["call", "attempt 1", "attempt 1: 200", "ok: 200"]
    call = events[0].call
    assert all(each.call is call and each.id == call.id for each in events)
    assert (call.operation, call.method, call.url_template) == ("video.assets.retrieve", "GET", "/video/v1/assets/{ASSET_ID}")
    assert (call.server_address, call.server_port) == ("mux.test", 443)
    assert (call.bucket, call.priority, call.parent, call.deadline) == (Bucket.OTHER, "default", None, None)
    assert events[1].path == "/video/v1/assets/a1"
    assert events[2].request_id == events[3].request_id == "r1"
    assert events[3].delivery is Delivery.ANSWERED


async def test_429_then_success() -> None:
    """A 429 is reported when it arrives, with the rate that was learned, and the wait for the bucket as a wait for a grant."""
    mux, events = recorded(script(status(429, **{"Retry-After": "7"}), ok))
    await mux.video.assets.retrieve("a1")

    assert story(events) == [
        "call", "attempt 1", "throttled other", "attempt 1: 429", "retry: throttled", "waited other 7.25", "attempt 2",
        "attempt 2: 200", "ok: 200",
    ]  # fmt: skip
    throttled = next(each for each in events if isinstance(each, CallThrottled))
    assert throttled.closed_for == pytest.approx(7.0)
    assert throttled.rate == mux.limits.snapshot().other.rate
    assert throttled.retry_after == 7.0
    second = [each for each in events if isinstance(each, AttemptStarted)][1]
    assert second.queued == pytest.approx(7.25)


async def test_queue() -> None:
    """A call that waits in the queue says how long, in which bucket and class, and behind how many; one that does not says nothing."""
    mux, events = recorded(script(ok, ok), limits=LimitSettings(other=BucketSettings(rate=2.0, burst=1)), share_reads=False)
    await mux.video.assets.retrieve("a1")
    await mux.with_options(priority="interactive").video.assets.retrieve("a1")

    waits = [each for each in events if isinstance(each, GrantWaited)]
    assert [(each.bucket, each.priority, each.ahead) for each in waits] == [(Bucket.OTHER, "interactive", 0)]
    assert waits[0].waited == pytest.approx(0.5, abs=0.05)


async def test_retry_after_connect_failure() -> None:
    """A connection that cannot be made is an attempt of which nothing was sent, and a retry with a delay."""
    mux, events = recorded(script(lambda: REFUSED, ok))
    await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])

    assert story(events) == [
        "call", "attempt 1", "attempt 1: ConnectError", "retry: not_sent", "attempt 2", "attempt 2: 200", "ok: 200",
    ]  # fmt: skip
    ended = next(each for each in events if isinstance(each, AttemptEnded))
    retried = next(each for each in events if isinstance(each, CallRetried))
    again = [each for each in events if isinstance(each, AttemptStarted)][1]
    assert ended.delivery is Delivery.NEVER_SENT
    assert retried.error == "ConnectError"
    assert retried.status is None
    assert again.at - retried.at == pytest.approx(retried.delay)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (lambda: RESET, "no_answer"),
        (status(503), "status"),
        (lambda: respond(body=[b'{"da', CUT]), "broken_answer"),
    ],
)
async def test_reasons_of_retries(problem: Callable[[], Any], reason: str) -> None:
    """A read is retried for a reason that has a name."""
    mux, events = recorded(script(problem, ok))
    await mux.video.assets.retrieve("a1")

    assert [each.reason for each in events if isinstance(each, CallRetried)] == [reason]


async def test_ambiguous_post() -> None:
    """A create whose outcome is unknown ends with that, and with what the server may have done."""
    mux, events = recorded(script(lambda: RESET))
    with pytest.raises(AmbiguousOutcomeError):
        await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])

    assert story(events) == ["call", "attempt 1", "attempt 1: TransportError", "error: AmbiguousOutcomeError"]
    assert events[-1].delivery is Delivery.MAYBE_PROCESSED


async def test_error_status() -> None:
    """An answer with an error status is an attempt that was answered, and a call that failed."""
    mux, events = recorded(script(status(404)))
    with pytest.raises(NotFoundError):
        await mux.video.assets.retrieve("a1")

    assert story(events) == ["call", "attempt 1", "attempt 1: 404", "error: NotFoundError"]
    assert events[-1].status == 404
    assert events[-1].delivery is Delivery.NEVER_SENT


async def test_answer_that_cannot_be_decoded() -> None:
    """An answer that is not JSON is a good attempt and a failed call."""
    mux, events = recorded(script(lambda: respond(body=b"hello")))
    with pytest.raises(UndecodableResponseError):
        await mux.video.assets.retrieve("a1")

    assert story(events) == ["call", "attempt 1", "attempt 1: 200", "error: UndecodableResponseError"]


async def test_argument_that_cannot_be_sent() -> None:
    """A call that is refused for its arguments starts and ends, without an attempt."""
    mux, events = recorded(script())
    with pytest.raises(InvalidRequestError):
        await mux.video.assets.retrieve("a/b")

    assert story(events) == ["call", "error: InvalidRequestError"]


async def test_deadline_refused() -> None:
    """A call that the queue cannot let out in time ends at once, without an attempt."""
    mux, events = recorded(script(ok), limits=LimitSettings(other=BucketSettings(rate=0.1, burst=1)), share_reads=False)
    await mux.video.assets.retrieve("a1")
    del events[:]
    with pytest.raises(LimitWaitError):
        await mux.with_options(deadline=1.0).video.assets.retrieve("a1")

    assert story(events) == ["call", "error: LimitWaitError"]
    assert events[0].call.deadline == 1.0


async def test_deadline_while_under_way() -> None:
    """A deadline that passes during an attempt cuts that off, which is an error and not a cancellation."""

    async def never(_: SentRequest) -> HttpResponse:
        await anyio.sleep_forever()
        raise AssertionError

    mux, events = recorded(FakeTransport(never))
    with pytest.raises(DeadlineExceededError):
        await mux.with_options(deadline=2.0).video.assets.retrieve("a1")

    assert [each.split(":")[0] for each in story(events)] == ["call", "attempt 1", "attempt 1", "error"]
    assert events[-1].error == "DeadlineExceededError"
    assert events[-1].elapsed == pytest.approx(2.0)
    assert events[2].elapsed == pytest.approx(2.0)


async def test_idempotency_key_found_after_a_lost_answer() -> None:
    """A create whose answer was lost and that is found by its key: the search is a call of its own, and the create ends well."""
    answered = list[str]()

    def answer(request: SentRequest) -> HttpResponse | BaseException:
        answered.append(request.method)
        if request.method == "POST":
            return RESET
        return respond(json={"data": [{"id": "a1", "meta": {"external_id": "k1"}, "created_at": "9999999999"}]})

    mux, events = recorded(FakeTransport(answer))
    asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], once="k1")

    assert asset.id == "a1"
    create, search = (each.call for each in events if isinstance(each, CallStarted))
    assert story(events, create.id) == ["call", "attempt 1", "attempt 1: TransportError", "found", "ok: 200"]
    assert story(events, search.id) == ["call", "attempt 1", "attempt 1: 200", "ok: 200"]
    assert search.parent == create.id
    assert events[-1].is_found


async def test_idempotency_key_joined() -> None:
    """Of two creates with one key at the same time, one is sent; the other is found by its key, without an attempt."""

    async def slowly(_: SentRequest) -> HttpResponse:
        await anyio.sleep(1.0)
        return respond(201, json=ASSET)

    mux, events = recorded(FakeTransport(slowly))
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(lambda: mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], once="k1"))

    stories = sorted(story(events, each.id) for each in events if isinstance(each, CallStarted))
    assert stories == [["call", "attempt 1", "attempt 1: 201", "ok: 201"], ["call", "found", "ok: 201"]]


async def test_sent_again_when_the_key_is_not_found() -> None:
    """A create that was searched for and is not there is sent again, for that reason."""
    posts = list[str]()

    def answer(request: SentRequest) -> HttpResponse | BaseException:
        if request.method == "GET":
            return respond(json={"data": []})
        posts.append(request.path)
        return RESET if len(posts) == 1 else respond(201, json=ASSET)

    mux, events = recorded(FakeTransport(answer))
    await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], once="k1")

    first = events[0].id
    assert story(events, first) == [
        "call", "attempt 1", "attempt 1: TransportError", "retry: not_found_by_key", "attempt 2", "attempt 2: 201", "ok: 201",
    ]  # fmt: skip


async def test_shared_read() -> None:
    """Of identical reads at the same time one is sent; the others name the call that did it, and have no attempt."""

    async def slowly(_: SentRequest) -> HttpResponse:
        await anyio.sleep(1.0)
        return ok()

    mux, events = recorded(FakeTransport(slowly))
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(mux.video.assets.retrieve, "a1")

    leader = next(each.call for each in events if isinstance(each, AttemptStarted))
    followers = [each for each in events if isinstance(each, ReadShared)]
    assert len(followers) == 2
    assert all(each.leader is leader for each in followers)
    for each in followers:
        assert story(events, each.id) == ["call", "shared", "ok: 200"]
    assert {each.id: each.is_shared for each in events if isinstance(each, CallEnded)} == {
        leader.id: False,
        **dict.fromkeys((each.id for each in followers), True),
    }


async def test_follower_takes_over() -> None:
    """When the call that sent is cancelled, a follower sends itself, and is not a shared read any more."""

    async def slowly(_: SentRequest) -> HttpResponse:
        await anyio.sleep(1.0)
        return ok()

    mux, events = recorded(FakeTransport(slowly))

    async def short_call() -> None:
        with anyio.move_on_after(0.5):
            await mux.video.assets.retrieve("a1")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(short_call)
        await anyio.sleep(0.1)
        tasks.start_soon(mux.video.assets.retrieve, "a1")

    first, second = (each.id for each in events if isinstance(each, CallStarted))
    assert story(events, first)[:2] == ["call", "attempt 1"]
    assert story(events, first)[-1].startswith("cancelled: Cancelled")
    assert story(events, second) == ["call", "shared", "attempt 1", "attempt 1: 200", "ok: 200"]
    assert not events[-1].is_shared


async def test_pagination() -> None:
    """Each page of a list is a call of its own."""

    def page(request: SentRequest) -> HttpResponse:
        number = int(dict(request.query).get("cursor", "1"))
        return respond(json={"data": [{"id": f"a{number}"}], "next_cursor": str(number + 1) if number < 3 else None})

    mux, events = recorded(FakeTransport(page))
    found = [each.id async for each in mux.video.assets.list()]

    assert found == ["a1", "a2", "a3"]
    calls = [each.id for each in events if isinstance(each, CallStarted)]
    assert len(calls) == 3
    assert all(story(events, each) == ["call", "attempt 1", "attempt 1: 200", "ok: 200"] for each in calls)


async def test_streamed_download() -> None:
    """A call whose body is streamed ends with the block, and as it does."""
    mux, events = recorded(FakeTransport(lambda _: respond(body=[b"GIF", b"89a"])))
    async with mux.video.playback.animated("id", "gif").stream() as stream:
        assert story(events) == ["call", "attempt 1", "attempt 1: 200"]
        assert b"".join([each async for each in stream]) == b"GIF89a"

    assert story(events)[-1] == "ok: 200"
    with pytest.raises(KeyError):
        async with mux.video.playback.animated("id", "gif").stream():
            raise KeyError
    assert story(events)[-1] == "error: KeyError"


@pytest.mark.parametrize("moment", [0.05, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5])
@pytest.mark.parametrize("once", [None, "k1"])
async def test_cancelled_at_each_point(moment: float, once: str | None) -> None:
    """Wherever a call is cancelled (in the queue, while sending, in the body, asleep before a retry), each start has its end."""
    numbers = iter(range(100))

    async def answer(_: SentRequest) -> HttpResponse:
        number = next(numbers)
        await anyio.sleep(0.4)
        if number < 2:
            return respond(503, json={})

        async def body() -> AsyncGenerator[bytes]:
            await anyio.sleep(0.5)
            yield b'{"data": {"id": "a1"}}'

        return respond(body=body())

    mux, events = recorded(FakeTransport(answer), limits=LimitSettings(post=BucketSettings(rate=5.0, burst=1)))
    with anyio.move_on_after(moment), suppress(MuxError):
        if once is None:
            await mux.video.uploads.create()
        else:
            await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], once=once)

    calls = [each.id for each in events if isinstance(each, CallStarted)]
    assert calls
    for call in calls:
        mine = [each for each in events if each.id == call]
        assert isinstance(mine[-1], CallEnded)
        assert sum(isinstance(each, CallEnded) for each in mine) == 1
        open_attempts = list[int]()
        for each in mine:
            if isinstance(each, AttemptStarted):
                assert not open_attempts
                open_attempts.append(each.number)
            elif isinstance(each, AttemptEnded):
                assert open_attempts == [each.number]
                open_attempts.clear()
        assert not open_attempts


async def test_cancelled_while_connecting() -> None:
    """A cancellation before a byte was written is an attempt of which nothing was sent."""

    async def connecting(_: SentRequest) -> HttpResponse:
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            mark_unsent(error)
            raise
        raise AssertionError

    mux, events = recorded(FakeTransport(connecting))
    with anyio.move_on_after(1.0):
        await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])

    assert [each.split(":")[0] for each in story(events)] == ["call", "attempt 1", "attempt 1", "cancelled"]
    assert events[-1].delivery is events[-2].delivery is Delivery.NEVER_SENT


async def test_context_of_the_caller() -> None:
    """A listener sees the context of the call that it is called for, and what it sets there stays for the events that follow."""
    name: ContextVar[str] = ContextVar("name", default="?")
    seen = list[tuple[str, str]]()
    span: ContextVar[str] = ContextVar("span", default="none")

    def listener(event: Any) -> None:
        if isinstance(event, CallStarted):
            span.set(f"span of {name.get()}")
        seen.append((name.get(), span.get()))

    mux = client(FakeTransport(lambda _: ok()), listeners=[listener])

    async def call(who: str) -> None:
        name.set(who)
        await mux.video.assets.retrieve(who)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, "one")
        tasks.start_soon(call, "two")

    assert len(seen) == 8
    assert set(seen) == {("one", "span of one"), ("two", "span of two")}


async def test_path_without_query_and_template() -> None:
    """A request by its path has no template, since that path holds ids; and no event holds a query."""
    mux, events = recorded(FakeTransport(lambda _: respond(json={})))
    await mux.request("GET", "/video/v1/assets/a1", query={"cursor": "SECRET"})

    assert (events[0].call.operation, events[0].call.url_template) == ("request", None)
    assert events[1].path == "/video/v1/assets/a1"
    assert "SECRET" not in repr(events)


async def test_clones_share_listeners() -> None:
    """``with_options`` clones have the listeners of their client, whenever they were added."""
    mux: Mux = client(FakeTransport(lambda _: ok()))
    clone = mux.with_options(deadline=5.0)
    events = list[Any]()
    with mux.listen(events.append):
        await clone.video.assets.retrieve("a1")
    assert story(events) == ["call", "attempt 1", "attempt 1: 200", "ok: 200"]

    with clone.listen(events.append):
        await mux.video.assets.retrieve("a1")
    assert len(events) == 8
