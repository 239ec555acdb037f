"""Playback tokens: the JWTs that open signed playback ids (facts/BEHAVIOUR.md, section 8.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mux_async.emulator._http import ApiError
from mux_async.emulator._state import Environment

_WORDS: Final = {
    "unknown_key": "The token was signed with an unknown key",
    "subject": "The token is for another playback id",
    "expired": "The token has expired",
    "not_yet_valid": "The token is not valid yet",
}


def _forbidden(message: str) -> ApiError:
    return ApiError(403, "forbidden", message)


def check_token(
    token: str | None, environment: Environment, playback_id: str, audience: str, now: float
) -> Mapping[str, object]:
    """Refuse a missing, foreign, misdirected or expired token. The key id is found in the header, else in the payload.

    Returns:
        Its claims.

    Raises:
        ApiError: 403.
        MissingExtraError: PyJWT is not installed.
    """
    if not token:
        raise _forbidden("The playback id is signed and the URL has no token")
    from mux_async.signing import TokenRefusedError, verify  # an emulator without signed playback needs no extra

    keys = {key.id: key.public_pem for key in environment.signing_keys.values()}
    try:
        return verify(token, keys, audience=audience, subject=playback_id, now=now).claims
    except TokenRefusedError as error:
        raise _forbidden(_WORDS.get(error.reason, "The token is not valid here")) from None
