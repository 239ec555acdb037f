"""An event store in a SQLite file, for the processes of one host.

Every operation is one short transaction in a worker thread, which cancellation does not interrupt. ``BEGIN IMMEDIATE`` acquires the write
lock of the file first, so that processes wait for each other. Times are wall clock times, because only they survive a restart of the host.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from mux_async._checks import check_callable, check_path, check_period
from mux_async._sqlite import SqliteFile
from mux_async.webhooks._errors import EventStoreError
from mux_async.webhooks._store import KEEP, Claim, EventKey

T = TypeVar("T")
_TIMEOUT: Final = 2.0
"""Seconds that an operation waits for other processes; Mux waits 5 s for the response."""
_PRUNE_EVERY: Final = 1000
"""Claims between two deletions of expired rows."""
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
"""A row without a token is a handled event."""


class SqliteEventStore:
    """An event store in a SQLite file, which is created if it does not exist.

    Args:
        path: The file. Its folder must exist and be on a local disk: SQLite's locks do not work on network file systems.
        keep: Seconds for which *done* is kept.
        clock: Returns Unix seconds.
    """

    def __init__(self, path: Path | str, *, keep: float = KEEP, clock: Callable[[], float] = time.time) -> None:
        check_path("path", path)
        check_period("keep", keep)
        check_callable("clock", clock, "it must be a function that returns Unix seconds")
        self._keep = keep
        self._clock = clock
        self._name = Path(path).name
        self._file = SqliteFile(Path(path).absolute(), _SCHEMA, _TIMEOUT)
        self._claims = 0

    async def claim(self, event: EventKey, token: str, lease: float) -> Claim:
        """See `EventStore.claim`."""

        def transaction(connection: sqlite3.Connection) -> Claim:
            now = self._clock()
            if self._claims % _PRUNE_EVERY == 0:
                for table in ("events", "objects"):
                    connection.execute(f"DELETE FROM mux_async_webhook_{table}_1 WHERE until <= ?", (now,))  # noqa: S608 - constant names
            self._claims += 1
            found = connection.execute(
                "SELECT token FROM mux_async_webhook_events_1 WHERE key = ? AND until > ?", (event.key, now)
            ).fetchone()
            if found is not None:
                return Claim("done" if found[0] is None else "busy")
            connection.execute(
                "INSERT OR REPLACE INTO mux_async_webhook_events_1 VALUES (?, ?, ?)", (event.key, token, now + lease)
            )
            if event.subject is None:
                return Claim("mine")
            before = _newest(connection, event.subject, now)
            connection.execute(
                "INSERT OR REPLACE INTO mux_async_webhook_objects_1 VALUES (?, ?, ?)",
                (event.subject, max(event.at, event.at if before is None else before), now + self._keep),
            )
            return Claim("mine", is_stale=before is not None and before > event.at)

        return await self._run(transaction)

    async def finish(self, event: EventKey) -> None:
        """See `EventStore.finish`."""
        done = "INSERT OR REPLACE INTO mux_async_webhook_events_1 VALUES (?, NULL, ?)"
        await self._run(lambda connection: connection.execute(done, (event.key, self._clock() + self._keep)))

    async def release(self, event: EventKey, token: str) -> None:
        """See `EventStore.release`."""
        release = "DELETE FROM mux_async_webhook_events_1 WHERE key = ? AND token = ?"
        await self._run(lambda connection: connection.execute(release, (event.key, token)))

    async def newest(self, subject: str) -> int | None:
        """See `EventStore.newest`."""
        return await self._run(lambda connection: _newest(connection, subject, self._clock()))

    async def aclose(self) -> None:
        """Close the file. The next operation opens it again."""
        await self._file.aclose()

    async def _run(self, transaction: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._file.run(transaction)
        except (sqlite3.Error, OSError) as error:
            raise EventStoreError(f"the event store {self._name!r} failed: {error}") from error


def _newest(connection: sqlite3.Connection, subject: str, now: float) -> int | None:
    found: tuple[int] | None = connection.execute(
        "SELECT at FROM mux_async_webhook_objects_1 WHERE subject = ? AND until > ?", (subject, now)
    ).fetchone()
    return None if found is None else found[0]
