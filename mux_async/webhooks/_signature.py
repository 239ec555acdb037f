"""Whether a delivery comes from Mux: the signature in its header, over the bytes of its body.

``Mux-Signature: t=<Unix seconds>,v1=<hex>``, and ``v1`` is the HMAC-SHA256 of ``<t>.<body>`` under the endpoint's secret, taken as text
(facts/BEHAVIOUR.md, section 7.4). Pure: bytes, headers and the time come in. Rules of the file:

1. Nothing of the body is interpreted before it is authentic; what is said about one that is not comes from trying again (`_diagnosis`).
2. Work is bounded by what the caller bounds (body and secrets) and by `MAX_HEADER`: one HMAC for each secret, however many signatures
   there are.
3. Comparing takes the same time wherever the difference is.
4. The age is looked at last, so that an error about it is about a real delivery.
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
"""Seconds that a signature's time may differ from now, either way; Mux's own clients allow as much for old ones."""
MAX_BODY: Final = 1024 * 1024
"""Bytes. The largest events that were seen have some ten thousand."""
MAX_HEADER: Final = 8192
"""Characters of the header: a hundred signatures, where two are usual while a secret is being changed."""

Body: TypeAlias = bytes | bytearray | memoryview | str
"""The bytes of a body. Text is taken when its UTF-8 is what was signed, as in the events of AWS Lambda."""

Secrets: TypeAlias = str | bytes | Secret | Sequence[str | bytes | Secret] | None
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

    def verify(self, body: Body, headers: Headers, now: float) -> bytes:
        """Return the bytes of *body*, which are authentic; see `verify`."""
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
def verifier(secrets: Secrets = None, tolerance: float = TOLERANCE, max_body: int = MAX_BODY) -> Verifier:
    """Check settings and make them ready.

    Raises:
        ConfigurationError: There is no secret, or one that cannot be right; or *tolerance* or *max_body* is not a number of seconds or
            bytes.
    """
    check_number("tolerance", tolerance, "it is seconds, 0 or more, and math.inf for any age", least=0, allow_infinite=True)
    check_whole("max_body", max_body, 1, "it is bytes, 1 or more, and whole")
    if secrets is None:
        if not (found := read_variable(SECRET_VARIABLE)):
            raise ConfigurationError(
                f"no webhook secret: pass secrets=, or set {SECRET_VARIABLE}; Mux shows it where the endpoint was created"
            )
        secrets = found
    if isinstance(secrets, str | bytes | Secret):
        secrets = [secrets]
    elif isinstance(secrets, Mapping) or not isinstance(cast("object", secrets), Iterable):
        raise ConfigurationError(f"secrets= is one webhook secret or a list of them, and this is {type(secrets).__name__}")
    keys = tuple(_key(secret) for secret in secrets)
    if not keys:
        raise ConfigurationError("no webhook secret: secrets= is empty, and without one nothing can be verified")
    return Verifier(keys, tolerance, max_body)


def _key(secret: str | bytes | Secret) -> bytes:
    text: Any = secret.reveal() if isinstance(secret, Secret) else secret
    if isinstance(text, str):
        try:
            text = text.encode()
        except UnicodeEncodeError:
            text = None
    if not isinstance(text, bytes):
        raise ConfigurationError(f"a webhook secret is text, or its bytes, and this is {type(secret).__name__}")
    if not text:
        raise ConfigurationError("a webhook secret is empty: anybody could sign with it")
    if text != text.strip():
        raise ConfigurationError(
            "a webhook secret begins or ends with white space; it was probably read from a file with its line break: strip it"
        )
    if (read := text_of(text)) is not None and unwrap_setting(read).encode(errors="surrogatepass") != text:
        raise ConfigurationError(
            "a webhook secret is in quotes, or has a byte order mark or a spelled out line break at an end: leave that out"
        )
    if b"-----BEGIN" in text:
        raise ConfigurationError("a webhook secret holds a key in PEM; were two settings swapped?")
    if b"\n" in text or b"\r" in text:
        raise ConfigurationError("a webhook secret holds a line break; several secrets are passed as a list: secrets=[...]")
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
        with memoryview(cast("bytes", body)) as view:
            if view.nbytes > most:
                raise _too_large(view.nbytes, most)
            return view.tobytes()
    except (TypeError, BufferError, ValueError) as error:
        if isinstance(error, BodyTooLargeError):
            raise
    raise _not_bytes(body)


def _not_bytes(body: object) -> BodyTypeError:
    return BodyTypeError(
        f"the body of a webhook is needed as the bytes that arrived, and this is {type(body).__name__}: what was decoded or "
        "parsed before cannot be verified",
        reason="mismatch",
    )


def _too_large(size: int, most: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body of a webhook has {size} bytes and {most} are allowed; if it is Mux's, raise max_body")


@hides_locals
def verify(
    body: Body, headers: Headers, secrets: Secrets = None, *, tolerance: float = TOLERANCE, now: float | None = None
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
        BodyTypeError: A `SignatureError` too: *body* is neither bytes nor the text that was signed.
        ConfigurationError: There is no secret, or one that cannot be right.
    """
    verifier(secrets, tolerance, sys.maxsize).verify(body, headers, time.time() if now is None else now)


@hides_locals
def sign(body: bytes, secret: str | bytes | Secret, *, at: int | None = None) -> str:
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


def parse_signature(text: str) -> tuple[bytes, list[str]]:
    """Return the time, as it was signed, and the signatures of scheme ``v1``.

    Raises:
        SignatureError: It is not of the form ``t=<digits>,v1=<hex>[,v1=<hex>...]``. Other schemes are passed over.
    """
    if len(text) > MAX_HEADER:
        raise malformed(f"has {len(text)} characters, and {MAX_HEADER} are allowed")
    if not text.isascii():
        raise malformed("has characters beyond ASCII")
    at: str | None = None
    signatures: list[str] = []
    for part in text.split(","):
        name, _, value = part.strip(" \t").partition("=")
        if name == "t":
            if at is not None:
                raise malformed("gives its time twice")
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
            f"the signature is right and {age:.0f} s old, where {tolerance:g} s are tolerated: it was recorded and sent again, it "
            "waited on its way, or the clock of this machine is fast",
            reason="too_old",
        )
    return SignatureError(
        f"the signature is right and {-age:.0f} s ahead of the clock of this machine, where {tolerance:g} s are tolerated: set the clock",
        reason="too_new",
    )
