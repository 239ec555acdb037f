"""The queue in front of a bucket, for one event loop: everybody gets through in turn, and nobody is lost.

The naive way is a task that hands out grants, or a lock around "sleep until free". The first needs an owner that a client used
without ``async with`` does not have; the second admits waiters in any order and holds up everybody when its holder is cancelled. Here
one of those who wait *leads*: it asks the backend, sleeps, and hands the grant to whoever is next (`Line`), until that is itself. On
leaving, served or cancelled, it names the next leader. So:

1. Only the leader talks to the backend.
2. Leaving is one synchronous step (`_leave`), reached on every way out.
3. A waiter that is cancelled at the very moment when it was handed a grant gives it back.
4. Somebody who comes in and is next (a person, in front of a batch) wakes the leader, which would sleep too long otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import anyio

from mux_async._operation import Bucket
from mux_async.errors import LimitWaitError
from mux_async.limits._backend import Grant, LimitBackend
from mux_async.limits._line import PRIORITIES, Line, Place, Priority
from mux_async.limits._nap import Bell, bell_for, make_nap
from mux_async.limits._settings import LimitSettings

_NO_WAIT: Final = 0.001
"""Seconds below which a grant counts as had at once."""
_SHORTEST_SLEEP: Final = 1e-6
"""Seconds. What rounding leaves of a wait can be too little for a clock to move at all."""


class Tally:
    """What has gone through a bucket, in all event loops together: grants, seconds waited for them, answers of 429."""

    __slots__ = ("granted", "refused", "waited")

    def __init__(self) -> None:
        self.granted = 0
        self.waited = 0.0
        self.refused = 0


class _Waiter(Place):
    """One request in the queue. Its `bell` rings when it has its grant, or is to lead; the first to come has none, and leads at once."""

    __slots__ = ("bell", "grant", "priority")

    def __init__(self, priority: Priority) -> None:
        super().__init__()
        self.priority: Priority = priority
        self.grant: Grant | None = None
        self.bell: Bell | None = None


class Gate:
    """Lets requests through to one bucket.

    Args:
        backend: Keeps the bucket.
        bucket: Which.
        settings: How it is shared out among the classes.
        clock: Monotonic seconds.
        tally: Where to count.
        on_wait: Told the class and the seconds of every request that had to wait.
        loop: The event loop that it is for, as ``anyio.lowlevel.current_token().native_token``.
    """

    def __init__(
        self,
        backend: LimitBackend,
        bucket: Bucket,
        settings: LimitSettings,
        clock: Callable[[], float],
        tally: Tally,
        on_wait: Callable[[Priority, float], None],
        loop: object,
    ) -> None:
        self._backend = backend
        self._bucket = bucket
        self._clock = clock
        self._tally = tally
        self._on_wait = on_wait
        allowance = settings.bucket(bucket)
        self._terms = {
            priority: (settings.left_by(priority, allowance.burst), rank) for rank, priority in enumerate(PRIORITIES)
        }
        """For each class: what it leaves of a burst, and its rank."""
        # One interval less than the floor says: it passes until the next grant is there.
        self._patience = (1.0 / settings.floor - 1.0) / allowance.rate if settings.floor else math.inf
        self._line: Line[_Waiter] = Line()
        self._leader: _Waiter | None = None
        self._nap = make_nap(loop)
        """The leader's."""
        self._new_bell = bell_for(loop)

    def __len__(self) -> int:
        return self._line.size

    def queued(self, priority: Priority) -> int:
        """Return how many requests of one class wait."""
        return self._line.count(priority)

    def eta(self, priority: Priority) -> float:
        """Estimate how many seconds a request arriving now would wait, if nobody came in front of it."""
        leave, rank = self._terms[priority]
        estimate = self._backend.wait(self._bucket, leave=leave, rank=rank, ahead=self._line.ahead(priority))
        if priority != "interactive" and estimate > self._patience:
            # Its floor may serve it sooner than its turn, but nothing does before there is a grant at all.
            soonest = self._backend.wait(self._bucket, leave=leave, rank=rank, ahead=0)
            estimate = min(estimate, max(soonest, (self._line.count(priority) + 1) * self._patience))
        return estimate

    def acquire_now(self, priority: Priority) -> Grant | None:
        """Return a grant if nobody waits and there is one; ``None`` when `acquire` has to be awaited."""
        if self._leader is not None or self._line.size:
            return None
        grant = self._backend.take_now(self._bucket, leave=self._terms[priority][0])
        if grant is not None:
            self._tally.granted += 1
        return grant

    async def acquire(self, priority: Priority, patience: float | None) -> Grant:
        """Wait for a turn and a grant.

        Args:
            priority: Class of service.
            patience: Seconds that the caller can wait; ``None`` for any time.

        Raises:
            LimitWaitError: The wait cannot end within *patience*. Raised at once; nothing was taken.
        """
        if (at_once := self.acquire_now(priority)) is not None:
            return at_once
        if patience is not None and (eta := self.eta(priority)) > patience:
            raise LimitWaitError(
                f"the rate limit's {self._bucket.value!r} bucket has no permit within {patience:.3g} s: "
                f"the wait is about {eta:.3g} s, with {self._line.ahead(priority)} requests ahead",
                deadline=patience,
                eta=eta,
            )
        waiter = _Waiter(priority)
        arrived = self._clock()
        self._line.join(waiter, priority, arrived)
        try:
            if self._leader is not None:
                waiter.bell = self._new_bell()
                if self._nap.is_on and self._is_next(waiter):
                    self._nap.end()
                await waiter.bell.wait()
            if waiter.grant is None:
                await self._lead(waiter)
        except BaseException:
            with anyio.CancelScope(shield=True):  # short, and a grant must not be lost
                if waiter.grant is not None:
                    await self._backend.give_back(waiter.grant)
                    self.look_again()
                elif self._line.size == 1:
                    await self._backend.release(self._bucket)  # nobody is left to use what the leader was promised
            raise
        finally:
            self._leave(waiter)
        grant = waiter.grant
        assert grant is not None  # noqa: S101 - `_lead` ends with one, and the bell rings for one or for the lead
        self._tally.granted += 1
        waited = self._clock() - arrived
        if waited > _NO_WAIT:
            self._tally.waited += waited
            self._on_wait(priority, waited)
        return grant

    async def _lead(self, leader: _Waiter) -> None:
        """Hand out grants until *leader* has its own."""
        self._leader = leader
        line, backend = self._line, self._backend
        while leader.grant is None:
            first = line.first(self._clock(), self._patience)
            assert first is not None  # noqa: S101 - the leader is in the line
            asked_as = first[1]
            leave, rank = self._terms[asked_as]
            outcome = await backend.take(self._bucket, leave=leave, rank=rank)
            if isinstance(outcome, Grant):
                self._hand(outcome, leader)
                continue
            now = self._clock()
            first = line.first(now, self._patience)
            if first is not None and first[1] != asked_as:
                continue  # somebody else came to the front while the backend was asked
            wait = min(outcome, line.next_neglected_at(now, self._patience) - now)
            await self._nap.sleep(max(wait, _SHORTEST_SLEEP))

    def _hand(self, grant: Grant, leader: _Waiter) -> None:
        """Give *grant* to whoever is next by now."""
        now = self._clock()
        first = self._line.first(now, self._patience)
        waiter = first[0] if first is not None else leader
        waiter.grant = grant
        self._line.serve(waiter, waiter.priority, now)
        if waiter is not leader and waiter.bell is not None:
            waiter.bell.ring()

    def _is_next(self, waiter: _Waiter) -> bool:
        first = self._line.first(self._clock(), self._patience)
        return first is not None and first[0] is waiter

    def _leave(self, waiter: _Waiter) -> None:
        self._line.leave(waiter, waiter.priority)
        if self._leader is waiter:
            self._leader = None
        if self._leader is None:
            # Whoever is next leads: it is served soonest, so the lead is passed on in the order of service.
            first = self._line.first(self._clock(), self._patience)
            if first is not None and first[0].bell is not None:
                self._leader = first[0]
                first[0].bell.ring()

    def look_again(self) -> None:
        """Ask the backend anew now: there may be more than there was."""
        self._nap.end()
