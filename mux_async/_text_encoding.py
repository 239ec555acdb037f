"""Decodes the text of manifests, and makes names with undecodable bytes printable.

A file name is any bytes but NUL and the slash. Python keeps bytes that are not UTF-8 as lone surrogates (PEP 383), which SQLite, Mux and
JSON parsers refuse: only paths keep them, everything else has the legible form.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Final, cast

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
BLANKS: Final = "\ufeff\u200b\u2060"
"""Invisible characters that editors and web pages leave around text and `str.strip` does not remove."""


class EncodingError(ValueError):
    """The bytes of a manifest are not text in their encoding."""


def decode(data: bytes, encoding: str | None = None) -> str:
    """Return the text of a manifest. Bytes that are not UTF-8 are kept as lone surrogates: they may be part of a path.

    A byte order mark sets the encoding, if it is not given; without one it is UTF-8, or UTF-16 if every other byte is NUL. Raises
    `EncodingError` if the bytes are not text in the encoding that was given, or in the one of their byte order mark.
    """
    if encoding is None:
        mark, encoding = next((each for each in _BOMS if data.startswith(each[0])), (b"", _without_mark(data)))
        data = data[len(mark) :]
    if encoding == "utf-8":
        return data.decode("utf-8", "surrogateescape")
    try:
        text = data.decode(encoding)
    except LookupError:
        raise EncodingError(f"{encoding!r} is not an encoding that Python knows") from None
    except UnicodeDecodeError as error:
        raise EncodingError(f"not {encoding} text from byte {error.start} on") from None
    return text.removeprefix("\ufeff")


def _without_mark(data: bytes) -> str:
    """Return the encoding of text without a byte order mark, by its first two characters."""
    head = data[:4]
    if len(head) == 4 and not len(data) % 2:
        if head[1] == head[3] == 0 and head[0] and head[2]:
            return "utf-16-le"
        if head[0] == head[2] == 0 and head[1] and head[3]:
            return "utf-16-be"
    return "utf-8"


def is_text(text: str) -> bool:
    """Return whether *text* has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_path(text: str) -> bool:
    """Return whether *text* can be a path: each lone surrogate in it must stand for a byte (PEP 383)."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def spreadsheet_text(text: str) -> str:
    """Return *text* for a cell of CSV. What a spreadsheet would run as a formula gets an apostrophe: names and messages are untrusted."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def legible(text: str) -> str:
    r"""Return *text* with bytes that are not UTF-8 written as ``\xe9``, and other lone surrogates as ``\ud83d``."""
    if is_text(text):
        return text
    data = text.encode("utf-8", "surrogateescape" if is_path(text) else "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def legible_all(value: object) -> object:
    """Return a JSON value with all its strings made legible."""
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, list | tuple):
        return [legible_all(each) for each in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        return {legible(name): legible_all(each) for name, each in cast("dict[str, object]", value).items()}
    return value


def stripped(text: str) -> str:
    """Return *text* without surrounding blanks, and without quotes or angle brackets around the whole of it."""
    text = text.strip().strip(BLANKS).strip()
    if len(text) > 1 and (text[0], text[-1]) in {('"', '"'), ("'", "'"), ("<", ">")}:
        text = text[1:-1].strip()
    return text
