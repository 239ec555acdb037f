"""``mux.webhook_events``: events over one connection that is replaced when it breaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async import (
    AuthenticationError,
    ConnectError,
    Delivery,
    LimitSettings,
    Mux,
    MuxError,
    NotFoundError,
    PermissionDeniedError,
    Phase,
    ServerError,
    StreamStatus,
    TransportError,
    TransportTimeoutError,
    UndecodableResponseError,
)
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, serve
from mux_async.testing import FakeTransport, respond, virtual_trio_options
from mux_async.transport import HttpResponse
from tests._examples import examples
from tests.engine.test_cancellation import Cancel, by_scope, by_task, every_step, stepped
from tests.webhooks.samples import envelope

CONNECTED = b"event: connected\ndata: {}\n\n"
BROKEN = TransportError("reset", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY)
FREE = LimitSettings(enabled=False)


def message(event_id: str = "1", kind: str = "video.asset.ready") -> bytes:
    return b"id: %b\ndata: %b\n\n" % (event_id.encode(), orjson.dumps(envelope(kind, event_id)))


def streamed(*pieces: bytes | BaseException) -> HttpResponse:
    return respond(body=list(pieces), headers={"Content-Type": "text/event-stream; charset=utf-8"})


def waiting(*pieces: bytes | BaseException) -> HttpResponse:
    """A stream whose pieces take a while, and that stays open after them."""

    async def body() -> AsyncGenerator[bytes | BaseException]:
        for piece in pieces:
            await anyio.sleep(0.01)
            yield piece
        await anyio.sleep_forever()

    return respond(body=body(), headers={"Content-Type": "text/event-stream"})


def client(*answers: HttpResponse | BaseException, **options: Any) -> tuple[Mux, FakeTransport]:
    left = list(answers)
    transport = FakeTransport(lambda _: left.pop(0))
    return Mux(token_id="id", token_secret="secret", transport=transport, limits=FREE, random=Random(1), **options), transport


async def take(count: int, events: AsyncIterable[Any]) -> list[Any]:
    found = list[Any]()
    async for event in events:
        found.append(event)
        if len(found) == count:
            break
    return found


@pytest.mark.anyio
async def test_typed_events() -> None:
    """Each message is a typed event, and `body` its JSON; comments and ``connected`` are none."""
    mux, transport = client(streamed(CONNECTED, b": heartbeat\n\n" + message("1"), message("2", "video.upload.created")))
    async with mux, mux.webhook_events() as events:
        first, second = await take(2, events)
        assert orjson.loads(events.body)["id"] == "2"

    assert (first.type, first.data.status, second.id) == ("video.asset.ready", "ready", "2")
    assert transport.unfinished == 0
    (request,) = transport.requests
    assert request.path == "/system/v1/webhook-events/stream"
    assert request.headers["Accept"] == "text/event-stream"
    assert request.headers["Authorization"].startswith("Basic ")


@pytest.mark.anyio
async def test_patterns() -> None:
    """Only events of the wanted types are returned; a type that does not exist is refused before anything is sent."""
    mux, transport = client(streamed(CONNECTED, message("1"), message("2", "video.upload.created")))
    async with mux, mux.webhook_events("video.upload.*") as events:
        assert [event.id for event in await take(1, events)] == ["2"]
    with pytest.raises(ValueError, match="similar ones are"):
        mux.webhook_events("video.asset.redy")
    assert len(transport.requests) == 1


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_connection_that_breaks_within_a_line() -> None:
    """It is opened again after a pause, with the id of the last event that was complete; what was not complete is not returned."""
    seen = list[StreamStatus]()
    half = message("2")[:40]
    mux, transport = client(streamed(CONNECTED, message("1"), half, BROKEN), streamed(CONNECTED, message("2")), waiting())
    async with mux, mux.webhook_events(on_status=seen.append) as events:
        assert [event.id for event in await take(2, events)] == ["1", "2"]

    assert [request.headers.get("Last-Event-ID") for request in transport.requests] == [None, "1"]
    assert [(status.is_connected, status.error is not None) for status in seen] == [(True, False), (False, True), (True, False)]
    assert transport.unfinished == 0


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_pauses() -> None:
    """Pauses double from 1 s up to 30 s, each at least half of that, while nothing arrives; an event starts them again."""
    seen = list[StreamStatus]()
    refused = ConnectError("refused")
    failures: list[HttpResponse | BaseException] = [refused, respond(503), respond(429), refused, refused, refused, refused]
    mux, transport = client(streamed(CONNECTED), *failures, streamed(CONNECTED, message("1")), waiting(message("2")))
    async with mux, mux.webhook_events(on_status=seen.append) as events:
        await take(2, events)

    pauses = [status.retry_in for status in seen if status.retry_in is not None]
    longest = [1, 2, 4, 8, 16, 30, 30, 30, 1]
    assert len(pauses) == len(longest)
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert transport.unfinished == 0


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_the_server_names_a_pause() -> None:
    """``retry`` sets the first pause; the longest one stays 30 s."""
    seen = list[StreamStatus]()
    mux, _ = client(streamed(b"retry: 10000\n\n"), streamed(b"retry: 9999999999\n\n"), waiting(message()))
    async with mux, mux.webhook_events(on_status=seen.append) as events:
        await take(1, events)
    first, second = [status.retry_in for status in seen if status.retry_in is not None]
    assert 5 <= first <= 10
    assert 15 <= second <= 30


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (respond(401), AuthenticationError, "check that the two belong together"),
        (respond(403), PermissionDeniedError, "permission to read the system"),
        (respond(404), NotFoundError, "not offered here: receive webhooks at an endpoint"),
        (respond(json={}), UndecodableResponseError, "'application/json' instead of a stream of events"),
        (respond(204), UndecodableResponseError, "'nothing' instead of a stream"),
    ],
    ids=["401", "403", "404", "JSON", "204"],
)
@pytest.mark.parametrize("is_first", [True, False])
async def test_refusals(answer: HttpResponse, error: type[MuxError], text: str, is_first: bool) -> None:
    """What no later attempt would change is raised, at once or when connecting again, and says what to do."""
    copy = respond(answer.status, headers=answer.headers)  # a response is read once
    mux, transport = client(*([] if is_first else [streamed(CONNECTED)]), copy)
    with pytest.raises(error, match=text):
        async with mux, mux.webhook_events() as events:
            await take(1, events)
    assert transport.unfinished == 0


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_the_first_connection() -> None:
    """A server that cannot be reached at first is an error after the usual attempts."""
    mux, transport = client(*[respond(500)] * 2, max_attempts=2)
    with pytest.raises(ServerError):
        await mux.webhook_events().__aenter__()
    assert len(transport.requests) == 2


@pytest.mark.anyio
async def test_what_is_no_event() -> None:
    """Messages that are no events are skipped and counted, and so are those that are too large."""
    wrong = [b"data: no JSON\n\n", b"data: []\n\n", b"data: {}\n\n", b'data: {"id": 1, "type": "x"}\n\n', b"data: \xff\n\n"]
    large = b"data: " + b"x" * (1024 * 1024) + b"\n\n"
    mux, _ = client(streamed(*wrong, large, message("good")))
    async with mux, mux.webhook_events() as events:
        assert [event.id for event in await take(1, events)] == ["good"]
        assert events.skipped == 6


@pytest.mark.anyio
async def test_misuse() -> None:
    """A stream that is not open, or that another task reads, and wrong arguments are refused."""
    mux, _ = client(waiting())
    with pytest.raises(RuntimeError, match="async with"):
        await anext(mux.webhook_events())
    with pytest.raises(ValueError, match="silence"):
        mux.webhook_events(silence=0)
    async with mux, mux.webhook_events() as events, anyio.create_task_group() as tasks:
        tasks.start_soon(take, 1, events)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="two tasks"):
            await anext(events)
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_closed_by_another_task() -> None:
    """When the task that opened the stream leaves it, the iteration of another one ends."""
    mux, transport = client(waiting(CONNECTED, message("1")))
    found = list[str]()

    async def listen() -> None:
        async for event in events:
            found.append(event.id)
        found.append("end")

    with anyio.fail_after(5):
        async with mux, anyio.create_task_group() as tasks, mux.webhook_events() as events:
            tasks.start_soon(listen)
            while not found:
                await anyio.wait_all_tasks_blocked()
                await anyio.lowlevel.checkpoint()
    assert found == ["1", "end"]
    assert transport.unfinished == 0


@pytest.mark.anyio
async def test_one_grant_for_each_connection() -> None:
    """A connection counts as one request, however many events it has."""
    left = [streamed(CONNECTED, *[message(str(number)) for number in range(100)])]
    mux = Mux(token_id="grants", token_secret="secret", transport=FakeTransport(lambda _: left.pop()))
    async with mux, mux.webhook_events() as events:
        before = mux.limits.snapshot().other.granted
        await take(100, events)
        assert mux.limits.snapshot().other.granted == before == 1


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_cancelled_wait() -> None:
    """A wait for an event that is cancelled closes the connection; the next one opens it again, and nothing that arrived is lost."""
    mux, transport = client(waiting(CONNECTED, message("1") + message("2")), streamed(message("3")))
    async with mux, mux.webhook_events() as events:
        assert (await anext(events)).id == "1"
        with anyio.move_on_after(5):
            await take(9, events)
        assert transport.unfinished == 0
        assert (await anext(events)).id == "3"
    assert [request.headers.get("Last-Event-ID") for request in transport.requests] == [None, "2"]


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("cancel", [by_scope, by_task])
async def test_cancelled_at_every_await(cancel: Cancel, anyio_backend_name: str) -> None:
    """Wherever a program that listens is cancelled, it ends, and no connection stays open."""
    if cancel is by_task and anyio_backend_name == "trio":
        pytest.skip("tasks of trio are cancelled by scopes alone")

    async def run(at: int) -> bool:
        mux, transport = client(waiting(CONNECTED, message("1"), BROKEN), ConnectError("refused"), waiting(message("2")))

        async def program() -> None:
            async with mux, mux.webhook_events() as events:
                await take(2, events)

        got_there = await stepped(program, at, cancel)
        assert transport.unfinished == 0, at
        return got_there

    assert await every_step(run) >= 6


@settings(max_examples=examples(60), deadline=None)
@given(
    chunks=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from([message("x")[:50], b"\n\n", b"\r", b"retry: 0\n", b"id: \xff\n", b"id: \x7f\n\n"]),
        ),
        max_size=12,
    ),
    encoding=st.sampled_from(["identity", "gzip", "br", "?"]),
)
def test_any_server(chunks: list[bytes], encoding: str) -> None:
    """Whatever bytes a server sends, in whatever encoding, the stream goes on with the next connection, and all of them are closed."""

    async def run() -> None:
        wild = respond(body=chunks, headers={"Content-Type": "text/event-stream", "Content-Encoding": encoding})
        mux, transport = client(wild, streamed(b"\n\n" + message("good")))
        async with mux, mux.webhook_events() as events:
            async for event in events:
                if event.id == "good":
                    break
        assert transport.unfinished == 0
        assert len(transport.requests) == 2

    anyio.run(run, backend="trio", backend_options=virtual_trio_options())


@asynccontextmanager
async def emulated(emulator: Emulator, transport: str) -> AsyncGenerator[Mux]:
    if transport == "in process":
        async with Mux(token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator)) as mux:
            yield mux
        return
    async with (
        serve(emulator) as origin,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin, transport=transport) as mux,
    ):
        yield mux


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("anyio_backend", "transport"),
    [("asyncio", "in process"), ("trio", "in process"), ("asyncio", "aiohttp"), ("asyncio", "httpx")],
    indirect=["anyio_backend"],
)
async def test_waiting_for_an_asset(transport: str) -> None:
    """Events end the waits of the client, over every transport: an asset is ready when its event arrives, after a single poll."""
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.3))
    with anyio.fail_after(20):
        async with emulated(emulator, transport) as mux, anyio.create_task_group() as tasks, mux.webhook_events() as events:
            tasks.start_soon(take, 100, events)
            asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])
            ready = await mux.video.assets.wait_until_ready(asset.id)
            tasks.cancel_scope.cancel()
            assert ready.status == "ready"
            assert [arrival.path for arrival in emulator.arrivals].count(f"/video/v1/assets/{asset.id}") == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_silence(transport: str) -> None:
    """A connection without a byte for too long counts as broken, and is replaced."""
    emulator = Emulator(EmulatorSettings(limits=None))
    again = anyio.Event()
    seen = list[StreamStatus]()

    def note(status: StreamStatus) -> None:
        seen.append(status)
        if len(seen) == 3:
            again.set()

    with anyio.fail_after(20):
        async with (
            emulated(emulator, transport) as mux,
            anyio.create_task_group() as tasks,
            mux.webhook_events(silence=0.1, on_status=note) as events,
        ):
            tasks.start_soon(take, 1, events)
            await again.wait()
            tasks.cancel_scope.cancel()
    assert [status.is_connected for status in seen[:3]] == [True, False, True]
    assert isinstance(seen[1].error, TransportTimeoutError)
