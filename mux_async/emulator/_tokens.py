"""Playback tokens: the JWTs that open signed playback ids (facts/BEHAVIOUR.md, section 8.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from mux_async.emulator._http import ApiError
from mux_async.emulator._state import Environment
from mux_async.errors import MissingExtraError


def _forbidden(message: str) -> ApiError:
    return ApiError(403, "forbidden", message)


def check_token(token: str | None, environment: Environment, playback_id: str, audience: str, now: float) -> Mapping[str, Any]:
    """Refuse a missing, foreign, misdirected or expired token. The key id is found in the header, else in the payload.

    Returns:
        Its claims.

    Raises:
        ApiError: 403.
        MissingExtraError: PyJWT is not installed.
    """
    if not token:
        raise _forbidden("The playback id is signed and the URL has no token")
    try:
        import jwt
    except ImportError:
        raise MissingExtraError("checking playback tokens in the emulator", "PyJWT", "jwt") from None
    try:
        header = jwt.get_unverified_header(token)
        unverified = jwt.decode(token, options={"verify_signature": False})
        key = environment.signing_keys.get(str(header.get("kid") or unverified.get("kid")))
        if key is None:
            raise _forbidden("The token was signed with an unknown key")
        checks: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "sub", "aud"]}
        claims = jwt.decode(token, key.public_pem, algorithms=["RS256"], audience=audience, options=checks)
        expires = float(claims["exp"])
    except (jwt.PyJWTError, TypeError, ValueError):
        raise _forbidden("The token is not valid here") from None
    if claims["sub"] != playback_id:
        raise _forbidden("The token is for another playback id")
    if expires <= now:
        raise _forbidden("The token has expired")
    return cast("Mapping[str, Any]", claims)
