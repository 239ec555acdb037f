"""What can be wrong with a journal, in words: SQLite's codes become sentences that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from mux_async.errors import MuxError


class JournalError(MuxError):
    """The journal cannot be read or written. Nothing is created whose intent it does not hold, so that the run can be taken up again."""


_RERUN: Final = "then run the same again: nothing was begun that the journal does not know of"
_LOST: Final = (
    "restore a copy of it, or save what can be read with `sqlite3 FILE .recover`; "
    "a run without its journal makes again what it had made"
)
_MEANINGS: Final[dict[int, str]] = {
    sqlite3.SQLITE_FULL: f"the disk is full: make room, {_RERUN}",
    sqlite3.SQLITE_IOERR: f"the disk failed, or is full: look after it, {_RERUN}",
    sqlite3.SQLITE_READONLY: f"it is read-only: mend the permissions of the file and its folder, {_RERUN}",
    sqlite3.SQLITE_PERM: f"access is denied: mend the permissions of the file and its folder, {_RERUN}",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: name one in a folder that exists and can be written",
    sqlite3.SQLITE_BUSY: f"another program holds it for too long: close what has it open, {_RERUN}",
    sqlite3.SQLITE_NOTADB: "it is no journal, nor any SQLite file: name another one",
    sqlite3.SQLITE_CORRUPT: f"it is damaged: {_LOST}",
}
"""By primary code; an extended one has that in its lowest byte (sqlite.org/rescode.html)."""


@contextmanager
def explained(name: str) -> Generator[None]:
    """Turn what SQLite raises in the block into a `JournalError` about the journal *name*."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        meaning = _MEANINGS.get(code & 0xFF) if isinstance(code, int) else None
        said = f"{meaning} ({error})" if meaning is not None else str(error)
        raise JournalError(f"the journal {name!r} cannot be used: {said}") from error
