"""Verify that Mux sent a delivery: the signature in its header is over the bytes of its body.

``Mux-Signature: t=<Unix seconds>,v1=<hex>``; ``v1`` is the HMAC-SHA256 of ``<t>.<body>`` with the text of the endpoint's secret as key
(facts/BEHAVIOUR.md, section 7.4). Pure: bytes, headers and the time are arguments. Rules of the file:

1. The body is not parsed before it is verified. The error about an invalid signature comes from further trials (`_diagnosis`).
2. Work is bounded by the caller's bounds (body and secrets) and by `MAX_HEADER`: one HMAC per secret, however many signatures there are.
3. Comparisons take constant time.
4. The age is checked last, so that an error about the age is about a real delivery.
"""

from __future__ import annotations

import hmac
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import attrs

from mux_async._checks import check_number, check_whole
from mux_async._setting_text import read_variable, text_of, unwrap_setting
from mux_async._tracebacks import hides_locals
from mux_async._types import Secret
from mux_async.errors import ConfigurationError
from mux_async.webhooks._diagnosis import likely_cause
from mux_async.webhooks._errors import BodyTooLargeError, BodyTypeError, SignatureError
from mux_async.webhooks._headers import Headers, find_signature, malformed, pairs_of

SECRET_VARIABLE: Final = "MUX_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
TOLERANCE: Final = 300.0
"""Seconds by which a signature's time may differ from now, in both directions; Mux's own clients allow the same age."""
MAX_BODY: Final = 1024 * 1024
"""Bytes. The largest observed events have about ten thousand."""
MAX_HEADER: Final = 8192
"""Characters of the header: enough for a hundred signatures; two are usual during a change of the secret."""

Body: TypeAlias = bytes | bytearray | memoryview | str
"""The bytes of a body. Text is accepted if its UTF-8 is what was signed, as in the events of AWS Lambda."""

Secrets: TypeAlias = str | bytes | Secret | Sequence[str | bytes | Secret] | None
"""One secret or several; ``None`` for the secret in ``MUX_WEBHOOK_SECRET``."""


@attrs.define  # not frozen: creating a frozen object takes longer than checking a secret
class Verifier:
    """Checked settings of a verification: the secrets, the tolerance in seconds and the maximum size of a body in bytes."""

    keys: tuple[bytes, ...] = attrs.field(repr=False)
    tolerance: float
    max_body: int

    def verify(self, body: Body, headers: Headers, now: float) -> bytes:
        """Return the verified bytes of *body*; see the function `verify`."""
        # Runs for every delivery: concrete classes are checked first, because an abstract one takes as long as parsing the header.
        content: bytes = body if isinstance(body, bytes) else _bytes_of(body, self.max_body)
        if len(content) > self.max_body:
            raise _too_large(len(content), self.max_body)
        at, signatures = parse_signature(find_signature(pairs_of(headers)))
        if not _is_signed(b"%b.%b" % (at, content), signatures, self.keys):
            if isinstance(body, str):
                raise _not_bytes(body)
            raise SignatureError(
                likely_cause(content, lambda other: _is_signed(b"%b.%b" % (at, other), signatures, self.keys), len(self.keys)),
                reason="mismatch",
            )
        age = now - int(at)
        if not -self.tolerance <= age <= self.tolerance:
            raise _wrong_time(age, self.tolerance)
        return content


@hides_locals
def make_verifier(secrets: Secrets = None, tolerance: float = TOLERANCE, max_body: int = MAX_BODY) -> Verifier:
    """Check settings and return a `Verifier` with them. Raises `ConfigurationError`."""
    check_number("tolerance", tolerance, "it is seconds, 0 or more, and math.inf for any age", least=0, allow_infinite=True)
    check_whole("max_body", max_body, 1, "it is bytes, 1 or more, and whole")
    if secrets is None:
        if not (found := read_variable(SECRET_VARIABLE)):
            raise ConfigurationError(
                f"no webhook secret: pass secrets=, or set {SECRET_VARIABLE}; Mux shows the secret when the endpoint is created"
            )
        secrets = found
    if isinstance(secrets, str | bytes | Secret):
        secrets = [secrets]
    elif isinstance(secrets, Mapping) or not isinstance(cast("object", secrets), Iterable):
        raise ConfigurationError(f"secrets= must be one webhook secret or a list of them, and is {type(secrets).__name__}")
    keys = tuple(_key(secret) for secret in secrets)
    if not keys:
        raise ConfigurationError("no webhook secret: secrets= is empty, and a secret is needed to verify deliveries")
    return Verifier(keys, tolerance, max_body)


def _key(secret: str | bytes | Secret) -> bytes:
    text: Any = secret.reveal() if isinstance(secret, Secret) else secret
    if isinstance(text, str):
        try:
            text = text.encode()
        except UnicodeEncodeError:
            text = None
    if not isinstance(text, bytes):
        raise ConfigurationError(f"a webhook secret must be text or bytes, and is {type(secret).__name__}")
    if not text:
        raise ConfigurationError("a webhook secret is empty, and anyone could sign with an empty one")
    if text != text.strip():
        raise ConfigurationError(
            "a webhook secret starts or ends with white space, probably a line break from a file: strip it"
        )
    if (read := text_of(text)) is not None and unwrap_setting(read).encode(errors="surrogatepass") != text:
        raise ConfigurationError(
            "a webhook secret is in quotes, or starts or ends with a byte order mark or an escaped line break: remove it"
        )
    if b"-----BEGIN" in text:
        raise ConfigurationError("a webhook secret contains a key in PEM; were two settings swapped?")
    if b"\n" in text or b"\r" in text:
        raise ConfigurationError("a webhook secret contains a line break; pass several secrets as a list: secrets=[...]")
    return text


def _bytes_of(body: object, most: int) -> bytes:
    if isinstance(body, str):
        if len(body) > most:
            raise _too_large(len(body), most)
        try:
            return body.encode()
        except UnicodeEncodeError:
            raise _not_bytes(body) from None
    try:
        view = memoryview(cast("bytes", body))
    except (TypeError, BufferError, ValueError):
        raise _not_bytes(body) from None
    with view:
        if view.nbytes > most:
            raise _too_large(view.nbytes, most)
        return view.tobytes()


def _not_bytes(body: object) -> BodyTypeError:
    return BodyTypeError(
        f"the body of a webhook must be the bytes that arrived, and is {type(body).__name__}: a body that was decoded or "
        "parsed before cannot be verified",
        reason="mismatch",
    )


def _too_large(size: int, most: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body of a webhook has {size} bytes, and the limit is {most}; if Mux sent it, raise max_body")


@hides_locals
def verify(
    body: Body, headers: Headers, secrets: Secrets = None, *, tolerance: float = TOLERANCE, now: float | None = None
) -> None:
    """Verify that Mux sent *body* now.

    For bodies that you parse yourself; `unwrap` verifies and parses.

    Args:
        body: The bytes as they arrived. Limit their size before: all of them are hashed.
        headers: Headers of the request. Only ``Mux-Signature`` is read.
        secrets: The secret of the endpoint; several during a change of the secret, or for several endpoints.
        tolerance: Maximum difference in seconds between the signature's time and now, in both directions; ``math.inf`` for no limit.
        now: Unix seconds; ``None`` for the system clock.

    Raises:
        SignatureError: The signature is not valid; the message names the likely cause.
        BodyTypeError: A `SignatureError` too: *body* is neither bytes nor the signed text.
        ConfigurationError: There is no secret, or a secret is not valid.
    """
    make_verifier(secrets, tolerance, sys.maxsize).verify(body, headers, time.time() if now is None else now)


@hides_locals
def sign(body: bytes, secret: str | bytes | Secret, *, at: int | None = None) -> str:
    """Return the value of ``Mux-Signature`` that Mux would send with *body*: for tests, and to repeat deliveries.

    Args:
        body: The bytes to send.
        secret: The secret of the endpoint.
        at: Unix seconds; ``None`` for now.

    Raises:
        ConfigurationError: The secret is not valid.
    """
    time_signed = int(time.time()) if at is None else at
    return f"t={time_signed},v1={hmac.digest(_key(secret), b'%d.%b' % (time_signed, body), 'sha256').hex()}"


def parse_signature(text: str) -> tuple[bytes, list[str]]:
    """Return the time as it was signed, and the signatures of scheme ``v1``. Other schemes are ignored. Raises `SignatureError`."""
    if len(text) > MAX_HEADER:
        raise malformed(f"has {len(text)} characters, and the limit is {MAX_HEADER}")
    if not text.isascii():
        raise malformed("has characters that are not ASCII")
    at: str | None = None
    signatures: list[str] = []
    for part in text.split(","):
        name, _, value = part.strip(" \t").partition("=")
        if name == "t":
            if at is not None:
                raise malformed("has two times (t=)")
            at = value
        elif name == "v1":
            signatures.append(value)
    if at is None:
        raise malformed("has no time (t=)")
    if not at.isdigit() or len(at) > 12:
        raise malformed("has a time (t=) that is not Unix seconds")
    if not signatures:
        raise malformed("has no signature of scheme v1")
    if not _is_digest(signatures[0]) and not any(map(_is_digest, signatures)):
        raise malformed("has no v1 that is 64 lower-case hexadecimal digits")
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


def _wrong_time(age: float, tolerance: float) -> SignatureError:
    if age > 0:
        return SignatureError(
            f"the signature is valid but {age:.0f} s old, and the tolerance is {tolerance:g} s: the delivery was recorded and sent "
            "again, it was delayed, or the clock of this machine is fast",
            reason="too_old",
        )
    return SignatureError(
        f"the signature is valid but {-age:.0f} s ahead of the clock of this machine, and the tolerance is {tolerance:g} s: set the clock",
        reason="too_new",
    )
