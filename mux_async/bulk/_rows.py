"""Reads lists of rows: tables with a header, JSON lines, JSON arrays, and plain lines. What a row means is left to `_plan`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from mux_async._text_encoding import EncodingError, decode, is_text, stripped
from mux_async.errors import InvalidRequestError

ListForm: TypeAlias = Literal["lines", "csv", "jsonl", "json"]
"""How the file of a list is written: one value a line, CSV, JSON a line, or a JSON array."""
Row: TypeAlias = Mapping[str, object]
"""Values by the names of arguments. `Cell` values are texts of a table, which are converted to the type of their argument."""

FORMS: Final[Mapping[str, ListForm]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
}
"""Forms by suffix; any other file has plain lines."""
_SEPARATORS: Final = ",;\t|"


class Cell(str):
    """A cell of a table: text that stands for a value of another type where the argument has one."""

    __slots__ = ()


class RowError(ValueError):
    """A row cannot be read."""


def read_list(path: Path, form: ListForm | None = None) -> Iterator[tuple[int, str | Row | RowError]]:
    """Yield the rows of a file with their line numbers, from 1. Text stands for the one argument that a plain line gives.

    Raises:
        InvalidRequestError: The file cannot be read, or is not text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(
            f"the list {str(path)!r} cannot be read ({error.strerror}): check its name and permissions"
        ) from error
    return parse_list(data, form or FORMS.get(path.suffix.lower(), "lines"), path.name)


def parse_list(data: bytes, form: ListForm, name: str) -> Iterator[tuple[int, str | Row | RowError]]:
    """Yield the rows of a list with their line numbers. As `read_list`, for bytes."""
    try:
        text = decode(data)
    except EncodingError as error:
        raise InvalidRequestError(f"{name} is {error}: save it as UTF-8") from None
    if not is_text(text):
        raise InvalidRequestError(f"{name} holds bytes that are not UTF-8 text: save it as UTF-8")
    match form:
        case "csv":
            return _table(text)
        case "json" if text.lstrip().startswith("["):
            return _array(text, name)
        case "json" | "jsonl":
            return _json_lines(text)
        case "lines":
            return _lines(text)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if (value := stripped(line)) and not value.startswith("#"):
            yield number, value


def _array(text: str, name: str) -> Iterator[tuple[int, str | Row | RowError]]:
    try:
        elements = cast("list[object]", json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{name} is not JSON ({error})") from None
    return ((number, _element(element)) for number, element in enumerate(elements, 1))


def _json_lines(text: str) -> Iterator[tuple[int, str | Row | RowError]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, _element(json.loads(line))
            except (ValueError, RecursionError) as error:
                yield number, RowError(f"it is not JSON ({error})")


def _element(value: object) -> str | Row | RowError:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return cast("dict[str, object]", value)
    return RowError('it is neither an object such as {"asset_id": "..."} nor a text')


def _table(text: str) -> Iterator[tuple[int, Row | RowError]]:
    lines = text.splitlines(keepends=True)
    header = next((line for line in lines if line.strip()), "")
    separator = max(_SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if names is None:
                names = [stripped(cell) for cell in cells]
                if doubled := sorted({name for name in names if name and names.count(name) > 1}):
                    yield reader.line_num, RowError(f"the header names {doubled[0]!r} twice: remove one")
                    return
            elif len(cells) > len(names):
                yield reader.line_num, RowError("it has more columns than the header; quote values that contain a separator")
            elif any(cell.strip() and not name for name, cell in zip(names, cells, strict=False)):
                yield reader.line_num, RowError("it has a value in a column without a name: name the column, or empty it")
            else:
                yield reader.line_num, {name: Cell(cell) for name, cell in zip(names, cells, strict=False) if cell != ""}
    except csv.Error as error:
        yield (
            reader.line_num,
            RowError(f"it cannot be read ({error}), nor can what follows: look for a quote that is never closed"),
        )
