"""Leader election among tasks that wait: one of them works for all, the others sleep until an event is set.

There is no background task: such a task would need an owner, which a client used without ``async with`` does not have. A leader that has
what it waited for, or is cancelled, hands over to the next task. Nothing keeps running when no task waits.

anyio's cancel scopes and events work on any event loop. On asyncio a timer and a future do the same for less than half of the cost (5
microseconds of CPU against 12 for a sleep, and a quarter of an event's memory), which every paced grant of the rate limit pays.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import anyio

if TYPE_CHECKING:
    import asyncio


class OneShotEvent(Protocol):
    """Wakes one task, once."""

    def wait(self) -> Awaitable[object]:
        """Wait for `set`."""
        ...

    def set(self) -> object:
        """Wake the task, which must be waiting already."""
        ...


class Candidate(Protocol):
    """A task that waits, or an object that stands for it."""

    @property
    def event(self) -> OneShotEvent | None:
        """What it waits for while it does not lead: set when it has its result, or becomes the leader."""
        ...


C = TypeVar("C", bound=Candidate)


class LeaderElection(Generic[C]):
    """At most one leader at a time.

    Attributes:
        leader: Of now.
    """

    __slots__ = ("leader",)

    def __init__(self) -> None:
        self.leader: C | None = None

    def try_lead(self, candidate: C) -> bool:
        """Make *candidate* the leader if there is none. Returns whether it leads; if not, it has to wait for its event."""
        if self.leader is None:
            self.leader = candidate
        return self.leader is candidate

    def leave(self, candidate: C, successor: Callable[[], C | None]) -> None:
        """Hand over if *candidate*, which waits no longer, was the leader. Called on every way out.

        *successor* returns the candidate that leads next; ``None`` if no task waits.
        """
        if self.leader is candidate:
            self.leader = None
        if self.leader is None and (following := successor()) is not None and following.event is not None:
            self.leader = following
            following.event.set()


def make_sleep(loop: object) -> _AsyncioSleep | _AnyioSleep:
    """Return a sleep of one task at a time, which others can end, for the event loop that anyio's token calls *loop*."""
    import asyncio  # here and below, because importing it takes longer than importing this client does

    # It does not keep *loop*: what belongs to an event loop must not hold it.
    return _AsyncioSleep(asyncio.get_running_loop) if isinstance(loop, asyncio.AbstractEventLoop) else _AnyioSleep()


def event_factory(loop: object) -> Callable[[], OneShotEvent]:
    """Return the constructor of events for the event loop that anyio's token calls *loop*."""
    import asyncio

    return partial(_AsyncioEvent, asyncio.get_running_loop) if isinstance(loop, asyncio.AbstractEventLoop) else anyio.Event


class _AsyncioSleep:
    __slots__ = ("_running_loop", "_wakeup")

    def __init__(self, running_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._running_loop = running_loop
        self._wakeup: asyncio.Future[None] | None = None

    @property
    def is_asleep(self) -> bool:
        return self._wakeup is not None

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds*, which are more than 0, or until `wake`."""
        loop = self._running_loop()
        self._wakeup = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self._wakeup
        finally:
            timer.cancel()
            self._wakeup = None

    def wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)


class _AnyioSleep:
    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None

    @property
    def is_asleep(self) -> bool:
        return self._scope is not None

    async def sleep(self, seconds: float) -> None:
        try:
            with anyio.CancelScope() as self._scope:
                await anyio.sleep(seconds)
        finally:
            self._scope = None

    def wake(self) -> None:
        if self._scope is not None:
            self._scope.cancel()


class _AsyncioEvent:
    __slots__ = ("_future", "_running_loop")

    def __init__(self, running_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._running_loop = running_loop
        self._future: asyncio.Future[None]

    def wait(self) -> Awaitable[None]:
        self._future = self._running_loop().create_future()
        return self._future

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
