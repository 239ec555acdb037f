"""Errors of a journal: translates SQLite's codes into messages that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from mux_async.errors import MuxError


class JournalError(MuxError):
    """The journal cannot be read or written. Nothing was created without a stored intent, so the run can be continued."""


_RERUN: Final = "then run the same again: the journal has everything that was begun"
_LOST: Final = (
    "restore a copy of it, or save what can be read with `sqlite3 FILE .recover`; "
    "a run without its journal starts over and repeats what was done"
)
_MEANINGS: Final[dict[int, str]] = {
    sqlite3.SQLITE_FULL: f"the disk is full: make room, {_RERUN}",
    sqlite3.SQLITE_IOERR: f"the disk failed, or is full: check it, {_RERUN}",
    sqlite3.SQLITE_READONLY: f"it is read-only: correct the permissions of the file and its folder, {_RERUN}",
    sqlite3.SQLITE_PERM: f"access is denied: correct the permissions of the file and its folder, {_RERUN}",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: name one in a folder that exists and can be written",
    sqlite3.SQLITE_BUSY: f"another program has locked it for too long: close that program, {_RERUN}",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite file: name another one",
    sqlite3.SQLITE_CORRUPT: f"it is damaged: {_LOST}",
}
"""By primary code; an extended one has that in its lowest byte (sqlite.org/rescode.html)."""


@contextmanager
def explained(name: str) -> Generator[None]:
    """Turn errors of SQLite in the block into a `JournalError` about the journal *name*."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        meaning = _MEANINGS.get(code & 0xFF) if isinstance(code, int) else None
        reason = f"{meaning} ({error})" if meaning is not None else str(error)
        raise JournalError(f"the journal {name!r} cannot be used: {reason}") from error
