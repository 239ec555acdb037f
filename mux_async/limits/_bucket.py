"""A bucket's arithmetic: when may the next request go out.

Nothing here waits, reads a clock, or knows about tasks. The method is GCRA (the generic cell rate algorithm): one number, the
time at which the bucket is full again, says everything. With ``interval = 1 / rate``:

- each grant moves ``full_at`` on by one interval, counted from now when the bucket was full;
- a request that may use the burst can go while ``full_at`` is less than ``burst`` intervals ahead after it;
- a *paced* request goes only when the bucket is full, so paced requests are an interval apart and leave the burst to others.

Rules that keep it honest:

1. In every window of ``w`` seconds at most ``burst + rate * w`` grants that were not given back.
2. Giving a grant back leaves the bucket exactly as if it had never been made, so grants of the last `MEMORY` seconds are
   remembered and replayed. An older one is simply lost: that errs on the safe side.
3. Time comes in as ``now``. A clock that steps back is held where it was.
"""

from __future__ import annotations

import math
from collections import deque

MEMORY = 60.0
"""Seconds for which a grant can be given back."""


class PacedBucket:
    """One allowance: ``rate`` a second, at most ``burst`` at once.

    Args:
        rate: Grants a second, above 0.
        burst: Grants at once after a quiet time, at least 1.
    """

    __slots__ = (
        "_base",
        "_grants",
        "_interval",
        "_pauses",
        "_tolerance",
        "burst",
        "closed_at",
        "closed_until",
        "full_at",
        "now",
    )

    def __init__(self, rate: float, burst: int) -> None:
        self.burst = burst
        self._interval = 1.0 / rate
        self._tolerance = (burst - 1) * self._interval
        self.full_at = -math.inf
        """When the bucket is full again, if nothing more is taken."""
        self.closed_until = -math.inf
        self.closed_at = -math.inf
        self._base = -math.inf
        """`full_at` before the oldest remembered grant."""
        self._grants: deque[float] = deque()
        self._pauses = 0
        self.now = -math.inf
        """The latest time handed in."""

    @property
    def rate(self) -> float:
        """Grants a second, sustained."""
        return 1.0 / self._interval

    def ready_at(self, now: float, *, paced: bool, ahead: int = 0) -> float:
        """Return the earliest time for a grant, were *ahead* others made first; at least *now*."""
        full_at = max(now, self.full_at) + ahead * self._interval
        return max(now, self.closed_until, full_at if paced else full_at - self._tolerance)

    def take(self, now: float, *, paced: bool) -> float:
        """Take a grant, or say how long to wait before asking again.

        Args:
            now: Monotonic seconds.
            paced: Whether to leave the burst alone.

        Returns:
            Seconds to wait; 0.0 when the grant was taken. The grant is identified by the time in `now` from then on.
        """
        now = self._advance(now)
        wait = self.ready_at(now, paced=paced) - now
        if wait > 0:
            return wait
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

    def close(self, now: float, *, granted_at: float, delay: float | None, first: float, longest: float) -> float:
        """Let nothing out for a while, because the server refused a request.

        Several requests in flight are refused together: only the first of them counts as news.

        Args:
            now: Monotonic seconds.
            granted_at: When the refused request got its grant.
            delay: Seconds the server asked for; ``None`` when it did not say.
            first: Seconds for a first refusal without a time; doubled for each one that follows another.
            longest: Seconds at most; also how long after reopening a refusal still counts as following another.

        Returns:
            Seconds from *now* for which the bucket is closed.
        """
        now = self._advance(now)
        is_news = granted_at >= self.closed_at
        if is_news:
            self._pauses = 1 if now - self.closed_until > longest else self._pauses + 1
            self.closed_at = now
            pause = first * 2.0 ** (self._pauses - 1) if delay is None else delay
        else:
            pause = 0.0 if delay is None else delay
        self.closed_until = max(self.closed_until, now + min(pause, longest))
        if is_news:
            # The server's own bucket is empty, whatever ours says: start again without a burst.
            self.full_at = self._base = max(self.full_at, self.closed_until + self._tolerance)
            self._grants.clear()
        return self.closed_until - now

    def level(self, now: float) -> float:
        """Return how many grants could be taken at once: 0 to ``burst``."""
        if now < self.closed_until:
            return 0.0
        return min(float(self.burst), max(0.0, self.burst - (self.full_at - now) / self._interval))

    def _advance(self, now: float) -> float:
        self.now = now = max(now, self.now)
        grants = self._grants
        while grants and grants[0] < now - MEMORY:
            self._base = max(grants.popleft(), self._base) + self._interval
        return now
