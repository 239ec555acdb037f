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
4. Requests bunch up on their way: one is held up by a new connection, the next is not, and the server sees them closer together than
   they were let out. So a bucket that is not known to be full *there* keeps `slack` seconds of its burst back. The first ``burst``
   grants after the bucket was full (for as long as the slack) need none of it: they are no more than the server's own bucket holds.

What the server says teaches it (`refuse`, `hear`). A refusal that our own count cannot explain means that somebody else uses the
account, or that its burst is smaller than assumed. The burst goes down by one; the rate goes to a little less than what got through since
the last such lesson, stays there for a while, and then climbs to its ceiling or to the next refusal (docs/decisions/limits-learning.md).
"""

# ruff: noqa: FURB136 - comparisons instead of min() and max() where every request comes by: a call costs as much as the rest

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from mux_async._checks import check_flag, check_number, check_period, check_seconds, explains_arguments

MEMORY: Final = 60.0
"""Seconds for which a grant can be given back."""
REMEMBERED: Final = 256
"""Grants that `PacedBucket.dump` keeps at most: the newest. Older ones can then no longer be given back."""
CLOCK_SLACK: Final = 1.0
"""Seconds by which a dumped bucket may be ahead of whoever loads it; beyond, it is of another clock (`PacedBucket.load`)."""


@explains_arguments
@attrs.frozen
class Lessons:
    """How a bucket learns.

    Attributes:
        first_pause: Seconds that a bucket stays closed after a refusal that names no time; doubles with each further one.
        longest_pause: Seconds that it stays closed at most, whatever the server asks for.
        backoff: Factor on the rate at a refusal that our own count does not explain, above 0 and at most 1 (which turns learning
            off). When less than that got through since the last refusal the rate goes lower, down to half of it.
        hold: Seconds for which a lowered rate stays where it is before more is tried. Every try that fails costs a refusal.
        recovery: Seconds in which the rate would climb from nothing to its ceiling afterwards. Half of it is back in half the time.
        floor: Share of the ceiling below which the rate is never lowered.
        discover: Whether the ceiling itself goes up while nothing is refused, for accounts that are allowed more than is known.
    """

    first_pause: float = 1.0
    longest_pause: float = 60.0
    backoff: float = 0.7
    hold: float = 18.0
    recovery: float = 8.0
    floor: float = 0.05
    discover: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("first_pause", "longest_pause", "hold"):
            check_seconds(f"the lessons' {name}", getattr(self, name))
        check_number("the lessons' backoff", self.backoff, "it is a factor above 0 and at most 1", above=0, most=1)
        check_period("the lessons' recovery", self.recovery)
        check_number("the lessons' floor", self.floor, "it is a share of the ceiling above 0 and at most 1", above=0, most=1)
        check_flag("the lessons' discover", self.discover)


_STEP: Final = 0.25
"""Seconds between two steps of recovery: each step forgets grants that could be given back."""
_BURST_MEMORY: Final = 600.0
"""Seconds after which a burst that was too large is tried again, one more at a time."""
_MARGIN: Final = 0.9
"""Share of what got through that a lowered rate asks for."""
_ENOUGH: Final = 4
"""Grants that say how much gets through."""


class PacedBucket:
    """One allowance: ``rate`` a second, at most ``burst`` at once.

    Args:
        rate: Grants a second, above 0.
        burst: Grants at once after a quiet time, at least 1.
        lessons: How to learn from refusals.
        slack: Seconds by which requests may bunch up on their way. At most half the burst is kept back for it, and so nothing of a burst
            of one: a server that allows no burst at all has to be met with a rate a little below its own.
    """

    __slots__ = (
        "_base",
        "_burst_ceiling",
        "_burst_raised_at",
        "_busy_since",
        "_configured",
        "_grants",
        "_interval",
        "_is_recovering",
        "_is_short",
        "_learned_at",
        "_lessons",
        "_passed",
        "_pause",
        "_raised_at",
        "_roomiest",
        "_slack",
        "_spree",
        "burst",
        "ceiling",
        "closed_at",
        "closed_until",
        "full_at",
        "now",
        "slack",
    )

    def __init__(self, rate: float, burst: int, lessons: Lessons | None = None, slack: float = 0.0) -> None:
        self._lessons = lessons or Lessons()
        self.burst = self._burst_ceiling = burst
        self.ceiling = self._configured = rate
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
        self._slack = slack
        self._spree = 0
        """Grants since the server's bucket was certainly full."""
        self._pause = 0.0
        """Seconds for which the last refusal closed it."""
        self._learned_at = -math.inf
        """When the rate was last lowered."""
        self._passed = 0
        """Grants since then."""
        self._roomiest = 0
        """The most that the server ever said would still get through, after a request of ours."""
        self._raised_at = self._burst_raised_at = -math.inf
        self.now: float = -math.inf
        """The latest time handed in."""
        self.slack: float
        """Seconds of the burst that are kept back."""
        self._is_recovering: bool
        """Whether time alone can raise the rate."""
        self._derive()

    def _derive(self) -> None:
        """Note what follows from rate, ceiling and burst, for the many grants between two changes of those."""
        self.slack = min(0.5 * (self.burst - 1) * self._interval, self._slack)
        self._is_recovering = 1.0 / self._interval < self.ceiling * (1 - 1e-9) or self._lessons.discover

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
        spare, interval, slack, full_at = self.burst - 1, self._interval, self.slack, self.full_at
        kept = (leave if leave < spare else spare) * interval
        if kept < slack and (0 if now >= full_at + slack else self._spree) + ahead > spare:
            kept = slack
        ready_at = (full_at if full_at > now else now) + (ahead - spare) * interval + kept
        if self.closed_until > ready_at:
            ready_at = self.closed_until
        return ready_at if ready_at > now else now

    def take(self, now: float, *, leave: int = 0, ahead: int = 0) -> float:
        """Take a grant, or say how long to wait before asking again.

        Args:
            now: Monotonic seconds.
            leave: Grants of the burst that are left to others.
            ahead: Grants that are kept for others who come first.

        Returns:
            Seconds to wait; 0.0 when the grant was taken. The grant is identified by the time in `now` from then on.
        """
        now = self.advance(now)
        full_at = self.full_at
        if full_at > now or self.closed_until > now or ahead:  # else the whole burst is there
            wait = self.ready_at(now, leave=leave, ahead=ahead) - now
            if wait > 0:
                self._is_short = True
                return wait
        if full_at <= now:
            self._busy_since = now
        # Is the server's bucket full too, however late our last requests came there?
        self._spree = 1 if now >= full_at + self.slack else self._spree + 1
        self._passed += 1
        self._grants.append(now)
        self.full_at = (full_at if full_at > now else now) + self._interval
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
        now = self.advance(now)
        is_news = granted_at > self.closed_at
        pause = 0.0 if delay is None else delay
        if is_news:
            self.closed_at = now
            if delay is None:
                # Refused again as soon after reopening: it was too short. Later than that it is a new matter.
                is_too_soon = now - self.closed_until <= 2 * self._pause
                pause = max(lessons.first_pause, 2 * self._pause) if is_too_soon else lessons.first_pause
            self._pause = pause = min(pause, lessons.longest_pause)
            if granted_at > self._learned_at:
                self._learn(now, granted_at)
        self.closed_until = max(self.closed_until, now + min(pause, lessons.longest_pause))
        self._raised_at = max(self._raised_at, self.closed_until)
        if is_news:
            # The server's own bucket is empty, whatever ours says: start again without a burst.
            self._lower(self.closed_until, 1)
        return self.closed_until - now

    def hear(self, now: float, *, remaining: int, at: float | None = None) -> None:
        """Take the server's word for how many requests it would still let through.

        It can only lower the level: requests under way from here may not be in the server's count yet.

        Args:
            now: Monotonic seconds.
            remaining: Requests.
            at: When the server said so, if that was before *now*.
        """
        now = self.advance(now)
        if at is not None and at < now:
            now = at
        if remaining < 0:
            return
        self._roomiest = max(self._roomiest, remaining)
        # Nothing is left there. If our own requests do not account for it, others have the rest: no need to run into a refusal.
        is_ours = self._taken(now) + 1 >= max(self.burst, self._roomiest + 1)
        if remaining == 0 and not is_ours and self._passed >= _ENOUGH and self._lessons.backoff < 1.0:
            self._slow_down(now)
        if remaining < self.burst and self.level(now) > remaining:
            self._lower(now, remaining)

    def drain(self, now: float) -> None:
        """Start over with an empty bucket: nothing is known of what was taken before *now*."""
        now = self.advance(now)
        self._lower(now, 0)

    def quiet_until(self) -> float:
        """Return until when time alone changes nothing but what is remembered: rate, burst and ceiling stay until then, or longer."""
        moment = math.inf
        if self._is_recovering:
            moment = self._raised_at + _STEP
        if self.burst < self._burst_ceiling:
            moment = min(moment, self._burst_raised_at + _BURST_MEMORY)
        return moment - 1e-6  # a rounding error earlier, not later

    def dump(self) -> tuple[dict[str, float], list[float]]:
        """Return the bucket as plain data, for `load`.

        Returns:
            Numbers by name, without those that are ``-inf``; and when the newest `REMEMBERED` grants were made, oldest first.
        """
        while len(self._grants) > REMEMBERED:
            self._base = max(self._grants.popleft(), self._base) + self._interval
        numbers = {name: float(getattr(self, name)) for name in _NUMBERS}
        return {name: number for name, number in numbers.items() if number > -math.inf}, list(self._grants)

    def load(self, numbers: Mapping[str, float], grants: Sequence[float], now: float) -> None:
        """Become the bucket that was dumped, under this one's settings.

        Where it was dumped with another rate or burst, what was learned since stays only as far as it is below this one's. A bucket
        from the future is one of another clock (that of before a restart of the machine): it is taken to be of this moment.

        Args:
            numbers: As dumped.
            grants: As dumped.
            now: Monotonic seconds.
        """
        rate, burst = self._configured, self._burst_ceiling
        for name in _NUMBERS:
            if name in numbers:
                present: float = getattr(self, name)  # or an int, or a bool
                setattr(self, name, type(present)(numbers[name]))
        self._grants = deque(grants)
        ahead = self.now - now
        if ahead > CLOCK_SLACK:
            for name in _MOMENTS:
                setattr(self, name, getattr(self, name) - ahead)
            self._grants = deque(moment - ahead for moment in self._grants)
        if self._burst_ceiling != burst:
            self.burst = burst if self.burst == self._burst_ceiling else min(self.burst, burst)
            self._burst_ceiling = burst
        if self._configured != rate:
            learned = rate if self.rate >= self.ceiling * (1 - 1e-9) else min(self.rate, rate)
            self.ceiling = self._configured = rate
            self._change_rate(max(now, self.now), learned)
        self._derive()

    def level(self, now: float) -> float:
        """Return how many grants could be taken at once: 0 to ``burst``."""
        if now < self.closed_until:
            return 0.0
        return min(float(self.burst), max(0.0, self.burst - (self.full_at - now) / self._interval))

    def _learn(self, now: float, granted_at: float) -> None:
        lessons = self._lessons
        if lessons.backoff >= 1.0:
            return
        debt = self._taken(now)
        if debt > 1 and self.burst > 1 and granted_at - self._busy_since < self.burst * self._interval:
            # Refused within the burst itself: the server's is smaller than ours, or somebody else had a part of it.
            self.burst = max(1, min(self.burst, debt) - 1)
            self._burst_raised_at = now
            self._derive()
            return
        self._slow_down(now)

    def _slow_down(self, now: float) -> None:
        """Lower the rate to less than what got through since the last time."""
        lessons = self._lessons
        rate = self.rate * lessons.backoff
        if self._passed > _ENOUGH and -math.inf < self._learned_at < now:
            # The last of them did not get through. Half at most, at one go: perhaps less was asked for than could have passed.
            got_through = (self._passed - 1) / (now - self._learned_at)
            rate = min(rate, max(_MARGIN * got_through, rate / 2))
        if lessons.discover and self.rate > self.ceiling * 0.99:
            self.ceiling = max(self.rate * 0.95, self.ceiling * lessons.floor)
        self._learned_at = now
        self._passed = 0
        self._change_rate(now, max(rate, self.ceiling * lessons.floor))
        self._raised_at = now + lessons.hold

    def _taken(self, now: float) -> int:
        """Return how many grants it would take to be full again."""
        return math.ceil(max(0.0, self.full_at - now) / self._interval - 1e-9)

    def advance(self, now: float) -> float:
        """Let time pass up to *now*, and return it; a time before the latest is held at that."""
        if now < self.now:
            now = self.now
        self.now = now
        grants = self._grants
        while grants and grants[0] < now - MEMORY:
            self._base = max(grants.popleft(), self._base) + self._interval
        if self._is_recovering:
            self._recover(now)
        if self.burst < self._burst_ceiling and now - self._burst_raised_at >= _BURST_MEMORY:
            self.burst += 1
            self._burst_raised_at = now
            self._derive()
        return now

    def _recover(self, now: float) -> None:
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
        if rate != self.rate:
            start = max(
                now, self.closed_until
            )  # waiting for a closed bucket is no debt: it does not take longer at a lower rate
            debt = (self.full_at - start) / self._interval
            self._interval = 1.0 / rate
            self._forget(start + debt * self._interval if debt > 0 else self.full_at)
        self._derive()

    def _lower(self, now: float, level: int) -> None:
        """Have no more than *level* left at *now*."""
        self._forget(max(self.full_at, now + (self.burst - level) * self._interval))
        self._spree = max(self._spree, self.burst)

    def _forget(self, full_at: float) -> None:
        self.full_at = self._base = full_at
        self._grants.clear()


_MOMENTS: Final = (
    "_base",
    "_burst_raised_at",
    "_busy_since",
    "_learned_at",
    "_raised_at",
    "closed_at",
    "closed_until",
    "full_at",
    "now",
)
"""What of a bucket is a time, and moves with the clock."""
_NUMBERS: Final = (
    *_MOMENTS,
    "_burst_ceiling",
    "_configured",
    "_interval",
    "_is_short",
    "_passed",
    "_pause",
    "_roomiest",
    "_spree",
    "burst",
    "ceiling",
)
"""What of a bucket is a number: all of it but its settings (lessons and slack) and its grants."""
