"""Identifiers in Mux's format, generated from a seed so that the same calls give the same ids.

The alphabet is base64url with ``0`` as an escape: the symbol ``0`` is written ``00``, ``-`` is ``01`` and ``_`` is ``02``. An id
stands for 24, 32 or (simulcast targets) 40 random bytes. An id that does not decode is malformed, which is a 400, while a well-formed
unknown id is a 404 (facts/BEHAVIOUR.md, section 1.5).
"""

from __future__ import annotations

import hmac
import re
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from random import Random

_ESCAPES = {"0": "00", "-": "01", "_": "02"}
_UNESCAPES = {written: symbol for symbol, written in _ESCAPES.items()}
_WRITTEN = re.compile(r"(?:[1-9A-Za-z]|0[012])+")
_SYMBOL = re.compile(r"0[012]|.")
SIZES = frozenset({24, 32, 40})
"""Bytes an id may stand for."""


def encode(raw: bytes) -> str:
    """Write *raw* as an id."""
    symbols = urlsafe_b64encode(raw).decode().rstrip("=")
    return "".join(_ESCAPES.get(symbol, symbol) for symbol in symbols)


def is_well_formed(id: str) -> bool:
    """Whether *id* could be one of Mux."""
    if not _WRITTEN.fullmatch(id):
        return False
    written: list[str] = _SYMBOL.findall(id)
    symbols = "".join(_UNESCAPES.get(symbol, symbol) for symbol in written)
    if len(symbols) % 4 == 1:
        return False
    raw = urlsafe_b64decode(symbols + "=" * (-len(symbols) % 4))
    return len(raw) in SIZES and encode(raw) == id  # the second half refuses stray bits in the last symbol


class IdGenerator:
    """Generates ids. Each kind has its own sequence, so that one more GET does not change the next asset's id.

    *generation* counts how often the sequences began anew. Names and keys stay, and no id is repeated.
    """

    def __init__(self, seed: int | str, generation: int = 0) -> None:
        self._seed = seed
        self._begin = f"{seed}/{generation}" if generation else str(seed)
        self._sequences: dict[str, Random] = {}

    def _random(self, kind: str) -> Random:
        if kind not in self._sequences:
            self._sequences[kind] = Random(f"{self._begin}/{kind}")  # noqa: S311 - names, not secrets
        return self._sequences[kind]

    def id(self, kind: str, size: int = 32) -> str:
        """Return a new id of *kind* (any word), standing for *size* bytes."""
        return encode(self._random(kind).randbytes(size))

    def request_id(self) -> str:
        """Return 20 url-safe characters, for ``X-Request-Id``."""
        return urlsafe_b64encode(self._random("request").randbytes(15)).decode()

    def uuid(self, kind: str) -> str:
        """Return a UUID; stream keys have its shape."""
        return str(uuid.UUID(bytes=self._random(kind).randbytes(16), version=4))

    def opaque(self, kind: str, size: int) -> str:
        """Return *size* lower-case letters and digits."""
        return "".join(self._random(kind).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=size))

    def named(self, kind: str, name: str) -> str:
        """Return six lower-case letters and digits that depend on *name* alone: environment ids."""
        return "".join(Random(f"{self._seed}/{kind}/{name}").choices("abcdefghijklmnopqrstuvwxyz0123456789", k=6))  # noqa: S311

    def key(self, purpose: str) -> bytes:
        """Return 32 bytes for signing what only this emulator reads."""
        return sha256(f"{self._seed}/{purpose}".encode()).digest()

    def signature(self, purpose: str, text: str) -> str:
        """Sign *text*, in hexadecimal digits."""
        return hmac.new(self.key(purpose), text.encode(), sha256).hexdigest()

    def is_signature(self, given: str, purpose: str, text: str) -> bool:
        """Whether *given* is the signature of *text*. The comparison takes the same time for all of the same length."""
        return hmac.compare_digest(given.encode(), self.signature(purpose, text).encode())
