"""Headers of a delivery, in whatever shape the program has them.

Frameworks have mappings or pairs of text. Gateways and older interfaces add lists of values, ``None`` for a header that is absent, bytes,
numbers, `email.message.Message` and a WSGI environment; some programs pass the text of the signature alone. Anybody can send any header, so
nothing in one raises anything but `SignatureError`.
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
    """What `email.message.Message` and the headers of `wsgiref` have in common with a mapping."""

    def items(self) -> Iterable[tuple[str, Any]]: ...


Headers: TypeAlias = (
    Mapping[str, Any] | HasItems | Iterable[tuple[str | bytes, str | bytes | Sequence[str] | None]] | str | bytes | None
)
"""Headers of a request, in whatever case: a mapping, whose values may be lists; pairs as in an ASGI scope; `email.message.Message`; a WSGI
environment; or the text of ``Mux-Signature`` alone."""

Pairs: TypeAlias = Iterable[tuple[object, object]]


def pairs_of(headers: Headers) -> Pairs:
    """Return headers as pairs that can be read more than once. Their names and values are as they were passed.

    Raises:
        SignatureError: No headers can be read from it.
    """
    if headers.__class__ is dict:
        return cast("dict[object, object]", headers).items()
    if isinstance(headers, str | bytes):
        return [(HEADER, headers)]
    listed: list[object] | None = [] if headers is None else None
    try:
        items = getattr(headers, "items", None)
        listed = list(islice(cast("Any", items() if callable(items) else headers), _MAX_PAIRS)) if listed is None else listed
    except Exception:  # noqa: BLE001, S110 - code of any framework; whatever it raises is as if there were no headers
        pass
    if listed is None:
        raise SignatureError(
            f"headers are needed as a mapping or as pairs, and none can be read from {type(headers).__name__}", reason="missing"
        )
    return list(_pairs(listed))


def find_signature(pairs: Pairs) -> str:
    """Return the value of ``Mux-Signature``.

    Raises:
        SignatureError: There is none, more than one, or one that is not text.
    """
    found: list[str] = []
    for name, value in pairs:
        text = name if isinstance(name, str) else _name(name)
        if len(text) in {13, 18} and text.lower() in _SIGNATURE:
            found += _texts(value)
    if len(found) == 1:
        return found[0]
    if found:
        raise malformed(f"came {len(found)} times")
    raise SignatureError(
        f"there is no {HEADER} header: either this was not sent by Mux, or something between here and Mux drops the header",
        reason="missing",
    )


def content_length(pairs: Pairs) -> int:
    """Return how many bytes the body is said to have; 0 when that is not said, or is not a number."""
    for name, value in pairs:
        if _name(name).lower() in _LENGTH:
            try:
                said = str(value) if value.__class__ is int else "".join(_texts(value))
            except SignatureError:
                return 0
            return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else 0
    return 0


def malformed(what: str) -> SignatureError:
    """Return the error about a header that is not what Mux writes."""
    return SignatureError(f"the {HEADER} header {what}; Mux writes t=<Unix seconds>,v1=<hex>", reason="malformed")


def _pairs(listed: Iterable[object]) -> Iterator[tuple[object, object]]:
    for each in listed:
        if isinstance(each, str | bytes):
            yield HEADER, each  # of all values of this header, as `getlist` returns them
        elif isinstance(each, tuple | list) and len(cast("Sequence[object]", each)) == 2:
            name, value = cast("Sequence[object]", each)
            yield name, value


def _name(name: object) -> str:
    if isinstance(name, str):
        return name
    return name.decode("latin-1") if isinstance(name, bytes) else ""


def _texts(value: object) -> Iterable[str]:
    """Return every text of a header's value: one, none for ``None``, and those in a list."""
    if isinstance(value, str):
        return (value,)
    if value is None:
        return ()
    if isinstance(value, bytes | bytearray):
        return (value.decode("latin-1"),)
    if isinstance(value, list | tuple):
        return [_text(each) for each in cast("Sequence[object]", value) if each is not None]
    return (_text(value),)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode("latin-1")
    raise malformed(f"is {type(value).__name__} and not text")
