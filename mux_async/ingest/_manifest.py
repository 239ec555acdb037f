"""Manifests: lists of items as plain lines, JSON, or tables with a header.

- ``.csv``, ``.tsv``: a header names the columns, in any case; separated by commas, semicolons, tabs or bars; empty cells are unset.
- ``.jsonl``, ``.ndjson``: one object per line. ``.json``: an array of objects, or one object per line.
- anything else: one URL or path per line; ``#`` begins a comment. Names may end with NUL instead, as ``find -print0`` writes them.

Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Paths are bytes and need not be UTF-8.

Columns and members have the same names: ``url`` or ``path``; optionally ``key``, ``priority`` (a whole number; higher ones go first),
``title``, ``creator_id``, ``external_id``, ``passthrough``; and any setting of a create call (``playback_policies``, ``video_quality``,
``tracks`` ...), see ``_asset_settings``. A JSON object may hold ``meta`` and ``settings`` as objects, and ``extra``, whose members are sent
unchecked. Paths are relative to the folder of the manifest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias, cast

import attrs

from mux_async._text_encoding import EncodingError, decode, is_path, is_text, legible, stripped
from mux_async._tracebacks import hides_methods
from mux_async.errors import InvalidRequestError
from mux_async.ingest._asset_settings import check, read_cell, setting_types, suggest, to_create_members
from mux_async.ingest._file_types import MANIFEST_SUFFIXES, check_media_name
from mux_async.ingest._items import FETCHED_SCHEMES, NO_OPTIONS, Item, ItemOptions, file_item, remote_item, url_item
from mux_async.ingest._manifest_rows import ManifestForm, Problem, Row, read_rows
from mux_async.ingest._private_addresses import check_public

_SOURCE_COLUMNS = ("url", "path")
_META_COLUMNS = ("title", "creator_id", "external_id")
_MANIFEST_COLUMNS = (*_SOURCE_COLUMNS, "key", "priority", *_META_COLUMNS)
_OBJECT_MEMBERS = ("meta", "settings", "extra")
_VERBATIM = frozenset({"title", "creator_id", "external_id", "key", "passthrough"})
"""Columns whose blanks are kept."""

ItemOrProblem: TypeAlias = Item | Problem


@hides_methods
@attrs.frozen
class Manifest:
    """A list of items, as text.

    Attributes:
        text: The whole text.
        form: Its format.
        name: Its name in messages.
        folder: The folder to which its paths are relative.
    """

    text: str = attrs.field(repr=False)
    form: ManifestForm = "lines"
    name: str = "the manifest"
    folder: Path = attrs.field(factory=Path)

    @classmethod
    def read(cls, path: Path, *, form: ManifestForm | None = None, encoding: str | None = None) -> Manifest:
        """Read a file.

        Args:
            path: The file.
            form: Its format; ``None`` to choose it by the suffix.
            encoding: As for `from_bytes`.

        Raises:
            InvalidRequestError: It cannot be read, or is not text.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InvalidRequestError(
                f"the manifest {legible(str(path))!r} cannot be read ({error.strerror}): check its name and permissions"
            ) from error
        form = form or MANIFEST_SUFFIXES.get(path.suffix.lower(), "lines")
        return cls.from_bytes(data, form, name=legible(path.name), folder=path.parent, encoding=encoding)

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        form: ManifestForm = "lines",
        *,
        name: str = "the manifest",
        folder: Path | None = None,
        encoding: str | None = None,
    ) -> Manifest:
        """Return the manifest in *data*.

        Args:
            data: The whole content.
            form: Its format.
            name: Its name in messages.
            folder: The folder to which its paths are relative; ``None`` for the working directory.
            encoding: Its encoding; ``None`` for UTF-8, or as its byte order mark says.

        Raises:
            InvalidRequestError: It is not text.
        """
        try:
            text = decode(data, encoding)
        except EncodingError as error:
            raise InvalidRequestError(f"{name} is not UTF-8 text, and {error}: save it as UTF-8") from None
        if data and not text:
            raise InvalidRequestError(f"{name} is not UTF-8 text and has only a byte order mark: save it as UTF-8")
        return cls(text, form, name, Path() if folder is None else folder)

    def items(self, *, by_content: bool = False, allow_private: bool = False) -> Iterator[ItemOrProblem]:
        """Yield the items, and for each bad line its problems. Opens each file once, which blocks.

        Args:
            by_content: See `file_item`.
            allow_private: See `make_plan`.
        """
        for _, found in self.entries(by_content=by_content, allow_private=allow_private):
            yield found

    def entries(self, *, by_content: bool = False, allow_private: bool = False) -> Iterator[tuple[int, ItemOrProblem]]:
        """Same as `items`, with the number of each line."""
        known = (*_MANIFEST_COLUMNS, *setting_types())
        for number, row in read_rows(self.text, self.form, known):
            problems = [row] if isinstance(row, Problem) else []
            if not isinstance(row, Problem):
                row, problems = (_read_cells if self.form == "csv" else _flatten)(row)
                problems += _check_row(row, missing=not problems)
                if not problems:
                    try:
                        yield number, self._make(row, by_content=by_content, allow_private=allow_private)
                    except InvalidRequestError as error:
                        problems = [Problem(str(error))]
            for problem in problems:
                yield number, attrs.evolve(problem, manifest=self.name, line=number)

    def _make(self, row: Row, *, by_content: bool, allow_private: bool) -> Item:
        place = cast("str", row.get("url") or row.get("path"))
        options = _item_options(row)
        is_address = "url" in row or "://" in place
        if not allow_private:
            check_public(stripped(place) if is_address else "", options.settings)
        if is_address:
            return address_item(stripped(place), options)
        path = self._path(place)
        check_media_name(path.name)
        return file_item(path, options, by_content=by_content)

    def _path(self, place: str) -> Path:
        """Return the file of a name: as written, without surrounding blanks, or decoded from the Windows code page."""
        names = [place] if self.form == "null" else [place, stripped(place)]
        if sys.getfilesystemencoding() != "utf-8":  # the manifest has the bytes of names, independent of the locale
            names = [os.fsdecode(name.encode(errors="surrogateescape")) if is_path(name) else name for name in names]
        elif not is_text(place) and is_path(place):
            names.append(place.encode(errors="surrogateescape").decode("cp1252", "replace"))
        paths = [self.folder / name for name in names]
        return next((path for path in paths if os.path.lexists(path)), paths[min(len(paths), 2) - 1])


def address_item(address: str, options: ItemOptions = NO_OPTIONS) -> Item:
    """Return the item of an address that Mux fetches or fsspec reads; raise `InvalidRequestError` if it is neither."""
    scheme, found, rest = address.partition("://")
    if (scheme := scheme.lower()) in FETCHED_SCHEMES:
        return url_item(address, options)
    make = remote_item if found and scheme not in {"ftp", ""} else url_item
    return make(f"{scheme}{found}{rest}", options)


def _read_cells(cells: Row) -> tuple[Row, list[Problem]]:
    """Parse the cells of a row."""
    row: dict[str, object] = {}
    problems: list[Problem] = []
    for name, cell in cast("Mapping[str, str]", cells).items():
        text = cell if name in _VERBATIM or name == "path" else stripped(cell)
        try:
            row[name] = int(text) if name == "priority" else text if name in _MANIFEST_COLUMNS else read_cell(name, text)
        except ValueError as error:
            problems.append(Problem("it must be a whole number" if name == "priority" else str(error), column=name))
    return row, problems


def _flatten(row: Row) -> tuple[Row, list[Problem]]:
    """Merge the members of ``meta`` and ``settings`` into the others."""
    known = {*_MANIFEST_COLUMNS, *_OBJECT_MEMBERS, *setting_types()}
    # Known names are accepted in capitals; others keep their spelling for the message.
    row = {name.lower() if name.lower() in known and name.lower() not in row else name: value for name, value in row.items()}
    flat = {name: value for name, value in row.items() if name not in {"meta", "settings"}}
    problems: list[Problem] = []
    for name in ("meta", "settings"):
        inner = row.get(name, {})
        if not isinstance(inner, dict):
            problems.append(Problem("it must be an object", column=name))
            continue
        for member, value in cast("dict[str, object]", inner).items():
            if name == "meta" and member not in _META_COLUMNS:
                problems.append(Problem(f"it has {member!r}; allowed are {', '.join(_META_COLUMNS)}", column=name))
            elif name == "settings" and (member in _SOURCE_COLUMNS or member in _OBJECT_MEMBERS):
                problems.append(Problem(f"it has {member!r}, which belongs beside it", column=name))
            else:
                flat[member] = value
    if isinstance(url := flat.get("url"), str):
        flat["url"] = stripped(url)
    return flat, problems


def _check_row(row: Row, *, missing: bool) -> Iterator[Problem]:
    """Yield the problems of a line, before a file is opened. *missing* if a missing URL or path is one of them."""
    given = setting_types()
    for name, value in row.items():
        if name not in given and name not in _MANIFEST_COLUMNS and name != "extra":
            known = (*_MANIFEST_COLUMNS, *given, *_OBJECT_MEMBERS)
            yield Problem(f"{name!r} is not a column of a manifest: {suggest(name, known)}", column=name)
        elif name == "priority":
            if isinstance(value, bool) or not isinstance(value, int):
                yield Problem(f"{value!r} is not a whole number", column=name)
        elif name == "extra":
            if not isinstance(value, dict):
                yield Problem("it must be an object", column=name)
        elif name in _MANIFEST_COLUMNS and not isinstance(value, str):
            yield Problem(f"{value!r} is not text", column=name)
    locations = [place for name in _SOURCE_COLUMNS if (place := row.get(name)) and str(place).strip()]
    if len(locations) != 1:
        if locations or missing:
            yield Problem("it needs either 'url' or 'path'")
    else:
        settings = {name: value for name, value in row.items() if name in given}
        for name, what in check(settings, is_clip=str(locations[0]).lower().startswith("mux://")):
            yield Problem(what, column=name)


def _item_options(row: Row) -> ItemOptions:
    if not row.keys() - set(_SOURCE_COLUMNS):
        return NO_OPTIONS
    given = {name: value for name, value in row.items() if name in setting_types() and name != "passthrough"}
    return ItemOptions(
        key=cast("str | None", row.get("key")),
        passthrough=cast("str | None", row.get("passthrough")),
        meta={name: cast("str", row[name]) for name in _META_COLUMNS if name in row},
        settings=to_create_members(given) | cast("dict[str, object]", row.get("extra", {})),
        priority=cast("int", row.get("priority", 0)),
    )
