"""SQLite for several threads and processes: how a file is opened, used in transactions, and closed before the process forks.

SQLite keeps the locks of a file in the memory of the process as well. A child would find them there, held by connections that are not its
own: it would wait for them forever, or rely on locks that the system has not given it, and write to a log that its parent has deleted.
Closing an inherited connection is as wrong. So none is inherited: a fork waits for the transaction under way and closes the connection,
and the next command opens another one, in the parent and in the child.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import anyio
import anyio.to_thread

from mux_async._forks import around_fork, detect_fork

T = TypeVar("T")

_FORK_TIMEOUT: Final = 5.0
"""Seconds that a fork waits for a transaction. One that takes longer waits for another process; the parent then keeps its connection."""
_OPEN_TIMEOUT: Final = 10.0
"""Seconds that another process may take to open the same new file."""


def open_database(path: Path | None, timeout: float, prepare: Callable[[sqlite3.Connection], object]) -> sqlite3.Connection:
    """Open a connection to a file, or to memory, for the threads of this process, which use it one at a time.

    *timeout* is how many seconds a statement waits for other processes. The connection is closed if *prepare*, which sets it up, fails.
    """
    # `isolation_level=None` leaves transactions to the caller.
    connection = sqlite3.connect(path or ":memory:", timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Set the file's journal mode. SQLite does not wait by itself while another process opens the same new file."""
    give_up = time.monotonic() + _OPEN_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


class SqliteConnection:
    """A connection that is opened on first use, and the lock to hold while it is used.

    Args:
        connect: Opens it. Must not hold the owner, so that both go when the owner is not held any more.
        in_memory: Whether the database is in memory. A fork copies it, and each process continues with its own.
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
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
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
        self._is_held = self.acquire(_FORK_TIMEOUT)
        if self._is_held:
            with suppress(sqlite3.Error):
                self.drop()

    def after_fork_in_parent(self) -> None:
        """Release the lock."""
        if self._is_held:
            self.release()

    def reset_after_fork(self) -> object:
        """Drop a connection that could not be closed; it belongs to the parent."""
        inherited, self._connection, self._lock = self._connection, None, threading.RLock()
        return inherited


class SqliteFile:
    """A file of small tables that several processes share. Every command is one transaction.

    ``BEGIN IMMEDIATE`` takes the file's write lock first, so that processes go one after the other.

    Args:
        path: The file, created on first use. Its folder must exist, on a local disk: SQLite's locks fail on network file systems.
        schema: ``CREATE TABLE IF NOT EXISTS`` statements.
        timeout: Seconds that a command waits for other processes.
        lock_timeout: Seconds that a command waits for other threads of this process; -1 for any time.
    """

    def __init__(self, path: Path, schema: str, timeout: float, *, lock_timeout: float = -1.0) -> None:
        self._path = path
        self._connection = SqliteConnection(partial(open_database, path, timeout, partial(_create_tables, schema)))
        self._lock_timeout = lock_timeout
        self._identity: tuple[int, int] | None = None

    async def run(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Call *act* in a transaction, in a worker thread. The wait for it is not cancelled, so that its outcome is known.

        Raises `sqlite3.Error` or `OSError` if the file cannot be used now.
        """
        return await anyio.to_thread.run_sync(self.run_now, act)

    def run_now(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Call *act* in a transaction, in this thread. See `run`."""
        if not self._connection.acquire(self._lock_timeout):
            raise sqlite3.OperationalError("an earlier command has not ended")
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            with connection:  # commits, or rolls back
                return act(connection)
        except (sqlite3.Error, OSError):
            self._connection.drop()
            raise
        finally:
            self._connection.release()

    def _open(self) -> sqlite3.Connection:
        """Return the connection, a new one if the file was replaced since the old one was opened."""
        if self._connection.is_open and _identity(self._path) != self._identity:
            self._connection.drop()
        if not self._connection.is_open:
            self._connection.get()
            self._identity = _identity(self._path)
        return self._connection.get()

    async def aclose(self) -> None:
        """Close the file. The next command opens it again."""
        with anyio.CancelScope(shield=True):  # short: at most one command is under way
            await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """Close the file, in this thread. The next command opens it again."""
        with self._connection:
            self._connection.drop()


def _create_tables(schema: str, connection: sqlite3.Connection) -> None:
    use_write_ahead_log(connection)
    # A crash of the machine may lose the last moments. The processes that used them are gone too.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(schema)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
