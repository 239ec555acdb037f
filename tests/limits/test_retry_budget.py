"""The account's retry budget: its bound, and what is counted against it."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from uuid import uuid4

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async import ConfigurationError, LimitSettings, Mux, RetrySettings, ServerError
from mux_async.errors import ConnectError
from mux_async.limits._retry_budget import RetryBudget
from mux_async.testing import FakeTransport, respond
from mux_async.transport import HttpResponse

steps = st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(0, 50), st.integers(0, 50)), max_size=40)


@given(steps, st.floats(0.0, 3.0), st.integers(0, 50))
def test_bound(script: list[tuple[float, int, int]], share: float, reserve: int) -> None:
    """In every window, repetitions stay within the reserve, its trickle, and the share of the calls made in it."""
    budget = RetryBudget(RetrySettings(share, reserve))
    now, spent = 0.0, list[tuple[float, int]]()
    calls: list[tuple[float, int]] = []
    for delay, made, tried in script:
        now += delay
        budget.calls += made
        calls.append((now, made))
        spent.append((now, sum(budget.spend(now) for _ in range(tried))))
    kept = max(reserve, 1.0 if share else 0.0)
    for first in range(len(script)):
        for last in range(first, len(script)):
            window = spent[last][0] - spent[first][0]
            allowed = kept + reserve * window / 60.0 + share * sum(made for _, made in calls[first : last + 1])
            assert sum(count for _, count in spent[first : last + 1]) <= allowed + 1e-6


def test_reserve_comes_back() -> None:
    """A program that hardly calls gets its reserve back within a minute."""
    budget = RetryBudget(RetrySettings(share=0.2, reserve=6))

    assert sum(budget.spend(0.0) for _ in range(10)) == 6
    assert sum(budget.spend(30.0) for _ in range(10)) == 3
    assert sum(budget.spend(1000.0) for _ in range(10)) == 6
    assert budget.denied == 15


def test_no_budget() -> None:
    """An infinite share lets everything through."""
    budget = RetryBudget(RetrySettings(share=math.inf, reserve=0))

    assert all(budget.spend(0.0) for _ in range(1000))


@pytest.mark.parametrize(("share", "reserve"), [(-0.1, 1), (math.nan, 1), (0.2, -1)])
def test_nonsense(share: float, reserve: int) -> None:
    """Settings that make no sense are refused."""
    with pytest.raises(ConfigurationError, match="retry budget"):
        RetrySettings(share, reserve)


def client(transport: FakeTransport, retries: RetrySettings) -> Mux:
    return Mux(
        token_id="id",
        token_secret="secret",
        base_url="https://mux.test",
        account=f"test-{uuid4()}",
        transport=transport,
        clock=anyio.current_time,
        random=Random(1),
        limits=LimitSettings(enabled=False, retries=retries),
    )


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_an_outage_is_not_multiplied() -> None:
    """When every answer is a 500, a hundred calls send a hundred requests, a fifth more, and the reserve; the errors say why."""
    transport = FakeTransport(lambda _: respond(500))
    mux = client(transport, RetrySettings(share=0.2, reserve=5))
    notes = 0
    for number in range(100):
        with pytest.raises(ServerError) as caught:
            await mux.request("GET", f"/video/v1/assets/{number}")
        notes += any("retry budget" in note for note in getattr(caught.value, "__notes__", ()))

    elapsed = anyio.current_time()
    assert 120 <= len(transport.requests) <= 100 + 20 + 5 + 5 * elapsed / 60 + 1
    assert notes > 70


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("problem", [lambda: respond(429), lambda: ConnectError("refused")])
async def test_what_costs_the_server_nothing_is_not_counted(problem: Callable[[], HttpResponse | BaseException]) -> None:
    """A 429, and a connection that never was, are repeated with an empty budget too."""
    answers: list[Callable[[], HttpResponse | BaseException]] = [problem, problem, lambda: respond(json={})]
    transport = FakeTransport(lambda _: answers.pop(0)())
    mux = client(transport, RetrySettings(share=0.0, reserve=0))
    await mux.request("GET", "/video/v1/assets")

    assert len(transport.requests) == 3
