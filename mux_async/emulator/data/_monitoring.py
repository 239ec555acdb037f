"""``/data/v1/monitoring`` and the deprecated ``/data/v1/realtime``: the views that are in progress.

The other operations count views after they have ended. Points are five seconds apart (section 10 of facts/BEHAVIOUR.md). Percentages are
shares of the views that began or ended within the minute before a point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import attrs

from mux_async.emulator.data._dimensions import MONITORED, value_of
from mux_async.emulator.data._fields import iso
from mux_async.emulator.data._filters import select
from mux_async.emulator.data._groups import grouped, ordered
from mux_async.emulator.data._metrics import combine
from mux_async.emulator.data._requests import DAY, MAX_LIMIT, ORDERS, DataRequest, Operation, Timeframe, envelope
from mux_async.emulator.data._views import View
from mux_async.emulator.http._messages import Response, invalid
from mux_async.emulator.state._state import Json

STEP = 5
"""Seconds between points."""
_SPAN = 30 * 60
_BREAKDOWN_SPAN, _MAX_BREAKDOWN_SPAN = 60, 10 * 60
_WINDOW = 60 * 1000
_BUCKETS = ((0, 100), (100, 500), (500, 1000), (1000, 2000), (2000, 5000), (5000, 10_000), (10_000, None))
"""Milliseconds; as recorded."""


@attrs.frozen
class _Moment:
    """The views at one moment: *watching* have shown a frame, *starting* have not, *recent* began or ended within the minute before."""

    watching: Sequence[View]
    starting: Sequence[View]
    recent: Sequence[View]
    stalled: int


def _moment(views: Sequence[View], at: int) -> _Moment:
    """Return the state of *views* at a time (epoch milliseconds)."""
    going = [view for view in views if view.is_going(at)]
    starting = [view for view in going if at < view.view_start + view.startup.waited]
    watching = [view for view in going if at >= view.view_start + view.startup.waited]
    recent = [view for view in views if at - _WINDOW < view.view_start <= at or at - _WINDOW < view.view_end <= at]
    stalled = sum(any(start <= at < end for start, end in view.rebuffering.stalls) for view in watching)
    return _Moment(watching, starting, recent, stalled)


def _share(happened: Callable[[View], bool]) -> Callable[[_Moment], float | None]:
    def read(moment: _Moment) -> float | None:
        return sum(map(happened, moment.recent)) / len(moment.recent) if moment.recent else None

    return read


def _bitrate(moment: _Moment) -> float | None:
    return combine([view.playback.weighted_average_bitrate or 0.0 for view in moment.watching], "avg")


def _rebuffering(moment: _Moment) -> float | None:
    return moment.stalled / len(moment.watching) if moment.watching else None


_METRICS: Mapping[str, tuple[str, Callable[[_Moment], float | None]]] = {
    "current-concurrent-viewers": ("Current Concurrent Viewers (CCV)", lambda moment: len(moment.watching)),
    "current-rebuffering-percentage": ("Current Rebuffering Percentage", _rebuffering),
    "exits-before-video-start": ("Exits Before Video Start", _share(lambda view: view.outcome.exit_before_video_start)),
    "playback-failure-percentage": ("Playback Failure Percentage", _share(lambda view: view.outcome.playback_failure)),
    "current-average-bitrate": ("Current Average Bitrate", _bitrate),
    "video-startup-failure-percentage": (
        "Video Startup Failure Percentage",
        _share(lambda view: view.outcome.video_startup_failure),
    ),
}
"""Name for people, and the value at a moment; the deprecated operations lack the last."""
_HISTOGRAM = "video-startup-time"
_LESS_IS_BETTER = frozenset(_METRICS) - {"current-concurrent-viewers", "current-average-bitrate"}


@attrs.frozen
class _Family:
    """Monitoring or the deprecated real-time operations: path, and known metrics and dimensions."""

    path: str
    prefix: str
    metrics: tuple[str, ...]
    dimensions: tuple[str, ...]

    def metric(self, request: DataRequest) -> str:
        return request.path_choice(f"{self.prefix}_METRIC_ID", self.metrics, "metric that can be watched")

    def going(self, request: DataRequest, start: int, end: int) -> list[View]:
        """Return the views of a period (epoch seconds) that pass the filters, from a minute before it."""
        views = request.dataset.under_way(start * 1000 - _WINDOW, end * 1000)
        return select(views, request.query.tests(self.dimensions, metrics=False))


def _names(names: Mapping[str, str], request: DataRequest) -> Response:
    return envelope([{"name": name, "display_name": shown} for name, shown in names.items()], request.timeframe())


def _row(metric: str, value: str | None, views: Sequence[View], at: int) -> Json:
    moment = _moment(views, at)
    return {
        "value": value,
        "metric_value": _METRICS[metric][1](moment),
        "concurrent_viewers": len(moment.watching),
        "starting_up_viewers": len(moment.starting),
    }


def _rows(metric: str, views: Sequence[View], dimension: str, at: int, order: str, *, descending: bool) -> list[Json]:
    """Break down one moment; values without viewers at that time are left out."""
    rows = [_row(metric, value, part, at) for value, part in grouped(views, value_of(dimension)).items()]
    rows = [row for row in rows if row["metric_value"] is not None and any(row[name] for name in _SIGNS)]
    bad = 1 if metric in _LESS_IS_BETTER else -1
    ranked = ordered(rows, lambda row: bad * row["metric_value"], descending=True, value=lambda row: row["value"])
    for rank, row in enumerate(ranked, 1):
        row["negative_impact"] = rank
    name = {"value": "metric_value", "views": "concurrent_viewers", "field": "value"}.get(order, order)
    return ordered(ranked, lambda row: row[name], descending=descending, value=lambda row: row["value"])


_SIGNS = ("metric_value", "concurrent_viewers", "starting_up_viewers")
"""What a value of a dimension must have at least one of, not to be left out."""


def _order(request: DataRequest) -> tuple[str, bool]:
    order = request.query.choice("order_by", ORDERS, "negative_impact")
    return order, request.query.descending("desc" if order in ("value", "views") else "asc")


def _breakdown(family: _Family, request: DataRequest) -> Response:
    metric = family.metric(request)
    dimension = request.query.choice("dimension", family.dimensions, "country")
    order, descending = _order(request)
    at = request.query.moment("timestamp", request.now, request.now)
    rows = _rows(metric, family.going(request, at, at), dimension, at * 1000, order, descending=descending)
    return envelope(rows, Timeframe(at, at))


def _timeseries(family: _Family, request: DataRequest) -> Response:
    metric = family.metric(request)
    start = request.query.moment("timestamp", request.now, max(0, request.now - _SPAN))
    end = min(start + _SPAN, request.now)
    views = family.going(request, start, end)
    rows: list[Json] = []
    for at in range(start - start % STEP, end + 1, STEP):
        row = _row(metric, None, views, at * 1000)
        rows.append({"date": iso(at * 1000), "value": row["metric_value"], "concurrent_viewers": row["concurrent_viewers"]})
    return envelope(rows, Timeframe(start, end))


def _breakdown_timeseries(family: _Family, request: DataRequest) -> Response:
    metric, query = family.metric(request), request.query
    dimension = query.choice("dimension", family.dimensions, "country")
    order, descending = _order(request)
    timeframe = query.timeframe(request.now, _BREAKDOWN_SPAN)
    if timeframe.end - timeframe.start > _MAX_BREAKDOWN_SPAN:
        raise invalid("timeframe[] must be at most 10 minutes long")
    if timeframe.start < request.now - DAY or timeframe.end > request.now:
        raise invalid("timeframe[] must lie within the last 24 hours")
    limit = min(MAX_LIMIT, query.whole("limit", 10))
    views = family.going(request, timeframe.start, timeframe.end)
    points: list[Json] = []
    for at in range(timeframe.start - timeframe.start % STEP, timeframe.end + 1, STEP):
        rows = _rows(metric, views, dimension, at * 1000, order, descending=descending)[:limit]
        values = [{name: value for name, value in row.items() if name != "negative_impact"} for row in rows]
        points.append({"date": iso(at * 1000), "values": values})
    return envelope(points, timeframe)


def _histogram(family: _Family, request: DataRequest) -> Response:
    request.path_choice(f"{family.prefix}_HISTOGRAM_METRIC_ID", (_HISTOGRAM,), "metric that has histograms")
    end = request.now
    start = max(0, end - _SPAN)
    views = family.going(request, start, end)
    times: dict[int, list[int]] = {}
    for view in views:
        shown_at = view.view_start + view.startup.waited
        if view.startup.time_to_first_frame is not None and start * 1000 <= shown_at <= end * 1000:
            times.setdefault(shown_at // 60_000, []).append(view.startup.time_to_first_frame)
    rows = [_histogram_row(minute, times.get(minute, [])) for minute in range(start // 60, end // 60 + 1)]
    buckets = [{"start": low, "end": high} for low, high in _BUCKETS]
    return envelope(rows, Timeframe(start, end), meta={"buckets": buckets, "bucket_unit": "milliseconds"})


def _histogram_row(minute: int, times: Sequence[int]) -> Json:
    counts = [sum(low <= time and (high is None or time < high) for time in times) for low, high in _BUCKETS]
    shares = [count / len(times) if times else 0.0 for count in counts]
    return {
        "timestamp": iso(minute * 60_000),
        "bucket_values": [{"count": count, "percentage": share} for count, share in zip(counts, shares, strict=True)],
        "sum": len(times),
        "max_percentage": max(shares),
        "average": combine(times, "avg"),
        "median": combine(times, "median"),
        "p95": combine(times, "95th"),
    }


_MONITORING = _Family("/data/v1/monitoring", "MONITORING", tuple(_METRICS), tuple(MONITORED))
_REALTIME = _Family("/data/v1/realtime", "REALTIME", tuple(_METRICS)[:-1], tuple(MONITORED)[:-1])


def _operations(family: _Family) -> tuple[Operation, ...]:
    one = f"{family.path}/metrics/{{{family.prefix}_METRIC_ID}}"
    histogram = f"{family.path}/metrics/{{{family.prefix}_HISTOGRAM_METRIC_ID}}/histogram-timeseries"
    metrics = {name: _METRICS[name][0] for name in family.metrics} | {_HISTOGRAM: "Video Startup Time"}
    return (
        ("GET", f"{family.path}/dimensions", partial(_names, {name: MONITORED[name] for name in family.dimensions})),
        ("GET", f"{family.path}/metrics", partial(_names, metrics)),
        ("GET", f"{one}/breakdown", partial(_breakdown, family)),
        ("GET", f"{one}/timeseries", partial(_timeseries, family)),
        ("GET", histogram, partial(_histogram, family)),
    )


_BREAKDOWNS = "/data/v1/monitoring/metrics/{MONITORING_METRIC_ID}/breakdown-timeseries"
OPERATIONS: tuple[Operation, ...] = (
    *_operations(_MONITORING),
    ("GET", _BREAKDOWNS, partial(_breakdown_timeseries, _MONITORING)),
    *_operations(_REALTIME),
)
