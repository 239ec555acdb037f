"""Playback tokens: the JWTs that open signed playback ids (facts/BEHAVIOUR.md, section 8.2), and tokens for the page at ``/``.

The page has no private key to sign a playback token with, and the emulator keeps only public keys. A page token is an expiry and a keyed
hash of the playback id; it is valid at this emulator only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, cast

from mux_async.emulator.http._messages import ApiError
from mux_async.emulator.state._state import Environment, State

_WORDS: Final = {
    "unknown_key": "The token was signed with an unknown key",
    "expired": "The token has expired",
    "not_yet_valid": "The token is not valid yet",
}


_PAGE_PERIOD = 3600
"""Seconds. A page token is valid for one to two periods and does not change within one, so that a browser caches the images."""


def page_token(state: State, playback_id: str) -> str:
    """Return a token that is valid for *playback_id*, in the query parameter ``token`` of every playback host."""
    expires = (int(state.now) // _PAGE_PERIOD + 2) * _PAGE_PERIOD
    return f"page.{expires}.{state.id_generator.signature('page', f'{playback_id}.{expires}')}"


def is_page_token(token: str | None, state: State, playback_id: str) -> bool:
    """Whether *token* is a page token for *playback_id* that has not expired."""
    kind, _, rest = (token or "").partition(".")
    expires, _, given = rest.partition(".")
    is_known = kind == "page" and state.id_generator.is_signature(given, "page", f"{playback_id}.{expires}")
    return is_known and int(expires) > state.now


def _forbidden(message: str) -> ApiError:
    return ApiError(403, "forbidden", message)


def check_token(token: str | None, environment: Environment, playback_id: str, audience: str, now: float) -> Mapping[str, Any]:
    """Return the claims of a token; refuse (`ApiError` 403) a missing, foreign, misdirected or expired one. Needs PyJWT."""
    if not token:
        raise _forbidden("The playback id is signed and the URL has no token")
    claims, _ = read_token(token, [environment], [audience], now)
    if claims["sub"] != playback_id:
        raise _forbidden("The token is for another playback id")
    return claims


def read_token(
    token: str, environments: Iterable[Environment], audiences: Collection[str], now: float
) -> tuple[Mapping[str, Any], Environment]:
    """Return the claims of a token, ``sub`` among them, and the environment whose key signed it. Its ``aud`` must name one of *audiences*.

    Raises:
        ApiError: 403, it is not valid, not valid any more, or not yet.
        MissingExtraError: PyJWT is not installed.
    """
    from mux_async.signing import TokenRefusedError, verify  # an emulator without signed playback needs no extra

    owners = {
        key.id: (key.public_pem, environment) for environment in environments for key in environment.signing_keys.values()
    }
    keys = {name: pem for name, (pem, _) in owners.items()}
    try:
        verified = verify(token, keys, audience=audiences, now=now)
    except TokenRefusedError as error:
        raise _forbidden(_WORDS.get(error.reason, "The token is not valid here")) from None
    return cast("Mapping[str, Any]", verified.claims), owners[verified.key_id][1]
