"""A long queue: what waiting in it costs, and that leaving it and passing it with a higher priority work at any length.

The full size, 100,000, and CPU time are in `benchmarks/limiter.py`; here is what a busy machine cannot make fail.
"""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest

from mux_async import BucketSettings, LimitSettings, Mux
from mux_async.limits import Bucket, Priority
from mux_async.testing import FakeTransport, SentRequest, respond
from tests.limits.gates import AccountLimits, Gate, gate_of

pytestmark = pytest.mark.proof

MANY = 20_000


def make(rate: float, burst: int, loop: object | None = None) -> tuple[AccountLimits, Gate]:
    limits = AccountLimits(LimitSettings(post=BucketSettings(rate, burst)), clock=anyio.current_time)
    return limits, limits.gate(loop or anyio.lowlevel.current_token().native_token, Bucket.POST)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_nine_of_ten_leave() -> None:
    """Of 20,000 in the queue nine in ten are cancelled at random moments: the others are served in order, and no grant is lost."""
    rate, burst = 50.0, 5
    limits, gate = make(rate, burst)
    chance = random.Random(1)
    stays = [chance.random() < 0.1 for _ in range(MANY)]
    arrived: list[int] = []
    served: list[int] = []
    used: list[float] = []
    start = anyio.current_time()

    async def wait(number: int, patience: float) -> None:
        arrived.append(number)
        with anyio.move_on_after(patience):
            await gate.acquire("default", None)
            used.append(anyio.current_time())
            if stays[number]:
                served.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(MANY):
            tasks.start_soon(wait, number, float("inf") if stays[number] else chance.uniform(0, 20))
    assert len(served) == sum(stays)
    assert served == [number for number in arrived if stays[number]]
    assert len(used) == pytest.approx(burst + rate * (used[-1] - start), abs=0.5 + rate * limits.settings.jitter)
    assert limits.snapshot().post.granted == len(used)
    assert limits.snapshot().post.queued == 0


async def wait_for(event: anyio.Event) -> None:
    await event.wait()


async def bytes_each(start: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """Return what one of many waiting tasks holds, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tasks = [asyncio.ensure_future(start()) for _ in range(MANY)]
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return (after - before) / MANY


@pytest.mark.asyncio
async def test_waiting_costs_little_memory() -> None:
    """A place in the queue takes less than 300 bytes beyond a task that waits for an event."""

    def bare() -> Coroutine[Any, Any, object]:
        return wait_for(anyio.Event())

    _, gate = make(0.001, 1, asyncio.get_running_loop())
    await gate.acquire("default", None)

    assert await bytes_each(lambda: gate.acquire("default", None)) - await bytes_each(bare) < 300
    assert len(gate) == 0


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_an_interactive_call_before_a_batch() -> None:
    """With 50,000 batch creates in the queue, an interactive one is sent within one interval, and batch keeps its guaranteed share."""
    rate, floor = 1.0, 0.1
    written: list[tuple[float, str]] = []

    def answer(request: SentRequest) -> Any:
        written.append((anyio.current_time(), request.json["passthrough"]))
        return respond(201, json={"data": {"id": "a"}})

    account = f"crowd-{uuid4()}"
    mux = Mux(
        token_id="id",
        token_secret="secret",
        transport=FakeTransport(answer),
        limits=LimitSettings(post=BucketSettings(rate, 2)),
        clock=anyio.current_time,
        account=account,
    )

    async def create(priority: Priority) -> None:
        body = {"inputs": [{"url": "https://example.com/film.mp4"}], "passthrough": priority}
        await mux.with_options(priority=priority).request("POST", "/video/v1/assets", body=body)

    waits: list[float] = []
    begin = end = 0.0
    queue = gate_of(AccountLimits.shared(mux.base_url, account, None))
    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(create, "batch")
        await anyio.wait_all_tasks_blocked()
        for _ in range(49_000):  # behind those, and too far back to be sent
            tasks.start_soon(queue.acquire, "batch", None)
        await anyio.wait_all_tasks_blocked()
        for _ in range(20):
            await anyio.sleep(7.3)
            start = anyio.current_time()
            await create("interactive")
            waits.append(anyio.current_time() - start)
        begin = anyio.current_time()
        for _ in range(100):
            await create("interactive")
        end = anyio.current_time()
        tasks.cancel_scope.cancel()
    assert len(waits) == 20
    assert max(waits) <= 1 / rate + 1e-6
    assert sum(who == "batch" and at > begin for at, who in written) >= floor * rate * (end - begin) - 1
    assert sum(who == "interactive" and at > begin for at, who in written) >= (1 - 3 * floor) * rate * (end - begin)
