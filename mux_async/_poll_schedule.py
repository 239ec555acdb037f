"""When to poll: soon after a change, rarely while nothing changes, and more rarely while webhooks report the changes.

Used by `_asset_poller` and `live`. Polls are `FIRST_INTERVAL` apart, and the interval grows by `GROWTH` to `LONGEST_INTERVAL`. Every change
and every new waiter resets it. While webhooks arrive, polling is a safety net: `LONGEST_INTERVAL` to `SAFETY_INTERVAL`. A poll that finds
a change that no webhook reported restores the usual intervals.
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
"""The longest interval while webhooks arrive; the first is then `LONGEST_INTERVAL`."""
GROWTH: Final = 1.3


@attrs.define(eq=False)
class PollSchedule:
    """The time of the next poll, by the clock of the event loop."""

    webhooks: int = 0
    """Number of webhooks received."""
    _next: float = -math.inf
    _interval: float = FIRST_INTERVAL
    _has_webhooks: bool = False
    _rescheduled: anyio.Event | None = None

    @property
    def _first(self) -> float:
        return LONGEST_INTERVAL if self._has_webhooks else FIRST_INTERVAL

    @property
    def _longest(self) -> float:
        return SAFETY_INTERVAL if self._has_webhooks else LONGEST_INTERVAL

    def poll_now(self) -> None:
        """Make the next poll due now."""
        self._next = -math.inf
        self._wake()

    def poll_soon(self) -> None:
        """Make the next poll due after the first interval at the latest: a waiter was added."""
        self._interval = self._first
        soon = anyio.current_time() + self._first
        if self._next > soon:
            self._next = soon
            self._wake()

    def webhook_received(self) -> None:
        """Record that a webhook arrived."""
        if not self._has_webhooks:
            self._has_webhooks = True
            self._interval = self._first
            self._next = max(self._next, anyio.current_time() + self._first)
        self.webhooks += 1

    def polled(self, started: float, webhooks: int, *, found_changes: bool) -> None:
        """Record the end of a poll and schedule the next.

        Args:
            started: When the poll started.
            webhooks: The value of `webhooks` at that time.
            found_changes: Whether the poll found any change.
        """
        if found_changes:
            self._has_webhooks = self._has_webhooks and webhooks != self.webhooks
            self._interval = self._first
        now = anyio.current_time()
        # With thousands of assets the rate limit makes a poll long. A pause of the same length leaves half of the rate to other calls.
        self._next = now + max(self._interval, now - started)
        self._interval = min(self._interval * GROWTH, self._longest)

    async def wait_until_due(self) -> None:
        """Sleep until the next poll is due."""
        await anyio.lowlevel.checkpoint()  # tasks that were started together are polled together
        while (delay := self._next - anyio.current_time()) > 0:
            self._rescheduled = anyio.Event()
            with anyio.move_on_after(delay):
                await self._rescheduled.wait()
            self._rescheduled = None

    def _wake(self) -> None:
        if self._rescheduled is not None:
            self._rescheduled.set()
