"""Handled events in a SQLite file, for the processes of one host.

Every command is one short transaction in a worker thread, which cannot be cancelled half-way. ``BEGIN IMMEDIATE`` takes the file's write
lock first, so that processes go one after the other. The clock is the wall's: it is the only one that survives the machine's restart.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from mux_async._checks import check_callable, check_path, check_period
from mux_async._sqlite import SqliteConnection
from mux_async.webhooks._errors import EventStoreError
from mux_async.webhooks._store import KEEP, Claim, Sighting

T = TypeVar("T")
_TIMEOUT: Final = 2.0
"""Seconds that a command waits for other processes; Mux waits 5 for the answer."""
_PRUNE_EVERY: Final = 1000
"""Claims between two looks for what can be forgotten."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS mux_async_webhook_events_1 (
    key TEXT PRIMARY KEY,
    token TEXT,
    until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mux_async_webhook_objects_1 (
    subject TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    until REAL NOT NULL
) WITHOUT ROWID;
"""
"""An event without a token is done."""


class SqliteEventStore:
    """Remembers in a file that is made when it is not there.

    Args:
        path: The file. Its folder must exist, on a local disk: SQLite's locks do not hold on network file systems.
        keep: Seconds that *done* is kept.
        clock: Unix seconds.
    """

    def __init__(self, path: Path | str, *, keep: float = KEEP, clock: Callable[[], float] = time.time) -> None:
        check_path("path", path)
        check_period("keep", keep)
        check_callable("clock", clock, "it must be a function that returns Unix seconds")
        self._path = Path(path).absolute()
        self._keep = keep
        self._clock = clock
        self._connection = SqliteConnection(partial(_connect, self._path))
        self._claims = 0

    async def claim(self, seen: Sighting, token: str, lease: float) -> Claim:
        """See `EventStore.claim`."""

        def act(connection: sqlite3.Connection) -> Claim:
            now = self._clock()
            if self._claims % _PRUNE_EVERY == 0:
                for table in ("events", "objects"):
                    connection.execute(f"DELETE FROM mux_async_webhook_{table}_1 WHERE until <= ?", (now,))  # noqa: S608 - names of our own
            self._claims += 1
            found = connection.execute(
                "SELECT token FROM mux_async_webhook_events_1 WHERE key = ? AND until > ?", (seen.key, now)
            ).fetchone()
            if found is not None:
                return Claim("done" if found[0] is None else "busy")
            connection.execute(
                "INSERT OR REPLACE INTO mux_async_webhook_events_1 VALUES (?, ?, ?)", (seen.key, token, now + lease)
            )
            if seen.subject is None:
                return Claim("mine")
            before = _newest(connection, seen.subject, now)
            connection.execute(
                "INSERT OR REPLACE INTO mux_async_webhook_objects_1 VALUES (?, ?, ?)",
                (seen.subject, max(seen.at, seen.at if before is None else before), now + self._keep),
            )
            return Claim("mine", is_stale=before is not None and before > seen.at)

        return await self._run(act)

    async def finish(self, seen: Sighting) -> None:
        """See `EventStore.finish`."""

        def act(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO mux_async_webhook_events_1 VALUES (?, NULL, ?)", (seen.key, self._clock() + self._keep)
            )

        await self._run(act)

    async def release(self, seen: Sighting, token: str) -> None:
        """See `EventStore.release`."""

        def act(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM mux_async_webhook_events_1 WHERE key = ? AND token = ?", (seen.key, token))

        await self._run(act)

    async def newest(self, subject: str) -> int | None:
        """See `EventStore.newest`."""
        return await self._run(lambda connection: _newest(connection, subject, self._clock()))

    async def aclose(self) -> None:
        """Close the file. The next command opens it again."""
        with anyio.CancelScope(shield=True):  # short: at most one command is under way
            await anyio.to_thread.run_sync(self._drop)

    async def _run(self, act: Callable[[sqlite3.Connection], T]) -> T:
        return await anyio.to_thread.run_sync(self._transact, act)

    def _transact(self, act: Callable[[sqlite3.Connection], T]) -> T:
        with self._connection:
            try:
                connection = self._connection.get()
                connection.execute("BEGIN IMMEDIATE")
                with connection:  # commits, or rolls back
                    return act(connection)
            except (sqlite3.Error, OSError) as error:
                raise EventStoreError(f"events cannot be kept in {self._path.name!r}: {error}") from error

    def _drop(self) -> None:
        with self._connection:
            self._connection.drop()


def _connect(path: Path) -> sqlite3.Connection:
    # Threads take turns under a lock; `isolation_level=None` leaves transactions to us.
    connection = sqlite3.connect(path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # When the machine loses power the last moments may be lost, and what was done in them is done again.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _newest(connection: sqlite3.Connection, subject: str, now: float) -> int | None:
    found: tuple[int] | None = connection.execute(
        "SELECT at FROM mux_async_webhook_objects_1 WHERE subject = ? AND until > ?", (subject, now)
    ).fetchone()
    return None if found is None else found[0]
