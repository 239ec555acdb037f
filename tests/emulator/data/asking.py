"""What the tests of the Data API share: an account that is asked with parameters, and views looked at from inside."""

from __future__ import annotations

from math import isclose
from typing import Any
from urllib.parse import urlencode

from mux_async.emulator import Response
from mux_async.emulator.data._dataset import Dataset
from mux_async.emulator.data._dataset_cache import DatasetCache
from mux_async.emulator.data._views import View
from tests.emulator.harness import START, Account, Json

NOON = START + 12 * 3600 + 1234.5
"""A busy time of the day, at no round number."""
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
    """GET, and return the whole answer."""
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


def dataset(account: Account) -> Dataset:
    account.emulator.advance()
    state = account.emulator._state  # pyright: ignore[reportPrivateUsage]
    return DatasetCache().dataset(state, state.environments["development"])


def views(account: Account, start: float, end: float) -> list[View]:
    """Views that ended between the two (epoch seconds)."""
    return dataset(account).ended(int(start) * 1000, int(end) * 1000)


def last_day(account: Account) -> list[View]:
    now = int(account.clock.now)
    return views(account, now - DAY, now)


def near(one: float, other: float) -> bool:
    """Whether two numbers are the same, but for the last digits of sums in another order."""
    return isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
