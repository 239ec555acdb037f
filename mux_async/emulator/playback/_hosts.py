"""Dispatches requests to Mux's other hosts: stream, image, license and stats. `mux_async.emulator._sites` tells their names apart.

Unlike the API they allow pages of any origin, also for errors, so that a player in a browser can distinguish a 403 from a network error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mux_async.emulator.http._messages import ApiError, Request, Response
from mux_async.emulator.playback import _drm_licenses, _viewer_counts
from mux_async.emulator.playback._drm_licenses import answer_license
from mux_async.emulator.playback._streams import playback
from mux_async.emulator.playback._viewer_counts import answer_counts
from mux_async.emulator.state._state import State

if TYPE_CHECKING:
    from mux_async.emulator.data._requests import DatasetCache

CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "*"}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "600",
}


def answer_host(request: Request, state: State, dataset_cache: DatasetCache, body: bytes) -> Response:
    """Answer a request to one of the hosts."""
    if request.method == "OPTIONS":
        return Response(204).with_headers({**CORS, **_PREFLIGHT})
    try:
        response = _answer(request, state, dataset_cache, body)
    except ApiError as error:
        response = error.response()
    return response.with_headers(CORS)


def _answer(request: Request, state: State, dataset_cache: DatasetCache, body: bytes) -> Response:
    if request.segments[0] in _drm_licenses.FAMILIES:
        return answer_license(request, state, body)
    if request.segments == _viewer_counts.PATH:
        return answer_counts(request, state, dataset_cache)
    return playback(request, state)
