"""Authentication by access token, HTTP Basic or bearer, and authorization by its permissions (facts/BEHAVIOUR.md, section 1.1)."""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Sequence

from mux_async import Secret
from mux_async.emulator._settings import Token
from mux_async.emulator.http._messages import ApiError, Request, Response, data
from mux_async.emulator.state._state import State

_READS = frozenset({"GET", "HEAD"})
WHOAMI = ("system", "v1", "whoami")
"""What every token may ask."""


def authenticate(tokens: Sequence[Token], request: Request) -> Token:
    """Return the token of *request*. Raises `ApiError` (401): it has none that is known."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found = next((token for token in tokens if token.bearer is not None and _same(value.strip(), token.bearer)), None)
    elif scheme.lower() == "basic":
        found = _basic(tokens, value.strip())
    else:
        found = None
    if found is None:
        raise ApiError(401, "unauthorized", "Unauthorized request")
    return found


def _basic(tokens: Sequence[Token], value: str) -> Token | None:
    try:
        token_id, _, secret = b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return None
    return next((token for token in tokens if token.id == token_id and _same(secret, token.secret)), None)


def _same(given: str, wanted: Secret) -> bool:
    return hmac.compare_digest(given.encode(), wanted.reveal().encode())


def authorize(token: Token, request: Request) -> None:
    """Check that the token may do this. Raises `ApiError`: 403, it may not; 401 from Robots (facts/NEWER.md, section 2)."""
    if request.segments == WHOAMI:
        return
    needed = f"{request.segments[0]}:{'read' if request.method in _READS else 'write'}"
    if needed not in token.permissions:
        if request.segments[0] == "robots":
            raise ApiError(401, "insufficient_scope", f"The access token lacks the permission {needed}")
        raise ApiError(403, "forbidden", f"The access token lacks the permission {needed}")


def whoami(state: State, token: Token) -> Response:
    """``GET /system/v1/whoami``."""
    environment = state.environments[token.environment]
    return data(
        {
            "access_token_name": token.name,
            "environment_id": environment.id,
            "environment_name": environment.name,
            "environment_type": "production" if environment.name == "production" else "development",
            "organization_id": state.id_generator.named("organization", state.settings.account),
            "organization_name": state.settings.account,
            "permissions": list(token.permissions),
        }
    )
