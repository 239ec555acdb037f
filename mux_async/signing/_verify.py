"""Verify tokens: the signature is by one of the given keys, the use is the expected one, and the token has not expired.

A token is untrusted input until its signature is verified. Four rules follow:

1. The size is checked first: a token that is too long for a URL is not decoded.
2. The algorithm is always RS256, whatever the token says; a header with extensions (``crit``, ``b64``) is refused.
3. The key id only selects one of the caller's keys. If header and payload differ, the header wins
   (facts/BEHAVIOUR.md, section 12, question 23).
4. Claims are read after the signature is verified, and numbers that are not finite (``NaN`` never expires) are refused.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import jwt

from mux_async._tracebacks import hides_locals
from mux_async._types import Secret
from mux_async.errors import MuxError
from mux_async.signing._keys import JWS, PublicKey, read_public_key

MAX_LENGTH: Final = 8192
"""Characters; servers refuse URLs with longer tokens."""

Reason: TypeAlias = Literal[
    "malformed", "algorithm", "unknown_key", "signature", "claims", "audience", "subject", "expired", "not_yet_valid"
]
"""Why a token was refused."""
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class TokenRefusedError(MuxError, ValueError):
    """A token is not valid for the requested use. The message never contains the token.

    Attributes:
        reason: Machine-readable reason: ``malformed``, ``algorithm``, ``unknown_key``, ``signature``, ``claims``, ``audience``,
            ``subject``, ``expired``, ``not_yet_valid``.
    """

    def __init__(self, message: str, *, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@attrs.frozen
class VerifiedToken:
    """The claims of a token whose signature was verified."""

    key_id: str
    subject: str
    audience: str
    expires_at: float
    """Unix seconds."""
    claims: Mapping[str, object]
    """All claims, parameters included."""


@hides_locals
def verify(
    token: str | Secret,
    keys: Mapping[str, PublicKey],
    *,
    audience: str | Collection[str],
    subject: str | None = None,
    now: float | None = None,
    leeway: float = 0.0,
) -> VerifiedToken:
    """Verify a token as Mux does.

    Args:
        token: The token.
        keys: Public keys (PEM, or loaded) by their ids; `Signer.public_keys` has that form.
        audience: The required ``aud`` claim: ``v``, ``t``, ``g``, ``s``, ``d``, ``rt``, ``video_id``, ... (facts/BEHAVIOUR.md, section
            8.2). Of several, one must match.
        subject: The required ``sub`` claim, an id; ``None`` for any.
        now: Unix seconds; the system clock by default.
        leeway: Seconds by which clocks may differ.

    Raises:
        TokenRefusedError: The token is not valid; ``reason`` says why.
        ConfigurationError: The key that the token names is in *keys*, but is not an RSA public key.
    """
    text = Secret(token).reveal()
    key_id, claims = _signed_claims(text, keys)
    current = time.time() if now is None else now
    found, owner, expires = claims.get("aud"), claims.get("sub"), _unix_time(claims, "exp")
    starts = _unix_time(claims, "nbf")
    if expires is None or not isinstance(owner, str):
        raise TokenRefusedError("the token has no expiry (exp) or no subject (sub)", reason="claims")
    audiences = cast("list[object]", found) if isinstance(found, list) else [found]
    wanted = [audience] if isinstance(audience, str) else list(audience)
    use = next((each for each in wanted if each in audiences), None)
    if use is None:
        needed = " or ".join(map(repr, wanted))
        raise TokenRefusedError(f"the token is for aud {found!r:.80}, and {needed} is required", reason="audience")
    if subject is not None and owner != subject:
        raise TokenRefusedError(f"the token is for {owner!r:.80}, and not for {subject!r:.80}", reason="subject")
    if expires + leeway <= current:
        raise TokenRefusedError(f"the token expired {current - expires:.0f} s ago", reason="expired")
    if starts is not None and starts - leeway > current:
        raise TokenRefusedError(f"the token is valid only in {starts - current:.0f} s", reason="not_yet_valid")
    return VerifiedToken(key_id, owner, use, expires, claims)


def _signed_claims(token: str, keys: Mapping[str, PublicKey]) -> tuple[str, Mapping[str, object]]:
    if len(token) > MAX_LENGTH:
        raise TokenRefusedError(f"the token has {len(token)} characters; the maximum is {MAX_LENGTH}", reason="malformed")
    header, payload = _unsigned(token)
    if header.get("alg") != "RS256":
        raise TokenRefusedError(
            f"the token is signed with {header.get('alg')!r:.40}, and only RS256 is accepted", reason="algorithm"
        )
    if extensions := {"crit", "b64"} & header.keys():
        raise TokenRefusedError(f"the token's header has {min(extensions)!r}, which is not supported", reason="malformed")
    if not isinstance(header.get("kid", ""), str):
        raise TokenRefusedError("the key id in the token's header is not text", reason="malformed")
    claims = _object(payload, "claims")
    named = header["kid"] if "kid" in header else claims.get("kid")
    key = keys.get(named) if isinstance(named, str) else None
    if not isinstance(named, str) or key is None:
        raise TokenRefusedError(
            f"the token is signed with the key {named!r:.80}, which is not among the given keys", reason="unknown_key"
        )
    try:
        JWS.decode(token, read_public_key(key), algorithms=["RS256"])
    except jwt.PyJWTError:
        raise TokenRefusedError("the token's signature was not made by the key that it names", reason="signature") from None
    return named, claims


def _unsigned(token: str) -> tuple[Mapping[str, Any], bytes]:
    try:
        if _FORM.fullmatch(token) is None:
            raise jwt.DecodeError
        parts = JWS.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, RecursionError):
        raise TokenRefusedError(
            "the token is not a JWT: three parts in base64url, separated by dots", reason="malformed"
        ) from None
    return parts["header"], parts["payload"]


def _object(raw: bytes, what: str) -> Mapping[str, object]:
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TokenRefusedError(f"the token's {what} are not a JSON object", reason="malformed")
    return cast("dict[str, object]", value)


def _unix_time(claims: Mapping[str, object], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15 or not math.isfinite(value):
        raise TokenRefusedError(f"the token's {name} is not a Unix time in seconds", reason="claims")
    return float(value)
