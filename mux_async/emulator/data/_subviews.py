"""``/data/v1/subview-metrics``: the playing time of views, divided by rendition or by the player's mode.

The intervals of a view add up to its playing time, so numbers that are grouped or filtered by views alone add up to the metric
``playing_time`` (facts/BEHAVIOUR.md, section 10: the only metric there is).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import attrs

from mux_async.emulator.data._dimensions import DIMENSIONS, TRACES, as_text, value_of
from mux_async.emulator.data._fields import iso
from mux_async.emulator.data._filters import EMPTY, compiled, parse_filter, select
from mux_async.emulator.data._groups import ordered
from mux_async.emulator.data._metric_values import MAX_POINTS
from mux_async.emulator.data._requests import MAX_LIMIT, DataRequest, Operation, Timeframe, envelope
from mux_async.emulator.data._views import PlayingInterval, View
from mux_async.emulator.http._messages import Response, invalid, json_response
from mux_async.emulator.state._state import Json

_METRIC, _UNIT = "playing_time", "milliseconds"
_MAX_VALUES = 4
_MAX_DIMENSION_LIMIT = 250
_STEPS = {"hour": 3600, "day": 86_400}
_VIEW_DIMENSIONS = tuple(name for name in DIMENSIONS if name not in TRACES and not name.startswith("video_source_"))


@attrs.frozen
class Piece:
    """A stretch with the view that it is of."""

    view: View
    stretch: PlayingInterval


Reader: TypeAlias = Callable[[Piece], "str | None"]


def _rendition(attribute: str) -> Reader:
    return lambda piece: as_text(getattr(piece.stretch.rendition, attribute))


_RENDITION: Mapping[str, Reader] = {
    "video_source_bitrate": _rendition("bitrate"),
    "video_source_width": _rendition("width"),
    "video_source_height": _rendition("height"),
    "video_source_fps": _rendition("fps"),
    "video_source_codec": _rendition("codec"),
    "video_source_rendition_name": _rendition("name"),
}
_TYPES: Mapping[str, Mapping[str, Reader]] = {
    "rendition": _RENDITION,
    "playback_mode": {"playback_mode": lambda piece: piece.stretch.mode},
}
"""Kinds of subview with the dimensions of their own."""


def _reader(kind: str, dimension: str) -> Reader:
    if dimension in _TYPES[kind]:
        return _TYPES[kind][dimension]
    read = value_of(dimension)
    return lambda piece: read(piece.view)


@attrs.frozen
class _SubviewRequest:
    """What all of them take."""

    request: DataRequest
    kind: str
    timeframe: Timeframe
    pieces: list[Piece]

    @property
    def meta(self) -> Json:
        return {"metric": _METRIC, "subview_type": self.kind, "unit": _UNIT}


def _asked(request: DataRequest) -> _SubviewRequest:
    if "METRIC_ID" in request.call.params:
        request.path_choice("METRIC_ID", (_METRIC,), "metric of subviews")
    kind = request.path_choice("SUBVIEW_TYPE", tuple(_TYPES), "kind of subview")
    timeframe = request.timeframe()
    allowed = (*_TYPES[kind], *_VIEW_DIMENSIONS)
    given = request.query.list_of("filters")
    conditions = [parse_filter(text, allowed, traces=False) for text in given]
    views = request.views(timeframe, ())
    pieces = [Piece(view, stretch) for view in views for stretch in view.playback.stretches]
    return _SubviewRequest(request, kind, timeframe, select(pieces, compiled(conditions, partial(_reader, kind))))


def _group_by(asked: _SubviewRequest) -> list[str]:
    """Return the attributes to group by. Modes of the player have but one."""
    allowed = list(_TYPES[asked.kind])
    given = asked.request.query.list_of("group_by")
    for name in given:
        if name not in _RENDITION:
            raise invalid(f"group_by[] must be one of {', '.join(_RENDITION)}")
    return [name for name in allowed if not given or name in given] or allowed


def _sums(pieces: Iterable[Piece], value_of_piece: Callable[[Piece], str]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for piece in pieces:
        sums[value_of_piece(piece)] += piece.stretch.playing_time
    return sums


def _rows(asked: _SubviewRequest, pieces: Iterable[Piece], group_by: Sequence[str]) -> list[Json]:
    """Sum up playing time by the attributes, longest first."""
    readers = [_reader(asked.kind, name) for name in group_by]
    sums = _sums(pieces, lambda piece: ", ".join(read(piece) or EMPTY for read in readers))
    rows = [{"breakdown_value": value, "metric_value": total} for value, total in sums.items()]
    return ordered(rows, lambda row: row["metric_value"], descending=True, value=lambda row: str(row["breakdown_value"]))


def _limit(asked: _SubviewRequest) -> int:
    return min(MAX_LIMIT, asked.request.query.whole("breakdown_value_limit", 10))


def _overall(request: DataRequest) -> Response:
    asked = _asked(request)
    total = sum(piece.stretch.playing_time for piece in asked.pieces)
    return envelope({"metric_value": total}, asked.timeframe, meta=asked.meta)


def _breakdown(request: DataRequest) -> Response:
    asked = _asked(request)
    group_by = _group_by(asked)
    rows = _rows(asked, asked.pieces, group_by)
    return envelope(request.query.page(rows), asked.timeframe, len(rows), meta={**asked.meta, "group_by": group_by})


def _breakdown_timeseries(request: DataRequest) -> Response:
    asked = _asked(request)
    group_by, limit = _group_by(asked), _limit(asked)
    granularity = request.query.choice("time_granularity", tuple(_STEPS), "hour")
    step, timeframe = _STEPS[granularity], asked.timeframe
    # A point that is still being filled is left out (section 10 of facts/BEHAVIOUR.md); one that the period cuts is partial.
    complete_through = request.now - request.now % step
    last = min(max(timeframe.start, timeframe.end - 1), complete_through - 1) // step
    first = timeframe.start // step
    if last - first >= MAX_POINTS:
        raise invalid(f"timeframe[] is too long for points of a {granularity}: at most {MAX_POINTS} points")
    pieces: dict[int, list[Piece]] = {}
    for piece in asked.pieces:
        pieces.setdefault(piece.view.view_end // (step * 1000), []).append(piece)
    points: list[Json] = []
    for number in range(first, last + 1):
        is_whole = timeframe.start <= number * step and (number + 1) * step <= timeframe.end
        values = _rows(asked, pieces.get(number, ()), group_by)[:limit]
        points.append({"date": iso(number * step * 1000), "status": "complete" if is_whole else "partial", "values": values})
    more = {"group_by": group_by, "time_granularity": granularity, "complete_through": iso(complete_through * 1000)}
    return envelope(points, timeframe, len(points), meta={**asked.meta, **more})


def _comparison(request: DataRequest) -> Response:
    asked = _asked(request)
    query = request.query
    group_by, limit = _group_by(asked), _limit(asked)
    dimension, values = query.text("dimension"), list(dict.fromkeys(query.list_of("values")))
    if dimension is None:
        raise invalid("dimension is required")
    if dimension not in (*_TYPES[asked.kind], *_VIEW_DIMENSIONS):
        raise invalid(f'dimension: "{dimension[:80]}" is not a dimension that can be used here')
    if not 1 <= len(values) <= _MAX_VALUES:
        raise invalid(f"values[] must be one to {_MAX_VALUES} values")
    read = _reader(asked.kind, dimension)
    rows: list[Json] = []
    for value in values:
        wanted = None if value == EMPTY else value
        found = _rows(asked, [piece for piece in asked.pieces if read(piece) == wanted], group_by)
        rows.append({"dimension_value": value, "values": found[:limit]})
    meta = {**asked.meta, "group_by": group_by, "dimension": dimension}
    return envelope(rows, asked.timeframe, len(rows), meta=meta)


def _dimensions(request: DataRequest) -> Response:
    kind = request.path_choice("SUBVIEW_TYPE", tuple(_TYPES), "kind of subview")
    found = {"subview": list(_TYPES[kind]), "view": list(_VIEW_DIMENSIONS)}
    return json_response(200, {"data": found, "total_row_count": None})


def _dimension_values(request: DataRequest) -> Response:
    asked = _asked(request)
    query = request.query
    dimension = request.path_choice("DIMENSION_NAME", (*_TYPES[asked.kind], *_VIEW_DIMENSIONS), "dimension of subviews")
    order = query.choice("order_by", (_METRIC, "value"), _METRIC)
    descending = query.descending("desc" if order == _METRIC else "asc")
    part = (query.text("query") or "").casefold()
    read = _reader(asked.kind, dimension)
    sums = _sums(asked.pieces, lambda piece: read(piece) or EMPTY)
    rows: list[Json] = [{"value": value, _METRIC: total} for value, total in sums.items() if part in value.casefold()]
    rows = ordered(rows, lambda row: row[order], descending=descending, value=lambda row: row["value"])
    page = query.page(rows, maximum=_MAX_DIMENSION_LIMIT)
    return envelope(page, asked.timeframe, len(rows), meta={**asked.meta, "dimension_name": dimension})


_BASE = "/data/v1/subview-metrics"
OPERATIONS: tuple[Operation, ...] = (
    ("GET", f"{_BASE}/{{METRIC_ID}}/{{SUBVIEW_TYPE}}/breakdown", _breakdown),
    ("GET", f"{_BASE}/{{METRIC_ID}}/{{SUBVIEW_TYPE}}/breakdown-timeseries", _breakdown_timeseries),
    ("GET", f"{_BASE}/{{METRIC_ID}}/{{SUBVIEW_TYPE}}/comparison", _comparison),
    ("GET", f"{_BASE}/{{METRIC_ID}}/{{SUBVIEW_TYPE}}/overall", _overall),
    ("GET", f"{_BASE}/{{SUBVIEW_TYPE}}/dimensions", _dimensions),
    ("GET", f"{_BASE}/{{SUBVIEW_TYPE}}/dimensions/{{DIMENSION_NAME}}", _dimension_values),
)
