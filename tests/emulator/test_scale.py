"""Ten thousand assets: what is done for one request does not grow with them. Work is counted, not timed, so that no busy machine fails it.

How fast that is, is what `benchmarks/emulator_load.py` tells.
"""

from __future__ import annotations

from typing import Any

import pytest

from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.resources._asset_lifecycle import create_asset
from mux_async.emulator.state._scheduler import Scheduler
from mux_async.emulator.state._state import Asset, State
from tests.emulator.harness import Account

MANY = 10_000
BINARY_SEARCH = 15
"""Looks at most, to find a place among so many."""


class Counting(dict[str, Asset]):
    """Counts the assets that are looked at."""

    looked = 0

    def __getitem__(self, key: str) -> Asset:
        self.looked += 1
        return super().__getitem__(key)

    def values(self) -> Any:
        raise AssertionError("all assets were looked at")

    items = values


@pytest.fixture(scope="module")
def account() -> Account:
    made = Account(EmulatorSettings(limits=None))
    state = state_of(made.emulator)
    environment = state.environments["development"]
    for _ in range(MANY):
        create_asset(state, environment, {"inputs": [{"url": "https://example.com/film.mp4"}]}, ingest_type="on_demand_url")
    made.pass_time(10.0)
    made.ok("GET", "/system/v1/whoami")  # and all of them are ready
    environment.assets = Counting(environment.assets)
    return made


def state_of(emulator: Emulator) -> State:
    return emulator._state  # pyright: ignore[reportPrivateUsage] - no request fills an account with so many in time


def looked_at(account: Account, target: str) -> int:
    """Count the assets that are looked at for one GET."""
    assets = state_of(account.emulator).environments["development"].assets
    assert isinstance(assets, Counting)
    assets.looked = 0
    account.ok("GET", target)
    return assets.looked


@pytest.mark.parametrize("query", ["", "limit=100", "limit=100&page=99", "limit=100&page=5000"])
def test_pages(account: Account, query: str) -> None:
    """A page looks at the assets it shows, and at no other, however far down it is."""
    assert looked_at(account, f"/video/v1/assets?{query}") <= 100


def test_cursor(account: Account) -> None:
    """A cursor finds its place without walking there."""
    cursor = account.ok("GET", "/video/v1/assets?limit=100&page=70")["next_cursor"]

    assert looked_at(account, f"/video/v1/assets?limit=100&cursor={cursor}") <= 100 + BINARY_SEARCH
    assert len(account.ok("GET", f"/video/v1/assets?limit=100&cursor={cursor}")["data"]) == 100


def test_one(account: Account) -> None:
    """One asset is one look."""
    newest = account.data("GET", "/video/v1/assets?limit=1")[0]["id"]

    assert looked_at(account, f"/video/v1/assets/{newest}") == 1


def test_scheduler() -> None:
    """Of ten thousand planned steps, those that are due come out in order, and nobody looks at the others."""
    compared = 0

    class Moment(float):
        def __lt__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return float(self) < float(other)

        def __le__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return float(self) <= float(other)

        __hash__ = float.__hash__

    scheduler = Scheduler()
    for number in range(MANY):
        scheduler.add(Moment(number * 7919 % MANY), "step", "environment", str(number))
    compared = 0
    due = [step.at for step in scheduler.due(9.0)]

    assert due == [float(moment) for moment in range(10)]
    assert 0 < compared < 10 * 2 * BINARY_SEARCH * 2
    assert scheduler.next_at == 10.0
