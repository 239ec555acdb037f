"""The state file: the whole account in an SQLite database, so that a restart continues where the last run ended, however it ended.

Changes are written and synced before the response is sent, so acknowledged changes survive ``kill -9`` and a power cut. Records are rows of
JSON, converted by cattrs from their attrs fields, so that a new kind of record needs no code here. Rules:

1. Dictionaries of records are replaced by `TrackedDict`; records that were read or written are compared with what is stored, and written
   if they differ.
2. Lists of frozen records are logs: they grow at the end and are cut at the front.
3. Everything else of the account is a plain value, compared as a whole.
4. Fault rules and the levels of rate limits are not stored: they belong to one run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_origin

import attrs
import orjson
from cattrs.preconf.orjson import make_converter

from mux_async.emulator._settings import EmulatorSettings
from mux_async.emulator.state._scheduler import Changes, Scheduler, Step
from mux_async.emulator.state._state import Environment, State
from mux_async.emulator.state._tracking import ModifiedRecords, TrackedDict
from mux_async.emulator.state._upload_sessions import UploadSession

FORMAT = 1
"""Of the file. Raised when an older program could not read it, or read it wrongly."""
_NOT_KEPT = frozenset({"scheduler", "environments", "id_generator", "settings", "webhook_faults", "work_faults"})
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    number INTEGER PRIMARY KEY AUTOINCREMENT, space TEXT, kind TEXT, key TEXT, body BLOB, UNIQUE (space, kind, key)
);
CREATE TABLE IF NOT EXISTS plain (space TEXT, name TEXT, body BLOB, PRIMARY KEY (space, name));
CREATE TABLE IF NOT EXISTS step (number INTEGER PRIMARY KEY, at REAL, name TEXT, environment TEXT, subject TEXT);
"""
_ACCOUNT = ""
"""The space of what belongs to no environment; the others have the environments' names."""


class StateFileError(Exception):
    """The file cannot be used; the message says why. Nothing in it was changed."""


def _converter() -> Any:
    converter = make_converter()
    converter.register_unstructure_hook(UploadSession, lambda session: session.dump())
    converter.register_structure_hook(UploadSession, lambda dumped, _: UploadSession.load(dumped))
    return converter


@attrs.define(eq=False)
class _Rows:
    """A mapping of records: whose, which, of what type, and what of it is stored (as hashes of the rows' bodies)."""

    space: str
    kind: str
    type: Any
    content: TrackedDict[Any]
    stored: dict[str, int]


@attrs.define(eq=False)
class _Log:
    """A list of frozen records: whose, which, of what type, and those of it that are stored, by the keys of their rows."""

    owner: State | Environment
    space: str
    kind: str
    type: Any
    stored: dict[int, Any]

    @property
    def content(self) -> list[Any]:
        """The list as it is now."""
        found: list[Any] = getattr(self.owner, self.kind)
        return found

    def difference(self) -> tuple[list[int], list[tuple[int, Any]]]:
        """Return the keys of rows that were cut at the front, and the records that were added at the end, with keys for them."""
        content = self.content
        gone: list[int] = []
        for number, record in self.stored.items():
            if content and record is content[0]:
                break
            gone.append(number)
        begin = next(reversed(self.stored), 0) + 1
        return gone, list(enumerate(content[len(self.stored) - len(gone) :], begin))

    def catch_up(self) -> None:
        """Record that the current content is stored."""
        gone, added = self.difference()
        for number in gone:
            del self.stored[number]
        self.stored.update(added)


class StateFile:
    """An account and the file it is kept in, which is made if it is missing.

    The seed of an existing file overrides that of *settings*; *now* is in epoch seconds. What *state* and its records are changed to is in
    the file after the next `keep`, which compares the *modified* records.

    Raises:
        StateFileError: It is no state file, of a newer version, or in use.
    """

    def __init__(self, path: Path, settings: EmulatorSettings, now: float) -> None:
        self._database = _open(path)
        self._converter = _converter()
        self._rows: list[_Rows] = []
        self._logs: list[_Log] = []
        self._plain: dict[tuple[str, str], bytes] = {}
        self.modified = ModifiedRecords()
        try:
            self.state = self._restore(settings, now)
        except Exception as error:
            # The converter knows what a record must look like.
            self._database.close()
            raise _damaged(path, str(error) or type(error).__name__) from error
        except BaseException:
            self._database.close()
            raise
        self.state.scheduler.changes = Changes()
        self._is_first = True
        self.keep()

    def keep(self) -> None:
        """Write what changed since the last time, and wait until it is on the disk. Costs nothing when nothing changed.

        Raises:
            sqlite3.Error: It could not be written, so that it must not be acknowledged.
        """
        changes = self.state.scheduler.changes
        assert changes is not None  # noqa: S101 - put there at the beginning
        records = list(self._changed_records())
        plain = list(self._changed_plain())
        moved = any(changed[:2] != (_ACCOUNT, "now") for changed in plain)
        if not (records or moved or changes.added or changes.taken or self._is_first):
            self.modified.keys.clear()
            return
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        try:
            for space, kind, key, body in records:
                if body is None:
                    execute("DELETE FROM record WHERE space = ? AND kind = ? AND key = ?", (space, kind, key))
                else:
                    # An update keeps the number, so that the order of creation stays.
                    execute(
                        "INSERT INTO record (space, kind, key, body) VALUES (?, ?, ?, ?) "
                        "ON CONFLICT (space, kind, key) DO UPDATE SET body = excluded.body",
                        (space, kind, key, body),
                    )
            for changed in plain:
                execute("INSERT OR REPLACE INTO plain VALUES (?, ?, ?)", changed)
            insert = "INSERT INTO step (at, number, name, environment, subject) VALUES (?, ?, ?, ?, ?)"
            self._database.executemany(insert, map(attrs.astuple, changes.added))
            self._database.executemany("DELETE FROM step WHERE number = ?", [(number,) for number in changes.taken])
            execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                execute("ROLLBACK")
            raise
        self._note_stored(records, plain)

    def _note_stored(self, records: list[tuple[str, str, str, bytes | None]], plain: list[tuple[str, str, bytes]]) -> None:
        by_name = {(rows.space, rows.kind): rows for rows in self._rows}
        for space, kind, key, body in records:
            rows = by_name.get((space, kind))
            if rows is not None and body is None:
                rows.stored.pop(key, None)
            elif rows is not None:
                rows.stored[key] = hash(body)
        for log in self._logs:
            log.catch_up()
        self._plain.update({(space, name): body for space, name, body in plain})
        self.modified.keys.clear()
        self.state.scheduler.changes = Changes()
        self._is_first = False

    def _changed_records(self) -> Iterator[tuple[str, str, str, bytes | None]]:
        """Yield space, kind, key and body of the rows that differ; no body where the record is gone."""
        for number, keys in self.modified.keys.items():
            rows = self._rows[number]
            for key in keys:
                record = rows.content.get_untracked(key)
                body = None if record is None else self._written(record, rows.type)
                if rows.stored.get(key) != (None if body is None else hash(body)):
                    yield rows.space, rows.kind, key, body
        for log in self._logs:
            gone, added = log.difference()
            yield from ((log.space, log.kind, str(number), None) for number in gone)
            yield from ((log.space, log.kind, str(number), self._written(record, log.type)) for number, record in added)

    def _changed_plain(self) -> Iterator[tuple[str, str, bytes]]:
        for space, owner in self._owners():
            for field, type_, kind in _fields(type(owner)):
                if kind == "plain":
                    body = self._written(getattr(owner, field), type_)
                    if self._plain.get((space, field)) != body:
                        yield space, field, body

    def _owners(self) -> Iterator[tuple[str, State | Environment]]:
        yield _ACCOUNT, self.state
        yield from self.state.environments.items()

    def _written(self, value: object, type_: Any) -> bytes:
        return orjson.dumps(self._converter.unstructure(value, unstructure_as=type_))

    # ---- reading

    def _restore(self, settings: EmulatorSettings, now: float) -> State:
        plain: dict[tuple[str, str], bytes] = {
            (space, name): body for space, name, body in self._database.execute("SELECT space, name, body FROM plain")
        }
        seed: int | str = orjson.loads(plain.get((_ACCOUNT, "seed"), orjson.dumps(settings.seed)))
        runs: int = orjson.loads(plain.get((_ACCOUNT, "runs"), b"0"))
        # Ids that are in no record (of requests, of deleted objects) must not be used again.
        state = State.create(attrs.evolve(settings, seed=seed), now, generation=runs)
        for space, name in plain:
            if name == "id" and space != _ACCOUNT:
                state.environments.setdefault(space, Environment(orjson.loads(plain[space, name]), space))
        for name, value in (("seed", seed), ("runs", runs + 1)):
            self._database.execute("INSERT OR REPLACE INTO plain VALUES (?, ?, ?)", (_ACCOUNT, name, orjson.dumps(value)))
        self._attach(_ACCOUNT, state, plain)
        for space, environment in state.environments.items():
            self._attach(space, environment, plain)
        steps = self._database.execute("SELECT at, number, name, environment, subject FROM step")
        state.scheduler = Scheduler([Step(*row) for row in steps]) if runs else state.scheduler
        state.now = max(state.now, now)
        return state

    def _attach(self, space: str, owner: State | Environment, plain: dict[tuple[str, str], bytes]) -> None:
        """Fill *owner* with what is stored of it, and track its changes."""
        for field, type_, kind in _fields(type(owner)):
            if kind == "plain":
                body = plain.get((space, field))
                if body is not None:
                    setattr(owner, field, self._converter.structure(orjson.loads(body), type_))
                    self._plain[space, field] = body
            elif kind == "log":
                records = {
                    int(key): self._converter.structure(orjson.loads(body), type_) for key, body in self._read(space, field)
                }
                setattr(owner, field, list(records.values()))
                self._logs.append(_Log(owner, space, field, type_, records))
            else:
                self._attach_rows(space, owner, field, type_)

    def _attach_rows(self, space: str, owner: State | Environment, field: str, type_: Any) -> None:
        stored = dict(self._read(space, field))
        fresh: dict[str, Any] = getattr(owner, field)
        content = {key: self._converter.structure(orjson.loads(body), type_) for key, body in stored.items()}
        content.update(_provisioned(field, fresh, content))
        tracked = TrackedDict(content, self.modified, len(self._rows))
        setattr(owner, field, tracked)
        self._rows.append(_Rows(space, field, type_, tracked, {key: hash(body) for key, body in stored.items()}))
        for key in fresh:
            if key in content:
                self.modified.note(len(self._rows) - 1, key)

    def _read(self, space: str, kind: str) -> list[tuple[str, bytes]]:
        found = self._database.execute(
            "SELECT key, body FROM record WHERE space = ? AND kind = ? ORDER BY number", (space, kind)
        )
        return found.fetchall()

    @contextmanager
    def reading(self) -> Generator[None, None, None]:
        """Read records without tracking them."""
        self.modified.is_paused = True
        try:
            yield
        finally:
            self.modified.is_paused = False

    def clear(self) -> None:
        """Delete everything in the file, the seed too, and close it."""
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        for table in ("record", "plain", "step"):
            execute(f"DELETE FROM {table}")  # noqa: S608 - our own three names
        execute("COMMIT")
        self._database.close()

    def close(self) -> None:
        """Write all changes, and close the file."""
        try:
            self.keep()
        finally:
            self._database.close()


def _damaged(path: Path, found: str) -> StateFileError:
    return StateFileError(
        f"the state file {str(path)!r} is damaged ({found}); put a copy in its place, or begin anew without it"
    )


def _open(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StateFileError(f"cannot open the state file {str(path)!r}: {error}") from error
    try:
        # Two emulators on one file would each overwrite what the other acknowledged.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version > FORMAT or (tables and not version):
            raise StateFileError(f"{str(path)!r} is not a state file that this version can read")
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _damaged(path, found)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
    except sqlite3.Error as error:
        database.close()
        raise StateFileError(f"cannot use the state file {str(path)!r}: {error}") from error
    except StateFileError:
        database.close()
        raise
    return database


def _fields(owner: type[State | Environment]) -> Iterator[tuple[str, Any, str]]:
    """Yield name, type (of a record, where there are several) and kind of what is kept: ``rows``, ``log`` or ``plain``."""
    for field in attrs.fields(attrs.resolve_types(owner)):
        if field.name in _NOT_KEPT:
            continue
        arguments: tuple[Any, ...] = get_args(field.type)
        if get_origin(field.type) is dict and attrs.has(arguments[1]):
            yield field.name, arguments[1], "rows"
        elif get_origin(field.type) is list and attrs.has(arguments[0]):
            yield field.name, arguments[0], "log"
        else:
            yield field.name, field.type, "plain"


def _provisioned(field: str, fresh: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """Return what the settings provide of *field* beyond what is stored, to add: each endpoint and configuration once."""
    if field == "webhooks":
        addresses = {endpoint.address for endpoint in stored.values()}
        return {key: endpoint for key, endpoint in fresh.items() if endpoint.address not in addresses}
    return {} if stored else fresh
