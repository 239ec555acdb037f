"""Views as JSON: the short form for lists, the full form, the columns of an export, and the events of a view."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import attrs

from mux_async.emulator.data._fields import Getter, field, iso
from mux_async.emulator.data._views import View
from mux_async.emulator.state._state import Json
from mux_async.emulator.validation._spec import JsonSchema, load

_TIMES = frozenset({"view_start", "view_end"})
_OTHERS: Mapping[str, frozenset[str]] = {
    "AbridgedVideoView": frozenset({"total_row_count"}),
    "VideoView": frozenset({"id", "environment_id", "ad_playback_failure_error_type_id", "events"}),
}
"""Members of a view that are not fields of it."""


@cache
def fields() -> tuple[str, ...]:
    """Return the names of the fields of a single view, which the API description lists."""
    return tuple(name for name, _ in _writers("VideoView"))


def _members(schema: str) -> Mapping[str, JsonSchema]:
    found: Mapping[str, JsonSchema] = load().schemas[schema]["properties"]
    return found


def _writer(name: str, schema: JsonSchema) -> Getter:
    """Return what writes a field of a view as a schema says: many numbers are texts (facts/BEHAVIOUR.md, section 3.2)."""
    read, is_text = field(name), "string" in load().resolve(schema)["type"]
    if name in _TIMES:
        return lambda view: iso(read(view))

    def write(view: View) -> Any:
        value = read(view)
        if isinstance(value, tuple):
            return list(cast("tuple[str, ...]", value))
        return str(value) if is_text and isinstance(value, int | float) and not isinstance(value, bool) else value

    return write


@cache
def _writers(schema: str) -> tuple[tuple[str, Getter], ...]:
    return tuple((name, _writer(name, member)) for name, member in _members(schema).items() if name not in _OTHERS[schema])


def written(view: View, schema: str = "VideoView") -> Json:
    """Return the fields of a view as a single view or another schema shows them, in the order of the API description."""
    return {name: write(view) for name, write in _writers(schema)}


def complete(view: View, environment_id: str) -> Json:
    """Write a view with all fields and its events."""
    return {
        "id": view.record_id,
        "environment_id": environment_id,
        "ad_playback_failure_error_type_id": None,
        **written(view),
        "events": events(view),
    }


def abridged(view: View, total: int) -> Json:
    """Write a view as lists do; every row repeats the *total* number of rows."""
    return {**written(view, "AbridgedVideoView"), "total_row_count": total}


def events(view: View) -> list[Json]:
    """Return the events of a view, in order: those that its player sent, or those that follow from its numbers."""
    if view.events is not None:
        return [attrs.asdict(event) for event in view.events]
    begin = view.view_start + view.startup.waited
    found_events: list[tuple[int, str, Json]] = [(view.view_start, "viewinit", {}), (view.view_start, "playerready", {})]
    found_events.append((view.view_start, "play", {}))
    if view.ads.view_has_ad:
        found_events.append((view.view_start + (view.ads.ad_preroll_startup_time or 0), "adplay", {}))
    if view.playback.watched:
        found_events.append((begin, "playing", {}))
        found_events += [(at, "renditionchange", details) for at, details in _changes(view, begin)]
        for start, end in view.rebuffering.stalls:
            found_events += [(start, "rebufferstart", {}), (end, "rebufferend", {})]
        seeks = view.playback.view_seek_count
        found_events += [(begin + (view.view_end - begin) * n // (seeks + 1), "seeking", {}) for n in range(1, seeks + 1)]
    if view.outcome.error_type_id is not None:
        details = {
            "player_error_code": view.outcome.player_error_code,
            "player_error_message": view.outcome.player_error_message,
        }
        found_events.append((view.view_end, "error", details))
    found_events.append((view.view_end, "viewend", {}))
    found_events.sort(key=lambda event: event[0])
    return [
        {
            "name": name,
            "event_time": at,
            "viewer_time": at,
            "playback_time": min(max(0, at - begin), view.playback.view_playing_time),
            "details": details,
        }
        for at, name, details in found_events
    ]


def _changes(view: View, begin: int) -> list[tuple[int, Json]]:
    found: list[tuple[int, Json]] = []
    played, before = 0, None
    for stretch in view.playback.stretches:
        if stretch.rendition != before:
            rendition = stretch.rendition
            details = {"video_source_height": rendition.height, "video_source_width": rendition.width}
            found.append(
                (begin + played, {**details, "video_source_bitrate": rendition.bitrate, "video_source_name": rendition.name})
            )
        before = stretch.rendition
        played += stretch.playing_time
    return found
