"""Lists of what to ingest, in the three forms that people have: plain lines, JSON lines, CSV with a header.

- ``.csv``: a header names the columns; empty cells say nothing.
- ``.jsonl``, ``.ndjson``: one object a line.
- anything else: one URL or path a line; ``#`` begins a comment.

Columns and members are the same: ``url`` or ``path``; if wished ``key``, ``priority`` (a whole number; higher ones go first), ``title``,
``creator_id``, ``external_id``, ``passthrough``; and any setting that creating an asset takes (``playback_policies``, ``video_quality``,
``tracks`` ...), each checked where it stands: see ``_settings``. A JSON object may hold ``meta`` and ``settings`` as objects of their own,
and ``extra``, whose members are sent unchecked. Paths are taken from the folder of the manifest.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, cast

import attrs

from mux_async.errors import InvalidRequestError
from mux_async.ingest._items import FETCHED, NO_WISHES, Item, Wishes, file_item, remote_item, url_item
from mux_async.ingest._problems import Problem
from mux_async.ingest._settings import check, fold, kinds, read_cell, suggest

ManifestForm: TypeAlias = Literal["lines", "jsonl", "csv"]
MANIFEST_SUFFIXES: Mapping[str, ManifestForm] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

_PLACES = ("url", "path")
_META = ("title", "creator_id", "external_id")
_OWN = (*_PLACES, "key", "priority", *_META)
_OBJECTS = ("meta", "settings", "extra")

Row: TypeAlias = Mapping[str, object]
Found: TypeAlias = Item | Problem


@attrs.frozen
class Manifest:
    """A list of what to ingest, as text.

    Attributes:
        text: All of it.
        form: How it is written.
        name: For messages.
        folder: Where its paths begin.
    """

    text: str = attrs.field(repr=False)
    form: ManifestForm = "lines"
    name: str = "the manifest"
    folder: Path = attrs.field(factory=Path)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a file; the end of its name tells the form.

        Raises:
            InvalidRequestError: It cannot be read, or is no UTF-8 text.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise InvalidRequestError(
                f"the manifest {str(path)!r} cannot be read ({error.strerror}): check its name and permissions"
            ) from error
        except UnicodeDecodeError as error:
            raise InvalidRequestError(f"the manifest {str(path)!r} is not UTF-8 text: save it as that") from error
        return cls(text, MANIFEST_SUFFIXES.get(path.suffix.lower(), "lines"), path.name, path.parent)

    def items(self, *, by_content: bool = False) -> Iterator[Found]:
        """Yield the items, and in the place of a wrong line what is wrong with it. Files are opened once, which blocks.

        Args:
            by_content: See `file_item`.
        """
        read = {"lines": self._lines, "jsonl": self._json_lines, "csv": self._csv}[self.form]
        for number, row in read():
            if isinstance(row, Problem):
                yield attrs.evolve(row, manifest=self.name, line=number)
                continue
            problems = list(_check_row(row))
            if not problems:
                try:
                    yield self._make(row, by_content=by_content)
                    continue
                except InvalidRequestError as error:
                    problems = [Problem(str(error))]
            for problem in problems:
                yield attrs.evolve(problem, manifest=self.name, line=number)

    def _lines(self) -> Iterator[tuple[int, Row | Problem]]:
        for number, line in enumerate(
            self.text.split("\n"), 1
        ):  # not `splitlines`: names may hold what Unicode calls a line break
            name = line.strip()
            if name and not name.startswith("#"):
                yield number, {"url" if "://" in name else "path": name}

    def _json_lines(self) -> Iterator[tuple[int, Row | Problem]]:
        example = 'a line is like {"url": "https://..."}'
        for number, line in enumerate(self.text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                yield number, Problem(f"it is not JSON from character {error.colno} on ({error.msg}); {example}")
            except (ValueError, RecursionError):
                yield number, Problem(f"it is not JSON; {example}")
            else:
                is_object = isinstance(row, dict)
                yield number, _flat(cast("dict[str, object]", row)) if is_object else Problem(f"it is not an object; {example}")

    def _csv(self) -> Iterator[tuple[int, Row | Problem]]:
        reader = csv.DictReader(io.StringIO(self.text, newline=""), strict=True)
        try:
            header = [name.strip() for name in reader.fieldnames or ()]
            if wrong := _check_header(header):
                yield from ((1, problem) for problem in wrong)
                return
            reader.fieldnames = header
            for row in reader:
                yield reader.line_num, _read_row(cast("Mapping[str | None, str | None]", row))
        except csv.Error as error:  # of the reader; what follows cannot be made out
            yield reader.line_num + 1, Problem(f"it cannot be read ({error}): look for a quote that is never closed")

    def _make(self, row: Row, *, by_content: bool) -> Item:
        place = cast("str", row.get("url") or row.get("path"))
        wishes = _wishes(row)
        if "url" in row or "://" in place:
            return address_item(place, wishes)
        return file_item(self.folder / place, wishes, by_content=by_content)


def address_item(address: str, wishes: Wishes = NO_WISHES) -> Item:
    """Return the item of an address: one that Mux fetches, or one that fsspec reads.

    Raises:
        InvalidRequestError: It is neither, or cannot be read.
    """
    scheme, found, _ = address.partition("://")
    return remote_item(address, wishes) if found and scheme not in {*FETCHED, "ftp", ""} else url_item(address, wishes)


def _check_header(header: list[str]) -> list[Problem]:
    known = (*_OWN, *kinds())
    if not set(_PLACES) & set(header):
        hint = "; separate columns by commas" if len(header) == 1 and {";", "\t"} & set(header[0]) else ""
        return [Problem(f"the header names neither 'url' nor 'path'; the first line says what the columns are{hint}")]
    unknown = [name for name in dict.fromkeys(header) if name not in known]
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    return [
        *(Problem(f"{name!r} is nothing that a manifest has: {suggest(name, known)}", column=name) for name in unknown),
        *(Problem("it is there twice: leave one out", column=name) for name in twice if name not in unknown),
    ]


def _read_row(cells: Mapping[str | None, str | None]) -> Row | Problem:
    """Turn the cells of a row into values. A cell that is missing or empty says nothing."""
    if None in cells:
        return Problem("it has more columns than the header; put values that hold a comma in quotes")
    row: dict[str, object] = {}
    for name, text in cells.items():
        if name is None or not text:
            continue
        try:
            row[name] = int(text) if name == "priority" else text if name in _OWN else read_cell(name, text)
        except ValueError as error:
            return Problem("it is a whole number" if name == "priority" else str(error), column=name)
    return row


def _flat(row: dict[str, object]) -> Row | Problem:
    """Bring the members of ``meta`` and ``settings`` up among the others."""
    flat = {name: value for name, value in row.items() if name not in {"meta", "settings"}}
    for name in ("meta", "settings"):
        inner = row.get(name, {})
        if not isinstance(inner, dict):
            return Problem("it is an object", column=name)
        for member, value in cast("dict[str, object]", inner).items():
            if name == "meta" and member not in _META:
                return Problem(f"it holds {member!r}; it takes {', '.join(_META)}", column=name)
            if name == "settings" and (member in _PLACES or member in _OBJECTS):
                return Problem(f"it holds {member!r}, which has a place of its own", column=name)
            flat[member] = value
    return flat


def _check_row(row: Row) -> Iterator[Problem]:
    """Yield what is wrong with a line; nothing has been opened yet."""
    given = kinds()
    for name, value in row.items():
        if name not in given and name not in _OWN and name != "extra":
            known = (*_OWN, *given, *_OBJECTS)
            yield Problem(f"{name!r} is nothing that a manifest has: {suggest(name, known)}", column=name)
        elif name == "priority":
            if isinstance(value, bool) or not isinstance(value, int):
                yield Problem(f"{value!r} is not a whole number", column=name)
        elif name == "extra":
            if not isinstance(value, dict):
                yield Problem("it is an object", column=name)
        elif name in _OWN and not isinstance(value, str):
            yield Problem(f"{value!r} is not text", column=name)
    places = [row[name] for name in _PLACES if row.get(name)]
    if len(places) != 1:
        yield Problem("it needs one of 'url' and 'path', and not both")
    else:
        settings = {name: value for name, value in row.items() if name in given}
        for name, what in check(settings, is_clip=str(places[0]).startswith("mux://")):
            yield Problem(what, column=name)


def _wishes(row: Row) -> Wishes:
    if not row.keys() - set(_PLACES):
        return NO_WISHES
    given = {name: value for name, value in row.items() if name in kinds() and name != "passthrough"}
    return Wishes(
        key=cast("str | None", row.get("key")),
        passthrough=cast("str | None", row.get("passthrough")),
        meta={name: cast("str", row[name]) for name in _META if name in row},
        settings=fold(given) | cast("dict[str, object]", row.get("extra", {})),
        priority=cast("int", row.get("priority", 0)),
    )
