"""Why no signature fits a body: what was done to it on its way, where that can be found out.

Usual changes are undone and the signature is tried again, for the sentence of the error alone: nothing becomes valid by it. Work is
bounded: a body of 64 KiB at most, three changes in a row, and `_MAX_TRIED` forms of it.
"""

from __future__ import annotations

import ast
import binascii
import re
import zlib
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import orjson

_MAX_DIAGNOSED: Final = 64 * 1024
"""Bytes of the largest refused body that is examined, and of what it may be decompressed to."""
_MAX_TRIED: Final = 8
_MAX_IN_A_ROW: Final = 3
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_\s-]{8,}={0,2}\s*").fullmatch
_GZIP: Final = b"\x1f\x8b"


def likely_cause(body: bytes, fits: Callable[[bytes], bool], secrets: int) -> str:
    """Say why nothing fits.

    Args:
        body: The body that was refused.
        fits: Whether one of the signatures is of these bytes.
        secrets: How many secrets were tried.
    """
    start = "no signature fits the body"
    if not body:
        return (
            f"{start}, which is empty: it was probably read before, by a middleware or a parser; keep its bytes and pass those"
        )
    if len(body) <= _MAX_DIAGNOSED and (found := _find_change(body, fits)):
        return f"{start} {found}"
    which = "the secret is" if secrets == 1 else f"none of the {secrets} secrets is"
    wrong = f"{which} {'not ' if secrets == 1 else ''}the one of this endpoint (each has its own)"
    return f"{start}: either {wrong}, or the body was changed on its way, for example parsed and written anew"


def _find_change(body: bytes, fits: Callable[[bytes], bool]) -> str | None:
    seen = {body}
    level: list[tuple[bytes, tuple[str, ...]]] = [(body, ())]
    for _ in range(_MAX_IN_A_ROW):
        following: list[tuple[bytes, tuple[str, ...]]] = []
        for form, changes in level:
            for undone, change in _undo(form):
                if undone in seen or len(undone) > _MAX_DIAGNOSED:
                    continue
                if len(seen) > _MAX_TRIED:
                    return None
                seen.add(undone)
                following.append((undone, (*changes, change)))
                if fits(undone):
                    return "; besides, ".join(following[-1][1])
        level = following
    return None


def _undo(body: bytes) -> Iterator[tuple[bytes, str]]:
    """Undo each change that *body* shows signs of."""
    trimmed = body.strip()
    if trimmed != body:
        yield trimmed, "with the white space around it, and would without: something on the way added it"
    if body[:3] == b"\xef\xbb\xbf":
        yield body[3:], "with the byte order mark (BOM) before it, and would without: something on the way added it"
    if body[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        yield from _recoded(
            body, "utf-16", "utf-8", "as UTF-16: it was decoded and written anew; pass the bytes as they arrived"
        )
    if body[:2] == _GZIP or body[:1] == b"\x78":
        with suppress(zlib.error):
            yield (
                zlib.decompressobj(wbits=47).decompress(body, _MAX_DIAGNOSED + 1),
                "as it is compressed (gzip or deflate): something on the way compressed it; decompress it first",
            )
    if _BASE64(body):
        decode = urlsafe_b64decode if b"-" in body or b"_" in body else b64decode
        with suppress(binascii.Error, ValueError):
            yield (
                decode(body.rstrip() + b"=="),
                "as Base64, in which gateways such as AWS' hand over bodies: decode it first (mux_async.webhooks.aws_lambda does)",
            )
    if body[:2] in {b"b'", b'b"'}:
        try:
            evaluated: object = ast.literal_eval(body.decode())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            evaluated = None
        if isinstance(evaluated, bytes):
            yield evaluated, "as Python shows it, with b'' around it: str(body) was called; pass the bytes"
    try:
        value: object = orjson.loads(body)
        if isinstance(value, str):
            yield value.encode(), "as a JSON string: it was encoded once more; pass the bytes as they arrived"
        yield orjson.dumps(value), "as it is written here: it was parsed and written anew; pass the bytes as they arrived"
    except (ValueError, TypeError):  # TypeError: nested more deeply than orjson writes
        pass
    if not body.isascii():
        yield from _recoded(
            body, "utf-8", "latin-1", "as it is encoded: it was decoded as Latin-1; pass the bytes as they arrived"
        )


def _recoded(body: bytes, decoded: str, encoded: str, change: str) -> Iterator[tuple[bytes, str]]:
    with suppress(ValueError):
        yield body.decode(decoded).encode(encoded), change
