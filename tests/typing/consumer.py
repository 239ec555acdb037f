# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""A consumer's program, for type checkers only: what mypy and pyright, both strict, must make of the public surface.

It is never run: `assert_type` in functions that nobody calls. The tests beside it hand it to both checkers.
"""

from __future__ import annotations

import datetime as dt
from typing import assert_type

import attrs

from mux_async import Download, Mux, Page, Paginator, RawResponse, converter
from mux_async.models import (
    AbridgedVideoView,
    Asset,
    AssetMetadata,
    AssetStatus,
    GetOverallValuesResponse,
    InputInfo,
    InputSettings,
    ListAssetsResponse,
    ListVideoViewsResponse,
    LiveStream,
    ModerateJob,
    RobotsV1DirectiveRunDetail,
    RobotsV1SummarizeJob,
    Track,
    Upload,
    WebhookAsset,
    WebhookLiveStream,
)
from mux_async.models.ids import AssetId
from mux_async.playback import IngestAddresses, Playback, VideoParams
from mux_async.signing import Signer, TokenRequest, VerifiedToken, verify
from mux_async.webhooks.events import AssetEvent, UnknownEvent, parse_event


async def waits(mux: Mux) -> None:
    summarize = mux.robots.jobs.summarize
    assert_type(await summarize.wait_until_done("j", timeout=5.0), RobotsV1SummarizeJob)
    assert_type(await summarize.create_and_wait(parameters={"asset_id": "a", "tone": "playful"}), RobotsV1SummarizeJob)
    await summarize.create_and_wait(parameters={"asset": "a"})  # type: ignore[arg-type]  # a typo
    await summarize.create_and_wait()  # type: ignore[call-arg]  # parameters are required
    assert_type(await mux.robots_v0.jobs.moderate.wait_until_done("j"), ModerateJob)
    assert_type(await mux.robots.directives.runs.wait_until_done("d", "r"), RobotsV1DirectiveRunDetail)
    assert_type(await mux.video.assets.wait_for_track("a", "t"), Track)
    assert_type(await mux.video.live_streams.wait_until_active("l"), LiveStream)


async def create(mux: Mux) -> None:
    asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}], playback_policies=["public"])
    assert_type(asset, Asset)
    assert_type(asset.id, AssetId)
    assert_type(asset.created_at, dt.datetime)
    assert_type(asset.duration, float | None)
    assert_type(asset.tracks, list[Track] | None)
    status: AssetStatus = asset.status
    print(status)
    await mux.video.assets.create(inputs="https://example.com/film.mp4", meta=AssetMetadata(title=None), extra_body={"new": 1})
    await mux.video.assets.create(inputs=[InputSettings(url="https://example.com/film.mp4")], meta={"title": "Film"})
    await mux.video.assets.create(inputs=["https://example.com/film.mp4"], master_access="temporary", video_quality="plus")
    assert_type(await mux.video.uploads.create(), Upload)
    assert_type(await mux.video.assets.delete("a1"), None)
    assert_type(await mux.video.assets.retrieve_input_info(asset.id), list[InputInfo])


async def refuse(mux: Mux) -> None:
    await mux.video.assets.create()  # type: ignore[call-arg]  # inputs are required
    await mux.video.assets.create(inputs=[{"uri": "https://x"}])  # type: ignore[list-item]  # a typo
    await mux.video.assets.create(inputs="https://x", playback_policies=["pubic"])  # type: ignore[list-item]  # a typo
    await mux.video.assets.create(inputs="https://x", master_access="some-day")  # type: ignore[arg-type]  # no such value
    await mux.video.assets.create(inputs="https://x", meta={"titel": "x"})  # type: ignore[arg-type]  # a typo
    await mux.video.uploads.create(new_asset_settings={"playback_polices": ["public"]})  # type: ignore[arg-type]  # a typo
    await mux.video.uploads.create(new_asset_settings={"inputs": [{"uri": "x"}]})  # type: ignore[arg-type]  # deeper
    await mux.video.live_streams.create(new_asset_settings={"playback_policy": ["pubic"]})  # type: ignore[arg-type]  # deeper
    await mux.video.live_streams.create(simulcast_targets=[{"urll": "rtmp://x"}])  # type: ignore[list-item]  # a typo
    await mux.video.assets.create("https://x")  # type: ignore[call-arg]  # by name only
    await mux.video.assets.update("a1", passthrough=5)  # type: ignore[arg-type]  # text
    await mux.video.assets.update("a1", titel="x")  # type: ignore[call-arg]  # a typo
    AssetMetadata("Film")  # type: ignore[call-arg, arg-type]  # by name only
    AssetMetadata(titel="x")  # type: ignore[call-arg]  # a typo


async def lists(mux: Mux) -> None:
    assets = mux.video.assets.list(limit=100)
    assert_type(assets, Paginator[Asset, ListAssetsResponse])
    page = await assets
    assert_type(page, Page[Asset, ListAssetsResponse])
    assert_type(page[0], Asset)
    assert_type(page.envelope.next_cursor, str | None)
    async for asset in assets:
        assert_type(asset, Asset)
    async for view in mux.data.video_views.list(timeframe="7:days", filters=["country:US"]):
        assert_type(view, AbridgedVideoView)
    views = await mux.data.video_views.list(timeframe=[dt.datetime.now(dt.UTC), 1592366925])
    assert_type(views, Page[AbridgedVideoView, ListVideoViewsResponse])
    assert_type(await mux.data.metrics.get_overall_values("views", measurement="95th"), GetOverallValuesResponse)


async def raw(mux: Mux) -> None:
    created = await mux.video.assets.with_raw_response.create(inputs="https://example.com/film.mp4")
    assert_type(created, RawResponse[Asset])
    assert_type(created.value.id, AssetId)
    listed = await mux.video.assets.with_raw_response.list(limit=5)
    assert_type(listed, RawResponse[Page[Asset, ListAssetsResponse]])
    await mux.video.assets.with_raw_response.retrieve()  # type: ignore[call-arg]  # no id


async def downloads(mux: Mux) -> None:
    thumbnail = mux.video.playback.thumbnail("p1", "jpg", width=320)
    assert_type(thumbnail, Download)
    assert_type(await thumbnail, bytes)
    assert_type(await mux.video.playback.hls("p1"), str)
    assert_type(await mux.video.playback.storyboard_meta("p1"), object)


def values(asset: Asset) -> None:
    assert_type(attrs.evolve(asset, passthrough="p"), Asset)
    assert_type(asset.with_extra(new=1), Asset)
    assert_type(Asset.from_wire({"id": "a1"}), Asset)
    assert_type(asset.to_wire(), dict[str, object])
    assert_type(converter().structure([], list[Asset]), list[Asset])
    asset.status = "ready"  # type: ignore[misc]  # frozen


def events(body: dict[str, object]) -> None:
    event = parse_event(body)
    if isinstance(event, UnknownEvent):
        assert_type(event.type, str)
    elif event.type == "video.asset.ready":
        assert_type(event, AssetEvent)
        assert_type(event.data, WebhookAsset)
        assert_type(event.data.duration, float | None)
    elif event.type == "video.live_stream.active":
        assert_type(event.data, WebhookLiveStream)


async def signing(signer: Signer, mux: Mux) -> None:
    assert_type(mux.signer, Signer)
    assert_type(signer.sign("p1"), str)
    signer.sign("p1", params={"max_resolution": "720p", "program_start_time": dt.datetime.now(dt.UTC)})
    signer.sign("p1", "thumbnail", params={"time": 2.5, "rotate": 90, "fit_mode": "pad"}, expires_in=dt.timedelta(hours=1))
    signer.sign("p1", "storyboard", params={"format": "webp"}, playback_restriction_id="r1")
    signer.sign("p1", "drm_license", extra_claims={"custom": {"user": 1}})
    signer.sign("p1", params={"time": 2.5})  # type: ignore[call-overload]  # of a thumbnail
    signer.sign("p1", "thumbnail", params={"time": "2.5"})  # type: ignore[call-overload]  # a number
    signer.sign("p1", "gif", params={"fit_mode": "pad"})  # type: ignore[call-overload]  # of a thumbnail
    signer.sign("p1", "videos")  # type: ignore[call-overload]  # no such kind
    params: VideoParams = {"exclude_pdt": True}
    assert_type(
        signer.sign_tokens("p1", ["video", "thumbnail"], params={"thumbnail": {"time": 1}, "video": params}), dict[str, str]
    )
    assert_type(await signer.sign_each([TokenRequest("p1", "gif", {"fps": 10})]), list[str])
    assert_type(verify("token", signer.public_keys, audience="v"), VerifiedToken)


def playback(asset: Asset, live: WebhookLiveStream, signer: Signer, mux: Mux) -> None:
    for found in asset.playback_ids or []:
        assert_type(found.hls_url(), str)
        found.hls_url(signer=signer, max_resolution="1080p", hosts=mux.hosts)
        found.thumbnail_url("webp", token="token", expires_in="7d")
        found.hls_url(max_resolutoin="720p")  # type: ignore[call-arg]  # a typo
        found.hls_url(time=2.5)  # type: ignore[call-arg]  # of a thumbnail
        found.thumbnail_url("gif")  # type: ignore[arg-type]  # that is animated_url
        found.thumbnail_url(rotate=45)  # type: ignore[arg-type]  # a right angle
    assert_type(Playback("p1").storyboard_url("json", format="png"), str)
    assert_type(live.ingest("eu-west"), IngestAddresses)
    live.ingest("moon")  # type: ignore[arg-type]  # no such region
