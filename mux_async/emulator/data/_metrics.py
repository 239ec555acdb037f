"""The 51 metrics: which field each reads, and how the values of views become one number.

A metric counts the views that have a value for it: a view that never started has no startup time, one without ads no count of ads. So a
breakdown has no row without such a view, and the numbers of views in its rows add up to the overall number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal, TypeAlias

import attrs

from mux_async.emulator.data._fields import field
from mux_async.emulator.data._views import View

Measurement: TypeAlias = Literal["95th", "median", "avg", "count", "sum"]
Reader: TypeAlias = Callable[[View], "float | None"]


@attrs.frozen
class Metric:
    """A metric. *measurement* is how values are combined by default (facts/BEHAVIOUR.md, section 3.3); *unit* is as comparisons call it.

    *good* is 1 if more is better and -1 if less is. *field* is the field of a view that it reads, if it is not named like the metric.
    """

    name: str
    measurement: Measurement
    unit: str = "number"
    good: int = -1
    field: str | None = None
    filterable: bool = True


def _time(name: str, field: str | None = None) -> Metric:
    return Metric(name, "median", "milliseconds", field=field)


def _percentage(name: str, field: str | None = None, measurement: Measurement = "avg", *, filterable: bool = True) -> Metric:
    return Metric(name, measurement, "percentage", field=field, filterable=filterable)


def _score(name: str, field: str) -> Metric:
    return Metric(name, "avg", "score", good=1, field=field)


METRICS: Mapping[str, Metric] = {
    "aggregate_startup_time": _time("Aggregate Startup Time"),
    "downscale_percentage": _percentage("Downscale Percentage"),
    "exits_before_video_start": _percentage("Exits Before Video Start", "exit_before_video_start", filterable=False),
    "live_stream_latency": _time("Live Stream Latency"),
    "max_downscale_percentage": _percentage("Max Downscale Percentage", "view_max_downscale_percentage"),
    "max_request_latency": _time("Max Request Latency", "view_max_request_latency"),
    "max_upscale_percentage": _percentage("Max Upscale Percentage", "view_max_upscale_percentage"),
    "page_load_time": _time("Page Load Time"),
    "playback_failure_percentage": _percentage("Playback Failure Percentage", "playback_failure"),
    "playback_success_score": _score("Playback Success Score", "playback_score"),
    "player_startup_time": _time("Player Startup Time"),
    "playing_time": Metric("Playing Time", "sum", "milliseconds", good=1, field="view_playing_time"),
    "rebuffer_count": Metric("Rebuffer Count", "median", field="buffering_count"),
    "rebuffer_duration": _time("Rebuffer Duration", "buffering_duration"),
    "rebuffer_frequency": Metric("Rebuffer Frequency", "avg", "per_minute"),
    "rebuffer_percentage": _percentage("Rebuffer Percentage"),
    "request_latency": _time("Request Latency", "view_average_request_latency"),
    "request_throughput": Metric(
        "Request Throughput", "median", "bits_per_second", good=1, field="view_average_request_throughput"
    ),
    "rebuffer_score": _score("Rebuffer Score", "rebuffering_score"),
    "requests_for_first_preroll": Metric("Requests for First Preroll", "median"),
    "seek_latency": Metric("Seek Latency", "avg", "milliseconds"),
    "startup_time_score": _score("Startup Time Score", "startup_score"),
    "unique_viewers": Metric("Unique Viewers", "count", good=1, field="mux_viewer_id", filterable=False),
    "upscale_percentage": _percentage("Upscale Percentage"),
    "video_quality_score": _score("Video Quality Score", "quality_score"),
    "video_startup_preroll_load_time": _time("Video Startup Preroll Load Time"),
    "video_startup_preroll_request_time": _time("Video Startup Preroll Request Time"),
    "video_startup_time": _time("Video Startup Time", "time_to_first_frame"),
    "viewer_experience_score": _score("Overall Score", "viewer_experience_score"),
    "views": Metric("Views", "count", good=1, field="watched", filterable=False),
    "weighted_average_bitrate": Metric("Weighted Average Bitrate", "median", "bits_per_second", good=1),
    "video_startup_failure_percentage": _percentage(
        "Video Startup Failure Percentage", "video_startup_failure", filterable=False
    ),
    "ad_attempt_count": Metric("Ad Attempts", "sum", good=1),
    "ad_break_count": Metric("Ad Breaks", "sum", good=1),
    "ad_break_error_count": Metric("Ad Break Errors", "sum"),
    "ad_break_error_percentage": _percentage("Ad Break Error Percentage"),
    "ad_error_count": Metric("Ad Errors", "sum"),
    "ad_error_percentage": _percentage("Ad Error Percentage"),
    "ad_exit_before_start_count": Metric("Ad Exits Before Start", "sum"),
    "ad_exit_before_start_percentage": _percentage("Ad Exits Before Start Percentage"),
    "ad_impression_count": Metric("Ad Impressions", "sum", good=1),
    "ad_startup_error_count": Metric("Ad Startup Errors", "sum"),
    "ad_startup_error_percentage": _percentage("Ad Startup Error Percentage"),
    "playback_business_exception_percentage": _percentage(
        "Playback Business Exception Percentage", "playback_business_exception"
    ),
    "video_startup_business_exception_percentage": _percentage(
        "Video Startup Business Exception Percentage", "video_startup_business_exception"
    ),
    "view_content_startup_time": _time("Content Startup Time"),
    "ad_preroll_startup_time": _time("Ad Preroll Startup Time"),
    "view_dropped_percentage": _percentage("View Dropped Percentage", "view_dropped", filterable=False),
    "rendition_change_count": Metric("Rendition Changes", "median"),
    "rendition_upshift_count": Metric("Rendition Upshifts", "median", good=1),
    "rendition_downshift_count": Metric("Rendition Downshifts", "median"),
}


@cache
def reader(metric: str) -> Reader:
    """Return what reads a metric of one view; ``None`` where the view takes no part in it."""
    return field(METRICS[metric].field or metric)


@attrs.frozen
class Measured:
    """A metric over those of some views that take part; the times are sums of theirs, in milliseconds."""

    value: float | None
    views: int
    watch_time: int
    playing_time: int


def measure(metric: str, views: Sequence[View], measurement: Measurement | None = None) -> Measured:
    """Combine the values that *views* have for a metric, and count those that have one."""
    read = reader(metric)
    part = [view for view in views if read(view) is not None]
    watch_time = sum(view.watch_time for view in part)
    playing_time = sum(view.playback.view_playing_time for view in part)
    return Measured(value_over(metric, part, measurement), len(part), watch_time, playing_time)


def value_over(metric: str, views: Sequence[View], measurement: Measurement | None = None) -> float | None:
    """Combine the values that *views* have for a metric; ``None`` of none. Views and viewers are counted, whatever is asked for."""
    read = reader(metric)
    values = [value for value in map(read, views) if value is not None]
    if metric == "unique_viewers":
        return len(set(values)) or None
    return combine(values, "count" if metric == "views" else measurement or METRICS[metric].measurement)


def combine(values: Sequence[float], measurement: Measurement) -> float | None:
    """Make one number of *values*; ``None`` of none. ``95th`` is the smallest value that 95 % do not exceed."""
    if not values:
        return None
    match measurement:
        case "count":
            return len(values)
        case "sum":
            return math.fsum(values) if any(isinstance(value, float) for value in values) else sum(values)
        case "avg":
            return math.fsum(values) / len(values)
        case "median":
            ordered = sorted(values)
            middle = len(ordered) // 2
            return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        case "95th":
            return float(sorted(values)[math.ceil(len(values) * 0.95) - 1])
