"""``/data/v1/metrics``: metrics over views: overall, broken down, over time, compared, and insights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mux_async.emulator.data._dimensions import COMPARABLE, DIMENSIONS, value_of
from mux_async.emulator.data._fields import iso
from mux_async.emulator.data._filters import EMPTY
from mux_async.emulator.data._groups import Group, grouped, measured_groups, ordered
from mux_async.emulator.data._metrics import METRICS, Measurement, measure, value_over
from mux_async.emulator.data._requests import ORDERS, DataRequest, Operation, Timeframe, envelope
from mux_async.emulator.data._views import View
from mux_async.emulator.http._messages import Response, invalid
from mux_async.emulator.state._state import Json

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_GRANULARITIES = {"minute": _MINUTE, "ten_minutes": 10 * _MINUTE, "hour": _HOUR, "day": _DAY}
MAX_POINTS = 20_000
"""Rows that a timeseries may have: two weeks of minutes."""
_INSIGHT_DIMENSIONS = (
    "asn",
    "browser",
    "cdn",
    "country",
    "operating_system",
    "player_name",
    "player_software",
    "source_hostname",
    "stream_type",
    "video_title",
    "viewer_device_category",
)
_MAX_INSIGHTS = 50
_USUAL: Sequence[Measurement] = ("median", "95th")
_SCORES: Mapping[str, Mapping[str, Sequence[Measurement]]] = {
    "viewer_experience_score": {},
    "playback_success_score": {"playback_failure_percentage": (), "playback_business_exception_percentage": ()},
    "startup_time_score": {
        "video_startup_time": _USUAL,
        "player_startup_time": _USUAL,
        "page_load_time": _USUAL,
        "aggregate_startup_time": _USUAL,
        "seek_latency": (),
        "exits_before_video_start": (),
        "video_startup_failure_percentage": (),
    },
    "rebuffer_score": {
        "rebuffer_percentage": (),
        "rebuffer_frequency": (),
        "rebuffer_duration": _USUAL,
        "rebuffer_count": _USUAL,
    },
    "video_quality_score": {
        "weighted_average_bitrate": (),
        "upscale_percentage": (*_USUAL, "avg"),
        "downscale_percentage": (*_USUAL, "avg"),
        "max_upscale_percentage": _USUAL,
        "max_downscale_percentage": _USUAL,
    },
}
"""Rows of a comparison: each score with the metrics that go into it, in the recorded order, by which measurements (or the default one)."""
_MEASUREMENT_NAMES = {"median": " (median)", "95th": " (95th %)", "avg": " (average)"}


def _asked(request: DataRequest) -> tuple[str, Measurement | None, Timeframe, list[View]]:
    """Read what all of them take: the metric, the measurement, the period, and the views of it."""
    metric = request.path_choice("METRIC_ID", tuple(METRICS), "metric")
    measurement, timeframe = request.query.measurement(), request.timeframe()
    return metric, measurement, timeframe, request.views(timeframe, request.query.tests())


def _meta(metric: str, measurement: Measurement | None, **more: str) -> Json:
    return {"aggregation": measurement or METRICS[metric].measurement, **more}


def _overall(request: DataRequest) -> Response:
    metric, measurement, timeframe, views = _asked(request)
    found = measure(metric, views, measurement)
    row = {
        "value": found.value or 0,
        "total_views": found.views,
        "total_watch_time": found.watch_time,
        "total_playing_time": found.playing_time,
        "global_value": None,
    }
    return envelope(row, timeframe, meta=_meta(metric, measurement))


def _breakdown(request: DataRequest) -> Response:
    metric, measurement, timeframe, views = _asked(request)
    query = request.query
    order = query.choice("order_by", ORDERS, "negative_impact")
    dimension = query.choice("group_by", DIMENSIONS, "country")
    descending = query.descending("desc" if order in ("value", "views") else "asc")
    groups = measured_groups(metric, views, dimension, measurement)
    # The impact is a rank, 1 for what harms most: recorded so, and it has to be an integer.
    ranked = ordered(groups, lambda group: group.harm, descending=True, value=lambda group: group.value)
    rows = [_row(group, rank) for rank, group in enumerate(ranked, 1)]
    rows = ordered(rows, lambda row: row[order], descending=descending, value=lambda row: row["field"])
    return envelope(query.page(rows), timeframe, len(rows), meta=_meta(metric, measurement))


def _row(group: Group, rank: int) -> Json:
    return {
        "field": group.value,
        "value": group.measured.value,
        "views": group.measured.views,
        "negative_impact": rank,
        "total_watch_time": group.measured.watch_time,
        "total_playing_time": group.measured.playing_time,
    }


def _timeseries(request: DataRequest) -> Response:
    metric, measurement, timeframe, views = _asked(request)
    granularity = request.query.choice("group_by", tuple(_GRANULARITIES), _default_granularity(timeframe))
    step = _GRANULARITIES[granularity]
    first, last = timeframe.start // step, max(timeframe.start, timeframe.end - 1) // step
    if last - first >= MAX_POINTS:
        raise invalid(f"timeframe[] is too long for points of a {granularity}: at most {MAX_POINTS} points")
    points = grouped(views, lambda view: view.view_end // (step * 1000))
    last = max(last, *points) if points else last  # a view may have ended in the second in which the period ends
    rows: list[list[object]] = []
    for number in range(first, last + 1):
        found = measure(metric, points.get(number, ()), measurement)
        rows.append([iso(number * step * 1000), found.value, found.views or None])
    if request.query.descending("asc"):
        rows.reverse()
    return envelope(rows, timeframe, len(rows), meta=_meta(metric, measurement, granularity=granularity))


def _default_granularity(timeframe: Timeframe) -> str:
    span = timeframe.end - timeframe.start
    if span < 90 * _MINUTE:
        return "minute"
    if span < 6 * _HOUR:
        return "ten_minutes"
    return "hour" if span <= 15 * _DAY else "day"


def _comparison(request: DataRequest) -> Response:
    query, timeframe = request.query, request.timeframe()
    tests = query.tests()
    value = query.text("value")
    if query.text("dimension") is not None:
        read = value_of(query.choice("dimension", COMPARABLE, "country"))
        if value is None:
            raise invalid("value is required with dimension")
        wanted = None if value == EMPTY else value
        tests.append(lambda view: read(view) == wanted)
    elif value is not None:
        raise invalid("dimension is required with value")
    views = request.views(timeframe, tests)
    begin, end = request.bounds(timeframe)
    going = request.dataset.under_way(begin, end - 1) if end > begin else []
    started = [view for view in going if begin <= view.view_start < end and all(test(view) for test in tests)]
    totals: Json = {
        "name": "totals",
        "view_count": len(views),
        "watch_time": sum(view.watch_time for view in views),
        "total_playing_time": sum(view.playback.view_playing_time for view in views),
        "started_views": len(started),
        "ended_views": len(views),
        "unique_viewers": len({view.viewer.mux_viewer_id for view in views}),
    }
    return envelope([totals, *(_score(score, items, views) for score, items in _SCORES.items())], timeframe)


def _score(score: str, items: Mapping[str, Sequence[Measurement]], views: Sequence[View]) -> Json:
    row: Json = {"name": METRICS[score].name, "type": "score", "metric": score}
    value = value_over(score, views)
    if value is not None:
        row["value"] = value
    if items:
        row["items"] = [
            _item(metric, each, views) for metric, measurements in items.items() for each in measurements or (None,)
        ]
    return row


def _item(metric: str, measurement: Measurement | None, views: Sequence[View]) -> Json:
    about = METRICS[metric]
    row: Json = {
        "name": about.name + _MEASUREMENT_NAMES.get(measurement or "", ""),
        "type": about.unit,
        "metric": metric,
        "value": value_over(metric, views, measurement),
    }
    return row if measurement is None else {**row, "measurement": measurement}


def _insights(request: DataRequest) -> Response:
    metric, measurement, timeframe, views = _asked(request)
    count = measure(metric, views, measurement).views
    found: list[tuple[float, str, Group]] = []
    for dimension in _INSIGHT_DIMENSIONS:
        groups = [group for group in measured_groups(metric, views, dimension, measurement) if group.harm > 0]
        found += [(group.harm / count, dimension, group) for group in groups]
    found.sort(key=lambda entry: (-entry[0], entry[1], entry[2].value or ""))
    found = found[:_MAX_INSIGHTS]
    if not request.query.descending("desc"):
        found.reverse()
    rows = [
        {
            "filter_column": dimension,
            "filter_value": group.value,
            "metric": group.measured.value,
            "negative_impact_score": harm,
            "total_views": group.measured.views,
            "total_watch_time": group.measured.watch_time,
            "total_playing_time": group.measured.playing_time,
        }
        for harm, dimension, group in found
    ]
    return envelope(rows, timeframe, len(rows), meta=_meta(metric, measurement))


OPERATIONS: tuple[Operation, ...] = (
    ("GET", "/data/v1/metrics/comparison", _comparison),
    ("GET", "/data/v1/metrics/{METRIC_ID}/breakdown", _breakdown),
    ("GET", "/data/v1/metrics/{METRIC_ID}/insights", _insights),
    ("GET", "/data/v1/metrics/{METRIC_ID}/overall", _overall),
    ("GET", "/data/v1/metrics/{METRIC_ID}/timeseries", _timeseries),
)
