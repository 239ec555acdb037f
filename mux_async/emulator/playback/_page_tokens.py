"""Tokens for the page at ``/``, so that it can play signed playback ids.

The page has no private key to sign a real playback token with, and the emulator keeps only public keys. A page token is an expiry and a
keyed hash of the playback id; it is valid at this emulator only.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from mux_async.emulator.state._state import State

_PERIOD = 3600
"""Seconds. A token is valid for one to two periods and does not change within one, so that a browser caches the images."""
_PREFIX = "page"


def page_token(state: State, playback_id: str) -> str:
    """Return a token that is valid for *playback_id*, in the query parameter ``token`` of every playback host."""
    expires = (int(state.now) // _PERIOD + 2) * _PERIOD
    return f"{_PREFIX}.{expires}.{_signature(state, playback_id, expires)}"


def is_page_token(token: str | None, state: State, playback_id: str) -> bool:
    """Whether *token* is a page token for *playback_id* that has not expired."""
    prefix, _, rest = (token or "").partition(".")
    expires, _, signature = rest.partition(".")
    if prefix != _PREFIX or not (expires.isascii() and expires.isdigit()) or len(expires) > 12 or int(expires) <= state.now:
        return False
    return hmac.compare_digest(signature.encode(), _signature(state, playback_id, int(expires)).encode())


def _signature(state: State, playback_id: str, expires: int) -> str:
    return hmac.new(state.id_generator.key("page"), f"{playback_id}.{expires}".encode(), sha256).hexdigest()
