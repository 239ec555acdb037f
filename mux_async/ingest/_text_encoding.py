"""Text of lists and names of files, which are bytes: read for certain or not at all, and shown as text that every program can read.

A name of a file is any bytes but NUL and the slash. Python keeps the bytes that are no UTF-8 as lone surrogates (PEP 383), which neither
SQLite nor Mux nor a JSON parser takes: they stay in paths, and everything else has the legible form.
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
"""What editors and web pages leave around text, beside what `str.strip` takes off."""


class EncodingError(ValueError):
    """The bytes of a list are not text in the encoding that they seem, or are said, to have."""


def decode(data: bytes, encoding: str | None = None) -> str:
    """Return the text of a list. Bytes that are not UTF-8 are kept as lone surrogates: in a path they may be right.

    Args:
        data: All of it. A byte order mark says how it is written; without one it is UTF-8, or UTF-16 where every other byte is NUL.
        encoding: How it is written, if that is known.

    Raises:
        EncodingError: It has the mark of UTF-16 or UTF-32, or an *encoding*, and is not that; the text is part of a sentence.
    """
    if encoding is None:
        mark, encoding = next((each for each in _BOMS if data.startswith(each[0])), (b"", _without_mark(data)))
        data = data[len(mark) :]
    if encoding == "utf-8":
        return data.decode("utf-8", "surrogateescape")
    try:
        text = data.decode(encoding)
    except LookupError:
        raise EncodingError(f"{encoding!r} is no encoding that Python knows") from None
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
    """Return whether *text* is Unicode, without bytes or halves of characters that are none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_path(text: str) -> bool:
    """Return whether *text* stands for bytes: of its lone surrogates, each must be one (PEP 383)."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def legible(text: str) -> str:
    r"""Return *text* with bytes that are no UTF-8 written as ``\xe9``, and other halves of characters as ``\ud83d``."""
    if is_text(text):
        return text
    data = text.encode("utf-8", "surrogateescape" if is_path(text) else "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def legible_all(value: object) -> object:
    """Return a JSON value with every text in it made legible."""
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, list | tuple):
        return [legible_all(each) for each in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        return {legible(name): legible_all(each) for name, each in cast("dict[str, object]", value).items()}
    return value


def stripped(text: str) -> str:
    """Return *text* without the blanks around it, and without the quotes or brackets that stand around the whole of it."""
    text = text.strip().strip(BLANKS).strip()
    if len(text) > 1 and (text[0], text[-1]) in {('"', '"'), ("'", "'"), ("<", ">")}:
        text = text[1:-1].strip()
    return text
