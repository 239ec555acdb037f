"""Waits for tracks, static renditions and masters: parts of an asset, which are polled with it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal, TypeAlias

import anyio
import pytest

from mux_async import Mux
from mux_async.emulator import EmulatorSettings, MediaInfo, MediaSource, WorkFault
from mux_async.errors import (
    AssetErroredError,
    DeadlineExceededError,
    MasterErroredError,
    NotFoundError,
    ProcessingError,
    StaticRenditionErroredError,
    TrackErroredError,
)
from tests.waiting.harness import Counter, emulated, ready_asset

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SLOW = EmulatorSettings(time_to_ready=30.0)


async def add_track(mux: Mux, asset_id: str) -> str:
    made = await mux.video.assets.create_track(
        asset_id, language_code="en", text_type="subtitles", type="text", url="https://example.com/en.vtt"
    )
    assert made.id is not None
    return made.id


async def add_rendition(mux: Mux, asset_id: str) -> str:
    made = await mux.video.assets.create_static_rendition(asset_id, resolution="highest")
    assert made.id is not None
    return made.id


Wait: TypeAlias = Callable[..., Coroutine[Any, Any, object]]
Part: TypeAlias = Literal["track", "static_rendition", "master"]


async def start(mux: Mux, part: Part, asset_id: str) -> Wait:
    """Begin to make a part of an asset. Returns the wait for it."""
    assets = mux.video.assets
    if part == "track":
        track_id = await add_track(mux, asset_id)
        return partial(assets.wait_for_track, asset_id, track_id)
    if part == "static_rendition":
        rendition_id = await add_rendition(mux, asset_id)
        return partial(assets.wait_for_static_rendition, asset_id, rendition_id)
    await assets.update_master_access(asset_id, master_access="temporary")
    return partial(assets.wait_for_master, asset_id)


PARTS = pytest.mark.parametrize("part", ["track", "static_rendition", "master"])


async def test_each_part() -> None:
    """The result of a wait is the part, ready, with what it has then: the file of a rendition, the URL of a master."""
    async with emulated(SLOW) as (_, mux):
        assets = mux.video.assets
        asset = await ready_asset(mux)
        track_id, rendition_id = await add_track(mux, asset.id), await add_rendition(mux, asset.id)
        await assets.update_master_access(asset.id, master_access="temporary")
        track = await assets.wait_for_track(asset.id, track_id)
        rendition = await assets.wait_for_static_rendition(asset.id, rendition_id)
        master = await assets.wait_for_master(asset.id)

    assert (track.id, track.status, track.language_code) == (track_id, "ready", "en")
    assert (rendition.id, rendition.status) == (rendition_id, "ready")
    assert rendition.filesize
    assert master.status == "ready"
    assert master.url


async def test_parts_of_one_asset_share_a_get() -> None:
    """Waits for three parts of one asset, and for the asset itself, cost one GET of the asset per poll, and no list request."""
    async with emulated(SLOW) as (emulator, mux):
        asset = await ready_asset(mux)
        waits = [await start(mux, part, asset.id) for part in ("track", "static_rendition", "master")]
        seen = Counter(emulator)
        async with anyio.create_task_group() as tasks:
            for wait in waits:
                tasks.start_soon(wait)

    assert seen.paths() == {f"/video/v1/assets/{asset.id}"}
    assert len(seen.gets) < 20


async def test_parts_of_many_assets_share_a_list_request() -> None:
    """Waits for parts of different assets, and for assets, are served by the list of assets."""
    async with emulated(SLOW) as (emulator, mux):
        assets = [await ready_asset(mux) for _ in range(4)]
        waits = [await start(mux, "track", asset.id) for asset in assets]
        new = await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])
        seen = Counter(emulator)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mux.video.assets.wait_until_ready, new.id)
            for wait in waits:
                tasks.start_soon(wait)

    assert "/video/v1/assets" in seen.paths()
    assert len(seen.gets) < 40


@PARTS
async def test_a_webhook_ends_the_wait(part: Part) -> None:
    """The event of a part ends the wait for it at once, without a request; that of a master, which comes and goes, with one."""
    async with emulated(EmulatorSettings(time_to_ready=600.0), has_webhooks=True) as (emulator, mux):
        wait = await start(mux, part, (await ready_asset(mux)).id)
        seen = Counter(emulator)
        began = anyio.current_time()
        await wait()
        took = anyio.current_time() - began

    assert took == pytest.approx(600.0, abs=5.0)
    assert len(seen.gets) < 20
    assert (seen.gets[-1].at - 1.7e9 < anyio.current_time() - 1.0) == (part != "master")


@pytest.mark.parametrize("part", ["track", "static_rendition"])
async def test_the_event_came_first(part: Part) -> None:
    """The event of a part that arrives before the wait is remembered, so that the wait costs no request."""
    async with emulated(SLOW, has_webhooks=True) as (emulator, mux):
        wait = await start(mux, part, (await ready_asset(mux)).id)
        await anyio.sleep(100)
        seen = Counter(emulator)
        await wait()

    assert seen.gets == []


@pytest.mark.parametrize("has_webhooks", [False, True])
@pytest.mark.parametrize(
    ("part", "kind"),
    [("track", TrackErroredError), ("static_rendition", StaticRenditionErroredError), ("master", MasterErroredError)],
)
async def test_errored(part: Part, kind: type[ProcessingError], has_webhooks: bool) -> None:
    """A part that cannot be made raises an error of its own, with Mux's reason where a webhook brings it."""
    async with emulated(SLOW, has_webhooks=has_webhooks) as (emulator, mux):
        asset = await ready_asset(mux)
        emulator.work_faults.add(WorkFault(part, type="bad_file", message="not one word"))
        wait = await start(mux, part, asset.id)
        with pytest.raises(kind) as caught:
            await wait()

    assert caught.value.status == "errored"
    if has_webhooks and part != "master":
        assert (caught.value.type, caught.value.messages) == ("bad_file", ("not one word",))


async def test_skipped() -> None:
    """Generated subtitles of a film without sound are skipped: the wait returns the track, and its status says so."""

    def silent(_: MediaSource) -> MediaInfo:
        return MediaInfo(60.0, channels=0)

    async with emulated(EmulatorSettings(time_to_ready=30.0, probe=silent)) as (_, mux):
        asset = await mux.video.assets.create(
            inputs=[{"url": "https://example.com/film.mp4", "generated_subtitles": [{"language_code": "en"}]}]
        )
        asset = await mux.video.assets.wait_until_ready(asset.id)
        generated = next(track for track in asset.tracks or () if track.type == "text")
        assert generated.id is not None
        track = await mux.video.assets.wait_for_track(asset.id, generated.id)

    assert track.status == "skipped"


async def test_master_without_access() -> None:
    """A wait for a master that nobody asked for raises at once instead of waiting forever."""
    async with emulated() as (_, mux):
        asset = await ready_asset(mux)
        with pytest.raises(MasterErroredError, match="update_master_access"):
            await mux.video.assets.wait_for_master(asset.id)


@PARTS
async def test_the_asset_is_errored(part: Part) -> None:
    """An errored asset gets no more parts, so the wait for one raises why the asset is errored."""
    async with emulated() as (emulator, mux):
        emulator.work_faults.add(WorkFault("asset", message="nobody there"))
        asset = await mux.video.assets.create(
            inputs=[{"url": "https://example.com/film.mp4"}],
            master_access="temporary",
            static_renditions=[{"resolution": "highest"}],
        )
        assets = mux.video.assets
        waits: dict[Part, Wait] = {
            "track": partial(assets.wait_for_track, asset.id, "t"),
            "static_rendition": partial(assets.wait_for_static_rendition, asset.id, "r"),
            "master": partial(assets.wait_for_master, asset.id),
        }
        await anyio.sleep(60)
        with pytest.raises(AssetErroredError, match="nobody there"):
            await waits[part]()


@pytest.mark.parametrize("has_webhooks", [False, True])
async def test_deleted_meanwhile(has_webhooks: bool) -> None:
    """Deleting a track ends the wait for it, and no other."""
    async with emulated(EmulatorSettings(time_to_ready=200.0), has_webhooks=has_webhooks) as (_, mux):
        asset = await ready_asset(mux)
        track_id = await add_track(mux, asset.id)
        rendition = await start(mux, "static_rendition", asset.id)

        async def wait() -> None:
            with pytest.raises(NotFoundError, match="track"):
                await mux.video.assets.wait_for_track(asset.id, track_id)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(rendition)
            await anyio.sleep(20)
            await mux.video.assets.delete_track(asset.id, track_id)


@PARTS
async def test_timeout(part: Part) -> None:
    """A wait for a part has its own timeout, and can be repeated."""
    async with emulated(SLOW) as (_, mux):
        asset = await ready_asset(mux)
        wait = await start(mux, part, asset.id)
        with pytest.raises(DeadlineExceededError, match="not ready within 2 s"):
            await wait(timeout=2.0)
        await wait()
