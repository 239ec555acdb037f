"""Signed URLs of files that the emulator offers for a limited time, as exports are downloaded by."""

from __future__ import annotations

from urllib.parse import urlencode

from mux_async.emulator.http._messages import ApiError, Request
from mux_async.emulator.state._serialization import origin_of
from mux_async.emulator.state._state import State

_PURPOSE = "signed url"


def signed_url(request: Request, state: State, path: str, expires: int) -> str:
    """Return the URL of *path* on the origin of *request*, valid until *expires* (epoch seconds)."""
    signature = state.id_generator.signature(_PURPOSE, f"{path}.{expires}")
    return f"{origin_of(request, state)}{path}?{urlencode({'Expires': expires, 'Signature': signature})}"


def check_signed_url(request: Request, state: State) -> None:
    """Refuse a request (`ApiError` 403) unless `signed_url` gave out its URL and it has not expired."""
    expires, signature = request.query.get("Expires", ""), request.query.get("Signature", "")
    if not state.id_generator.is_signature(signature, _PURPOSE, f"{request.raw_path}.{expires}"):
        raise ApiError(403, "forbidden", "The signature of the URL does not fit")
    if int(expires) <= state.now:
        raise ApiError(403, "forbidden", "The URL has expired")
