"""Parses the text of a manifest into rows: lines, names that end with NUL, JSON, and tables with any separator.

Nothing is guessed: ambiguous text is a problem with its line number. A row that cannot be parsed does not stop the others.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Literal, TypeAlias, cast

import attrs

from mux_async._text_encoding import is_text, legible, legible_all, stripped

ManifestForm: TypeAlias = Literal["lines", "null", "jsonl", "json", "csv"]
"""How a list is written: one item a line, items that end with NUL, JSON a line, a JSON array, or CSV."""
Row: TypeAlias = Mapping[str, object]
Numbered: TypeAlias = "tuple[int, Row | Problem]"

NOT_UTF8: Final = "it holds bytes that are not UTF-8 text: save the list as UTF-8, or name its encoding (--encoding cp1252)"
_SEPARATORS: Final = (",", ";", "\t", "|")
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE | re.DOTALL)
"""The line above a table by which Excel sets the separator."""
_MOST_RESTARTS: Final = 200
"""Rows with broken quotes after which parsing stops: each is searched to the end of the file."""
_EXAMPLE: Final = 'a line is like {"url": "https://..."}'


@attrs.frozen
class Problem:
    """One problem and how to fix it. As text: ``films.csv, line 3, column 'title': ...``.

    Attributes:
        message: What is wrong.
        manifest: Name of the manifest; ``None`` for a source.
        line: Of the manifest, from 1; the last line of an entry that has several.
        column: Column of a CSV manifest, or member of a JSON object; ``None`` for the whole line.
    """

    message: str
    manifest: str | None = None
    line: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        where = [
            *([self.manifest] if self.manifest is not None else ()),
            *([f"line {self.line}"] if self.line is not None else ()),
            *([f"column {self.column!r}"] if self.column is not None else ()),
        ]
        return f"{', '.join(where)}: {self.message}" if where else self.message


def read_rows(text: str, form: ManifestForm, known: Collection[str]) -> Iterator[Numbered]:
    """Yield the rows of a manifest with their line numbers, from 1; a row with several problems is yielded for each.

    *known* are the names that columns can have.
    """
    match form:
        case "lines" if "\0" in text:  # which no path or URL can contain
            return _separated(text)
        case "lines":
            return _lines(text)
        case "null":
            return _separated(text)
        case "csv":
            return _table(text, known)
        case "json" if text.lstrip().startswith("["):
            return _json_array(text)
        case "json" | "jsonl":
            return _json_lines(text)


def _split(text: str) -> list[str]:
    """Split at line feeds only: names may contain other Unicode line breaks. Text without line feeds is split at carriage returns."""
    return text.split("\n") if "\n" in text else text.split("\r")


def _lines(text: str) -> Iterator[Numbered]:
    for number, line in enumerate(_split(text), 1):
        name = stripped(line)
        if name and not name.startswith("#"):
            yield number, {"url": name} if "://" in name else {"path": line.removesuffix("\r")}


def _separated(text: str) -> Iterator[Numbered]:
    for number, name in enumerate(text.split("\0"), 1):
        if name:
            yield number, {"url" if "://" in name else "path": name}


def _json_lines(text: str) -> Iterator[Numbered]:
    for number, line in enumerate(_split(text), 1):
        if not line.strip():
            continue
        try:
            value: object = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, Problem(f"it is not JSON from character {error.colno} on ({error.msg}); {_EXAMPLE}")
        except (ValueError, RecursionError):
            yield number, Problem(f"it is not JSON; {_EXAMPLE}")
        else:
            yield from ((number, each) for each in _from_json(value, is_pure=is_text(line)))


def _json_array(text: str) -> Iterator[Numbered]:
    """Yield the elements of an array, each with its first line. Elements after a syntax error cannot be found."""
    decoder = json.JSONDecoder()
    place, line, seen = text.index("[") + 1, 1, 0
    blank = re.compile(r"[\s,]*")
    while True:
        place = cast("re.Match[str]", blank.match(text, place)).end()
        line, seen = line + text.count("\n", seen, place), place
        if text.startswith("]", place):
            if rest := text[place + 1 :].strip():
                yield line, Problem(f"there is text after the end of the list ({rest[:20]!r}): remove it")
            return
        try:
            value, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            yield error.lineno, Problem(f"it is not JSON from character {error.colno} on ({error.msg}), and the list ends here")
            return
        except (ValueError, RecursionError):
            yield line, Problem("it is not JSON, and the list ends here")
            return
        yield from ((line, each) for each in _from_json(value, is_pure=is_text(text[place:end])))
        place = end


def _from_json(value: object, *, is_pure: bool) -> Iterator[Row | Problem]:
    """Yield the row of an element; a string is a URL or a path."""
    if isinstance(value, str):
        value = {"url" if "://" in value else "path": value}
    if not isinstance(value, dict):
        yield Problem(f"it is not an object; {_EXAMPLE}")
        return
    row = cast("dict[str, object]", value)
    # A path may have bytes that are not text, plain or escaped. In other members, plain ones mean that the encoding is wrong.
    others = {name: each for name, each in row.items() if name.lower() != "path"}
    if not is_pure and not is_text(json.dumps(others, ensure_ascii=False)):
        yield Problem(NOT_UTF8)
        return
    yield {legible(name): each if name.lower() in {"path", "url"} else legible_all(each) for name, each in row.items()}


def _table(text: str, known: Collection[str]) -> Iterator[Numbered]:
    lines = list(io.StringIO(text, newline=""))
    first = 0
    separators: Sequence[str] = _SEPARATORS
    if lines and (found := _SEPARATOR_LINE.fullmatch(lines[0])):
        first, separators = 1, (found[1],)
    while first < len(lines) and not lines[first].strip(" \t\r\n,;|"):
        first += 1
    separator, header, begin = _header(lines, first, separators, known)
    if wrong := _check_header(header, known):
        yield from ((begin, problem) for problem in wrong)
        return
    for number, cells in _records(lines, begin, separator):
        if isinstance(cells, Problem):
            yield number, cells
        elif any(cell.strip() for cell in cells):
            yield from ((number, each) for each in _from_cells(header, cells))


def _header(lines: list[str], first: int, separators: Sequence[str], known: Collection[str]) -> tuple[str, list[str], int]:
    """Return the separator that gives the most known column names, these names, and the number of the header's last line."""
    best: tuple[int, str, list[str], int] | None = None
    for separator in separators:
        number, cells = next(_records(lines, first, separator), (first + 1, list[str]()))
        names = [_column(cell) for cell in cells] if not isinstance(cells, Problem) else []
        score = len(set(names) & set(known)) + (1000 if {"url", "path"} & set(names) else 0)
        if best is None or score > best[0]:
            best = (score, separator, names, number)
    assert best is not None  # noqa: S101 - there are separators
    return best[1:]


def _column(cell: str) -> str:
    """Return the API's spelling of a column name: headers may have capitals, blanks and dashes."""
    name = stripped(cell)
    folded = re.sub(r"[\s-]+", "_", name).lower()
    return folded or name


def _check_header(header: list[str], known: Collection[str]) -> list[Problem]:
    from mux_async.ingest._asset_settings import suggest

    if not {"url", "path"} & set(header):
        return [
            Problem(
                "the header has neither 'url' nor 'path'; the first line must name the columns,"
                " separated by commas, semicolons or tabs"
            )
        ]
    unknown = [name for name in dict.fromkeys(header) if name and name not in known]
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    return [
        *(Problem(f"{name!r} is not a column of a manifest: {suggest(name, list(known))}", column=name) for name in unknown),
        *(Problem("it is there twice: remove one", column=name) for name in twice if name not in unknown),
    ]


def _from_cells(header: list[str], cells: list[str]) -> Iterator[Row | Problem]:
    """Yield a row of texts, or its problems. Skips empty cells."""
    row: dict[str, object] = {}
    is_wrong = False
    for number, cell in enumerate(cells):
        name = header[number] if number < len(header) else ""
        if not cell.strip():
            continue
        if number >= len(header):
            yield Problem("it has more columns than the header; quote values that contain a separator")
            return
        if not name:
            is_wrong = True
            yield Problem(
                f"column {number + 1} has no name in the header but contains {cell[:20]!r}: name the column, or empty it"
            )
        elif name != "path" and not is_text(cell):
            is_wrong = True
            yield Problem(NOT_UTF8, column=name)
        else:
            row[name] = cell
    if not is_wrong:
        yield row


def _records(lines: list[str], first: int, separator: str) -> Iterator[tuple[int, list[str] | Problem]]:
    """Yield the records of a table with the numbers of their last lines; after a broken record, continue with the next line."""
    for _ in range(_MOST_RESTARTS):
        reader = csv.reader(islice(lines, first, None), delimiter=separator, strict=True)
        last = 0
        try:
            for cells in reader:
                last = reader.line_num
                yield first + last, cells
        except csv.Error as error:
            first += last + 1
            yield first, Problem(f"it cannot be read ({error}): look for a quote that is never closed")
        else:
            return
    yield first + 1, Problem("too many lines before this one cannot be read: look for the quotes in them")
