"""``/video/v1/assets/{ASSET_ID}/shots``: the shots of an asset's video (facts/BEHAVIOUR.md, sections 4.3, 4.5)."""

from __future__ import annotations

from itertools import pairwise

from mux_async.emulator.http._messages import Response, created, data, invalid, no_content, not_found
from mux_async.emulator.resources._asset_lifecycle import begin_shots
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._records import Json, Shots
from mux_async.emulator.state._serialization import present
from mux_async.emulator.state._state import Asset
from mux_async.emulator.webhooks._events import shots_event

LENGTH = 4.0
"""Seconds of each shot in the manifest: the video is not analysed, so the shots are generated."""


def shot_list(duration: float) -> list[tuple[float, float]]:
    """Return beginning and end of every shot, in seconds: without gaps, the whole *duration*."""
    count = max(1, int(duration / LENGTH))
    bounds = [round(index * duration / count, 3) for index in range(count + 1)]
    return list(pairwise(bounds))


def manifest(asset: Asset) -> Json:
    """What the manifest's URL answers. Its form is not documented; this one is plain. Raises `ApiError` (404): there are no shots."""
    if asset.shots is None or asset.shots.status != "completed" or asset.media is None:
        raise not_found()
    shots = [{"start_time": start, "end_time": end} for start, end in shot_list(asset.media.duration)]
    return {"asset_id": asset.id, "shots": shots}


def _shots(asset: Asset) -> Shots:
    if asset.shots is None:
        raise not_found()
    return asset.shots


def _create(call: ApiCall) -> Response:
    call.json("GenerateAssetShotsRequest")
    asset = call.ready_asset
    if asset.shots is not None and asset.shots.status in {"pending", "completed"}:
        raise invalid("the asset already has shots")
    return created(present(begin_shots(call.state, call.environment, asset)))


def _delete(call: ApiCall) -> Response:
    asset = call.asset
    shots = _shots(asset)
    if shots.status == "deleted":
        raise not_found()
    asset.shots = Shots("deleted", shots.generation)
    shots_event(call.state, call.environment, "deleted", asset, asset.shots)
    return no_content()


_ONE = "/video/v1/assets/{ASSET_ID}/shots"
ROUTES = (
    Route("POST", _ONE, _create),
    Route("GET", _ONE, lambda call: data(present(_shots(call.asset)))),
    Route("DELETE", _ONE, _delete),
)
