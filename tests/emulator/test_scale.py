"""Thousands of assets: the work for one request does not grow with them.

Work is counted in executed lines of Python, which do not depend on how busy the machine is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from mux_async.emulator import EmulatorSettings
from tests.emulator.harness import Account

FEW = 100
"""Assets that fill one page."""
TOLERANCE = 1.1
"""Ratio up to which the work is the same: a binary search takes a few more steps among more assets."""


def lines(function: Callable[[], object]) -> int:
    """Count the lines that are executed during a call."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def account_with(assets: int, *, gap: float = 0.0, time_to_ready: float = 0.0) -> Account:
    """An account with so many assets, created *gap* seconds apart."""
    account = Account(EmulatorSettings(limits=None, time_to_ready=time_to_ready))
    for _ in range(assets):
        account.create_asset()
        account.pass_time(gap)
    return account


@pytest.fixture(scope="module")
def small() -> Account:
    return account_with(FEW)


@pytest.fixture(scope="module", params=[2_000, pytest.param(10_000, marks=pytest.mark.proof)])
def large(request: pytest.FixtureRequest) -> Account:
    return account_with(request.param)


def get(account: Account, target: str) -> int:
    """Count the lines of a GET, but not of what the first one caches."""
    account.ok("GET", target)
    return lines(lambda: account.ok("GET", target))


@pytest.mark.parametrize("query", ["limit=100", "limit=100&page=20", "limit=100&page=5000"])
def test_pages(small: Account, large: Account, query: str) -> None:
    """A page takes the work for the assets that it shows, however many there are and however far down it is."""
    assert get(large, f"/video/v1/assets?{query}") <= TOLERANCE * get(small, "/video/v1/assets?limit=100")


def test_cursor(small: Account, large: Account) -> None:
    """A cursor finds its place without a walk through all assets."""
    cursor = large.ok("GET", "/video/v1/assets?limit=100&page=12")["next_cursor"]
    target = f"/video/v1/assets?limit=100&cursor={cursor}"

    assert get(large, target) <= TOLERANCE * get(small, "/video/v1/assets?limit=100")
    assert len(large.data("GET", target)) == 100


def test_one(small: Account, large: Account) -> None:
    """One asset takes the same work among many as among few."""
    some, one = (account.data("GET", "/video/v1/assets?limit=1")[0]["id"] for account in (small, large))

    assert get(large, f"/video/v1/assets/{one}") <= TOLERANCE * get(small, f"/video/v1/assets/{some}")


def test_schedule() -> None:
    """Of many planned steps, those that are due are executed in order, and the others take no work."""
    wait = 50_000.0
    took: list[int] = []
    for assets in (FEW, 2_000):
        account = account_with(assets, gap=1.0, time_to_ready=wait)
        oldest = account.data("GET", f"/video/v1/assets?limit=100&page={assets // FEW}")[::-1]
        account.clock.now += wait - assets - 0.5

        def ten_seconds(account: Account = account) -> None:
            account.pass_time(10.0)
            account.emulator.advance()

        ten_seconds()
        took.append(lines(ten_seconds))
        ready = [event.object_id for event in account.emulator.events if event.type == "video.asset.ready"]

        assert ready == [asset["id"] for asset in oldest[:20]]

    few, many = took
    assert many <= TOLERANCE * few
