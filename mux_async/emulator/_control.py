"""The emulator's own corner of its origin, under ``/_emulator``: nothing of Mux's, nothing rate-limited, no token needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from mux_async._operation import Bucket
from mux_async._version import __version__
from mux_async.emulator._http import Request, Response, json_response, no_content, not_found
from mux_async.emulator._state import World

CONTROL_PREFIX = "_emulator"
"""First part of the path."""


@attrs.frozen
class Arrival:
    """One request that arrived.

    Attributes:
        at: Epoch seconds of its arrival.
        method: HTTP verb.
        path: Without the query, which may hold signatures.
        bucket: What it was counted against; ``None`` for uploads, playback, and requests without a valid token.
        status: Of the answer; ``None`` when the connection broke first.
        environment: Name of the token's environment; ``None`` when there was no valid token.
    """

    at: float
    method: str
    path: str
    bucket: Bucket | None
    status: int | None
    environment: str | None


def control(request: Request, world: World, arrivals: Iterable[Arrival], reset: Callable[[], None]) -> Response:
    """Answer a request below ``/_emulator``.

    ``GET health`` says that it runs, ``GET arrivals`` gives the log in order of arrival, ``GET uploads`` what is stored of
    every upload, and ``POST reset`` forgets everything.
    """
    line = (request.method, request.segments[1:])
    if line == ("GET", ("health",)):
        return json_response(200, {"status": "ok", "version": __version__, "now": world.now})
    if line == ("GET", ("arrivals",)):
        ordered = sorted(arrivals, key=lambda arrival: arrival.at)
        return json_response(200, {"arrivals": [attrs.asdict(arrival) for arrival in ordered]})
    if line == ("GET", ("uploads",)):
        return json_response(200, {"uploads": _uploads(world)})
    if line == ("POST", ("reset",)):
        reset()
        return no_content()
    raise not_found()


def _uploads(world: World) -> list[dict[str, object]]:
    return [
        {
            "id": upload.id,
            "status": upload.status,
            "asset_id": upload.asset_id,
            "size": upload.session.size,
            "crc32": f"{upload.session.crc:08x}",
            "is_complete": upload.session.is_complete,
        }
        for environment in world.environments.values()
        for upload in environment.uploads.values()
    ]
