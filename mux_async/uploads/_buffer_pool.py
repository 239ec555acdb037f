"""Buffers to read files into, reused when no view of them is left.

New memory for every piece would cost a sixth of the whole upload: the system maps it page by page, and Python fills it with zeros first.
Buffers are not returned explicitly: one is reused when no view of it exists, so a view that is kept keeps its bytes. Buffers use huge pages
where the system has them, which saves another 7 %, and are aligned to pages. Large `bytes` objects are not: they start 16 bytes into a
page, and copying a page of a file there takes half as long again on some processors.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

_MAX_BUFFERS = 3


class BufferPool:
    """The buffers of one reader. Linux only."""

    def __init__(self) -> None:
        self._buffers: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """Return *size* bytes of memory without any other view. The content is undefined."""
        # Smaller buffers are useless now, and much larger ones exceed the upload's share of memory.
        self._buffers = [buffer for buffer in self._buffers if size <= len(buffer) <= 2 * size]
        for buffer in self._buffers:
            if not _is_viewed(buffer):
                break
        else:
            buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with suppress(OSError):  # kernels without huge pages
                buffer.madvise(mmap.MADV_HUGEPAGE)
            self._buffers = [*self._buffers[1 - _MAX_BUFFERS :], buffer]
        return memoryview(buffer)[:size]

    @property
    def held(self) -> int:
        """Total bytes of all buffers."""
        return sum(len(buffer) for buffer in self._buffers)


def _is_viewed(buffer: mmap.mmap) -> bool:
    """Return whether a view of *buffer* exists: `mmap.resize` fails then, even to the current size."""
    try:
        buffer.resize(len(buffer))
    except BufferError:
        return True
    return False
