"""Several processes at one bucket, as arithmetic: the bound, the order, and processes that do not come back."""

from __future__ import annotations

import itertools
from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async.limits import AdaptiveSettings, Bucket, BucketSettings, LimitSettings
from mux_async.limits import _token_bucket as arithmetic
from mux_async.limits._scheduler import LEASE, LONGEST_GRACE, MEMBERSHIP, BucketCommand, Requester, Scheduler
from mux_async.limits._token_bucket import TokenBucket
from tests.limits.windows import worst_window

ASK = BucketCommand("acquire", Bucket.POST, "")
RATES = st.sampled_from([0.5, 1.0, 5.0, 7.3])
BURSTS = st.integers(1, 6)


def ask(shared: Scheduler, now: float, owner: str, rank: int = 0, held_back: int = 0) -> float:
    return shared.perform(attrs.evolve(ASK, owner=owner, rank=rank, held_back=held_back), now)


def play(shared: Scheduler, owners: list[str], start: float, end: float, late: float = 0.0) -> list[tuple[float, str]]:
    """Let *owners* ask when they were told to, and again at once when they were served; return the grants."""
    due = dict.fromkeys(owners, start)
    grants: list[tuple[float, str]] = []
    while (now := min(due.values())) < end:
        owner = min(due, key=lambda name: due[name])
        if wait := ask(shared, now, owner):
            due[owner] = now + wait + late
        else:
            grants.append((now, owner))
    return grants


@given(RATES, BURSTS, st.integers(2, 6), st.floats(0, 0.05))
def test_owners_get_equal_shares(rate: float, burst: int, count: int, late: float) -> None:
    """Owners that always ask when they were told to get the same number of grants, give or take one."""
    owners = [f"owner {number}" for number in range(count)]
    grants = play(Scheduler(TokenBucket(rate, burst)), owners, 0.0, 60 / rate, late)

    shares = Counter(owner for _, owner in grants[burst:])
    assert max(shares.values()) - min(shares[owner] for owner in owners) <= 2


@given(RATES, st.integers(2, 6), st.integers(1, 6))
def test_the_whole_rate_is_used(rate: float, burst: int, count: int) -> None:
    """With any number of owners the whole rate is used, although each is late by a tenth of an interval."""
    owners = [f"owner {number}" for number in range(count)]
    grants = play(Scheduler(TokenBucket(rate, burst)), owners, 0.0, 50 / rate, late=0.1 / rate)

    assert len(grants) >= burst + 50 - 2


@given(RATES, st.integers(2, 6), st.integers(2, 6))
def test_a_killed_owner_costs_nothing(rate: float, burst: int, count: int) -> None:
    """The others do not wait for an owner that never comes back for its slot."""
    shared = Scheduler(TokenBucket(rate, burst))
    owners = [f"owner {number}" for number in range(count)]
    before = play(shared, owners, 0.0, 20 / rate)
    after = play(shared, owners[1:], 20 / rate, 60 / rate)

    assert len(before) + len(after) >= burst + 60 - 2


def test_a_slot_is_kept_for_a_while() -> None:
    """A reserved slot is not given to another owner before the grace period is over."""
    shared = Scheduler(TokenBucket(1.0, 1))
    assert ask(shared, 0.0, "a") == 0.0
    assert ask(shared, 0.1, "a") == pytest.approx(0.9)

    assert ask(shared, 1.0, "b") == pytest.approx(1.0)
    assert ask(shared, 1.9, "b") == pytest.approx(0.1, abs=0.002)
    assert ask(shared, 1.0 + LONGEST_GRACE + 0.002, "b") == 0.0


def test_a_late_owner_keeps_its_place() -> None:
    """An owner that comes after its slot keeps its place before those that began to wait later, until its lease is over."""
    shared = Scheduler(TokenBucket(1.0, 1))
    ask(shared, 0.0, "a")
    ask(shared, 0.0, "late")
    ask(shared, 2.5, "b")

    assert ask(shared, 2.6, "c") == pytest.approx(0.9)
    assert ask(shared, 3.4, "late") == pytest.approx(0.1)
    assert ask(shared, 3.5, "c") == pytest.approx(1.0)
    assert ask(shared, 3.5, "late") == 0.0
    ask(shared, 4.5, "c")
    assert shared.requesters["c"].due == -float("inf")


def test_a_released_slot_is_free() -> None:
    """A released slot is given to the next owner."""
    shared = Scheduler(TokenBucket(1.0, 1))
    ask(shared, 0.0, "a")
    ask(shared, 0.0, "b")
    assert ask(shared, 0.0, "c") == pytest.approx(2.0)
    shared.perform(BucketCommand("leave", Bucket.POST, "b"), 0.5)

    assert ask(shared, 1.0, "c") == 0.0


def test_interactive_requests_go_before_reserved_batch_slots() -> None:
    """An interactive requester gets the next slot, however many batch slots are reserved, and those move back."""
    shared = Scheduler(TokenBucket(1.0, 1))
    ask(shared, 0.0, "a")
    for number in range(20):
        ask(shared, 0.0, f"batch {number}", rank=2)

    assert ask(shared, 0.5, "person", rank=0) == pytest.approx(0.5)
    assert ask(shared, 1.0, "batch 0", rank=2) == pytest.approx(1.0)
    assert ask(shared, 1.0, "person", rank=0) == 0.0


@given(
    RATES,
    BURSTS,
    st.lists(
        st.tuples(
            st.floats(0, 2),
            st.sampled_from(["acquire", "acquire", "acquire", "give_back", "leave", "throttled", "rejoin"]),
            st.integers(0, 4),
            st.integers(0, 2),
        ),
        max_size=80,
    ),
)
def test_bound_holds_in_any_history(rate: float, burst: int, steps: list[tuple[float, str, int, int]]) -> None:
    """In any history of owners of all ranks, no window has more than burst + rate x window grants that were kept."""
    settings = LimitSettings(post=BucketSettings(rate, burst))
    shared, now, kept = Scheduler(settings.new_bucket(Bucket.POST)), 100.0, list[float]()
    for wait, verb, number, rank in steps:
        now += wait
        owner = f"owner {number}"
        match verb:
            case "acquire":
                if not ask(shared, now, owner, rank, held_back=burst - 1 if rank == 2 else 0):
                    kept.append(now)
            case "give_back":
                if kept:
                    undone = kept[number % len(kept)]
                    if undone in shared.bucket.dump()[1]:
                        kept.remove(undone)
                    shared.perform(BucketCommand("give_back", Bucket.POST, owner, at=undone), now)
            case "throttled":
                shared.perform(BucketCommand("throttled", Bucket.POST, owner, at=kept[-1] if kept else None), now)
            case _:
                shared.perform(BucketCommand("rejoin" if verb == "rejoin" else "leave", Bucket.POST, owner, settle=1.0), now)

    assert worst_window(kept, rate, burst) <= 1e-6


def test_active_members() -> None:
    """An owner that asked in the last minute counts as active; waiting owners are counted by rank."""
    shared = Scheduler(TokenBucket(1.0, 1))
    ask(shared, 0.0, "old")
    ask(shared, 50.0, "a")
    ask(shared, 50.0, "b", rank=2)
    ask(shared, 50.0, "c", rank=1)

    reply = shared.reply("c", 0.0, 50.0)
    assert (reply.others, reply.members) == ((0, 0, 1), 4)
    ask(shared, MEMBERSHIP + 1.0, "a")
    assert set(shared.requesters) == {"a", "b", "c"}


def test_rejoining_after_an_outage() -> None:
    """Owners that come back from an outage get the same moment, at which the bucket is empty; later ones come back at once."""
    shared = Scheduler(TokenBucket(1.0, 5))
    rejoin = BucketCommand("rejoin", Bucket.POST, "a", settle=4.0)
    assert shared.perform(rejoin, 10.0) == pytest.approx(4.0)
    assert shared.perform(attrs.evolve(rejoin, owner="b"), 12.5) == pytest.approx(1.5)

    assert ask(shared, 14.0, "a") == pytest.approx(1.0)
    assert shared.perform(attrs.evolve(rejoin, owner="c"), 15.0) == 0.0
    assert shared.perform(attrs.evolve(rejoin, owner="c"), 100.0) == pytest.approx(4.0)


def test_rejoining_after_two_outages() -> None:
    """An owner that lost the store after the moment of the last outage gets a new one, and so do the others of its outage."""
    shared = Scheduler(TokenBucket(1.0, 5))
    rejoin = BucketCommand("rejoin", Bucket.POST, "a", at=9.0, settle=4.0)
    assert shared.perform(rejoin, 10.0) == pytest.approx(4.0)
    assert shared.perform(attrs.evolve(rejoin, owner="b"), 15.0) == 0.0

    assert shared.perform(attrs.evolve(rejoin, at=14.5), 16.0) == pytest.approx(4.0)
    assert shared.perform(attrs.evolve(rejoin, owner="b", at=15.5), 17.0) == pytest.approx(3.0)
    assert shared.perform(attrs.evolve(rejoin, owner="c", at=15.5), 21.0) == 0.0


def test_a_dump_holds_everything() -> None:
    """Each attribute of a bucket is in its dump, except settings, which the loading process has, and derived values."""
    slots = set(vars(TokenBucket(1.0, 1)))
    settings, derived = {"_adaptive", "_configured_jitter"}, {"jitter", "_is_adapting", "_is_recovering"}

    assert slots == {*arithmetic._NUMBERS, "_grants", *settings, *derived}  # pyright: ignore[reportPrivateUsage]


@given(
    RATES,
    BURSTS,
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from(["take", "take", "give_back", "throttled", "observe"])), max_size=60),
)
def test_a_loaded_bucket_goes_on_like_the_dumped(rate: float, burst: int, steps: list[tuple[float, str]]) -> None:
    """A bucket that is dumped and loaded at every step behaves like one that is not."""
    whole, now, grants = TokenBucket(rate, burst, jitter=0.1), 0.0, list[float]()
    parts = TokenBucket(rate, burst, jitter=0.1)
    for wait, action in steps:
        now += wait
        numbers, remembered = parts.dump()
        parts = TokenBucket(rate, burst, jitter=0.1)
        parts.load(numbers, remembered, now)
        results = list[object]()
        for bucket in (whole, parts):
            match action:
                case "take":
                    results.append(bucket.take(now))
                case "give_back":
                    results.append(bucket.give_back(grants[-1]) if grants else None)
                case "throttled":
                    results.append(bucket.on_throttled(now, granted_at=grants[-1] if grants else 0.0))
                case _:
                    bucket.observe_remaining(now, remaining=1)
        assert len(set(results)) <= 1
        if action == "take" and results[0] == 0.0:
            grants.append(now)

    assert whole.dump() == parts.dump()


def test_a_dump_remembers_the_newest_grants() -> None:
    """Beyond 256 grants, the oldest can no longer be returned, and the others still can."""
    bucket = TokenBucket(128.0, 1)
    times = [number / 128.0 for number in range(300)]
    assert [bucket.take(moment) for moment in times] == [0.0] * 300
    numbers, grants = bucket.dump()
    loaded = TokenBucket(128.0, 1)
    loaded.load(numbers, grants, 3.0)

    assert len(grants) == arithmetic.REMEMBERED
    assert not loaded.give_back(times[0])
    assert loaded.give_back(times[-1])
    assert loaded.full_at == pytest.approx(times[-1])


@pytest.mark.parametrize("ahead", [1.5, 60.0, 900.0, 5_000.0])
def test_a_clock_that_is_a_little_behind(ahead: float) -> None:
    """The times of a bucket from a clock that is seconds or minutes ahead are moved to this clock: no owner waits for the difference."""
    bucket = TokenBucket(1.0, 2, AdaptiveSettings(backoff=1.0))
    now = 10_000.0
    assert [bucket.take(now), bucket.take(now)] == [0.0, 0.0]
    loaded = TokenBucket(1.0, 2, AdaptiveSettings(backoff=1.0))
    loaded.load(*bucket.dump(), now - ahead)
    shared = Scheduler(loaded, {"other": Requester(now, now + 5.0, now, 0)})

    assert loaded.ready_at(now - ahead) == pytest.approx(now - ahead + 1.0)
    shared.perform(BucketCommand("acquire", Bucket.POST, "me"), now - ahead)
    assert "other" not in shared.requesters


def test_a_clock_that_starts_again() -> None:
    """A bucket that was dumped before a restart of the machine counts as dumped now: debts and pauses stay, and get no longer."""
    bucket = TokenBucket(1.0, 2, AdaptiveSettings(backoff=1.0))
    bucket.take(1_000_000.0)
    bucket.on_throttled(1_000_000.0, granted_at=1_000_000.0, delay=10.0)
    loaded = TokenBucket(1.0, 2, AdaptiveSettings(backoff=1.0))
    loaded.load(*bucket.dump(), 5.0)

    assert loaded.take(5.0) == pytest.approx(10.0)
    assert loaded.take(15.0) == 0.0


def test_small_steps_back_are_held() -> None:
    """A time that is behind by less than a second counts as a reading of the same clock in another process."""
    bucket = TokenBucket(1.0, 1)
    bucket.take(100.0)
    loaded = TokenBucket(1.0, 1)
    loaded.load(*bucket.dump(), 99.5)

    assert loaded.take(99.5) == pytest.approx(1.0)
    assert loaded.now == 100.0


def test_other_settings_count_where_nothing_was_learned() -> None:
    """A bucket that is loaded under another rate and burst gets the new ones; a lower rate that was learned is kept."""
    bucket = TokenBucket(10.0, 5)
    bucket.take(0.0)
    faster = TokenBucket(20.0, 8)
    faster.load(*bucket.dump(), 0.0)
    assert (faster.rate, faster.ceiling, faster.burst) == (20.0, 20.0, 8)

    for moment in itertools.accumulate([0.0, 100.0]):
        bucket.take(moment, held_back=99)
        bucket.on_throttled(moment, granted_at=moment)
    learned = bucket.rate
    assert learned < 10.0
    for rate, expected in ((20.0, learned), (1.0, 1.0)):
        other = TokenBucket(rate, 5)
        other.load(*bucket.dump(), 100.0)
        assert other.rate == pytest.approx(expected)
        assert other.ceiling == rate


def test_the_lease_outlives_the_grace() -> None:
    """A place in the order is kept longer than a slot."""
    assert LEASE > LONGEST_GRACE
