"""``/video/v1/assets`` and ``/video/v1/playback-ids`` (facts/BEHAVIOUR.md, section 4)."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left

from mux_async.emulator.http._messages import Response, created, data, failed, invalid, json_response, no_content, not_found
from mux_async.emulator.resources._asset_lifecycle import (
    begin_mp4,
    close_master,
    create_asset,
    delete_asset,
    open_master,
)
from mux_async.emulator.resources._asset_options import check_drm, normalized
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._ids import is_well_formed
from mux_async.emulator.state._serialization import asset_json, present
from mux_async.emulator.state._state import Asset, Json
from mux_async.emulator.validation._validation import whole_parameter
from mux_async.emulator.webhooks._events import asset_event


def _shown(call: ApiCall, asset: Asset) -> Response:
    return data(asset_json(asset, call.state))


def _create(call: ApiCall) -> Response:
    options = normalized(call.json("CreateAssetRequest"))
    inputs = options.get("inputs")
    if not inputs:
        raise invalid("inputs is required")
    if "url" not in inputs[0]:
        raise invalid("inputs[0].url is required")
    check_drm(call.environment, options.get("advanced_playback_policies", ()))
    asset = create_asset(call.state, call.environment, options, ingest_type="on_demand_url")
    asset_event(call.state, call.environment, "created", asset)
    return created(asset_json(asset, call.state))


def _list(call: ApiCall) -> Response:
    query = call.request.query
    wanted = {name: query[name] for name in ("upload_id", "live_stream_id") if query.get(name)}
    assets = call.environment.assets
    keys = [*assets]  # in the order of their numbers
    if query.get("cursor"):
        keys = keys[: bisect_left(keys, _read_cursor(query["cursor"]), key=lambda key: assets[key].number)]
    keys.reverse()
    for name, value in wanted.items():
        keys = [key for key in keys if getattr(assets[key], name) == value]
    first = (whole_parameter(query, "page", 1) - 1) * call.limit()
    page = [assets[key] for key in keys[first : first + call.limit()]]
    more = len(keys) > first + call.limit()
    cursor = urlsafe_b64encode(f"before {page[-1].number}".encode()).decode().rstrip("=") if page and more else None
    return json_response(200, {"data": [asset_json(asset, call.state) for asset in page], "next_cursor": cursor})


def _read_cursor(cursor: str) -> int:
    try:
        word, number = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split()
        if word == "before":
            return int(number)
    except ValueError:
        pass
    raise invalid("cursor is not valid")


def _update(call: ApiCall) -> Response:
    asset = call.asset
    changes = call.json("UpdateAssetRequest")
    if "passthrough" in changes:
        asset.passthrough = changes["passthrough"] or None
    if "meta" in changes:
        asset.meta = {**(asset.meta or {}), **changes["meta"]}
    if "thumbnail_time" in changes:
        asset.thumbnail_time = changes["thumbnail_time"]
    asset_event(call.state, call.environment, "updated", asset)
    return _shown(call, asset)


def _delete(call: ApiCall) -> Response:
    asset = call.asset
    if asset.status == "preparing" and not call.state.settings.can_delete_preparing:
        raise invalid("Can't delete a preparing asset")
    delete_asset(call.state, call.environment, asset)
    return no_content()


def _delete_thumbnail_time(call: ApiCall) -> Response:
    call.asset.thumbnail_time = None
    return no_content()


def _input_info(call: ApiCall) -> Response:
    asset = call.asset
    if asset.status == "preparing":
        raise failed("Asset is still preparing")
    media = asset.media
    rows: list[object] = []
    inputs: list[Json] = asset.options.get("inputs") or [{}]
    for entry in inputs:
        row: dict[str, object] = {"settings": entry}
        if media is not None and entry.get("type") != "text":
            tracks: list[object] = []
            if media.has_video:
                size = {"width": media.width, "height": media.height, "frame_rate": media.frame_rate}
                tracks.append({"type": "video", "duration": media.duration, "encoding": media.video_codec, **size})
            if media.channels:
                sound = {"channels": media.channels, "sample_rate": media.sample_rate}
                tracks.append({"type": "audio", "duration": media.duration, "encoding": media.audio_codec, **sound})
            row["file"] = {"container_format": media.container, "tracks": tracks}
        rows.append(row)
    return data(rows)


def _update_master_access(call: ApiCall) -> Response:
    access: str = call.json("UpdateAssetMasterAccessRequest")["master_access"]
    asset = call.ready_asset
    if access == "none":
        close_master(call.state, call.environment, asset)
    elif asset.master_access != "temporary":
        open_master(call.state, call.environment, asset)
    return _shown(call, asset)


def _update_mp4_support(call: ApiCall) -> Response:
    support: str = call.json("UpdateAssetMp4SupportRequest")["mp4_support"]
    asset = call.ready_asset
    if support != "none" and asset.static_renditions:
        raise invalid("static_renditions and mp4_support cannot be used together")
    had, asset.mp4_support = asset.mp4_support, support
    if support != "none":
        begin_mp4(call.state, call.environment, asset)
    elif had != "none":
        asset_event(call.state, call.environment, "static_renditions.deleted", asset)
    return _shown(call, asset)


def _lookup_playback_id(call: ApiCall) -> Response:
    wanted = call.params["PLAYBACK_ID"]
    if not is_well_formed(wanted):
        raise invalid("Failed to parse ID")
    owner = call.environment.playback.get(wanted)
    if owner is None:
        raise not_found()
    holder = (call.environment.assets if owner.type == "asset" else call.environment.live_streams)[owner.id]
    playback_id = next(entry for entry in holder.playback_ids if entry.id == wanted)
    return data({**present(playback_id), "object": {"type": owner.type, "id": owner.id}})


ROUTES = (
    Route("POST", "/video/v1/assets", _create),
    Route("GET", "/video/v1/assets", _list),
    Route("GET", "/video/v1/assets/{ASSET_ID}", lambda call: _shown(call, call.asset)),
    Route("PATCH", "/video/v1/assets/{ASSET_ID}", _update),
    Route("DELETE", "/video/v1/assets/{ASSET_ID}", _delete),
    Route("GET", "/video/v1/assets/{ASSET_ID}/input-info", _input_info),
    Route("PUT", "/video/v1/assets/{ASSET_ID}/master-access", _update_master_access),
    Route("PUT", "/video/v1/assets/{ASSET_ID}/mp4-support", _update_mp4_support),
    Route("DELETE", "/video/v1/assets/{ASSET_ID}/thumbnail-time", _delete_thumbnail_time),
    Route("GET", "/video/v1/playback-ids/{PLAYBACK_ID}", _lookup_playback_id),
)
