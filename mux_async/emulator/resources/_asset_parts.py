"""Parts of an asset or a live stream: playback ids, tracks, static renditions (facts/BEHAVIOUR.md, sections 4.2, 4.5)."""

from __future__ import annotations

from mux_async.emulator.http._messages import Response, created, data, failed, invalid, no_content, not_found
from mux_async.emulator.resources._asset_lifecycle import (
    add_playback_id,
    add_static_rendition,
    add_text_track,
    begin_static_rendition,
    begin_track,
)
from mux_async.emulator.resources._asset_options import check_drm, check_policy, check_resolutions
from mux_async.emulator.routing._router import ApiCall, Route, take
from mux_async.emulator.state._ids import is_well_formed
from mux_async.emulator.state._serialization import present
from mux_async.emulator.state._state import Asset, LiveStream, PlaybackId, StaticRendition, Track
from mux_async.emulator.webhooks._events import rendition_event, track_event


def _owner(call: ApiCall) -> Asset | LiveStream:
    if "ASSET_ID" in call.params:
        return call.environment.asset(call.params["ASSET_ID"])
    return call.environment.live_stream(call.params["LIVE_STREAM_ID"])


def _part_id(call: ApiCall, name: str) -> str:
    if not is_well_formed(call.params[name]):
        raise invalid("Failed to parse ID")
    return call.params[name]


def _playback_id(call: ApiCall, owner: Asset | LiveStream) -> PlaybackId:
    wanted = _part_id(call, "PLAYBACK_ID")
    found = take(owner.playback_ids, lambda entry: entry.id == wanted)
    if found is None:
        raise not_found()
    return found


def _create_playback_id(call: ApiCall) -> Response:
    owner = _owner(call)
    entry = call.json("CreatePlaybackIdRequest")
    check_policy(entry)
    check_drm(call.environment, [entry])
    return created(present(add_playback_id(call.state, call.environment, owner, entry)))


def _retrieve_playback_id(call: ApiCall) -> Response:
    return data(present(_playback_id(call, _owner(call))))


def _delete_playback_id(call: ApiCall) -> Response:
    owner = _owner(call)
    playback_id = _playback_id(call, owner)
    owner.playback_ids.remove(playback_id)
    del call.environment.playback[playback_id.id]
    return no_content()


def _ready_asset(call: ApiCall) -> Asset:
    asset = call.environment.asset(call.params["ASSET_ID"])
    if asset.status != "ready":
        raise failed("Asset is not ready")
    return asset


def _track(call: ApiCall, asset: Asset) -> Track:
    wanted = _part_id(call, "TRACK_ID")
    found = take(asset.tracks, lambda track: track.id == wanted)
    if found is None:
        raise not_found()
    return found


def _create_track(call: ApiCall) -> Response:
    members = call.json("CreateTrackRequest")
    asset = _ready_asset(call)
    name = members.get("name", members["language_code"])
    if take(asset.tracks, lambda track: track.type == members["type"] and track.name == name) is not None:
        raise invalid(f"a {members['type']} track with the name {name} already exists")
    track = add_text_track(call.state, asset, members, source="uploaded")
    if members["type"] == "audio":
        assert asset.media is not None  # noqa: S101 - a ready asset has been examined
        track.type, track.text_type, track.text_source, track.closed_captions = "audio", None, None, None
        track.primary, track.duration, track.max_channels = False, asset.media.duration, 2
    begin_track(call.state, call.environment, asset, track)
    return created(present(track))


def _update_track(call: ApiCall) -> Response:
    members = call.json("UpdateTrackRequest")
    track = _track(call, call.environment.asset(call.params["ASSET_ID"]))
    for name, value in members.items():
        if name in {"language_code", "name", "closed_captions", "passthrough"}:
            setattr(track, name, value)
    return data(present(track))


def _delete_track(call: ApiCall) -> Response:
    asset = call.environment.asset(call.params["ASSET_ID"])
    track = _track(call, asset)
    if track.type == "video" or track.primary:
        raise invalid(f"the primary {track.type} track cannot be deleted")
    asset.tracks.remove(track)
    track.status = "deleted"
    track_event(call.state, call.environment, "deleted", asset, track)
    return no_content()


def _generate_subtitles(call: ApiCall) -> Response:
    members = call.json("GenerateTrackSubtitlesRequest")
    asset = _ready_asset(call)
    if _track(call, asset).type != "audio":
        raise invalid("subtitles are generated from an audio track")
    made: list[Track] = []
    for entry in members["generated_subtitles"]:
        track = add_text_track(call.state, asset, entry, source="generated_vod")
        begin_track(call.state, call.environment, asset, track)
        made.append(track)
    return created([present(track) for track in made])


def _create_static_rendition(call: ApiCall) -> Response:
    entry = call.json("CreateStaticRenditionRequest")
    asset = call.environment.asset(call.params["ASSET_ID"])
    if asset.mp4_support != "none":
        raise invalid("static_renditions and mp4_support cannot be used together")
    check_resolutions([*(rendition.resolution or "" for rendition in asset.static_renditions), entry["resolution"]])
    rendition = add_static_rendition(call.state, asset, entry)
    if asset.status == "ready":
        begin_static_rendition(call.state, call.environment, asset, rendition)
    return created(present(rendition))


def _delete_static_rendition(call: ApiCall) -> Response:
    asset = call.environment.asset(call.params["ASSET_ID"])
    wanted = _part_id(call, "STATIC_RENDITION_ID")
    found: StaticRendition | None = take(asset.static_renditions, lambda rendition: rendition.id == wanted)
    if found is None:
        raise not_found()
    asset.static_renditions.remove(found)
    rendition_event(call.state, call.environment, "deleted", asset, found)
    return no_content()


def _playback_routes(prefix: str) -> tuple[Route, ...]:
    return (
        Route("POST", f"{prefix}/playback-ids", _create_playback_id),
        Route("GET", f"{prefix}/playback-ids/{{PLAYBACK_ID}}", _retrieve_playback_id),
        Route("DELETE", f"{prefix}/playback-ids/{{PLAYBACK_ID}}", _delete_playback_id),
    )


_ASSET = "/video/v1/assets/{ASSET_ID}"
ROUTES = (
    *_playback_routes(_ASSET),
    *_playback_routes("/video/v1/live-streams/{LIVE_STREAM_ID}"),
    Route("POST", f"{_ASSET}/tracks", _create_track),
    Route("PATCH", f"{_ASSET}/tracks/{{TRACK_ID}}", _update_track),
    Route("DELETE", f"{_ASSET}/tracks/{{TRACK_ID}}", _delete_track),
    Route("POST", f"{_ASSET}/tracks/{{TRACK_ID}}/generate-subtitles", _generate_subtitles),
    Route("POST", f"{_ASSET}/static-renditions", _create_static_rendition),
    Route("DELETE", f"{_ASSET}/static-renditions/{{STATIC_RENDITION_ID}}", _delete_static_rendition),
)
