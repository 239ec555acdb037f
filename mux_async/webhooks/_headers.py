"""Read the signature from the headers of a delivery, in every form in which programs have headers.

Frameworks have mappings or pairs of text. Gateways and older interfaces add lists of values, ``None`` for an absent header, bytes,
numbers, `email.message.Message` and WSGI environments; some programs pass only the text of the signature. Headers are untrusted input, so
reading them raises nothing but `SignatureError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias, cast

from mux_async.webhooks._errors import SignatureError

HEADER: Final = "Mux-Signature"
_SIGNATURE: Final = frozenset({"mux-signature", "http_mux_signature"})
"""The header's name in lower case; the second is that of a WSGI environment."""
_LENGTH: Final = frozenset({"content-length", "content_length"})
_MAX_PAIRS: Final = 1000
"""Servers accept about a hundred headers."""


class HasItems(Protocol):
    """A mapping, an `email.message.Message`, or the headers of `wsgiref`."""

    def items(self) -> Iterable[tuple[str, Any]]: ...


Headers: TypeAlias = (
    Mapping[str, Any] | HasItems | Iterable[tuple[str | bytes, str | bytes | Sequence[str] | None]] | str | bytes | None
)
"""Headers of a request, in any case: a mapping, whose values may be lists; pairs as in an ASGI scope; `email.message.Message`; a WSGI
environment; or only the text of ``Mux-Signature``."""

Pairs: TypeAlias = Iterable[tuple[object, object]]


def pairs_of(headers: Headers) -> Pairs:
    """Return headers, unchanged, as pairs that can be iterated more than once. Raises `SignatureError` for other types."""
    if headers.__class__ is dict:
        return cast("dict[object, object]", headers).items()
    if isinstance(headers, str | bytes):
        return [(HEADER, headers)]
    try:
        items = getattr(headers, "items", None)
        listed: list[object] = list(islice(cast("Any", items() if callable(items) else headers or ()), _MAX_PAIRS))
    except Exception:  # noqa: BLE001 - a framework's code may raise anything
        message = f"headers must be a mapping or pairs, and cannot be read from {type(headers).__name__}"
        raise SignatureError(message, reason="missing") from None
    return list(_pairs(listed))


def find_signature(pairs: Pairs) -> str:
    """Return the value of ``Mux-Signature``. Raises `SignatureError` if it is missing, there more than once, or not text."""
    found: list[str] = []
    for name, value in pairs:
        text = name if isinstance(name, str) else _name(name)
        if len(text) in {13, 18} and text.lower() in _SIGNATURE:
            found += _texts(value)
    if len(found) == 1:
        return found[0]
    if found:
        raise malformed(f"is there {len(found)} times")
    raise SignatureError(
        f"there is no {HEADER} header: either Mux did not send this request, or a proxy removed the header", reason="missing"
    )


def content_length(pairs: Pairs) -> int:
    """Return the value of ``Content-Length``; 0 if it is missing or not a number."""
    for name, value in pairs:
        if _name(name).lower() in _LENGTH:
            try:
                text = str(value) if value.__class__ is int else "".join(_texts(value))
            except SignatureError:
                return 0
            return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    return 0


def malformed(what: str) -> SignatureError:
    """Return the error about a header that does not have Mux's form."""
    return SignatureError(f"the {HEADER} header {what}; Mux writes t=<Unix seconds>,v1=<hex>", reason="malformed")


def _pairs(listed: Iterable[object]) -> Iterator[tuple[object, object]]:
    for each in listed:
        if isinstance(each, str | bytes):
            yield HEADER, each  # one of several values, as `getlist` returns them
        elif isinstance(each, tuple | list) and len(cast("Sequence[object]", each)) == 2:
            name, value = cast("Sequence[object]", each)
            yield name, value


def _name(name: object) -> str:
    if isinstance(name, str):
        return name
    return name.decode("latin-1") if isinstance(name, bytes) else ""


def _texts(value: object) -> Iterable[str]:
    """Return the texts in a header's value: one text, no text for ``None``, or the texts of a list."""
    if isinstance(value, str):
        return (value,)
    values = cast("Sequence[object]", value) if isinstance(value, list | tuple) else (value,)
    return [_text(each) for each in values if each is not None]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode("latin-1")
    raise malformed(f"is {type(value).__name__} and not text")
