"""Writes the report of a bulk change: a row of the journal on each line."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mux_async._text_encoding import spreadsheet_text
from mux_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from mux_async.bulk._journal import StoredRow

_COLUMNS: Final[tuple[str, ...]] = ("number", "label", "stage", "result", "error_type", "error", "changed_at", "key")
SUFFIXES: Final = (".csv", ".jsonl")


def check_bulk_report_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a report.

    Raises:
        InvalidRequestError: Its suffix is not ``.csv`` or ``.jsonl``, or its folder does not exist.
    """
    place = Path(path)
    if place.suffix.lower() not in SUFFIXES:
        raise InvalidRequestError(f"the report {str(place)!r} must end with {' or '.join(SUFFIXES)}")
    if not place.parent.is_dir():
        raise InvalidRequestError(f"the folder of the report {str(place)!r} does not exist")
    return place


def write_bulk_report(path: str | os.PathLike[str], rows: Iterable[StoredRow]) -> int:
    """Write a report of *rows*, the entries of a journal. Blocks.

    Args:
        path: A file that ends with ``.csv`` (with a byte order mark, so that spreadsheets read it) or ``.jsonl``; replaced if it exists.
        rows: `BulkJournal.entries`.

    Returns:
        The number of rows.

    Raises:
        InvalidRequestError: It cannot be written; a report that was there before is unchanged.
    """
    place = check_bulk_report_path(path)
    lines = [_members(row) for row in rows]
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        if place.suffix.lower() == ".jsonl":
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            part.write_text(text, "utf-8")
        else:
            with part.open("w", encoding="utf-8-sig", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(_COLUMNS)
                writer.writerows([_cell(line[name]) for name in _COLUMNS] for line in lines)
        part.replace(place)
    except OSError as error:
        raise InvalidRequestError(
            f"the report {str(place)!r} cannot be written ({error.strerror}); an older one is unchanged"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return len(lines)


def _members(row: StoredRow) -> Mapping[str, object]:
    members = {name: getattr(row, name) for name in _COLUMNS}
    return {
        **members,
        "stage": str(row.stage),
        "changed_at": datetime.fromtimestamp(row.changed_at, UTC).isoformat(timespec="seconds"),
    }


def _cell(value: object) -> object:
    return spreadsheet_text(value) if isinstance(value, str) else value
