"""Playback tokens: the JWTs that open signed playback ids (facts/BEHAVIOUR.md, section 8.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from mux_async.emulator._http import ApiError
from mux_async.emulator._state import Environment
from mux_async.errors import MissingExtraError


def _forbidden(message: str) -> ApiError:
    return ApiError(403, "forbidden", message)


def check_token(token: str | None, environment: Environment, playback_id: str, audience: str, now: float) -> Mapping[str, Any]:
    """Refuse a missing, foreign, misdirected or expired token.

    Returns:
        Its claims.

    Raises:
        ApiError: 403.
        MissingExtraError: PyJWT is not installed.
    """
    if not token:
        raise _forbidden("The playback id is signed and the URL has no token")
    claims, _ = read_token(token, [environment], [audience], now)
    if claims["sub"] != playback_id:
        raise _forbidden("The token is for another playback id")
    return claims


def read_token(
    token: str, environments: Iterable[Environment], audiences: Sequence[str], now: float
) -> tuple[Mapping[str, Any], Environment]:
    """Read a token, whoever it is about. The key id is found in the header, else in the payload.

    Args:
        token: As it was sent.
        environments: Whose signing keys count.
        audiences: Of which it must name one as ``aud``.
        now: Epoch seconds.

    Returns:
        Its claims, ``sub`` among them, and the environment whose key signed it.

    Raises:
        ApiError: 403, it is not valid, not valid any more, or not yet.
        MissingExtraError: PyJWT is not installed.
    """
    try:
        import jwt
    except ImportError:
        raise MissingExtraError("checking playback tokens in the emulator", "PyJWT", "jwt") from None
    try:
        header = jwt.get_unverified_header(token)
        unverified = jwt.decode(token, options={"verify_signature": False})
        kid = str(header.get("kid") or unverified.get("kid"))
        environment = next((found for found in environments if kid in found.signing_keys), None)
        if environment is None:
            raise _forbidden("The token was signed with an unknown key")
        checks: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "sub", "aud"]}
        pem = environment.signing_keys[kid].public_pem
        claims = jwt.decode(token, pem, algorithms=["RS256"], audience=audiences, options=checks)
        begins, expires = float(claims.get("nbf", 0.0)), float(claims["exp"])
    except (jwt.PyJWTError, TypeError, ValueError):
        raise _forbidden("The token is not valid here") from None
    if not now < expires:
        raise _forbidden("The token has expired")
    if not begins <= now:
        raise _forbidden("The token is not valid yet")
    return cast("Mapping[str, Any]", claims), environment
