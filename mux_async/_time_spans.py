"""Time spans in the forms that Mux's own clients accept (facts/signed-urls.json, ``time_span``), and a few more."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, TypeAlias

from mux_async.errors import InvalidRequestError

TimeSpan: TypeAlias = int | float | str | timedelta
"""Seconds; text such as ``"90"`` (seconds), ``"30s"``, ``"5 min"``, ``"7d"``, ``"2h30m"``; or a `timedelta`."""

MAX_SECONDS: Final = 100 * 365 * 86_400
MAX_BARE: Final = 10 * 365 * 86_400
"""Seconds of a span without a unit. The current Unix time is larger than that, and so is a week in milliseconds."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_PART: Final = re.compile(
    r"([0-9]+)\s*(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w|years?|yrs?|y)(?![a-z])\s*"
)


def seconds(span: TimeSpan, name: str = "expires_in") -> int:
    """Return a span in whole seconds; fractions of a second are dropped.

    Every span that Mux's Node client accepts means the same here, except for those that it accepts by accident (``""``, ``"0x10"``,
    ``"-5"``), which are refused. Several units in a row (``"2h30m"``) are an addition.

    Args:
        span: See `TimeSpan`. Units are lower-case; a year has 365 days.
        name: Name of the argument, for error messages.

    Raises:
        InvalidRequestError: It is not a time span, or is below a second or above 100 years; or it is a number of seconds without a unit
            above ten years, which is a Unix time or milliseconds by mistake.
    """
    found = _parse(span)
    if found is None:
        raise InvalidRequestError(
            f"{name} is {span!r:.80}, which is not a time span; write seconds (3600), text like '7d', '90 min' or '2h30m', or a timedelta"
        )
    if _is_bare(span) and MAX_BARE < found <= MAX_SECONDS:
        raise InvalidRequestError(
            f"{name} is {span!r:.80}, more than ten years: it is the lifetime of the token in seconds, not the time at which it expires. "
            f"For a Unix time subtract the current time ({name}=at - time.time()); for such a long lifetime write the unit, as in '40y'"
        )
    if not 1 <= found <= MAX_SECONDS:
        raise InvalidRequestError(
            f"{name} is {span!r:.80}; it must be from 1 second to 100 years, and is neither a Unix time nor milliseconds"
        )
    return int(found)


def _is_bare(span: object) -> bool:
    return isinstance(span, int | float | timedelta) or (isinstance(span, str) and span.strip().isdigit())


def _parse(span: object) -> float | None:
    match span:
        case bool():
            return None
        case int() | float():
            return span
        case timedelta():
            return span.total_seconds()
        case str() if len(span) <= 100:
            return _parse_text(span.strip())
        case _:
            return None


def _parse_text(text: str) -> float | None:
    if text.isascii() and text.isdigit():
        return int(text)
    total, position = 0, 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            return None
        total += int(part[1]) * _UNITS[part[2][0]]
        position = part.end()
    return total if text else None
