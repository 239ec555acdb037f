"""Moments that chance rarely finds: a grant that meets a cancellation, a permit that comes back, and clocks that misbehave."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from mux_async.limits import Bucket, BucketSettings, LimitSettings
from mux_async.limits._account import AccountLimits
from mux_async.limits._gate import Gate
from mux_async.limits._limiter import Grant, MemoryLimiter

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Interrupting(MemoryLimiter):
    """Calls a function at the very moment at which a grant is made, before anybody has it."""

    interrupt: Callable[[], object] = staticmethod(lambda: None)

    async def acquire(self, bucket: Bucket, *, held_back: int, rank: int) -> Grant | float:
        outcome = await super().acquire(bucket, held_back=held_back, rank=rank)
        if isinstance(outcome, Grant):
            self.interrupt()
        return outcome


def gate_of(limits: AccountLimits) -> Gate:
    return limits.gate(anyio.lowlevel.current_token().native_token, Bucket.POST)


async def test_a_grant_that_meets_a_cancellation_goes_back() -> None:
    """A person who is handed a permit and cancelled in the same moment gives it back, and the next one gets it then."""
    settings = LimitSettings(post=BucketSettings(rate=0.1, burst=1), jitter=0.0)
    backend = Interrupting(settings, anyio.current_time)
    limits = AccountLimits(settings, backend, anyio.current_time)
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
        backend.interrupt = lambda: None
        person.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batch)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(come)
        await anyio.wait_all_tasks_blocked()
        backend.interrupt = cancel  # the batch call leads; it will hand the person the next grant
    assert got == []
    assert served_at == [pytest.approx(10.0)]
    assert limits.snapshot().post.queued == 0


async def test_a_permit_that_comes_back_is_used_at_once() -> None:
    """When a request could not be sent, the first in the queue does not sleep on: it goes with the permit that came back."""
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
