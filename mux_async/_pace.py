"""When to look again, for those who wait for what Mux does: soon after something happened, rarely while nothing does, and rarely while
webhooks say everything anyway.

Shared by the hubs of `_waiting` and `live`. Ticks are `FIRST_INTERVAL` apart, and that grows by `GROWTH` to `LONGEST_INTERVAL`; whatever
happens, and whoever joins, brings it back. While webhooks are heard, looking is a safety net: `LONGEST_INTERVAL` to `SAFETY_INTERVAL`. A
look that finds what no webhook had said brings the usual pace back.
"""

from __future__ import annotations

import math
from typing import Final

import anyio
import anyio.lowlevel
import attrs

FIRST_INTERVAL: Final = 1.0
LONGEST_INTERVAL: Final = 10.0
SAFETY_INTERVAL: Final = 60.0
"""The longest while webhooks are heard; the first is then `LONGEST_INTERVAL`."""
GROWTH: Final = 1.3


@attrs.define(eq=False)
class Pace:
    """The time of the next look. All times are those of the event loop."""

    hearings: int = 0
    """Webhooks heard so far."""
    _next: float = -math.inf
    _interval: float = FIRST_INTERVAL
    _is_told: bool = False
    _hurry: anyio.Event | None = None

    @property
    def _first(self) -> float:
        return LONGEST_INTERVAL if self._is_told else FIRST_INTERVAL

    @property
    def _longest(self) -> float:
        return SAFETY_INTERVAL if self._is_told else LONGEST_INTERVAL

    def at_once(self) -> None:
        """Make the next look due now."""
        self._next = -math.inf
        self.wake()

    def soon(self) -> None:
        """Make the next look due before long: somebody came, or something happened."""
        self._interval = self._first
        soon = anyio.current_time() + self._first
        if self._next > soon:
            self._next = soon
            self.wake()

    def heard(self) -> None:
        """Note that a webhook arrived."""
        if not self._is_told:
            self._is_told = True
            self._interval = self._first
            self._next = max(self._next, anyio.current_time() + self._first)
        self.hearings += 1

    def looked(self, began: float, hearings: int, *, is_news: bool) -> None:
        """Note that a look is over.

        Args:
            began: When it began.
            hearings: What `hearings` was then.
            is_news: Whether it found anything that had not been known.
        """
        if is_news:
            self._is_told = self._is_told and hearings != self.hearings
            self._interval = self._first
        now = anyio.current_time()
        # A look at thousands takes as long as the rate limit makes it; pausing for as long leaves half of it to others.
        self._next = now + max(self._interval, now - began)
        self._interval = min(self._interval * GROWTH, self._longest)

    async def until_due(self) -> None:
        """Sleep until the next look is due."""
        await anyio.lowlevel.checkpoint()  # tasks that were started together come in together
        while (delay := self._next - anyio.current_time()) > 0:
            self._hurry = anyio.Event()
            with anyio.move_on_after(delay):
                await self._hurry.wait()
            self._hurry = None

    def wake(self) -> None:
        """Let `until_due` look at the time again."""
        if self._hurry is not None:
            self._hurry.set()
