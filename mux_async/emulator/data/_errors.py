"""``/data/v1/errors``: the errors of views, with their counts."""

from __future__ import annotations

from mux_async.emulator.data._fields import iso
from mux_async.emulator.data._groups import grouped
from mux_async.emulator.data._query import DataRequest, Operation, envelope
from mux_async.emulator.data._vocabulary import ERRORS
from mux_async.emulator.http._messages import Response
from mux_async.emulator.state._state import Json

_BY_ID = {error.id: error for error in ERRORS}


def _list(request: DataRequest) -> Response:
    timeframe = request.timeframe()
    views = request.views(timeframe, request.query.tests())
    groups = grouped(
        [view for view in views if view.outcome.error_type_id is not None], lambda view: view.outcome.error_type_id
    )
    total = sum(map(len, groups.values()))
    rows: list[Json] = []
    for error_id, found in groups.items():
        error = _BY_ID[error_id or 0]
        rows.append(
            {
                "id": error.id,
                "code": int(error.player_code) if error.player_code.lstrip("-").isdigit() else None,
                "player_error_code": error.player_code,
                "message": error.message,
                "description": error.description,
                "notes": error.notes,
                "count": len(found),
                "percentage": len(found) / total,  # of the errors, as recorded; not of the views
                "last_seen": iso(max(view.view_end for view in found)),
            }
        )
    rows.sort(key=lambda row: (-row["count"], row["id"]))
    return envelope(rows, timeframe)


OPERATIONS: tuple[Operation, ...] = (("GET", "/data/v1/errors", _list),)
