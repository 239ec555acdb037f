"""Beacons: what Mux's players post to a collection domain while a video is watched, folded into `WatchedView` records.

A beacon is a batch of events. The first event of a view has all fields; later ones have those that changed, and a number. A field's value
is that of the event with the highest number, so that batches may arrive twice or in any order. Times are by the viewer's clock, and are
moved by the difference between the time of sending and the time of arrival, the least of a view: later batches were on their way longer.

Like a collector, this accepts all that is JSON and ignores what it cannot use: a player would repeat a refused batch forever. What one page
can store is bounded. Facts: NEWER.md, section 7. Assumptions: how Mux ends views without ``viewend``, and what it answers.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

from mux_async.emulator.data._beacon_fields import Value, read_fields
from mux_async.emulator.data._dataset import RETENTION
from mux_async.emulator.http._addresses import COLLECTION, host_name
from mux_async.emulator.http._messages import ApiError, Request, Response, invalid
from mux_async.emulator.state._records import BeaconEvent, WatchedView
from mux_async.emulator.state._state import Environment, Json, State
from mux_async.emulator.state._tracking import untracked_items

log = logging.getLogger(__name__)

HEADERS = {"Access-Control-Allow-Origin": "*", "Server": "Mux Data collector"}
"""Of every response: pages of all origins send beacons."""
INACTIVITY = 3600
"""Seconds after its last beacon that a view ends by itself. A player begins a new view after as long; what Mux does is not known."""
LATENCY = "live_stream_latency"
"""Field of a record that no beacon has: milliseconds from the recording of what is shown."""
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "600",
}
_MAX_BATCH = 1000
"""Events of a batch that are read; mux-embed sends at most 300."""
_MAX_BATCH_VIEWS = 20
"""Views of a batch; a player's batch has one or two."""
_MAX_EVENTS = 200
"""Events that are stored of a view. The numbers of a view count all."""
_MAX_CHARACTERS = 8000
"""Of the texts of a view together, and of those of its events."""
_CLOCK_WAS_SET = 600_000
"""Milliseconds that the viewer's clock must have moved against the emulator's."""
_VIEW_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_NOT_SHOWN = frozenset({"hb", "requestcompleted", "requestfailed", "requestcanceled"})
"""Events that are not stored, because they are many."""
_ERROR = (
    "player_error_code",
    "player_error_message",
    "player_error_context",
    "player_error_severity",
    "player_error_business_exception",
)
_DETAILS: Mapping[str, tuple[str, ...]] = {
    "cdnchange": ("video_cdn",),
    "error": _ERROR,
    "networkchange": ("viewer_connection_type",),
    "playbackmodechange": ("player_playback_mode",),
    "renditionchange": (
        "video_source_width",
        "video_source_height",
        "video_source_bitrate",
        "video_source_name",
        "video_source_fps",
        "video_source_codec",
    ),
}
"""Fields that are stored with an event."""
_OF_THE_EVENT = frozenset(
    {*_ERROR, "env_key", "event", "player_program_time", "view_id", "view_sequence_number", "view_start", "viewer_time"}
)
"""Fields that are not stored with the view."""


def is_beacon(request: Request) -> bool:
    """Whether a request is to a collection domain: one of any host to its root."""
    return request.method in {"POST", "OPTIONS"} and request.segments == ("",)


def collect(request: Request, state: State, body: bytes) -> Response:
    """Answer a request for which `is_beacon` is true, with `HEADERS` to be added. Raises `ApiError` (400 or 413)."""
    if request.method == "OPTIONS":
        return Response(204, _PREFLIGHT)
    batch = _decoded(_unpacked(body, request, state.settings.max_body))
    events = cast("Json", batch).get("events") if isinstance(batch, dict) else None
    if not isinstance(events, list):
        raise invalid("A beacon is a JSON object with a list of events")
    if not state.settings.stub and state.settings.data != "generated":
        sent = [cast("Json", event) for event in cast("list[object]", events)[:_MAX_BATCH] if isinstance(event, dict)]
        _fold_batch(request, state, cast("Json", batch).get("metadata"), sent)
    return Response(200)


def run_view_step(state: State, environment: Environment, name: str, subject: str) -> None:
    """End a view that no beacon arrived for in `INACTIVITY` seconds, or forget it if nothing was played."""
    view = environment.watched_views.get(subject)
    if view is None or view.ended_at is not None:
        return
    until = view.updated_at / 1000 + INACTIVITY / state.settings.time_scale
    if until > state.now:
        state.scheduler.add(until, name, environment.id, subject)
    elif counts(view):
        view.ended_at = max(view.last_at, view.started_at or 0)
        view.revision += 1
    else:
        del environment.watched_views[subject]


def counts(view: WatchedView) -> bool:
    """Whether it is a view: playback was asked for, or failed."""
    return view.started_at is not None or any(map(is_error, view.events))


def is_error(event: BeaconEvent) -> bool:
    """Whether it is an error that ends playback."""
    return event.name == "error" and event.details.get("player_error_severity") != "warning"


# ---- reading a batch


def _key_of_host(request: Request) -> str | None:
    """Return the environment key in ``KEY.litix.io``; ``None`` for another host."""
    host = host_name(request.headers.get("Host", "")) or ""
    return host.removesuffix(f".{COLLECTION}") if host.endswith(f".{COLLECTION}") else None


def _unpacked(body: bytes, request: Request, limit: int) -> bytes:
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"gzip", "x-gzip"}:
        return body
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        found = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise invalid("The request body is not valid gzip") from None
    if len(found) > limit:
        raise ApiError(413, "invalid_parameters", f"The request body is larger than {limit} bytes")
    return found


def _decoded(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except ValueError:
        pass
    # A page that cuts a text may cut a surrogate pair, which JSON allows and orjson does not.
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise invalid("The request body is not valid JSON") from None


def _fold_batch(request: Request, state: State, metadata: object, events: list[Json]) -> None:
    now = int(state.now * 1000)
    read = [read_fields(event) for event in events]
    sent_at = read_fields({"uti": cast("Json", metadata).get("transmission_timestamp")}) if isinstance(metadata, dict) else {}
    times = [_whole(fields["viewer_time"]) for fields in read if "viewer_time" in fields]
    offset = now - _whole(sent_at.get("viewer_time", max(times, default=now)))
    adjusted: set[str] = set()
    for fields in read:
        view_id = fields.get("view_id")
        if not isinstance(view_id, str) or not _VIEW_ID.fullmatch(view_id):
            continue
        if view_id not in adjusted and len(adjusted) == _MAX_BATCH_VIEWS:
            continue
        environment = _environment_of(request, state, view_id, fields)
        if environment is None:
            log.info("a beacon was dropped: no environment has the key %r", fields.get("env_key", "inferred"))
            continue
        view = environment.watched_views.get(view_id)
        if view is None:
            view = _new_view(request, state, environment, view_id, now, offset)
        if view_id not in adjusted:
            adjusted.add(view_id)
            view.updated_at = now
            _adjust(view, offset)
        _fold(view, fields, now)
        if not view.owner and "video_source_url" in fields:
            view.owner = _owner_of(environment, str(fields["video_source_url"]))
        if view.ended_at is not None and not counts(view):
            del environment.watched_views[view_id]


def _whole(value: Value) -> int:
    return int(value)


def _environment_of(request: Request, state: State, view_id: str, fields: Mapping[str, Value]) -> Environment | None:
    """Return the environment of an event: that of the view, of the key, or of the playback id.

    The emulator cannot know a key of a real account; with one environment, it stands for that.
    """
    environments = state.environments.values()
    known = next((found for found in environments if view_id in found.watched_views), None)
    if known is not None:
        return known
    key = fields.get("env_key") or _key_of_host(request) or "inferred"
    for environment in environments:
        if key in (environment.id, environment.name):
            return environment
    playback_id = _playback_id(str(fields.get("video_source_url", "")))
    owner = state.find_playback(playback_id)
    if owner is not None:
        return owner[0]
    return next(iter(environments)) if key != "inferred" and len(state.environments) == 1 else None


def _playback_id(url: str) -> str:
    """Return what is a playback id if the URL is one of Mux: ``https://stream.mux.com/ID.m3u8``."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    return path.strip("/").partition("/")[0].partition(".")[0]


def _owner_of(environment: Environment, url: str) -> Json:
    """Return fields of a view of the asset or live stream that is played. What the page says about the video has priority over these."""
    playback_id = _playback_id(url)
    owner = environment.playback.get(playback_id)
    if owner is None:
        return {}
    if owner.type == "live_stream":
        found = environment.live_streams.get(owner.id)
        meta: Json = {} if found is None else found.members.get("meta") or {}
        return _without_none(playback_id=playback_id, live_stream_id=owner.id, video_id=owner.id, video_title=meta.get("title"))
    asset = environment.assets.get(owner.id)
    meta = {} if asset is None else asset.meta or {}
    return _without_none(
        playback_id=playback_id,
        asset_id=owner.id,
        live_stream_id=None if asset is None else asset.live_stream_id,
        video_id=meta.get("external_id") or owner.id,
        video_title=meta.get("title"),
        video_creator_id=meta.get("creator_id"),
    )


def _without_none(**members: Any) -> Json:
    return {name: value for name, value in members.items() if value is not None}


def _new_view(request: Request, state: State, environment: Environment, view_id: str, now: int, offset: int) -> WatchedView:
    views = environment.watched_views
    for old in _surplus(views, state.settings.max_views, now):
        del views[old]
    agent = request.headers.get("User-Agent", "")[:512].encode("utf-8", "replace").decode()
    view = WatchedView(view_id, now, now, offset, agent)
    views[view_id] = view
    state.scheduler.add(state.now + INACTIVITY / state.settings.time_scale, "view.end", environment.id, view_id)
    return view


def _surplus(views: dict[str, WatchedView], limit: int, now: int) -> list[str]:
    """Return the views to forget before one more is stored: the oldest above the limit, and those that the API shows no more."""
    too_many = len(views) + 1 - limit
    oldest = now - RETENTION * 1000
    found: list[str] = []
    for number, (view_id, view) in enumerate(untracked_items(views)):
        if number >= too_many and view.last_at >= oldest:
            break
        found.append(view_id)
    return found


def _adjust(view: WatchedView, offset: int) -> None:
    """Take over a smaller offset from the viewer's clock: all times move. A very different one means that the viewer's clock was set."""
    change = offset - view.offset
    if abs(change) > _CLOCK_WAS_SET:
        view.offset = offset
    elif change < 0:
        view.offset = offset
        view.last_at += change
        view.started_at = None if view.started_at is None else view.started_at + change
        view.ended_at = None if view.ended_at is None else view.ended_at + change
        for event in view.events:
            event.at += change


def _fold(view: WatchedView, fields: Mapping[str, Value], now: int) -> None:
    """Take one event into a view."""
    number = _whole(fields.get("view_sequence_number") or fields.get("player_sequence_number") or view.last_number + 1)
    if view.ended_at is not None and number > view.last_number:
        return  # the view is over; what happened before its end may still arrive
    view.revision += 1

    def clocked(name: str) -> int:
        return min(now, max(now - RETENTION * 1000, _whole(fields.get(name, now - view.offset)) + view.offset))

    at, name = clocked("viewer_time"), str(fields.get("event", ""))[:40]
    if "player_program_time" in fields:  # when what is shown was recorded, by the emulator's clock
        fields = {**fields, LATENCY: max(0, at - _whole(fields["player_program_time"]))}
    for field, value in fields.items():
        if field not in _OF_THE_EVENT and number >= view.values.get(field, (0,))[0]:
            _store_value(view, field, number, value)
    if view.started_at is None and ("view_start" in fields or name == "viewstart"):
        view.started_at = clocked("view_start") if "view_start" in fields else at
    if number >= view.last_number:
        view.last_number, view.last_at = number, at
    if name and name not in _NOT_SHOWN:
        _store_event(view, BeaconEvent(number, name, at, *_progress(fields), _details(name, fields)))
    if name == "viewend" and view.ended_at is None:
        view.ended_at = max(at, view.started_at or 0)


def _progress(fields: Mapping[str, Value]) -> tuple[int | None, int | None]:
    """Return the position in the video, and what was played."""
    position, played = (fields.get(name) for name in ("player_playhead_time", "view_playing_time_ms_cumulative"))
    return None if position is None else _whole(position), None if played is None else _whole(played)


def _details(event: str, fields: Mapping[str, Value]) -> Json:
    return {name: fields[name] for name in _DETAILS.get(event, ()) if name in fields}


def _store_value(view: WatchedView, field: str, number: int, value: Value) -> None:
    if isinstance(value, str):
        if field == "video_source_url":
            value = value.partition("?")[0]  # the query may have a token
        others = (other for name, (_, other) in view.values.items() if name != field)
        if len(value) + _characters(others) > _MAX_CHARACTERS:
            return
    view.values[field] = [number, value]


def _characters(values: Iterable[object]) -> int:
    return sum(len(value) for value in values if isinstance(value, str))


def _store_event(view: WatchedView, event: BeaconEvent) -> None:
    if len(view.events) >= _MAX_EVENTS + (event.name in {"error", "viewend"}) * 20:
        return
    if (
        event.details
        and _characters(value for other in (event, *view.events) for value in other.details.values()) > _MAX_CHARACTERS
    ):
        event.details = {}
    at = len(view.events)
    while at and view.events[at - 1].number > event.number:
        at -= 1
    if not at or view.events[at - 1].number != event.number:
        view.events.insert(at, event)
