"""The scheduler of a bucket that several processes share.

Arithmetic only, on top of `TokenBucket`; the stores keep the state and pass the time in. If every process were told how long the bucket
stays empty, all would come back at the same moment, one of them would be served, and always the nearest. Here each process that cannot
be served gets a reserved slot time:

1. Requesters are ordered by rank (the priority of their request), then by how long they have waited since they were last served.
2. A requester is served if there is enough for it *and* for all in front of it. So coming early takes nothing from the others, and a
   higher priority never waits for a lower one.
3. A requester that does not come back within `grace` of its slot is skipped: others take what was reserved for it. So a process that was
   killed costs nothing but its reserved slot, which a burst of two makes up for.
4. A requester that comes back late keeps its place in the order for `LEASE` seconds.

The bound in every window is `TokenBucket`'s alone: the scheduler can only make a requester wait longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import attrs

from mux_async._operation import Bucket
from mux_async.limits._token_bucket import CLOCK_TOLERANCE, TokenBucket

LEASE: Final = 5.0
"""Seconds after its slot for which a requester that does not come back keeps its place in the order."""
MEMBERSHIP: Final = 60.0
"""Seconds since its last command for which a requester counts as active."""
SHORTEST_GRACE: Final = 0.1
LONGEST_GRACE: Final = 1.0
"""Bounds, in seconds, of the grace period, which is otherwise one interval of the bucket."""
GRACE_MARGIN: Final = 0.001
"""Seconds added to the end of a grace period, so that it is over when a requester comes back then."""
RANKS: Final = 3
"""One for each priority: rank 0 goes first."""

Verb: TypeAlias = Literal["acquire", "leave", "give_back", "throttled", "observe", "rejoin"]


@attrs.frozen
class BucketCommand:
    """What to do with a shared bucket.

    Attributes:
        verb: ``acquire`` a grant, ``leave`` the order, ``give_back`` a grant, record that a request was ``throttled``, ``observe`` what
            the server has left, or ask when to ``rejoin`` after an outage.
        bucket: Which.
        owner: The requester: one event loop of one process.
        held_back: For ``acquire``: grants of the burst that are left to others.
        rank: For ``acquire``: of the priority, 0 to 2.
        at: For ``give_back`` and ``throttled``: when the grant was made, and for ``observe``: when the server said it. By the store's
            clock; ``None`` for now. For ``rejoin``: when the requester lost the store; ``None`` if it does not know.
        delay: For ``throttled``: seconds the server asked for; ``None`` when it did not say.
        remaining: For ``observe``: requests.
        settle: For ``rejoin``: seconds in which every process will have noticed that the store is back.
    """

    verb: Verb
    bucket: Bucket
    owner: str
    held_back: float = 0
    rank: int = 0
    at: float | None = None
    delay: float | None = None
    remaining: int = 0
    settle: float = 0.0


@attrs.frozen
class BucketReply:
    """The result of a command, and the state of the bucket after it.

    Attributes:
        value: For ``acquire``: seconds to wait, 0.0 for a grant. For ``throttled``: seconds for which the bucket is closed. For
            ``rejoin``: seconds until every process goes back to the store. Else 0.0.
        now: The store's clock.
        numbers: The bucket, as `TokenBucket.dump` gives it, without the grants.
        others: How many other requesters wait, of rank 0, 1 and 2.
        members: How many requesters are active, this one included.
    """

    value: float
    now: float
    numbers: Mapping[str, float]
    others: tuple[int, int, int]
    members: int


@attrs.frozen
class Requester:
    """One event loop of one process, as the store remembers it.

    Attributes:
        seen: When its last command came.
        due: When its slot is; ``-inf`` when it waits for nothing.
        since: Since when it waits.
        rank: Of its priority.
    """

    seen: float
    due: float = -math.inf
    since: float = -math.inf
    rank: int = 0


@attrs.define
class Scheduler:
    """A bucket and the requesters that wait for it.

    Attributes:
        bucket: The allowance.
        requesters: By name.
        switch_at: When the processes that lost the store went, or will go, back to it.
        drain_at: When the bucket has to be emptied, because of what they take without it until then; ``inf`` for never.
    """

    bucket: TokenBucket
    requesters: dict[str, Requester] = attrs.field(factory=dict[str, Requester])
    switch_at: float = -math.inf
    drain_at: float = math.inf

    def perform(self, command: BucketCommand, now: float) -> float:
        """Perform *command* at *now*, in seconds of the store's clock, and return the value of its reply."""
        now = self.bucket.advance(now)
        self._catch_up(now)
        match command.verb:
            case "acquire":
                return self._acquire(now, command)
            case "leave":
                self.requesters[command.owner] = Requester(now)
            case "give_back":
                self.bucket.give_back(now if command.at is None else command.at)
            case "throttled":
                at = now if command.at is None else command.at
                return self.bucket.on_throttled(now, granted_at=at, delay=command.delay)
            case "observe":
                self.bucket.observe_remaining(now, remaining=command.remaining, at=command.at)
            case "rejoin":
                return self._rejoin(now, command)
        return 0.0

    def _catch_up(self, now: float) -> None:
        """Forget requesters of another clock, and those not seen for long."""
        if any(requester.seen > now + CLOCK_TOLERANCE for requester in self.requesters.values()):
            self.requesters.clear()
        self.requesters = {name: requester for name, requester in self.requesters.items() if requester.seen >= now - MEMBERSHIP}
        if now >= self.drain_at or math.inf > self.drain_at > now + MEMBERSHIP:
            self.bucket.drain(now)
            self.drain_at = math.inf

    def reply(self, owner: str, value: float, now: float) -> BucketReply:
        """Return *value* with the state of the bucket."""
        now = max(now, self.bucket.now)
        counts = [0] * RANKS
        for name, requester in self.requesters.items():
            if name != owner and self._is_expected(requester, now):
                counts[requester.rank] += 1
        numbers, _ = self.bucket.dump()
        return BucketReply(value, now, numbers, (counts[0], counts[1], counts[2]), len(self.requesters))

    def _acquire(self, now: float, command: BucketCommand) -> float:
        owner, rank = command.owner, command.rank
        known = self.requesters.get(owner)
        since = known.since if known is not None and known.due + LEASE >= now else now
        mine = (rank, since, owner)
        before = [
            requester
            for name, requester in self.requesters.items()
            if name != owner and self._is_expected(requester, now) and (requester.rank, requester.since, name) < mine
        ]
        wait = self.bucket.take(now, held_back=command.held_back, ahead=len(before))
        if wait:
            # Some of them may be late. Once one is skipped, what was reserved for it is free.
            grace = self._grace()
            wait = min([wait, *(requester.due + grace - now + GRACE_MARGIN for requester in before if requester.due < now)])
        self.requesters[owner] = Requester(now) if wait == 0.0 else Requester(now, now + wait, since, rank)
        return wait

    def _is_expected(self, requester: Requester, now: float) -> bool:
        return requester.due + self._grace() >= now

    def _grace(self) -> float:
        return min(max(1.0 / self.bucket.rate, SHORTEST_GRACE), LONGEST_GRACE)

    def _rejoin(self, now: float, command: BucketCommand) -> float:
        """Return the same moment to all processes: none takes from the store while others still take their local share.

        A process that lost the store after that moment comes from another outage, which gets a moment of its own.
        """
        settle, lost_at = command.settle, -math.inf if command.at is None else command.at
        if lost_at > self.switch_at or not now - 2 * settle <= self.switch_at <= now + settle:
            self.switch_at = self.drain_at = now + settle
        return max(0.0, self.switch_at - now)
