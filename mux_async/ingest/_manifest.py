"""Lists of what to ingest, in the three forms that people have: plain lines, JSON lines, CSV with a header.

- ``.jsonl``, ``.ndjson``: one object a line; ``url`` or ``path``, and if wished ``key``, ``passthrough``, ``meta`` (``title``,
  ``creator_id``, ``external_id``) and ``settings`` (anything else that creating an asset takes).
- ``.csv``: a header names the columns; ``url`` or ``path``, and if wished ``key``, ``passthrough``, ``title``, ``creator_id``,
  ``external_id``.
- anything else: one URL or path a line; ``#`` begins a comment.

Paths are taken from the folder of the manifest.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from mux_async.errors import InvalidRequestError
from mux_async.ingest._items import NO_WISHES, Item, Wishes, file_item, url_item

_META = ("title", "creator_id", "external_id")
_MEMBERS = ("url", "path", "key", "passthrough", "meta", "settings")
_COLUMNS = ("url", "path", "key", "passthrough", *_META)


def read_manifest(path: Path) -> Iterator[Item | InvalidRequestError]:
    """Yield the items of a manifest, and in the place of a wrong line what is wrong with it.

    Raises:
        InvalidRequestError: The manifest itself cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRequestError(
            f"the manifest {str(path)!r} cannot be read ({error.strerror}): check its name and permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"the manifest {str(path)!r} is not UTF-8 text: save it as that") from error
    form = path.suffix.lower()
    read = _json_lines if form in {".jsonl", ".ndjson"} else _csv if form == ".csv" else _lines
    for number, make in read(text):
        try:
            yield _make(make, path.parent)
        except InvalidRequestError as error:
            yield InvalidRequestError(f"{path.name}, line {number}: {error}")


Row = Mapping[str, object] | InvalidRequestError


def _lines(text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):  # and not `splitlines`: names may hold what Unicode calls a line break
        name = line.strip()
        if name and not name.startswith("#"):
            yield number, {"url" if "://" in name else "path": name}


def _json_lines(text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield number, InvalidRequestError('it is not JSON; a line is like {"url": "https://..."}')
            continue
        if not isinstance(row, dict):
            yield number, InvalidRequestError('it is not an object; a line is like {"url": "https://..."}')
            continue
        yield number, _known(cast("dict[str, object]", row), _MEMBERS)


def _csv(text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        yield from _csv_rows(reader)
    except csv.Error as error:  # of the reader; what follows cannot be made out
        yield reader.line_num + 1, InvalidRequestError(f"it cannot be read ({error}): look for a quote that is never closed")


def _csv_rows(reader: csv.DictReader[str]) -> Iterator[tuple[int, Row]]:
    header = reader.fieldnames or ()
    if not {"url", "path"} & set(header):
        yield 1, InvalidRequestError("the header names neither 'url' nor 'path'; the first line says what the columns are")
        return
    for row in reader:
        if None in row:
            yield (
                reader.line_num,
                InvalidRequestError("it has more columns than the header; put values that hold a comma in quotes"),
            )
            continue
        given: dict[str, object] = {name: value for name, value in row.items() if value}
        known = _known(given, _COLUMNS)
        if isinstance(known, InvalidRequestError):
            yield reader.line_num, known
            continue
        meta = {name: value for name, value in known.items() if name in _META}
        yield reader.line_num, {name: value for name, value in known.items() if name not in _META} | {"meta": meta}


def _known(row: dict[str, object], names: tuple[str, ...]) -> Row:
    unknown = next((name for name in row if name not in names), None)
    if unknown is not None:
        return InvalidRequestError(f"{unknown!r} is none of {', '.join(names)}")
    return row


def _make(row: Row, folder: Path) -> Item:
    if isinstance(row, InvalidRequestError):
        raise row
    url, path = row.get("url"), row.get("path")
    if (url is None) == (path is None):
        raise InvalidRequestError("it needs one of 'url' and 'path', and not both")
    wishes = _wishes(row)
    if isinstance(url, str):
        return url_item(url, wishes)
    if isinstance(path, str):
        return file_item(folder / path, wishes)
    raise InvalidRequestError("'url' and 'path' are strings")


def _wishes(row: Mapping[str, object]) -> Wishes:
    key, passthrough = row.get("key"), row.get("passthrough")
    meta, settings = row.get("meta", {}), row.get("settings", {})
    for name, value in [("key", key), ("passthrough", passthrough)]:
        if value is not None and not isinstance(value, str):
            raise InvalidRequestError(f"{name!r} is {value!r}; it must be a string")
    if not isinstance(meta, dict) or not isinstance(settings, dict):
        raise InvalidRequestError("'meta' and 'settings' are objects")
    if taken := {"input", "inputs", "meta", "passthrough"} & settings.keys():
        raise InvalidRequestError(f"'settings' holds {min(taken)!r}, which has a place of its own")
    texts = cast("dict[str, object]", meta)
    wrong = next((name for name, value in texts.items() if name not in _META or not isinstance(value, str)), None)
    if wrong is not None:
        raise InvalidRequestError(f"'meta' holds {wrong!r}; it takes {', '.join(_META)}, all strings")
    if not (row.keys() - {"url", "path"}):
        return NO_WISHES
    return Wishes(
        key=cast("str | None", key),
        passthrough=cast("str | None", passthrough),
        meta=cast("dict[str, str]", texts),
        settings=cast("dict[str, object]", settings),
    )
