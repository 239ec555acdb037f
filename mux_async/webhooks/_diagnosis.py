"""Find out why no signature matches a body: how it was changed on its way.

Usual changes are reversed and the signature is tried again, only for the error message: no delivery becomes valid by it. Work is
bounded: bodies up to 64 KiB, three changes in a row, and `_MAX_TRIED` variants.
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
"""Maximum bytes of a body that is examined, also after decompression."""
_MAX_TRIED: Final = 8
_MAX_IN_A_ROW: Final = 3
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_\s-]{8,}={0,2}\s*").fullmatch
_GZIP: Final = b"\x1f\x8b"


def likely_cause(body: bytes, fits: Callable[[bytes], bool], secrets: int) -> str:
    """Return an error message with the likely cause.

    *fits* returns whether a signature matches the given bytes; *secrets* is the number of secrets that were tried.
    """
    start = "no signature matches the body"
    if not body:
        return f"{start}, which is empty: a middleware or a parser probably read it before; keep its bytes and pass them"
    if len(body) <= _MAX_DIAGNOSED and (found := _find_change(body, fits)):
        return f"{start} {found}"
    which = "the secret is not" if secrets == 1 else f"none of the {secrets} secrets is"
    wrong = f"{which} that of this endpoint (each endpoint has its own)"
    return f"{start}: either {wrong}, or the body was changed on its way, for example parsed and serialised again"


def _find_change(body: bytes, fits: Callable[[bytes], bool]) -> str | None:
    seen = {body}
    level: list[tuple[bytes, tuple[str, ...]]] = [(body, ())]
    for _ in range(_MAX_IN_A_ROW):
        following: list[tuple[bytes, tuple[str, ...]]] = []
        for variant, changes in level:
            for original, change in _undo(variant):
                if original in seen or len(original) > _MAX_DIAGNOSED:
                    continue
                if len(seen) > _MAX_TRIED:
                    return None
                seen.add(original)
                following.append((original, (*changes, change)))
                if fits(original):
                    return "; also ".join(following[-1][1])
        level = following
    return None


def _undo(body: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield *body* without each change that it shows signs of, and a description of the change."""
    trimmed = body.strip()
    if trimmed != body:
        yield trimmed, "because white space was added around it"
    if body[:3] == b"\xef\xbb\xbf":
        yield body[3:], "because a byte order mark (BOM) was added before it"
    if body[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        yield from _recoded(
            body, "utf-16", "utf-8", "because it was decoded and encoded as UTF-16; pass the bytes as they arrived"
        )
    if body[:2] == _GZIP or body[:1] == b"\x78":
        with suppress(zlib.error):
            yield (
                zlib.decompressobj(wbits=47).decompress(body, _MAX_DIAGNOSED + 1),
                "because it is compressed (gzip or deflate); decompress it first",
            )
    if _BASE64(body):
        decode = urlsafe_b64decode if b"-" in body or b"_" in body else b64decode
        with suppress(binascii.Error, ValueError):
            yield (
                decode(body.rstrip() + b"=="),
                "because it is in Base64, as from gateways such as AWS'; decode it first (mux_async.webhooks.aws_lambda does)",
            )
    if body[:2] in {b"b'", b'b"'}:
        try:
            evaluated: object = ast.literal_eval(body.decode())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            evaluated = None
        if isinstance(evaluated, bytes):
            yield evaluated, "because it is the result of str(body), with b'' around it; pass the bytes"
    try:
        value: object = orjson.loads(body)
        if isinstance(value, str):
            yield value.encode(), "because it was encoded again as a JSON string; pass the bytes as they arrived"
        yield orjson.dumps(value), "because it was parsed and serialised again; pass the bytes as they arrived"
    except (ValueError, TypeError):  # TypeError: nested more deeply than orjson can serialise
        pass
    if not body.isascii():
        yield from _recoded(body, "utf-8", "latin-1", "because it was decoded as Latin-1; pass the bytes as they arrived")


def _recoded(body: bytes, decoded: str, encoded: str, change: str) -> Iterator[tuple[bytes, str]]:
    with suppress(ValueError):
        yield body.decode(decoded).encode(encoded), change
