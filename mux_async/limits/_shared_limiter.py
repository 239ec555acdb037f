"""The limiter in front of a store that several processes share: what it does when the store is lost, and what it knows without asking.

A store performs commands (`BucketCommand`) on buckets that other processes use too. This is the `Limiter` in front of it:

1. A command without an answer is tried once more, and then the store counts as lost. This process goes on alone, with its share of
   the rate: one over the number of requesters that were active when the store last answered, at least two, and without a burst.
2. During an outage, asking for a grant probes the store again, every half second at first, every two seconds later.
3. When it answers, the processes do not go back at once: those that have not noticed yet still take their shares. They agree, through
   the store, on a moment by which all have noticed, and go back together, with empty buckets.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from typing import Final, Protocol

import attrs

from mux_async._forks import after_fork, detect_fork
from mux_async._operation import Bucket
from mux_async._per_loop import PerLoop
from mux_async.limits._events import StoreEvent, StoreLost, StoreRestored
from mux_async.limits._limiter import Grant, MemoryLimiter
from mux_async.limits._scheduler import LEASE, BucketCommand, BucketReply
from mux_async.limits._settings import LimitSettings
from mux_async.limits._snapshots import BucketState, state_of
from mux_async.limits._token_bucket import TokenBucket
from mux_async.transport import current_loop

logger = logging.getLogger(__name__)

CALL_TIMEOUT: Final = 0.5
"""Seconds that a command may take."""
FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 2.0
"""Seconds between two probes of a lost store."""
SETTLE: Final = 2 * LONGEST_RETRY
"""Seconds after which every process has noticed that a store is back: the longest time between two probes, doubled for slow ones."""


_NOTHING: Final = -1
"""What `BucketCommand.remaining` is for a command that only reads: a bucket ignores negative numbers."""


class StoreLostError(Exception):
    """A store gives no usable answer. Never leaves this package."""


class LimitStore(Protocol):
    """Keeps buckets that several processes use."""

    name: str
    """Its address, without secrets."""
    is_local_clock: bool
    """Whether its clock is the one of this process."""

    async def perform(self, command: BucketCommand) -> BucketReply:
        """Perform *command*. When cancelled, it has taken no grant.

        Raises:
            StoreLostError: There is no usable answer. A grant may have been taken; it is then lost.
        """
        ...

    async def aclose(self) -> None:
        """Close the file or the connections. The next command opens them again."""
        ...


@attrs.define
class LocalGrant(Grant):
    """A grant of this process's own share."""


@attrs.frozen
class _BucketView:
    """A bucket in the store's last reply, in the store's time."""

    bucket: TokenBucket
    offset: float
    """What to add to this process's clock."""
    others: tuple[int, int, int]
    members: int
    received_at: float


@attrs.define(eq=False)
class _Outage:
    """A time without the store."""

    local: MemoryLimiter
    since: float
    retry_at: float
    retry: float = FIRST_RETRY
    switch_at: float | None = None
    """When all processes go back; ``None`` while the store has not answered."""
    is_probing: bool = False


class SharedLimiter:
    """Buckets that other processes use too, which *store* keeps. *notify* is called when it is lost, and when it is restored."""

    def __init__(
        self, store: LimitStore, settings: LimitSettings, clock: Callable[[], float], notify: Callable[[StoreEvent], object]
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._notify = notify
        self._lock = threading.Lock()
        self._views = {bucket: _BucketView(settings.new_bucket(bucket), 0.0, (0, 0, 0), 1, clock()) for bucket in Bucket}
        self._unsent: dict[Bucket, BucketCommand] = {}
        """What the server reported of a bucket and the store may not know yet."""
        self._outage: _Outage | None = None
        self._owners: PerLoop[str] = PerLoop()
        after_fork(self)

    def reset_after_fork(self) -> object:
        """Make a new lock, in a forked child, and probe again: a thread of the parent may hold the lock, or be probing."""
        self._lock = threading.Lock()
        if self._outage is not None:
            self._outage.is_probing = False
        return None

    def local_bucket(self, bucket: Bucket) -> None:  # noqa: ARG002 - none is in this process
        """Return ``None``: every grant comes from the store."""
        return

    async def acquire(self, bucket: Bucket, *, held_back: float, rank: int) -> Grant | float:
        """Take a grant, or return the seconds until the slot that was reserved. Waits for the store, a second at most."""
        if (unsent := self._unsent.pop(bucket, None)) is not None:
            await self._perform(unsent)
        started = self._clock()
        reply = await self._perform(BucketCommand("acquire", bucket, self._owner(), held_back=held_back, rank=rank))
        if isinstance(reply, _Outage):
            return await self._acquire_locally(reply, bucket)
        if reply.value == 0.0:
            return Grant(bucket, reply.now)
        now = self._clock()
        # The answer was on its way for some time. If the clocks differ, half of the round trip is the best guess.
        passed = now - reply.now if self._store.is_local_clock else (now - started) / 2
        return max(0.0, reply.value - passed)

    async def release_slot(self, bucket: Bucket) -> None:
        """Cancel the slot that was reserved."""
        if self._outage is None:
            await self._perform(BucketCommand("leave", bucket, self._owner()))

    async def give_back(self, grant: Grant) -> None:
        """Undo a grant. One from before an outage is dropped during it, and one made during it is dropped after it."""
        outage = self._outage
        if isinstance(grant, LocalGrant):
            if outage is not None:
                await outage.local.give_back(grant)
        elif outage is None:
            await self._perform(BucketCommand("give_back", grant.bucket, self._owner(), at=grant.at))

    async def on_throttled(self, grant: Grant, delay: float | None) -> float:
        """Close the grant's bucket for all processes after a 429, and adapt its rate."""
        bucket, is_local = grant.bucket, isinstance(grant, LocalGrant)
        command = BucketCommand("throttled", bucket, self._owner(), at=None if is_local else grant.at, delay=delay)
        reply = await self._perform(command)
        if isinstance(reply, _Outage):
            at = grant.at if is_local else grant.at - self._views[bucket].offset
            return await reply.local.on_throttled(Grant(bucket, at), delay)
        return reply.value

    async def check_store(self) -> tuple[str, str | None] | None:
        """See `Limiter.check_store`. It asks for nothing, so it takes no grant."""
        outage = self._outage
        if outage is not None:
            return self._store.name, f"no answer for {self._clock() - outage.since:.0f} s; this process goes on with its share"
        try:
            await self._send(BucketCommand("observe", Bucket.OTHER, self._owner(), remaining=_NOTHING))
        except StoreLostError as error:
            return self._store.name, str(error)
        return self._store.name, None

    async def refresh(self) -> None:
        """Read the buckets from the store. It takes no grant, and changes nothing there."""
        for bucket in Bucket:
            await self._perform(BucketCommand("observe", bucket, self._owner(), remaining=_NOTHING))

    async def observe_remaining(self, bucket: Bucket, remaining: int) -> None:
        """Lower a bucket to what the server has left."""
        outage = self._outage
        if outage is not None:
            await outage.local.observe_remaining(bucket, remaining)
            return
        # It nearly always changes nothing. A copy of the last known state shows that without asking the store.
        view = self._views[bucket]
        trial = self._settings.new_bucket(bucket)
        now = self._clock() + view.offset
        trial.load(view.bucket.dump()[0], (), now)
        trial.advance(now)
        before = trial.dump()
        trial.observe_remaining(now, remaining=remaining)
        if trial.dump() == before:
            return
        self._views[bucket] = attrs.evolve(view, bucket=trial)
        # If this is cut off, or the store is slow, it is sent before the next request for a grant.
        self._unsent[bucket] = command = BucketCommand("observe", bucket, self._owner(), remaining=remaining, at=now)
        try:
            reply = await self._store.perform(command)
        except StoreLostError:
            return  # the next request for a grant finds out whether the store is lost
        self._unsent.pop(bucket, None)
        self._store_view(bucket, reply)

    def estimate_wait(self, bucket: Bucket, *, held_back: float, rank: int, ahead: int) -> float:
        """Estimate the seconds until a grant: each other requester gets as many grants as this one."""
        outage = self._outage
        if outage is not None:
            return outage.local.estimate_wait(bucket, held_back=held_back, rank=rank, ahead=ahead)
        view = self._views[bucket]
        now = self._clock()
        others = sum(view.others[: rank + 1]) if now - view.received_at < LEASE else 0
        moment = now + view.offset
        return view.bucket.ready_at(moment, held_back=held_back, ahead=(ahead + 1) * (others + 1) - 1) - moment

    def state(self, bucket: Bucket) -> BucketState:
        """Return the state of a bucket in the store's last reply."""
        outage = self._outage
        if outage is not None:
            return outage.local.state(bucket)
        view = self._views[bucket]
        now = self._clock()
        others = view.others if now - view.received_at < LEASE else (0, 0, 0)
        return attrs.evolve(state_of(view.bucket, now + view.offset), others=others, loops=view.members)

    async def aclose(self) -> None:
        """Close the store. The next command opens it again."""
        await self._store.aclose()

    async def _perform(self, command: BucketCommand) -> BucketReply | _Outage:
        outage = self._outage
        if outage is not None and not await self._reconnect(outage):
            return outage
        try:
            reply = await self._send(command)
        except StoreLostError as error:
            return self._start_outage(error)
        self._store_view(command.bucket, reply)
        return reply

    async def _send(self, command: BucketCommand) -> BucketReply:
        try:
            return await self._store.perform(command)
        except StoreLostError:
            # Once more: a connection that was idle for long breaks when it is used, and an event loop that was held up sees timeouts.
            return await self._store.perform(command)

    async def _acquire_locally(self, outage: _Outage, bucket: Bucket) -> Grant | float:
        outcome = await outage.local.acquire(bucket, held_back=0, rank=0)
        if isinstance(outcome, Grant):
            return LocalGrant(bucket, outcome.at)
        probe_at = outage.retry_at if outage.switch_at is None else outage.switch_at
        return min(outcome, max(0.01, probe_at - self._clock()))

    def _store_view(self, bucket: Bucket, reply: BucketReply) -> None:
        now = self._clock()
        held = self._settings.new_bucket(bucket)
        held.load(reply.numbers, (), reply.now)
        offset = 0.0 if self._store.is_local_clock else reply.now - now
        self._views[bucket] = _BucketView(held, offset, reply.others, reply.members, now)

    def _start_outage(self, problem: StoreLostError) -> _Outage:
        now = self._clock()
        with self._lock:
            if self._outage is not None:
                return self._outage
            share = max(2, *(view.members for view in self._views.values()))
            buckets = {bucket: self._own_share(bucket, share, now) for bucket in Bucket}
            self._outage = outage = _Outage(MemoryLimiter(self._settings, self._clock, buckets), now, now + FIRST_RETRY)
        logger.warning(
            "the shared limits at %s do not answer (%s): going on with 1/%d of the rate until they do",
            self._store.name,
            problem,
            share,
            extra={"mux_store": self._store.name, "mux_share": share},
        )
        self._notify(StoreLost(self._store.name, str(problem), share))
        return outage

    def _own_share(self, bucket: Bucket, share: int, now: float) -> TokenBucket:
        """Return this process's part of a bucket: empty, because what other processes have just taken is not known."""
        view = self._views[bucket]
        part = TokenBucket(view.bucket.rate / share, 1, self._settings.adaptive)
        part.drain(now)
        part.closed_until = view.bucket.closed_until - view.offset
        return part

    async def _reconnect(self, outage: _Outage) -> bool:
        """Probe the store, or go back to it, if that is due. Returns whether the outage is over."""
        now = self._clock()
        with self._lock:
            if self._outage is not outage:
                return True
            if outage.is_probing or now < (outage.retry_at if outage.switch_at is None else outage.switch_at):
                return False
            outage.is_probing = True
        try:
            if outage.switch_at is None:
                outage.retry_at = now + outage.retry
                outage.retry = min(2 * outage.retry, LONGEST_RETRY)
                waits = [(await self._store.perform(self._rejoin_command(outage, bucket))).value for bucket in Bucket]
                outage.switch_at = self._clock() + max(waits)
            if self._clock() < outage.switch_at:
                return False
        except StoreLostError:
            return False
        finally:
            outage.is_probing = False
        with self._lock:
            self._outage = None
        seconds = self._clock() - outage.since
        extra = {"mux_store": self._store.name, "mux_elapsed": seconds}
        logger.warning("the shared limits at %s answer again, after %.1f s", self._store.name, seconds, extra=extra)
        self._notify(StoreRestored(self._store.name, seconds))
        return True

    def _rejoin_command(self, outage: _Outage, bucket: Bucket) -> BucketCommand:
        at = outage.since + self._views[bucket].offset
        return BucketCommand("rejoin", bucket, self._owner(), at=at, settle=SETTLE)

    def _owner(self) -> str:
        """Return the name of this event loop as a requester: different in each loop and each process."""
        detect_fork()
        loop = current_loop()
        owner = self._owners.open.get(loop)
        if owner is None:
            owner = secrets.token_hex(8)
            self._owners.put(loop, owner)
        return owner
