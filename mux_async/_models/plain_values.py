"""Values of other libraries in arguments: what has one plain form becomes that, anything else is refused with what to write instead.

Consulted only for what the writers of paths, queries and bodies do not know themselves. Nothing is imported: a value says what it is.
"""

from __future__ import annotations

import enum
import numbers
import os
import sys
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

from mux_async.errors import InvalidRequestError

UNKNOWN: Final = object()
"""What `plain` returns for a value that it does not know either."""


def plain(value: object, where: str) -> object:
    """Return the ``str``, ``int``, ``float`` or ``bool`` that *value* stands for, or `UNKNOWN`.

    UUIDs and URLs (yarl, httpx, pydantic) become their text, numbers of NumPy and other whole numbers plain ones, and a `Decimal` the
    number that is written like it.

    Args:
        value: An argument, or a part of one.
        where: What to call it in an error.

    Raises:
        InvalidRequestError: It could mean several things; the message says what to write.
    """
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return _decimal(value, where)
    if isinstance(value, os.PathLike):
        raise InvalidRequestError(
            f"{where} is a path, and Mux cannot read files of this machine: mux.uploads.send(path) sends one; where its text is meant, "
            f"pass str(path)"
        )
    if isinstance(value, numbers.Integral):
        return int(value)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return cast("Any", value).item()
    if numpy is not None and isinstance(value, numpy.ndarray):
        raise InvalidRequestError(f"{where} is an array; pass its tolist()")
    scheme = getattr(value, "scheme", None)
    if isinstance(scheme, str) and hasattr(value, "host") and (text := str(value)).startswith(f"{scheme}:"):
        return text
    return UNKNOWN


def id_text(value: object, where: str) -> str:
    """Return the text of an id that is not a ``str``: a UUID's, or the value of an enum member.

    Raises:
        InvalidRequestError: It is something else.
    """
    text = value.value if isinstance(value, enum.Enum) else value
    if isinstance(text, UUID):
        return str(text)
    if not isinstance(text, str):
        raise InvalidRequestError(f"{where} is of type {type(value).__name__}; it must be a str")
    return text


def _decimal(value: Decimal, where: str) -> int | float:
    if not value.is_finite():
        raise InvalidRequestError(f"{where} is {value}, and JSON has no such number")
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    if Decimal(repr(number)) != value:
        raise InvalidRequestError(
            f"{where} is {str(value)[:40]}, which has more digits than a number keeps; round it, or pass a float"
        )
    return number
