"""``mux.live.watch`` against the emulator, limits and all, in virtual time, on asyncio and trio."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count, cycle

import anyio
import anyio.lowlevel
import pytest

from mux_async import LimitSettings, Mux, MuxError
from mux_async.emulator import (
    Emulator,
    EmulatorSettings,
    EmulatorTransport,
    Fault,
    RateRules,
    WebhookRequest,
    WebhookSettings,
    carrying,
)
from mux_async.errors import BadRequestError, NotFoundError
from mux_async.live import LiveEvent, LiveWatch
from mux_async.models import LiveStream
from mux_async.webhooks import WebhookRouter

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

PLAYABLE = 2.0
"""Seconds from the first media to a stream that is active, in the emulator."""

BROADCAST = ["connected", "recording", "active", "ready", "disconnected", "idle", "live_stream_completed"]
SEEN = ["connected", "active", "ready", "idle", "live_stream_completed"]
"""The events of a broadcast that polls can find."""
_accounts = count()
Carry = Callable[[WebhookRequest], Awaitable[int]]


def names(events: list[LiveEvent]) -> list[str]:
    return [event.type.rpartition(".")[2] for event in events]


def client(emulator: Emulator, limits: LimitSettings | None = None) -> Mux:
    return Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"live-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        clock=anyio.current_time,
        limits=limits,
    )


@asynccontextmanager
async def silent() -> AsyncGenerator[tuple[Emulator, Mux]]:
    """An account that sends no webhooks."""
    emulator = Emulator(EmulatorSettings(limits=RateRules()), clock=lambda: 1.7e9 + anyio.current_time())
    async with client(emulator) as mux:
        yield emulator, mux


@asynccontextmanager
async def telling(lossy: Callable[[WebhookRequest], int] = lambda _: 1) -> AsyncGenerator[tuple[Emulator, Mux]]:
    """An account whose webhooks reach the client, as often as *lossy* says."""
    hook = WebhookSettings("https://app.example/hooks", "secret")
    clock = lambda: 1.7e9 + anyio.current_time()  # noqa: E731
    emulator = Emulator(EmulatorSettings(limits=RateRules(), webhooks=(hook,)), clock=clock)
    hooks = WebhookRouter("secret", clock=clock)

    async def carry(request: WebhookRequest) -> int:
        for _ in range(lossy(request)):
            assert (await hooks.receive(request.body, request.headers)).status == 200
        return 200

    async with client(emulator) as mux, carrying(emulator, carry):
        hooks.attach(mux)
        yield emulator, mux


async def collect(watch: LiveWatch, into: list[LiveEvent], last: str = "live_stream_completed") -> None:
    async for event in watch:
        into.append(event)
        if event.type.endswith(last):
            break


async def broadcast(emulator: Emulator, stream_id: str, seconds: float = 60.0) -> None:
    emulator.live.connect(stream_id)
    await anyio.sleep(seconds)
    emulator.live.disconnect(stream_id)


async def test_told_by_webhooks() -> None:
    """Each step of a broadcast arrives at once, once, typed; the API is polled ten times less often than without webhooks."""
    events: list[LiveEvent] = []
    async with telling() as (emulator, mux), anyio.create_task_group() as tasks:
        stream = await mux.video.live_streams.create()
        tasks.start_soon(collect, mux.live.watch(stream), events)
        await anyio.sleep(20)
        before = len(emulator.arrivals)
        await broadcast(emulator, stream.id, 600.0)
        assert len(emulator.arrivals) - before < 40

    assert [name for name in names(events) if name != "created"] == BROADCAST
    assert all(event.webhook is not None for event in events)
    asset_id = next(event.asset_id for event in events if event.asset_id)
    assert {event.asset_id for event in events if event.type.endswith(("connected", "active", "idle", "ready"))} == {asset_id}
    on_air = next(event for event in events if event.type == "video.live_stream.active")
    assert isinstance(on_air.live_stream, LiveStream)
    assert on_air.live_stream.active_asset_id == asset_id


async def test_at_once() -> None:
    """A webhook wakes the watches at once, whether they are followers or the leader."""
    late: list[float] = []
    async with telling() as (emulator, mux), anyio.create_task_group() as tasks:
        stream = await mux.video.live_streams.create()

        async def follow() -> None:
            async for event in mux.live.watch(stream):
                if event.type == "video.live_stream.active":
                    late.append(anyio.current_time() - connected - PLAYABLE)
                    break

        for _ in range(3):
            tasks.start_soon(follow)
        await anyio.sleep(33)
        connected = anyio.current_time()
        emulator.live.connect(stream.id)

    assert late == [pytest.approx(0.0, abs=0.01)] * 3


async def test_seen_without_webhooks() -> None:
    """Without webhooks, polls report what the API shows: on air, ready, over, complete; a few seconds late."""
    events: list[LiveEvent] = []
    async with silent() as (emulator, mux), anyio.create_task_group() as tasks:
        stream = await mux.video.live_streams.create()
        tasks.start_soon(collect, mux.live.watch(stream), events)
        await anyio.sleep(100)
        await broadcast(emulator, stream.id)

    assert names(events) == SEEN
    assert all(event.webhook is None for event in events)
    assert events[-1].asset is not None
    assert events[-1].asset.id == events[0].asset_id
    assert {arrival.status for arrival in emulator.arrivals} <= {200, 201}


@pytest.mark.parametrize("times", [(1, 0), (2, 0, 0), (2,)], ids=["half", "third twice", "all twice"])
async def test_both(times: tuple[int, ...]) -> None:
    """With any webhooks lost or repeated, nothing is reported twice, and the start and end of the broadcast are reported."""
    events: list[LiveEvent] = []
    deliveries = cycle(times)
    again: list[LiveEvent] = []
    async with telling(lambda _: next(deliveries)) as (emulator, mux), anyio.create_task_group() as tasks:
        stream = await mux.video.live_streams.create()
        tasks.start_soon(collect, mux.live.watch(stream), events)
        await anyio.sleep(7)
        await broadcast(emulator, stream.id)
        await anyio.sleep(200)
        tasks.start_soon(collect, mux.live.watch(stream.id), again)
        await broadcast(emulator, stream.id)

    for told in (events, again):
        assert [name for name in names(told) if name in SEEN[1:]] == SEEN[1:]
        assert len(told) == len({(event.type, event.asset_id) for event in told})


async def test_a_broadcast_between_two_looks() -> None:
    """A broadcast that started and ended while the program did something else is reported, with its recording."""
    events: list[LiveEvent] = []
    async with silent() as (emulator, mux):
        stream = await mux.video.live_streams.create(latency_mode="low")
        watch = mux.live.watch(stream)
        emulator.live.connect(stream.id)
        await anyio.sleep(30)
        emulator.live.disconnect(stream.id)
        await anyio.sleep(30)
        await collect(watch, events)

    assert names(events) == ["connected", "idle", "ready", "live_stream_completed"]


async def test_how_it_stands() -> None:
    """A watch of an id starts with the state of the stream; of an older value, with the changes since; of an idle stream, with nothing."""
    async with silent() as (emulator, mux):
        stream = await mux.video.live_streams.create()
        with anyio.move_on_after(30) as nothing:
            await anext(mux.live.watch(stream.id))
        emulator.live.connect(stream.id)
        await anyio.sleep(5)
        by_id, since = mux.live.watch(stream.id), mux.live.watch(stream)
        now = mux.live.watch(await mux.video.live_streams.retrieve(stream.id))
        assert names([await anext(by_id), await anext(by_id)]) == ["connected", "active"]
        assert names([await anext(since), await anext(since)]) == ["connected", "active"]
        assert names([await anext(now)]) == ["ready"]

    assert nothing.cancelled_caught


async def test_many_share_a_look() -> None:
    """Two hundred watches of fifty streams take one list request per poll; each reports its own stream."""
    events: list[LiveEvent] = []
    async with silent() as (emulator, mux):
        streams = [await mux.video.live_streams.create() for _ in range(50)]
        told: list[list[LiveEvent]] = [[] for _ in range(200)]
        other = mux.with_options(priority="batch")
        before, began = len(emulator.arrivals), anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for number, into in enumerate(told):
                watch = (mux if number % 2 else other).live.watch(streams[number % 50])
                tasks.start_soon(collect, watch, into, "idle")
            await anyio.sleep(30)
            for stream in streams:
                emulator.live.connect(stream.id)
            await anyio.sleep(30)
            for stream in streams:
                emulator.live.disconnect(stream.id)
        seen, took = emulator.arrivals[before:], anyio.current_time() - began

    for number, events in enumerate(told):
        assert {event.live_stream_id for event in events} == {streams[number % 50].id}
        assert set(names(events)) == {"connected", "active", "ready", "idle"}
    assert {arrival.status for arrival in seen} == {200}
    lists = [arrival for arrival in seen if arrival.path == "/video/v1/live-streams"]
    assert len(lists) <= took
    assert not [arrival for arrival in seen if arrival.path.startswith("/video/v1/live-streams/")]


async def test_all() -> None:
    """A watch of all streams reports existing and new streams, from the first poll on."""
    events: list[LiveEvent] = []
    async with silent() as (emulator, mux), anyio.create_task_group() as tasks:
        old = await mux.video.live_streams.create()
        tasks.start_soon(collect, mux.live.watch(), events, "deleted")
        await anyio.sleep(30)
        new = await mux.video.live_streams.create()
        await anyio.sleep(15)
        await broadcast(emulator, old.id)
        await anyio.sleep(100)
        emulator.live.connect(new.id)
        await anyio.sleep(15)
        await mux.video.live_streams.delete(new.id)
        await anyio.sleep(20)

        assert names([event for event in events if event.live_stream_id == old.id]) == SEEN
        of_new = names([event for event in events if event.live_stream_id == new.id])
        assert of_new[:3] == ["created", "connected", "active"]
        assert of_new[-1] == "deleted"


async def test_old_streams_of_a_large_account() -> None:
    """With more streams than a poll reads, those on air are listed by status: an old one is reported like the others."""
    emulator = Emulator(EmulatorSettings(limits=None), clock=lambda: 1.7e9 + anyio.current_time())
    async with client(emulator, LimitSettings(enabled=False)) as mux:
        old = await mux.video.live_streams.create()
        for _ in range(800):
            await mux.video.live_streams.create()
        watch = mux.live.watch()
        with anyio.move_on_after(30):
            await anext(watch)
        before = len(emulator.arrivals)
        with anyio.move_on_after(110):
            await anext(watch)
        assert len(emulator.arrivals) - before <= 4 * 12
        emulator.live.connect(old.id)
        await anyio.sleep(5)
        began = anyio.current_time()

        assert names([await anext(watch), await anext(watch)]) == ["connected", "active"]
        assert anyio.current_time() - began < 11
        emulator.live.disconnect(old.id)
        await anyio.sleep(61)
        began = anyio.current_time()
        assert names([await anext(watch)]) == ["idle"]
        assert anyio.current_time() - began < 11


async def test_no_such_stream() -> None:
    """An unknown id raises the API's error, and ends that watch; others go on."""
    async with silent() as (_, mux):
        wrong = mux.live.watch("nonsense")
        with pytest.raises(BadRequestError):
            await anext(wrong)
        assert [event async for event in wrong] == []
        stream = await mux.video.live_streams.create()
        await mux.video.live_streams.delete(stream.id)
        with pytest.raises(NotFoundError):
            await anext(mux.live.watch(stream.id))


async def test_deleted() -> None:
    """A deleted stream ends its watch, after the event."""
    async with silent() as (_, mux):
        stream = await mux.video.live_streams.create()
        watch = mux.live.watch(stream)
        with anyio.move_on_after(5):
            await anext(watch)
        await mux.video.live_streams.delete(stream.id)

        assert [event.type async for event in watch] == ["video.live_stream.deleted"]


async def test_deleted_unseen() -> None:
    """In a watch of all streams, a deleted idle stream is reported once, and is not requested again."""
    events: list[LiveEvent] = []
    async with silent() as (emulator, mux), anyio.create_task_group() as tasks:
        gone, _ = [await mux.video.live_streams.create() for _ in range(2)]
        tasks.start_soon(collect, mux.live.watch(), events)
        await anyio.sleep(20)
        await mux.video.live_streams.delete(gone.id)
        await anyio.sleep(60)
        assert [(event.type, event.live_stream_id) for event in events] == [("video.live_stream.deleted", gone.id)]
        assert [arrival.status for arrival in emulator.arrivals].count(404) == 1
        tasks.cancel_scope.cancel()


async def test_others_get_their_turn() -> None:
    """However many events are buffered, other tasks run in between, and a timeout loses no event."""
    taken: list[LiveEvent] = []
    async with telling() as (emulator, mux):
        stream = await mux.video.live_streams.create(latency_mode="low")
        watch = mux.live.watch(stream)
        for _ in range(5):
            await broadcast(emulator, stream.id, 20.0)
            await anyio.sleep(5)
        others = 0

        async def count_turns() -> None:
            nonlocal others
            while True:
                await anyio.lowlevel.checkpoint()
                others += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count_turns)
            taken += [await anext(watch) for _ in range(10)]
            tasks.cancel_scope.cancel()
        with anyio.CancelScope() as scope:
            scope.cancel()
            taken.append(await anext(watch))
        taken += [await anext(watch) for _ in range(20)]

    assert others >= 5
    assert scope.cancelled_caught
    assert len({(event.type, event.asset_id) for event in taken}) == len(taken) == 30


async def test_cancelled_and_closed() -> None:
    """A cancelled leader passes the leadership on; a closed watch ends, whether its task leads or not; nothing is left."""
    events: list[LiveEvent] = []
    async with silent() as (emulator, mux):
        stream = await mux.video.live_streams.create()
        ends: list[str] = []

        async def follow(watch: LiveWatch, name: str) -> None:
            async for _ in watch:
                pass
            ends.append(name)

        first, second, third = [mux.live.watch(stream) for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(5):
                async with anyio.create_task_group() as inner:
                    inner.start_soon(follow, first, "cancelled")
                    await anyio.sleep(1)
                    tasks.start_soon(collect, mux.live.watch(stream), events)
                    tasks.start_soon(follow, second, "second")
            tasks.start_soon(follow, third, "third")
            await anyio.sleep(5)
            second.close()
            third.close()
            await anyio.sleep(1)
            assert sorted(ends) == ["second", "third"]
            await broadcast(emulator, stream.id)
        assert names(events) == SEEN
        del first, second, third
        gc.collect()
        before = len(emulator.arrivals)
        await anyio.sleep(100)

    assert len(emulator.arrivals) == before


async def test_slow() -> None:
    """A slow program loses the oldest superseded events, and gets the last state of every stream and recording."""
    async with telling() as (emulator, mux):
        streams = [await mux.video.live_streams.create(latency_mode="low") for _ in range(3)]
        watch = mux.live.watch(*streams, buffer=40)
        for number in range(12):
            for stream in streams if number == 0 else streams[1:]:  # the first one is quiet after its first broadcast
                await broadcast(emulator, stream.id, 12.0)
                await anyio.sleep(3)
        kept = [await anext(watch) for _ in range(40)]
        recordings = {asset.id async for asset in mux.video.assets.list()}

    last = {event.subject: event.type for event in kept if event.is_state}
    assert watch.lost > 100
    assert [last[stream.id] for stream in streams] == ["video.live_stream.idle"] * 3
    assert {asset_id for asset_id in recordings if last.get(asset_id) == "video.asset.live_stream_completed"} == recordings
    assert len(recordings) == 25


async def test_as_many_subjects_as_room() -> None:
    """If every event is the last of its recording, the oldest is dropped: memory is bounded in any case."""
    async with telling() as (emulator, mux):
        stream = await mux.video.live_streams.create(latency_mode="low")
        watch = mux.live.watch(stream, buffer=3)
        for _ in range(6):
            await broadcast(emulator, stream.id, 12.0)
            await anyio.sleep(3)
        kept = [await anext(watch) for _ in range(3)]
        with anyio.move_on_after(0.5) as nothing_more:
            await anext(watch)

    assert nothing_more.cancelled_caught
    assert names(kept[-2:]) == ["idle", "live_stream_completed"]


async def test_closed_by_another_task() -> None:
    """Closing ends the iteration at once, also of the leader."""
    async with silent() as (_, mux), anyio.create_task_group() as tasks:
        watch = mux.live.watch()

        async def close() -> None:
            await anyio.sleep(30.5)
            watch.close()

        tasks.start_soon(close)
        began = anyio.current_time()
        assert [event async for event in watch] == []
        assert anyio.current_time() - began == pytest.approx(30.5)


async def test_a_closed_watch_costs_nothing() -> None:
    """A closed watch is not polled any more, although a reference to it is left, as in a traceback."""
    async with silent() as (emulator, mux):
        streams = [await mux.video.live_streams.create() for _ in range(2)]
        watches = [mux.live.watch(stream) for stream in streams]
        before = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, watches[0], list[LiveEvent]())
            await anyio.sleep(5)
            watches[1].close()
            await anyio.sleep(20)
            before = len(emulator.arrivals)
            await anyio.sleep(60)
            watches[0].close()

        assert {each.path for each in emulator.arrivals[before:]} == {f"/video/v1/live-streams/{streams[0].id}"}


async def test_webhooks_do_not_stop_the_looking() -> None:
    """Webhooks that arrive faster than a poll takes do not prevent it from finding other changes."""
    events: list[LiveEvent] = []
    gone, told_by_it = "video.live_stream.idle", "video.asset.live_stream_completed"
    async with (
        telling(lambda request: request.event_type not in {gone, told_by_it}) as (emulator, mux),
        anyio.create_task_group() as tasks,
    ):
        stream, busy = [await mux.video.live_streams.create() for _ in range(2)]
        emulator.faults.add(Fault(method="GET", delay=3.0))

        async def hurry() -> None:
            while True:
                await anyio.sleep(1.0)
                await mux.video.live_streams.update(busy.id, passthrough="x")

        tasks.start_soon(hurry)
        watch = mux.live.watch()
        tasks.start_soon(broadcast, emulator, stream.id, 30.0)
        with anyio.fail_after(400):
            async for event in watch:
                events.append(event)
                if event.type == gone:
                    break
        tasks.cancel_scope.cancel()

    assert events[-1].webhook is None


async def test_two_tasks() -> None:
    """Two tasks cannot read from one watch: the second gets an error that says so."""
    async with silent() as (_, mux), anyio.create_task_group() as tasks:
        watch = mux.live.watch()
        tasks.start_soon(anext, watch)
        await anyio.sleep(1)
        with pytest.raises(RuntimeError, match="one watch per task"):
            await anext(watch)
        tasks.cancel_scope.cancel()


async def test_outages() -> None:
    """Failed polls are repeated; after ten in a row the watch raises the error, and can be continued."""
    async with silent() as (emulator, mux):
        stream = await mux.video.live_streams.create()
        watch = mux.with_options(max_attempts=1).live.watch(stream)
        fault = Fault(method="GET", status=500)
        emulator.faults.add(fault)
        with pytest.raises(MuxError):
            await anext(watch)
        emulator.faults.clear()
        emulator.live.connect(stream.id)

        assert (await anext(watch)).type == "video.live_stream.connected"


@pytest.mark.parametrize("buffer", [0, -1])
async def test_wrong_arguments(buffer: int) -> None:
    """A buffer of size 0 and an empty id are refused, with what to do."""
    async with silent() as (_, mux):
        with pytest.raises(ValueError, match="a number of events, 1 or more"):
            mux.live.watch(buffer=buffer)
        with pytest.raises(ValueError, match="all of them"):
            mux.live.watch("")
