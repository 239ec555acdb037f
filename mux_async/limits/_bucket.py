"""A bucket's arithmetic: when may the next request go out.

Nothing here waits, reads a clock, or knows about tasks. The method is GCRA (the generic cell rate algorithm): one number, the
time at which the bucket is full again, says everything. With ``interval = 1 / rate``:

- each grant moves ``full_at`` on by one interval, counted from now when the bucket was full;
- a request that may use the whole burst can go while ``full_at`` is less than ``burst`` intervals ahead after it;
- one that *leaves* some of the burst to others goes when that much remains. One that leaves all of it but itself (``burst - 1``) is
  paced: such requests are an interval apart.

Rules that keep it honest:

1. In every window of ``w`` seconds at most ``burst + rate * w`` grants that were not given back, with the highest burst and rate in force.
2. Giving a grant back leaves the bucket exactly as if it had never been made, so grants of the last `MEMORY` seconds are
   remembered and replayed. An older one, or one from before a change of rate, is simply lost: that errs on the safe side.
3. Time comes in as ``now``. A clock that steps back is held where it was.

What the server says teaches it (`refuse`, `hear`). A refusal that our own count cannot explain means that somebody else uses the account, or
that its burst is smaller than assumed: the rate (or the burst) goes down by a factor, and comes back by a steady slope.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import attrs

MEMORY: Final = 60.0
"""Seconds for which a grant can be given back."""


@attrs.frozen
class Lessons:
    """How a bucket learns.

    Attributes:
        first_pause: Seconds that a bucket stays closed after a refusal that names no time; doubles with each further one.
        longest_pause: Seconds that it stays closed at most, whatever the server asks for; also how long after reopening a refusal
            still counts as following another.
        backoff: Factor on the rate at a refusal that our own count does not explain, above 0 and at most 1 (which turns learning off).
        recovery: Seconds in which the rate would climb from nothing to its ceiling. Half of it is back in half the time.
        floor: Share of the ceiling below which the rate is never lowered.
        discover: Whether the ceiling itself goes up while nothing is refused, for accounts that are allowed more than is known.
    """

    first_pause: float = 1.0
    longest_pause: float = 60.0
    backoff: float = 0.7
    recovery: float = 45.0
    floor: float = 0.05
    discover: bool = False


_STEP: Final = 0.25
"""Seconds between two steps of recovery: each step forgets grants that could be given back."""
_BURST_MEMORY: Final = 600.0
"""Seconds after which a burst that was too large is tried again, one more at a time."""


class PacedBucket:
    """One allowance: ``rate`` a second, at most ``burst`` at once.

    Args:
        rate: Grants a second, above 0.
        burst: Grants at once after a quiet time, at least 1.
        lessons: How to learn from refusals.
    """

    __slots__ = (
        "_base",
        "_burst_ceiling",
        "_burst_raised_at",
        "_busy_since",
        "_grants",
        "_interval",
        "_is_short",
        "_lessons",
        "_pauses",
        "_raised_at",
        "burst",
        "ceiling",
        "closed_at",
        "closed_until",
        "full_at",
        "now",
    )

    def __init__(self, rate: float, burst: int, lessons: Lessons | None = None) -> None:
        self._lessons = lessons or Lessons()
        self.burst = self._burst_ceiling = burst
        self.ceiling = rate
        """The rate that recovery goes up to."""
        self._interval = 1.0 / rate
        self.full_at = -math.inf
        """When the bucket is full again, if nothing more is taken."""
        self.closed_until = -math.inf
        self.closed_at = -math.inf
        self._base = -math.inf
        """`full_at` before the oldest remembered grant."""
        self._grants: deque[float] = deque()
        self._busy_since = -math.inf
        self._is_short = False
        """Whether more was asked for than there was, since the last step of recovery."""
        self._pauses = 0
        self._raised_at = self._burst_raised_at = -math.inf
        self.now = -math.inf
        """The latest time handed in."""

    @property
    def rate(self) -> float:
        """Grants a second, sustained, as learned."""
        return 1.0 / self._interval

    def ready_at(self, now: float, *, leave: int = 0, ahead: int = 0) -> float:
        """Return the earliest time for a grant, were *ahead* others made first; at least *now*.

        Args:
            now: Monotonic seconds.
            leave: Grants of the burst that are left to others; more than there are leave all but one.
            ahead: Grants made before it.
        """
        usable = max(0, self.burst - 1 - leave)
        full_at = max(now, self.full_at) + (ahead - usable) * self._interval
        return max(now, self.closed_until, full_at)

    def take(self, now: float, *, leave: int = 0) -> float:
        """Take a grant, or say how long to wait before asking again.

        Args:
            now: Monotonic seconds.
            leave: Grants of the burst that are left to others.

        Returns:
            Seconds to wait; 0.0 when the grant was taken. The grant is identified by the time in `now` from then on.
        """
        now = self._advance(now)
        wait = self.ready_at(now, leave=leave) - now
        if wait > 0:
            self._is_short = True
            return wait
        if self.full_at <= now:
            self._busy_since = now
        self._grants.append(now)
        self.full_at = max(now, self.full_at) + self._interval
        return 0.0

    def give_back(self, granted_at: float) -> bool:
        """Undo a grant that was never used.

        Returns:
            Whether it could be undone; False when it is too old to matter.
        """
        try:
            self._grants.remove(granted_at)
        except ValueError:
            return False
        full_at = self._base
        for moment in self._grants:
            full_at = max(moment, full_at) + self._interval
        self.full_at = full_at
        return True

    def refuse(self, now: float, *, granted_at: float, delay: float | None = None) -> float:
        """Let nothing out for a while, because the server refused a request, and learn from it.

        Several requests in flight are refused together: only the first of them counts as news.

        Args:
            now: Monotonic seconds.
            granted_at: When the refused request got its grant.
            delay: Seconds the server asked for; ``None`` when it did not say.

        Returns:
            Seconds from *now* for which the bucket is closed.
        """
        lessons = self._lessons
        now = self._advance(now)
        is_news = granted_at >= self.closed_at
        pause = 0.0 if delay is None else delay
        if is_news:
            self._pauses = 1 if now - self.closed_until > lessons.longest_pause else self._pauses + 1
            self.closed_at = now
            if delay is None:
                pause = lessons.first_pause * 2.0 ** min(self._pauses - 1, 30)
            self._learn(now, granted_at)
        self.closed_until = max(self.closed_until, now + min(pause, lessons.longest_pause))
        if is_news:
            # The server's own bucket is empty, whatever ours says: start again without a burst.
            self._forget(max(self.full_at, self.closed_until + (self.burst - 1) * self._interval))
        return self.closed_until - now

    def hear(self, now: float, *, remaining: int) -> None:
        """Take the server's word for how many requests it would still let through now.

        It can only lower the level: requests under way from here may not be in the server's count yet.
        """
        now = self._advance(now)
        if 0 <= remaining < self.burst and self.level(now) > remaining:
            self._forget(now + (self.burst - remaining) * self._interval)

    def level(self, now: float) -> float:
        """Return how many grants could be taken at once: 0 to ``burst``."""
        if now < self.closed_until:
            return 0.0
        return min(float(self.burst), max(0.0, self.burst - (self.full_at - now) / self._interval))

    def _learn(self, now: float, granted_at: float) -> None:
        lessons = self._lessons
        if lessons.backoff >= 1.0:
            return
        debt = math.ceil((self.full_at - now) / self._interval - 1e-9)
        if debt > 1 and self.burst > 1 and granted_at - self._busy_since < self.burst * self._interval:
            # Refused within the burst itself: the server's is smaller than ours, or somebody else had a part of it.
            self.burst = max(1, min(self.burst, debt) - 1)
            self._burst_raised_at = now
            return
        if lessons.discover and self.rate > self.ceiling * 0.99:
            self.ceiling = max(self.rate * 0.95, self.ceiling * lessons.floor)
        self._change_rate(now, max(self.rate * lessons.backoff, self.ceiling * lessons.floor))
        self._raised_at = now

    def _advance(self, now: float) -> float:
        self.now = now = max(now, self.now)
        grants = self._grants
        while grants and grants[0] < now - MEMORY:
            self._base = max(grants.popleft(), self._base) + self._interval
        if self.rate < self.ceiling * (1 - 1e-9) or self._lessons.discover:
            self._recover(now)
        if self.burst < self._burst_ceiling and now - self._burst_raised_at >= _BURST_MEMORY:
            self.burst += 1
            self._burst_raised_at = now
        return now

    def _recover(self, now: float) -> None:
        if now < self.closed_until:
            self._raised_at = now
            return
        passed = now - self._raised_at
        if passed < _STEP:
            return
        if not math.isfinite(passed):
            passed = 0.0
        self._raised_at = now
        slope = self.ceiling / self._lessons.recovery
        rate = self.rate + slope * passed
        if self._lessons.discover and rate > self.ceiling and self._is_short:
            self.ceiling = rate  # only what is asked for is discovered
        self._is_short = False
        self._change_rate(now, min(rate, self.ceiling))

    def _change_rate(self, now: float, rate: float) -> None:
        debt = max(0.0, self.full_at - now) / self._interval
        if rate != self.rate:
            self._interval = 1.0 / rate
            self._forget(now + debt * self._interval)

    def _forget(self, full_at: float) -> None:
        self.full_at = self._base = full_at
        self._grants.clear()
