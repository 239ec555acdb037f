"""A lease that ends with its process: a file that the operating system keeps locked while its holder lives.

A lease with an expiry time has two faults: after the holder was killed, others wait until it expires; and if the holder is only suspended
(a laptop's lid, a debugger, swapping), others continue its items while it still has them. A lock of the operating system ends exactly when
the process ends. All holders must share one machine, which SQLite's write-ahead log requires anyway. A process that was forked from a
holder shares the lock and closes it at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from mux_async._forks import after_fork
from mux_async._journal_errors import JournalError

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
"""Error codes of a lock that another process holds, on any system."""


class Lease:
    """A held lock. See `take` and `inherit`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        after_fork(self)

    def reset_after_fork(self) -> object:
        """Close the descriptor in a forked child. The parent keeps the lock; otherwise it would be held until both have ended."""
        self.close()
        return None

    def close(self) -> None:
        """Release the lock and keep the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def is_of(self, path: Path) -> bool:
        """Return whether the locked file is the one that *path* names now; the holder before may have removed it."""
        try:
            return self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), path.stat())
        except FileNotFoundError:
            return False

    def drop(self) -> None:
        """Release the lock and remove the file. May be called repeatedly."""
        if self._descriptor >= 0:
            # Windows cannot remove an open file. Elsewhere the file is removed first, so that nobody locks a file about to be removed.
            if sys.platform != "win32":
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1
            if sys.platform == "win32":
                with contextlib.suppress(OSError):  # another process has it open and will remove it
                    self._path.unlink(missing_ok=True)


def take(path: Path) -> Lease:
    """Create and lock a file with a unique name.

    Raises:
        JournalError: The folder cannot be written, or its file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise JournalError(
            f"the journal's lock {str(path)!r} cannot be created ({error.strerror}): put the journal into a writable folder, "
            "on a disk with free space"
        ) from error
    try:
        _lock(descriptor)
    except OSError as error:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise JournalError(
            f"{str(path)!r} cannot be locked ({error.strerror}): put the journal on a disk of this machine"
        ) from error
    return Lease(path, descriptor)


def inherit(path: Path) -> Lease | None:
    """Take the lock of a holder that has ended; ``None`` while it lives. Raises what `take` does.

    A missing file means that the holder has ended: the journal was moved or copied without it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return Lease(path, -1)
    except OSError as error:
        raise JournalError(
            f"the journal's lock {str(path)!r} cannot be opened ({error.strerror}): correct its permissions"
        ) from error
    try:
        _lock(descriptor)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _HELD:
            return None
        raise JournalError(
            f"{str(path)!r} cannot be locked ({error.strerror}): put the journal on a disk of this machine"
        ) from error
    return Lease(path, descriptor)
