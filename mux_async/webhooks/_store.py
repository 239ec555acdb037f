"""What was handled already: the promise behind stores of events, and the one in memory.

Mux delivers an event until it is answered 2xx, and sometimes again after that, in no order (facts/BEHAVIOUR.md, section 7.1). A store
makes "again" harmless. Its rules:

1. An event is *free*, *claimed* for a while, or *done*. Of any number of claims of a free event, exactly one gets it.
2. A claim is a lease: who crashed with it holds it up no longer than that.
3. *Done* is kept for `KEEP` seconds, twice as long as Mux goes on delivering.
4. The newest moment of each object is noted when an event about it is claimed, and never goes back.
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

Answer: TypeAlias = Literal["mine", "busy", "done"]


@attrs.frozen
class Sighting:
    """An event as stores know it.

    Attributes:
        key: The event's id, after the name of the router.
        subject: What it happened to; ``None`` when it does not say.
        at: When, in microseconds of Unix time.
    """

    key: str
    subject: str | None
    at: int


@attrs.frozen
class Claim:
    """What came of trying to claim an event.

    Attributes:
        state: ``mine``: handle it. ``busy``: somebody else is at it. ``done``: it was handled.
        is_stale: Whether something newer about the same object was claimed before.
    """

    state: Answer
    is_stale: bool = False


class EventStore(Protocol):
    """Keeps what was handled. Every method may raise `EventStoreError`, and then has or has not done it."""

    async def claim(self, seen: Sighting, token: str, lease: float) -> Claim:
        """Claim an event for *lease* seconds, under a *token* of one's own. Not to be cancelled half-way."""
        ...

    async def finish(self, seen: Sighting) -> None:
        """Note that an event was handled, whoever holds it now."""
        ...

    async def release(self, seen: Sighting, token: str) -> None:
        """Set an event free, unless somebody else holds it by now."""
        ...

    async def newest(self, subject: str) -> int | None:
        """Return the newest moment noted of an object, as in `Sighting.at`."""
        ...

    async def aclose(self) -> None:
        """Close what the running event loop has open."""
        ...


class MemoryEventStore:
    """Remembers in this process, and forgets with it: for one process, or for handlers that may run again after a restart.

    Args:
        keep: Seconds that *done* is kept.
        capacity: How many events, and how many objects, are remembered at most; the oldest are forgotten first. A hundred thousand
            take some 30 MB.
        clock: Seconds that never go back.
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

    async def claim(self, seen: Sighting, token: str, lease: float) -> Claim:
        """See `EventStore.claim`."""
        now = self._clock()
        self._forget(now)
        if seen.key in self._done:
            return Claim("done")
        _, until = self._leases.get(seen.key, ("", now))
        if until > now:
            return Claim("busy")
        self._leases[seen.key] = (token, now + lease)
        return Claim("mine", is_stale=self._note(seen, now))

    def _note(self, seen: Sighting, now: float) -> bool:
        if seen.subject is None:
            return False
        before, _ = self._newest.pop(seen.subject, (seen.at, 0.0))
        self._newest[seen.subject] = (max(before, seen.at), now + self._keep)
        return before > seen.at

    async def finish(self, seen: Sighting) -> None:
        """See `EventStore.finish`."""
        self._leases.pop(seen.key, None)
        self._done[seen.key] = self._clock() + self._keep
        self._done.move_to_end(seen.key)

    async def release(self, seen: Sighting, token: str) -> None:
        """See `EventStore.release`."""
        if self._leases.get(seen.key, ("", 0.0))[0] == token:
            del self._leases[seen.key]

    async def newest(self, subject: str) -> int | None:
        """See `EventStore.newest`."""
        self._forget(self._clock())
        return self._newest[subject][0] if subject in self._newest else None

    async def aclose(self) -> None:
        """Nothing is open."""

    def _forget(self, now: float) -> None:
        # Both are in the order in which they run out.
        while self._done and (len(self._done) > self._capacity or next(iter(self._done.values())) <= now):
            self._done.popitem(last=False)
        while self._newest and (len(self._newest) > self._capacity or next(iter(self._newest.values()))[1] <= now):
            self._newest.popitem(last=False)
        if len(self._leases) > self._capacity:
            # Only crashed handlers leave leases behind, and in memory nobody survives a crash; this is for cancelled ones in great number.
            self._leases = {key: lease for key, lease in self._leases.items() if lease[1] > now}
