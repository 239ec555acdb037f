"""Timeframes of usage: two epoch times, or one duration before now (facts/BEHAVIOUR.md, section 3.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mux_async.emulator.http._messages import invalid

_RELATIVE = re.compile(r"(\d{1,9}):(second|minute|hour|day|week)s?")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}


def read_timeframe(values: Sequence[str], now: float) -> tuple[int, int] | None:
    """Return beginning and end in epoch seconds; ``None`` when there are no values.

    Raises:
        ApiError: 400, the values are no timeframe.
    """
    if not values:
        return None
    if len(values) == 1:
        match = _RELATIVE.fullmatch(values[0])
        if match is not None:
            return int(now) - int(match[1]) * _SECONDS[match[2]], int(now)
    elif len(values) == 2 and all(value.isascii() and value.isdigit() and len(value) < 13 for value in values):
        begin, end = int(values[0]), int(values[1])
        if begin < end:
            return begin, end
    raise invalid("timeframe must be two epoch times in order, or one duration such as 24:hours")
