"""How a queue waits: the sleep of its leader and the events of the others, on asyncio (a timer, futures) and on trio (scopes, events)."""

from __future__ import annotations

import asyncio
import gc
import weakref

import anyio
import anyio.lowlevel
import pytest

from mux_async._leader import InterruptibleSleep, OneShotEvent, event_factory, make_sleep
from mux_async.limits import Bucket, LimitSettings
from mux_async.transport import current_loop
from tests.limits.gates import AccountLimits

pytestmark = pytest.mark.anyio


def sleep_here() -> InterruptibleSleep:
    return make_sleep(anyio.lowlevel.current_token().native_token)


async def test_it_ends_by_itself() -> None:
    """A sleep that is not ended lasts as long as was asked for, and can be taken again."""
    sleep = sleep_here()
    for _ in range(2):
        before = anyio.current_time()
        await sleep.sleep(0.01)
        assert anyio.current_time() - before >= 0.009
        assert not sleep.is_asleep


async def test_it_can_be_cut_short() -> None:
    """`wake` ends it for the sleeper, any number of times, and does nothing without a sleeper."""
    sleep = sleep_here()
    sleep.wake()
    woken = anyio.Event()

    async def sleeper() -> None:
        await sleep.sleep(3600.0)
        woken.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleeper)
        await anyio.wait_all_tasks_blocked()
        assert sleep.is_asleep
        sleep.wake()
        sleep.wake()
        with anyio.fail_after(10):
            await woken.wait()
    assert not sleep.is_asleep


async def test_a_cancelled_sleeper_leaves_nothing() -> None:
    """Cancelling the sleeper ends the sleep; the next one is not disturbed by it."""
    sleep = sleep_here()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await sleep.sleep(3600.0)
    assert scope.cancelled_caught
    assert not sleep.is_asleep
    await sleep.sleep(0.001)


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


def event_here() -> OneShotEvent:
    return event_factory(anyio.lowlevel.current_token().native_token)()


async def test_an_event_wakes_its_waiter() -> None:
    """A waiter waits until its event is set; setting it again does nothing."""
    event = event_here()
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


async def test_an_event_of_somebody_who_left() -> None:
    """An event may be set after its waiter was cancelled."""
    event, scope = event_here(), anyio.CancelScope()

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
