"""Properties of the token bucket: the bound in every window, whatever is taken, given back and adapted."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async.emulator.routing._rate_limits import TokenBucket as ServerBucket
from mux_async.limits import AdaptiveSettings
from mux_async.limits._token_bucket import TokenBucket

RATES = st.sampled_from([0.5, 1.0, 5.0, 7.3])
BURSTS = st.integers(1, 6)
STEPS = st.lists(
    st.tuples(st.floats(0, 3), st.sampled_from(["take", "take", "take", "paced", "give_back"]), st.integers(0, 50)),
    max_size=60,
)


def run(bucket: TokenBucket, steps: list[tuple[float, str, int]]) -> tuple[list[float], list[float]]:
    """Play *steps* and return the grants that were kept, and the paced ones among them."""
    now = 100.0
    kept: list[float] = []
    paced: list[float] = []
    for wait, action, choice in steps:
        now += wait
        if action == "give_back":
            if kept and bucket.give_back(grant := kept[choice % len(kept)]):
                kept.remove(grant)
                if grant in paced:
                    paced.remove(grant)
        elif not bucket.take(now, held_back=99 if action == "paced" else 0):
            kept.append(now)
            if action == "paced":
                paced.append(now)
    return kept, paced


def worst_window(grants: list[float], rate: float, burst: int) -> float:
    """Return the largest excess over ``burst + rate * window`` in any window that starts and ends at a grant."""
    return max(
        (
            (last - first + 1) - (burst + rate * (grants[last] - grants[first]))
            for first in range(len(grants))
            for last in range(first, len(grants))
        ),
        default=-math.inf,
    )


@given(RATES, BURSTS, STEPS)
def test_bound_holds_in_every_window(rate: float, burst: int, steps: list[tuple[float, str, int]]) -> None:
    """No window sees more than burst + rate x window grants, whatever is given back in between."""
    kept, _ = run(TokenBucket(rate, burst), steps)

    assert worst_window(kept, rate, burst) <= 1e-6


@given(RATES, BURSTS, STEPS)
def test_paced_grants_are_an_interval_apart(rate: float, burst: int, steps: list[tuple[float, str, int]]) -> None:
    """Two paced grants are never closer than one interval, and never closer than that to the grant before."""
    _, paced = run(TokenBucket(rate, burst), [step for step in steps if step[1] != "give_back"])

    assert all(later - earlier >= 1 / rate - 1e-9 for earlier, later in itertools.pairwise(paced))


@given(RATES, BURSTS, st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=40), st.data())
def test_given_back_is_as_if_never_taken(rate: float, burst: int, takes: list[tuple[float, bool]], data: st.DataObject) -> None:
    """After giving one grant back the bucket equals one that saw only the other grants."""
    bucket, now, grants = TokenBucket(rate, burst), 50.0, list[float]()
    for wait, paced in takes:
        now += wait
        if not bucket.take(now, held_back=99 if paced else 0):
            grants.append(now)
    undone = data.draw(st.sampled_from(grants))
    remaining = list(grants)
    remaining.remove(undone)
    expected = -math.inf
    for moment in remaining:
        if moment >= now - 60:
            expected = max(moment, expected) + 1 / rate

    if bucket.give_back(undone):
        assert bucket.full_at == pytest.approx(expected) or (bucket.full_at == expected == -math.inf)


@given(RATES, BURSTS, st.integers(0, 20))
def test_saturated_bucket_uses_all_it_may(rate: float, burst: int, ahead: int) -> None:
    """Asking again exactly when told to always succeeds, and the n-th grant comes when the arithmetic says."""
    bucket, now = TokenBucket(rate, burst), 10.0
    forecast = bucket.ready_at(now, ahead=ahead)
    for _ in range(ahead):
        while wait := bucket.take(now):
            now += wait

    while wait := bucket.take(now):
        now += wait
    assert now == pytest.approx(forecast)


def test_reopening_starts_without_a_burst() -> None:
    """After a pause the bucket lets out one request and then the sustained rate: the server's bucket is empty."""
    bucket = TokenBucket(2.0, 5, AdaptiveSettings(backoff=1.0))
    bucket.take(0.0)
    bucket.on_throttled(0.0, granted_at=0.0, delay=3.0)

    assert bucket.take(3.0) == 0.0
    assert bucket.take(3.0) == pytest.approx(0.5)


def drain(bucket: TokenBucket, now: float, seconds: float, *, held_back: int = 0) -> list[float]:
    """Take every grant there is for *seconds*, and return when."""
    end, grants = now + seconds, list[float]()
    while now < end:
        if wait := bucket.take(now, held_back=held_back):
            now += wait
        else:
            grants.append(now)
    return grants


def test_an_unexplained_refusal_lowers_the_rate_and_it_comes_back() -> None:
    """A refusal of a paced request takes three tenths of the rate for a while; then it climbs back to its ceiling in a few seconds."""
    bucket = TokenBucket(10.0, 1, AdaptiveSettings(first_pause=0.1, hold=10.0, recovery=10.0))
    bucket.take(0.0)
    bucket.on_throttled(0.0, granted_at=0.0)
    assert bucket.rate == pytest.approx(7.0)

    drain(bucket, 0.1, 9.9)
    assert bucket.rate == pytest.approx(7.0)
    drain(bucket, 10.0, 1.0)
    assert 7.5 < bucket.rate < 8.5
    drain(bucket, 11.0, 3.0)
    assert bucket.rate == pytest.approx(10.0)


@given(
    RATES,
    st.integers(2, 6),
    st.lists(
        st.tuples(st.floats(0, 6), st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 1.0])), max_size=9)), max_size=6
    ),
)
def test_bunching_within_the_jitter_never_meets_an_empty_server(
    rate: float, burst: int, spells: list[tuple[float, list[tuple[bool, float]]]]
) -> None:
    """Asking for all there is, with every request late by anything up to the jitter: a server of the same rate and burst refuses none."""
    bucket, now, arrivals = TokenBucket(rate, burst, jitter=0.25), 0.0, list[float]()
    for quiet, requests in spells:
        now += quiet
        for is_paced, lateness in requests:
            while wait := bucket.take(now, held_back=99 if is_paced else 0):
                now += wait
            arrivals.append(now + lateness * bucket.jitter)
    server = ServerBucket(rate, burst)

    assert all(server.take(moment).allowed for moment in sorted(arrivals))


def test_the_servers_count_after_all_was_given_back() -> None:
    """A bucket whose every grant was given back still hears that the server has nothing left."""
    bucket = TokenBucket(2.0, 4)
    for _ in range(4):
        bucket.take(0.0)
    for _ in range(4):
        bucket.give_back(0.0)
    bucket.observe_remaining(0.0, remaining=0)

    assert bucket.level(0.0) == 0.0


@given(
    RATES, BURSTS, st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["take", "take", "paced", "throttled"])), max_size=60)
)
def test_bound_holds_while_learning(rate: float, burst: int, steps: list[tuple[float, str]]) -> None:
    """Whatever is refused and relearned, no window sees more than the configured burst + rate x window."""
    bucket, now, grants = TokenBucket(rate, burst), 0.0, list[float]()
    for wait, action in steps:
        now += wait
        if action == "throttled":
            if grants:
                bucket.on_throttled(now, granted_at=grants[-1])
        elif not bucket.take(now, held_back=99 if action == "paced" else 0):
            grants.append(now)

    assert worst_window(grants, rate, burst) <= 1e-6
