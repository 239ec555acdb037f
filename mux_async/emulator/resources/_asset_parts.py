"""Parts of an asset or a live stream: playback ids, tracks, static renditions (facts/BEHAVIOUR.md, sections 4.2, 4.5)."""

from __future__ import annotations

from mux_async.emulator.http._messages import Response, created, data, invalid, no_content
from mux_async.emulator.resources._asset_lifecycle import (
    add_playback_id,
    add_static_rendition,
    add_track,
    begin_static_rendition,
    begin_track,
)
from mux_async.emulator.resources._asset_options import check_drm, check_policy, check_resolutions, check_url
from mux_async.emulator.routing._router import ApiCall, Route, take
from mux_async.emulator.state._serialization import present
from mux_async.emulator.state._state import Asset, LiveStream, Track
from mux_async.emulator.webhooks._events import rendition_event, track_event


def _owner(call: ApiCall) -> Asset | LiveStream:
    return call.asset if "ASSET_ID" in call.params else call.live_stream


def _create_playback_id(call: ApiCall) -> Response:
    owner = _owner(call)
    entry = call.json("CreatePlaybackIdRequest")
    check_policy(entry)
    check_drm(call.environment, [entry])
    return created(present(add_playback_id(call.state, call.environment, owner, entry)))


def _delete_playback_id(call: ApiCall) -> Response:
    owner = _owner(call)
    playback_id = call.part(owner.playback_ids, "PLAYBACK_ID")
    owner.playback_ids.remove(playback_id)
    del call.environment.playback[playback_id.id]
    return no_content()


def _create_track(call: ApiCall) -> Response:
    members = call.json("CreateTrackRequest")
    if "url" in members:
        check_url(members["url"], example="https://example.com/en.vtt")
    asset = call.ready_asset
    name = members.get("name", members["language_code"])
    if take(asset.tracks, lambda track: track.type == members["type"] and track.name == name) is not None:
        raise invalid(f"a {members['type']} track with the name {name} already exists")
    track = add_track(call.state, asset, members, source="uploaded")
    begin_track(call.state, call.environment, asset, track)
    return created(present(track))


def _update_track(call: ApiCall) -> Response:
    members = call.json("UpdateTrackRequest")
    track = call.part(call.asset.tracks, "TRACK_ID")
    for name, value in members.items():
        if name in {"language_code", "name", "closed_captions", "passthrough"}:
            setattr(track, name, value)
    return data(present(track))


def _delete_track(call: ApiCall) -> Response:
    asset = call.asset
    track = call.part(asset.tracks, "TRACK_ID")
    if track.type == "video" or track.primary:
        raise invalid(f"the primary {track.type} track cannot be deleted")
    asset.tracks.remove(track)
    track.status = "deleted"
    track_event(call.state, call.environment, "deleted", asset, track)
    return no_content()


def _generate_subtitles(call: ApiCall) -> Response:
    members = call.json("GenerateTrackSubtitlesRequest")
    asset = call.ready_asset
    if call.part(asset.tracks, "TRACK_ID").type != "audio":
        raise invalid("subtitles are generated from an audio track")
    made: list[Track] = []
    for entry in members["generated_subtitles"]:
        track = add_track(call.state, asset, entry, source="generated_vod")
        begin_track(call.state, call.environment, asset, track)
        made.append(track)
    return created([present(track) for track in made])


def _create_static_rendition(call: ApiCall) -> Response:
    entry = call.json("CreateStaticRenditionRequest")
    asset = call.asset
    if asset.mp4_support != "none":
        raise invalid("static_renditions and mp4_support cannot be used together")
    check_resolutions([*(rendition.resolution or "" for rendition in asset.static_renditions), entry["resolution"]])
    rendition = add_static_rendition(call.state, asset, entry)
    if asset.status == "ready":
        begin_static_rendition(call.state, call.environment, asset, rendition)
    return created(present(rendition))


def _delete_static_rendition(call: ApiCall) -> Response:
    asset = call.asset
    found = call.part(asset.static_renditions, "STATIC_RENDITION_ID")
    asset.static_renditions.remove(found)
    rendition_event(call.state, call.environment, "deleted", asset, found)
    return no_content()


def _playback_routes(prefix: str) -> tuple[Route, ...]:
    one = f"{prefix}/playback-ids/{{PLAYBACK_ID}}"
    return (
        Route("POST", f"{prefix}/playback-ids", _create_playback_id),
        Route("GET", one, lambda call: data(present(call.part(_owner(call).playback_ids, "PLAYBACK_ID")))),
        Route("DELETE", one, _delete_playback_id),
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
