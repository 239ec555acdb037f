"""Responses and events that are older than the wait do not end it. In virtual time, on asyncio and trio."""

from __future__ import annotations

import json

import anyio
import pytest

from mux_async import LimitSettings, Mux, NotFoundError
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport
from mux_async.transport import HttpRequest, HttpResponse
from mux_async.webhooks import parse_event
from tests.waiting.harness import clock, emulated, ready_asset
from tests.waiting.test_asset_parts import PARTS, Part, start
from tests.waiting.test_webhooks import asset, connected, event

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SLOW = EmulatorSettings(time_to_ready=30.0)


async def deliver(mux: Mux, emulator: Emulator, kind: str, *, after: float) -> None:
    """Deliver the first event of *kind*, perhaps once more, after some seconds."""
    await anyio.sleep(after)
    mux.webhook_received(parse_event(json.loads(next(each for each in emulator.events if each.type == kind).body)))


class SlowLists(EmulatorTransport):
    """Responses to list requests take a second on their way back."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        response = await super().send(request)
        if "/video/v1/assets?" in request.url:
            await anyio.sleep(1.0)
        return response


@PARTS
async def test_a_list_from_before_the_part(part: Part) -> None:
    """A list that was requested before an asset got a part, and arrives after it, does not end the wait for the part."""
    emulator = Emulator(EmulatorSettings(time_to_ready=30.0, limits=None), clock=clock)
    limits = LimitSettings(enabled=False)
    async with (
        Mux(token_id="test-token", token_secret="test-secret", transport=SlowLists(emulator), limits=limits) as mux,
        anyio.create_task_group() as tasks,
    ):
        asset_id = (await ready_asset(mux)).id
        for _ in range(2):
            other = await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])
            tasks.start_soon(mux.video.assets.wait_until_ready, other.id)
        await anyio.sleep(1.5)  # a list request is in flight
        assert (await (await start(mux, part, asset_id))()) is not None


@PARTS
async def test_an_event_from_before_the_part(part: Part) -> None:
    """A late event about the whole asset, which did not have the part then, does not end the wait for the part."""
    async with emulated(SLOW) as (emulator, mux):
        wait = await start(mux, part, (await ready_asset(mux)).id)
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: deliver(mux, emulator, "video.asset.ready", after=2))
            await wait()
        took = anyio.current_time() - began

    assert took > 20


@pytest.mark.parametrize("state", ["ready", "deleted"])
async def test_an_event_of_an_earlier_master(state: str) -> None:
    """A repeated event of a master that was there earlier does not end the wait for the one that is made now."""
    async with emulated(SLOW) as (emulator, mux):
        assets = mux.video.assets
        asset_id = (await ready_asset(mux)).id
        earlier = await (await start(mux, "master", asset_id))()
        await assets.update_master_access(asset_id, master_access="none")
        await anyio.sleep(60)
        wait = await start(mux, "master", asset_id)
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: deliver(mux, emulator, f"video.asset.master.{state}", after=2))
            await wait()
        took = anyio.current_time() - began

    assert earlier
    assert took > 20


@pytest.mark.parametrize("late", ["ready", "updated"])
async def test_a_deleted_asset_stays_deleted(late: str) -> None:
    """An event that arrives after the deletion of its asset does not make the asset ready for tasks that wait later."""
    async with connected() as (_, mux):
        mux.webhook_received(event("video.asset.deleted", **asset("a", "ready")))
        mux.webhook_received(event(f"video.asset.{late}", **asset("a", "ready")))
        with pytest.raises(NotFoundError):
            await mux.video.assets.wait_until_ready("a")


async def test_a_deleted_track_stays_deleted() -> None:
    """The same for a track."""
    async with connected() as (_, mux):
        for state in ("deleted", "ready"):
            mux.webhook_received(event(f"video.asset.track.{state}", id="t", asset_id="a", status=state, type="text"))
        with pytest.raises(NotFoundError, match="track"):
            await mux.video.assets.wait_for_track("a", "t")


async def test_an_event_of_another_workflow() -> None:
    """The event of a job does not end a wait for a job of another workflow that has its id: there is none, which a GET says."""
    async with emulated(SLOW) as (emulator, mux):
        asset_id = (await ready_asset(mux)).id
        job = await mux.robots.jobs.moderate.create(parameters={"asset_id": asset_id})
        assert job.id is not None
        await anyio.sleep(100)
        await deliver(mux, emulator, "robots.v1.job.moderate.completed", after=0)
        with pytest.raises(NotFoundError):
            await mux.robots.jobs.summarize.wait_until_done(job.id)
