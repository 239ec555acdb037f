"""Listeners and hooks: what they can do to a call (nothing but add headers), when they are called, and how they end."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

import anyio
import pytest

from mux_async import ConfigurationError, LimitSettings, Mux
from mux_async.events import AttemptStarted, CallEnded, CallStarted, OutgoingRequest, ReceivedResponse
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse
from tests.events.recording import client, script, story

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ASSET = {"data": {"id": "a1", "status": "ready"}}
STORY = ["call", "attempt 1", "attempt 1: 200", "ok: 200"]


def answering() -> FakeTransport:
    return FakeTransport(lambda _: respond(json=ASSET, headers={"X-Request-Id": "r1"}))


async def test_a_listener_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """A listener that raises breaks no call and no other listener, and is logged once with its traceback, not for every event."""

    def broken(_: object) -> None:
        raise RuntimeError("no disk")

    events = list[Any]()
    mux = client(answering(), listeners=[broken, events.append], limits=LimitSettings(enabled=False))
    with caplog.at_level(logging.ERROR, "mux_async"):
        for _ in range(10):
            assert (await mux.video.assets.retrieve("a1")).id == "a1"

    assert story(events) == STORY * 10
    records = [each for each in caplog.records if each.levelname == "ERROR"]
    assert len(records) == 1
    assert records[0].exc_info is not None
    assert "broken" in records[0].getMessage()
    assert "CallStarted" in records[0].getMessage()


async def test_a_log_that_fails_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of the program's own log that fails over the failure of a listener does not break the call either."""

    def broken(_: object) -> None:
        raise RuntimeError

    class NoLog(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError

    monkeypatch.setattr(logging.getLogger("mux_async"), "handlers", [NoLog()])
    mux = client(answering(), listeners=[broken])

    assert (await mux.video.assets.retrieve("a1")).id == "a1"


async def test_a_listener_that_uses_the_client() -> None:
    """A listener may start calls of the same client, in tasks of their own, and adds and removes listeners."""
    events = list[Any]()
    mux: Mux
    async with anyio.create_task_group() as tasks:

        def listener(event: Any) -> None:
            events.append(event)
            if isinstance(event, CallEnded) and event.call.operation == "video.assets.retrieve":
                tasks.start_soon(mux.request, "GET", "/video/v1/assets")
                mux.listen(lambda _: None).remove()

        mux = client(answering(), listeners=[listener])
        await mux.video.assets.retrieve("a1")

    assert [each.call.operation for each in events if isinstance(each, CallStarted)] == [
        "video.assets.retrieve",
        "request",
    ]


async def test_no_lock_is_held() -> None:
    """At every event a listener may ask for the state of the limits, which takes their locks; a lock that was held would hang it."""
    asked = list[str]()
    answers = script(lambda: respond(429, json={}), lambda: respond(503, json={}), lambda: respond(json=ASSET))

    def listener(event: Any) -> None:
        mux.limits.snapshot()
        mux.limits.forecast(post=3)
        asked.append(type(event).__name__)

    mux = client(answers, listeners=[listener])
    await mux.video.assets.retrieve("a1")

    assert {"CallStarted", "AttemptStarted", "CallThrottled", "AttemptEnded", "CallRetried", "GrantWaited", "CallEnded"} == set(
        asked
    )
    assert asked.count("AttemptStarted") == asked.count("AttemptEnded") == 3


async def test_a_listener_that_blocks() -> None:
    """A listener that blocks holds up the call that it is called for, and breaks nothing."""
    events = list[Any]()
    never = threading.Event()

    def slow(event: Any) -> None:
        never.wait(0.005)
        events.append(event)

    mux = client(answering(), listeners=[slow])
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(mux.with_options(deadline=5.0).video.assets.retrieve, f"a{number}")

    assert sorted(story(events)) == sorted(STORY * 3)


async def test_listeners_added_in_many_threads() -> None:
    """Of listeners that threads add and remove at the same moment, none is lost, and none stays."""
    mux, start = client(answering()), threading.Barrier(8)
    kept, interval = list[Any](), sys.getswitchinterval()

    def add_and_remove() -> None:
        start.wait()
        for _ in range(300):
            removed = mux.listen(lambda _: None)
            mux.listen(kept.append)
            removed.remove()

    threads = [threading.Thread(target=add_and_remove) for _ in range(8)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    await mux.video.assets.retrieve("a1")

    assert story(kept).count("call") == 8 * 300


def _raise() -> bool:
    raise RuntimeError("no configuration")


@pytest.mark.parametrize("is_enabled", [True, _raise])
async def test_an_odd_is_enabled(is_enabled: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An attribute ``is_enabled`` of a listener that is no function, or raises, breaks no call, and hides none."""

    class Listener:
        def __init__(self) -> None:
            self.events = list[Any]()
            self.is_enabled = is_enabled

        def __call__(self, event: Any) -> None:
            self.events.append(event)

    listener = Listener()
    await client(answering(), listeners=[listener]).video.assets.retrieve("a1")

    assert story(listener.events) == STORY
    assert len(caplog.records) == (is_enabled is not True)


async def test_a_listener_that_removes_itself() -> None:
    """A listener that ends itself gets nothing more, from that event on; the others get everything."""
    first, others = list[Any](), list[Any]()
    mux = client(answering())

    def once(event: Any) -> None:
        first.append(event)
        if isinstance(event, AttemptStarted):
            listening.remove()
            listening.remove()

    listening = mux.listen(once)
    mux.listen(others.append)
    await mux.video.assets.retrieve("a1")
    await mux.video.assets.retrieve("a1")

    assert story(first) == STORY[:2]
    assert story(others) == STORY * 2
    assert not listening.is_active


async def test_added_during_a_call() -> None:
    """A listener gets the calls that begin after it was added, from their start to their end, and nothing of one under way."""
    events = list[Any]()
    started = anyio.Event()

    async def slowly(_: SentRequest) -> HttpResponse:
        started.set()
        await anyio.sleep(1.0)
        return respond(json=ASSET)

    mux = client(FakeTransport(slowly))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mux.video.assets.retrieve, "a1")
        await started.wait()
        mux.listen(events.append)
        await mux.video.assets.retrieve("a2")
        await mux.video.assets.retrieve("a3")

    assert {each.call.url_template for each in events} == {"/video/v1/assets/{ASSET_ID}"}
    assert story(events) == STORY * 2
    assert [each.path for each in events if isinstance(each, AttemptStarted)] == ["/video/v1/assets/a2", "/video/v1/assets/a3"]


async def test_removed_during_a_call() -> None:
    """After the end of a ``with`` block nothing is called any more, also not for calls that began in it."""
    events = list[Any]()

    async def slowly(_: SentRequest) -> HttpResponse:
        await anyio.sleep(1.0)
        return respond(json=ASSET)

    mux = client(FakeTransport(slowly))
    async with anyio.create_task_group() as tasks:
        with mux.listen(events.append):
            tasks.start_soon(mux.video.assets.retrieve, "a1")
            await anyio.sleep(0.5)

    assert story(events) == STORY[:2]


async def test_asynchronous_listeners_are_refused() -> None:
    """What cannot be called, or would have to be awaited, is refused when it is added."""

    async def listener(_: object) -> None: ...

    class Listening:
        async def __call__(self, _: object) -> None: ...

    mux = client(answering())
    wrong: Any
    for wrong in (listener, Listening()):
        with pytest.raises(ConfigurationError, match="asynchronous"):
            mux.listen(wrong)
    wrong = 3
    with pytest.raises(ConfigurationError, match="on_request is of type int"):
        mux.listen(on_request=wrong)
    with pytest.raises(ConfigurationError, match="nothing to listen with"):
        mux.listen()
    with pytest.raises(ConfigurationError, match="asynchronous"):
        client(answering(), listeners=[listener])


async def test_on_request_adds_headers() -> None:
    """``on_request`` runs for each attempt, knows which it is, and adds headers to that attempt alone."""
    seen = list[OutgoingRequest]()

    def trace(request: OutgoingRequest) -> dict[str, str] | None:
        seen.append(request)
        return {"traceparent": f"00-{request.number}", "user-agent": "mine"} if request.number < 3 else None

    transport = script(lambda: respond(503, json={}), lambda: respond(503, json={}), lambda: respond(json=ASSET))
    await client(transport, on_request=trace).video.assets.retrieve("a1")

    sent = [each.headers for each in transport.requests]
    assert [each.get("traceparent") for each in sent] == ["00-1", "00-2", None]
    assert [{name.lower(): value for name, value in each.items()}["user-agent"] for each in sent[:2]] == ["mine", "mine"]
    assert [(each.number, each.path, each.call.method) for each in seen] == [
        (number, "/video/v1/assets/a1", "GET") for number in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    "name", ["Authorization", "authorization", "Host", "Content-Length", "Accept-Encoding", "content-type"]
)
async def test_on_request_cannot_change_what_a_request_is(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A hook that would change credentials, host or framing is logged, and none of its headers are sent."""

    def hook(_: OutgoingRequest) -> dict[str, str]:
        return {"X-Mine": "1", name: "evil"}

    transport = answering()
    mux = client(transport, on_request=hook)
    with caplog.at_level(logging.ERROR, "mux_async"):
        await mux.video.assets.retrieve("a1")

    sent = transport.requests[0].headers
    assert "evil" not in sent.values()
    assert "X-Mine" not in sent
    assert len(caplog.records) == 1


async def test_on_request_sees_no_secret() -> None:
    """What a hook gets holds no credentials and no query."""
    seen = list[OutgoingRequest]()
    await client(answering(), on_request=seen.append).request("GET", "/video/v1/assets", query={"cursor": "SECRET"})

    assert "SECRET" not in repr(seen)
    assert "s3cr3t" not in repr(seen)
    assert "Basic" not in repr(seen)


async def test_on_response() -> None:
    """``on_response`` gets every answer, of whatever status, with headers and time; a failure without an answer is none."""
    seen = list[ReceivedResponse]()

    async def slowly(request: SentRequest) -> HttpResponse:
        await anyio.sleep(0.5)
        return respond(503 if len(seen) == 0 else 200, json=ASSET, headers={"X-Request-Id": "r1"})

    await client(FakeTransport(slowly), on_response=seen.append).video.assets.retrieve("a1")

    assert [(each.number, each.status, each.request_id) for each in seen] == [(1, 503, "r1"), (2, 200, "r1")]
    assert [each.elapsed for each in seen] == pytest.approx([0.5, 0.5])
    assert seen[0].headers["x-request-id"] == "r1"


async def test_hooks_and_events_of_one_listening_end_together() -> None:
    """One handle ends a listener and its hooks."""
    calls = list[str]()
    transport = answering()
    mux = client(transport)
    with mux.listen(
        lambda event: calls.append("event"),
        on_request=lambda request: {"X-Mine": "1"},
        on_response=lambda response: calls.append("response"),
    ):
        await mux.video.assets.retrieve("a1")
    await mux.video.assets.retrieve("a1")

    assert calls.count("event") == 4
    assert calls.count("response") == 1
    assert [each.headers.get("X-Mine") for each in transport.requests] == ["1", None]
