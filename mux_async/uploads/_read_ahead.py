"""Reads a source piece by piece, one piece ahead, and computes the checksum that a later run compares the source with.

Data that can be read without waiting is read right before it is sent. Anything else is read in worker threads, one piece ahead of the
piece being sent: the event loop never waits for a disk, and a file handle is never used by two threads at once. Threads are avoided where
possible: a hand-over to a thread and back costs about as much as reading a piece from memory.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
from anyio.abc import TaskGroup

from mux_async.uploads._reader import Reader
from mux_async.uploads._scheduler import MAX_PIECE_SIZE, MIN_PIECE_SIZE, UploadScheduler
from mux_async.uploads.machine import GRANULE

try:
    from isal.isal_zlib import crc32  # type: ignore[import-not-found,unused-ignore]  # four times as fast, same result
except ImportError:
    from zlib import crc32


class Checksums:
    """CRC-32 of the source up to each offset that the server may report: every multiple of 256 KiB, and the end."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {0: 0}

    def at(self, offset: int) -> int | None:
        """Return the CRC-32 of the first *offset* bytes; ``None`` if not all of them were read."""
        return self._known.get(offset)

    def set_known(self, offset: int, crc: int) -> None:
        """Store a checksum that an earlier run computed."""
        self._known[offset] = crc

    def update(self, offset: int, data: bytes | memoryview) -> None:
        """Add *data*, which starts at *offset*. No effect if the checksum of the bytes before it is not known."""
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
        """Drop checksums of offsets that the server has passed."""
        self._known = {known: crc for known, crc in self._known.items() if known >= offset}


FIRST_PIECE_SIZE = 512 * 1024
_SLOW, _FAST = 0.5, 0.1
"""Seconds that sending a piece took: above the first the next piece is smaller, below the second it is larger. On a slow connection
progress should be reported several times a second; on a fast one the event loop should have few iterations."""


@attrs.define(eq=False)
class _PendingRead:
    """A piece that a thread is reading or has read."""

    done: anyio.Event = attrs.field(factory=anyio.Event)
    data: bytes | memoryview = b""
    error: Exception | None = None


@attrs.define(eq=False)
class ReadAhead:
    """Yields a range of a source piece by piece."""

    _reader: Reader
    _scheduler: UploadScheduler
    tasks: TaskGroup
    """Runs the reads."""
    _checksums: Checksums | None
    """Updated with every piece, in order."""
    _running: _PendingRead | None = None
    _piece_size: int = FIRST_PIECE_SIZE

    async def pieces(self, first: int, end: int) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes from *first* up to, but not including, *end*. Raises the errors of `Reader.read_blocking`."""
        if self._running is not None:
            await self._running.done.wait()  # of a cancelled chunk: only one thread reads a source at a time
        offset = first
        pending: _PendingRead | None = None
        while offset < end:
            data = None
            if pending is None and self._reader.is_in_memory:
                async with self._scheduler.time_slice:
                    data = self._read_nowait(offset, end - offset)
                    await anyio.lowlevel.checkpoint()
            if data is None:
                pending = pending or self._start_read(offset, end - offset)
                await pending.done.wait()
                if pending.error is not None:
                    raise pending.error
                data = pending.data
                missing = end - offset - len(data)
                pending = self._start_read(offset + len(data), missing) if missing and not self._reader.is_in_memory else None
            offset += len(data)
            started = anyio.current_time()
            yield data
            self._adapt(anyio.current_time() - started)

    def _read_nowait(self, offset: int, missing: int) -> bytes | memoryview | None:
        length = min(self._piece_size, self._scheduler.piece_size, self._scheduler.time_slice_size, missing)
        data = self._reader.read_nowait(offset, length)
        if data is not None and self._checksums is not None:
            self._checksums.update(offset, data)
        return data

    def _start_read(self, offset: int, missing: int) -> _PendingRead:
        pending = self._running = _PendingRead()
        self.tasks.start_soon(self._read, pending, offset, min(self._piece_size, self._scheduler.piece_size, missing))
        return pending

    def _adapt(self, elapsed: float) -> None:
        if elapsed > _SLOW:
            self._piece_size = max(self._piece_size // 2, MIN_PIECE_SIZE)
        elif elapsed < _FAST:
            self._piece_size = min(self._piece_size * 2, MAX_PIECE_SIZE)

    async def _read(self, pending: _PendingRead, offset: int, length: int) -> None:
        def read_blocking() -> bytes:
            return self._checked(offset, self._reader.read_blocking(offset, length))

        try:
            async with self._scheduler.remote_threads if self._reader.is_remote else self._scheduler.disk_threads:
                if self._reader.is_async:
                    data = await self._reader.read(offset, length)
                    pending.data = await anyio.to_thread.run_sync(self._checked, offset, data)
                else:
                    pending.data = await anyio.to_thread.run_sync(read_blocking)
        except Exception as error:  # noqa: BLE001 - raised in `pieces`
            pending.error = error
        finally:
            pending.done.set()

    def _checked(self, offset: int, data: bytes) -> bytes:
        if self._checksums is not None:
            self._checksums.update(offset, data)
        return data
