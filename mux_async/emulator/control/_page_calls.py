"""What the page at ``/`` needs and no API gives it: to play what is signed, and to send a file without a token.

A *pass* stands where a playback token would, and is worth something to this emulator only: an expiry and a keyed hash of the
playback id. The page has no private key to sign a real token with, and the emulator did not keep one.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

import orjson

from mux_async.emulator.http._messages import Request, Response, invalid
from mux_async.emulator.resources import _uploads
from mux_async.emulator.routing._router import Call
from mux_async.emulator.state._state import Json, World
from mux_async.emulator.validation._shapes import choice, members, string, validated

PASS_HOUR = 3600
"""Seconds. A pass is good for one to two of them, and stays the same within one, so that pictures are not fetched again."""
_PREFIX = "page"


def playback_pass(world: World, playback_id: str) -> str:
    """Return what opens *playback_id*, for every audience, as the value of the query parameter ``token``."""
    expires = (int(world.now) // PASS_HOUR + 2) * PASS_HOUR
    return f"{_PREFIX}.{expires}.{_signature(world, playback_id, expires)}"


def is_pass(token: str | None, world: World, playback_id: str) -> bool:
    """Whether *token* is a pass for *playback_id* that has not expired."""
    prefix, _, rest = (token or "").partition(".")
    expires, _, signature = rest.partition(".")
    if prefix != _PREFIX or not (expires.isascii() and expires.isdigit()) or len(expires) > 12 or int(expires) <= world.now:
        return False
    return hmac.compare_digest(signature.encode(), _signature(world, playback_id, int(expires)).encode())


def _signature(world: World, playback_id: str, expires: int) -> str:
    return hmac.new(world.mint.key("page"), f"{playback_id}.{expires}".encode(), sha256).hexdigest()


def open_upload(world: World, request: Request, body: bytes) -> Response:
    """Create a direct upload as the API does, without a token and its rate limit.

    The body is ``{"environment": "...", "title": "...", "policy": "public"}``, all optional: the first environment, no title, public.

    Returns:
        201 with the upload under ``data``, its ``url`` included.

    Raises:
        ApiError: 400, a member is wrong, or there is no such environment.
    """
    shape = members(environment=string(), title=string(512), policy=choice("public", "signed"))
    given = validated(body, shape)
    name = given.get("environment", next(iter(world.environments)))
    if name not in world.environments:
        raise invalid(f"environment must be one of {', '.join(world.environments)}")
    settings: Json = {"playback_policies": [given.get("policy", "public")]}
    if given.get("title"):
        settings["meta"] = {"title": given["title"]}
    made = orjson.dumps({"new_asset_settings": settings})
    return _uploads.create(Call(request, made, {}, world, world.environments[name]))
