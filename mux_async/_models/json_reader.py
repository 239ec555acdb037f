"""The one reader of JSON that arrives: answers, errors, webhooks, `Model.from_json`. What one of them takes, all take.

Text is mostly valid JSON in UTF-8, and msgspec reads it. What msgspec refuses is read again by Python's own parser, which takes what other
programs write: a byte order mark, UTF-16 and UTF-32, half a character (a lone surrogate), ``NaN`` and ``Infinity``. One such value must
not lose the page around it. Three rules, the same for both:

1. Integers are exact, of up to as many digits as Python converts (4300, see `sys.set_int_max_str_digits`); longer ones would take time that
   grows with the square of their length, and are infinite, as are other numbers that no float holds (``1e999``).
2. Of members of the same name the last one counts.
3. What is refused is refused with `NotJsonError`, which holds nothing of the text.
"""

from __future__ import annotations

import codecs
import json
from typing import Final, cast

import msgspec

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec refuses a text with."""


_PIECE: Final = 16 * 1024


def check_utf8(text: bytes) -> None:
    """Check that *text* is UTF-8: msgspec does not check text that it skips.

    It is decoded piece by piece. Decoding a page of 200 kB at once makes a string of up to four bytes for each character, for which the
    system maps fresh memory each time; that takes four times as long.

    Raises:
        UnicodeDecodeError: It is not.
    """
    size = len(text)
    if size <= _PIECE:
        text.decode()
        return
    start = 0
    with memoryview(text) as view:
        while start < size:
            end = start + _PIECE
            start += _decode_utf8(view[start:end], "strict", end >= size)[
                1
            ]  # the start of a character at the end stays for the next


_decode_utf8 = codecs.utf_8_decode


class NotJsonError(ValueError):
    """A text that is not JSON, or not that of an object. The message says what it is instead, and holds nothing of it."""


def loads(text: bytes) -> object:
    """Decode JSON.

    Raises:
        NotJsonError: It is not JSON, or nested too deeply.
    """
    try:
        return _decode(text)
    except DECODE_ERRORS:
        pass
    try:
        found: object = _tolerant.decode(text.decode(json.detect_encoding(text), "surrogatepass"))
        return found
    except json.JSONDecodeError as error:
        problem = error.msg
    except UnicodeError:
        problem = "its text is not UTF-8"
    except RecursionError:
        problem = "the depth of its nesting is too great"
    raise NotJsonError(f"not JSON ({problem})")  # out here, for the errors of JSON hold the whole text


def load_object(text: bytes) -> dict[str, object]:
    """Decode a JSON object.

    Raises:
        NotJsonError: It is not JSON, or another value.
    """
    found = loads(text)
    if not isinstance(found, dict):
        raise NotJsonError(f"a JSON {type(found).__name__}, where an object belongs")
    return cast("dict[str, object]", found)


def _read_int(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # more digits than Python converts
        return float(digits)


_decode = msgspec.json.Decoder().decode
_tolerant: Final = json.JSONDecoder(parse_int=_read_int)
