"""``/data/v1/engagement``: which parts of a video are watched, computed from what each view played.

A heatmap divides the video into equal parts, one a second but never fewer than 10 nor more than 1,000; the value of a part is how often
an average view plays it. So the values, each times the length of its part, add up to the average playing time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate

from mux_async.emulator.data._requests import MAX_LIMIT, DataRequest, Operation, envelope
from mux_async.emulator.data._views import Video, View
from mux_async.emulator.http._messages import Response, invalid, not_found
from mux_async.emulator.state._ids import is_well_formed

MIN_PARTS, MAX_PARTS = 10, 1000
_HOTSPOTS = 20
"""Parts that a video is cut into to find hotspots, if it is long enough."""
_DEFAULT_LIMIT = 5

Subject = Callable[[DataRequest], Callable[[Video], bool]]
"""Checks what the path names, and returns which videos that is."""


def _asset(request: DataRequest) -> Callable[[Video], bool]:
    asset = request.call.environment.asset(request.call.params["ASSET_ID"])
    return lambda video: video.asset_id == asset.id


def _playback_id(request: DataRequest) -> Callable[[Video], bool]:
    playback_id = request.call.params["PLAYBACK_ID"]
    if not is_well_formed(playback_id):
        raise invalid(f'Playback id "{playback_id[:80]}" was invalid')
    if playback_id not in request.call.environment.playback:
        raise not_found()
    return lambda video: video.playback_id == playback_id


def _video(request: DataRequest) -> Callable[[Video], bool]:
    video_id = request.call.params["VIDEO_ID"]
    if not any(video.video_id == video_id for video in request.dataset.videos):
        raise not_found()
    return lambda video: video.video_id == video_id


def _watched(request: DataRequest, subject: Subject) -> tuple[list[View], int]:
    """Return the views of the video in the period, and its duration in milliseconds: 0 if no view watched any of it."""
    is_it = subject(request)
    views = [view for view in request.views(request.timeframe(), ()) if is_it(view.video)]
    durations = [view.video.video_duration or 0 for view in views]
    return views, max(durations, default=0)


def _heat(views: Sequence[View], duration: int, parts: int) -> list[float]:
    """How often an average view plays each of *parts* equal parts of the video."""
    if not duration:
        return [0.0] * parts
    size = duration / parts
    edges, whole = [0.0] * parts, [0] * (parts + 1)  # parts that a range covers partly; steps of those that it covers wholly
    for view in views:
        for start, end in view.playback.watched_ranges:
            first, last = int(start / size), min(parts - 1, int((end - 1) / size))
            if first == last:
                edges[first] += (end - start) / size
                continue
            edges[first] += first + 1 - start / size
            edges[last] += end / size - last
            whole[first + 1] += 1
            whole[last] -= 1
    return [(edge + covered) / len(views) for edge, covered in zip(edges, accumulate(whole), strict=False)]


def _heatmap(subject: Subject, request: DataRequest) -> Response:
    views, duration = _watched(request, subject)
    parts = min(MAX_PARTS, max(MIN_PARTS, duration // 1000))
    value = [round(heat, 6) for heat in _heat(views, duration, parts)]
    return envelope({"total_views": len(views), "value": value}, request.timeframe())


def _hotspots(subject: Subject, request: DataRequest) -> Response:
    limit = min(MAX_LIMIT, request.query.whole("limit", _DEFAULT_LIMIT))
    descending = request.query.descending("desc")
    views, duration = _watched(request, subject)
    parts = min(_HOTSPOTS, duration)
    heat = _heat(views, duration, parts)
    most = max(heat, default=0.0) or 1.0
    spots = [
        {"start_ms": n * duration // parts, "end_ms": (n + 1) * duration // parts, "score": round(value / most, 6)}
        for n, value in enumerate(heat)
    ]
    spots.sort(key=lambda spot: spot["start_ms"])
    spots.sort(key=lambda spot: spot["score"], reverse=descending)
    return envelope({"total_views": len(views), "hotspots": spots[:limit]}, request.timeframe())


def _operations(path: str, subject: Subject) -> tuple[Operation, ...]:
    base = f"/data/v1/engagement/{path}"
    return (
        ("GET", f"{base}/heatmap", partial(_heatmap, subject)),
        ("GET", f"{base}/hotspots", partial(_hotspots, subject)),
    )


OPERATIONS: tuple[Operation, ...] = (
    *_operations("assets/{ASSET_ID}", _asset),
    *_operations("playback-ids/{PLAYBACK_ID}", _playback_id),
    *_operations("videos/{VIDEO_ID}", _video),
)
