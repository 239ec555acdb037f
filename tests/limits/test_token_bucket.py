"""The token bucket: which of its numbers each event changes, and what holds in any history of events."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async import ConfigurationError
from mux_async.limits import AdaptiveSettings
from mux_async.limits._token_bucket import TokenBucket
from tests.limits.windows import worst_window

INF = math.inf
FLAT = AdaptiveSettings(backoff=1.0)
"""Learns nothing of rates."""
NAMES = [
    "_base_full_at",
    "_burst_changed_at",
    "_busy_since",
    "_decreased_at",
    "_increased_at",
    "closed_at",
    "closed_until",
    "full_at",
    "now",
    "_configured_burst",
    "_configured_rate",
    "_interval",
    "_had_unmet_demand",
    "_grants_since_decrease",
    "_pause",
    "_max_remaining",
    "_grants_since_full",
    "burst",
    "ceiling",
]


def numbers(bucket: TokenBucket) -> dict[str, object]:
    """Return the whole state of a bucket: its dump, derived values, and its grants."""
    dumped, grants = bucket.dump()
    return {
        **dict.fromkeys(NAMES, -INF),
        **dumped,
        "grants": grants,
        "jitter": bucket.jitter,
        "quiet": round(bucket.next_change_at(), 3),
    }


def changes(bucket: TokenBucket, action: Callable[[], object]) -> dict[str, object]:
    """Return what *action* returns, as ``result`` unless it is ``None``, and every number that it changed."""
    before = numbers(bucket)
    result = action()
    after = numbers(bucket)
    changed = {name: after[name] for name in after if after[name] != before[name]}
    return changed if result is None else {"result": result, **changed}


def emptied(
    rate: float, burst: int, adaptive: AdaptiveSettings | None = None, *, at: float = 10.0, jitter: float = 0.0
) -> TokenBucket:
    """Return a bucket whose whole burst was taken at once."""
    bucket = TokenBucket(rate, burst, adaptive, jitter)
    assert [bucket.take(at) for _ in range(burst)] == [0.0] * burst
    return bucket


def test_new() -> None:
    """A new bucket is full, unused, and has its settings."""
    bucket = TokenBucket(2.0, 4)

    assert numbers(bucket) == {
        **dict.fromkeys(NAMES, -INF),
        "_configured_burst": 4.0,
        "_configured_rate": 2.0,
        "_interval": 0.5,
        "_had_unmet_demand": 0.0,
        "_grants_since_decrease": 0.0,
        "_pause": 0.0,
        "_max_remaining": 0.0,
        "_grants_since_full": 0.0,
        "burst": 4.0,
        "ceiling": 2.0,
        "grants": [],
        "jitter": 0.0,
        "quiet": INF,
    }
    assert (bucket.rate, bucket.level(-1e9), bucket.level(7.0), bucket.ready_at(7.0)) == (2.0, 4.0, 4.0, 7.0)
    assert (bucket.now, bucket.full_at, bucket.closed_at, bucket.closed_until) == (-INF, -INF, -INF, -INF)


def test_grants() -> None:
    """A grant moves ``full_at`` by one interval, from now if the bucket was full; none is made before it is due."""
    bucket = TokenBucket(2.0, 4)
    first = {
        "result": 0.0,
        "now": 10.0,
        "full_at": 10.5,
        "_busy_since": 10.0,
        "_grants_since_full": 1.0,
        "_grants_since_decrease": 1.0,
        "grants": [10.0],
    }
    assert changes(bucket, lambda: bucket.take(10.0)) == first
    assert changes(bucket, lambda: bucket.take(10.0)) == {
        "result": 0.0,
        "full_at": 11.0,
        "_grants_since_full": 2.0,
        "_grants_since_decrease": 2.0,
        "grants": [10.0, 10.0],
    }
    bucket.take(10.0)
    bucket.take(10.0)
    assert changes(bucket, lambda: bucket.take(10.25)) == {"result": 0.25, "now": 10.25, "_had_unmet_demand": 1.0}
    assert changes(bucket, lambda: bucket.take(10.25)) == {"result": 0.25}
    assert changes(bucket, lambda: bucket.take(10.5)) == {
        "result": 0.0,
        "now": 10.5,
        "full_at": 12.5,
        "_grants_since_full": 5.0,
        "_grants_since_decrease": 5.0,
        "grants": [10.0] * 4 + [10.5],
    }
    # Full again, to the moment: what was taken before does not count any more.
    assert changes(bucket, lambda: bucket.take(12.5)) == {
        "result": 0.0,
        "now": 12.5,
        "full_at": 13.0,
        "_grants_since_full": 1.0,
        "_busy_since": 12.5,
        "_grants_since_decrease": 6.0,
        "grants": [10.0] * 4 + [10.5, 12.5],
    }


@pytest.mark.parametrize(
    ("held_back", "ahead", "ready"),
    [
        (0, 0, 10.5),
        (1, 0, 11.0),
        (3, 0, 12.0),
        (4, 0, 12.0),
        (99, 0, 12.0),
        (0, 1, 11.0),
        (0, 2, 11.5),
        (1, 2, 12.0),
        (99, 2, 13.0),
    ],
)
def test_when_a_grant_is_ready(held_back: int, ahead: int, ready: float) -> None:
    """An empty bucket needs an interval for each grant that is left to others or comes first; all but one can be left."""
    bucket = emptied(2.0, 4)

    assert bucket.ready_at(10.0, held_back=held_back, ahead=ahead) == ready
    assert changes(bucket, lambda: bucket.take(10.0, held_back=held_back, ahead=ahead)) == {
        "result": ready - 10.0,
        "_had_unmet_demand": 1.0,
    }
    if ready <= bucket.full_at:  # full before that, others would go first anew
        assert bucket.take(ready, held_back=held_back, ahead=ahead) == 0.0


@pytest.mark.parametrize(("ahead", "ready"), [(0, 10.0), (3, 10.0), (4, 10.5), (6, 11.5)])
def test_a_full_bucket_with_others_ahead(ahead: int, ready: float) -> None:
    """A full bucket has the burst for the grants that come first, and needs an interval for each after that."""
    bucket = TokenBucket(2.0, 4)

    assert bucket.ready_at(10.0, ahead=ahead) == ready
    assert bucket.take(10.0, ahead=ahead) == ready - 10.0


def test_jitter() -> None:
    """The grant after a burst is delayed by the jitter, unless the bucket has been full for as long, or more is left to others."""
    bucket = emptied(2.0, 4, jitter=0.25)

    assert bucket.jitter == 0.25
    assert bucket.ready_at(10.0) == 10.75
    assert bucket.ready_at(10.0, ahead=1) == 11.25
    assert bucket.ready_at(10.0, held_back=1) == 11.0
    assert bucket.ready_at(12.2) == 12.2
    assert bucket.ready_at(12.2, ahead=3) == 12.45
    assert bucket.ready_at(12.25, ahead=3) == 12.25
    assert bucket.ready_at(12.25, ahead=4) == 13.0
    fewer = TokenBucket(2.0, 4, jitter=0.25)
    for _ in range(3):
        fewer.take(10.0)
    assert (fewer.ready_at(10.0), fewer.ready_at(10.0, ahead=1)) == (10.0, 10.75)


@pytest.mark.parametrize(("now", "spree"), [(11.9, 5.0), (12.0, 5.0), (12.24, 5.0), (12.25, 1.0), (13.0, 1.0)])
def test_jitter_after_a_quiet_time(now: float, spree: float) -> None:
    """If the bucket has been full for as long as the jitter, the server's is full too, and no jitter is added."""
    bucket = emptied(2.0, 4, jitter=0.25)
    bucket.take(now)

    assert numbers(bucket)["_grants_since_full"] == spree


@pytest.mark.parametrize(("burst", "jitter", "kept"), [(4, 0.25, 0.25), (4, 9.0, 0.75), (2, 9.0, 0.25), (1, 9.0, 0.0)])
def test_jitter_is_at_most_half_of_the_burst(burst: int, jitter: float, kept: float) -> None:
    """The jitter is at most half of the burst beyond one."""
    assert TokenBucket(2.0, burst, jitter=jitter).jitter == kept


def test_giving_back() -> None:
    """After a grant is returned, the bucket is as if it had never been made; returning an unknown one changes nothing."""
    bucket = TokenBucket(2.0, 4)
    for moment in (10.0, 10.0, 10.2, 11.0):
        bucket.take(moment)

    assert changes(bucket, lambda: bucket.give_back(10.1)) == {"result": False}
    assert changes(bucket, lambda: bucket.give_back(10.0)) == {"result": True, "full_at": 11.5, "grants": [10.0, 10.2, 11.0]}
    assert changes(bucket, lambda: bucket.give_back(10.0)) == {"result": True, "grants": [10.2, 11.0]}
    assert changes(bucket, lambda: bucket.give_back(11.0)) == {"result": True, "full_at": 10.7, "grants": [10.2]}
    assert changes(bucket, lambda: bucket.give_back(10.2)) == {"result": True, "full_at": -INF, "grants": []}


def test_returned_grants_and_older_debts() -> None:
    """Debts from before the oldest remembered grant stay."""
    bucket = TokenBucket(2.0, 4)
    bucket.drain(10.0)
    assert bucket.take(10.5) == 0.0

    assert changes(bucket, lambda: bucket.give_back(10.5)) == {"result": True, "full_at": 12.0, "grants": []}


@pytest.mark.parametrize(("now", "is_known"), [(70.0, True), (70.1, False)])
def test_grants_are_forgotten(now: float, is_known: bool) -> None:
    """A grant can be returned for exactly a minute."""
    bucket = TokenBucket(0.01, 4)
    for moment in (10.0, 10.0, 11.0):
        bucket.take(moment)
    bucket.advance(now)

    assert numbers(bucket)["grants"] == ([10.0, 10.0, 11.0] if is_known else [11.0])
    assert numbers(bucket)["_base_full_at"] == (-INF if is_known else 210.0)
    assert numbers(bucket)["full_at"] == 310.0
    assert bucket.give_back(10.0) is is_known


def test_grants_are_forgotten_at_the_next_one() -> None:
    """A new grant removes those that can no longer be returned."""
    bucket = TokenBucket(1.0, 4)
    bucket.take(10.0)
    bucket.take(70.5)

    assert numbers(bucket)["grants"] == [70.5]
    assert not bucket.give_back(10.0)


def test_a_grant_when_time_stepped_back() -> None:
    """A grant with a time before the latest one is made at the latest one."""
    bucket = TokenBucket(1.0, 4)
    bucket.take(10.0)

    assert bucket.take(5.0) == 0.0
    assert (bucket.now, numbers(bucket)["grants"], bucket.full_at) == (10.0, [10.0, 10.0], 12.0)


def test_a_grant_lets_the_rate_recover() -> None:
    """A grant after the hold of a lowered rate is made at the recovered rate, and one after ten minutes with a larger burst."""
    slow = emptied(1.0, 1)
    slow.on_throttled(10.0, granted_at=10.0)
    lowered = slow.rate
    slow.take(40.0)
    small = emptied(1.0, 4)
    small.on_throttled(10.0, granted_at=10.0)
    before = small.burst
    small.take(5000.0)

    assert (lowered, slow.rate) == (0.7, 1.0)
    assert small.burst == before + 1


@pytest.mark.parametrize(
    ("members", "message"),
    [
        *(
            ({name: -1.0}, f"the adaptive settings' {name} is -1.0; it must be 0 seconds or more")
            for name in ("first_pause", "longest_pause", "hold")
        ),
        *(
            ({name: value}, f"the adaptive settings' {name} is {value}; it is {takes} above 0 and at most 1")
            for name, takes in (("backoff", "a factor"), ("min_rate_ratio", "a share of the ceiling"))
            for value in (0, 1.1)
        ),
        ({"recovery": 0}, "the adaptive settings' recovery is 0; it must be above 0 seconds"),
        ({"discover": "no"}, "the adaptive settings' discover is 'no'; it must be True or False"),
    ],
)
def test_settings_that_cannot_be(members: dict[str, Any], message: str) -> None:
    """A setting out of range is refused with its name, its value and what it must be."""
    with pytest.raises(ConfigurationError) as caught:
        AdaptiveSettings(**members)

    assert str(caught.value) == message


def test_time() -> None:
    """Time never goes back."""
    bucket = TokenBucket(2.0, 4)

    assert (bucket.advance(10.0), bucket.now) == (10.0, 10.0)
    assert (bucket.advance(9.0), bucket.now) == (10.0, 10.0)
    assert (bucket.advance(10.5), bucket.now) == (10.5, 10.5)


@pytest.mark.parametrize(("now", "level"), [(9.0, 0.0), (10.0, 0.0), (10.5, 1.0), (10.75, 1.5), (12.0, 4.0), (99.0, 4.0)])
def test_levels(now: float, level: float) -> None:
    """The level rises by the rate up to the burst."""
    assert emptied(2.0, 4).level(now) == level


# Refusals


def test_a_refusal_without_a_time() -> None:
    """A 429 without a time closes the bucket for a second, and leaves it one grant below the burst; no grant is made before."""
    bucket = TokenBucket(2.0, 4, FLAT)
    bucket.take(10.0)

    assert changes(bucket, lambda: bucket.on_throttled(10.5, granted_at=10.0)) == {
        "result": 1.0,
        "now": 10.5,
        "closed_at": 10.5,
        "closed_until": 11.5,
        "_pause": 1.0,
        "_increased_at": 11.5,
        "full_at": 13.0,
        "_base_full_at": 13.0,
        "grants": [],
        "_grants_since_full": 4.0,
    }
    assert (bucket.level(11.4), bucket.level(11.5)) == (0.0, 1.0)
    assert (bucket.ready_at(10.5), bucket.ready_at(11.5), bucket.ready_at(10.5, ahead=1)) == (11.5, 11.5, 12.0)
    assert bucket.take(11.0) == 0.5
    assert bucket.take(11.5) == 0.0
    assert bucket.take(11.5) == 0.5


def test_a_full_bucket_that_is_closed() -> None:
    """A bucket that is full before it opens stays closed until then."""
    bucket = TokenBucket(100.0, 2, FLAT)
    bucket.take(10.0)
    bucket.on_throttled(10.0, granted_at=10.0, delay=5.0)
    loaded = TokenBucket(100.0, 2, FLAT)
    loaded.load({**bucket.dump()[0], "full_at": 10.0}, [], 10.0)

    assert loaded.take(12.0) == 3.0
    assert loaded.take(15.0) == 0.0


@pytest.mark.parametrize(("asked", "pause"), [(0.0, 0.0), (0.5, 0.5), (3.0, 3.0), (60.0, 60.0), (61.0, 60.0)])
def test_a_refusal_with_a_time(asked: float, pause: float) -> None:
    """A 429 with a time closes the bucket for that time, at most a minute."""
    bucket = TokenBucket(2.0, 4, FLAT)
    bucket.take(10.0)

    assert bucket.on_throttled(10.0, granted_at=10.0, delay=asked) == pause
    assert (bucket.closed_until, numbers(bucket)["_pause"], bucket.full_at) == (10.0 + pause, pause, 11.5 + pause)


@pytest.mark.parametrize(("now", "pause"), [(10.5, 2.0), (11.0, 2.0), (13.0, 2.0), (13.1, 1.0), (99.0, 1.0)])
def test_pauses_double(now: float, pause: float) -> None:
    """A 429 within twice the last pause doubles the pause; a later one starts with the first pause."""
    bucket = TokenBucket(2.0, 4, FLAT)
    bucket.take(10.0)
    bucket.on_throttled(10.0, granted_at=10.0)

    assert bucket.on_throttled(now, granted_at=10.1) == pytest.approx(pause)
    assert numbers(bucket)["_pause"] == pause


def test_a_refusal_after_a_pause_of_zero() -> None:
    """After a pause of zero, the next is the first pause."""
    bucket = TokenBucket(2.0, 4, AdaptiveSettings(backoff=1.0, first_pause=3.0))
    bucket.take(10.0)
    bucket.on_throttled(10.0, granted_at=10.0, delay=0.0)

    assert bucket.on_throttled(10.0, granted_at=10.1) == 3.0


def test_requests_in_flight_are_refused_together() -> None:
    """A 429 of a request whose grant is older than the last 429 can only lengthen the pause, up to the longest."""
    bucket = emptied(2.0, 4, FLAT)
    bucket.on_throttled(11.0, granted_at=10.0)

    assert changes(bucket, lambda: bucket.on_throttled(11.5, granted_at=11.0)) == {"result": 0.5, "now": 11.5}
    assert changes(bucket, lambda: bucket.on_throttled(11.5, granted_at=11.0, delay=0.25)) == {"result": 0.5}
    assert changes(bucket, lambda: bucket.on_throttled(11.5, granted_at=11.0, delay=3.0)) == {
        "result": 3.0,
        "closed_until": 14.5,
        "_increased_at": 14.5,
    }
    assert bucket.on_throttled(11.5, granted_at=11.0, delay=99.0) == 60.0
    assert changes(bucket, lambda: bucket.on_throttled(11.5, granted_at=11.1))["closed_at"] == 11.5


def test_a_later_refusal_does_not_open_it() -> None:
    """A 429 that asks for less than an earlier one does not shorten the pause."""
    bucket = emptied(2.0, 4, FLAT)
    bucket.on_throttled(10.0, granted_at=10.0, delay=20.0)

    assert bucket.on_throttled(11.0, granted_at=10.5, delay=1.0) == 19.0
    assert (bucket.closed_until, bucket.full_at) == (30.0, 31.5)


# What the server says is left


@pytest.mark.parametrize(
    ("remaining", "changed"),
    [
        (-1, {}),
        (1, {"_max_remaining": 1.0, "full_at": 11.5, "_base_full_at": 11.5, "grants": [], "_grants_since_full": 4.0}),
        (2, {"_max_remaining": 2.0, "full_at": 11.0, "_base_full_at": 11.0, "grants": [], "_grants_since_full": 4.0}),
        (3, {"_max_remaining": 3.0}),
        (4, {"_max_remaining": 4.0}),
        (99, {"_max_remaining": 99.0}),
    ],
)
def test_the_servers_count(remaining: int, changed: dict[str, object]) -> None:
    """The server's count lowers the level, and never raises it; a negative one is ignored."""
    bucket = TokenBucket(2.0, 4)
    bucket.take(10.0)

    assert changes(bucket, lambda: bucket.observe_remaining(10.0, remaining=remaining)) == changed


def test_a_count_of_zero_that_our_requests_explain() -> None:
    """A count of zero does not lower the rate if our own requests explain it, or after few requests."""
    bucket = emptied(2.0, 4)
    bucket.observe_remaining(10.0, remaining=3)
    assert changes(bucket, lambda: bucket.observe_remaining(10.0, remaining=0)) == {}

    few = TokenBucket(2.0, 9)
    for _ in range(3):
        few.take(10.0)
    few.observe_remaining(10.0, remaining=0)
    assert (few.rate, few.level(10.0)) == (2.0, 0.0)


@pytest.mark.parametrize(("grants", "rate"), [(3, 2.0), (4, 1.4), (5, 1.4), (7, 1.4), (8, 2.0)])
def test_a_count_of_zero_that_they_do_not_explain(grants: int, rate: float) -> None:
    """A count of zero that our requests do not explain lowers the rate like a 429, after four grants; one on its way is counted."""
    bucket = TokenBucket(2.0, 9)
    for _ in range(grants):
        bucket.take(10.0)
        bucket.observe_remaining(10.0, remaining=8)
    bucket.observe_remaining(10.0, remaining=0)

    assert bucket.rate == pytest.approx(rate)


def test_a_count_below_the_burst() -> None:
    """If the server never has more left than some number, the burst is no larger than that, and the rate is not lowered."""
    bucket = TokenBucket(2.0, 9)
    for now in (10.0, 11.0, 12.0, 13.0):
        assert bucket.take(now) == 0.0
        bucket.observe_remaining(now, remaining=2)
    bucket.observe_remaining(13.0, remaining=0)

    assert (bucket.burst, bucket.rate) == (3, 2.0)


def test_a_count_alone_does_not_take_the_rate_away() -> None:
    """However often the server has nothing left of what we did not take, a quarter of the rate stays; a 429 lowers it further."""
    bucket = TokenBucket(2.0, 3)
    now = 10.0
    bucket.observe_remaining(now, remaining=1000)
    for _ in range(40):
        now += 1.0
        bucket.take(now)
        bucket.observe_remaining(now, remaining=0)
    assert bucket.rate == pytest.approx(0.5)

    bucket.load({**bucket.dump()[0], "_interval": 4.0, "_grants_since_decrease": 5.0}, [], now)
    bucket.observe_remaining(now, remaining=0)
    assert bucket.rate == pytest.approx(0.25)


@pytest.mark.parametrize(("said", "rate"), [(8, 2.0), (9, 2.0), (10, 1.4), (20, 1.4)])
def test_the_largest_count(said: int, rate: float) -> None:
    """The rate is lowered if the server once had more left than our requests took since, and not if it had as much."""
    bucket = TokenBucket(2.0, 9)
    bucket.take(10.0)
    bucket.observe_remaining(10.0, remaining=said)
    for _ in range(8):
        bucket.take(10.0)
    bucket.observe_remaining(10.0, remaining=0)

    assert bucket.rate == pytest.approx(rate)


def test_without_adaptation() -> None:
    """Without adaptation, a count of zero empties the bucket and does not lower the rate."""
    bucket = TokenBucket(2.0, 9, FLAT)
    for _ in range(5):
        bucket.take(10.0)

    assert changes(bucket, lambda: bucket.observe_remaining(10.0, remaining=0)) == {
        "full_at": 14.5,
        "_base_full_at": 14.5,
        "grants": [],
        "_grants_since_full": 9.0,
    }


def test_two_decreases_at_one_moment() -> None:
    """If no time has passed since the last decrease, the requests since then are not counted."""
    bucket = TokenBucket(2.0, 9)
    known = {"_grants_since_decrease": 5.0, "_decreased_at": 10.0, "now": 10.0, "_max_remaining": 8.0}
    bucket.load({**bucket.dump()[0], **known}, [], 10.0)
    bucket.observe_remaining(10.0, remaining=0)

    assert bucket.rate == pytest.approx(1.4)


def test_a_refusal_from_the_moment_of_a_decrease() -> None:
    """A 429 of a request from the moment of the last decrease does not lower the rate again."""
    for granted_at, rate in [(10.0, 1.4), (10.1, 0.98)]:
        bucket = TokenBucket(2.0, 9)
        bucket.observe_remaining(10.0, remaining=8)
        for _ in range(5):
            bucket.take(10.0)
        bucket.observe_remaining(10.0, remaining=0)
        bucket.load({**bucket.dump()[0], "full_at": 10.0}, [], 10.0)
        bucket.on_throttled(10.1, granted_at=granted_at)
        assert bucket.rate == pytest.approx(rate)


def test_a_count_with_a_time() -> None:
    """A count with an earlier time is applied as of that time, and one from the future as of now."""
    bucket = TokenBucket(2.0, 4)
    bucket.take(10.0)
    assert changes(bucket, lambda: bucket.observe_remaining(12.0, remaining=1, at=10.5)) == {
        "now": 12.0,
        "_max_remaining": 1.0,
        "full_at": 12.0,
        "_base_full_at": 12.0,
        "grants": [],
        "_grants_since_full": 4.0,
    }

    assert changes(bucket, lambda: bucket.observe_remaining(12.0, remaining=1, at=99.0))["full_at"] == 13.5


def test_draining() -> None:
    """A drained bucket is empty."""
    bucket = TokenBucket(2.0, 4)
    assert changes(bucket, lambda: bucket.drain(10.0)) == {
        "now": 10.0,
        "full_at": 12.0,
        "_base_full_at": 12.0,
        "_grants_since_full": 4.0,
    }

    owing = emptied(2.0, 4)
    owing.load({**owing.dump()[0], "full_at": 50.0, "_grants_since_full": 7.0}, [], 10.0)
    assert changes(owing, lambda: owing.drain(11.0)) == {"now": 11.0, "_base_full_at": 50.0}


# What is learned


@pytest.mark.parametrize(
    ("grants", "now", "burst", "rate"),
    [(1, 10.0, 10, 0.7), (2, 10.0, 1, 1.0), (5, 10.0, 4, 1.0), (5, 11.5, 3, 1.0), (10, 10.0, 9, 1.0), (5, 14.0, 10, 0.7)],
)
def test_a_refusal_within_a_burst(grants: int, now: float, burst: int, rate: float) -> None:
    """A 429 within a burst sets the burst to one less than the owed grants, or to one less; with a single owed grant it lowers the rate."""
    bucket = TokenBucket(1.0, 10)
    for _ in range(grants):
        bucket.take(10.0)
    bucket.on_throttled(now, granted_at=10.0)

    assert bucket.burst == burst
    assert bucket.rate == pytest.approx(rate)
    assert numbers(bucket)["_burst_changed_at"] == (now if burst < 10 else -INF)


@pytest.mark.parametrize(("granted_at", "burst"), [(19.9, 4), (20.0, 5)])
def test_a_refusal_after_a_burst(granted_at: float, burst: int) -> None:
    """A 429 of a request after the burst does not change the burst."""
    bucket = emptied(0.5, 5)
    for moment in (12.0, 14.0, 16.0, 18.0, granted_at):
        bucket.take(moment)
    bucket.on_throttled(granted_at, granted_at=granted_at)

    assert bucket.burst == burst


def test_the_smallest_bursts() -> None:
    """A 429 sets a burst of two to one; with a burst of one it lowers the rate."""
    two = emptied(1.0, 2)
    two.on_throttled(10.0, granted_at=10.0)
    assert (two.burst, two.rate) == (1, 1.0)

    one = emptied(10.0, 1)
    one.on_throttled(10.0, granted_at=10.0)
    one.on_throttled(10.5, granted_at=10.05)
    assert one.burst == 1
    assert one.rate == pytest.approx(4.9)


def test_a_full_bucket_owes_nothing() -> None:
    """A full bucket owes nothing, so a count of zero is due to other programs."""
    bucket = emptied(10.0, 4)
    bucket.observe_remaining(10.0, remaining=3)
    bucket.observe_remaining(12.0, remaining=0)

    assert bucket.rate == pytest.approx(7.0)


def test_a_smaller_burst_has_less_jitter() -> None:
    """A smaller burst has a smaller jitter."""
    bucket = emptied(1.0, 4, jitter=9.0)
    assert bucket.jitter == 1.5
    bucket.on_throttled(10.0, granted_at=10.0)
    assert (bucket.burst, bucket.jitter) == (3, 1.0)

    assert [round(bucket.next_change_at()), bucket.advance(609.9), bucket.burst] == [610, 609.9, 3]
    assert [bucket.advance(610.0), bucket.burst, bucket.jitter, bucket.next_change_at()] == [610.0, 4, 1.5, INF]


def test_a_burst_comes_back_one_at_a_time() -> None:
    """The burst grows by one every ten minutes."""
    bucket = emptied(1.0, 4)
    bucket.on_throttled(10.0, granted_at=10.0)
    bucket.on_throttled(12.0, granted_at=11.0)
    lowered = bucket.burst
    bucket.advance(5000.0)
    once = bucket.burst
    bucket.advance(5599.0)
    still = bucket.burst
    bucket.advance(5600.0)

    assert (lowered, once, still, bucket.burst) == (1, 2, 2, 3)


def test_a_refusal_from_before_a_decrease() -> None:
    """A 429 of a request from before a decrease does not lower the rate again."""
    bucket = TokenBucket(10.0, 1, AdaptiveSettings(first_pause=0.0))
    bucket.take(10.0)
    bucket.on_throttled(10.5, granted_at=10.0)
    assert bucket.rate == pytest.approx(7.0)
    bucket.take(11.0)
    bucket.observe_remaining(11.5, remaining=0)
    bucket.on_throttled(11.5, granted_at=10.5)
    assert bucket.rate == pytest.approx(7.0)

    bucket.on_throttled(11.6, granted_at=11.0)
    assert bucket.rate == pytest.approx(4.9)


def test_a_decrease() -> None:
    """A decrease lowers the rate for the hold time and stretches debts; the count of grants starts again."""
    bucket = TokenBucket(10.0, 1)
    bucket.take(10.0)
    told = changes(bucket, lambda: bucket.on_throttled(10.0, granted_at=10.0))

    assert told.pop("_interval") == pytest.approx(1 / 7.0)
    assert told.pop("full_at") == told.pop("_base_full_at") == pytest.approx(11.0)
    assert told == {
        "result": 1.0,
        "closed_at": 10.0,
        "closed_until": 11.0,
        "_pause": 1.0,
        "_grants_since_decrease": 0.0,
        "grants": [],
        "_decreased_at": 10.0,
        "_increased_at": 28.0,
        "quiet": 28.25,
    }


@pytest.mark.parametrize(
    ("passed", "seconds", "rate"), [(4, 1.0, 4.9), (5, 1.0, 3.6), (5, 0.5, 4.9), (8, 4.0, 2.45), (21, 5.0, 3.6)]
)
def test_a_decrease_to_what_was_accepted(passed: int, seconds: float, rate: float) -> None:
    """After more than four grants a decrease goes to nine tenths of the accepted rate, but not below half of the usual decrease."""
    bucket = TokenBucket(10.0, 1, AdaptiveSettings(first_pause=0.0))
    bucket.take(10.0)
    bucket.on_throttled(10.0, granted_at=10.0)
    number = bucket.dump()[0]
    bucket.load({**number, "_grants_since_decrease": float(passed)}, [], 10.0)
    bucket.on_throttled(10.0 + seconds, granted_at=10.0 + seconds)

    assert bucket.rate == pytest.approx(rate)
    assert numbers(bucket)["_grants_since_decrease"] == 0.0


@pytest.mark.parametrize(("floor", "rate"), [(0.05, 7.0), (0.7, 7.0), (0.8, 8.0)])
def test_the_floor(floor: float, rate: float) -> None:
    """The rate does not fall below a share of its ceiling."""
    bucket = TokenBucket(10.0, 1, AdaptiveSettings(min_rate_ratio=floor))
    bucket.take(10.0)
    bucket.on_throttled(10.0, granted_at=10.0)

    assert bucket.rate == pytest.approx(rate)


def test_recovery() -> None:
    """After the hold the rate recovers by its ceiling in eight seconds, in steps of at least a quarter of a second."""
    bucket = TokenBucket(8.0, 1)
    bucket.take(10.0)
    bucket.on_throttled(10.0, granted_at=10.0)
    rates = [(bucket.advance(now), bucket.rate) for now in (28.0, 28.2, 28.25, 28.4, 28.5, 29.0, 30.0, 31.0)]

    assert [rate for _, rate in rates] == pytest.approx([5.6, 5.6, 5.85, 5.85, 6.1, 6.6, 7.6, 8.0])
    assert bucket.next_change_at() == INF
    assert numbers(bucket)["_increased_at"] == 31.0


def test_next_change() -> None:
    """``next_change_at`` is rounded to slightly before the next step, never after it."""
    bucket = emptied(8.0, 1)
    bucket.on_throttled(10.0, granted_at=10.0)

    assert 28.25 - 1e-5 < bucket.next_change_at() < 28.25


def test_a_change_of_rate_stretches_debts() -> None:
    """Owed grants take longer at a lower rate, and shorter at a higher one; a pause is not a debt."""
    bucket = TokenBucket(8.0, 5)
    bucket.load({**bucket.dump()[0], "full_at": 10.5, "now": 10.0}, [], 10.0)
    bucket.load({**bucket.dump()[0], "_configured_rate": 4.0, "ceiling": 8.0}, [], 10.0)
    assert (bucket.rate, bucket.full_at) == (8.0, 10.5)

    slower = TokenBucket(2.0, 5)
    slower.load(bucket.dump()[0], [10.0], 10.0)
    assert changes(slower, lambda: None) == {}
    assert (slower.rate, slower.ceiling, slower.full_at, slower.dump()[1]) == (2.0, 2.0, 12.0, [])
    part = TokenBucket(2.0, 5)
    part.load({**bucket.dump()[0], "full_at": 10.0625}, [], 10.0)
    assert part.full_at == 10.25
    closed = TokenBucket(2.0, 5)
    closed.load({**bucket.dump()[0], "closed_until": 10.25}, [], 10.0)
    assert closed.full_at == 11.25
    paid = TokenBucket(2.0, 5)
    paid.load({**bucket.dump()[0], "closed_until": 11.0}, [10.0], 10.0)
    assert (paid.full_at, paid.dump()[1]) == (10.5, [])


def test_discovery() -> None:
    """With discovery the ceiling rises while there is unmet demand; a decrease resets it."""
    bucket = TokenBucket(8.0, 1, AdaptiveSettings(discover=True))
    assert bucket.next_change_at() == -INF
    bucket.advance(10.0)
    assert (bucket.rate, numbers(bucket)["_increased_at"]) == (8.0, 10.0)
    assert bucket.next_change_at() == pytest.approx(10.25)
    bucket.advance(11.0)
    assert (bucket.rate, bucket.ceiling) == (8.0, 8.0)

    bucket.take(11.0)
    bucket.take(11.0)
    bucket.advance(12.0)
    assert (bucket.rate, bucket.ceiling) == (9.0, 9.0)
    bucket.advance(13.0)
    assert (bucket.rate, bucket.ceiling) == (9.0, 9.0)
    bucket.take(13.0)
    bucket.on_throttled(13.0, granted_at=13.0)
    assert [bucket.rate, bucket.ceiling] == pytest.approx([6.3, 8.55])


def test_time_before_the_first_step() -> None:
    """With discovery, the first step of a bucket has no elapsed time, also with unmet demand."""
    bucket = TokenBucket(8.0, 1, AdaptiveSettings(discover=True))
    bucket.load({**bucket.dump()[0], "_had_unmet_demand": 1.0}, [], 10.0)
    bucket.advance(10.0)

    assert (bucket.rate, bucket.ceiling) == (8.0, 8.0)


def test_a_decrease_far_below_the_ceiling() -> None:
    """A decrease far below the ceiling does not change the ceiling."""
    bucket = TokenBucket(8.0, 1, AdaptiveSettings(discover=True, first_pause=0.0))
    for now in (10.0, 10.1):
        bucket.take(now, held_back=9)
        bucket.on_throttled(now, granted_at=now)

    assert bucket.ceiling == pytest.approx(7.6)


# Storing


def test_what_a_dump_leaves_out() -> None:
    """A dump leaves out moments that never happened, and has only floats."""
    dumped, grants = emptied(2.0, 2).dump()

    assert grants == [10.0, 10.0]
    assert dumped.keys() == set(NAMES) - {
        "_base_full_at",
        "_burst_changed_at",
        "_decreased_at",
        "_increased_at",
        "closed_at",
        "closed_until",
    }
    assert {type(number) for number in dumped.values()} == {float}


def test_a_loaded_bucket_has_its_types() -> None:
    """A loaded bucket has integers and booleans again."""
    bucket = emptied(2.0, 2)
    bucket.take(10.0)
    loaded = TokenBucket(2.0, 2)
    loaded.load(*bucket.dump(), 10.0)

    assert numbers(loaded) == numbers(bucket)
    assert type(loaded.burst) is int
    assert loaded.take(10.0) == 0.5


@pytest.mark.parametrize(("now", "moved"), [(9.0, 0.0), (8.9, 1.1), (0.0, 10.0)])
def test_a_bucket_of_another_clock(now: float, moved: float) -> None:
    """The moments of a bucket that is more than a second ahead are moved, because it has another clock; nothing else changes."""
    bucket = emptied(2.0, 4, FLAT)
    bucket.on_throttled(10.0, granted_at=10.0)
    bucket.take(10.0)
    dumped = {**bucket.dump()[0], "_decreased_at": 3.0, "_burst_changed_at": 4.0}
    loaded = TokenBucket(2.0, 4, FLAT)
    loaded.load(dumped, [10.0, 11.0], now)
    moments = {
        "_base_full_at",
        "_burst_changed_at",
        "_busy_since",
        "_decreased_at",
        "_increased_at",
        "closed_at",
        "closed_until",
        "full_at",
        "now",
    }

    assert loaded.dump()[1] == pytest.approx([10.0 - moved, 11.0 - moved])
    assert loaded.dump()[0] == pytest.approx(
        {name: number - moved if name in moments else number for name, number in dumped.items()}
    )


@pytest.mark.parametrize(
    ("ceiling", "had", "mine", "burst"), [(4, 4, 6, 6), (4, 2, 6, 2), (9, 7, 6, 6), (4, 4, 2, 2), (4, 3, 2, 2), (4, 3, 4, 3)]
)
def test_bursts_of_others(ceiling: int, had: int, mine: int, burst: int) -> None:
    """A bucket loaded under another burst keeps a learned one that is smaller."""
    dumped = {**TokenBucket(2.0, ceiling).dump()[0], "burst": float(had)}
    loaded = TokenBucket(2.0, mine, jitter=99.0)
    loaded.load(dumped, [], 10.0)

    assert (loaded.burst, numbers(loaded)["_configured_burst"]) == (burst, mine)
    assert loaded.jitter == 0.25 * (burst - 1)


@pytest.mark.parametrize(
    ("ceiling", "had", "mine", "rate"), [(4.0, 4.0, 8.0, 8.0), (4.0, 3.0, 8.0, 3.0), (4.0, 3.0, 2.0, 2.0), (9.0, 9.0, 2.0, 2.0)]
)
def test_rates_of_others(ceiling: float, had: float, mine: float, rate: float) -> None:
    """A bucket loaded under another rate keeps a learned one that is lower."""
    dumped = {**TokenBucket(ceiling, 4).dump()[0], "_interval": 1.0 / had, "now": 10.0}
    loaded = TokenBucket(mine, 4)
    loaded.load(dumped, [], 10.0)

    assert [loaded.rate, loaded.ceiling] == pytest.approx([rate, mine])
    assert (loaded.next_change_at() == INF) == (rate == mine)


def test_the_newest_grants_are_stored() -> None:
    """The newest 256 grants are stored, and the debts of older ones are kept."""
    bucket = TokenBucket(1000.0, 300)
    for _ in range(257):
        bucket.take(10.0)
    dumped, grants = bucket.dump()

    assert len(grants) == 256
    assert dumped["_base_full_at"] == 10.001
    assert bucket.dump() == (dumped, grants)


# In any history

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


@given(RATES, BURSTS, STEPS)
def test_bound_holds_in_any_history(rate: float, burst: int, steps: list[tuple[float, str, int]]) -> None:
    """No window sees more than burst + rate x window grants, whatever is given back in between."""
    kept, _ = run(TokenBucket(rate, burst), steps)

    assert worst_window(kept, rate, burst) <= 1e-6


@given(RATES, BURSTS, STEPS)
def test_paced_grants_are_an_interval_apart_in_any_history(
    rate: float, burst: int, steps: list[tuple[float, str, int]]
) -> None:
    """Two paced grants are never closer than one interval, and never closer than that to the grant before."""
    _, paced = run(TokenBucket(rate, burst), [step for step in steps if step[1] != "give_back"])

    assert all(later - earlier >= 1 / rate - 1e-9 for earlier, later in itertools.pairwise(paced))


@given(RATES, BURSTS, st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=40), st.data())
def test_giving_back_in_any_history(rate: float, burst: int, takes: list[tuple[float, bool]], data: st.DataObject) -> None:
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
def test_saturated_bucket_uses_all_it_may_in_any_history(rate: float, burst: int, ahead: int) -> None:
    """Asking again exactly after the returned wait succeeds, and the n-th grant comes at the forecast time."""
    bucket, now = TokenBucket(rate, burst), 10.0
    forecast = bucket.ready_at(now, ahead=ahead)
    for _ in range(ahead):
        while wait := bucket.take(now):
            now += wait

    while wait := bucket.take(now):
        now += wait
    assert now == pytest.approx(forecast)


def test_reopening_starts_without_a_burst() -> None:
    """After a pause there is one grant, and then the sustained rate, because the server's bucket is empty."""
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
    """A 429 of a paced request lowers the rate by three tenths for the hold time; then it recovers to its ceiling in a few seconds."""
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
def test_jitter_never_meets_an_empty_server_in_any_history(
    rate: float, burst: int, spells: list[tuple[float, list[tuple[bool, float]]]]
) -> None:
    """With every request late by any time up to the jitter, a server with the same rate and burst refuses none."""
    bucket, now, arrivals = TokenBucket(rate, burst, jitter=0.25), 0.0, list[float]()
    for quiet, requests in spells:
        now += quiet
        for is_paced, lateness in requests:
            while wait := bucket.take(now, held_back=99 if is_paced else 0):
                now += wait
            arrivals.append(now + lateness * bucket.jitter)
    level, refilled_at = float(burst), 0.0
    for moment in sorted(arrivals):
        level, refilled_at = min(burst, level + rate * (moment - refilled_at)) - 1, moment
        assert level >= -1e-6, "the server's bucket is empty"


def test_the_servers_count_after_all_was_given_back() -> None:
    """A count of zero is applied to a bucket whose grants were all returned."""
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
def test_bound_holds_while_learning_in_any_history(rate: float, burst: int, steps: list[tuple[float, str]]) -> None:
    """With any refusals, no window sees more than the configured burst + rate x window."""
    bucket, now, grants = TokenBucket(rate, burst), 0.0, list[float]()
    for wait, action in steps:
        now += wait
        if action == "throttled":
            if grants:
                bucket.on_throttled(now, granted_at=grants[-1])
        elif not bucket.take(now, held_back=99 if action == "paced" else 0):
            grants.append(now)

    assert worst_window(grants, rate, burst) <= 1e-6
