"""From values to what JSON can hold: models, mappings, sequences, times, secrets, and plain values of other libraries."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, cast
from urllib.parse import ParseResult, SplitResult

from mux_async._models.times import write_day, write_seconds
from mux_async._types import UNSET, Secret
from mux_async.errors import InvalidRequestError


class Serializable:
    """What writes itself as a JSON object: the base of `mux_async.models.Model`."""

    __slots__ = ()

    def _members(self, where: str) -> dict[str, object]:
        """Return the members of the JSON object; *where* names the object in an error."""
        raise NotImplementedError


def to_wire(value: object, where: str = "body") -> object:
    """Turn an argument into what JSON can hold.

    Models become objects (as `Model.to_wire` says), mappings too, without their ``UNSET`` members; sequences become lists, times become
    integers of Unix seconds, dates ISO 8601, secrets their text, enum members their value.

    Args:
        value: An argument, or a part of one.
        where: What to call it in an error.

    Raises:
        InvalidRequestError: Some part has no JSON form (not a number, a set, bytes, ...), or the whole contains itself.
    """
    try:
        return write_value(value, where)
    except RecursionError:
        raise InvalidRequestError(f"{where} contains itself, or is nested too deeply to be sent") from None


def write_value(value: object, where: str) -> object:
    """Write any part of an argument; `to_wire` guards it against endless recursion."""
    kind = type(value)
    if kind is str:  # nearly all values are of these three types, and the match below takes longer
        return check_text(cast("str", value), where)
    if kind is list:
        return _write_array(cast("list[object]", value), where)
    if kind is dict:
        return write_object(cast("dict[object, object]", value), where)
    match value:
        case None | bool():
            return value
        case Serializable():
            return value._members(where)  # pyright: ignore[reportPrivateUsage] - of this module's own class
        case enum.Enum():
            return write_value(value.value, where)
        case str():
            return check_text(value, where)
        case int():
            if not -(2**63) <= value < 2**64:
                raise InvalidRequestError(f"{where} is {value!r:.40}, which is larger than JSON numbers are read by the server")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise InvalidRequestError(f"{where} is {value!r}, and JSON has no such number")
            return float(value)
        case Secret():
            return check_text(value.reveal(), where)
        case date():
            return write_time(value, write_seconds if isinstance(value, datetime) else write_day, where)
        case bytes() | bytearray() | memoryview():
            raise InvalidRequestError(f"{where} is bytes, and JSON holds text; decode it first")
        case Mapping():
            return write_object(cast("Mapping[object, object]", value), where)
        case SplitResult() | ParseResult():  # a URL, and not a list
            return check_text(value.geturl(), where)
        case Sequence():
            return _write_array(cast("Sequence[object]", value), where)
        case _:
            from mux_async._models.plain_values import UNKNOWN, plain

            if (known := plain(value, where)) is not UNKNOWN:
                return write_value(known, where)
            hint = "; pass a list" if issubclass(kind, set | frozenset) else ""
            raise InvalidRequestError(f"{where} is of type {kind.__name__}, which JSON cannot hold{hint}")


def _write_array(value: Sequence[object], where: str) -> list[object]:
    return [write_value(item, f"{where}[{index}]") for index, item in enumerate(value)]


def write_object(value: Mapping[object, object], where: str) -> dict[str, object]:
    """Write a mapping, without its ``UNSET`` members."""
    members: dict[str, object] = {}
    for name, member in value.items():
        if not isinstance(name, str):
            raise InvalidRequestError(f"{where} has the key {name!r:.40}; keys of a JSON object are text")
        if member is not UNSET:
            members[check_text(name, where)] = write_value(member, f"{where}.{name}")
    return members


def write_time(value: date, write: Callable[[Any], object], where: str) -> object:
    """Return *value* as *write* writes it.

    Raises:
        InvalidRequestError: It is not the kind of time that *write* writes, or has no time zone.
    """
    if not isinstance(value, datetime):
        if write is not write_day:
            raise InvalidRequestError(f"{where} is a date, and a moment belongs there; pass a datetime with a time zone")
    elif value.tzinfo is None:
        raise InvalidRequestError(f"{where} is a datetime without a time zone; add one, as in datetime.now(UTC)")
    return write(value)


def check_text(value: str, where: str) -> str:
    """Return *value* as plain text.

    Raises:
        InvalidRequestError: It cannot be written in UTF-8.
    """
    text = str(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidRequestError(f"{where} holds half a character (a lone surrogate), which UTF-8 cannot carry") from None
    return text


def listed(value: object, member: str) -> object:
    """Spell out a shorthand: text, alone or in a list, stands for an object with one *member*. For generated code."""
    if isinstance(value, str):
        return [{member: value}]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        items = cast("Sequence[object]", value)
        return [{member: item} if isinstance(item, str) else item for item in items]
    return value
