"""The data that the page at ``/`` shows: a summary of the account as JSON, newest first."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import islice
from typing import Any, cast

import attrs

from mux_async.emulator._settings import DEFAULT_TOKEN, Token
from mux_async.emulator.control._api import CONTROL_PREFIX
from mux_async.emulator.http._messages import Request, Response, json_response, text
from mux_async.emulator.playback._tokens import page_token
from mux_async.emulator.routing._exchange import Arrival
from mux_async.emulator.routing._rate_limits import RateLimiter
from mux_async.emulator.state._records import Delivery
from mux_async.emulator.state._state import Asset, Environment, Json, LiveStream, PlaybackId, State, Upload

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


def is_from_page(request: Request) -> bool:
    """Whether the page fetches an image or media to show. The log of requests leaves those out: it is for the user's program."""
    return request.method == "GET" and request.headers.get("Referer") == f"{request.origin}/"


def answer(
    request: Request, state: State, limiter: RateLimiter | None, arrivals: Sequence[Arrival], tokens: Sequence[Token]
) -> Response:
    """Answer a request that `asks_for_overview`: with the page, or with what it shows.

    The query's ``q`` keeps what has that text in a value: an id, a title, a status, a path, the type of an event.
    """
    if request.segments == ("",):
        return _page()
    return _overview(state, limiter, arrivals, tokens[0], request.query.get("q", "").casefold())


@cache
def _page() -> Response:
    content = files("mux_async.emulator.control").joinpath("page.html").read_bytes()
    # The page shows texts from clients, none of which may run. Its own style and script may, by their hashes.
    own = (
        f"{name.decode()}-src 'sha256-{b64encode(sha256(inside).digest()).decode()}'" for name, inside in _OWN.findall(content)
    )
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": "; ".join((_POLICY, *own))}
    return text(200, content, "text/html; charset=utf-8").with_headers(headers)


def _overview(state: State, limiter: RateLimiter | None, arrivals: Sequence[Arrival], token: Token, wanted: str) -> Response:
    return json_response(
        200,
        {
            "now": state.now,
            "token": {"id": token.id, "secret": DEFAULT_TOKEN.secret.reveal() if token == DEFAULT_TOKEN else None},
            "environments": [_environment(state, environment, wanted) for environment in state.environments.values()],
            "deliveries": _newest(map(_delivery, reversed(state.deliveries.values())), wanted),
            "events": _newest(
                (
                    {"id": event.id, "type": event.type, "object": event.object_id, "at": event.at}
                    for event in reversed(state.events)
                ),
                wanted,
            ),
            "buckets": None if limiter is None else [attrs.asdict(level) for level in limiter.levels(state.now)],
            "arrivals": _newest(map(attrs.asdict, reversed(arrivals)), wanted),
        },
    )


def _newest(found: Iterable[Json], wanted: str) -> list[Json]:
    """Return the first of *found*, at most `SHOWN`, that have *wanted* in a value."""
    return list(islice((entry for entry in found if not wanted or _has(entry, wanted)), SHOWN))


def _has(value: object, wanted: str) -> bool:
    if isinstance(value, dict):
        return any(_has(each, wanted) for each in cast("dict[str, object]", value).values())
    if isinstance(value, list):
        return any(_has(each, wanted) for each in cast("list[object]", value))
    return value is not None and wanted in str(value).casefold()


def _delivery(entry: Delivery) -> Json:
    return {
        "id": entry.id,
        "type": entry.event.type,
        "address": entry.address,
        "status": entry.status,
        "attempts": len(entry.attempts),
        "answer": entry.attempts[-1].status or entry.attempts[-1].error if entry.attempts else None,
        "at": entry.event.at,
    }


def _environment(state: State, environment: Environment, wanted: str) -> Json:
    return {
        "name": environment.name,
        "counts": {
            "assets": len(environment.assets),
            "uploads": len(environment.uploads),
            "live_streams": len(environment.live_streams),
        },
        "assets": _newest((_asset(state, asset) for asset in reversed(environment.assets.values())), wanted),
        "uploads": _newest((_upload(upload, environment) for upload in reversed(environment.uploads.values())), wanted),
        "live_streams": _newest((_live_stream(state, each) for each in reversed(environment.live_streams.values())), wanted),
    }


def _playable(state: State, playback_ids: Iterable[PlaybackId]) -> Json:
    """Return the playback id to show it by, a public one if there is one, and the ``token`` that the others need."""
    chosen = min(playback_ids, key=lambda entry: entry.policy != "public", default=None)
    if chosen is None:
        return {"playback_id": None, "token": None}
    return {"playback_id": chosen.id, "token": None if chosen.policy == "public" else page_token(state, chosen.id)}


def _title(members: Mapping[str, Any]) -> str | None:
    """Return what a user calls a thing, out of the members that it was made with."""
    meta: Json = members.get("meta") or {}
    title: str | None = meta.get("title") or members.get("passthrough")
    return title


def _asset(state: State, asset: Asset) -> Json:
    return {
        "id": asset.id,
        "title": (asset.meta or {}).get("title") or asset.passthrough,
        "status": asset.status,
        "problem": None if asset.problem is None else asset.problem.message,
        "duration": None if asset.media is None else asset.media.duration,
        "has_video": asset.media is not None and asset.media.has_video,
        **_playable(state, asset.playback_ids),
        "policies": sorted({entry.policy for entry in asset.playback_ids}),
        "created_at": asset.created_at,
    }


def _upload(upload: Upload, environment: Environment) -> Json:
    made = environment.assets.get(upload.asset_id or "")
    return {
        "id": upload.id,
        "title": _title(upload.options) or (None if made is None else (made.meta or {}).get("title") or made.passthrough),
        "status": upload.status,
        "size": upload.session.size,
        "total": upload.session.total,
        "asset_id": upload.asset_id,
        "created_at": upload.created_at,
    }


def _live_stream(state: State, stream: LiveStream) -> Json:
    return {
        "id": stream.id,
        "title": _title(stream.members) or _title(stream.options),
        "status": stream.status,
        "is_connected": stream.ingest.connected,
        **_playable(state, stream.playback_ids),
        "targets": [target.status for target in stream.simulcast_targets],
        "created_at": stream.created_at,
    }
