"""The queue in front of a bucket, for one event loop: requests are granted in order, and no grant is lost.

A lock around "sleep until free" would admit waiters in any order, and block all of them when its holder is cancelled. Here one waiter is
the leader (`_leader`): it asks the limiter, sleeps, and hands each grant to the waiter that is next (`WaitQueue`), until that is itself.
When it leaves, served or cancelled, the next waiter becomes the leader. The rules:

1. Only the leader calls the limiter.
2. Leaving is one synchronous step (`_leave`), reached on every way out.
3. A waiter that is cancelled at the very moment when it got a grant gives it back.
4. A new waiter that is next (an interactive call, in front of a batch) wakes the leader, which would sleep too long otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import anyio

from mux_async._leader import LeaderElection, OneShotEvent, event_factory, make_sleep
from mux_async._operation import Bucket
from mux_async.errors import LimitWaitError
from mux_async.limits._limiter import Grant, Limiter
from mux_async.limits._settings import LimitSettings
from mux_async.limits._wait_queue import PRIORITIES, Priority, Waiter, WaitQueue

_NO_WAIT: Final = 0.001
"""Seconds below which a grant counts as immediate."""
_SHORTEST_SLEEP: Final = 1e-6
"""Seconds. A wait can be rounded to so little that a clock would not move at all."""


class Counters:
    """What has gone through a bucket, in all event loops together: grants, seconds waited for them, answers of 429, headers."""

    __slots__ = ("granted", "reported_limit", "reported_remaining", "throttled", "waited")

    def __init__(self) -> None:
        self.granted: int = 0
        self.waited: float = 0.0
        self.throttled: int = 0
        self.reported_limit: int | None = None
        self.reported_remaining: int | None = None


class _Request(Waiter):
    """One request in the queue.

    Its `event` is set when it has its grant or becomes the leader. A request that finds no leader has no event, and leads at once.
    """

    __slots__ = ("event", "grant", "priority")

    def __init__(self, priority: Priority) -> None:
        super().__init__()
        self.priority: Priority = priority
        self.grant: Grant | None = None
        self.event: OneShotEvent | None = None


class Gate:
    """Hands out the grants of one bucket, in the event loop that anyio's token calls *loop*.

    *settings* say how it is divided among the priorities; *on_delayed* is called with the priority and the seconds of every request that
    had to wait.
    """

    def __init__(
        self,
        limiter: Limiter,
        bucket: Bucket,
        settings: LimitSettings,
        clock: Callable[[], float],
        counters: Counters,
        on_delayed: Callable[[Priority, float], None],
        loop: object,
    ) -> None:
        self._limiter = limiter
        self._local = limiter.local_bucket(bucket)
        self._bucket = bucket
        self._clock = clock
        self._counters = counters
        self._on_delayed = on_delayed
        allowance = settings.bucket(bucket)
        self._terms = {priority: (settings.held_back(priority, allowance), rank) for rank, priority in enumerate(PRIORITIES)}
        """For each priority: how much of the burst it leaves to others, and its rank."""
        # One interval less than the share says: it passes until the next grant is there.
        share = settings.guaranteed_share
        self._max_gap = (1.0 / share - 1.0) / allowance.rate if share else math.inf
        self._queue: WaitQueue[_Request] = WaitQueue()
        self._election: LeaderElection[_Request] = LeaderElection()
        self._sleep = make_sleep(loop)
        """The leader's."""
        self._new_event = event_factory(loop)

    def __len__(self) -> int:
        return self._queue.size

    def queued(self, priority: Priority) -> int:
        """Return how many requests of one priority wait."""
        return self._queue.count(priority)

    def stalled_for(self) -> float:
        """Return for how many seconds no request got a grant although at least one waits; 0.0 if none does."""
        return self._queue.stalled_for(self._clock())

    def eta(self, priority: Priority) -> float:
        """Estimate how many seconds a request arriving now would wait, if no other came in front of it."""
        held_back, rank = self._terms[priority]
        estimate = self._limiter.estimate_wait(self._bucket, held_back=held_back, rank=rank, ahead=self._queue.ahead(priority))
        if priority != "interactive" and estimate > self._max_gap:
            # Its guaranteed share may serve it sooner than the queue, but not before there is a grant at all.
            soonest = self._limiter.estimate_wait(self._bucket, held_back=held_back, rank=rank, ahead=0)
            estimate = min(estimate, max(soonest, (self._queue.count(priority) + 1) * self._max_gap))
        return estimate

    def acquire_nowait(self, priority: Priority) -> Grant | None:
        """Return a grant if no request waits and there is one; ``None`` when `acquire` has to be awaited."""
        local = self._local
        if local is None or self._election.leader is not None or self._queue.size:
            return None
        with local.lock:
            tokens = local.tokens
            if tokens.take(local.clock(), held_back=self._terms[priority][0]):
                return None
            grant = Grant(self._bucket, tokens.now)
        self._counters.granted += 1
        return grant

    async def acquire(self, priority: Priority, timeout: float | None) -> Grant:
        """Wait in the queue for a grant, for at most *timeout* seconds, if that is given.

        Raises:
            LimitWaitError: The wait cannot end within *timeout*. Raised at once; nothing was taken.
        """
        if (immediate := self.acquire_nowait(priority)) is not None:
            return immediate
        if timeout is not None and (eta := self.eta(priority)) > timeout:
            raise LimitWaitError(
                f"the rate limit's {self._bucket.value!r} bucket has no grant within {timeout:.3g} s: "
                f"the wait is about {eta:.3g} s, with {self._queue.ahead(priority)} requests ahead",
                deadline=timeout,
                eta=eta,
            )
        request = _Request(priority)
        arrived = self._clock()
        self._queue.add(request, priority, arrived)
        try:
            if not self._election.try_lead(request):
                request.event = self._new_event()
                if self._sleep.is_asleep and self._first() is request:
                    self._sleep.wake()
                await request.event.wait()
            if request.grant is None:
                await self._lead(request)
        except BaseException:
            with anyio.CancelScope(shield=True):  # short, and a grant must not be lost
                if request.grant is not None:
                    await self._limiter.give_back(request.grant)
                    self.wake_leader()
                elif self._queue.size == 1:
                    await self._limiter.release_slot(self._bucket)  # no request is left to use the slot reserved for the leader
            raise
        finally:
            self._leave(request)
        grant = request.grant
        assert grant is not None  # noqa: S101 - `_lead` ends with one, and the event is set for a grant or for the lead
        self._counters.granted += 1
        waited = self._clock() - arrived
        if waited > _NO_WAIT:
            self._counters.waited += waited
            self._on_delayed(priority, waited)
        return grant

    async def _lead(self, leader: _Request) -> None:
        """Hand out grants until *leader* has its own."""
        queue, limiter = self._queue, self._limiter
        while leader.grant is None:
            first = queue.first(self._clock(), self._max_gap)
            assert first is not None  # noqa: S101 - the leader is in the queue
            asked_as = first[1]
            held_back, rank = self._terms[asked_as]
            outcome = await limiter.acquire(self._bucket, held_back=held_back, rank=rank)
            if isinstance(outcome, Grant):
                self._hand_over(outcome, leader)
                continue
            now = self._clock()
            first = queue.first(now, self._max_gap)
            if first is not None and first[1] != asked_as:
                continue  # another priority came to the front while the limiter was asked
            wait = min(outcome, queue.next_starved_at(now, self._max_gap) - now)
            await self._sleep.sleep(max(wait, _SHORTEST_SLEEP))

    def _hand_over(self, grant: Grant, leader: _Request) -> None:
        """Give *grant* to the request that is next by now."""
        now = self._clock()
        request = self._first() or leader
        request.grant = grant
        self._queue.serve(request, request.priority, now)
        if request is not leader and request.event is not None:
            request.event.set()

    def _first(self) -> _Request | None:
        """Return the next request. It also leads next: the lead passes on in the order of service."""
        first = self._queue.first(self._clock(), self._max_gap)
        return None if first is None else first[0]

    def _leave(self, request: _Request) -> None:
        self._queue.remove(request, request.priority)
        self._election.leave(request, self._first)

    def wake_leader(self) -> None:
        """Make the leader ask the limiter again now: there may be more than there was."""
        self._sleep.wake()
