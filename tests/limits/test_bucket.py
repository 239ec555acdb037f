"""The bucket's arithmetic, as properties over every order of events."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async.limits import PacedBucket

RATES = st.sampled_from([0.5, 1.0, 5.0, 7.3])
BURSTS = st.integers(1, 6)
STEPS = st.lists(
    st.tuples(st.floats(0, 3), st.sampled_from(["take", "take", "take", "paced", "give_back"]), st.integers(0, 50)),
    max_size=60,
)


def run(bucket: PacedBucket, steps: list[tuple[float, str, int]]) -> tuple[list[float], list[float]]:
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
        elif not bucket.take(now, paced=action == "paced"):
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
    kept, _ = run(PacedBucket(rate, burst), steps)

    assert worst_window(kept, rate, burst) <= 1e-6


@given(RATES, BURSTS, STEPS)
def test_paced_grants_are_an_interval_apart(rate: float, burst: int, steps: list[tuple[float, str, int]]) -> None:
    """Two paced grants are never closer than one interval, and never closer than that to the grant before."""
    _, paced = run(PacedBucket(rate, burst), [step for step in steps if step[1] != "give_back"])

    assert all(later - earlier >= 1 / rate - 1e-9 for earlier, later in itertools.pairwise(paced))


@given(RATES, BURSTS, st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=40), st.data())
def test_given_back_is_as_if_never_taken(rate: float, burst: int, takes: list[tuple[float, bool]], data: st.DataObject) -> None:
    """After giving one grant back the bucket equals one that saw only the other grants."""
    bucket, now, grants = PacedBucket(rate, burst), 50.0, list[float]()
    for wait, paced in takes:
        now += wait
        if not bucket.take(now, paced=paced):
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
    bucket, now = PacedBucket(rate, burst), 10.0
    forecast = bucket.ready_at(now, paced=False, ahead=ahead)
    for _ in range(ahead):
        while wait := bucket.take(now, paced=False):
            now += wait

    while wait := bucket.take(now, paced=False):
        now += wait
    assert now == pytest.approx(forecast)


def test_a_refusal_closes_once_for_all_in_flight() -> None:
    """Three requests in flight that are refused together count as one refusal: one pause, not three."""
    bucket = PacedBucket(5.0, 10)
    grants = [0.0, 0.0, 0.1]
    for now in grants:
        assert bucket.take(now, paced=False) == 0.0

    pauses = [bucket.close(1.0 + n / 100, granted_at=g, delay=None, first=1.0, longest=60.0) for n, g in enumerate(grants)]
    assert pauses == pytest.approx([1.0, 0.99, 0.98])
    assert bucket.take(1.5, paced=False) == pytest.approx(0.5)


def test_refusals_in_a_row_double_the_pause() -> None:
    """A refusal soon after reopening doubles the pause, up to the longest; a quiet time forgets."""
    bucket, now = PacedBucket(1.0, 1), 0.0
    pauses: list[float] = []
    for _ in range(5):
        while wait := bucket.take(now, paced=True):
            now += wait
        pauses.append(bucket.close(now, granted_at=now, delay=None, first=1.0, longest=6.0))
    now += 100
    while wait := bucket.take(now, paced=True):
        now += wait
    pauses.append(bucket.close(now, granted_at=now, delay=None, first=1.0, longest=6.0))

    assert pauses == [1.0, 2.0, 4.0, 6.0, 6.0, 1.0]


def test_reopening_starts_without_a_burst() -> None:
    """After a pause the bucket lets out one request and then the sustained rate: the server's bucket is empty."""
    bucket = PacedBucket(2.0, 5)
    bucket.take(0.0, paced=False)
    bucket.close(0.0, granted_at=0.0, delay=3.0, first=1.0, longest=60.0)

    assert bucket.take(3.0, paced=False) == 0.0
    assert bucket.take(3.0, paced=False) == pytest.approx(0.5)


def test_a_servers_wish_is_capped() -> None:
    """A server that asks for an hour is believed for the longest pause only."""
    bucket = PacedBucket(1.0, 1)
    bucket.take(0.0, paced=False)

    assert bucket.close(0.0, granted_at=0.0, delay=3600.0, first=1.0, longest=60.0) == 60.0


def test_clock_that_steps_back_gives_nothing() -> None:
    """A clock that jumps back neither grants more nor waits for ever."""
    bucket = PacedBucket(1.0, 1)
    assert bucket.take(100.0, paced=False) == 0.0

    assert bucket.take(50.0, paced=False) == pytest.approx(1.0)
    assert bucket.take(101.0, paced=False) == 0.0
