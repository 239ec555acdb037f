"""The report of an ingest: all items of the journal, including those of earlier runs, as CSV or JSON lines.

It is written to a temporary file, which replaces the old report when it is complete on disk. After a failure the old report is still there.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from mux_async._text_encoding import spreadsheet_text
from mux_async.errors import InvalidRequestError, MuxError
from mux_async.ingest._events import playback_url
from mux_async.ingest._journal import JournalEntry
from mux_async.ingest._manifest_rows import Problem
from mux_async.ingest.machine import Stage

# fmt: off
COLUMNS: Final = (
    "source", "status", "key", "asset_id", "upload_id", "playback_ids", "playback_urls", "bytes", "duration", "seconds", "error",
)
# fmt: on
"""``status`` is ``ready``, ``failed``, ``unfinished``, ``not_started`` or, of a bad line, ``refused``. ``bytes`` of the file, ``duration``
of the media and ``seconds`` until it was ready are empty if not known. ``playback_ids`` is policy by id in JSON lines; in CSV it is
``policy:id``, and lists are separated by spaces."""

_STATUS: Final[Mapping[Stage, str]] = {Stage.DONE: "ready", Stage.DEAD: "failed", Stage.PLANNED: "not_started"}
_FORMS: Final = (".csv", ".jsonl", ".ndjson")


class ReportError(MuxError):
    """The report could not be written. The journal has all its content."""


def check_report_path(path: str | os.PathLike[str]) -> Path:
    """Raise `InvalidRequestError` if a report cannot be written to *path* later: its suffix or its folder is wrong."""
    found = Path(path)
    if found.suffix.lower() not in _FORMS:
        raise InvalidRequestError(f"the report {str(path)!r} must be a .csv or a .jsonl file: rename it")
    if found.is_dir() or not os.access(found.parent, os.W_OK):
        raise InvalidRequestError(f"the report {str(path)!r} cannot be written: name a file in an existing, writable folder")
    return found


def write_report(
    path: str | os.PathLike[str], entries: Iterable[JournalEntry], *, base_url: str, problems: Sequence[Problem] = ()
) -> int:
    """Write a report, as CSV or JSON lines by its suffix. Blocks.

    Args:
        path: Of the report; an existing file is replaced.
        entries: The items, from `Journal.entries`.
        base_url: The server that has the assets, for playback URLs.
        problems: Lines that were skipped.

    Returns:
        Number of rows.

    Raises:
        InvalidRequestError: The suffix of *path* is unknown, or its folder is missing or not writable.
        ReportError: The disk is full, or failed. The old report is still there.
    """
    target = check_report_path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    rows = _rows(entries, base_url, problems)
    lines = _csv_lines(rows) if target.suffix.lower() == ".csv" else (json.dumps(row) + "\n" for row in rows)
    count = -1 if target.suffix.lower() == ".csv" else 0  # for its header
    try:
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            for line in lines:
                file.write(line)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise ReportError(
            f"the report {str(path)!r} could not be written ({error.strerror}); the journal has all its content: "
            "free some space, then write it again with 'mux-async ingest-status --report'"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return count


def _rows(entries: Iterable[JournalEntry], base_url: str, problems: Sequence[Problem]) -> Iterator[dict[str, object]]:
    for entry in entries:
        yield {
            "source": entry.source,
            "status": _STATUS.get(entry.stage, "unfinished"),
            "key": entry.key,
            "asset_id": entry.asset_id,
            "upload_id": entry.upload_id,
            "playback_ids": dict(entry.playback_ids),
            "playback_urls": [
                playback_url(base_url, each) for each, policy in entry.playback_ids.items() if policy == "public"
            ],
            "bytes": entry.size,
            "duration": entry.duration,
            "seconds": entry.seconds,
            "error": f"{entry.error.type}: {entry.error.message}" if entry.error is not None else None,
        }
    for problem in problems:
        where = f"{problem.manifest or ''}:{problem.line}" if problem.line is not None else problem.manifest or ""
        lists: dict[str, object] = {"playback_ids": {}, "playback_urls": []}
        yield {**dict.fromkeys(COLUMNS), **lists, "source": where, "status": "refused", "error": str(problem)}


def _csv_lines(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    yield ",".join(COLUMNS) + "\n"
    for row in rows:
        writer.writerow([csv_cell(row[name]) for name in COLUMNS])
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def csv_cell(value: object) -> object:
    """Return a CSV cell."""
    if isinstance(value, dict):
        return " ".join(f"{policy}:{each}" for each, policy in cast("dict[str, str]", value).items())
    if isinstance(value, list):
        return " ".join(cast("list[str]", value))
    return spreadsheet_text(value) if isinstance(value, str) else value
