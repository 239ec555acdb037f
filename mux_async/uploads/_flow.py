"""What the uploads of one client share: places, bytes a second, memory and threads, each given out in order of arrival.

One `Flow` belongs to one client in one event loop. Fairness needs no bookkeeping of who had how much: every upload asks for one small
piece at a time, and who asks goes to the end of the line.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import attrs

from mux_async._checks import check_number, check_whole, explains_arguments
from mux_async.uploads.machine import DEFAULT_CHUNK_SIZE, GRANULE

LARGEST_PIECE = 2 * 1024 * 1024
"""Bytes read and written in one go: more was no faster in `benchmarks/upload.py`, and less costs more turns of the loop."""
SMALLEST_PIECE = 64 * 1024
_PIECES_EACH = 2
"""Pieces of one upload in memory: one on its way out, one being read."""
_TURN = 2 * 1024 * 1024
"""Bytes that all uploads together may read and write in one turn of the event loop, which nobody else gets meanwhile."""
_TURN_TAKERS = 4
"""Uploads that read in one turn of the event loop; others wait for the next, in order of arrival."""
_QUANTUM = 0.05
"""Seconds of a capped flow that one upload is given at a time."""
_DISK_READERS = 4
"""Threads that read from disks. A disk is not faster with more, and they would all want the interpreter."""
_REMOTE_READERS = 24
"""Threads that read from elsewhere and mostly wait. Threads are the program's, 40 as a rule: some are left to others."""


@explains_arguments
@attrs.frozen
class UploadSettings:
    """How much of the machine and the line the uploads of one client may use together.

    Attributes:
        max_concurrent: Uploads that send at once; others wait in line. Each holds a connection, so leave some of the transport's for
            calls to the API.
        max_bytes_per_second: Cap on what is sent, shared evenly by the uploads that are sending; ``None`` for none. What is sent again
            counts again.
        memory: Bytes of file content held at once; what is left of it for an upload decides how much is read in one go. Streams, which
            cannot be read again, share as much once more for the chunks they must keep.

    Raises:
        ConfigurationError: A value is out of range.
    """

    max_concurrent: int = 64
    max_bytes_per_second: float | None = None
    memory: int = 32 * 1024 * 1024

    def __attrs_post_init__(self) -> None:
        check_whole("max_concurrent", self.max_concurrent, 1, "uploads need a place for at least 1, and it is a whole number")
        cap = self.max_bytes_per_second
        if cap is not None:
            check_number("max_bytes_per_second", cap, "it must be above 0, or None for no cap", above=0)
        least = _PIECES_EACH * SMALLEST_PIECE
        check_whole("memory", self.memory, least, f"an upload needs at least {least} bytes, a whole number")

    def open_flow(self, _client: object) -> Flow:
        """Return a flow with these settings; for `Mux.local`."""
        return Flow(self)


DEFAULT_UPLOAD_SETTINGS = UploadSettings()


class Flow:
    """The shared part of uploads, in one event loop.

    Attributes:
        disk: Held while a thread reads from this machine's disks.
        remote: Held while one reads from elsewhere.
        turn: Held from reading what is at hand to the next turn of the event loop.
    """

    def __init__(self, settings: UploadSettings = DEFAULT_UPLOAD_SETTINGS) -> None:
        self._settings = settings
        self._places = anyio.Semaphore(settings.max_concurrent, fast_acquire=True)
        self._line = anyio.Lock(fast_acquire=True)
        self._free_at = -math.inf
        self._active = 0
        self.disk = anyio.Semaphore(_DISK_READERS, fast_acquire=True)
        self.remote = anyio.Semaphore(_REMOTE_READERS, fast_acquire=True)
        self.turn = anyio.Semaphore(_TURN_TAKERS, fast_acquire=True)

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None, None]:
        """Hold one of the places; waits for a free one, first come first served."""
        async with self._places:
            self._active += 1
            try:
                yield
            finally:
                self._active -= 1

    @property
    def piece_size(self) -> int:
        """Bytes to read in one go as long as this many uploads are active; a multiple of `SMALLEST_PIECE`."""
        share = self._settings.memory // (_PIECES_EACH * max(1, self._active))
        return max(SMALLEST_PIECE, min(share // SMALLEST_PIECE * SMALLEST_PIECE, LARGEST_PIECE))

    @property
    def window_size(self) -> int:
        """Bytes of a stream that one upload may keep; a multiple of 256 KiB."""
        share = self._settings.memory // max(1, self._active)
        return max(GRANULE, min(share // GRANULE * GRANULE, DEFAULT_CHUNK_SIZE))

    @property
    def turn_size(self) -> int:
        """Bytes that one upload may read and write in one turn of the event loop."""
        return _TURN // max(1, min(self._active, _TURN_TAKERS))

    @property
    def part_size(self) -> int:
        """Bytes that one upload may hand to the network in one go, after `pace` has let it."""
        cap = self._settings.max_bytes_per_second
        return self.turn_size if cap is None else max(1, min(self.turn_size, int(cap * _QUANTUM)))

    async def pace(self, size: int) -> None:
        """Wait until *size* bytes may leave. First come first served; somebody who is cancelled in line costs the others nothing."""
        cap = self._settings.max_bytes_per_second
        if cap is None:
            return
        async with self._line:  # held while waiting: it is the line
            delay = self._free_at - anyio.current_time()
            if delay > 0:
                await anyio.sleep(delay)
            self._free_at = max(self._free_at, anyio.current_time()) + size / cap
