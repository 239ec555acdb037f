"""The life cycle of assets: creation, processing, ready or errored, deletion.

Processing consists of scheduled steps (`mux_async.emulator.state._scheduler`), so it needs no request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import attrs

from mux_async.emulator.faults._faults import WorkFault
from mux_async.emulator.http._messages import not_found
from mux_async.emulator.media._backend import Download, MediaBackendError
from mux_async.emulator.media._probe import InputProblem, MediaInfo
from mux_async.emulator.resources._asset_options import clip_source
from mux_async.emulator.state import _media_orders
from mux_async.emulator.state._records import Shots
from mux_async.emulator.state._serialization import mp4_files
from mux_async.emulator.state._state import (
    Asset,
    Environment,
    Json,
    LiveStream,
    Owner,
    PlaybackId,
    State,
    StaticRendition,
    Track,
    Upload,
)
from mux_async.emulator.webhooks._events import asset_event, rendition_event, shots_event, track_event, upload_event

TEST_LIFETIME = 24 * 3600.0
"""Seconds that a test asset lives."""
MASTER_LIFETIME = 24 * 3600.0
"""Seconds of temporary access to a master."""


def create_asset(
    state: State, environment: Environment, options: Json, *, ingest_type: str, upload: Upload | None = None, test: bool = False
) -> Asset:
    """Add an asset that is being prepared from an input. *options* are in their normal form.

    The caller emits the event.
    """
    source = clip_source(_media_orders.main_input(options).get("url", ""))
    if source is not None:
        if source not in environment.assets:
            raise not_found()
        ingest_type = "on_demand_clip"
    asset = new_asset(state, environment, options, ingest_type=ingest_type, upload=upload, test=test)
    asset.source_asset_id = source
    state.work(state.settings.time_to_ready, "asset.prepared", environment, asset.id)
    return asset


def new_asset(
    state: State, environment: Environment, options: Json, *, ingest_type: str, upload: Upload | None = None, test: bool = False
) -> Asset:
    """Add an asset, and schedule its deletion if it is a test."""
    needed = 0.0 if state.settings.instant else state.settings.time_to_ready / state.settings.time_scale
    asset = Asset(
        *state.identity("asset"),
        ready_at=state.now + needed,
        options=options,
        ingest_type=ingest_type,
        test=test or options.get("test") is True,
        upload_id=None if upload is None else upload.id,
        passthrough=options.get("passthrough"),
        meta=options.get("meta"),
        mp4_support=options.get("mp4_support", "none"),
        master_access=options.get("master_access", "none"),
    )
    for policy in options.get("playback_policies", ()):
        add_playback_id(state, environment, asset, {"policy": policy})
    for entry in options.get("advanced_playback_policies", ()):
        add_playback_id(state, environment, asset, entry)
    for entry in options.get("static_renditions", ()):
        add_static_rendition(state, asset, entry)
    environment.assets[asset.id] = asset
    if asset.test:
        state.wait(TEST_LIFETIME, "asset.expired", environment, asset.id)
    return asset


def add_playback_id(state: State, environment: Environment, owner: Asset | LiveStream, entry: Mapping[str, Any]) -> PlaybackId:
    """Give an asset or a live stream a playback id; the policy is public unless *entry* says otherwise."""
    playback_id = PlaybackId(
        state.id_generator.id("playback"), entry.get("policy", "public"), entry.get("drm_configuration_id")
    )
    owner.playback_ids.append(playback_id)
    environment.playback[playback_id.id] = Owner("asset" if isinstance(owner, Asset) else "live_stream", owner.id)
    return playback_id


def remove_playback_ids(environment: Environment, owner: Asset | LiveStream) -> None:
    """Make all playback ids of *owner* invalid."""
    for playback_id in owner.playback_ids:
        environment.playback.pop(playback_id.id, None)


def delete_asset(state: State, environment: Environment, asset: Asset) -> None:
    """Delete an asset. Steps that are scheduled for it have no effect."""
    remove_playback_ids(environment, asset)
    del environment.assets[asset.id]
    _media_orders.forget(state, asset.id)
    if asset.id in environment.delivered:
        environment.delivered[asset.id].deleted_at = state.now
    asset_event(state, environment, "deleted", asset)


def add_static_rendition(state: State, asset: Asset, entry: Mapping[str, Any]) -> StaticRendition:
    """Add a file that will be there some time after the asset is ready."""
    resolution: str = entry["resolution"]
    is_audio = resolution == "audio-only"
    rendition = StaticRendition(
        id=state.id_generator.id("rendition"),
        name="audio.m4a" if is_audio else f"{resolution}.mp4",
        ext="m4a" if is_audio else "mp4",
        resolution=resolution,
        type="standard" if resolution in {"highest", "audio-only"} else "advanced",
        status="preparing",
        passthrough=entry.get("passthrough"),
    )
    asset.static_renditions.append(rendition)
    return rendition


def plan(state: State, environment: Environment, name: str, asset: Asset, part: str = "") -> None:
    """Schedule a step for (a part of) an asset, after the time that getting ready takes."""
    subject = f"{asset.id}/{part}" if part else asset.id
    state.work(state.settings.time_to_ready, name, environment, subject)


# ---- steps


def _prepared(state: State, environment: Environment, asset: Asset) -> None:
    found = _media_orders.probe_input(state, environment, asset)
    fault = None if isinstance(found, InputProblem) else state.work_faults.pick("asset", asset.id)
    if fault is not None:
        found = InputProblem(fault.type, fault.message)
    if isinstance(found, InputProblem):
        asset.status, asset.problem = "errored", found
        asset_event(state, environment, "errored", asset)
        if asset.upload_id is not None and asset.upload_id in environment.uploads:
            upload = environment.uploads[asset.upload_id]
            upload.status, upload.problem = "errored", found
            upload_event(state, environment, "errored", upload, "")
        return
    asset.media = found
    if found.non_standard:
        asset_event(state, environment, "non_standard_input_detected", asset)
    become_ready(state, environment, asset, found)
    prepare_extras(state, environment, asset)


def become_ready(state: State, environment: Environment, asset: Asset, media: MediaInfo) -> None:
    """Make an asset playable, and emit the event."""
    asset.media, asset.status = media, "ready"
    asset.tracks.extend(_media_tracks(state, asset, media))
    asset_event(state, environment, "ready", asset)


def prepare_extras(state: State, environment: Environment, asset: Asset) -> None:
    """Begin with what follows from being ready, in the order of facts/BEHAVIOUR.md, section 4.3."""
    assert asset.media is not None  # noqa: S101 - a ready asset has been examined
    for entry in asset.options.get("inputs", ()):
        if entry.get("type") == "text":
            track = add_track(state, asset, entry, source="uploaded")
            track_event(state, environment, "created", asset, track)
            _end_track(state, environment, asset, track)
    for entry in _media_orders.main_input(asset.options).get("generated_subtitles", ()):
        begin_track(state, environment, asset, add_track(state, asset, entry, source="generated_vod"))
    for rendition in asset.static_renditions:
        begin_static_rendition(state, environment, asset, rendition)
    if asset.mp4_support != "none":
        begin_mp4(state, environment, asset)
    if asset.master_access == "temporary":
        open_master(state, environment, asset)
    if asset.options.get("generate_shots"):
        begin_shots(state, environment, asset)
    if asset.options.get("directives"):
        state.work(0.0, "run.attach", environment, asset.id)


def begin_track(state: State, environment: Environment, asset: Asset, track: Track) -> None:
    """Prepare a track that was added."""
    track_event(state, environment, "created", asset, track)
    plan(state, environment, "asset.track.prepared", asset, track.id)


def add_ready_track(state: State, environment: Environment, asset: Asset, track: Track) -> None:
    """Announce a track that was added and is ready at once."""
    track_event(state, environment, "created", asset, track)
    track.status = "ready"
    track_event(state, environment, "ready", asset, track)


def begin_static_rendition(state: State, environment: Environment, asset: Asset, rendition: StaticRendition) -> None:
    """Prepare a file of a ready asset."""
    rendition_event(state, environment, "created", asset, rendition)
    plan(state, environment, "asset.static_rendition.prepared", asset, rendition.id or "")


def begin_mp4(state: State, environment: Environment, asset: Asset) -> None:
    """Prepare the legacy files of a ready asset."""
    asset.mp4_status = "preparing"
    asset_event(state, environment, "static_renditions.preparing", asset)
    plan(state, environment, "asset.mp4.prepared", asset)


def begin_shots(state: State, environment: Environment, asset: Asset) -> Shots:
    """Begin to detect the shots of a ready asset."""
    generation = 1 if asset.shots is None else asset.shots.generation + 1
    asset.shots = Shots("pending", generation)
    shots_event(state, environment, "created", asset, asset.shots)
    plan(state, environment, "asset.shots.prepared", asset, str(generation))
    return asset.shots


def _media_tracks(state: State, asset: Asset, media: MediaInfo) -> list[Track]:
    tracks: list[Track] = []
    if media.has_video:
        width, height = media.scaled(asset.stored_height)
        video = Track(state.id_generator.id("track"), "video", duration=media.duration, max_width=width, max_height=height)
        tracks.append(attrs.evolve(video, max_frame_rate=media.frame_rate))
    if media.channels:
        audio = Track(state.id_generator.id("track"), "audio", status="ready", duration=media.duration, primary=True)
        tracks.append(attrs.evolve(audio, max_channels=media.channels))
    return tracks


def add_track(state: State, asset: Asset, entry: Mapping[str, Any], *, source: str) -> Track:
    """Add a track of text, or of audio, that is being prepared. A name that is not given is that of the language."""
    language = entry.get("language_code", "en")
    kind: Json = {
        "type": "text",
        "text_type": entry.get("text_type", "subtitles"),
        "text_source": source,
        "closed_captions": entry.get("closed_captions", False),
    }
    if entry.get("type") == "audio":
        duration = None if asset.media is None else asset.media.duration
        kind = {"type": "audio", "primary": False, "duration": duration, "max_channels": 2}
    named: Json = {"language_code": language, "name": entry.get("name", language), "passthrough": entry.get("passthrough")}
    track = Track(state.id_generator.id("track"), status="preparing", **kind, **named)
    asset.tracks.append(track)
    return track


def open_master(state: State, environment: Environment, asset: Asset) -> None:
    """Prepare a master to download, and plan the end of its availability."""
    asset.master_access, asset.master_status = "temporary", "preparing"
    asset_event(state, environment, "master.preparing", asset)
    plan(state, environment, "asset.master.prepared", asset)


def close_master(state: State, environment: Environment, asset: Asset) -> None:
    """End the access to a master."""
    if asset.master_access == "temporary":
        asset.master_access = "none"
        asset_event(state, environment, "master.deleted", asset)


def _master_prepared(state: State, environment: Environment, asset: Asset) -> None:
    if asset.master_access != "temporary" or asset.master_status != "preparing":
        return
    with suppress(MediaBackendError):  # then there is a placeholder
        _media_orders.made_size(state, asset, _media_orders.master_order(asset))
    if state.work_faults.pick("master", asset.id) is not None:
        asset.master_status = "errored"
        asset_event(state, environment, "master.errored", asset)
        return
    asset.master_status = "ready"
    asset_event(state, environment, "master.ready", asset)
    state.wait(MASTER_LIFETIME, "asset.master.expired", environment, asset.id)


def _mp4_prepared(state: State, environment: Environment, asset: Asset) -> None:
    if asset.mp4_support != "none" and asset.mp4_status == "preparing":
        for file in mp4_files(asset, state):
            with suppress(MediaBackendError):
                _media_orders.made_size(state, asset, _media_orders.download_order(file))
        asset.mp4_status = "ready" if state.work_faults.pick("static_renditions", asset.id) is None else "errored"
        asset_event(state, environment, f"static_renditions.{asset.mp4_status}", asset)


def _track_prepared(state: State, environment: Environment, asset: Asset, part: str) -> None:
    for track in asset.tracks:
        if track.id == part:
            _end_track(state, environment, asset, track)


def _end_track(state: State, environment: Environment, asset: Asset, track: Track) -> None:
    fault = state.work_faults.pick("track", asset.id, track.id)
    if fault is not None:
        track.status = "errored"
        track_event(state, environment, "errored", asset, track, fault.errors)
        return
    if track.text_source == "generated_vod" and asset.media is not None and not asset.media.channels:
        track.status = "skipped"
        track_event(state, environment, "skipped", asset, track)
        return
    track.status = "ready"
    if track.language_code == "auto":
        track.language_code, track.auto_language_confidence = "en", 0.98
    track_event(state, environment, "ready", asset, track)


def _rendition_prepared(state: State, environment: Environment, asset: Asset, part: str) -> None:
    assert asset.media is not None  # noqa: S101 - planned by `_prepared` alone
    for rendition in asset.static_renditions:
        if rendition.id != part:
            continue
        stored = asset.stored_height
        asked = rendition.resolution or "highest"
        height = stored if asked == "highest" else 0 if asked == "audio-only" else int(asked[:-1])
        if height > stored or (height == 0 and not asset.media.channels):
            rendition.status = "skipped"
            rendition_event(state, environment, "skipped", asset, rendition)
            continue
        try:
            size = _media_orders.made_size(state, asset, Download(rendition.ext, height))
            fault = state.work_faults.pick("static_rendition", asset.id, part)
        except MediaBackendError as problem:
            size, fault = None, WorkFault("static_rendition", message=str(problem))
        if fault is not None:
            rendition.status = "errored"
            rendition_event(state, environment, "errored", asset, rendition, fault.errors)
            continue
        rendition.status = "ready"
        rendition.bitrate = 128_000 + height * 4_000 if size is None else round(size * 8 / asset.media.duration)
        rendition.filesize = str(int(rendition.bitrate * asset.media.duration / 8) if size is None else size)
        if height:
            rendition.width, rendition.height = asset.media.scaled(height)
        rendition_event(state, environment, "ready", asset, rendition)


def _shots_prepared(state: State, environment: Environment, asset: Asset, part: str) -> None:
    shots = asset.shots
    if shots is None or shots.status != "pending" or str(shots.generation) != part:
        return
    if not asset.stored_height:
        shots.status = "skipped"
        shots_event(state, environment, "skipped", asset, shots)
        return
    fault = state.work_faults.pick("shots", asset.id)
    if fault is not None:
        shots.status, shots.errors = "errored", fault.errors
        shots_event(state, environment, "errored", asset, shots)
        return
    shots.status = "completed"
    shots.shots_manifest_url = f"{state.origin}/_emulator/shots/{asset.id}.json"
    shots_event(state, environment, "ready", asset, shots)


_ASSET_STEPS: Mapping[str, Callable[[State, Environment, Asset], None]] = {
    "asset.prepared": _prepared,
    "asset.expired": delete_asset,
    "asset.master.prepared": _master_prepared,
    "asset.master.expired": close_master,
    "asset.mp4.prepared": _mp4_prepared,
}
_PART_STEPS: Mapping[str, Callable[[State, Environment, Asset, str], None]] = {
    "asset.shots.prepared": _shots_prepared,
    "asset.track.prepared": _track_prepared,
    "asset.static_rendition.prepared": _rendition_prepared,
}


def run_step(state: State, environment: Environment, name: str, subject: str) -> None:
    """Run a step of an asset. It has no effect if the asset is gone."""
    asset_id, _, part = subject.partition("/")
    asset = environment.assets.get(asset_id)
    if asset is None:
        return
    try:
        if part:
            _PART_STEPS[name](state, environment, asset, part)
        else:
            _ASSET_STEPS[name](state, environment, asset)
    except _media_orders.MediaPendingError:  # raised before anything was changed
        state.scheduler.add(state.now + _media_orders.RECHECK_DELAY, name, environment.id, subject)
