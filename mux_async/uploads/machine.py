"""The resumable upload, without I/O: what to do next, given what happened so far.

A direct upload URL is a session that takes the file in chunks and remembers how much it holds (facts/BEHAVIOUR.md, section 5.2). The
machine asks for one action at a time and is told how it went; whoever drives it does the sending and the waiting. Rules that
keep it honest:

1. The server's word on what it holds is the only offset there is. After any doubt (a broken connection, a 5xx, an answer that
   makes no sense) it is asked before another byte is sent.
2. The end is only what the server calls the end, and only when the last byte had been on its way.
3. Every loop is bounded: *max_failures* attempts in a row without progress end it, and a server that keeps losing bytes does too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Final, TypeAlias

import attrs

GRANULE: Final = 256 * 1024
"""Every chunk but the last is a multiple of this (facts/BEHAVIOUR.md, section 5.2)."""
MIN_CHUNK_SIZE: Final = GRANULE
DEFAULT_CHUNK_SIZE: Final = 8 * 1024 * 1024
MAX_CHUNK_SIZE: Final = 64 * 1024 * 1024

_CHUNK_TIME: Final = 8.0
"""Seconds a chunk should take: long beside the round trip that ends it, short beside what sending it again would cost."""
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_LONGEST_RETRY_AFTER = 120.0
_COMPLETE = frozenset({200, 201, 202, 204})
_GONE = frozenset({404, 410, 499})
_RANGE = re.compile(r"bytes=0-(\d{1,18})\Z")


@attrs.frozen
class UploadState:
    """How far an upload has come. Small and serialisable; the URL is not in it.

    Attributes:
        size: Bytes of the whole source, at least 1.
        offset: Bytes the server said it holds, when last asked.
        reached: Bytes that may have reached the server, at least `offset`.
        chunk_size: Bytes of the next chunk, a multiple of 256 KiB; adapts.
        is_sure: Whether `offset` needs no asking.
        crc: CRC-32 of the first `offset` bytes as they were sent; ``None`` when that is not known.
        version: Of the source as it was sent, to be compared and no more; ``None`` when the source shows none.
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
        """Return what another process needs to go on: ``size``, ``offset``, ``chunk_size``, and where known ``crc`` and ``version``."""
        known: dict[str, int | str] = {"size": self.size, "offset": self.offset, "chunk_size": self.chunk_size}
        if self.crc is not None:
            known["crc"] = self.crc
        if self.version is not None:
            known["version"] = self.version
        return known

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> UploadState:
        """Return the state to resume with, from what `to_dict` returned.

        The server is asked first, since bytes may have left after the state was taken.

        Raises:
            ValueError: A member is missing or out of range.
        """
        numbers: list[int] = []
        for name in ("size", "offset", "chunk_size"):
            value = data.get(name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} is {value!r} in a stored upload; it must be a whole number")  # noqa: TRY004
            numbers.append(value)
        size, offset, chunk_size = numbers
        crc, version = data.get("crc"), data.get("version")
        if crc is not None and (not isinstance(crc, int) or isinstance(crc, bool)):
            raise ValueError(f"crc is {crc!r} in a stored upload; it must be a whole number")
        if version is not None and not isinstance(version, str):
            raise ValueError(f"version is {version!r} in a stored upload; it must be text")
        return cls(size=size, offset=offset, reached=size, chunk_size=chunk_size, is_sure=False, crc=crc, version=version)

    @classmethod
    def unknown(cls, size: int, chunk_size: int = DEFAULT_CHUNK_SIZE) -> UploadState:
        """Return the state of a session of which nothing is known but the size of its source."""
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
    """Send an empty PUT that asks how much of *size* the server holds."""

    size: int

    @property
    def content_range(self) -> str:
        """Value of ``Content-Range``."""
        return f"bytes */{self.size}"


@attrs.frozen
class Wait:
    """Wait *delay* seconds, then report `Waited`."""

    delay: float


@attrs.frozen
class Done:
    """The server has every byte."""


@attrs.frozen
class Failed:
    """It cannot go on.

    Attributes:
        reason: What happened; part of a sentence.
        is_resumable: Whether the same session may be resumed later.
        is_gone: Whether the session no longer exists, so that only a new upload helps.
    """

    reason: str
    is_resumable: bool
    is_gone: bool = False


Action: TypeAlias = SendChunk | QueryOffset | Wait | Done | Failed


@attrs.frozen
class Answered:
    """The server answered the chunk or the query.

    Attributes:
        status: HTTP status.
        range: Value of the ``Range`` header; ``None`` when there was none, which means that nothing is held.
        elapsed: Seconds the exchange took.
        retry_after: Seconds the server asked to wait, when it did.
    """

    status: int
    range: str | None
    elapsed: float
    retry_after: float | None = None


@attrs.frozen
class Broken:
    """No answer came.

    Attributes:
        reason: What happened; part of a sentence.
        is_sent: Whether any byte may have reached the server.
    """

    reason: str
    is_sent: bool = True


@attrs.frozen
class Waited:
    """The wait is over."""


Event: TypeAlias = Answered | Broken | Waited


class UploadMachine:
    """Decides on one action after the other.

    Args:
        state: Where to begin.
        random: Source of jitter.
        max_failures: Attempts in a row without progress after which it gives up.
        max_chunk_size: Bytes of the largest chunk, a multiple of 256 KiB.

    Attributes:
        max_chunk_size: May be set between `receive` and `next_action`.
    """

    def __init__(
        self, state: UploadState, *, random: Random, max_failures: int = 10, max_chunk_size: int = MAX_CHUNK_SIZE
    ) -> None:
        self.state = state
        self._random = random
        self._max_failures = max_failures
        self.max_chunk_size = max_chunk_size
        self._failures = 0
        self._losses = 0
        self._delay: float | None = None
        self._end: Done | Failed | None = None

    def next_action(self) -> Action:
        """Return what to do now; the same until `receive` is told how it went."""
        if self._end is not None:
            return self._end
        if self._delay is not None:
            return Wait(self._delay)
        state = self.state
        if not state.is_sure:
            return QueryOffset(state.size)
        chunk_size = min(state.chunk_size, self.max_chunk_size)
        return SendChunk(state.offset, min(state.offset + chunk_size, state.size) - 1, state.size)

    def receive(self, event: Event) -> None:
        """Take note of how the action went that `next_action` returned."""
        action = self.next_action()
        match action, event:
            case Wait(), Waited():
                self._delay = None
            case SendChunk(), Answered():
                self._left(action)
                self._judge_chunk(action, event)
            case QueryOffset(), Answered():
                self._judge_query(event)
            case SendChunk(), Broken():
                if event.is_sent:
                    self._left(action)
                    self._doubt()
                self._shrink()
                self._fail(event.reason)
            case QueryOffset(), Broken():
                self._fail(event.reason)
            case _:
                raise RuntimeError(f"{type(event).__name__} does not answer {type(action).__name__}")

    def _judge_chunk(self, chunk: SendChunk, answer: Answered) -> None:
        if answer.status in _COMPLETE and chunk.last + 1 == chunk.size:
            self._finish()
        elif answer.status == 308:
            held = self._held(answer)
            if held == chunk.last + 1:
                self._adapt(chunk.length, answer.elapsed)
            self._move_to(held)
        elif answer.status in _COMPLETE:
            self._doubt()
            self._fail(f"the server answered {answer.status} to a chunk that was not the last")
        else:
            self._judge_error(answer)

    def _judge_query(self, answer: Answered) -> None:
        if answer.status in _COMPLETE:
            if self.state.reached == self.state.size:
                self._finish()
            else:
                self._end = Failed(
                    "the server says it has the whole file, and its end was never sent: something else writes to this upload",
                    is_resumable=False,
                )
        elif answer.status == 308:
            self._move_to(self._held(answer), is_query=True)
        else:
            self._judge_error(answer)

    def _judge_error(self, answer: Answered) -> None:
        status = answer.status
        if status in _GONE:
            self._end = Failed(f"the upload URL has expired or was used up ({status})", is_resumable=False, is_gone=True)
        elif status in {408, 429} or status >= 500:
            self._doubt()
            self._shrink()
            self._fail(f"the server answered {status}", answer.retry_after)
        else:
            self._end = Failed(f"the server refused with {status}", is_resumable=False)

    def _held(self, answer: Answered) -> int | None:
        """Return how many bytes a 308 says are held; ``None`` when it does not make sense."""
        if answer.range is None:
            return 0
        found = _RANGE.match(answer.range.strip())
        return int(found[1]) + 1 if found else None

    def _move_to(self, held: int | None, *, is_query: bool = False) -> None:
        state = self.state
        if held is None:
            self._doubt()
            self._fail("the server's Range header makes no sense")
        elif held > state.reached:
            self._end = Failed(
                f"the server holds {held} bytes, and only {state.reached} were sent: something else writes to this upload",
                is_resumable=False,
            )
        elif held == state.size:
            self.state = attrs.evolve(state, offset=held, is_sure=False)
            self._fail("the server holds every byte and does not call it complete")
        else:
            gained = held - state.offset
            self.state = attrs.evolve(state, offset=held, is_sure=True)
            if gained > 0:
                self._failures = 0
            elif gained < 0:
                self._losses += 1
                if self._losses > self._max_failures:
                    self._end = Failed("the server keeps losing bytes it had confirmed", is_resumable=True)
            elif not is_query:  # a query that finds nothing new was asked because of a failure that is counted already
                self._shrink()
                self._fail("the server kept nothing of a chunk")

    def _left(self, chunk: SendChunk) -> None:
        self.state = attrs.evolve(self.state, reached=max(self.state.reached, chunk.last + 1))

    def _doubt(self) -> None:
        self.state = attrs.evolve(self.state, is_sure=False)

    def _finish(self) -> None:
        self.state = attrs.evolve(self.state, offset=self.state.size, is_sure=True)
        self._end = Done()

    def _adapt(self, length: int, elapsed: float) -> None:
        """Aim at chunks that take `_CHUNK_TIME`, by at most a factor of two at a time: one measurement may be a fluke."""
        if length < self.state.chunk_size and elapsed < _CHUNK_TIME:
            return  # cut short by `max_chunk_size`: it says nothing against chunks of the size there is
        aim = int(length * _CHUNK_TIME / elapsed) if elapsed > 0 else MAX_CHUNK_SIZE
        bounded = max(length // 2, min(aim, length * 2), MIN_CHUNK_SIZE)
        self.state = attrs.evolve(self.state, chunk_size=min(bounded, MAX_CHUNK_SIZE) // GRANULE * GRANULE)

    def _shrink(self) -> None:
        half = self.state.chunk_size // 2 // GRANULE * GRANULE
        self.state = attrs.evolve(self.state, chunk_size=max(half, MIN_CHUNK_SIZE))

    def _fail(self, reason: str, retry_after: float | None = None) -> None:
        self._failures += 1
        if self._failures > self._max_failures:
            self._end = Failed(f"{reason}, {self._failures} times in a row", is_resumable=True)
            return
        delay = self._random.random() * min(_FIRST_DELAY * 2.0 ** (self._failures - 1), _LONGEST_DELAY)
        if retry_after is not None:
            delay = max(delay, min(retry_after, _LONGEST_RETRY_AFTER))
        self._delay = delay
