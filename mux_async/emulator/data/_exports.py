"""``/data/v1/exports``: every view of a day in one file. The addresses lead back to the emulator, and the files are real.

A file is compressed CSV with one line per view. Its address is signed and good for an hour; both generations of the operation list the
same seven days (facts/BEHAVIOUR.md, section 10).
"""

from __future__ import annotations

import csv
import gzip
import hmac
import io
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

from mux_async.emulator.data._archive import Archive
from mux_async.emulator.data._dataset import RETENTION
from mux_async.emulator.data._details import FIELDS, written
from mux_async.emulator.data._query import DAY
from mux_async.emulator.data._request import Operation, Question, envelope
from mux_async.emulator.data._views import View
from mux_async.emulator.http._messages import ApiError, Request, Response, not_found
from mux_async.emulator.state._serialization import origin_of
from mux_async.emulator.state._state import World

PREFIX = ("_emulator", "exports")
"""Where the files are."""
VALID_FOR = 3600
"""Seconds that an address is good for."""
_DAYS = RETENTION // DAY - 1
"""Days with a file: those that have all their views still."""
_VERSION = 2
_NAME = re.compile(r"(\d{4})_(\d\d)_(\d\d)\.csv\.gz", re.ASCII)


def _day(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()


def _days(now: float) -> list[date]:
    """Return the days that can be had, newest first."""
    return [_day(now) - timedelta(days=back) for back in range(1, _DAYS + 1)]


def _address(question: Question, day: date) -> str:
    call = question.call
    path = "/".join((*PREFIX, call.environment.id, f"{day:%Y_%m_%d}.csv.gz"))
    expires = question.now + VALID_FOR
    return f"{origin_of(call.request, call.world)}/{path}?Expires={expires}&Signature={_signature(call.world, path, expires)}"


def _signature(world: World, path: str, expires: int) -> str:
    return hmac.new(world.mint.key("exports"), f"{path}?{expires}".encode(), sha256).hexdigest()


def _list(question: Question) -> Response:
    addresses = [_address(question, day) for day in _days(question.now)]
    return envelope(addresses, question.timeframe(), len(addresses))


def _list_views(question: Question) -> Response:
    rows = [
        {
            "export_date": day.isoformat(),
            "files": [{"version": _VERSION, "type": "csv", "path": _address(question, day)}],
        }
        for day in _days(question.now)
    ]
    return envelope(rows, question.timeframe(), len(rows))


def download(request: Request, world: World, archive: Archive) -> Response:
    """Answer a GET of an address that a list gave out.

    Raises:
        ApiError: 403 for a wrong or expired signature, 404 for a day or an environment without a file.
    """
    path, query = "/".join(request.segments), request.query
    expires = query.get("Expires", "")
    given = query.get("Signature", "").encode()
    if not (expires.isascii() and expires.isdigit() and len(expires) < 15):
        raise ApiError(403, "forbidden", "The address is not signed")
    if not hmac.compare_digest(given, _signature(world, path, int(expires)).encode()) or int(expires) < world.now:
        raise ApiError(403, "forbidden", "The signature is wrong or has expired")
    environment_id, name = request.segments[-2:]
    match = _NAME.fullmatch(name)
    environments = [environment for environment in world.environments.values() if environment.id == environment_id]
    if match is None or not environments or date(*map(int, match.groups())) not in _days(world.now):
        raise not_found()
    start = int(datetime(*map(int, match.groups()), tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]
    views = archive.dataset(world, environments[0]).ended(start * 1000, (start + DAY) * 1000)
    return Response(200, {"Content-Type": "application/gzip"}, gzip.compress(_csv(views, environment_id), mtime=0))


def _csv(views: Sequence[View], environment_id: str) -> bytes:
    """Write views as CSV, with the names of their fields in the first line; null is empty."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("environment_id", *FIELDS))
    for view in views:
        writer.writerow((environment_id, *(_cell(written(view, name)) for name in FIELDS)))
    return out.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return value


OPERATIONS: tuple[Operation, ...] = (
    ("GET", "/data/v1/exports", _list),
    ("GET", "/data/v1/exports/views", _list_views),
)
