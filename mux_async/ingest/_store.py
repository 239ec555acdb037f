"""The journal's SQL: one SQLite file, one row for each item, every change of many items in one transaction.

What is on disk when: the file is in write-ahead mode with ``synchronous=FULL``, so every transaction is flushed (``fsync``) to the log
before it counts as committed, and a crash of the process, the system or the machine leaves whole transactions or nothing of them. The
log goes into the file itself now and then, and when the last one closes it.

Every method blocks; the runner calls them in worker threads. A lock makes one connection serve all threads, SQLite's own locks
make the file serve all processes.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import attrs

from mux_async._sqlite import SqliteConnection
from mux_async.ingest._journal_errors import JournalError, explained
from mux_async.ingest._schema import prepare
from mux_async.ingest.machine import ItemState, Retried, advance

BUSY: Final = 30.0
"""Seconds to wait for another process to finish its transaction; they take milliseconds."""
PAGE: Final = 1000
"""Rows read or asked for at a time."""


@attrs.frozen
class Enrolment:
    """An item as it is put on the books.

    Attributes:
        key: Of the item.
        source: Names it for people; holds no secret.
        is_fetched: Whether Mux fetches the bytes itself.
        size: Bytes of the file; ``None`` for URLs.
        fingerprint: Differs when the file does; ``None`` for what cannot be told.
        older_key: What earlier versions made of the item, where that was something else.
    """

    key: str
    source: str
    is_fetched: bool
    size: int | None = None
    fingerprint: str | None = None
    older_key: str | None = None


@attrs.frozen
class Standing:
    """An item as the books have it.

    Attributes:
        state: Where it is. Its key is the one that the books have.
        fingerprint: Of the file when its upload was created.
        runner: Who works on it; ``None`` for nobody.
    """

    state: ItemState
    fingerprint: str | None
    runner: str | None


@attrs.frozen
class Change:
    """What is to be written about an item.

    Attributes:
        state: Where it is now.
        fingerprint: Of its file; ``None`` leaves what is there.
        outcome: What became of it: members that can be JSON; ``None`` before the end.
        seconds: What it took, when it is finished.
    """

    state: ItemState
    fingerprint: str | None = None
    outcome: Mapping[str, object] | None = None
    seconds: float | None = None


class Store:
    """An open journal file. `JournalError` from every method, when it cannot be read or written.

    Args:
        path: The file; ``None`` keeps everything in memory.
        create: Whether to make it when it is not there.
    """

    def __init__(self, path: Path | None, *, create: bool = True) -> None:
        self.path = path
        self.name: str = str(path) if path is not None else "in memory"
        if path is not None and not create and not path.exists():
            raise JournalError(f"there is no journal {self.name!r}: check its name; an ingest makes it where it is told to")
        self._connection = SqliteConnection(partial(_connect, path, self.name), in_memory=path is None)
        self._is_closed = False
        with self._connection, explained(self.name):
            self._connection.get()

    @property
    def _sql(self) -> sqlite3.Connection:
        """The connection of this process. With the lock held."""
        if self._is_closed:
            raise JournalError(f"the journal {self.name!r} was closed")
        return self._connection.get()

    def close(self) -> None:
        """Close the file. Any number of times."""
        with self._connection, explained(self.name):
            self._is_closed = True
            self._connection.drop()

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._connection, explained(self.name):
            sql = self._sql
            sql.execute("BEGIN IMMEDIATE")
            try:
                yield sql
                sql.execute("COMMIT")
            except BaseException:
                if sql.in_transaction:  # SQLite has rolled back by itself when the disk was full
                    sql.execute("ROLLBACK")
                raise

    # The items

    def enrol(self, items: Sequence[Enrolment]) -> list[Standing]:
        """Put items on the books that are not there yet, and say how each stands, in the same order."""
        now = time.time()
        with self._transaction() as sql:
            keys = self._keys(sql, items, take=True)
            rows = [
                (key, item.source, item.size, item.fingerprint, _state_text(ItemState(key, is_fetched=item.is_fetched)), now)
                for key, item in zip(keys, items, strict=True)
            ]
            # What was not begun takes the name and size that it has now; the rest keeps those it was begun with.
            sql.executemany(
                "INSERT INTO items (key, source, size, fingerprint, stage, state, changed_at) VALUES (?, ?, ?, ?, 'planned', ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET source = excluded.source, size = excluded.size, fingerprint = excluded.fingerprint "
                "WHERE stage = 'planned' AND (source, size, fingerprint) IS NOT (excluded.source, excluded.size, excluded.fingerprint)",
                rows,
            )
            standings = self._standings(sql, keys)
        return [standings[key] for key in keys]

    def keys(self, items: Sequence[Enrolment]) -> list[str]:
        """Return the keys under which the books have items, or would have them, in the same order.

        In a journal of an earlier version, an item may have the key that was made of its URL then. That was one key for several URLs
        (``?se=1``, ``?se=2``), and so one film was made of them: of the first in the list. The first that is named has what became of
        it, now and in later runs, and the others are new.
        """
        with self._connection, explained(self.name):
            return self._keys(self._sql, items, take=False)

    def _keys(self, sql: sqlite3.Connection, items: Sequence[Enrolment], *, take: bool) -> list[str]:
        keys = [item.key for item in items]
        if sql.execute("SELECT 1 FROM older_keys LIMIT 1").fetchone() is None:
            return keys
        asked = {*keys, *(item.older_key for item in items if item.older_key is not None)}
        takers = dict(_rows_of(sql, "SELECT key, taken_by FROM older_keys WHERE key IN", list(asked)))
        known = {key for (key,) in _rows_of(sql, "SELECT key FROM items WHERE key IN", keys)}
        before = dict(takers)
        for number, item in enumerate(items):
            older = item.older_key
            if item.key in takers:
                if takers[item.key] not in {None, item.key}:
                    keys[number] = f"{item.key}-new"  # its own key stands for another film
                else:
                    takers[item.key] = item.key
            elif older is not None and older in takers and item.key not in known and takers[older] in {None, item.key}:
                takers[older] = item.key
                keys[number] = older
        if take:
            changes = [(taker, key) for key, taker in takers.items() if taker != before[key]]
            sql.executemany("UPDATE older_keys SET taken_by = ? WHERE key = ?", changes)
        return keys

    def standings(self, keys: Sequence[str]) -> dict[str, Standing]:
        """Say how items stand; those that are not on the books are left out."""
        with self._connection, explained(self.name):
            return self._standings(self._sql, keys)

    def _standings(self, sql: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Standing]:
        rows = _rows_of(sql, "SELECT key, stage, state, fingerprint, runner FROM items WHERE key IN", keys)
        return {
            key: Standing(self._state(key, stage, state), fingerprint, runner)
            for key, stage, state, fingerprint, runner in rows
        }

    def claim(self, keys: Sequence[str], runner: str) -> tuple[set[str], dict[str, Standing]]:
        """Give items to *runner* that nobody works on and that are not finished.

        Returns:
            The keys of those that it was given, and how all of them stand then.
        """
        claim = "UPDATE items SET runner = ? WHERE key = ? AND runner IS NULL AND stage NOT IN ('done', 'dead')"
        with self._transaction() as sql:
            ours = {key for key in keys if sql.execute(claim, (runner, key)).rowcount}
            return ours, self._standings(sql, keys)

    def claim_unknown(self, runner: str) -> list[ItemState]:
        """Give all items to *runner* whose create may or may not have happened, and that nobody works on."""
        with self._transaction() as sql:
            rows = sql.execute(
                "UPDATE items SET runner = ? WHERE stage = 'creating' AND runner IS NULL RETURNING key, stage, state", (runner,)
            ).fetchall()
        return [self._state(*row) for row in rows]

    def write(self, changes: Iterable[Change], runner: str, *, release: bool = False) -> None:
        """Write changes of items that *runner* works on, all of them or none. Finished ones, or with *release* all, are let go.

        Raises:
            JournalError: Also when an item is not *runner*'s.
        """
        now = time.time()
        with self._transaction() as sql:
            for change in changes:
                state = change.state
                keeps = None if release or state.stage.is_final else runner
                outcome = json.dumps(change.outcome, separators=(",", ":")) if change.outcome is not None else None
                written = sql.execute(
                    "UPDATE items SET stage = ?, state = ?, fingerprint = coalesce(?, fingerprint), outcome = ?, seconds = ?, "
                    "changed_at = ?, runner = ? WHERE key = ? AND runner = ?",
                    (
                        str(state.stage),
                        _state_text(state),
                        change.fingerprint,
                        outcome,
                        change.seconds,
                        now,
                        keeps,
                        state.key,
                        runner,
                    ),
                )
                if not written.rowcount:
                    raise JournalError(
                        f"the journal {self.name!r} gives item {state.key!r} to another run: its lock files were deleted while this one "
                        f"worked; run the same again, and leave them alone"
                    )

    def retry(self, keys: Iterable[str] | None) -> int:
        """Take dead items (all, or those of *keys*) back to where they can go on. Returns how many."""
        wanted = set(keys) if keys is not None else None
        now = time.time()
        with self._transaction() as sql:
            dead = sql.execute("SELECT key, stage, state FROM items WHERE stage = 'dead'").fetchall()
            if wanted is not None:
                wanted |= {key for key, taker in sql.execute("SELECT key, taken_by FROM older_keys") if taker in wanted}
            states = [advance(self._state(*row), Retried()) for row in dead if wanted is None or row[0] in wanted]
            sql.executemany(
                "UPDATE items SET stage = ?, state = ?, outcome = NULL, seconds = NULL, changed_at = ? WHERE key = ?",
                [(str(state.stage), _state_text(state), now, state.key) for state in states],
            )
        return len(states)

    def counts(self) -> list[tuple[str, int, int]]:
        """Return stage, number of items and bytes of their files, for each stage that there is, without what is superseded."""
        with self._connection, explained(self.name):
            rows = self._sql.execute("SELECT stage, count(*), coalesce(sum(size), 0) FROM items GROUP BY stage").fetchall()
            found = {stage: (count, size) for stage, count, size in rows}
            for stage, size in self._superseded().values():
                found[stage] = (found[stage][0] - 1, found[stage][1] - size)
        return [(stage, count, size) for stage, (count, size) in found.items() if count]

    def _superseded(self) -> dict[int, tuple[str, int]]:
        """Return positions, stages and sizes of items that came to nothing, and whose file was taken again as it was later on.

        A file that is written to is another item: its key is made of its size and time of change, or of its bytes.
        """
        found: dict[int, tuple[str, int]] = {}
        latest: dict[str, int] = {}
        several = (
            "SELECT position, source, stage, coalesce(size, 0) FROM items WHERE key GLOB '[cfr]-*' AND length(key) = 34 AND source IN "
            "(SELECT source FROM items WHERE key GLOB '[cfr]-*' AND length(key) = 34 GROUP BY source HAVING count(*) > 1) "
            "ORDER BY changed_at DESC, position DESC"
        )
        for position, source, stage, size in self._sql.execute(several):
            if latest.setdefault(source, position) != position and stage != "done":
                found[position] = (stage, size)
        return found

    def rows(self, *, superseded: bool = True) -> Iterator[tuple[Any, ...]]:
        """Yield all items in the order in which they came. Between pages of `PAGE` rows nothing is locked.

        Args:
            superseded: Whether items are among them that came to nothing before their file was taken again.
        """
        with self._connection, explained(self.name):
            left_out = {} if superseded else self._superseded()
        last = -1
        while True:
            with self._connection, explained(self.name):
                page = self._sql.execute(
                    "SELECT position, key, source, size, stage, state, outcome, seconds, changed_at FROM items "
                    "WHERE position > ? ORDER BY position LIMIT ?",
                    (last, PAGE),
                ).fetchall()
            for row in (row for row in page if row[0] not in left_out):
                yield (*row[1:5], self._state(row[1], row[4], row[5]), *row[6:])
            if len(page) < PAGE:
                return
            last = page[-1][0]

    def _state(self, key: str, stage: str, state: str) -> ItemState:
        try:
            return ItemState.from_dict({"key": key, "stage": stage, **cast("dict[str, object]", json.loads(state))})
        except (ValueError, TypeError) as error:
            raise JournalError(
                f"the journal {self.name!r} cannot be used: item {key!r} is not as it was written ({error}); restore a copy of it"
            ) from error

    # The runners

    def add_runner(self, runner: str, process: int, host: str) -> None:
        """Note that *runner* is about to work."""
        with self._transaction() as sql:
            sql.execute(
                "INSERT INTO runners (id, process, host, started_at) VALUES (?, ?, ?, ?)", (runner, process, host, time.time())
            )

    def remove_runner(self, runner: str) -> int:
        """Let go of all that *runner* works on, and forget it. Returns how many items that were."""
        with self._transaction() as sql:
            freed = sql.execute("UPDATE items SET runner = NULL WHERE runner = ?", (runner,)).rowcount
            sql.execute("DELETE FROM runners WHERE id = ?", (runner,))
        return freed

    def runners(self) -> list[tuple[str, int, str, float]]:
        """Return id, process id, host and start (seconds since 1970) of all that are noted."""
        with self._connection, explained(self.name):
            return self._sql.execute("SELECT id, process, host, started_at FROM runners ORDER BY started_at").fetchall()

    # Notes

    def note(self, name: str) -> object:
        """Return what was noted under *name*; ``None`` when nothing was."""
        with self._connection, explained(self.name):
            row = self._sql.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row is not None else None

    def set_note(self, name: str, value: object, *, keep: bool = False) -> object:
        """Note *value*, which can be JSON, under *name*; with *keep* only if nothing is there. Returns what is there then."""
        with self._transaction() as sql:
            if not keep:
                sql.execute("DELETE FROM notes WHERE name = ?", (name,))
            sql.execute("INSERT OR IGNORE INTO notes (name, value) VALUES (?, ?)", (name, json.dumps(value)))
            (text,) = sql.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return cast("object", json.loads(text))


def _connect(path: Path | None, name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path or ":memory:", timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        prepare(connection, name)
    except BaseException:
        connection.close()
        raise
    return connection


def _rows_of(sql: sqlite3.Connection, query: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the rows of *query*, which ends with ``IN``, for all of *keys*, some at a time."""
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), PAGE):
        part = keys[start : start + PAGE]
        found += sql.execute(f"{query} ({', '.join('?' * len(part))})", part)
    return found


def _state_text(state: ItemState) -> str:
    members = state.to_dict()
    del members["key"], members["stage"]  # which have columns of their own
    return json.dumps(members, separators=(",", ":"))
