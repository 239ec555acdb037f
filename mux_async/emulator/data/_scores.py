"""Scores of a view, 0 to 1. How Mux computes them is not public; these fall in a straight line."""

from __future__ import annotations

from collections.abc import Iterable


def _falling(value: float, best: float, worst: float) -> float:
    """1 at *best* or better, 0 at *worst* or worse, a straight line between."""
    return round(min(1.0, max(0.0, (worst - value) / (worst - best))), 6)


def startup(first_frame: float) -> float:
    """Score of the milliseconds until the first frame."""
    return _falling(first_frame, 400, 8000)


def rebuffering(share: float) -> float:
    """Score of the share of the time that was spent rebuffering."""
    return _falling(share, 0.0, 0.1)


def quality(scale: float) -> float:
    """Score of how many times as large as its pixels the video was shown."""
    return _falling(scale, 1.0, 4.0)


def playback(*, is_error: bool, is_exit: bool) -> float:
    """Score of the outcome: an error, an exit before the first frame, or neither."""
    return 0.0 if is_error else 0.5 if is_exit else 1.0


def overall(scores: Iterable[float | None]) -> float:
    """Average of the scores that a view has."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known)
