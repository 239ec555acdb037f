"""Sends webhook deliveries, and runs scheduled steps while no requests arrive.

The emulator only schedules deliveries. The sender sleeps until the next step is due or something is scheduled earlier, takes the due
deliveries, and passes each attempt to a carrier: a function that sends one request and returns the status. An endpoint gets one request at
a time, so that events arrive in order (unless a fault changes that); a slow endpoint delays only its own deliveries.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Protocol, TypeAlias

import anyio
from anyio.abc import TaskGroup

from mux_async.emulator.webhooks._deliveries import WebhookRequest

Carrier: TypeAlias = Callable[[WebhookRequest], Awaitable[int]]
"""Sends one attempt and returns the status of the response. May raise `OSError` or `TimeoutError`. The sender enforces the request's
``timeout``."""

_SHORTEST = 0.001
"""Seconds. Clocks that count from 1970 do not resolve shorter times reliably."""


class WebhookSource(Protocol):
    """The part of an `Emulator` that the sender needs."""

    def advance(self) -> float | None: ...

    def take_webhooks(self, busy: Collection[str] | None = None, /) -> list[WebhookRequest]: ...

    def settle_webhook(self, delivery_id: str, status: int | None, error: str | None = None) -> None: ...

    def watch(self, notice: Callable[[], None], /) -> Callable[[], None]: ...

    @property
    def now(self) -> float: ...


async def carry_webhooks(emulator: WebhookSource, carrier: Carrier) -> None:
    """Run until cancelled: run scheduled steps, and send every delivery that becomes due.

    Attempts that are in flight when it is cancelled count as failed, and the next call retries them.
    """
    sender = _WebhookSender(emulator, carrier)
    stop_watching = emulator.watch(sender.wake)
    try:
        async with anyio.create_task_group() as tasks:
            await sender.run(tasks)
    finally:
        stop_watching()


@asynccontextmanager
async def carrying(emulator: WebhookSource, carrier: Carrier) -> AsyncGenerator[None, None]:
    """Send deliveries while the block runs; see `carry_webhooks`. Enter and leave it in one task."""
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


class _WebhookSender:
    def __init__(self, emulator: WebhookSource, carrier: Carrier) -> None:
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
