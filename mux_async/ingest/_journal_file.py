"""Prepares a journal file: checks it, creates or migrates its tables, and sets how SQLite writes it.

The file's header has two numbers: ``application_id`` identifies it as a journal, ``user_version`` is the version of its tables.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from mux_async._journal_errors import JournalError
from mux_async._sqlite import use_write_ahead_log

APPLICATION_ID: Final = 0x4D757849
"""``MuxI``."""

_MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # Version 1. `stage` and `runner` are used in queries; the rest of a state is JSON, so that new members need no migration.
        """CREATE TABLE items (
            position INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            source TEXT NOT NULL,
            size INTEGER,
            fingerprint TEXT,
            stage TEXT NOT NULL,
            state TEXT NOT NULL,
            outcome TEXT,
            seconds REAL,
            changed_at REAL NOT NULL,
            runner TEXT
        )""",
        "CREATE TABLE runners (id TEXT PRIMARY KEY, process INTEGER NOT NULL, host TEXT NOT NULL, started_at REAL NOT NULL)",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
    (
        # Version 2. Small, since few items are in either state; without these indexes every claim reads the whole table.
        "CREATE INDEX unknown ON items (stage) WHERE stage = 'creating'",
        "CREATE INDEX held ON items (runner) WHERE runner IS NOT NULL",
    ),
    (
        # Version 3. Before, the keys of URLs ignored parameters that are only part of a signature; see `JournalStore.stored_keys`.
        "CREATE TABLE older_keys (key TEXT PRIMARY KEY, taken_by TEXT)",
        "INSERT INTO older_keys (key) SELECT key FROM items WHERE key GLOB 'u-*' AND length(key) = 34",
    ),
)
"""The statements that migrate a file from each version to the next, beginning with an empty one."""

VERSION: Final = len(_MIGRATIONS)


def prepare_file(sql: sqlite3.Connection, name: str) -> None:
    """Create or migrate the journal's tables, and set write-ahead mode and full flushes.

    Raises `JournalError` for a newer version or a file of another program, and `sqlite3.Error` for a file that cannot be used.
    """
    sql.execute("BEGIN")  # the checks need one snapshot: another process may be creating the tables
    with sql:
        if _check_owner(sql, name):
            _check_health(sql, name)
    use_write_ahead_log(sql)
    sql.execute("PRAGMA synchronous = FULL")
    sql.execute("BEGIN IMMEDIATE")
    with sql:  # commits, or rolls back
        version = _check_owner(sql, name)
        for step in _MIGRATIONS[version:]:
            for statement in step:
                sql.execute(statement)
        sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        sql.execute(f"PRAGMA user_version = {VERSION}")


def _check_owner(sql: sqlite3.Connection, name: str) -> int:
    """Check that the file is a journal. Return its version, 0 for an empty file."""
    (application,) = sql.execute("PRAGMA application_id").fetchone()
    (version,) = sql.execute("PRAGMA user_version").fetchone()
    (tables,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and application in {0, APPLICATION_ID}:
        return 0
    if application != APPLICATION_ID:
        raise JournalError(
            f"{name!r} is an SQLite file of another program, not a journal: name another one; it was not changed"
        )
    if version > VERSION:
        raise JournalError(
            f"the journal {name!r} has version {version}, and this mux-async knows {VERSION}: use the newer mux-async that made it"
        )
    return int(version)


def _check_health(sql: sqlite3.Connection, name: str) -> None:
    (verdict,) = sql.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise JournalError(
            f"the journal {name!r} cannot be used: it is damaged ({verdict.splitlines()[-1]}); restore a copy of it, or save what can be "
            f"read with `sqlite3 FILE .recover`"
        )
