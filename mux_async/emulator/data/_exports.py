"""``/data/v1/exports``: all views of a day in one file. The URLs point to the emulator, and the files exist.

A file is compressed CSV with one line per view. Its URL is signed and valid for an hour; both generations of the operation list the
same seven days (facts/BEHAVIOUR.md, section 10).
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import cast

from mux_async.emulator.data._dataset import RETENTION
from mux_async.emulator.data._details import fields, written
from mux_async.emulator.data._requests import DAY, DataRequest, DatasetCache, Operation, envelope
from mux_async.emulator.data._views import View
from mux_async.emulator.http._messages import Request, Response, not_found
from mux_async.emulator.state._signed_urls import check_signed_url, signed_url
from mux_async.emulator.state._state import State

PREFIX = ("_emulator", "exports")
"""Where the files are."""
VALID_FOR = 3600
"""Seconds that a URL is valid."""
_DAYS = RETENTION // DAY - 1
"""Days with a file: those that have all their views still."""
_VERSION = 2


def _days(now: float) -> list[date]:
    """Return the days that have a file, newest first."""
    today = datetime.fromtimestamp(now, UTC).date()
    return [today - timedelta(days=back) for back in range(1, _DAYS + 1)]


def _file_name(day: date) -> str:
    return f"{day:%Y_%m_%d}.csv.gz"


def _address(request: DataRequest, day: date) -> str:
    call = request.call
    path = "/" + "/".join((*PREFIX, call.environment.id, _file_name(day)))
    return signed_url(call.request, call.state, path, request.now + VALID_FOR)


def _list(request: DataRequest) -> Response:
    addresses = [_address(request, day) for day in _days(request.now)]
    return envelope(addresses, request.timeframe(), len(addresses))


def _list_views(request: DataRequest) -> Response:
    rows = [
        {"export_date": day.isoformat(), "files": [{"version": _VERSION, "type": "csv", "path": _address(request, day)}]}
        for day in _days(request.now)
    ]
    return envelope(rows, request.timeframe(), len(rows))


def download(request: Request, state: State, dataset_cache: DatasetCache) -> Response:
    """Answer a GET of a signed URL of an export; raise `ApiError` (403 or 404) if there is no such file, or the signature is not valid."""
    check_signed_url(request, state)
    environment_id, name = request.segments[-2:]
    environment = next((found for found in state.environments.values() if found.id == environment_id), None)
    day = next((day for day in _days(state.now) if name == _file_name(day)), None)
    if environment is None or day is None:
        raise not_found()
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    views = dataset_cache.dataset(state, environment).ended(start * 1000, (start + DAY) * 1000)
    return Response(200, {"Content-Type": "application/gzip"}, gzip.compress(_csv(views, environment_id), mtime=0))


def _csv(views: Sequence[View], environment_id: str) -> bytes:
    """Write views as CSV, with the names of their fields in the first line; null is empty."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("environment_id", *fields()))
    for view in views:
        writer.writerow((environment_id, *map(_cell, written(view).values())))
    return out.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(str, cast("list[object]", value)))
    return value


OPERATIONS: tuple[Operation, ...] = (
    ("GET", "/data/v1/exports", _list),
    ("GET", "/data/v1/exports/views", _list_views),
)
