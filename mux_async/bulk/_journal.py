"""The journal of a bulk change: the stage of each row, in one SQLite file that survives crashes.

A row is stored as begun before its request is sent, and its outcome afterwards. The file contains no arguments but those in paths: the next
run gets the rows again, and they are matched by a hash of their request. One run at a time uses a journal; a lock file beside it, which
the operating system releases when the process ends, says which.
"""

from __future__ import annotations

import enum
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from mux_async import _lease
from mux_async._journal_errors import JournalError, explained
from mux_async._sqlite import SqliteConnection, open_database, use_write_ahead_log

if TYPE_CHECKING:
    from typing import Self

    from mux_async.bulk._plan import PlannedCall

APPLICATION_ID: Final = 0x4D757842
"""``MuxB``."""
_VERSION: Final = 1
_BUSY_TIMEOUT: Final = 30.0
_SCHEMA: Final = (
    "CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE rows (
        number INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        label TEXT NOT NULL,
        stage TEXT NOT NULL,
        changed_at REAL NOT NULL,
        result TEXT,
        error_type TEXT,
        error TEXT
    )""",
    "CREATE INDEX stages ON rows (stage)",
)


class RowStage(enum.StrEnum):
    """The stage of a row."""

    PLANNED = "planned"
    """Not sent."""
    BEGUN = "begun"
    """Its request may have been sent; the next run continues it."""
    DONE = "done"
    """Performed."""
    FAILED = "failed"
    """Refused, or given up after many attempts. It can be sent again."""
    UNKNOWN = "unknown"
    """It may have been performed: check that before it is sent again."""


@attrs.frozen
class StoredRow:
    """A row of the journal.

    Attributes:
        number: In the order in which rows were added, from 1.
        key: Of its call.
        label: For display.
        stage: Its stage.
        changed_at: When its stage last changed, in seconds since 1970.
        result: Id of the object in the answer; ``None`` if there is none.
        error_type: Class of the error of a failed or unknown row.
        error: Its message.
    """

    number: int
    key: str
    label: str
    stage: RowStage
    changed_at: float
    result: str | None = None
    error_type: str | None = None
    error: str | None = None


class BulkJournal:
    """An open journal. Create one with `open`, or with `in_memory` for a run that is not resumed. Methods block briefly."""

    def __init__(self, path: Path | None, *, create: bool) -> None:
        self.path = path
        self._name = str(path) if path is not None else "in memory"
        if path is not None and not create and not path.exists():
            raise JournalError(f"there is no journal {self._name!r}: check the name")
        self._connection = SqliteConnection(
            partial(open_database, path, _BUSY_TIMEOUT, partial(_prepare, self._name)), in_memory=path is None
        )
        with self._connection, explained(self._name):
            self._connection.get()

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool = True) -> Self:
        """Open a journal file, on a disk of this machine.

        Args:
            path: The file.
            create: Whether to create a missing file.

        Raises:
            JournalError: It cannot be read or written, or is not a journal of a bulk change.
        """
        return cls(Path(path), create=create)

    @classmethod
    def in_memory(cls) -> Self:
        """Return a journal without a file."""
        return cls(None, create=True)

    def counts(self) -> Mapping[RowStage, int]:
        """Return the number of rows by stage; empty stages are left out."""
        return {RowStage(stage): count for stage, count in self._read("SELECT stage, count(*) FROM rows GROUP BY stage")}

    def entries(self) -> Iterator[StoredRow]:
        """Yield every row, in the order in which rows were added."""
        for number, key, label, stage, *rest in self._read(
            "SELECT number, key, label, stage, changed_at, result, error_type, error FROM rows ORDER BY number"
        ):
            yield StoredRow(number, key, label, RowStage(stage), *rest)

    def retry(self, *stages: RowStage) -> int:
        """Let the next run send failed rows again, or those of other *stages*. Returns their number.

        Rows that are unknown may have been performed: check that before you retry them.
        """
        chosen = stages or (RowStage.FAILED,)
        marks = ", ".join("?" for _ in chosen)
        return self._write(
            f"UPDATE rows SET stage = 'planned', error_type = NULL, error = NULL WHERE stage IN ({marks})",  # noqa: S608 - marks
            [tuple(chosen)],
        )

    def note(self, name: str, value: str) -> str:
        """Store *value* under *name* unless there is one. Returns what is stored."""
        self._write("INSERT OR IGNORE INTO job (name, value) VALUES (?, ?)", [(name, json.dumps(value))])
        ((stored,),) = self._read("SELECT value FROM job WHERE name = ?", (name,))
        return cast("str", json.loads(stored))

    @property
    def id(self) -> str:
        """A random text: it is part of the idempotency keys that runs with this journal set."""
        return self.note("id", secrets.token_hex(8))

    def add(self, calls: Iterable[PlannedCall]) -> None:
        """Add the rows that are not there yet, as planned."""
        now = time.time()
        self._write(
            "INSERT OR IGNORE INTO rows (key, label, stage, changed_at) VALUES (?, ?, 'planned', ?)",
            [(call.key, call.label, now) for call in calls],
        )

    def set_stage(self, key: str, stage: RowStage, *, result: str | None = None, error: BaseException | None = None) -> None:
        """Store the stage of a row; it is on disk when this returns."""
        self._write(
            "UPDATE rows SET stage = ?, changed_at = ?, result = coalesce(?, result), error_type = ?, error = ? WHERE key = ?",
            [(stage, time.time(), result, type(error).__name__ if error else None, str(error) if error else None, key)],
        )

    def acquire(self) -> _lease.Lease | None:
        """Lock the journal for a run. Returns the lock; ``None`` in memory.

        Raises:
            JournalError: Another run holds it.
        """
        if self.path is None:
            return None
        place = self.path.with_name(f"{self.path.name}-lock")
        while True:
            if not place.exists():
                try:
                    return _lease.take(place)
                except JournalError:
                    if not place.exists():
                        raise
            lease = _lease.inherit(place)
            if lease is None:
                raise JournalError(f"another run uses the journal {self._name!r}: wait for its end, or stop it")
            if lease.is_of(place):
                return lease
            lease.close()  # the holder removed the file meanwhile

    def close(self) -> None:
        """Close the file. May be called repeatedly."""
        with self._connection:
            self._connection.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _read(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._connection, explained(self._name):
            return self._connection.get().execute(statement, values).fetchall()

    def _write(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        with self._connection, explained(self._name):
            sql = self._connection.get()
            sql.execute("BEGIN IMMEDIATE")
            with sql:
                return sql.executemany(statement, rows).rowcount


def _prepare(name: str, sql: sqlite3.Connection) -> None:
    (application,) = sql.execute("PRAGMA application_id").fetchone()
    (version,) = sql.execute("PRAGMA user_version").fetchone()
    (tables,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (tables or application):
        raise JournalError(f"{name!r} is an SQLite file of another kind, not a journal of a bulk change: name another one")
    if version > _VERSION:
        raise JournalError(
            f"the journal {name!r} has version {version}, and this mux-async knows {_VERSION}: use the newer one"
        )
    use_write_ahead_log(sql)
    sql.execute("PRAGMA synchronous = FULL")
    sql.execute("BEGIN IMMEDIATE")
    with sql:
        if not sql.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in _SCHEMA:
                sql.execute(statement)
            sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            sql.execute(f"PRAGMA user_version = {_VERSION}")
