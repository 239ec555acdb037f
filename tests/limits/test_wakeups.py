"""How a queue waits: the nap of its leader and the bells of the others, on asyncio (a timer, futures) and on trio (scopes, events)."""

from __future__ import annotations

import asyncio
import gc
import weakref

import anyio
import anyio.lowlevel
import pytest

from mux_async._leader import InterruptibleSleep, OneShotEvent, event_factory, make_sleep
from mux_async.limits import Bucket, LimitSettings
from mux_async.limits._account import AccountLimits
from mux_async.transport import current_loop

pytestmark = pytest.mark.anyio


def nap_here() -> InterruptibleSleep:
    return make_sleep(anyio.lowlevel.current_token().native_token)


async def test_it_ends_by_itself() -> None:
    """A nap that nobody ends lasts as long as was asked for, and can be taken again."""
    nap = nap_here()
    for _ in range(2):
        before = anyio.current_time()
        await nap.sleep(0.01)
        assert anyio.current_time() - before >= 0.009
        assert not nap.is_asleep


async def test_it_can_be_cut_short() -> None:
    """`end` wakes the sleeper, any number of times, and does nothing where nobody sleeps."""
    nap = nap_here()
    nap.wake()
    woken = anyio.Event()

    async def sleeper() -> None:
        await nap.sleep(3600.0)
        woken.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleeper)
        await anyio.wait_all_tasks_blocked()
        assert nap.is_asleep
        nap.wake()
        nap.wake()
        with anyio.fail_after(10):
            await woken.wait()
    assert not nap.is_asleep


async def test_a_cancelled_sleeper_leaves_nothing() -> None:
    """Cancelling the sleeper ends the nap; the next one is not disturbed by it."""
    nap = nap_here()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await nap.sleep(3600.0)
    assert scope.cancelled_caught
    assert not nap.is_asleep
    await nap.sleep(0.001)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_limits_do_not_keep_the_event_loop() -> None:
    """Limits that outlive an event loop in which somebody waited let go of it once they are used in another one."""
    limits = AccountLimits(LimitSettings())

    def use() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = asyncio.new_event_loop()
        gate = limits.gate(loop, Bucket.POST)
        loop.run_until_complete(gate.acquire("batch", None))
        loop.run_until_complete(gate.acquire("batch", None))
        loop.close()
        return weakref.ref(loop)

    gone = await anyio.to_thread.run_sync(use)
    limits.gate(current_loop(), Bucket.POST)
    gc.collect()
    assert gone() is None


def bell_here() -> OneShotEvent:
    return event_factory(anyio.lowlevel.current_token().native_token)()


async def test_a_bell_wakes_its_waiter() -> None:
    """A waiter waits until its bell is rung; ringing again does nothing."""
    event = bell_here()
    woken = anyio.Event()

    async def waiter() -> None:
        await event.wait()
        woken.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter)
        await anyio.wait_all_tasks_blocked()
        assert not woken.is_set()
        event.set()
        event.set()
        with anyio.fail_after(10):
            await woken.wait()


async def test_a_bell_of_somebody_who_left() -> None:
    """A bell may be rung after its waiter was cancelled."""
    event, scope = bell_here(), anyio.CancelScope()

    async def waiter() -> None:
        with scope:
            await event.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        event.set()
        await anyio.wait_all_tasks_blocked()
        event.set()

    assert scope.cancelled_caught
