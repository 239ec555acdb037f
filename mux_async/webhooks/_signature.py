"""Whether a delivery comes from Mux: the signature in its header, over the bytes of its body.

``Mux-Signature: t=<Unix seconds>,v1=<hex>``, and ``v1`` is the HMAC-SHA256 of ``<t>.<body>`` under the endpoint's secret, taken as text
(facts/BEHAVIOUR.md, section 7.4). Pure: bytes, headers and the time come in. Rules of the file:

1. Nothing of the body is interpreted before it is authentic; what is said about one that is not comes from trying again (`_likely_cause`).
2. Work is bounded by what the caller bounds (body and secrets) and by `MAX_HEADER`: one HMAC for each secret, however many signatures
   there are.
3. Comparing takes the same time wherever the difference is.
4. The age is looked at last, so that an error about it is about a real delivery.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import attrs
import orjson

from mux_async._types import Secret
from mux_async.errors import ConfigurationError
from mux_async.webhooks._errors import BodyTooLargeError, SignatureError

HEADER: Final = "Mux-Signature"
SECRET_VARIABLE: Final = "MUX_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
TOLERANCE: Final = 300.0
"""Seconds that a signature's time may differ from now, either way; Mux's own clients allow as much for old ones."""
MAX_BODY: Final = 1024 * 1024
"""Bytes. The largest events that were seen have some ten thousand."""
MAX_HEADER: Final = 8192
"""Characters of the header: a hundred signatures, where two are usual while a secret is being changed."""
_MAX_DIAGNOSED: Final = 64 * 1024
"""Bytes of the largest refused body that is looked into for the reason."""

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
"""Headers of a request, in whatever case: a mapping, or pairs as in an ASGI scope."""

Secrets: TypeAlias = str | Secret | Sequence[str | Secret] | None
"""One secret or several; ``None`` for that in ``MUX_WEBHOOK_SECRET``."""


@attrs.define  # frozen would take longer to make than a secret to check
class Verifier:
    """Secrets and tolerance, made ready once.

    Attributes:
        keys: The secrets as bytes.
        tolerance: Seconds.
        max_body: Bytes.
    """

    keys: tuple[bytes, ...] = attrs.field(repr=False)
    tolerance: float
    max_body: int

    # Everything below runs for every delivery: classes are compared first, because asking for an abstract one takes as long as the header.

    def verify(self, body: bytes, headers: Headers, now: float) -> None:
        """See `verify`."""
        if body.__class__ is not bytes and not isinstance(cast("object", body), bytes | bytearray | memoryview):
            raise TypeError(
                f"the body of a webhook is needed as the bytes that arrived, and this is {type(body).__name__}: what was decoded or "
                "parsed before cannot be verified"
            )
        if len(body) > self.max_body:
            raise BodyTooLargeError(
                f"the body of a webhook has {len(body)} bytes and {self.max_body} are allowed; if it is Mux's, raise max_body"
            )
        at, signatures = parse_signature(find_signature(headers))
        if not _is_signed(b"%b.%b" % (at, body), signatures, self.keys):
            raise SignatureError(_likely_cause(bytes(body), at, signatures, self.keys), reason="mismatch")
        age = now - int(at)
        if not -self.tolerance <= age <= self.tolerance:
            raise _wrong_time(age, self.tolerance)


def verifier(secrets: Secrets = None, tolerance: float = TOLERANCE, max_body: int = MAX_BODY) -> Verifier:
    """Check settings and make them ready.

    Raises:
        ConfigurationError: There is no secret, or one that cannot be right.
        ValueError: *tolerance* or *max_body* is not a number of seconds or bytes.
    """
    if not tolerance >= 0:  # NaN too
        raise ValueError(f"tolerance is {tolerance!r}; it is seconds, 0 or more, and math.inf for any age")
    if max_body < 1:
        raise ValueError(f"max_body is {max_body!r}; it is bytes, 1 or more")
    if secrets is None:
        if not (found := os.environ.get(SECRET_VARIABLE)):
            raise ConfigurationError(
                f"no webhook secret: pass secrets=, or set {SECRET_VARIABLE}; Mux shows it where the endpoint was created"
            )
        secrets = found
    listed = [secrets] if isinstance(secrets, str | Secret) else list(secrets)
    if not listed:
        raise ConfigurationError("no webhook secret: secrets= is empty, and without one nothing can be verified")
    return Verifier(tuple(_key(secret) for secret in listed), tolerance, max_body)


def _key(secret: str | Secret) -> bytes:
    text: Any = secret.reveal() if isinstance(secret, Secret) else secret
    if not isinstance(text, str):
        raise TypeError(f"a webhook secret is text, and this is {type(secret).__name__}")
    if not text:
        raise ConfigurationError("a webhook secret is empty: anybody could sign with it")
    if text != text.strip():
        raise ConfigurationError(
            "a webhook secret begins or ends with white space; it was probably read from a file with its line break: strip it"
        )
    return text.encode()


def verify(
    body: bytes, headers: Headers, secrets: Secrets = None, *, tolerance: float = TOLERANCE, now: float | None = None
) -> None:
    """Make sure that Mux sent *body*, and did so now.

    For bodies that are no events, or that are read by other means; `unwrap` verifies and reads.

    Args:
        body: The bytes as they arrived. Bound them before: all of them are hashed.
        headers: Of the request. Only ``Mux-Signature`` is looked at.
        secrets: The endpoint's secret; several while it is being changed, or when several endpoints lead here.
        tolerance: Seconds between the signature and now, either way; ``math.inf`` for any.
        now: Unix seconds; ``None`` for the clock of this machine.

    Raises:
        SignatureError: It cannot be told from a forgery; the message names the likely cause.
        ConfigurationError: There is no secret, or one that cannot be right.
    """
    verifier(secrets, tolerance, max(len(body), 1)).verify(body, headers, time.time() if now is None else now)


def sign(body: bytes, secret: str | Secret, *, at: int | None = None) -> str:
    """Return the value of ``Mux-Signature`` that Mux would send with *body*: for tests, and to send deliveries again.

    Args:
        body: The bytes that are sent.
        secret: Of the endpoint.
        at: Unix seconds; ``None`` for now.

    Raises:
        ConfigurationError: The secret cannot be right.
    """
    moment = int(time.time()) if at is None else at
    return f"t={moment},v1={hmac.digest(_key(secret), b'%d.%b' % (moment, body), 'sha256').hex()}"


def pairs_of(headers: Headers) -> Iterable[tuple[str | bytes, str | bytes]]:
    """Return headers as pairs, each as often as it came."""
    if headers.__class__ is dict or isinstance(headers, Mapping):
        return cast("Mapping[str, str]", headers).items()
    return headers


def content_length(headers: Headers) -> int:
    """Return how many bytes the body is said to have; 0 when that is not said, or is no number."""
    for name, value in pairs_of(headers):
        if len(name) == 14 and _text(name).lower() == "content-length":
            said = _text(value)
            return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else 0
    return 0


def find_signature(headers: Headers) -> str:
    """Return the value of ``Mux-Signature``.

    Raises:
        SignatureError: There is none, or more than one.
    """
    found = [value for name, value in pairs_of(headers) if len(name) == 13 and _text(name).lower() == "mux-signature"]
    if not found:
        raise SignatureError(
            f"there is no {HEADER} header: either this was not sent by Mux, or something between here and Mux drops the header",
            reason="missing",
        )
    if len(found) > 1:
        raise _malformed(f"came {len(found)} times")
    return _text(found[0])


def parse_signature(text: str) -> tuple[bytes, list[str]]:
    """Return the time, as it was signed, and the signatures of scheme ``v1``.

    Raises:
        SignatureError: It is not of the form ``t=<digits>,v1=<hex>[,v1=<hex>...]``. Other schemes are passed over.
    """
    if len(text) > MAX_HEADER:
        raise _malformed(f"has {len(text)} characters, and {MAX_HEADER} are allowed")
    if not text.isascii():
        raise _malformed("has characters beyond ASCII")
    at: str | None = None
    signatures: list[str] = []
    for part in text.split(","):
        name, _, value = part.strip(" \t").partition("=")
        if name == "t":
            if at is not None:
                raise _malformed("gives its time twice")
            at = value
        elif name == "v1":
            signatures.append(value)
    if at is None:
        raise _malformed("has no time (t=)")
    if not at.isdigit() or len(at) > 12:
        raise _malformed("has a time (t=) that is not Unix seconds")
    if not signatures:
        raise _malformed("has no signature of scheme v1")
    if not _is_digest(signatures[0]) and not any(map(_is_digest, signatures)):
        raise _malformed("has no v1 that is 64 lower-case hexadecimal digits")
    return at.encode(), signatures


def _is_signed(signed: bytes, signatures: list[str], keys: tuple[bytes, ...]) -> bool:
    for key in keys:
        expected = hmac.digest(key, signed, "sha256").hex()
        for signature in signatures:
            if hmac.compare_digest(expected, signature):
                return True
    return False


def _is_digest(signature: str) -> bool:
    return len(signature) == 64 and not signature.strip("0123456789abcdef")


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _malformed(what: str) -> SignatureError:
    return SignatureError(f"the {HEADER} header {what}; Mux writes t=<Unix seconds>,v1=<hex>", reason="malformed")


def _wrong_time(age: float, tolerance: float) -> SignatureError:
    if age > 0:
        return SignatureError(
            f"the signature is right and {age:.0f} s old, where {tolerance:g} s are tolerated: it was recorded and sent again, it "
            "waited on its way, or the clock of this machine is fast",
            reason="too_old",
        )
    return SignatureError(
        f"the signature is right and {-age:.0f} s ahead of the clock of this machine, where {tolerance:g} s are tolerated: set the clock",
        reason="too_new",
    )


def _likely_cause(body: bytes, at: bytes, signatures: list[str], keys: tuple[bytes, ...]) -> str:
    """Say why nothing fits. Forms of the body that do fit are tried for this sentence alone: they make nothing valid."""

    def fits(candidate: bytes) -> bool:
        return _is_signed(b"%b.%b" % (at, candidate), signatures, keys)

    start = "no signature fits the body"
    if not body:
        return (
            f"{start}, which is empty: it was probably read before, by a middleware or a parser; keep its bytes and pass those"
        )
    if len(body) <= _MAX_DIAGNOSED:
        trimmed = body.strip()
        if trimmed != body and fits(trimmed):
            return f"{start} with the white space around it, and would without: something on the way added it"
        try:
            compact = orjson.dumps(orjson.loads(body))
        except ValueError:
            compact = body
        if compact != body and fits(compact):
            return f"{start} as it is written here: it was parsed and written anew; pass the bytes as they arrived"
    which = "the secret is" if len(keys) == 1 else f"none of the {len(keys)} secrets is"
    wrong = f"{which} {'not ' if len(keys) == 1 else ''}the one of this endpoint (each has its own)"
    return f"{start}: either {wrong}, or the body was changed on its way, for example parsed and written anew"
