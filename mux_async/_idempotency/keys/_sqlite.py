"""Records in a SQLite file, for the processes of one host: the file that also holds their rate limits.

The clock is Unix time, which is the only one that survives a restart of the machine.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import orjson

from mux_async._idempotency.keys._records import KeyCommand, KeyRecord, KeyReply, KeyStoreLostError, perform
from mux_async._sqlite import SqliteFile

TIMEOUT: Final = 2.0
"""Seconds that a command waits for other processes."""
_PRUNE_EVERY: Final = 1000
"""Commands between two searches for expired records."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS mux_async_once_keys_1 (
    key TEXT PRIMARY KEY,
    record BLOB NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID
"""


class SqliteKeyStore:
    """Keeps records in a file on a local disk (SQLite's locks do not work on network file systems), which is created on first use."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._file = SqliteFile(path, _SCHEMA, TIMEOUT)
        self._commands = 0

    async def perform(self, key: str, command: KeyCommand) -> KeyReply:
        """See `KeyStore.perform`."""
        try:
            return await self._file.run(partial(self._perform, key, command))
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            raise KeyStoreLostError(f"{type(error).__name__}: {error}") from error

    async def aclose(self) -> None:
        """Close the file. The next command opens it again."""
        await self._file.aclose()

    def _perform(self, key: str, command: KeyCommand, connection: sqlite3.Connection) -> KeyReply:
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
