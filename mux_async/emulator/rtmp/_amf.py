"""AMF0, the encoding of RTMP commands (Adobe's specification of December 2007), as far as encoders use it.

Numbers are floats, objects and ECMA arrays are dicts, strict arrays are lists, undefined and dates without meaning here become ``None``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

MAX_DEPTH: Final = 8
"""Levels of objects and arrays within each other. Encoders use two."""

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED, _ECMA_ARRAY, _END, _ARRAY, _DATE, _LONG_STRING = (
    *(0, 1, 2, 3, 5, 6, 8),
    *(9, 10, 11, 12),
)


class AmfError(Exception):
    """Bytes that are not AMF0, or nest too deeply."""


def decode_amf(data: bytes) -> list[Any]:
    """Return all values of a message. Raises `AmfError`."""
    reader, values = _Reader(data), list[Any]()
    while not reader.is_at_end:
        values.append(reader.value(0))
    return values


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._data)

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise AmfError("a value ends too early")
        self._at += size
        return taken

    def _number(self, format: str) -> Any:
        return struct.unpack(format, self._take(struct.calcsize(format)))[0]

    def _text(self, length_format: str) -> str:
        return self._take(self._number(length_format)).decode("utf-8", "replace")

    def value(self, depth: int) -> Any:
        """Read one value."""
        if depth > MAX_DEPTH:
            raise AmfError(f"values nest more than {MAX_DEPTH} levels deep")
        kind = self._take(1)[0]
        if kind == _NUMBER:
            return self._number(">d")
        if kind == _BOOLEAN:
            return self._take(1) != b"\0"
        if kind in {_STRING, _LONG_STRING}:
            return self._text(">H" if kind == _STRING else ">I")
        if kind in {_NULL, _UNDEFINED}:
            return None
        if kind == _DATE:
            return self._take(10) and None
        if kind == _ARRAY:
            # Every item takes a byte or more, so that a false count ends at the end of the message.
            return [self.value(depth + 1) for _ in range(self._number(">I"))]
        if kind in {_OBJECT, _ECMA_ARRAY}:
            if kind == _ECMA_ARRAY:
                self._take(4)  # a count, which is often wrong
            return self._members(depth)
        raise AmfError(f"there is no type {kind}")

    def _members(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while True:
            name = self._text(">H")
            if not name and self._data[self._at : self._at + 1] == bytes([_END]):
                self._at += 1
                return members
            members[name] = self.value(depth + 1)


def encode_amf(*values: float | bool | str | Mapping[str, Any] | None) -> bytes:
    """Return the values as a message."""
    return b"".join(map(_encoded, values))


def _encoded(value: float | bool | str | Mapping[str, Any] | None) -> bytes:
    if value is None:
        return bytes([_NULL])
    if isinstance(value, bool):
        return bytes([_BOOLEAN, value])
    if isinstance(value, int | float):
        return struct.pack(">Bd", _NUMBER, value)
    if isinstance(value, str):
        return bytes([_STRING]) + _named(value)
    members = b"".join(_named(name) + _encoded(member) for name, member in value.items())
    return bytes([_OBJECT]) + members + b"\0\0" + bytes([_END])


def _named(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw
