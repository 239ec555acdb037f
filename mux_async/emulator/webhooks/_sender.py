"""Carries webhook deliveries, and lets time pass while nobody asks for anything.

The emulator only plans deliveries. A courier sleeps until the next planned thing, or until something happens earlier, takes what is due
and hands each attempt to a carrier: a function that sends one request and returns the status. To one endpoint it sends one at a time, so
that events arrive in the order they happened in (unless a fault says otherwise); a slow endpoint holds up only itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Protocol, TypeAlias

import anyio
from anyio.abc import TaskGroup

from mux_async.emulator.webhooks._deliveries import WebhookRequest

Carrier: TypeAlias = Callable[[WebhookRequest], Awaitable[int]]
"""Sends one attempt and returns the status of the answer. May raise `OSError` or `TimeoutError` when there is none; its time limit is
the request's ``timeout`` and is kept by the courier."""

_SHORTEST = 0.001
"""Seconds: clocks that count from 1970 tell no shorter times apart reliably."""


class Post(Protocol):
    """The half of an `Emulator` that a courier needs."""

    def advance(self) -> float | None: ...

    def take_webhooks(self, busy: Collection[str] | None = None, /) -> list[WebhookRequest]: ...

    def settle_webhook(self, delivery_id: str, status: int | None, error: str | None = None) -> None: ...

    def watch(self, notice: Callable[[], None], /) -> Callable[[], None]: ...

    @property
    def now(self) -> float: ...


async def carry_webhooks(emulator: Post, carrier: Carrier) -> None:
    """Run until cancelled: let time pass, and carry every delivery that becomes due.

    What is under way when it is cancelled counts as unanswered, and is tried again by the next courier.
    """
    courier = _Courier(emulator, carrier)
    stop_watching = emulator.watch(courier.wake)
    try:
        async with anyio.create_task_group() as tasks:
            await courier.run(tasks)
    finally:
        stop_watching()


@asynccontextmanager
async def carrying(emulator: Post, carrier: Carrier) -> AsyncGenerator[None, None]:
    """Carry deliveries while the block runs; see `carry_webhooks`. Enter and leave it in one task."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(carry_webhooks, emulator, carrier)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below: left to the task group, it would come out in a group of one
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _Courier:
    def __init__(self, emulator: Post, carrier: Carrier) -> None:
        self._emulator = emulator
        self._carrier = carrier
        self._woken = anyio.Event()
        self._busy: set[str] = set()

    def wake(self) -> None:
        self._woken.set()

    async def run(self, tasks: TaskGroup) -> None:
        while True:
            self._woken = anyio.Event()
            next_at = self._emulator.advance()
            for request in self._emulator.take_webhooks(self._busy):
                self._busy.add(request.endpoint_id)
                tasks.start_soon(self._carry, request)
            if next_at is None:
                await self._woken.wait()
            else:
                with anyio.move_on_after(max(_SHORTEST, next_at - self._emulator.now)):
                    await self._woken.wait()

    async def _carry(self, request: WebhookRequest) -> None:
        status: int | None = None
        error: str | None = "no answer in time"
        with anyio.move_on_after(request.timeout):
            try:
                status, error = await self._carrier(request), None
            except (OSError, TimeoutError) as problem:
                error = str(problem) or type(problem).__name__
        self._busy.discard(request.endpoint_id)
        self._emulator.settle_webhook(request.delivery_id, status, error)
