"""What the uploads of one client share: upload slots, bandwidth, memory and threads, each granted in order of arrival.

One `UploadScheduler` belongs to one client in one event loop. It is fair without accounting: every upload requests one small piece at a
time, and each request goes to the end of the queue.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import attrs

from mux_async._checks import check_number, check_whole, explains_arguments
from mux_async.uploads.machine import DEFAULT_CHUNK_SIZE, GRANULE

MAX_PIECE_SIZE = 2 * 1024 * 1024
"""Bytes read and written at once: more was no faster in `benchmarks/upload.py`, and less takes more iterations of the event loop."""
MIN_PIECE_SIZE = 64 * 1024
_PIECES_PER_UPLOAD = 2
"""Pieces of one upload in memory: one being sent, one being read."""
_TIME_SLICE = 2 * 1024 * 1024
"""Bytes that all uploads together may read and write in one iteration of the event loop, during which no other task runs."""
_TIME_SLICE_READERS = 4
"""Uploads that read in one iteration of the event loop; others wait for the next, in order of arrival."""
_THROTTLE_INTERVAL = 0.05
"""Seconds of the bandwidth limit that one upload may use at a time."""
_DISK_THREADS = 4
"""Threads that read from local disks. A disk is no faster with more, and they compete for the interpreter."""
_REMOTE_THREADS = 24
"""Threads that read from remote storage and mostly wait. The program usually has 40 threads in all: some are left for other work."""


@explains_arguments
@attrs.frozen
class UploadSettings:
    """How much bandwidth, memory and concurrency the uploads of one client may use together.

    Attributes:
        max_concurrent: Uploads that send at once; others wait in order. Each uses a connection, so leave some of the transport's for
            API calls.
        max_bytes_per_second: Limit on bytes sent, shared evenly by the active uploads; ``None`` for no limit. Retransmitted bytes
            count again.
        memory: Bytes of file content held at once. An upload's share of it sets how much is read at once. Streams, which cannot be read
            again, use as much once more for the chunks that they must keep.

    Raises:
        ConfigurationError: A value is out of range.
    """

    max_concurrent: int = 64
    max_bytes_per_second: float | None = None
    memory: int = 32 * 1024 * 1024

    def __attrs_post_init__(self) -> None:
        check_whole("max_concurrent", self.max_concurrent, 1, "it must be a whole number, at least 1")
        cap = self.max_bytes_per_second
        if cap is not None:
            check_number("max_bytes_per_second", cap, "it must be above 0, or None for no cap", above=0)
        least = _PIECES_PER_UPLOAD * MIN_PIECE_SIZE
        check_whole("memory", self.memory, least, f"it must be a whole number of bytes, at least {least}")

    def open_scheduler(self, _client: object) -> UploadScheduler:
        """Return a scheduler with these settings. Passed to `Caller.local`, which keeps one for each event loop."""
        return UploadScheduler(self)


DEFAULT_UPLOAD_SETTINGS = UploadSettings()
"""What uploads may use together where a client sets nothing."""


class UploadScheduler:
    """Resources that uploads share, in one event loop.

    Attributes:
        disk_threads: Held while a thread reads from a local disk.
        remote_threads: Held while a thread reads from remote storage.
        time_slice: Held from a read in the event loop to the loop's next iteration.
    """

    def __init__(self, settings: UploadSettings = DEFAULT_UPLOAD_SETTINGS) -> None:
        self._settings = settings
        self._slots = anyio.Semaphore(settings.max_concurrent, fast_acquire=True)
        self._bandwidth = anyio.Lock(fast_acquire=True)
        self._next_send_at = -math.inf
        self._active = 0
        self.disk_threads: anyio.Semaphore = anyio.Semaphore(_DISK_THREADS, fast_acquire=True)
        self.remote_threads: anyio.Semaphore = anyio.Semaphore(_REMOTE_THREADS, fast_acquire=True)
        self.time_slice: anyio.Semaphore = anyio.Semaphore(_TIME_SLICE_READERS, fast_acquire=True)

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None, None]:
        """Hold one of the upload slots; waits for a free one, first come first served."""
        async with self._slots:
            self._active += 1
            try:
                yield
            finally:
                self._active -= 1

    @property
    def piece_size(self) -> int:
        """Bytes to read at once, given the number of active uploads; a multiple of `MIN_PIECE_SIZE`."""
        share = self._settings.memory // (_PIECES_PER_UPLOAD * max(1, self._active))
        return max(MIN_PIECE_SIZE, min(share // MIN_PIECE_SIZE * MIN_PIECE_SIZE, MAX_PIECE_SIZE))

    @property
    def window_size(self) -> int:
        """Bytes of a stream that one upload may keep; a multiple of 256 KiB."""
        share = self._settings.memory // max(1, self._active)
        return max(GRANULE, min(share // GRANULE * GRANULE, DEFAULT_CHUNK_SIZE))

    @property
    def time_slice_size(self) -> int:
        """Bytes that one upload may read and write in one iteration of the event loop."""
        return _TIME_SLICE // max(1, min(self._active, _TIME_SLICE_READERS))

    @property
    def part_size(self) -> int:
        """Bytes that one upload may hand to the network at once, after `throttle`."""
        cap = self._settings.max_bytes_per_second
        return self.time_slice_size if cap is None else max(1, min(self.time_slice_size, int(cap * _THROTTLE_INTERVAL)))

    async def throttle(self, size: int) -> None:
        """Wait until *size* bytes may be sent. First come first served; a cancelled waiter takes no bandwidth from the others."""
        cap = self._settings.max_bytes_per_second
        if cap is None:
            return
        async with self._bandwidth:  # held during the sleep: waiters for the lock are the queue
            delay = self._next_send_at - anyio.current_time()
            if delay > 0:
                await anyio.sleep(delay)
            self._next_send_at = max(self._next_send_at, anyio.current_time()) + size / cap
