"""What the shared backends have in common: what to do without the store, and what is known here of buckets that live elsewhere.

A store carries out commands (`Command`) on buckets that others use too. This is the `LimitBackend` in front of it:

1. A command that gets no answer is tried once more, and then the store counts as lost. This process goes on alone, with its share of
   the rate: one over the number of those who were active when it was last heard of, at least two, and no burst.
2. While it is lost, asking for a grant tries the store again, every half second at first, every two seconds later.
3. When it answers, nobody goes back at once: those that have not noticed yet still take their shares. They agree, through the store,
   on a moment by which all have noticed, and go back together, with empty buckets.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from typing import Final, Protocol

import attrs

from mux_async._lifetimes import PerLoop, after_fork, notice_fork
from mux_async._operation import Bucket
from mux_async.limits._backend import Grant, MemoryBackend
from mux_async.limits._bucket import PacedBucket
from mux_async.limits._events import BackendBack, BackendEvent, BackendLost
from mux_async.limits._settings import LimitSettings
from mux_async.limits._snapshots import BucketState
from mux_async.limits._turns import LEASE, Command, Reply
from mux_async.transport import current_loop

logger = logging.getLogger(__name__)

CALL_TIMEOUT: Final = 0.5
"""Seconds that a command may take."""
FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 2.0
"""Seconds between two looks for a lost store."""
SETTLE: Final = 2 * LONGEST_RETRY
"""Seconds after which everybody has noticed that a store is back: the longest time between two looks, and as much again for slow ones."""


class StoreLostError(Exception):
    """A store gives no usable answer. Never leaves this package."""


class Store(Protocol):
    """Keeps buckets that several processes use."""

    @property
    def name(self) -> str:
        """Where it is, without secrets."""
        ...

    @property
    def is_local_clock(self) -> bool:
        """Whether its times are those of the clock here."""
        ...

    async def perform(self, command: Command) -> Reply:
        """Carry out *command*. Cancelled, it has taken no grant.

        Raises:
            StoreLostError: There is no usable answer. A grant may have been taken; it is then lost.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the file or the connections. The next command opens them again."""
        ...


@attrs.define
class LocalGrant(Grant):
    """A grant of this process's own share."""


@attrs.frozen
class _View:
    """A bucket as the store last showed it, in the store's time."""

    bucket: PacedBucket
    offset: float
    """What to add to the clock here."""
    others: tuple[int, int, int]
    members: int
    heard_at: float


@attrs.define(eq=False)
class _Away:
    """A time without the store."""

    local: MemoryBackend
    since: float
    retry_at: float
    retry: float = FIRST_RETRY
    switch_at: float | None = None
    """When everybody goes back; ``None`` while the store has not answered."""
    is_looking: bool = False


class SharedBackend:
    """Buckets that other processes use too.

    Args:
        store: Keeps them.
        settings: What the account is allowed.
        clock: Monotonic seconds.
        tell: Told when the store is lost, and when it is back.
    """

    def __init__(
        self, store: Store, settings: LimitSettings, clock: Callable[[], float], tell: Callable[[BackendEvent], object]
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._views = {bucket: _View(settings.new_bucket(bucket), 0.0, (0, 0, 0), 1, clock()) for bucket in Bucket}
        self._unheard: dict[Bucket, Command] = {}
        """What the server said of a bucket, and the store may not know yet."""
        self._away: _Away | None = None
        self._owners: PerLoop[str] = PerLoop()
        after_fork(self)

    def start_afresh(self) -> object:
        """Look for a lost store by itself, in a forked child: a thread of the parent may do so, or hold the lock."""
        self._lock = threading.Lock()
        if self._away is not None:
            self._away.is_looking = False
        return None

    def take_now(self, bucket: Bucket, *, leave: int) -> Grant | None:  # noqa: ARG002 - every answer is in the store
        """Return ``None``: the store has to be asked."""
        return None

    async def take(self, bucket: Bucket, *, leave: int, rank: int) -> Grant | float:
        """Take a grant, or return the seconds until the slot that was reserved. Waits for the store, a second at most."""
        if (unheard := self._unheard.pop(bucket, None)) is not None:
            await self._perform(unheard)
        started = self._clock()
        reply = await self._perform(Command("ask", bucket, self._owner(), leave=leave, rank=rank))
        if isinstance(reply, _Away):
            return await self._take_locally(reply, bucket)
        if reply.value == 0.0:
            return Grant(bucket, reply.now)
        now = self._clock()
        # The answer was under way for some time; where the clocks are not the same, half of the whole is the best guess.
        passed = now - reply.now if self._store.is_local_clock else (now - started) / 2
        return max(0.0, reply.value - passed)

    async def release(self, bucket: Bucket) -> None:
        """Give up the slot that was reserved."""
        if self._away is None:
            await self._perform(Command("release", bucket, self._owner()))

    async def give_back(self, grant: Grant) -> None:
        """Undo a grant. One from before the store was lost, or made without it, is dropped once that has changed."""
        away = self._away
        if isinstance(grant, LocalGrant):
            if away is not None:
                await away.local.give_back(grant)
        elif away is None:
            await self._perform(Command("give_back", grant.bucket, self._owner(), at=grant.at))

    async def refuse(self, grant: Grant, delay: float | None) -> float:
        """Close the grant's bucket for everybody after a 429, and learn from it."""
        bucket, is_local = grant.bucket, isinstance(grant, LocalGrant)
        command = Command("refuse", bucket, self._owner(), at=None if is_local else grant.at, delay=delay)
        reply = await self._perform(command)
        if isinstance(reply, _Away):
            at = grant.at if is_local else grant.at - self._views[bucket].offset
            return await reply.local.refuse(Grant(bucket, at), delay)
        return reply.value

    async def hear(self, bucket: Bucket, remaining: int) -> None:
        """Lower a bucket to what the server has left."""
        away = self._away
        if away is not None:
            await away.local.hear(bucket, remaining)
            return
        # Nearly always it changes nothing. A copy of what is known here tells, without asking anybody.
        view = self._views[bucket]
        trial = self._settings.new_bucket(bucket)
        now = self._clock() + view.offset
        trial.load(view.bucket.dump()[0], (), now)
        trial.advance(now)
        before = trial.dump()
        trial.hear(now, remaining=remaining)
        if trial.dump() == before:
            return
        self._views[bucket] = attrs.evolve(view, bucket=trial)
        # Should this be cut off, or the store be slow, it goes there before the next request for a grant.
        self._unheard[bucket] = command = Command("hear", bucket, self._owner(), remaining=remaining, at=now)
        try:
            reply = await self._store.perform(command)
        except StoreLostError:
            return  # whoever needs a grant finds out whether the store is lost
        self._unheard.pop(bucket, None)
        self._note(bucket, reply)

    def wait(self, bucket: Bucket, *, leave: int, rank: int, ahead: int) -> float:
        """Estimate the seconds until a grant: others who wait get as many turns as we do."""
        away = self._away
        if away is not None:
            return away.local.wait(bucket, leave=leave, rank=rank, ahead=ahead)
        view = self._views[bucket]
        now = self._clock()
        others = sum(view.others[: rank + 1]) if now - view.heard_at < LEASE else 0
        moment = now + view.offset
        return view.bucket.ready_at(moment, leave=leave, ahead=(ahead + 1) * (others + 1) - 1) - moment

    def state(self, bucket: Bucket) -> BucketState:
        """Return a bucket as the store last showed it."""
        away = self._away
        if away is not None:
            return away.local.state(bucket)
        view = self._views[bucket]
        now, held = self._clock() + view.offset, view.bucket
        return BucketState(held.level(now), held.rate, held.ceiling, held.burst, max(0.0, held.closed_until - now))

    async def aclose(self) -> None:
        """Let go of the store. The next command opens it again."""
        await self._store.aclose()

    async def _perform(self, command: Command) -> Reply | _Away:
        away = self._away
        if away is not None and not await self._come_back(away):
            return away
        try:
            reply = await self._ask_store(command)
        except StoreLostError as error:
            return self._lose(error)
        self._note(command.bucket, reply)
        return reply

    async def _ask_store(self, command: Command) -> Reply:
        try:
            return await self._store.perform(command)
        except StoreLostError:
            # Once more: a connection that was idle for long breaks when it is used, and an event loop that was held up sees timeouts.
            return await self._store.perform(command)

    async def _take_locally(self, away: _Away, bucket: Bucket) -> Grant | float:
        outcome = await away.local.take(bucket, leave=0, rank=0)
        if isinstance(outcome, Grant):
            return LocalGrant(bucket, outcome.at)
        look_at = away.retry_at if away.switch_at is None else away.switch_at
        return min(outcome, max(0.01, look_at - self._clock()))

    def _note(self, bucket: Bucket, reply: Reply) -> None:
        now = self._clock()
        held = self._settings.new_bucket(bucket)
        held.load(reply.numbers, (), reply.now)
        offset = 0.0 if self._store.is_local_clock else reply.now - now
        self._views[bucket] = _View(held, offset, reply.others, reply.members, now)

    def _lose(self, problem: StoreLostError) -> _Away:
        now = self._clock()
        with self._lock:
            if self._away is not None:
                return self._away
            share = max(2, *(view.members for view in self._views.values()))
            buckets = {bucket: self._alone(bucket, share, now) for bucket in Bucket}
            self._away = away = _Away(MemoryBackend(self._settings, self._clock, buckets), now, now + FIRST_RETRY)
        logger.warning(
            "the shared limits at %s do not answer (%s): going on with 1/%d of the rate until they do",
            self._store.name,
            problem,
            share,
        )
        self._tell(BackendLost(self._store.name, str(problem), share))
        return away

    def _alone(self, bucket: Bucket, share: int, now: float) -> PacedBucket:
        """Return this process's part of a bucket: empty, because who has just taken what is not known."""
        view = self._views[bucket]
        part = PacedBucket(view.bucket.rate / share, 1, self._settings.lessons)
        part.drain(now)
        part.closed_until = view.bucket.closed_until - view.offset
        return part

    async def _come_back(self, away: _Away) -> bool:
        """Look for the store if it is time, and go back to it if it is time. Returns whether this is over."""
        now = self._clock()
        with self._lock:
            if self._away is not away:
                return True
            if away.is_looking or now < (away.retry_at if away.switch_at is None else away.switch_at):
                return False
            away.is_looking = True
        try:
            if away.switch_at is None:
                away.retry_at = now + away.retry
                away.retry = min(2 * away.retry, LONGEST_RETRY)
                waits = [
                    (await self._store.perform(Command("rejoin", bucket, self._owner(), settle=SETTLE))).value
                    for bucket in Bucket
                ]
                away.switch_at = self._clock() + max(waits)
            if self._clock() < away.switch_at:
                return False
        except StoreLostError:
            return False
        finally:
            away.is_looking = False
        with self._lock:
            self._away = None
        seconds = self._clock() - away.since
        logger.warning("the shared limits at %s answer again, after %.1f s", self._store.name, seconds)
        self._tell(BackendBack(self._store.name, seconds))
        return True

    def _owner(self) -> str:
        """Return the name of this event loop's queues: another one in each loop, and in each process."""
        notice_fork()
        loop = current_loop()
        owner = self._owners.open.get(loop)
        if owner is None:
            owner = secrets.token_hex(8)
            self._owners.put(loop, owner)
        return owner
