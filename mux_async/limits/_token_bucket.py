"""The token bucket of the rate limits: when may the next request go out.

Arithmetic only: nothing here waits, reads a clock, or knows about tasks. The algorithm is GCRA (the generic cell rate algorithm): one
number, the time at which the bucket is full again, holds the whole state. With ``interval = 1 / rate``:

- each grant moves ``full_at`` by one interval, counted from now when the bucket was full;
- a request that may use the whole burst goes if ``full_at`` is at most ``burst`` intervals ahead after it;
- a request with ``held_back`` goes when that many grants remain after it. With ``held_back = burst - 1`` it is paced: such requests are
  an interval apart.

The rules:

1. In every window of ``w`` seconds at most ``burst + rate * w`` grants that were not given back, with the highest burst and rate in force.
2. Giving a grant back leaves the bucket exactly as if it had never been made, so grants of the last `MEMORY` seconds are
   remembered and replayed. An older one, or one from before a change of rate, is lost: that errs on the safe side.
3. The time is an argument, ``now``. If it steps back, the latest time is used.
4. Requests bunch up on their way (jitter): one has to open a connection, the next does not, and the server sees them closer together than
   they were granted. So `jitter` seconds of the burst are kept unused, unless the server's bucket is known to be full. The first
   ``burst`` grants after the bucket was full (for as long as the jitter) are exempt: the server's own bucket holds as many.

What the server answers changes the bucket (`on_throttled`, `observe_remaining`). A 429 that our own count cannot explain means that another
program uses the account, or that the burst is smaller than assumed. The burst goes down by one; the rate goes to a little less than
what got through since the last decrease, stays there for a while, and then climbs to its ceiling or to the next 429
(docs/decisions/limits-learning.md).
"""

# ruff: noqa: FURB136 - comparisons instead of min() and max() on the path of every request: a call costs as much as the rest

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
"""Grants that `TokenBucket.dump` keeps at most: the newest. Older ones can then no longer be given back."""
CLOCK_TOLERANCE: Final = 1.0
"""Seconds by which a dumped bucket may be ahead of the clock at `TokenBucket.load`. Further ahead, it is of another clock."""


@explains_arguments
@attrs.frozen
class AdaptiveSettings:
    """How a bucket adapts to 429s.

    Attributes:
        first_pause: Seconds that a bucket stays closed after a 429 without a ``Retry-After``; doubles with each further one.
        longest_pause: Seconds that it stays closed at most, whatever the server asks for.
        backoff: Factor on the rate at a 429 that our own count does not explain, above 0 and at most 1 (which turns adapting
            off). When less than that got through since the last 429 the rate goes lower, down to half of it.
        hold: Seconds for which a lowered rate stays before a higher one is tried. Every try that fails costs a 429.
        recovery: Seconds in which the rate would climb from nothing to its ceiling afterwards. Half of it is back in half the time.
        min_rate_ratio: Share of the ceiling below which the rate is never lowered.
        discover: Whether the ceiling itself goes up while there is no 429, for accounts that are allowed more than is known.
    """

    first_pause: float = 1.0
    longest_pause: float = 60.0
    backoff: float = 0.7
    hold: float = 18.0
    recovery: float = 8.0
    min_rate_ratio: float = 0.05
    discover: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("first_pause", "longest_pause", "hold"):
            check_seconds(f"the adaptive settings' {name}", getattr(self, name))
        check_number("the adaptive settings' backoff", self.backoff, "it is a factor above 0 and at most 1", above=0, most=1)
        check_period("the adaptive settings' recovery", self.recovery)
        check_number(
            "the adaptive settings' min_rate_ratio",
            self.min_rate_ratio,
            "it is a share of the ceiling above 0 and at most 1",
            above=0,
            most=1,
        )
        check_flag("the adaptive settings' discover", self.discover)


_STEP: Final = 0.25
"""Seconds between two steps of recovery: each step forgets grants that could be given back."""
_BURST_MEMORY: Final = 600.0
"""Seconds after which a burst that was lowered grows by one again."""
_MARGIN: Final = 0.9
"""Share of what got through that a lowered rate asks for."""
_ENOUGH: Final = 4
"""Grants that say how much gets through."""
_LEAST_BY_COUNT: Final = 0.25
"""Share of the ceiling below which a count of what is left does not lower the rate, because what it means is not published. A 429 does."""


class TokenBucket:
    """One allowance: ``rate`` a second, at most ``burst`` at once.

    Args:
        rate: Grants a second, above 0.
        burst: Grants at once after a quiet time, at least 1.
        adaptive: How to adapt to 429s.
        jitter: Seconds by which requests may bunch up on their way. At most half of the burst is kept unused for it, and so nothing of a
            burst of one: for a server that allows no burst at all, the rate has to be a little below the server's.
    """

    def __init__(self, rate: float, burst: int, adaptive: AdaptiveSettings | None = None, jitter: float = 0.0) -> None:
        self._adaptive = adaptive or AdaptiveSettings()
        self._configured_burst = burst
        self.burst: int = burst
        self._configured_rate = rate
        self.ceiling: float = rate
        """The rate that recovery goes up to."""
        self._interval = 1.0 / rate
        self.full_at: float = -math.inf
        """When the bucket is full again, if nothing more is taken."""
        self.closed_until: float = -math.inf
        self.closed_at: float = -math.inf
        self._base_full_at = -math.inf
        """`full_at` before the oldest remembered grant."""
        self._grants: deque[float] = deque()
        self._busy_since = -math.inf
        self._had_unmet_demand = False
        """Whether more was asked for than there was, since the last step of recovery."""
        self._configured_jitter = jitter
        self._grants_since_full = 0
        """Grants since the server's bucket was certainly full."""
        self._pause = 0.0
        """Seconds for which the last 429 closed it."""
        self._decreased_at = -math.inf
        """When the rate was last lowered."""
        self._grants_since_decrease = 0
        """Grants since then."""
        self._max_remaining = 0
        """The largest count of remaining requests that the server ever reported."""
        self._increased_at = self._burst_changed_at = -math.inf
        self.now: float = -math.inf
        """The latest time."""
        self.jitter: float
        """Seconds of the burst that are kept unused."""
        self._is_recovering: bool
        """Whether time alone can raise the rate."""
        self._is_adapting: bool
        """Whether time alone can change the rate or the burst."""
        self._derive()

    def _derive(self) -> None:
        """Compute what depends on rate, ceiling and burst only: they change rarely, and every grant needs it."""
        self.jitter = min(0.5 * (self.burst - 1) * self._interval, self._configured_jitter)
        self._is_recovering = 1.0 / self._interval < self.ceiling * (1 - 1e-9) or self._adaptive.discover
        self._is_adapting = self._is_recovering or self.burst < self._configured_burst

    @property
    def rate(self) -> float:
        """Grants a second, sustained, as learned."""
        return 1.0 / self._interval

    def ready_at(self, now: float, *, held_back: float = 0, ahead: int = 0) -> float:
        """Return the earliest time for a grant, were *ahead* others made first; at least *now*.

        *held_back* grants of the burst are left to others, at most all but one.
        """
        spare, interval, jitter, full_at = self.burst - 1, self._interval, self.jitter, self.full_at
        kept = (held_back if held_back < spare else spare) * interval
        if kept < jitter and (0 if now >= full_at + jitter else self._grants_since_full) + ahead > spare:
            kept = jitter
        ready_at = (full_at if full_at > now else now) + (ahead - spare) * interval + kept
        if self.closed_until > ready_at:
            ready_at = self.closed_until
        return ready_at if ready_at > now else now

    def take(self, now: float, *, held_back: float = 0, ahead: int = 0) -> float:
        """Take a grant, or return how many seconds to wait before asking again. A grant that was taken is identified by *now* from then on.

        *held_back* grants of the burst are left to others, and *ahead* are reserved for others in front.
        """
        grants, full_at = self._grants, self.full_at
        if self._is_adapting or now < self.now or (grants and grants[0] < now - MEMORY):
            now = self.advance(now)
            full_at = self.full_at
        else:
            self.now = now
        if full_at > now or self.closed_until > now or ahead:  # else the whole burst is there
            wait = self.ready_at(now, held_back=held_back, ahead=ahead) - now
            if wait > 0:
                self._had_unmet_demand = True
                return wait
        if full_at <= now:
            self._busy_since = now
        # Whether the server's bucket is full too, however late our last requests arrived there.
        self._grants_since_full = 1 if now >= full_at + self.jitter else self._grants_since_full + 1
        self._grants_since_decrease += 1
        grants.append(now)
        self.full_at = (full_at if full_at > now else now) + self._interval
        return 0.0

    def give_back(self, granted_at: float) -> bool:
        """Undo a grant that was never used. Returns whether it could be undone; False when it is too old to matter."""
        try:
            self._grants.remove(granted_at)
        except ValueError:
            return False
        full_at = self._base_full_at
        for moment in self._grants:
            full_at = max(moment, full_at) + self._interval
        self.full_at = full_at
        return True

    def on_throttled(self, now: float, *, granted_at: float, delay: float | None = None) -> float:
        """Close the bucket for a while after a 429, and adapt the rate or the burst. Returns for how many seconds from *now* it is closed.

        Several requests in flight get a 429 together: only the first of them counts.

        Args:
            now: Monotonic seconds.
            granted_at: When the request got its grant.
            delay: Seconds the server asked for; ``None`` when it did not say.
        """
        adaptive = self._adaptive
        now = self.advance(now)
        is_first = granted_at > self.closed_at
        pause = 0.0 if delay is None else delay
        if is_first:
            self.closed_at = now
            if delay is None:
                # A 429 soon after reopening: the pause was too short. A later one starts over.
                is_too_soon = now - self.closed_until <= 2 * self._pause
                pause = max(adaptive.first_pause, 2 * self._pause) if is_too_soon else adaptive.first_pause
            self._pause = pause = min(pause, adaptive.longest_pause)
            if granted_at > self._decreased_at:
                self._adapt(now, granted_at)
        self.closed_until = max(self.closed_until, now + min(pause, adaptive.longest_pause))
        self._increased_at = max(self._increased_at, self.closed_until)
        if is_first:
            # The server's own bucket is empty, whatever ours says: start again without a burst.
            self._lower(self.closed_until, 1)
        return self.closed_until - now

    def observe_remaining(self, now: float, *, remaining: int, at: float | None = None) -> None:
        """Lower the level to *remaining*, the number of requests that the server would still accept, as it said *at* a time before *now*.

        It never raises the level: requests of ours that are under way may not be in the server's count yet.
        """
        now = self.advance(now)
        if at is not None and at < now:
            now = at
        if remaining < 0:
            return
        self._max_remaining = max(self._max_remaining, remaining)
        if self._grants_since_decrease >= _ENOUGH and self._adaptive.backoff < 1.0:
            if self._max_remaining + 1 < self.burst:  # there was never room for our burst
                self._lower_burst(now, self._max_remaining + 1)
            elif remaining == 0 and self._taken(now) < self._max_remaining:
                # Our own requests do not account for it: another program used the rest. Lower the rate before there is a 429.
                self._slow_down(now, _LEAST_BY_COUNT)
        if remaining < self.burst and self.level(now) >= remaining + 1:
            self._lower(now, remaining)

    def drain(self, now: float) -> None:
        """Start over with an empty bucket: nothing is known of what was taken before *now*."""
        now = self.advance(now)
        self._lower(now, 0)

    def next_change_at(self) -> float:
        """Return a time before which rate, burst and ceiling do not change by themselves."""
        moment = math.inf
        if self._is_recovering:
            moment = self._increased_at + _STEP
        if self.burst < self._configured_burst:
            moment = min(moment, self._burst_changed_at + _BURST_MEMORY)
        return moment - 1e-6  # a rounding error earlier, not later

    def dump(self) -> tuple[dict[str, float], list[float]]:
        """Return the bucket as plain data, for `load`.

        That is numbers by name, without those that are ``-inf``, and when the newest `REMEMBERED` grants were made, oldest first.
        """
        while len(self._grants) > REMEMBERED:
            self._base_full_at = max(self._grants.popleft(), self._base_full_at) + self._interval
        numbers = {name: float(getattr(self, name)) for name in _NUMBERS}
        return {name: number for name, number in numbers.items() if number > -math.inf}, list(self._grants)

    def load(self, numbers: Mapping[str, float], grants: Sequence[float], now: float) -> None:
        """Become the bucket that was dumped, under this one's settings.

        If it was dumped with another configured rate or burst, the learned ones are kept only if they are below this one's. A bucket from
        the future is of another clock (before a restart of the machine): its times are shifted to end now.
        """
        rate, burst = self._configured_rate, self._configured_burst
        for name in _NUMBERS:
            if name in numbers:
                present: float = getattr(self, name)  # or an int, or a bool
                setattr(self, name, type(present)(numbers[name]))
        self._grants = deque(grants)
        ahead = self.now - now
        if ahead > CLOCK_TOLERANCE:
            for name in _MOMENTS:
                setattr(self, name, getattr(self, name) - ahead)
            self._grants = deque(moment - ahead for moment in self._grants)
        if self._configured_burst != burst:
            self.burst = burst if self.burst == self._configured_burst else min(self.burst, burst)
            self._configured_burst = burst
        if self._configured_rate != rate:
            learned = rate if self.rate >= self.ceiling * (1 - 1e-9) else min(self.rate, rate)
            self.ceiling = self._configured_rate = rate
            self._change_rate(max(now, self.now), learned)
        self._derive()

    def level(self, now: float) -> float:
        """Return how many grants could be taken at once: 0 to ``burst``."""
        if now < self.closed_until:
            return 0.0
        return min(float(self.burst), max(0.0, self.burst - (self.full_at - now) / self._interval))

    def _adapt(self, now: float, granted_at: float) -> None:
        adaptive = self._adaptive
        if adaptive.backoff >= 1.0:
            return
        debt = self._taken(now)
        if debt > 1 and self.burst > 1 and granted_at - self._busy_since < self.burst * self._interval:
            # A 429 within the burst itself: the server's burst is smaller than ours, or another program used a part of it.
            self._lower_burst(now, max(1, min(self.burst, debt) - 1))
        else:
            self._slow_down(now, adaptive.min_rate_ratio)

    def _lower_burst(self, now: float, burst: int) -> None:
        self.burst = burst
        self._burst_changed_at = now
        self._derive()

    def _slow_down(self, now: float, least: float) -> None:
        """Lower the rate to less than what got through since the last time, but not below *least*, a share of the ceiling."""
        adaptive = self._adaptive
        rate = self.rate * adaptive.backoff
        if self._grants_since_decrease > _ENOUGH and -math.inf < self._decreased_at < now:
            # The last of them did not get through. At most halved in one step: perhaps fewer requests were made than allowed.
            got_through = (self._grants_since_decrease - 1) / (now - self._decreased_at)
            rate = min(rate, max(_MARGIN * got_through, rate / 2))
        if adaptive.discover and self.rate > self.ceiling * 0.99:
            self.ceiling = max(self.rate * 0.95, self.ceiling * adaptive.min_rate_ratio)
        self._decreased_at = now
        self._grants_since_decrease = 0
        self._change_rate(now, max(rate, min(self.rate, self.ceiling * least)))
        self._increased_at = now + adaptive.hold

    def _taken(self, now: float) -> int:
        """Return how many grants it would take to be full again."""
        return math.ceil(max(0.0, self.full_at - now) / self._interval - 1e-9)

    def advance(self, now: float) -> float:
        """Let time pass up to *now*, and return it, or the latest time if that is later."""
        if now < self.now:
            now = self.now
        self.now = now
        grants = self._grants
        while grants and grants[0] < now - MEMORY:
            self._base_full_at = max(grants.popleft(), self._base_full_at) + self._interval
        if self._is_recovering:
            self._recover(now)
        if self.burst < self._configured_burst and now - self._burst_changed_at >= _BURST_MEMORY:
            self.burst += 1
            self._burst_changed_at = now
            self._derive()
        return now

    def _recover(self, now: float) -> None:
        passed = now - self._increased_at
        if passed < _STEP:
            return
        if not math.isfinite(passed):
            passed = 0.0
        self._increased_at = now
        slope = self.ceiling / self._adaptive.recovery
        rate = self.rate + slope * passed
        if self._adaptive.discover and rate > self.ceiling and self._had_unmet_demand:
            self.ceiling = rate  # a higher rate counts only if there was demand for it
        self._had_unmet_demand = False
        self._change_rate(now, min(rate, self.ceiling))

    def _change_rate(self, now: float, rate: float) -> None:
        if rate != self.rate:
            # Waiting for a closed bucket is not debt: it does not take longer at a lower rate.
            start = max(now, self.closed_until)
            debt = (self.full_at - start) / self._interval
            self._interval = 1.0 / rate
            self._forget(start + debt * self._interval if debt > 0 else self.full_at)
        self._derive()

    def _lower(self, now: float, level: int) -> None:
        """Have no more than *level* left at *now*."""
        self._forget(max(self.full_at, now + (self.burst - level) * self._interval))
        self._grants_since_full = max(self._grants_since_full, self.burst)

    def _forget(self, full_at: float) -> None:
        self.full_at = self._base_full_at = full_at
        self._grants.clear()


_MOMENTS: Final = (
    "_base_full_at", "_burst_changed_at", "_busy_since", "_decreased_at", "_increased_at", "closed_at",
    "closed_until", "full_at", "now",
)  # fmt: skip
"""The attributes that are times, and move with the clock."""
_NUMBERS: Final = (
    *_MOMENTS, "_configured_burst", "_configured_rate", "_grants_since_decrease", "_grants_since_full",
    "_had_unmet_demand", "_interval", "_max_remaining", "_pause", "burst", "ceiling",
)  # fmt: skip
"""The attributes that are numbers: the whole state, without the settings (adaptive and jitter) and the grants."""
