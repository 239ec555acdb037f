"""``/data/v1/incidents``: hours in which a CDN or a country failed much more often than usual, detected in the views.

An hour counts if enough views ended in it, and is bad if enough of them failed. Consecutive bad hours are one incident: open while the
last of them is the newest hour, closed by the first good hour, expired after too long a time without views.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

import attrs

from mux_async.emulator.data._dimensions import value_of
from mux_async.emulator.data._fields import iso
from mux_async.emulator.data._groups import grouped, ordered
from mux_async.emulator.data._requests import ORDERS, DataRequest, Operation, envelope
from mux_async.emulator.data._views import View
from mux_async.emulator.http._messages import Response, invalid, not_found
from mux_async.emulator.state._state import Json

_WATCHED = ("cdn", "country")
_HOUR = 3600 * 1000
MIN_SAMPLE = 6
"""Views that must have ended in an hour for it to be judged."""
_MIN_FAILED = 3
"""Views that must have failed in an hour for it to be bad, however few there were."""
_WARNING, _ALERT = 15.0, 25.0
"""Percent of views that failed."""
_EXPIRY = 6
"""Hours without a judgement after which an incident expires."""


@attrs.frozen
class _Hour:
    """What happened to one value of a dimension in one hour (numbered from the epoch)."""

    number: int
    views: int
    failed: tuple[View, ...]

    @property
    def rate(self) -> float:
        return 100 * len(self.failed) / self.views


@attrs.frozen
class _Incident:
    """Bad hours in a row."""

    dimension: str
    value: str
    hours: tuple[_Hour, ...]
    status: str
    resolved: _Hour | None

    @property
    def key(self) -> str:
        return f"{self.dimension}={self.value}"

    @property
    def id(self) -> str:
        """The same as long as the incident begins with the same hour."""
        return "inc" + sha256(f"{self.key}/{self.hours[0].number}".encode()).hexdigest()[:20]

    @property
    def failed(self) -> int:
        return sum(len(hour.failed) for hour in self.hours)

    @property
    def views(self) -> int:
        return sum(hour.views for hour in self.hours)

    @property
    def rate(self) -> float:
        return 100 * self.failed / self.views

    @property
    def started_at(self) -> int:
        return min(view.view_end for view in self.hours[0].failed)

    @property
    def severity(self) -> str:
        return "alert" if max(hour.rate for hour in self.hours) >= _ALERT else "warning"

    def overlaps(self, other: _Incident) -> bool:
        """Whether some hour is bad in both."""
        return self.hours[0].number <= other.hours[-1].number and other.hours[0].number <= self.hours[-1].number

    def written(self) -> Json:
        """The incident as the API shows it."""
        per_hour = round(self.failed / len(self.hours))
        failed = [view.outcome for hour in self.hours for view in hour.failed]
        ids = [outcome.error_type_id for outcome in failed]
        error = max(sorted({found for found in ids if found is not None}), key=ids.count)
        message = next(outcome.player_error_message for outcome in failed if outcome.error_type_id == error)
        threshold = _ALERT if self.severity == "alert" else _WARNING
        return {
            "id": self.id,
            "incident_key": self.key,
            "status": self.status,
            "severity": self.severity,
            "measurement": "error_rate",
            "measured_value": round(self.rate, 2),
            "measured_value_on_close": None if self.resolved is None else round(self.resolved.rate, 2),
            "threshold": threshold,
            "sample_size": self.views,
            "sample_size_unit": "views",
            "affected_views": self.failed,
            "affected_views_per_hour": per_hour,
            "affected_views_per_hour_on_open": len(self.hours[0].failed),
            "impact": f"*{self.failed} views* have been affected at a rate of *{per_hour} per hour*",
            "description": f"The error rate of {self.key} is {self.rate:.1f}%, mostly due to *{message}*",
            "error_description": message,
            "breakdowns": [
                {"id": f"{self.id}-{self.dimension}", "name": self.dimension, "value": self.value},
                {"id": f"{self.id}-error", "name": "error_type_id", "value": str(error)},
            ],
            "started_at": iso(self.started_at),
            "resolved_at": None if self.resolved is None else iso(self.resolved.number * _HOUR + _HOUR),
            "notification_rules": [],
            "notifications": [],
        }


def _found(request: DataRequest) -> list[_Incident]:
    """Find all incidents, newest first."""
    views = request.dataset.ended(0, request.dataset.now + 1)
    this_hour = request.dataset.now // _HOUR
    found: list[_Incident] = []
    for dimension in _WATCHED:
        for value, part in grouped(views, value_of(dimension)).items():
            if value is not None:
                found += _of_value(dimension, value, part, this_hour)
    return sorted(found, key=lambda incident: (-incident.started_at, incident.key))


def _of_value(dimension: str, value: str, views: Sequence[View], this_hour: int) -> Iterator[_Incident]:
    bad: list[_Hour] = []
    for hour in _rated_hours(views):
        if bad and hour.number - bad[-1].number > _EXPIRY:
            yield _Incident(dimension, value, tuple(bad), "expired", None)
            bad = []
        if hour.rate >= _WARNING and len(hour.failed) >= _MIN_FAILED:
            bad.append(hour)
        elif bad:
            yield _Incident(dimension, value, tuple(bad), "closed", hour)
            bad = []
    if bad:
        status = "open" if this_hour - bad[-1].number <= _EXPIRY else "expired"
        yield _Incident(dimension, value, tuple(bad), status, None)


def _rated_hours(views: Sequence[View]) -> Iterator[_Hour]:
    for number, part in grouped(views, lambda view: view.view_end // _HOUR).items():
        if len(part) >= MIN_SAMPLE:
            yield _Hour(number, len(part), tuple(view for view in part if view.outcome.playback_failure))


def _page(request: DataRequest, incidents: Sequence[_Incident]) -> Response:
    query = request.query
    order = query.text("order_by") and query.choice("order_by", ORDERS, "views")
    rows = [incident.written() for incident in incidents]
    key = {"negative_impact": "affected_views", "value": "measured_value", "views": "sample_size", "field": "incident_key"}
    name = key.get(order or "", "started_at")
    rows = ordered(rows, lambda row: row[name], descending=query.descending("desc"), value=lambda row: row["id"])
    return envelope(query.page(rows), request.timeframe(), len(rows))


def _list(request: DataRequest) -> Response:
    severity = request.query.text("severity") and request.query.choice("severity", ("warning", "alert"), "")
    status = request.query.text("status") and request.query.choice("status", ("open", "closed", "expired"), "")
    found = [
        incident for incident in _found(request) if severity in (None, incident.severity) and status in (None, incident.status)
    ]
    return _page(request, found)


def _one(request: DataRequest, among: Sequence[_Incident]) -> _Incident:
    incident_id = request.call.params["INCIDENT_ID"]
    if not (incident_id.isascii() and incident_id.isalnum()):
        raise invalid(f'Incident id "{incident_id[:80]}" was invalid')
    found = next((incident for incident in among if incident.id == incident_id), None)
    if found is None:
        raise not_found()
    return found


def _related(request: DataRequest) -> Response:
    """Others of the same value, and others at the same time."""
    among = _found(request)
    one = _one(request, among)
    return _page(request, [other for other in among if other.id != one.id and (other.key == one.key or other.overlaps(one))])


OPERATIONS: tuple[Operation, ...] = (
    ("GET", "/data/v1/incidents", _list),
    (
        "GET",
        "/data/v1/incidents/{INCIDENT_ID}",
        lambda request: envelope(_one(request, _found(request)).written(), request.timeframe()),
    ),
    ("GET", "/data/v1/incidents/{INCIDENT_ID}/related", _related),
)
