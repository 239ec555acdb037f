"""Reads a source piece by piece, and takes the checksum that a later run compares it with.

What is to be had without waiting is read right before it is sent. Anything else is read in worker threads, one piece ahead of what is
being sent: the event loop never waits for a disk, and a file handle is never in two threads at once. Handing over to a thread and back
costs about as much as reading the piece from memory, and two cores that work on the same bytes take longer than one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup

from mux_async.uploads._flow import LARGEST_PIECE, SMALLEST_PIECE, Flow
from mux_async.uploads._reader import Reader
from mux_async.uploads.machine import GRANULE

try:
    from isal.isal_zlib import crc32  # type: ignore[import-not-found,unused-ignore]  # four times as fast, same result
except ImportError:
    from zlib import crc32


class Checksums:
    """CRC-32 of the source up to every place where the server may stand: each multiple of 256 KiB, and the end."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {0: 0}

    def at(self, offset: int) -> int | None:
        """Return the CRC-32 of the first *offset* bytes; ``None`` when they were not all seen."""
        return self._known.get(offset)

    def trust(self, offset: int, crc: int) -> None:
        """Take note of what an earlier run knew."""
        self._known[offset] = crc

    def feed(self, offset: int, data: bytes | memoryview) -> None:
        """Take in *data*, which lies at *offset*. Without effect when the bytes before it are not known."""
        crc = self._known.get(offset)
        if crc is None:
            return
        view = memoryview(data)
        while view:
            room = GRANULE - offset % GRANULE
            crc = crc32(view[:room], crc)
            offset += len(view[:room])
            view = view[room:]
            self._known[offset] = crc

    def forget_before(self, offset: int) -> None:
        """Let go of places the server has passed."""
        self._known = {place: crc for place, crc in self._known.items() if place >= offset}


FIRST_PIECE = 512 * 1024
_LONG, _SHORT = 0.5, 0.1
"""Seconds that sending a piece may take before the next is smaller, and must stay below for the next to be larger: on a slow line progress
should still show several times a second, and on a fast one turns of the loop should be few."""


class _Fetch:
    """A piece that a thread is reading."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.data: bytes | memoryview = b""
        self.error: Exception | None = None


class ReadAhead:
    """Gives out a part of a source piece by piece.

    Args:
        reader: The source.
        flow: Decides on the size of the pieces and lends the threads.
        tasks: Owns what is being read; it is waited for there.
        checksums: Fed with everything that is read, in order; ``None`` when nobody wants to know.
    """

    def __init__(self, reader: Reader, flow: Flow, tasks: TaskGroup, checksums: Checksums | None) -> None:
        self._reader = reader
        self._flow = flow
        self.tasks = tasks
        self._checksums = checksums
        self._running: _Fetch | None = None
        self._piece_size = FIRST_PIECE

    async def pieces(self, first: int, end: int) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes from *first* up to, but not including, *end*.

        Raises:
            UploadError: The source is not what it was, or cannot be read.
        """
        if self._running is not None:
            await self._running.done.wait()  # of a chunk that was broken off: a source is read by one thread at a time
        offset = first
        coming: _Fetch | None = None
        while offset < end:
            data = None
            if coming is None and self._reader.is_at_hand:
                async with self._flow.turn:
                    data = self._read_at_once(offset, end - offset)
                    await anyio.lowlevel.checkpoint()
            if data is None:
                coming = coming or self._begin(offset, end - offset)
                await coming.done.wait()
                if coming.error is not None:
                    raise coming.error
                data = coming.data
                missing = end - offset - len(data)
                coming = self._begin(offset + len(data), missing) if missing and not self._reader.is_at_hand else None
            offset += len(data)
            started = anyio.current_time()
            yield data
            self._adapt(anyio.current_time() - started)

    def _read_at_once(self, offset: int, missing: int) -> bytes | memoryview | None:
        length = min(self._piece_size, self._flow.piece_size, self._flow.turn_size, missing)
        data = self._reader.read_at_once(offset, length)
        if data is not None and self._checksums is not None:
            self._checksums.feed(offset, data)
        return data

    def _begin(self, offset: int, missing: int) -> _Fetch:
        fetch = self._running = _Fetch()
        self.tasks.start_soon(self._fetch, fetch, offset, min(self._piece_size, self._flow.piece_size, missing))
        return fetch

    def _adapt(self, elapsed: float) -> None:
        if elapsed > _LONG:
            self._piece_size = max(self._piece_size // 2, SMALLEST_PIECE)
        elif elapsed < _SHORT:
            self._piece_size = min(self._piece_size * 2, LARGEST_PIECE)

    async def _fetch(self, fetch: _Fetch, offset: int, length: int) -> None:
        try:
            async with self._flow.remote if self._reader.is_remote else self._flow.disk:
                if self._reader.is_async:
                    data = await self._reader.read(offset, length)
                    fetch.data = await anyio.to_thread.run_sync(self._checked, offset, data)
                else:
                    fetch.data = await anyio.to_thread.run_sync(self._read, offset, length)
        except Exception as error:  # noqa: BLE001 - raised where the piece is asked for
            fetch.error = error
        finally:
            fetch.done.set()

    def _read(self, offset: int, length: int) -> bytes:
        return self._checked(offset, self._reader.read_now(offset, length))

    def _checked(self, offset: int, data: bytes) -> bytes:
        if self._checksums is not None:
            self._checksums.feed(offset, data)
        return data
