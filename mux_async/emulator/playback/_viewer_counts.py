"""The stats host: how many viewers are watching now (facts/BEHAVIOUR.md, section 8.3).

``stats.mux.com/counts?token=...`` is served on the emulator's own origin. The audience of the token selects the kind of subject. The counts
are computed from the generated views of the Data API, so that they agree with monitoring.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mux_async.emulator.http._messages import ApiError, Request, Response, json_response, not_found
from mux_async.emulator.playback._tokens import read_token
from mux_async.emulator.state._state import State

if TYPE_CHECKING:
    from mux_async.emulator.data._requests import DatasetCache

PATH = ("counts",)
AUDIENCES = ("video_id", "asset_id", "playback_id", "live_stream_id")
"""What a subject can be; each is a field of a view too."""


def answer_counts(request: Request, state: State, dataset_cache: DatasetCache) -> Response:
    """Answer a request for counts: ``{"data": [{"views": 3, "viewers": 2, "updated_at": "2026-01-01T00:00:00Z"}]}``.

    Both are 0 for a subject without viewers or an unknown one. Raises `ApiError`: 403 without a valid token; 404 for another verb.
    """
    if request.method not in {"GET", "HEAD"}:
        raise not_found()
    token = request.query.get("token")
    if not token:
        raise ApiError(403, "forbidden", "The URL has no token")
    claims, environment = read_token(token, state.environments.values(), AUDIENCES, state.now)
    given = claims["aud"]
    kinds = [kind for kind in AUDIENCES if kind in ([given] if isinstance(given, str) else given)]
    dataset = dataset_cache.dataset(state, environment)
    going = [
        view
        for view in dataset.under_way(dataset.now // 1000 * 1000, dataset.now)
        if view.is_going(dataset.now)
        and view.view_start + view.startup.waited <= dataset.now
        and any(getattr(view.video, kind) == claims["sub"] for kind in kinds)
    ]
    counted = {
        "views": len(going),
        "viewers": len({view.viewer.mux_viewer_id for view in going}),
        "updated_at": datetime.fromtimestamp(int(state.now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return json_response(200, {"data": [counted]})
