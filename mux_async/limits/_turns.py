"""Turns: how several processes take from one bucket without getting in each other's way.

Arithmetic only, on top of `PacedBucket`; the stores keep what is here and hand the time in. The naive way is to tell everybody how long the
bucket stays empty. Then all come back at the same moment, one of them is served, and whoever lives nearest is served always. Here
somebody who cannot be served is put down with the moment of *its* slot:

1. Those waiting stand in order of rank (class of service), then of how long they have waited since they were last served.
2. An asker is served when there is enough for it *and* for all who stand before it. So coming early takes nothing from anybody,
   and a higher rank never waits for a lower one.
3. Whoever does not come back within `grace` of its slot is not waited for: others take what was kept for it. So a process that was killed
   gives back what it had reserved, and costs nothing that a burst of two does not make up for.
4. One that comes late all the same has kept its place in the order, for `LEASE` seconds.

That the bound holds in every window is `PacedBucket`'s doing alone: turns can only make somebody wait longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import attrs

from mux_async._operation import Bucket
from mux_async.limits._bucket import CLOCK_SLACK, PacedBucket

LEASE: Final = 5.0
"""Seconds after its slot for which an asker that does not come keeps its place in the order."""
MEMBERSHIP: Final = 60.0
"""Seconds since it last asked for which an asker counts as active."""
SHORTEST_GRACE: Final = 0.1
LONGEST_GRACE: Final = 1.0
"""Bounds, in seconds, of the grace, which is otherwise one interval of the bucket."""
A_MOMENT: Final = 0.001
"""Seconds after which a grace that ends now is over."""
RANKS: Final = 3
"""Classes of service: rank 0 goes first."""

Verb: TypeAlias = Literal["ask", "release", "give_back", "refuse", "hear", "rejoin"]


@attrs.frozen
class Command:
    """One thing to do with a shared bucket.

    Attributes:
        verb: ``ask`` for a grant, ``release`` the place in the order, ``give_back`` a grant, record that one was refused or what the
            server has left (``refuse``, ``hear``), or ask when to ``rejoin`` after an outage.
        bucket: Which.
        owner: Who asks: one queue of one process.
        leave: For ``ask``: grants of the burst that are left to others.
        rank: For ``ask``: class of service, 0 to 2.
        at: For ``give_back`` and ``refuse``: when the grant was made, and for ``hear``: when the server said it. By the store's clock;
            ``None`` for now.
        delay: For ``refuse``: seconds the server asked for; ``None`` when it did not say.
        remaining: For ``hear``.
        settle: For ``rejoin``: seconds in which everybody will have noticed that the store is back.
    """

    verb: Verb
    bucket: Bucket
    owner: str
    leave: int = 0
    rank: int = 0
    at: float | None = None
    delay: float | None = None
    remaining: int = 0
    settle: float = 0.0


@attrs.frozen
class Reply:
    """What came of a command, and how the bucket stands after it.

    Attributes:
        value: For ``ask``: seconds to wait, 0.0 for a grant. For ``refuse``: seconds for which the bucket is closed. For ``rejoin``:
            seconds until everybody goes back to the store. Else 0.0.
        now: The store's clock.
        numbers: The bucket, as `PacedBucket.dump` gives it, without the grants.
        others: How many others wait, of rank 0, 1 and 2.
        members: How many askers are active, this one included.
    """

    value: float
    now: float
    numbers: Mapping[str, float]
    others: tuple[int, int, int]
    members: int


@attrs.frozen
class Asker:
    """One queue of one process, as the store remembers it.

    Attributes:
        seen: When it last asked.
        due: When its slot is; ``-inf`` when it waits for nothing.
        since: Since when it waits.
        rank: Its class of service.
    """

    seen: float
    due: float = -math.inf
    since: float = -math.inf
    rank: int = 0


@attrs.define
class SharedBucket:
    """A bucket and those who wait for it.

    Attributes:
        bucket: The allowance.
        askers: By name.
        switch_at: When those who lost the store went, or go, back to it.
        drain_at: When the bucket has to be emptied, because of what they take without it until then; ``inf`` for never.
    """

    bucket: PacedBucket
    askers: dict[str, Asker] = attrs.field(factory=dict[str, Asker])
    switch_at: float = -math.inf
    drain_at: float = math.inf

    def perform(self, command: Command, now: float) -> float:
        """Carry out *command* and return the value of its reply.

        Args:
            command: What to do.
            now: The store's clock, in seconds.
        """
        now = self.bucket.advance(now)
        self._catch_up(now)
        match command.verb:
            case "ask":
                return self._ask(now, command)
            case "release":
                self.askers[command.owner] = Asker(now)
            case "give_back":
                self.bucket.give_back(now if command.at is None else command.at)
            case "refuse":
                at = now if command.at is None else command.at
                return self.bucket.refuse(now, granted_at=at, delay=command.delay)
            case "hear":
                self.bucket.hear(now, remaining=command.remaining, at=command.at)
            case "rejoin":
                return self._rejoin(now, command.settle)
        return 0.0

    def _catch_up(self, now: float) -> None:
        """Forget askers of another clock, and those that were not seen for long."""
        if any(asker.seen > now + CLOCK_SLACK for asker in self.askers.values()):
            self.askers.clear()
        self.askers = {name: asker for name, asker in self.askers.items() if asker.seen >= now - MEMBERSHIP}
        if now >= self.drain_at or math.inf > self.drain_at > now + MEMBERSHIP:
            self.bucket.drain(now)
            self.drain_at = math.inf

    def reply(self, owner: str, value: float, now: float) -> Reply:
        """Return *value* with the bucket as it stands."""
        now = max(now, self.bucket.now)
        counts = [0] * RANKS
        for name, asker in self.askers.items():
            if name != owner and self._is_waited_for(asker, now):
                counts[asker.rank] += 1
        numbers, _ = self.bucket.dump()
        return Reply(value, now, numbers, (counts[0], counts[1], counts[2]), len(self.askers))

    def _ask(self, now: float, command: Command) -> float:
        owner, rank = command.owner, command.rank
        known = self.askers.get(owner)
        since = known.since if known is not None and known.due + LEASE >= now else now
        mine = (rank, since, owner)
        before = [
            asker
            for name, asker in self.askers.items()
            if name != owner and self._is_waited_for(asker, now) and (asker.rank, asker.since, name) < mine
        ]
        wait = self.bucket.take(now, leave=command.leave, ahead=len(before))
        if wait:
            # Some of them may be late. When one is no longer waited for, what is kept for it is free.
            grace = self._grace()
            wait = min([wait, *(asker.due + grace - now + A_MOMENT for asker in before if asker.due < now)])
        self.askers[owner] = Asker(now) if wait == 0.0 else Asker(now, now + wait, since, rank)
        return wait

    def _is_waited_for(self, asker: Asker, now: float) -> bool:
        return asker.due + self._grace() >= now

    def _grace(self) -> float:
        return min(max(1.0 / self.bucket.rate, SHORTEST_GRACE), LONGEST_GRACE)

    def _rejoin(self, now: float, settle: float) -> float:
        """Agree on one moment, so that nobody takes from the store while others still take their local share."""
        if not now - 2 * settle <= self.switch_at <= now + settle:
            self.switch_at = self.drain_at = now + settle
        return max(0.0, self.switch_at - now)
