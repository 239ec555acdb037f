"""The form of a journal file: made new, brought up from older versions, refused when it is newer or something else.

SQLite keeps two numbers for us in the file's header: ``application_id`` says that it is a journal, ``user_version`` of which form.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from mux_async.ingest._journal_errors import JournalError

APPLICATION_ID: Final = 0x4D757849
"""``MuxI``."""

_STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # Version 1. `stage` and `runner` are asked for; the rest of a state is JSON, so that it can grow without a migration.
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
        # Version 2. Small, since few items are in either state at any time; without them every claim reads the whole table.
        "CREATE INDEX unknown ON items (stage) WHERE stage = 'creating'",
        "CREATE INDEX held ON items (runner) WHERE runner IS NOT NULL",
    ),
    (
        # Version 3. Until then, the keys of URLs left out parameters that are half a signature; see `Store.keys`.
        "CREATE TABLE older_keys (key TEXT PRIMARY KEY, taken_by TEXT)",
        "INSERT INTO older_keys (key) SELECT key FROM items WHERE key GLOB 'u-*' AND length(key) = 34",
    ),
)
"""What brings a file from each version to the next, beginning with an empty one."""

VERSION: Final = len(_STEPS)
_PATIENCE: Final = 10.0
"""Seconds that another process may take to open the file."""


def prepare(sql: sqlite3.Connection, name: str) -> None:
    """Make the journal's tables, or bring them up to this version, and set how the file is written.

    Raises:
        JournalError: It is of a newer version, or another program's.
        sqlite3.Error: It is no SQLite file, damaged, or cannot be written.
    """
    sql.execute("BEGIN")  # of one moment, or what another process makes of it in between would look like a third thing
    try:
        if _check_owner(sql, name):
            _check_health(sql, name)
    finally:
        if sql.in_transaction:
            sql.execute("ROLLBACK")
    _write_ahead(sql)
    sql.execute("PRAGMA synchronous = FULL")
    sql.execute("BEGIN IMMEDIATE")
    try:
        version = _check_owner(sql, name)
        for step in _STEPS[version:]:
            for statement in step:
                sql.execute(statement)
        sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        sql.execute(f"PRAGMA user_version = {VERSION}")
        sql.execute("COMMIT")
    except BaseException:
        if sql.in_transaction:
            sql.execute("ROLLBACK")
        raise


def _write_ahead(sql: sqlite3.Connection) -> None:
    """Set the file's mode. SQLite does not wait by itself when another process opens the same new file just now."""
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            sql.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


def _check_owner(sql: sqlite3.Connection, name: str) -> int:
    """Return the version of the file, 0 for an empty one."""
    (application,) = sql.execute("PRAGMA application_id").fetchone()
    (version,) = sql.execute("PRAGMA user_version").fetchone()
    (tables,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and application in {0, APPLICATION_ID}:
        return 0
    if application != APPLICATION_ID:
        raise JournalError(
            f"{name!r} is an SQLite file of another program, and no journal: name another one; it was left as it is"
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
