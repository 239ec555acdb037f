"""Times as Mux writes them, converted to aware ``datetime`` values and back.

Mux sends a moment as a string of seconds (Video), an integer (Robots, webhooks), an ISO 8601 string (webhook endpoints, annotations,
event envelopes) or a pair of seconds and nanoseconds (older webhooks): facts/README.md, *Oddities*, and facts/BEHAVIOUR.md, 1.5 and 7.2.
Endpoints serialise times differently, so every field accepts all of these forms. It is written in its own form.

A reader takes the received value, the overrides of the object, and the name of the field. If the field's own form would not give back the
received value, the reader stores that in the overrides. A value that is not a time is returned unchanged, and stored there too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, cast

from mux_async._models.fields import Converted, Overrides

_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_from_timestamp = datetime.fromtimestamp


def seconds(raw: Any, overrides: Overrides, name: str) -> Any:
    """Read a field that is written as an integer of Unix seconds."""
    if raw.__class__ is int:
        try:
            return _from_timestamp(raw, UTC)
        except (ValueError, OverflowError, OSError):
            pass
    return None if raw is None else _read(raw, overrides, name, write_seconds)


def seconds_text(raw: Any, overrides: Overrides, name: str) -> Any:
    """Read a field that is written as a string of Unix seconds."""
    if raw.__class__ is str:
        try:
            value = int(raw)
            if str(value) == raw:
                return _from_timestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            pass
    return None if raw is None else _read(raw, overrides, name, write_seconds_text)


def iso(raw: Any, overrides: Overrides, name: str) -> Any:
    """Read a field that is written as an ISO 8601 string."""
    if raw.__class__ is str and len(raw) == 20 and raw[19] == "Z" and raw[10] == "T" and raw[7] == "-":
        # Exactly as `write_iso` writes it: YYYY-MM-DDTHH:MM:SSZ. (A date by week would have a digit where the second hyphen is.)
        try:
            return datetime.fromisoformat(raw)
        except ValueError:
            pass
    return None if raw is None else _read(raw, overrides, name, write_iso)


def day(raw: Any, overrides: Overrides, name: str) -> Any:
    """Read a field that is written as an ISO 8601 date; a moment is read as its day in UTC."""
    if raw is None:
        return None
    moment = parse_time(raw)
    if moment is None:
        overrides[name] = raw
        return raw
    value = moment.date()
    if value.isoformat() != raw:
        overrides[name] = raw
    return value


def _read(raw: object, overrides: Overrides, name: str, write: Callable[[datetime], object]) -> object:
    value = parse_time(raw)
    if value is None:
        overrides[name] = raw  # as it reads; it marks the object as unusual, so that the drift is noticed
        return raw
    written = write(value)
    if written != raw or written.__class__ is not raw.__class__:
        overrides[name] = raw
    return value


def parse_time(raw: object) -> datetime | None:
    """Read a moment in any of Mux's ways of writing one.

    Returns:
        An aware ``datetime`` in UTC, cut to microseconds; ``None`` if *raw* is not a time. Text without an offset is taken as UTC.
    """
    try:
        if isinstance(raw, str):
            if _NUMBER.fullmatch(raw):
                return _from_timestamp(float(raw) if "." in raw else int(raw), UTC)
            value = datetime.fromisoformat(raw)
            return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            return _from_timestamp(raw, UTC)
        if isinstance(raw, Mapping):
            pair = cast("Mapping[str, object]", raw)
            whole, nanos = pair.get("seconds"), pair.get("nanos", 0)
            if isinstance(whole, str) and _NUMBER.fullmatch(whole):
                whole = int(whole)
            if isinstance(whole, int) and isinstance(nanos, int) and pair.keys() <= {"seconds", "nanos"}:
                return _from_timestamp(whole, UTC).replace(microsecond=nanos // 1000)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def parse_http_date(text: str | None) -> float | None:
    """Read the date of an HTTP header (RFC 9110, section 5.6.7).

    Returns:
        Seconds since 1970; ``None`` when *text* is absent or no date. A date without a usable zone is GMT, the only zone HTTP has.
    """
    if text is None:
        return None
    from email.utils import parsedate_to_datetime  # rarely needed, and it brings a good part of the email package

    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def write_seconds(value: datetime) -> int:
    """Write Unix seconds; a fraction is cut off."""
    return math.floor(value.timestamp())


def write_seconds_text(value: datetime) -> str:
    """Write Unix seconds as a string; a fraction is cut off."""
    return str(math.floor(value.timestamp()))


def write_iso(value: datetime) -> str:
    """Write ISO 8601 in UTC, ending in ``Z``."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def write_day(value: date) -> str:
    """Write an ISO 8601 date; of a moment, the day it is in UTC."""
    return (value.astimezone(UTC).date() if isinstance(value, datetime) else value).isoformat()


_DECODED: Final = int | float | str
"""What a time is decoded as: other forms are rare, and are decoded as a dictionary (`mux_async._models.struct_decoder`)."""

SECONDS: Final = Converted(_DECODED, seconds, write_seconds)
"""An integer of Unix seconds."""
SECONDS_TEXT: Final = Converted(_DECODED, seconds_text, write_seconds_text)
"""A string of Unix seconds."""
ISO: Final = Converted(_DECODED, iso, write_iso)
"""An ISO 8601 string."""
DAY: Final = Converted(_DECODED, day, write_day)
"""An ISO 8601 date."""
