"""``/data/v1/video-views`` and ``/data/v1/errors``: views as a list with few fields, one view with all fields, and errors of views."""

from __future__ import annotations

import re

from mux_async.emulator.data._details import abridged, complete
from mux_async.emulator.data._fields import iso
from mux_async.emulator.data._filters import Test
from mux_async.emulator.data._groups import grouped
from mux_async.emulator.data._requests import DAY, DataRequest, Operation, Timeframe, envelope
from mux_async.emulator.data._vocabulary import ERRORS
from mux_async.emulator.http._messages import Response, invalid, not_found
from mux_async.emulator.state._state import Json

_CODE = re.compile(r"-?\d{1,9}", re.ASCII)
_ERROR_ID = re.compile(r"\d{1,9}", re.ASCII)
_ERRORS = {error.id: error for error in ERRORS}
_VIEW_ID = re.compile(r"[0-9A-Za-z]{35,36}", re.ASCII)


def _list(request: DataRequest) -> Response:
    query, timeframe = request.query, request.timeframe()
    tests = query.tests()
    tests += [test for test in (_by_error(query.text("error_id")), _by_viewer(query.text("viewer_id"))) if test is not None]
    views = request.views(timeframe, tests)
    if query.descending("desc"):
        views.reverse()
    rows = [abridged(view, len(views)) for view in query.page(views)]
    return envelope(rows, timeframe, len(views))


def _by_error(given: str | None) -> Test | None:
    if given is None:
        return None
    if not _ERROR_ID.fullmatch(given):
        raise invalid("error_id must be the id of an error")
    number = int(given)
    return lambda view: view.outcome.error_type_id == number


def _by_viewer(given: str | None) -> Test | None:
    if given is None:
        return None
    return lambda view: given in (view.viewer.viewer_user_id, view.viewer.mux_viewer_id)


def _retrieve(request: DataRequest) -> Response:
    view_id = request.call.params["VIDEO_VIEW_ID"]
    if not _VIEW_ID.fullmatch(view_id):
        raise invalid(f'Video view id "{view_id[:80]}" was invalid')
    view = request.dataset.find(view_id)
    if view is None:
        raise not_found()
    timeframe = Timeframe(request.now - DAY, request.now)
    return envelope(complete(view, request.call.environment.id), timeframe, 1)


def _list_errors(request: DataRequest) -> Response:
    timeframe = request.timeframe()
    views = request.views(timeframe, request.query.tests())
    groups = grouped(
        [view for view in views if view.outcome.error_type_id is not None], lambda view: view.outcome.error_type_id
    )
    total = sum(map(len, groups.values()))
    rows: list[Json] = []
    for error_id, found in groups.items():
        error, outcome = _ERRORS.get(error_id or 0), found[-1].outcome
        rows.append(
            {
                "id": error_id,
                "code": _number(outcome.player_error_code),
                "player_error_code": outcome.player_error_code,
                "message": outcome.player_error_message,
                "description": None if error is None else error.description,
                "notes": None if error is None else error.notes,
                "count": len(found),
                "percentage": len(found) / total,  # of the errors, as recorded; not of the views
                "last_seen": iso(max(view.view_end for view in found)),
            }
        )
    rows.sort(key=lambda row: (-row["count"], row["id"]))
    return envelope(rows, timeframe)


def _number(code: str | None) -> int | None:
    """Return an error code that is a number of at most nine digits."""
    return int(code) if code is not None and _CODE.fullmatch(code) else None


OPERATIONS: tuple[Operation, ...] = (
    ("GET", "/data/v1/errors", _list_errors),
    ("GET", "/data/v1/video-views", _list),
    ("GET", "/data/v1/video-views/{VIDEO_VIEW_ID}", _retrieve),
)
