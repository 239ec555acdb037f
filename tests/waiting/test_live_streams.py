"""``wait_until_active`` and ``wait_until_idle`` of live streams, against the emulator."""

from __future__ import annotations

import json

import anyio
import pytest

from mux_async.errors import DeadlineExceededError, LiveStreamDisabledError, NotFoundError
from mux_async.webhooks import parse_event
from tests.waiting.harness import Counter, emulated

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

STREAMS = "/video/v1/live-streams"


@pytest.mark.parametrize("has_webhooks", [False, True])
async def test_a_broadcast(has_webhooks: bool) -> None:
    """A wait for the beginning and one for the end of a broadcast return the stream in that state, at once with webhooks."""
    async with emulated(has_webhooks=has_webhooks) as (emulator, mux):
        streams = mux.video.live_streams
        stream = await streams.create(reconnect_window=0)
        seen = Counter(emulator)
        found: list[tuple[str | None, float]] = []

        async def watch() -> None:
            found.append(((await streams.wait_until_active(stream.id)).status, anyio.current_time()))
            found.append(((await streams.wait_until_idle(stream.id)).status, anyio.current_time()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.sleep(300)
            emulator.live.connect(stream.id)
            await anyio.sleep(300)
            emulator.live.disconnect(stream.id)

    (active, began), (idle, ended) = found
    assert (active, idle) == ("active", "idle")
    slack = 4.0 if has_webhooks else 14.0
    assert 300.0 <= began <= 300.0 + slack
    assert 600.0 <= ended <= 600.0 + slack
    assert seen.paths() == {f"{STREAMS}/{stream.id}"}
    assert len(seen.gets) < (40 if has_webhooks else 90)


async def test_already_there() -> None:
    """A wait for the state that the stream has returns at once."""
    async with emulated() as (emulator, mux):
        stream = await mux.video.live_streams.create()
        seen = Counter(emulator)
        assert (await mux.video.live_streams.wait_until_idle(stream.id)).status == "idle"

    assert len(seen.gets) == 1


async def test_many_share_a_list_request() -> None:
    """Waits for streams share a list request per poll."""
    async with emulated() as (emulator, mux):
        streams = [await mux.video.live_streams.create() for _ in range(20)]
        seen = Counter(emulator)
        async with anyio.create_task_group() as tasks:
            for stream in streams:
                tasks.start_soon(mux.video.live_streams.wait_until_active, stream.id)
            await anyio.sleep(60)
            for stream in streams:
                emulator.live.connect(stream.id)

    assert seen.paths() == {STREAMS}
    assert len(seen.gets) < 20


async def test_a_late_event() -> None:
    """An old event that is delivered again does not end a wait: it only causes a poll."""
    async with emulated(has_webhooks=True) as (emulator, mux):
        stream = await mux.video.live_streams.create(reconnect_window=0)
        for _ in range(2):
            emulator.live.connect(stream.id)
            await anyio.sleep(60)
            emulator.live.disconnect(stream.id)
            await anyio.sleep(60)
        emulator.live.connect(stream.id)
        await anyio.sleep(60)
        late = next(event for event in emulator.events if event.type == "video.live_stream.idle")
        seen = Counter(emulator)
        with anyio.move_on_after(5.0) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(mux.video.live_streams.wait_until_idle, stream.id)
                await anyio.sleep(2)
                mux.webhook_received(parse_event(json.loads(late.body)))

    assert scope.cancelled_caught
    assert len(seen.gets) == 2


async def test_disabled() -> None:
    """A stream that is disabled cannot become active, and has no broadcast."""
    async with emulated() as (_, mux):
        streams = mux.video.live_streams
        stream = await streams.create()
        await streams.disable(stream.id)
        with pytest.raises(LiveStreamDisabledError, match="enable it"):
            await streams.wait_until_active(stream.id)
        assert (await streams.wait_until_idle(stream.id)).status == "disabled"


async def test_timeout_and_deletion() -> None:
    """A wait has its own timeout, and ends when the stream is deleted."""
    async with emulated() as (_, mux):
        stream = await mux.video.live_streams.create()
        with pytest.raises(DeadlineExceededError, match="was not active within 5 s"):
            await mux.video.live_streams.wait_until_active(stream.id, timeout=5.0)
        async with anyio.create_task_group() as tasks:

            async def delete() -> None:
                await anyio.sleep(20)
                await mux.video.live_streams.delete(stream.id)

            tasks.start_soon(delete)
            with pytest.raises(NotFoundError):
                await mux.video.live_streams.wait_until_active(stream.id)
