"""The queue in front of a bucket: order, cancellation, deadlines, sharing, and clocks that misbehave. In virtual time."""

from __future__ import annotations

import gc
import itertools
import random
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from mux_async.errors import ConfigurationError, LimitWaitError
from mux_async.limits import (
    PRIORITIES,
    AdaptiveSettings,
    Bucket,
    BucketSettings,
    BucketSnapshot,
    LimitEvent,
    LimitSettings,
    Priority,
    RequestDelayed,
    RequestThrottled,
)
from tests.limits.gates import AccountLimits, Gate, Grant, MemoryLimiter, gate_of
from tests.limits.windows import worst_window

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


def make(rate: float = 1.0, burst: int = 2, jitter: float = 0.0, **settings: Any) -> tuple[AccountLimits, Gate]:
    bucket = BucketSettings(rate, burst)
    limits = AccountLimits(LimitSettings(post=bucket, jitter=jitter, **settings), clock=anyio.current_time)
    return limits, gate_of(limits)


async def test_first_come_first_served() -> None:
    """Waiters are served in the order in which they came, an interval apart once the burst is gone."""
    _, gate = make(rate=2.0, burst=3)
    start, served = anyio.current_time(), list[tuple[int, float]]()

    async def wait(number: int) -> None:
        await gate.acquire("default", None)
        served.append((number, round(anyio.current_time() - start, 6)))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
    assert served == [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.5), (4, 1.0), (5, 1.5), (6, 2.0), (7, 2.5)]


async def test_paced_calls_leave_the_burst_alone() -> None:
    """A batch job is let out an interval apart, and a person's call in the middle of it goes at once."""
    _, gate = make(rate=1.0, burst=3)
    start, paced_at, served_at = anyio.current_time(), list[float](), list[float]()

    async def batch() -> None:
        for _ in range(4):
            await gate.acquire("batch", None)
            paced_at.append(anyio.current_time() - start)

    async def person() -> None:
        await anyio.sleep(0.5)
        for _ in range(2):
            await gate.acquire("default", None)
            served_at.append(anyio.current_time() - start)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batch)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(person)
    assert paced_at[0] == 0.0
    assert all(later - earlier >= 1.0 - 1e-9 for earlier, later in itertools.pairwise(paced_at))
    assert len(served_at) == 2


@pytest.mark.parametrize("seed", range(20))
async def test_cancelled_waiters_lose_nothing(seed: int) -> None:
    """With 9 of 10 waiters cancelled at random moments, the others are all served, in order, at the full rate."""
    _, gate = make(rate=10.0, burst=2)
    chance = random.Random(seed)
    start, arrived, served = anyio.current_time(), list[int](), list[int]()
    survivors = [number for number in range(200) if chance.random() < 0.1]

    async def wait(number: int) -> None:
        arrived.append(number)
        patience = float("inf") if number in survivors else chance.choice([0.0, 0.0, chance.uniform(0, 3)])
        with anyio.move_on_after(patience):
            await gate.acquire("default", None)
            if number in survivors:
                served.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(wait, number)
    assert served == [number for number in arrived if number in survivors]
    assert len(gate) == 0
    assert anyio.current_time() - start <= 20.0


async def test_what_is_free_is_had_without_waiting() -> None:
    """While nobody waits a free grant is had at once, and counted; where there is none, nothing is taken."""
    limits, gate = make(rate=1.0, burst=2)

    assert [gate.acquire_nowait("default") is not None for _ in range(3)] == [True, True, False]
    assert gate.acquire_nowait("batch") is None
    assert limits.snapshot().post.granted == 2


async def test_nobody_passes_those_who_wait() -> None:
    """A grant that is there before the first in the queue has woken is the first's, whoever asks for it meanwhile."""
    late = 0.0
    settings = LimitSettings(post=BucketSettings(1.0, 1), jitter=0.0)
    limits = AccountLimits(settings, clock=lambda: anyio.current_time() + late)
    gate = gate_of(limits)
    await gate.acquire("default", None)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.acquire, "default", None)
        await anyio.wait_all_tasks_blocked()
        late = 5.0
        assert gate.acquire_nowait("interactive") is None
    assert limits.snapshot().post.granted == 2


async def test_cancelling_the_first_hands_its_place_on() -> None:
    """When the waiter that sleeps for everybody is cancelled, the next one is served when the first would have been."""
    _, gate = make(rate=1.0, burst=1)
    await gate.acquire("default", None)
    start, served_at = anyio.current_time(), list[float]()

    async def first() -> None:
        with anyio.move_on_after(0.4):
            await gate.acquire("default", None)

    async def second() -> None:
        await gate.acquire("default", None)
        served_at.append(anyio.current_time() - start)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(second)
    assert served_at == [pytest.approx(1.0)]


async def test_a_wait_that_is_too_long_is_refused_at_once() -> None:
    """A caller with less patience than the queue is long is told so at once, with the time it would take."""
    limits, gate = make(rate=1.0, burst=1)
    await gate.acquire("default", None)
    start = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(lambda: gate.acquire("default", None))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LimitWaitError) as caught:
            await gate.acquire("default", 5.9)
        assert anyio.current_time() == start
        assert caught.value.eta == pytest.approx(6.0)
        await gate.acquire("default", 6.1)
    assert anyio.current_time() - start == pytest.approx(6.0)
    assert limits.snapshot().post.queued == 0


async def test_what_was_never_sent_is_not_counted() -> None:
    """A grant that is given back is there for the next request."""
    limits, gate = make(rate=1.0, burst=1)
    start = anyio.current_time()
    await limits.give_back(await gate.acquire("default", None))

    await gate.acquire("default", None)
    assert anyio.current_time() == start


async def test_a_429_holds_everybody() -> None:
    """After a 429 nobody is let out until the pause is over, and then at the sustained rate."""
    limits, gate = make(rate=1.0, burst=5, adaptive=AdaptiveSettings(backoff=1.0))
    grant = await gate.acquire("interactive", None)
    start, served_at = anyio.current_time(), list[float]()
    await limits.on_throttled(grant, 10.0)

    async def wait() -> None:
        await gate.acquire("interactive", None)
        served_at.append(anyio.current_time() - start)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
    assert served_at == [pytest.approx(10.0), pytest.approx(11.0), pytest.approx(12.0)]
    assert limits.snapshot().post.throttled == 1


async def test_a_snapshot_tells_what_is_going_on() -> None:
    """A snapshot shows the queue, the wait and what has been let out, while requests wait."""
    limits, gate = make(rate=1.0, burst=2)
    snapshots: list[BucketSnapshot] = []

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(lambda: gate.acquire("default", None))
        await anyio.wait_all_tasks_blocked()
        snapshots.append(limits.snapshot().post)
    (seen,) = snapshots
    assert (seen.queued, seen.granted, seen.rate, seen.burst) == (2, 2, 1.0, 2)
    assert seen.level == pytest.approx(0.0)
    assert seen.eta == pytest.approx(3.0)
    assert limits.snapshot().post.waited == pytest.approx(3.0)


async def test_clients_of_one_account_share() -> None:
    """The same base URL and account give the same limits, others give others, and nothing outlives its clients."""
    one = AccountLimits.shared("https://a.test", "acme", None)

    assert AccountLimits.shared("https://a.test", "acme", LimitSettings()) is one
    assert AccountLimits.shared("https://a.test", "other", None) is not one
    assert AccountLimits.shared("https://b.test", "acme", None) is not one
    with pytest.raises(ConfigurationError, match="has other limits"):
        AccountLimits.shared("https://a.test", "acme", LimitSettings(guaranteed_share=0.2))
    del one
    gc.collect()
    assert AccountLimits.shared("https://a.test", "acme", LimitSettings(guaranteed_share=0.2)).settings.guaranteed_share == 0.2


@pytest.mark.parametrize("seed", range(10))
async def test_bound_holds_under_a_storm(seed: int) -> None:
    """Arrivals, cancellations, give-backs and pacing at random: no window sees more than burst + rate x window."""
    rate, burst = 4.0, 3
    limits, gate = make(rate, burst)
    chance = random.Random(seed)
    used: list[float] = []

    async def work() -> None:
        await anyio.sleep(chance.uniform(0, 20))
        with anyio.move_on_after(chance.choice([0.0, 1.0, 100.0])):
            priority = chance.choice(PRIORITIES)
            grant = gate.acquire_nowait(priority) or await gate.acquire(priority, None)
            if chance.random() < 0.2:
                await limits.give_back(grant)
            else:
                used.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        for _ in range(150):
            tasks.start_soon(work)
    assert worst_window(sorted(used), rate, burst) <= 1e-6
    assert len(gate) == 0


async def test_a_person_goes_before_a_batch() -> None:
    """With 5,000 batch creates queued, an interactive call is let out within one grant interval."""
    _, gate = make(rate=1.0, burst=2)
    person: list[float] = []

    async def wait(priority: Priority) -> None:
        await gate.acquire(priority, None)

    async with anyio.create_task_group() as tasks:
        for _ in range(5000):
            tasks.start_soon(wait, "batch")
        await anyio.sleep(10.5)
        for _ in range(3):
            start = anyio.current_time()
            await gate.acquire("interactive", None)
            person.append(anyio.current_time() - start)
        assert person[0] == 0.0
        assert max(person) <= 1.0 + 1e-6
        assert 4980 <= len(gate) <= 4990
        tasks.cancel_scope.cancel()
    assert len(gate) == 0


async def test_nobody_starves() -> None:
    """While interactive calls alone would use up the account, default and batch calls get their floor of a tenth each."""
    _, gate = make(rate=10.0, burst=5)
    served: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)

    async def ask(priority: Priority) -> None:
        while True:
            await gate.acquire(priority, None)
            served[priority] += 1

    async with anyio.create_task_group() as tasks:
        for priority in PRIORITIES:
            for _ in range(4):
                tasks.start_soon(ask, priority)
        await anyio.sleep(100.0)
        tasks.cancel_scope.cancel()
    assert served["batch"] >= 95
    assert served["default"] >= 95
    assert served["interactive"] >= 750
    assert sum(served.values()) == pytest.approx(1005, abs=2)


async def test_a_share_of_the_burst_is_kept_for_people() -> None:
    """Default calls leave a fifth of the burst, and batch calls leave all of it but one."""
    _, gate = make(rate=0.001, burst=10)

    async def at_once(priority: Priority) -> int:
        count = 0
        with anyio.move_on_after(0.5):
            while True:
                await gate.acquire(priority, None)
                count += 1
        return count

    assert [await at_once(priority) for priority in ("batch", "default", "interactive")] == [1, 7, 2]


@pytest.mark.parametrize("queued", [0, 1, 3])
async def test_the_estimate_by_the_floor(queued: int) -> None:
    """Behind many people, a batch call waits by its class's floor: one turn for each of its class that waits, and its own."""
    _, gate = make(rate=1.0, burst=1, guaranteed_share=0.1)
    turn = (1.0 / 0.1 - 1.0) / 1.0
    eta: float | None = None
    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(gate.acquire, "interactive", None)
        await anyio.wait_all_tasks_blocked()
        for _ in range(queued):
            tasks.start_soon(gate.acquire, "batch", None)
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(LimitWaitError) as caught:
            await gate.acquire("batch", 0.5)
        eta = caught.value.eta
        tasks.cancel_scope.cancel()

    assert eta == pytest.approx((queued + 1) * turn)


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_a_closed_bucket_refuses_at_once(priority: Priority) -> None:
    """A call that a closed bucket cannot let out within its patience is refused at once, in classes with a floor too."""
    limits, gate = make(rate=5.0, burst=1)
    await limits.on_throttled(await gate.acquire("interactive", None), 30.0)
    start = anyio.current_time()
    with pytest.raises(LimitWaitError) as caught:
        await gate.acquire(priority, 20.0)

    assert anyio.current_time() == start
    assert caught.value.eta >= 30.0


async def test_waits_and_refusals_are_told() -> None:
    """A listener hears of every wait and every 429, and of nothing once it is gone."""
    limits, gate = make(rate=1.0, burst=1)
    heard: list[LimitEvent] = []
    with limits.listen(heard.append):
        await gate.acquire("default", None)
        grant = await gate.acquire("batch", None)
        await limits.on_throttled(grant, 3.0)
    await gate.acquire("default", None)

    waited, refused = heard
    assert isinstance(waited, RequestDelayed)
    assert isinstance(refused, RequestThrottled)
    assert (waited.bucket, waited.priority) == (Bucket.POST, "batch")
    assert waited.seconds == pytest.approx(1.0)
    assert (refused.bucket, refused.closed_for) == (Bucket.POST, 3.0)
    assert refused.rate == pytest.approx(0.7)


async def test_a_forecast_is_kept() -> None:
    """What the forecast says a hundred requests take, by class, is what they then take."""
    for priority in PRIORITIES:
        limits, gate = make(rate=2.0, burst=10)
        forecast = limits.forecast({Bucket.POST: 100})
        start = anyio.current_time()

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(gate.acquire, priority, None)
        assert anyio.current_time() - start == pytest.approx(getattr(forecast, priority))


async def test_forecasts_and_etas_count_the_queue() -> None:
    """A forecast made while requests wait includes them, and so does the time of a refusal."""
    limits, gate = make(rate=1.0, burst=1)

    async with anyio.create_task_group() as tasks:
        for _ in range(11):
            tasks.start_soon(gate.acquire, "default", None)
        await anyio.wait_all_tasks_blocked()
        forecast = limits.forecast({Bucket.POST: 10})
        assert forecast.default == pytest.approx(20.0)
        assert forecast.interactive == pytest.approx(10.0)
        tasks.cancel_scope.cancel()


class Interrupting(MemoryLimiter):
    """Calls a function at the very moment at which a grant is made, before anybody has it."""

    interrupt: Callable[[], object] = staticmethod(lambda: None)

    async def acquire(self, bucket: Bucket, *, held_back: int, rank: int) -> Grant | float:
        outcome = await super().acquire(bucket, held_back=held_back, rank=rank)
        if isinstance(outcome, Grant):
            self.interrupt()
        return outcome


async def test_a_grant_that_meets_a_cancellation_goes_back() -> None:
    """A person who is handed a grant and cancelled in the same moment gives it back, and the next one gets it then."""
    settings = LimitSettings(post=BucketSettings(rate=0.1, burst=1), jitter=0.0)
    limiter = Interrupting(settings, anyio.current_time)
    limits = AccountLimits(settings, limiter, anyio.current_time)
    gate = gate_of(limits)
    await gate.acquire("default", None)
    start, served_at = anyio.current_time(), list[float]()
    person = anyio.CancelScope()
    got: list[Grant] = []

    async def batch() -> None:
        await gate.acquire("batch", None)
        served_at.append(anyio.current_time() - start)

    async def come() -> None:
        with person:
            got.append(await gate.acquire("interactive", None))

    def cancel() -> None:
        limiter.interrupt = lambda: None
        person.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batch)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(come)
        await anyio.wait_all_tasks_blocked()
        limiter.interrupt = cancel  # the batch call leads; it will hand the person the next grant
    assert got == []
    assert served_at == [pytest.approx(10.0)]
    assert limits.snapshot().post.queued == 0


async def test_a_grant_that_comes_back_is_used_at_once() -> None:
    """When a request could not be sent, the first in the queue does not sleep on: it goes with the grant that came back."""
    limits = AccountLimits(LimitSettings(post=BucketSettings(rate=0.1, burst=1)), clock=anyio.current_time)
    gate = gate_of(limits)
    unsent = await gate.acquire("default", None)
    start, served_at = anyio.current_time(), list[float]()

    async def wait() -> None:
        await gate.acquire("default", None)
        served_at.append(anyio.current_time() - start)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.5)
        await limits.give_back(unsent)
    assert served_at == [pytest.approx(0.5)]


@pytest.mark.parametrize("rate", [3.0, 7.0, 11.0])
async def test_a_wait_too_short_for_the_clock_ends(rate: float) -> None:
    """After weeks of uptime a clock moves in coarser steps; what rounding leaves of a wait does not keep the queue spinning for ever."""
    await anyio.sleep(2.0**20)
    base = anyio.current_time()
    limits = AccountLimits(LimitSettings(post=BucketSettings(rate, burst=1)), clock=lambda: anyio.current_time() - base)
    gate = gate_of(limits)
    for _ in range(50):
        await gate.acquire("default", None)

    assert anyio.current_time() - base == pytest.approx(49 / rate, abs=1e-3)


async def test_a_clock_that_is_set_back_holds_nobody_up() -> None:
    """When the clock goes back by an hour, the queue goes on at its rate, neither faster nor an hour later."""
    offset = 0.0
    limits = AccountLimits(LimitSettings(post=BucketSettings(rate=1.0, burst=1)), clock=lambda: anyio.current_time() + offset)
    gate = gate_of(limits)
    start, served_at = anyio.current_time(), list[float]()

    async def wait() -> None:
        await gate.acquire("default", None)
        served_at.append(anyio.current_time() - start)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(wait)
        await anyio.sleep(1.5)
        offset = -3600.0
    assert served_at[:2] == pytest.approx([0.0, 1.0])
    assert served_at[2] <= 3.0 + 1e-3
    assert [later - earlier for earlier, later in itertools.pairwise(served_at[2:])] == pytest.approx([1.0, 1.0])
