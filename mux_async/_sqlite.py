"""An SQLite connection of this process, shared by its threads, and closed before the process forks.

SQLite keeps the locks of a file in the memory of the process as well. A child would find them there, held by connections that are not its
own: it would wait for them for ever, or trust in locks that the system has not given it, and write to a log that its parent has deleted.
To close an inherited connection is as wrong. So there is none: forking waits for the transaction under way and closes the connection, and
the next command opens another, in the parent and in the child.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from mux_async._forks import around_fork, detect_fork

_PATIENCE: Final = 5.0
"""Seconds that a fork waits for a transaction. One that takes longer waits for another process; the parent then keeps its connection."""


class SqliteConnection:
    """Opened on first use. A lock, to be held while the connection is used.

    Args:
        connect: Opens it. Must not hold the owner, so that both go when the owner is not held any more.
        in_memory: Whether the database is in memory. A fork copies that, and both processes go on with their own.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, in_memory: bool = False) -> None:
        self._lock = threading.RLock()
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._is_held = False
        if not in_memory:
            around_fork(self)

    def acquire(self, timeout: float = -1.0) -> bool:
        """Take the lock, as `threading.Lock.acquire` does."""
        detect_fork()
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        """Let go of the lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_open(self) -> bool:
        """Whether `get` returns a connection that was there before."""
        return self._connection is not None

    def get(self) -> sqlite3.Connection:
        """Return the connection of this process. With the lock held."""
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def drop(self) -> None:
        """Close the connection, if there is one; `get` opens another. With the lock held."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def before_fork(self) -> None:
        """Wait until the connection is not used, close it, and keep it from being opened until the fork is over."""
        self._is_held = self.acquire(_PATIENCE)
        if self._is_held:
            with suppress(sqlite3.Error):
                self.drop()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_held:
            self.release()

    def reset_after_fork(self) -> object:
        """Leave what could not be closed to the parent."""
        inherited, self._connection, self._lock = self._connection, None, threading.RLock()
        return inherited
