"""Memory to read files into, used again once nobody looks at it any more.

New memory for every piece would cost a sixth of the whole upload: the system hands it out page by page, and Python fills it with zeros
first. Nobody has to give anything back: memory is taken again when no view of it is left, so whoever keeps a view keeps the bytes. It comes
in huge pages where the system has them, which takes off another 7 %, and begins with a page, which plain large blocks do not: they
begin 16 bytes into one, and copying a page of a file to just there takes half as long again on some processors.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

_KEPT = 3


class Buffers:
    """The memory of one reader. For Linux."""

    def __init__(self) -> None:
        self._kept: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """Return *size* bytes of memory that nobody else has a view of. What is in it is left over from before."""
        # Smaller ones are of no use now, and much larger ones are more than the caller's share.
        self._kept = [buffer for buffer in self._kept if size <= len(buffer) <= 2 * size]
        for buffer in self._kept:
            if not _is_viewed(buffer):
                break
        else:
            buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with suppress(OSError):  # there are systems built without
                buffer.madvise(mmap.MADV_HUGEPAGE)
            self._kept = [*self._kept[1 - _KEPT :], buffer]
        return memoryview(buffer)[:size]

    @property
    def held(self) -> int:
        """Bytes in all."""
        return sum(len(buffer) for buffer in self._kept)


def _is_viewed(buffer: mmap.mmap) -> bool:
    """Whether there is a view of *buffer*: it refuses to be given another size then, even if that is the size it has."""
    try:
        buffer.resize(len(buffer))
    except BufferError:
        return True
    return False
