"""What the tests of the Data API share: requests with parameters, and views as the API returns each of them."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from math import isclose
from typing import Any, cast
from urllib.parse import urlencode

import attrs

from mux_async.emulator import Response
from tests.emulator.harness import START, Account, Json

NOON = START + 12 * 3600 + 1234.5
"""A time of the day with many views, not a round number."""
DAY = 86_400
LIST = "/data/v1/video-views"
METRICS = "/data/v1/metrics"


def busy_account(**changes: Any) -> Account:
    account = Account(**changes)
    account.clock.now = NOON
    return account


def target(path: str, **query: Any) -> str:
    """Path and query; lists get brackets behind their names."""
    pairs = [
        (f"{name}[]" if isinstance(query[name], list) else name, value) for name, value in query.items() if value is not None
    ]
    return f"{path}?{urlencode(pairs, doseq=True)}"


def ask(account: Account, path: str, **query: Any) -> Json:
    """GET, and return the whole response."""
    return account.ok("GET", target(path, **query))


def refused(account: Account, path: str, **query: Any) -> str:
    """GET, and return why it was a 400."""
    status, kind, messages = account.error("GET", target(path, **query))
    assert (status, kind) == (400, "invalid_parameters")
    return messages[0]


def get(account: Account, path: str, **query: Any) -> Response:
    return account.send("GET", target(path, **query))


def rows(account: Account, path: str, **query: Any) -> list[Json]:
    """GET all pages, and return their rows."""
    found: list[Json] = []
    for page in range(1, 200):
        more: list[Json] = ask(account, path, **query, page=page, limit=100)["data"]
        found += more
        if len(more) < 100:
            return found
    raise AssertionError("too many pages")


def milliseconds(time: str) -> int:
    """Read a time of the Data API as epoch milliseconds."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)


@attrs.frozen
class View:
    """A view as ``GET /data/v1/video-views/{VIDEO_VIEW_ID}`` returns it."""

    fields: Json

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    @property
    def id(self) -> str:
        """The id in lists."""
        found: str = self["view_id"]
        return found

    @property
    def end(self) -> int:
        """Epoch milliseconds."""
        return milliseconds(self["view_end"])

    def times(self, event: str) -> list[int]:
        """When events of this name happened: epoch milliseconds."""
        return [each["event_time"] for each in self["events"] if each["name"] == event]

    @property
    def stalls(self) -> list[tuple[int, int]]:
        """Start and end of every stall: epoch milliseconds."""
        return list(zip(self.times("rebufferstart"), self.times("rebufferend"), strict=True))

    def is_watching(self, at: int) -> bool:
        """Whether it plays or stalls at a time (epoch seconds)."""
        return any(start <= at * 1000 < self.end for start in self.times("playing"))

    def value(self, dimension: str) -> str | None:
        """The value of a dimension as filters write it."""
        if dimension in DERIVED:
            return "true" if self[DERIVED[dimension]] else "false"
        value = self[FIELDS.get(dimension, dimension)]
        if isinstance(value, list):
            return f"[{','.join(cast('list[str]', value))}]" if value else None
        if isinstance(value, bool):
            return str(value).lower()
        return None if value is None else f"{value:g}" if isinstance(value, float) else str(value)


FIELDS = {
    "browser": "viewer_application_name",
    "browser_version": "viewer_application_version",
    "country": "country_code",
    "operating_system": "viewer_os_family",
    "operating_system_version": "viewer_os_version",
    "source_hostname": "player_source_host_name",
    "source_type": "player_source_type",
    "stream_type": "video_stream_type",
}
"""Field of a dimension that is not named like it."""
DERIVED = {
    "ad_playback_failure": "ad_break_error_count",
    "content_playback_failure": "playback_failure",
    "playback_business_exception": "playback_business_exception_error_type_id",
    "video_startup_business_exception": "video_startup_business_exception_error_type_id",
}
"""Dimensions that are not fields of a view, and the field that is set if they are true."""


def views(account: Account, start: float, end: float) -> list[View]:
    """The views that ended between the two (epoch seconds), oldest first."""
    found = rows(account, LIST, timeframe=[int(start), int(end)], order_direction="asc")
    return [View(account.data("GET", f"{LIST}/{row['id']}")) for row in found]


@cache
def quiet_account() -> Account:
    """An account at a busy time that no test writes to."""
    return busy_account()


@cache
def last_day() -> list[View]:
    """The views of the last 24 hours of the quiet account."""
    return views(quiet_account(), NOON - DAY, NOON)


def near(one: float, other: float) -> bool:
    """Whether two numbers are equal, except for rounding."""
    return isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
