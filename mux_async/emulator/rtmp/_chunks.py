"""Chunk streams (RTMP 1.0, section 5.3): messages cut into chunks, whose headers leave out what they share with the chunk before.

Memory is bounded, whatever is received: by the size of a message, the number of chunk streams, and the bytes of unfinished messages.
"""

from __future__ import annotations

from typing import Final

import attrs

FIRST_CHUNK_SIZE: Final = 128
"""Bytes of a chunk until the sender sets another size."""
SMALLEST_CHUNK_SIZE: Final = 128
"""Section 5.4.1 asks for no less. Smaller chunks would cost more time than their bytes are worth."""
MAX_CHUNK_STREAMS: Final = 32
"""Encoders use four or five."""
MAX_PENDING: Final = 16 * 1024 * 1024
"""Bytes of unfinished messages of a connection."""
_EXTENDED: Final = 0xFFFFFF
_HEADER_SIZES: Final = (11, 7, 3, 0)


class RtmpError(Exception):
    """What was received is not RTMP, or more than is accepted. The message says what; the connection cannot go on."""


@attrs.frozen
class Message:
    """A message: its type, message stream, time in milliseconds (modulo 2**32) and body."""

    type: int
    stream: int
    timestamp: int
    body: bytes


@attrs.define
class _ChunkStream:
    """What the last header of a chunk stream said, and the unfinished message."""

    timestamp: int = 0
    delta: int = 0
    length: int = 0
    type: int = 0
    stream: int = 0
    extended: bytes = b""
    """The extended timestamp as it was sent; empty if there was none."""
    body: bytearray | None = None


class ChunkReader:
    """Puts messages together again.

    Attributes:
        max_message: Bytes that a message may have.
        chunk_size: Bytes of payload in a chunk, as the sender sets it.
    """

    def __init__(self, max_message: int) -> None:
        self.max_message = max_message
        self.chunk_size = FIRST_CHUNK_SIZE
        self._buffer = bytearray()
        self._streams: dict[int, _ChunkStream] = {}
        self._pending = 0

    @property
    def buffered(self) -> int:
        """Bytes held in memory."""
        return len(self._buffer) + self._pending

    def feed(self, data: bytes) -> None:
        """Add received bytes. Call `next_message` until it returns ``None`` afterwards."""
        self._buffer += data

    def next_message(self) -> Message | None:
        """Return the next whole message; ``None`` if more bytes are needed. Raises `RtmpError`."""
        buffer, at, message = self._buffer, 0, None
        while message is None:
            taken, message = self._chunk(buffer, at)
            if not taken:
                break
            at += taken
        del buffer[:at]
        return message

    def abort(self, chunk_stream: int) -> None:
        """Drop the unfinished message of a chunk stream (section 5.4.2)."""
        stream = self._streams.get(chunk_stream)
        if stream is not None and stream.body is not None:
            self._pending -= len(stream.body)
            stream.body = None

    def _chunk(self, buffer: bytearray, at: int) -> tuple[int, Message | None]:
        """Read the chunk at an offset: return its size, 0 if it is incomplete, and the message that it completes."""
        available = len(buffer) - at
        if not available:
            return 0, None
        kind, number, size = buffer[at] >> 6, buffer[at] & 63, 1
        if number < 2:  # the number takes one or two more bytes
            size = 2 + number
            if available < size:
                return 0, None
            number = 64 + int.from_bytes(buffer[at + 1 : at + size], "little")
        header_size = _HEADER_SIZES[kind]
        header = bytes(buffer[at + size : at + size + header_size])
        if len(header) < header_size:
            return 0, None
        size += header_size
        stream = self._streams.get(number)
        if stream is None:
            if kind:
                raise RtmpError("the first chunk of a chunk stream has no full header")
            if len(self._streams) >= MAX_CHUNK_STREAMS:
                raise RtmpError(f"there are more than {MAX_CHUNK_STREAMS} chunk streams")
            stream = _ChunkStream()
        extended = bytes(buffer[at + size : at + size + 4])
        if kind < 3:
            has_extended = header[:3] == b"\xff\xff\xff"
        else:
            # Some encoders repeat an extended timestamp in the other chunks of a message, and some do not.
            has_extended = bool(stream.extended) and (len(extended) < 4 or extended == stream.extended)
        if has_extended:
            if len(extended) < 4:
                return 0, None
            size += 4
        starts = stream.body is None or kind < 3
        length = int.from_bytes(header[3:6], "big") if kind < 2 else stream.length
        if starts and length > self.max_message:
            raise RtmpError(f"a message has {length} bytes; at most {self.max_message} are accepted")
        done = 0 if starts or stream.body is None else len(stream.body)
        payload_size = min(self.chunk_size, length - done)
        if available < size + payload_size:
            return 0, None
        self._streams[number] = stream
        if starts:
            self.abort(number)
            self._begin(stream, kind, header, extended if has_extended else b"", length)
        assert stream.body is not None  # noqa: S101 - set by `_begin`, or before
        stream.body += buffer[at + size : at + size + payload_size]
        self._pending += payload_size
        if self._pending > MAX_PENDING:
            raise RtmpError(f"unfinished messages have more than {MAX_PENDING} bytes")
        return size + payload_size, self._finished(stream)

    @staticmethod
    def _begin(stream: _ChunkStream, kind: int, header: bytes, extended: bytes, length: int) -> None:
        """Apply the header of a chunk that begins a message. One with format 3 repeats the time difference before it."""
        if kind < 3:
            stream.extended = extended
            stream.delta = int.from_bytes(extended or header[:3], "big")
        if kind == 0:
            stream.timestamp, stream.stream = stream.delta, int.from_bytes(header[7:11], "little")
        else:
            stream.timestamp = (stream.timestamp + stream.delta) & 0xFFFFFFFF
        if kind < 2:
            stream.length, stream.type = length, header[6]
        stream.body = bytearray()

    def _finished(self, stream: _ChunkStream) -> Message | None:
        if stream.body is None or len(stream.body) < stream.length:
            return None
        self._pending -= len(stream.body)
        body, stream.body = bytes(stream.body), None
        return Message(stream.type, stream.stream, stream.timestamp, body)


def chunks(message: Message, chunk_stream: int, chunk_size: int) -> bytes:
    """Return a message as chunks. *chunk_stream* is from 2 to 63."""
    is_extended = message.timestamp >= _EXTENDED
    extended = message.timestamp.to_bytes(4, "big") if is_extended else b""
    head = bytes([chunk_stream]) + min(message.timestamp, _EXTENDED).to_bytes(3, "big") + len(message.body).to_bytes(3, "big")
    made = bytearray(head + bytes([message.type]) + message.stream.to_bytes(4, "little") + extended)
    made += message.body[:chunk_size]
    for at in range(chunk_size, len(message.body), chunk_size):
        made += bytes([0xC0 | chunk_stream]) + extended + message.body[at : at + chunk_size]
    return bytes(made)
