"""Records in a SQLite file, for the processes of one host: the file in which their rate limits are.

Every command is one short transaction in a worker thread, which cannot be cancelled half-way. ``BEGIN IMMEDIATE`` takes the file's write
lock first, so that processes go one after the other. The clock is the wall's: it is the only one that survives the machine's restart.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import attrs
import orjson

from mux_async._idempotency.keys._records import KeyCommand, KeyRecord, KeyReply, KeyStoreLostError, perform
from mux_async._sqlite import SqliteConnection

TIMEOUT: Final = 2.0
"""Seconds that a command waits for other processes."""
_PRUNE_EVERY: Final = 1000
"""Commands between two searches for what can be forgotten."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS mux_async_once_keys_1 (
    key TEXT PRIMARY KEY,
    record BLOB NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID
"""


class SqliteKeyStore:
    """Keeps records in a file that is made when it is not there.

    Args:
        path: The file, on a local disk: SQLite's locks do not hold on network file systems.
        clock: Unix seconds.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._connection = SqliteConnection(partial(_connect, path))
        self._commands = 0

    async def perform(self, key: str, command: KeyCommand) -> KeyReply:
        """See `KeyStore.perform`."""
        # A thread cannot be cancelled, so neither is the wait for it: one short transaction, whose outcome must be known.
        return await anyio.to_thread.run_sync(self._transact, key, command)

    async def aclose(self) -> None:
        """Close the file. The next command opens it again."""
        with anyio.CancelScope(shield=True):  # short: at most one command is under way
            await anyio.to_thread.run_sync(self._drop)

    def _transact(self, key: str, command: KeyCommand) -> KeyReply:
        with self._connection:
            try:
                connection = self._connection.get()
                connection.execute("BEGIN IMMEDIATE")
                with connection:  # commits, or rolls back
                    return self._carry_out(connection, key, command)
            except (sqlite3.Error, OSError, ValueError, TypeError) as error:
                raise KeyStoreLostError(f"{type(error).__name__}: {error}") from error

    def _carry_out(self, connection: sqlite3.Connection, key: str, command: KeyCommand) -> KeyReply:
        now = self._clock()
        if self._commands % _PRUNE_EVERY == 0:
            connection.execute("DELETE FROM mux_async_once_keys_1 WHERE expires_at <= ?", (now,))
        self._commands += 1
        row = connection.execute("SELECT record FROM mux_async_once_keys_1 WHERE key = ?", (key,)).fetchone()
        record, reply = perform(None if row is None else KeyRecord(**orjson.loads(row[0])), command, now)
        if record is None:
            connection.execute("DELETE FROM mux_async_once_keys_1 WHERE key = ?", (key,))
        else:
            written = orjson.dumps(attrs.asdict(record))
            connection.execute(
                "INSERT OR REPLACE INTO mux_async_once_keys_1 VALUES (?, ?, ?)", (key, written, record.expires_at)
            )
        return reply

    def _drop(self) -> None:
        with self._connection:
            self._connection.drop()


def _connect(path: Path) -> sqlite3.Connection:
    # Threads take turns under a lock; `isolation_level=None` leaves transactions to us.
    connection = sqlite3.connect(path, timeout=TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # When the machine loses power the last moments may be lost, with the processes whose keys they were about.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
