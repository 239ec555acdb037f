"""Remember handled events: the protocol of event stores, and the store in memory.

Mux delivers an event until it gets a 2xx response, and sometimes again after that, in no order (facts/BEHAVIOUR.md, section 7.1). A store
makes repeated deliveries harmless. Its rules:

1. An event is *free*, *claimed* for a limited time, or *done*. Of any number of claims of a free event, exactly one succeeds.
2. A claim is a lease: a process that crashes blocks its events no longer than the lease.
3. *Done* is kept for `KEEP` seconds, twice as long as Mux repeats deliveries.
4. Claiming an event records its time as the newest of its object, unless a newer one is recorded.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal, Protocol, TypeAlias

import attrs

from mux_async._checks import check_callable, check_period, check_whole

KEEP: Final = 48 * 3600.0
"""Seconds."""
CAPACITY: Final = 100_000

ClaimState: TypeAlias = Literal["mine", "busy", "done"]


@attrs.frozen
class EventKey:
    """Identifies an event in a store.

    Attributes:
        key: The event's id, after the name of the router.
        subject: The object of the event, after the name of the router; ``None`` if the event has none.
        at: Time of the event, in microseconds of Unix time.
    """

    key: str
    subject: str | None
    at: int


@attrs.frozen
class Claim:
    """The result of claiming an event.

    Attributes:
        state: ``mine``: handle the event. ``busy``: another delivery is being handled. ``done``: the event was handled before.
        is_stale: Whether a newer event about the same object was claimed before.
    """

    state: ClaimState
    is_stale: bool = False


class EventStore(Protocol):
    """Remembers handled events. Every method may raise `EventStoreError`; then its effect is unknown."""

    async def claim(self, event: EventKey, token: str, lease: float) -> Claim:
        """Claim an event for *lease* seconds, with a unique *token*. Cancellation must not interrupt it."""
        ...

    async def finish(self, event: EventKey) -> None:
        """Record that an event was handled, even if another token has claimed it meanwhile."""
        ...

    async def release(self, event: EventKey, token: str) -> None:
        """Release an event, unless another token has claimed it meanwhile."""
        ...

    async def newest(self, subject: str) -> int | None:
        """Return the newest recorded time of an object, as in `EventKey.at`."""
        ...

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        ...


class MemoryEventStore:
    """An event store in the memory of one process: for a single process whose handlers may run again after a restart.

    Args:
        keep: Seconds for which *done* is kept.
        capacity: Maximum number of events, and of objects; the oldest are removed first. A hundred thousand take about 30 MB.
        clock: Returns monotonic seconds.
    """

    def __init__(self, *, keep: float = KEEP, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        check_period("keep", keep)
        check_whole("capacity", capacity, 1, "it must be at least 1 event, and whole")
        check_callable("clock", clock, "it must be a function that returns seconds")
        self._keep = keep
        self._capacity = capacity
        self._clock = clock
        self._leases: dict[str, tuple[str, float]] = {}
        self._done: OrderedDict[str, float] = OrderedDict()
        self._newest: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def claim(self, event: EventKey, token: str, lease: float) -> Claim:
        """See `EventStore.claim`."""
        now = self._clock()
        self._remove_expired(now)
        if event.key in self._done:
            return Claim("done")
        _, until = self._leases.get(event.key, ("", now))
        if until > now:
            return Claim("busy")
        self._leases[event.key] = (token, now + lease)
        return Claim("mine", is_stale=self._record_time(event, now))

    def _record_time(self, event: EventKey, now: float) -> bool:
        if event.subject is None:
            return False
        before, _ = self._newest.pop(event.subject, (event.at, 0.0))
        self._newest[event.subject] = (max(before, event.at), now + self._keep)
        return before > event.at

    async def finish(self, event: EventKey) -> None:
        """See `EventStore.finish`."""
        self._leases.pop(event.key, None)
        self._done[event.key] = self._clock() + self._keep
        self._done.move_to_end(event.key)

    async def release(self, event: EventKey, token: str) -> None:
        """See `EventStore.release`."""
        if self._leases.get(event.key, ("", 0.0))[0] == token:
            del self._leases[event.key]

    async def newest(self, subject: str) -> int | None:
        """See `EventStore.newest`."""
        self._remove_expired(self._clock())
        return self._newest[subject][0] if subject in self._newest else None

    async def aclose(self) -> None:
        """Nothing is open."""

    def _remove_expired(self, now: float) -> None:
        # Both are in order of expiry.
        while self._done and (len(self._done) > self._capacity or next(iter(self._done.values())) <= now):
            self._done.popitem(last=False)
        while self._newest and (len(self._newest) > self._capacity or next(iter(self._newest.values()))[1] <= now):
            self._newest.popitem(last=False)
        if len(self._leases) > self._capacity:
            # Handlers that end release their leases, also when cancelled; this bounds memory in any case.
            self._leases = {key: lease for key, lease in self._leases.items() if lease[1] > now}
