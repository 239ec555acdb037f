"""Wait for what Mux works on: one poll of a list serves all tasks that wait for something on it.

A GET per object and poll does not fit into the rate limit: with ten thousand waiters at 5 requests a second, each object would be polled
every half hour. A list request returns a hundred objects, newest first, and most tasks wait for new ones. So all waiters of a client (in
one event loop) whose objects are on the same list share a `Poller`. Rules of the file:

1. There is no background task. One waiter is the leader (`_leader`): it polls for all, and the others sleep.
2. A waiter wakes only for a result, for an error, or to become the leader.
3. A poller does not know what it polls. A `Source` makes the requests, and a `Goal` says whether an object has the state that is awaited.
4. Webhooks take effect at once (`Poller.update`). While webhooks report all changes, polling is a rare safety net; a poll that finds a
   change that no webhook reported restores the usual intervals.
5. What is older than the wait does not end it. A response counts for the tasks that waited when its request was sent, and an event, which
   may be delivered late or twice, only as far as `Goal.reached_by_event` says.
6. A poll has the highest priority of the tasks that wait (their `use_priority`), whichever of them leads: people do not wait for the queue
   of a batch.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, Protocol, TypeVar, cast

import anyio
import attrs

from mux_async._leader import LeaderElection
from mux_async._options import ambient_priority, use_priority
from mux_async._poll_schedule import FATAL_ERRORS, MAX_FAILED_POLLS, PollSchedule
from mux_async.errors import (
    APIStatusError,
    DeadlineExceededError,
    Delivery,
    InvalidRequestError,
    MuxError,
    PermissionDeniedError,
    UploadError,
    copied,
)
from mux_async.limits._wait_queue import PRIORITIES

T = TypeVar("T")

REMEMBERED: Final = 256
"""Maximum number of final states that are kept from webhooks for tasks that start to wait later."""
PAGE_LIMIT: Final = 100
"""Maximum objects per page (facts/BEHAVIOUR.md, section 3.1)."""
EXTRA_PAGES: Final = 2
"""Pages per sweep beyond those that the awaited objects would fill, because other objects lie between them."""
SINGLE_REQUESTS: Final = 10
"""Maximum objects that a sweep requests one by one, of those that were not on its pages."""

BAD_ID_STATUSES: Final = frozenset({400, 404, 410, 422})
"""Statuses that concern one id, which is wrong or was deleted, and not the other waiters."""


@attrs.frozen
class Ref:
    """Identifies an object by the list that contains it and an id."""

    list: str
    """Name of the list; for a list below another object, with the id of that."""
    id: str
    by: str = "id"
    """Whose id it is: the object's own, or that of the upload it came from."""


class Source(Protocol):
    """The requests of a poll."""

    async def retrieve(self, ref: Ref) -> object | None:
        """Return an object; ``None`` while it does not exist yet.

        Raises:
            UploadError: It will never exist.
        """
        ...

    async def page(self, place: str | int | None) -> tuple[Iterable[tuple[Ref, object]], str | int | None]:
        """Return a page of the list, newest first, and the place of the next. ``None`` is the first page, or says that there is no next."""
        ...


@attrs.frozen
class Goal(Generic[T]):
    """What a task waits for."""

    what: str
    """The object, in the words of a message."""
    state: str
    """The state of it, in the words of a message."""
    reached: Callable[[object], T | MuxError | None]
    """Returns the result of the wait, given what a poll or a webhook said; ``None`` to wait on, an error to raise it."""
    part: str | None = None
    """Id of the part of the object that is awaited, if webhooks are about that part alone."""
    is_hinted: bool = False
    """Whether a webhook that does not end the wait is a reason to poll at once."""
    from_event: Callable[[object], T | MuxError | None] | None = None
    """The same as *reached* for what a webhook said, if that is not enough for all of it."""

    def reached_by_event(self, value: object) -> T | MuxError | None:
        """Return the result of the wait, given what a webhook said, perhaps long ago."""
        return self.reached(value) if self.from_event is None else self.from_event(value)

    def timeout_error(self, timeout: float) -> DeadlineExceededError:
        """Return the error of a wait that ended without result."""
        return DeadlineExceededError(
            f"{self.what} was not {self.state} within {timeout:g} s; Mux continues to work on it, so you can wait again",
            deadline=timeout,
            delivery=Delivery.ANSWERED,
        )


@attrs.frozen
class Update:
    """What a webhook says about an object."""

    ref: Ref
    value: object | MuxError | None = None
    """The new state, the error for all waiters, or ``None`` if a poll is needed to find out."""
    is_final: bool = False
    """Whether the state stays, so that tasks that start to wait later may have it."""
    is_deletion: bool = False
    """Whether the object does not exist any more, so that events that arrive later are older."""
    part: str | None = None
    """Id of the part of the object that *value* is about; ``None`` for the whole object."""


@attrs.define(eq=False)
class Waiter:
    """One waiting task. *since* is the number of requests that were sent before it, *rank* that of its priority."""

    goal: Goal[object]
    source: Source
    since: int
    rank: int
    event: anyio.Event | None = None
    outcome: object | MuxError | None = None


@attrs.define(eq=False)
class _Awaited:
    """One object and the tasks that wait for it."""

    waiters: list[Waiter] = attrs.field(factory=list[Waiter])
    last_sweep: int = 0
    """Number of the last sweep that returned it; single requests go to the longest unseen first."""
    failed_requests: int = 0
    """Single requests in a row that failed."""


@attrs.define(eq=False)
class _Sweep:
    """One way through the list, in one poll or in several."""

    missing: dict[Ref, None]
    """Objects that were on no page so far."""
    pages_left: int
    pages: int = 0
    """Pages that were read."""
    place: str | int | None = None
    """Of the next page."""


class Poller:
    """Polls one list for all tasks of one client that wait for objects on it, in one event loop.

    Bounds: a sweep makes at most ``ceil(n / 100) + 2`` list requests for *n* awaited objects, and 10 single requests. Polls are 1 s apart
    at first; the interval grows by 1.3 to 10 s while nothing changes, and every result and every new waiter resets it. After a poll that
    took longer than the interval, the pause is as long as the poll. While webhooks arrive, polls are 10 to 60 s apart, except the first
    poll for the first waiter.

    Args:
        pages_per_poll: List requests per poll; ``None`` for a whole sweep. If a sweep takes several polls, they are closer together, so
            that the sweep ends in the time of the longest interval, but not closer than the first interval.
    """

    def __init__(self, pages_per_poll: int | None = None) -> None:
        self._pages_per_poll = pages_per_poll
        self._awaited: dict[Ref, _Awaited] = {}
        self._election: LeaderElection[Waiter] = LeaderElection()
        self._schedule = PollSchedule()
        self._sweep: _Sweep | None = None
        self._sweeps = 0
        self._sweep_pages = 0
        self._poll_rank: int | None = None
        """Of the poll that is running."""
        self._requests = 0
        """Number of requests that were sent."""
        self._poll_scope: anyio.CancelScope | None = None
        self._final: OrderedDict[Hashable, Update] = OrderedDict()

    def __len__(self) -> int:
        """Number of waiting tasks."""
        return sum(len(awaited.waiters) for awaited in self._awaited.values())

    @property
    def is_idle(self) -> bool:
        """Whether it has no waiters, and nothing to remember."""
        return not self._awaited and not self._final

    async def wait(self, source: Source, ref: Ref, goal: Goal[T], timeout: float = math.inf, *, left: float | None = None) -> T:
        """Wait until an object has the state that *goal* describes.

        Args:
            source: Makes the requests: for *ref*, and for the list while this task is the leader.
            ref: The object.
            goal: Its state.
            timeout: Seconds.
            left: Seconds that are left of *timeout*, if a part of it has passed.

        Raises:
            UploadError: The object will never exist.
            NotFoundError: It does not exist (any more).
            BadRequestError: The id is not valid.
            DeadlineExceededError: *timeout* expired.
            InvalidRequestError: The id cannot be sent.
            MuxError: What *goal* says, or a poll failed with a fatal error, or ten polls in a row failed.
        """
        rank = PRIORITIES.index(ambient_priority.get() or "default")
        waiter = Waiter(cast("Goal[object]", goal), source, self._requests, rank)
        self._add(ref, waiter)
        try:
            with anyio.move_on_after(timeout if left is None else left):
                await self._wait(waiter)
        finally:
            self._remove(ref, waiter)
        outcome = waiter.outcome
        if outcome is None:
            raise goal.timeout_error(timeout)
        if isinstance(outcome, MuxError):
            raise copied(outcome) from outcome.__cause__
        return cast("T", outcome)

    async def _wait(self, waiter: Waiter) -> None:
        if waiter.outcome is None and not self._election.try_lead(waiter):
            waiter.event = anyio.Event()
            await waiter.event.wait()
        while waiter.outcome is None:
            with anyio.CancelScope() as self._poll_scope:
                try:
                    await self._lead(waiter)
                finally:
                    self._poll_scope = None

    def webhook_received(self, updates: Iterable[Update] = ()) -> None:
        """Record that a webhook arrived, apply its updates, and wake the waiters that they concern. Returns at once."""
        self._schedule.webhook_received()
        for update in updates:
            if update.is_final:
                self._remember(update)
            self._apply(update)
        leader = self._election.leader
        if self._poll_scope is not None and leader is not None and leader.outcome is not None:
            self._poll_scope.cancel()  # the leader has its result; another waiter continues to poll

    def _remember(self, update: Update) -> None:
        key = (update.ref, update.part)
        known = self._final.get(key)
        if known is None or not known.is_deletion:
            self._final[key] = update
        self._final.move_to_end(key)
        if len(self._final) > REMEMBERED:
            self._final.popitem(last=False)

    def _apply(self, update: Update) -> None:
        if update.value is not None:
            self._observe(update.ref, update.value)
        if (awaited := self._awaited.get(update.ref)) and any(waiter.goal.is_hinted for waiter in awaited.waiters):
            self._schedule.poll_now()

    async def _lead(self, leader: Waiter) -> None:
        error = await self._schedule.run(lambda: self._poll_with_priority(leader.source))
        if isinstance(error, DeadlineExceededError):  # the deadline is the leader's; others may have more time
            leader.outcome = error
        elif error is not None:
            self._observe_all(error)

    def _add(self, ref: Ref, waiter: Waiter) -> None:
        if not self._awaited:
            self._schedule.restart()
            self._sweep = None
        self._awaited.setdefault(ref, _Awaited()).waiters.append(waiter)
        if (final := self._final.get((ref, waiter.goal.part))) is not None:
            self._apply(final)
        if waiter.outcome is None:
            self._schedule.poll_soon()
            if self._poll_scope is not None and self._poll_rank is not None and waiter.rank < self._poll_rank:
                self._poll_scope.cancel()  # its request may be far down the queue; the next poll has the higher priority

    def _remove(self, ref: Ref, waiter: Waiter) -> None:
        awaited = self._awaited.get(ref)
        if awaited is not None and waiter in awaited.waiters:
            awaited.waiters.remove(waiter)
            if not awaited.waiters:
                del self._awaited[ref]
        self._election.leave(waiter, self._next_waiter)

    def _next_waiter(self) -> Waiter | None:
        return next((each for awaited in self._awaited.values() for each in awaited.waiters), None)

    async def _poll_with_priority(self, source: Source) -> bool:
        self._poll_rank = min(waiter.rank for awaited in self._awaited.values() for waiter in awaited.waiters)
        try:
            with use_priority(PRIORITIES[self._poll_rank]):
                return await self._poll(source)
        finally:
            self._poll_rank = None

    async def _poll(self, source: Source) -> bool:
        """Request the state of awaited objects once. Returns whether any wait ended."""
        before = len(self._awaited)
        if self._pages_per_poll is not None:
            pages = max(self._sweep_pages, math.ceil(before / PAGE_LIMIT))
            self._schedule.polls_per_sweep = math.ceil(pages / self._pages_per_poll)
        missing = dict.fromkeys(self._awaited)
        if before > 1:
            sweep = self._sweep = self._sweep or _Sweep(missing, math.ceil(before / PAGE_LIMIT) + EXTRA_PAGES)
            if not await self._read_pages(source, sweep):
                return len(self._awaited) < before
            missing, self._sweep_pages = sweep.missing, sweep.pages
        self._sweep = None
        self._sweeps += 1
        unseen = sorted((ref for ref in missing if ref in self._awaited), key=lambda ref: self._awaited[ref].last_sweep)
        for ref in unseen[:SINGLE_REQUESTS]:
            if (awaited := self._awaited.get(ref)) is not None and not await self._poll_one(awaited, ref):
                break  # the server may have a problem; the others are first in the next sweep
        return len(self._awaited) < before

    async def _read_pages(self, source: Source, sweep: _Sweep) -> bool:
        """Read the next pages of a sweep. Returns whether it is over: all objects were found, or its last page was read."""
        for _ in range(min(sweep.pages_left, self._pages_per_poll or sweep.pages_left)):
            self._requests += 1
            try:
                rows, sweep.place = await source.page(sweep.place)
            except APIStatusError as error:
                if error.status not in BAD_ID_STATUSES:
                    raise
                if sweep.place is not None:  # the place is not valid any more, so the next sweep begins with the first page
                    self._sweep = None
                    raise
                self._observe_all(error)  # the object that the list belongs to was deleted
                return True
            sweep.pages_left -= 1
            sweep.pages += 1
            for ref, value in rows:
                sweep.missing.pop(ref, None)
                self._observe(ref, value, self._requests)
            if not sweep.missing or sweep.place is None:
                return True
        return not sweep.pages_left

    async def _poll_one(self, awaited: _Awaited, ref: Ref) -> bool:
        """Request one object. Returns False if that failed, which concerns no other object."""
        self._requests += 1
        value: object
        try:
            value = await awaited.waiters[0].source.retrieve(ref)
        except (InvalidRequestError, PermissionDeniedError, UploadError) as error:
            value = error
        except (DeadlineExceededError, *FATAL_ERRORS):
            raise
        except MuxError as error:
            awaited.failed_requests += 1
            awaited.last_sweep = self._sweeps
            is_final = isinstance(error, APIStatusError) and error.status in BAD_ID_STATUSES
            if not is_final and awaited.failed_requests < MAX_FAILED_POLLS:
                return False
            value = error
        self._observe(ref, value, self._requests)
        return True

    def _observe(self, ref: Ref, value: object | MuxError | None, request: int | None = None) -> None:
        """Wake the waiters of *ref* whose goal is reached by its state; an error wakes all.

        Args:
            ref: The object.
            value: Its state.
            request: Number of the request that the state is from: tasks that started to wait after it do not use it. ``None`` for an event.
        """
        awaited = self._awaited.get(ref)
        if awaited is None:
            return
        awaited.last_sweep, awaited.failed_requests = self._sweeps, 0
        waiters, awaited.waiters = awaited.waiters, []
        for waiter in waiters:
            if value is not None and (request is None or request > waiter.since):
                reached = waiter.goal.reached_by_event if request is None else waiter.goal.reached
                waiter.outcome = value if isinstance(value, MuxError) else reached(value)
            if waiter.outcome is None:
                awaited.waiters.append(waiter)
            elif waiter.event is not None:
                waiter.event.set()
        if not awaited.waiters:
            del self._awaited[ref]

    def _observe_all(self, error: MuxError) -> None:
        for ref in list(self._awaited):
            self._observe(ref, error)
