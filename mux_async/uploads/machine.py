"""The resumable upload protocol as a state machine, without I/O.

A direct upload URL is a session that takes the file in chunks and stores how many bytes it holds (facts/BEHAVIOUR.md, section 5.2). The
machine returns one action at a time and receives its result; the runner sends and waits. Rules:

1. The only valid offset is what the server reports. After a broken connection, a 5xx or an invalid response, the server is asked for
   its offset before another byte is sent.
2. The upload is complete only if the server says so, and only after the last byte was sent.
3. Every loop is bounded: *max_failures* attempts in a row without progress end the upload, and so does a server that keeps losing bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Final, TypeAlias

import attrs
import msgspec

__all__ = [
    "DEFAULT_CHUNK_SIZE",
    "GRANULE",
    "MAX_CHUNK_SIZE",
    "MIN_CHUNK_SIZE",
    "ConnectionFailed",
    "QueryOffset",
    "ResponseReceived",
    "SendChunk",
    "UploadAction",
    "UploadDone",
    "UploadEvent",
    "UploadFailed",
    "UploadMachine",
    "UploadState",
    "Wait",
    "WaitEnded",
]

GRANULE: Final = 256 * 1024
"""Every chunk but the last is a multiple of this (facts/BEHAVIOUR.md, section 5.2)."""
MIN_CHUNK_SIZE: Final = GRANULE
"""The smallest chunk, in bytes; sizes are multiples of it."""
DEFAULT_CHUNK_SIZE: Final = 8 * 1024 * 1024
"""Bytes of a chunk where nothing else is set."""
MAX_CHUNK_SIZE: Final = 64 * 1024 * 1024
"""The largest chunk, in bytes."""

_CHUNK_TIME: Final = 8.0
"""Seconds a chunk should take: long compared with a round trip, short enough to be sent again."""
_FIRST_DELAY = 0.5
_MAX_DELAY = 30.0
_MAX_RETRY_AFTER = 120.0
_COMPLETE = frozenset({200, 201, 202, 204})
_GONE = frozenset({404, 410, 499})
_RANGE = re.compile(r"bytes=0-(\d{1,18})\Z")


@attrs.frozen
class UploadState:
    """The progress of an upload. Small and serialisable; does not contain the URL.

    Attributes:
        size: Size of the source in bytes, at least 1.
        offset: Bytes that the server last reported to hold.
        reached: Bytes that may have reached the server, at least `offset`.
        chunk_size: Bytes of the next chunk, a multiple of 256 KiB; adapts.
        is_sure: Whether `offset` is known to be current, so that the server need not be asked.
        crc: CRC-32 of the first `offset` bytes as they were sent; ``None`` if not known.
        version: Version of the source that was sent, an opaque string; ``None`` if the source has none.
    """

    size: int
    offset: int = 0
    reached: int = 0
    chunk_size: int = DEFAULT_CHUNK_SIZE
    is_sure: bool = True
    crc: int | None = None
    version: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}; an upload has at least 1 byte")
        if not 0 <= self.offset <= self.reached <= self.size:
            raise ValueError(f"offset {self.offset} and reached {self.reached} do not lie in order within {self.size}")
        if self.chunk_size % GRANULE or not MIN_CHUNK_SIZE <= self.chunk_size <= MAX_CHUNK_SIZE:
            raise ValueError(f"chunk_size is {self.chunk_size}; it must be a multiple of {GRANULE}, at most {MAX_CHUNK_SIZE}")
        if self.crc is not None and not 0 <= self.crc < 1 << 32:
            raise ValueError(f"crc is {self.crc}; it must be a number of 32 bits")

    def to_dict(self) -> dict[str, int | str]:
        """Return what another process needs to resume: ``size``, ``offset``, ``chunk_size``, and if known ``crc`` and ``version``."""
        known = {
            "size": self.size,
            "offset": self.offset,
            "chunk_size": self.chunk_size,
            "crc": self.crc,
            "version": self.version,
        }
        return {name: value for name, value in known.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> UploadState:
        """Return the state to resume with, from the result of `to_dict`.

        The server will be asked for its offset first, since bytes may have been sent after the state was stored.

        Raises:
            ValueError: A member is missing or out of range.
        """
        members = {name: data.get(name) for name in ("size", "offset", "chunk_size", "crc", "version")}
        try:
            return msgspec.convert({**members, "reached": members["size"], "is_sure": False}, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"a stored upload is invalid: {error}") from None

    @classmethod
    def unknown(cls, size: int, chunk_size: int = DEFAULT_CHUNK_SIZE) -> UploadState:
        """Return the state of a session with an unknown offset."""
        return cls(size=size, reached=size, chunk_size=chunk_size, is_sure=False)


@attrs.frozen
class SendChunk:
    """Send bytes *first* to *last*, both included, of *size*."""

    first: int
    last: int
    size: int

    @property
    def content_range(self) -> str:
        """Value of ``Content-Range``."""
        return f"bytes {self.first}-{self.last}/{self.size}"

    @property
    def length(self) -> int:
        """Bytes in the chunk."""
        return self.last - self.first + 1


@attrs.frozen
class QueryOffset:
    """Send an empty PUT that asks how many of *size* bytes the server holds."""

    size: int

    @property
    def content_range(self) -> str:
        """Value of ``Content-Range``."""
        return f"bytes */{self.size}"


@attrs.frozen
class Wait:
    """Wait *delay* seconds, then pass `WaitEnded` to the machine."""

    delay: float


@attrs.frozen
class UploadDone:
    """The server has every byte."""


@attrs.frozen
class UploadFailed:
    """The upload failed.

    Attributes:
        reason: What happened; part of a sentence.
        is_resumable: Whether the same session may be resumed later.
        is_gone: Whether the session no longer exists, so that a new upload is needed.
    """

    reason: str
    is_resumable: bool
    is_gone: bool = False


UploadAction: TypeAlias = SendChunk | QueryOffset | Wait | UploadDone | UploadFailed
"""What to do next for an upload."""


@attrs.frozen
class ResponseReceived:
    """The server responded to the chunk or the query.

    Attributes:
        status: HTTP status.
        range: Value of the ``Range`` header; ``None`` if absent, which means that the server holds nothing.
        elapsed: Seconds from sending the request to the response.
        retry_after: Seconds that the server asked to wait; ``None`` if it did not.
    """

    status: int
    range: str | None
    elapsed: float
    retry_after: float | None = None


@attrs.frozen
class ConnectionFailed:
    """No response arrived.

    Attributes:
        reason: What happened; part of a sentence.
        is_sent: Whether any byte may have reached the server.
    """

    reason: str
    is_sent: bool = True


@attrs.frozen
class WaitEnded:
    """The wait has ended."""


UploadEvent: TypeAlias = ResponseReceived | ConnectionFailed | WaitEnded
"""What happened to an upload."""


class UploadMachine:
    """Decides on the actions of one upload.

    Args:
        state: The progress to start from.
        random: Source of jitter.
        max_failures: Attempts in a row without progress after which the upload fails.
        max_chunk_size: Bytes of the largest chunk, a multiple of 256 KiB. May be changed between `receive` and `next_action`.
    """

    def __init__(
        self, state: UploadState, *, random: Random, max_failures: int = 10, max_chunk_size: int = MAX_CHUNK_SIZE
    ) -> None:
        self.state: UploadState = state
        self.max_chunk_size = max_chunk_size
        self._random = random
        self._max_failures = max_failures
        self._failures = self._losses = 0
        self._delay: float | None = None
        self._end: UploadDone | UploadFailed | None = None

    def next_action(self) -> UploadAction:
        """Return what to do now; the same until the next `receive`."""
        if self._end is not None:
            return self._end
        if self._delay is not None:
            return Wait(self._delay)
        state = self.state
        if not state.is_sure:
            return QueryOffset(state.size)
        chunk_size = min(state.chunk_size, self.max_chunk_size)
        return SendChunk(state.offset, min(state.offset + chunk_size, state.size) - 1, state.size)

    def receive(self, event: UploadEvent) -> None:
        """Process the result of the action that `next_action` returned."""
        action = self.next_action()
        match action, event:
            case Wait(), WaitEnded():
                self._delay = None
            case SendChunk(), ResponseReceived():
                self._mark_sent(action)
                self._on_chunk_response(action, event)
            case QueryOffset(), ResponseReceived():
                self._on_query_response(event)
            case SendChunk(), ConnectionFailed():
                if event.is_sent:
                    self._mark_sent(action)
                    self._mark_unsure()
                self._shrink()
                self._fail(event.reason)
            case QueryOffset(), ConnectionFailed():
                self._fail(event.reason)
            case _:
                raise RuntimeError(f"{type(event).__name__} is not a result of {type(action).__name__}")

    def _on_chunk_response(self, chunk: SendChunk, response: ResponseReceived) -> None:
        if response.status in _COMPLETE and chunk.last + 1 == chunk.size:
            self._finish()
        elif response.status == 308:
            held = self._held(response)
            if held == chunk.last + 1:
                self._adapt(chunk.length, response.elapsed)
            self._move_to(held)
        elif response.status in _COMPLETE:
            self._mark_unsure()
            self._fail(f"the server answered {response.status} to a chunk that was not the last")
        else:
            self._on_error_response(response)

    def _on_query_response(self, response: ResponseReceived) -> None:
        if response.status in _COMPLETE and self.state.reached == self.state.size:
            self._finish()
        elif response.status in _COMPLETE:
            reason = "the server has the whole file, but its end was not sent from here: something else writes to this upload"
            self._end = UploadFailed(reason, is_resumable=False)
        elif response.status == 308:
            self._move_to(self._held(response), is_query=True)
        else:
            self._on_error_response(response)

    def _on_error_response(self, response: ResponseReceived) -> None:
        status = response.status
        if status in _GONE:
            self._end = UploadFailed(f"the upload URL has expired or was used up ({status})", is_resumable=False, is_gone=True)
        elif status in {408, 429} or status >= 500:
            self._mark_unsure()
            self._shrink()
            self._fail(f"the server answered {status}", response.retry_after)
        else:
            self._end = UploadFailed(f"the server refused with {status}", is_resumable=False)

    def _held(self, response: ResponseReceived) -> int | None:
        """Return the number of held bytes that a 308 response reports; ``None`` if its header is invalid."""
        if response.range is None:
            return 0
        found = _RANGE.match(response.range.strip())
        return int(found[1]) + 1 if found else None

    def _move_to(self, held: int | None, *, is_query: bool = False) -> None:
        state = self.state
        if held is None:
            self._mark_unsure()
            self._fail("the server's Range header is invalid")
        elif held > state.reached:
            reason = f"the server holds {held} bytes, but only {state.reached} were sent: something else writes to this upload"
            self._end = UploadFailed(reason, is_resumable=False)
        elif held == state.size:
            self.state = attrs.evolve(state, offset=held, is_sure=False)
            self._fail("the server holds every byte but does not report the upload as complete")
        else:
            gained = held - state.offset
            self.state = attrs.evolve(state, offset=held, is_sure=True)
            if gained > 0:
                self._failures = 0
            elif gained < 0:
                self._losses += 1
                if self._losses > self._max_failures:
                    self._end = UploadFailed("the server keeps losing bytes it had confirmed", is_resumable=True)
            elif not is_query:  # a query follows a failure that is already counted
                self._shrink()
                self._fail("the server kept no byte of a chunk")

    def _mark_sent(self, chunk: SendChunk) -> None:
        self.state = attrs.evolve(self.state, reached=max(self.state.reached, chunk.last + 1))

    def _mark_unsure(self) -> None:
        self.state = attrs.evolve(self.state, is_sure=False)

    def _finish(self) -> None:
        self.state = attrs.evolve(self.state, offset=self.state.size, is_sure=True)
        self._end = UploadDone()

    def _adapt(self, length: int, elapsed: float) -> None:
        """Adapt the chunk size to `_CHUNK_TIME`, by at most a factor of two: a single measurement is unreliable."""
        if length < self.state.chunk_size and elapsed < _CHUNK_TIME:
            return  # the chunk was limited by `max_chunk_size`, so its time is no reason for smaller chunks
        ideal = int(length * _CHUNK_TIME / elapsed) if elapsed > 0 else MAX_CHUNK_SIZE
        bounded = max(length // 2, min(ideal, length * 2), MIN_CHUNK_SIZE)
        self.state = attrs.evolve(self.state, chunk_size=min(bounded, MAX_CHUNK_SIZE) // GRANULE * GRANULE)

    def _shrink(self) -> None:
        half = self.state.chunk_size // 2 // GRANULE * GRANULE
        self.state = attrs.evolve(self.state, chunk_size=max(half, MIN_CHUNK_SIZE))

    def _fail(self, reason: str, retry_after: float | None = None) -> None:
        self._failures += 1
        if self._failures > self._max_failures:
            self._end = UploadFailed(f"{reason}, {self._failures} times in a row", is_resumable=True)
            return
        delay = self._random.random() * min(_FIRST_DELAY * 2.0 ** (self._failures - 1), _MAX_DELAY)
        if retry_after is not None:
            delay = max(delay, min(retry_after, _MAX_RETRY_AFTER))
        self._delay = delay
