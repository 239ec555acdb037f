"""Calls of the page at ``/`` that the API does not have: a direct upload without an access token."""

from __future__ import annotations

import orjson

from mux_async.emulator.http._messages import Request, Response, invalid
from mux_async.emulator.resources import _uploads
from mux_async.emulator.routing._router import ApiCall
from mux_async.emulator.state._state import Json, State
from mux_async.emulator.validation._validation import STRING, choice, members, validated


def open_upload(state: State, request: Request, body: bytes) -> Response:
    """Create a direct upload as the API does, without a token and its rate limit.

    The body is ``{"environment": "...", "title": "...", "policy": "public"}``, all optional: the first environment, no title, public.

    Returns:
        201 with the upload under ``data``, its ``url`` included.

    Raises:
        ApiError: 400, a member is wrong, or there is no such environment.
    """
    schema = members(environment=STRING, title={"type": "string", "maxLength": 512}, policy=choice("public", "signed"))
    given = validated(body, schema)
    name = given.get("environment", next(iter(state.environments)))
    if name not in state.environments:
        raise invalid(f"environment must be one of {', '.join(state.environments)}")
    settings: Json = {"playback_policies": [given.get("policy", "public")]}
    if given.get("title"):
        settings["meta"] = {"title": given["title"]}
    made = orjson.dumps({"new_asset_settings": settings})
    return _uploads.create(ApiCall(request, made, {}, state, state.environments[name]))
