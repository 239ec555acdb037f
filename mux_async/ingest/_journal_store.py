"""The SQL of the journal: one SQLite file, one row for each item, changes of many items in one transaction.

Durability: the file is in write-ahead mode with ``synchronous=FULL``. Every transaction is flushed (``fsync``) to the log before it is
committed; after a crash of the process, the system or the machine, it is there as a whole or not at all. SQLite copies the log into the
file from time to time, and when the last connection closes.

Every method blocks; the runner calls them in worker threads. A lock lets all threads share one connection; SQLite's locks let processes
share the file.
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

from mux_async._journal_errors import JournalError, explained
from mux_async._sqlite import SqliteConnection, open_database
from mux_async.ingest._items import Item, fingerprint
from mux_async.ingest._journal_file import prepare_file
from mux_async.ingest.machine import ItemState, Retried, advance

BUSY_TIMEOUT: Final = 30.0
"""Seconds to wait for another process to finish its transaction; they take milliseconds."""
PAGE: Final = 1000
"""Rows that are read at a time."""


@attrs.frozen
class StoredItem:
    """An item of the journal."""

    state: ItemState
    """With the key that the journal has."""
    fingerprint: str | None
    """Of the file when its upload was created."""
    runner: str | None
    """Id of the run that has claimed it."""


@attrs.frozen
class Change:
    """A change of an item."""

    state: ItemState
    fingerprint: str | None = None
    """``None`` keeps the stored one."""
    outcome: Mapping[str, object] | None = None
    """JSON members of its result; ``None`` before the end, as *seconds*."""
    seconds: float | None = None


class JournalStore:
    """An open journal file, or a journal in memory. Every method raises `JournalError` if it cannot be read or written."""

    def __init__(self, path: Path | None, *, create: bool = True) -> None:
        self.path = path
        self.name: str = str(path) if path is not None else "in memory"
        if path is not None and not create and not path.exists():
            raise JournalError(f"there is no journal {self.name!r}: check its name; 'mux-async ingest' creates it")
        self._connection = SqliteConnection(
            partial(open_database, path, BUSY_TIMEOUT, partial(prepare_file, name=self.name)), in_memory=path is None
        )
        self._is_closed = False
        with self._connection, explained(self.name):
            self._connection.get()

    @property
    def _sql(self) -> sqlite3.Connection:
        """The connection of this process. Requires the lock."""
        if self._is_closed:
            raise JournalError(f"the journal {self.name!r} was closed")
        return self._connection.get()

    def close(self) -> None:
        """Close the file. May be called repeatedly."""
        with self._connection, explained(self.name):
            self._is_closed = True
            self._connection.drop()

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._connection, explained(self.name):
            sql = self._sql
            sql.execute("BEGIN IMMEDIATE")
            with sql:  # commits, or rolls back
                yield sql

    # The items

    def add_items(self, items: Sequence[Item]) -> list[StoredItem]:
        """Add items that are not in the journal yet, and return all of them as stored, in the same order."""
        now = time.time()
        with self._transaction() as sql:
            keys = self._keys(sql, items, take=True)
            rows = [
                (
                    key,
                    item.source,
                    item.size,
                    fingerprint(item),
                    _state_text(ItemState(key, is_fetched=item.url is not None)),
                    now,
                )
                for key, item in zip(keys, items, strict=True)
            ]
            # Items that were not begun get the current name and size; others keep those with which they were begun.
            sql.executemany(
                "INSERT INTO items (key, source, size, fingerprint, stage, state, changed_at) VALUES (?, ?, ?, ?, 'planned', ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET source = excluded.source, size = excluded.size, fingerprint = excluded.fingerprint "
                "WHERE stage = 'planned' AND (source, size, fingerprint) IS NOT (excluded.source, excluded.size, excluded.fingerprint)",
                rows,
            )
            found = self._read_items(sql, keys)
        return [found[key] for key in keys]

    def stored_keys(self, items: Sequence[Item]) -> list[str]:
        """Return the keys under which the journal has items, or would store them, in the same order.

        In a journal of an earlier version, an item may have the key that was derived from its URL then. Several URLs (``?se=1``,
        ``?se=2``) had the same key, and one asset was created, of the first in the list. The first URL that is named now gets that
        entry, in later runs too; the others are new items.
        """
        with self._connection, explained(self.name):
            return self._keys(self._sql, items, take=False)

    def _keys(self, sql: sqlite3.Connection, items: Sequence[Item], *, take: bool) -> list[str]:
        keys = [item.key for item in items]
        if sql.execute("SELECT 1 FROM older_keys LIMIT 1").fetchone() is None:
            return keys
        asked = {*keys, *(item.older_key for item in items if item.older_key is not None)}
        taken = dict(_select(sql, "SELECT key, taken_by FROM older_keys WHERE key IN", list(asked)))
        known = {key for (key,) in _select(sql, "SELECT key FROM items WHERE key IN", keys)}
        before = dict(taken)
        for number, item in enumerate(items):
            older = item.older_key
            if item.key in taken:
                if taken[item.key] not in {None, item.key}:
                    keys[number] = f"{item.key}-new"  # its own key belongs to another URL
                else:
                    taken[item.key] = item.key
            elif older is not None and older in taken and item.key not in known and taken[older] in {None, item.key}:
                taken[older] = item.key
                keys[number] = older
        if take:
            changes = [(taker, key) for key, taker in taken.items() if taker != before[key]]
            sql.executemany("UPDATE older_keys SET taken_by = ? WHERE key = ?", changes)
        return keys

    def read_items(self, keys: Sequence[str]) -> dict[str, StoredItem]:
        """Return items by key, without those that are not in the journal."""
        with self._connection, explained(self.name):
            return self._read_items(self._sql, keys)

    def _read_items(self, sql: sqlite3.Connection, keys: Sequence[str]) -> dict[str, StoredItem]:
        rows = _select(sql, "SELECT key, stage, state, fingerprint, runner FROM items WHERE key IN", keys)
        return {
            key: StoredItem(self._state(key, stage, state), fingerprint, runner)
            for key, stage, state, fingerprint, runner in rows
        }

    def claim(self, keys: Sequence[str], runner: str) -> tuple[set[str], dict[str, StoredItem]]:
        """Claim unfinished items for *runner* that no run has claimed. Returns the claimed keys, and all items as stored then."""
        claim = "UPDATE items SET runner = ? WHERE key = ? AND runner IS NULL AND stage NOT IN ('done', 'dead')"
        with self._transaction() as sql:
            ours = {key for key in keys if sql.execute(claim, (runner, key)).rowcount}
            return ours, self._read_items(sql, keys)

    def claim_unknown(self, runner: str) -> list[ItemState]:
        """Claim all items for *runner* whose create has an unknown outcome and that no run has claimed."""
        with self._transaction() as sql:
            rows = sql.execute(
                "UPDATE items SET runner = ? WHERE stage = 'creating' AND runner IS NULL RETURNING key, stage, state", (runner,)
            ).fetchall()
        return [self._state(*row) for row in rows]

    def write(self, changes: Iterable[Change], runner: str, *, release: bool = False) -> None:
        """Write changes of items that *runner* must have claimed, in one transaction. Releases finished items; with *release* all."""
        now = time.time()
        with self._transaction() as sql:
            for change in changes:
                state = change.state
                keeps = None if release or state.stage.is_final else runner
                outcome = json.dumps(change.outcome, separators=(",", ":")) if change.outcome is not None else None
                new = (str(state.stage), _state_text(state), change.fingerprint, outcome, change.seconds, now, keeps)
                written = sql.execute(
                    "UPDATE items SET stage = ?, state = ?, fingerprint = coalesce(?, fingerprint), outcome = ?, seconds = ?, "
                    "changed_at = ?, runner = ? WHERE key = ? AND runner = ?",
                    (*new, state.key, runner),
                )
                if not written.rowcount:
                    raise JournalError(
                        f"the journal {self.name!r} gives item {state.key!r} to another run: its lock files were deleted during this "
                        f"run; run the same again, and do not delete them"
                    )

    def retry(self, keys: Iterable[str] | None) -> int:
        """Let dead items (all, or those of *keys*) continue. Returns the number of items."""
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
        """Return stage, number of items and bytes of their files, for each stage with items, without superseded ones."""
        with self._connection, explained(self.name):
            rows = self._sql.execute("SELECT stage, count(*), coalesce(sum(size), 0) FROM items GROUP BY stage").fetchall()
            found = {stage: (count, size) for stage, count, size in rows}
            for stage, size in self._find_superseded().values():
                found[stage] = (found[stage][0] - 1, found[stage][1] - size)
        return [(stage, count, size) for stage, (count, size) in found.items() if count]

    def _find_superseded(self) -> dict[int, tuple[str, int]]:
        """Return positions, stages and sizes of unfinished items of which a later version of the same file exists.

        A changed file is a new item: its key is derived from its size and modification time, or from its bytes.
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
        """Yield all items in the order in which they were added. Takes no lock between pages of `PAGE` rows."""
        with self._connection, explained(self.name):
            left_out = {} if superseded else self._find_superseded()
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
                f"the journal {self.name!r} cannot be used: item {key!r} is invalid ({error}); restore a copy of it"
            ) from error

    # The runners

    def add_runner(self, runner: str, process: int, host: str) -> None:
        """Store a new run."""
        with self._transaction() as sql:
            sql.execute(
                "INSERT INTO runners (id, process, host, started_at) VALUES (?, ?, ?, ?)", (runner, process, host, time.time())
            )

    def remove_runner(self, runner: str) -> int:
        """Release all items of *runner*, and delete it. Returns the number of items."""
        with self._transaction() as sql:
            freed = sql.execute("UPDATE items SET runner = NULL WHERE runner = ?", (runner,)).rowcount
            sql.execute("DELETE FROM runners WHERE id = ?", (runner,))
        return freed

    def runners(self) -> list[tuple[str, int, str, float]]:
        """Return id, process id, host and start (seconds since 1970) of all stored runs."""
        with self._connection, explained(self.name):
            return self._sql.execute("SELECT id, process, host, started_at FROM runners ORDER BY started_at").fetchall()

    # Notes

    def note(self, name: str) -> object:
        """Return the value of *name*; ``None`` if there is none."""
        with self._connection, explained(self.name):
            row = self._sql.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row is not None else None

    def set_note(self, name: str, value: object, *, keep: bool = False) -> object:
        """Store a JSON value under *name*; with *keep* only if there is none. Returns the stored value."""
        with self._transaction() as sql:
            if not keep:
                sql.execute("DELETE FROM notes WHERE name = ?", (name,))
            sql.execute("INSERT OR IGNORE INTO notes (name, value) VALUES (?, ?)", (name, json.dumps(value)))
            (text,) = sql.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return cast("object", json.loads(text))


def _select(sql: sqlite3.Connection, query: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the rows of *query*, which ends with ``IN``, for all of *keys*, in parts."""
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), PAGE):
        part = keys[start : start + PAGE]
        found += sql.execute(f"{query} ({', '.join('?' * len(part))})", part)
    return found


def _state_text(state: ItemState) -> str:
    members = state.to_dict()
    del members["key"], members["stage"]  # which have columns of their own
    return json.dumps(members, separators=(",", ":"))
