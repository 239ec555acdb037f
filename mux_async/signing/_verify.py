"""Verification: whether a token was signed by one of these keys, for this use, and is good now.

Everything about a token is hostile until its signature is checked. Four rules keep it so:

1. Size first: nothing is decoded of a token that is too long to stand in a URL.
2. RS256 only, said here and not by the token; a header that asks for anything more (``crit``, ``b64``) is refused.
3. The key id chooses among the caller's keys and does nothing else. Where header and payload differ, the header wins
   (facts/BEHAVIOUR.md, section 12, question 23).
4. Claims are read after the signature, and numbers that are none (``NaN`` never expires) are refused.
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
"""Characters; longer ones fit into no URL that servers take."""

Reason: TypeAlias = Literal[
    "malformed", "algorithm", "unknown_key", "signature", "claims", "audience", "subject", "expired", "not_yet_valid"
]
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class TokenRefusedError(MuxError, ValueError):
    """A token does not open what it was shown for. The message never holds the token.

    Attributes:
        reason: What is wrong, for programs: ``malformed``, ``algorithm``, ``unknown_key``, ``signature``, ``claims``, ``audience``,
            ``subject``, ``expired``, ``not_yet_valid``.
    """

    def __init__(self, message: str, *, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@attrs.frozen
class VerifiedToken:
    """What a token says, once its signature was checked."""

    key_id: str
    subject: str
    audience: str
    expires_at: float
    """Unix seconds."""
    claims: Mapping[str, object]
    """All of them, parameters included."""


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
    """Check a token as Mux would.

    Args:
        token: The token.
        keys: Public keys (PEM, or loaded) by their ids; `Signer.public_keys` has that form.
        audience: What it must be for: ``v``, ``t``, ``g``, ``s``, ``d``, ``rt``, ``video_id``, ... (facts/BEHAVIOUR.md, section 8.2); or
            several, of which one must be.
        subject: Id that it must be for; ``None`` for any.
        now: Unix seconds; the machine's clock by default.
        leeway: Seconds by which clocks may differ.

    Raises:
        TokenRefusedError: It opens nothing here; ``reason`` says why.
        ConfigurationError: The key it names is in *keys*, and no RSA public key.
    """
    text = Secret(token).reveal()
    key_id, claims = _signed_claims(text, keys)
    moment = time.time() if now is None else now
    found, owner, expires = claims.get("aud"), claims.get("sub"), _moment(claims, "exp")
    starts = _moment(claims, "nbf")
    if expires is None or not isinstance(owner, str):
        raise TokenRefusedError("the token has no time of expiry (exp) or no subject (sub)", reason="claims")
    audiences = cast("list[object]", found) if isinstance(found, list) else [found]
    wanted = [audience] if isinstance(audience, str) else list(audience)
    use = next((each for each in wanted if each in audiences), None)
    if use is None:
        needed = " or ".join(map(repr, wanted))
        raise TokenRefusedError(f"the token is for aud {found!r:.80}, and {needed} is needed", reason="audience")
    if subject is not None and owner != subject:
        raise TokenRefusedError(f"the token is for {owner!r:.80}, and not for {subject!r:.80}", reason="subject")
    if expires + leeway <= moment:
        raise TokenRefusedError(f"the token expired {moment - expires:.0f} s ago", reason="expired")
    if starts is not None and starts - leeway > moment:
        raise TokenRefusedError(f"the token is good in {starts - moment:.0f} s, and not before", reason="not_yet_valid")
    return VerifiedToken(key_id, owner, use, expires, claims)


def _signed_claims(token: str, keys: Mapping[str, PublicKey]) -> tuple[str, Mapping[str, object]]:
    if len(token) > MAX_LENGTH:
        raise TokenRefusedError(f"the token has {len(token)} characters; {MAX_LENGTH} is the most", reason="malformed")
    header, payload = _unsigned(token)
    if header.get("alg") != "RS256":
        raise TokenRefusedError(
            f"the token is signed by {header.get('alg')!r:.40}, and only RS256 is taken", reason="algorithm"
        )
    if odd := {"crit", "b64"} & header.keys():
        raise TokenRefusedError(f"the token's header asks for {min(odd)!r}, which is not understood here", reason="malformed")
    if not isinstance(header.get("kid", ""), str):
        raise TokenRefusedError("the token's header names its key by something else than text", reason="malformed")
    claims = _object(payload, "claims")
    named = header["kid"] if "kid" in header else claims.get("kid")
    key = keys.get(named) if isinstance(named, str) else None
    if not isinstance(named, str) or key is None:
        raise TokenRefusedError(
            f"the token is signed with the key {named!r:.80}, which is not known here", reason="unknown_key"
        )
    try:
        JWS.decode(token, read_public_key(key), algorithms=["RS256"])
    except jwt.PyJWTError:
        raise TokenRefusedError("the token's signature is not that of the key it names", reason="signature") from None
    return named, claims


def _unsigned(token: str) -> tuple[Mapping[str, Any], bytes]:
    try:
        if _FORM.fullmatch(token) is None:
            raise jwt.DecodeError
        parts = JWS.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, RecursionError):
        raise TokenRefusedError(
            "the token is no JWT: three parts in base64url with dots between them", reason="malformed"
        ) from None
    return parts["header"], parts["payload"]


def _object(raw: bytes, what: str) -> Mapping[str, object]:
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TokenRefusedError(f"the token's {what} are no JSON object", reason="malformed")
    return cast("dict[str, object]", value)


def _moment(claims: Mapping[str, object], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15 or not math.isfinite(value):
        raise TokenRefusedError(f"the token's {name} is no moment in Unix seconds", reason="claims")
    return float(value)
