"""A parser of server-sent events: bytes in pieces of any size to messages, with bounded memory. Pure.

The format is that of the HTML standard (https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6). Lines end with
LF, CR or CRLF, also when a piece ends between the two. What follows the last blank line is not a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

_BOM: Final = b"\xef\xbb\xbf"
_LONGEST_RETRY: Final = 10
"""Digits. More of them are more than a year of milliseconds."""


@attrs.frozen
class StreamMessage:
    """One message: its event type (``message`` if it names none), and its data, which is UTF-8 where the server is right."""

    type: bytes
    data: bytes


@attrs.define(eq=False)
class EventStreamParser:
    """Reads one stream.

    Attributes:
        max_size: Bytes that a line, and the data of a message, may have. A message with more is skipped and counted.
        last_event_id: Id of the last message that was complete, as the server gave it; the standard keeps it for later messages.
        retry: Seconds to wait before connecting again, if the server has said so.
        skipped: Number of messages that were too large.
    """

    max_size: int
    last_event_id: str = ""
    retry: float | None = None
    skipped: int = 0
    _id: str | None = None
    _type: bytes = b""
    _data: list[bytes] = attrs.field(factory=list[bytes])
    _size: int = 0
    _partial: bytearray = attrs.field(factory=bytearray)
    _is_too_large: bool = False
    _is_line_too_long: bool = False
    _is_first_line: bool = True
    _ended_with_cr: bool = False

    def feed(self, chunk: bytes) -> Iterator[StreamMessage]:
        """Yield the messages that *chunk* completes. Exhaust it before the next call."""
        if not chunk:
            return
        if self._ended_with_cr:
            chunk = chunk.removeprefix(b"\n")
        self._ended_with_cr = chunk.endswith(b"\r")
        for line in chunk.splitlines(keepends=True):
            content = line.rstrip(b"\r\n")
            if len(self._partial) + len(content) > self.max_size:
                self._is_line_too_long = True
                self._partial.clear()
            if len(content) == len(line):
                if not self._is_line_too_long:
                    self._partial += content
            else:
                message = self._end_line(content)
                if message is not None:
                    yield message

    def _end_line(self, rest: bytes) -> StreamMessage | None:
        line = rest
        if self._partial:
            line = bytes(self._partial) + rest
            self._partial.clear()
        if self._is_line_too_long:
            self._is_line_too_long, self._is_first_line = False, False
            self._is_too_large = True
            return None
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._end_message()
        name, _, value = line.partition(b":")
        self._take(name, value.removeprefix(b" "))
        return None

    def _take(self, name: bytes, value: bytes) -> None:
        """Take a field. A comment has an empty name, and other names are ignored."""
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self.max_size:
                self._is_too_large = True
                self._data.clear()
            elif not self._is_too_large:
                self._data.append(value)
        elif name == b"event":
            self._type = value
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit():
            self.retry = int(value[:_LONGEST_RETRY]) / 1000

    def _end_message(self) -> StreamMessage | None:
        kind, data, is_too_large = self._type or b"message", self._data, self._is_too_large
        self._type, self._data, self._size, self._is_too_large = b"", [], 0, False
        if self._id is not None:
            self.last_event_id = self._id
        if is_too_large:
            self.skipped += 1
            return None
        return StreamMessage(kind, b"\n".join(data)) if data else None
