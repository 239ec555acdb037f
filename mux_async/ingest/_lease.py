"""A lease that ends with its process: a file that the operating system keeps locked for as long as its holder lives.

A lease with a time on it has two faults. When its holder was killed, others wait for the time to run out; and when its holder was merely
stopped (a laptop's lid, a debugger, a machine that swaps), others begin with what it still holds. A lock of the operating system has
neither: it goes when the process goes, however that ends, and never before. The price is that all holders share one machine, which SQLite's
write-ahead log asks for anyway. A process that was forked from a holder shares the lock, and lets go of it at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from mux_async._forks import after_fork
from mux_async.ingest._journal_errors import JournalError

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
"""What locking says, on one system or another, when somebody else has it."""


class Lease:
    """A held lock. See `take` and `inherit`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        after_fork(self)

    def reset_after_fork(self) -> object:
        """Close the descriptor, in a forked child: the lock stays the parent's, and would otherwise be held for as long as both live."""
        self.close()
        return None

    def close(self) -> None:
        """Let go, and leave the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def drop(self) -> None:
        """Let go, and remove the file. Any number of times."""
        if self._descriptor >= 0:
            # Windows removes no open file, and elsewhere the name has to go first, or somebody could lock what is about to vanish.
            if sys.platform != "win32":
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1
            if sys.platform == "win32":
                with contextlib.suppress(OSError):  # whoever looks whether we live has it open; it is removed with theirs
                    self._path.unlink(missing_ok=True)


def take(path: Path) -> Lease:
    """Make and lock a file of a name that nobody else uses.

    Raises:
        JournalError: The folder cannot be written, or its file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise JournalError(
            f"the journal's lock {str(path)!r} cannot be made ({error.strerror}): put the journal into a folder that can be written, "
            f"on a disk with room"
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
    """Take over the lock of a holder that is gone.

    Returns:
        Its lease; ``None`` while it lives. A file that is not there stands for a holder that is gone: the journal was moved, or copied,
        and its locks were not.

    Raises:
        JournalError: The file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return Lease(path, -1)
    except OSError as error:
        raise JournalError(
            f"the journal's lock {str(path)!r} cannot be opened ({error.strerror}): mend its permissions"
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
