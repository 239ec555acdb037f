"""What the page at ``/`` shows: the account at a glance, newest first, as JSON that only the page reads."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import islice
from typing import Any

import attrs

from mux_async.emulator._control import CONTROL_PREFIX, Arrival
from mux_async.emulator._http import Request, Response, json_response, text
from mux_async.emulator._limits import RateLimiter
from mux_async.emulator._page_calls import playback_pass
from mux_async.emulator._state import Asset, Environment, Json, LiveStream, PlaybackId, Upload, World

SHOWN = 30
"""Of each kind of thing, per environment; there are more than a page can hold."""

_POLICY = (
    "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
)
_OWN = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


def asks_for_overview(request: Request) -> bool:
    """Whether *request* is for the page, or comes from it."""
    return request.method == "GET" and request.segments in {("",), (CONTROL_PREFIX, "overview")}


def answer(request: Request, world: World, limiter: RateLimiter | None, arrivals: Sequence[Arrival]) -> Response:
    """Answer a request that `asks_for_overview`: with the page, or with what it shows."""
    return _page() if request.segments == ("",) else _overview(world, limiter, arrivals)


@cache
def _page() -> Response:
    content = files("mux_async.emulator").joinpath("page.html").read_bytes()
    # What is shown was sent by clients: none of it may run, whatever it says. The page's own style and script may, by their hashes.
    own = (
        f"{name.decode()}-src 'sha256-{b64encode(sha256(inside).digest()).decode()}'" for name, inside in _OWN.findall(content)
    )
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": "; ".join((_POLICY, *own))}
    return text(200, content, "text/html; charset=utf-8").with_headers(headers)


def _overview(world: World, limiter: RateLimiter | None, arrivals: Sequence[Arrival]) -> Response:
    return json_response(
        200,
        {
            "now": world.now,
            "environments": [_environment(world, environment) for environment in world.environments.values()],
            "deliveries": [
                {
                    "id": entry.id,
                    "type": entry.event.type,
                    "address": entry.address,
                    "status": entry.status,
                    "attempts": len(entry.attempts),
                    "answer": entry.attempts[-1].status or entry.attempts[-1].error if entry.attempts else None,
                    "at": entry.event.at,
                }
                for entry in _newest(world.deliveries.values())
            ],
            "events": [{"type": event.type, "object": event.object_id, "at": event.at} for event in _newest(world.events)],
            "buckets": None if limiter is None else [attrs.asdict(level) for level in limiter.levels(world.now)],
            "arrivals": [attrs.asdict(arrival) for arrival in _newest(arrivals)],
        },
    )


def _newest(found: Any) -> Iterable[Any]:
    return islice(reversed(found), SHOWN)


def _environment(world: World, environment: Environment) -> Json:
    return {
        "name": environment.name,
        "counts": {
            "assets": len(environment.assets),
            "uploads": len(environment.uploads),
            "live_streams": len(environment.live_streams),
        },
        "assets": [_asset(world, asset) for asset in _newest(environment.assets.values())],
        "uploads": [_upload(upload) for upload in _newest(environment.uploads.values())],
        "live_streams": [_live_stream(world, stream) for stream in _newest(environment.live_streams.values())],
    }


def _playable(world: World, playback_ids: Iterable[PlaybackId]) -> Json:
    """Return the playback id to show it by, a public one if there is one, and the ``token`` that the others need."""
    chosen = min(playback_ids, key=lambda entry: entry.policy != "public", default=None)
    if chosen is None:
        return {"playback_id": None, "token": None}
    return {"playback_id": chosen.id, "token": None if chosen.policy == "public" else playback_pass(world, chosen.id)}


def _asset(world: World, asset: Asset) -> Json:
    return {
        "id": asset.id,
        "title": (asset.meta or {}).get("title") or asset.passthrough,
        "status": asset.status,
        "problem": None if asset.problem is None else asset.problem.message,
        "duration": None if asset.media is None else asset.media.duration,
        "has_video": asset.media is not None and asset.media.has_video,
        **_playable(world, asset.playback_ids),
        "policies": sorted({entry.policy for entry in asset.playback_ids}),
        "created_at": asset.created_at,
    }


def _upload(upload: Upload) -> Json:
    return {
        "id": upload.id,
        "status": upload.status,
        "size": upload.session.size,
        "total": upload.session.total,
        "asset_id": upload.asset_id,
        "created_at": upload.created_at,
    }


def _live_stream(world: World, stream: LiveStream) -> Json:
    return {
        "id": stream.id,
        "status": stream.status,
        "is_connected": stream.ingest.connected,
        **_playable(world, stream.playback_ids),
        "targets": [target.status for target in stream.simulcast_targets],
        "created_at": stream.created_at,
    }
