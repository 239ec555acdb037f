"""When to poll: soon after a change, rarely while nothing changes, and more rarely while webhooks report the changes.

Used by `_poller` and `live`. Polls are `FIRST_INTERVAL` apart, and the interval grows by `GROWTH` to `LONGEST_INTERVAL`. Every change
and every new waiter resets it. While webhooks arrive, polling is a safety net: `LONGEST_INTERVAL` to `SAFETY_INTERVAL`. A poll that finds
a change that no webhook reported restores the usual intervals.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.lowlevel
import attrs

from mux_async.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    InvalidRequestError,
    MuxError,
    PermissionDeniedError,
)

FIRST_INTERVAL: Final = 1.0
LONGEST_INTERVAL: Final = 10.0
SAFETY_INTERVAL: Final = 60.0
"""The longest interval while webhooks arrive; the first is then `LONGEST_INTERVAL`."""
GROWTH: Final = 1.3
MAX_FAILED_POLLS: Final = 10
"""Failed polls in a row after which the waiters get the error."""
FATAL_ERRORS = (AuthenticationError, ClosedError, ConfigurationError, InvalidRequestError, PermissionDeniedError)
"""Errors that would also occur in the next poll and for every other waiter."""


@attrs.define(eq=False)
class PollSchedule:
    """The time of the next poll, by the clock of the event loop."""

    _webhooks: int = 0
    """Number of webhooks received."""
    polls_per_sweep: int = 1
    """Polls that it takes to see everything; they share the longest interval."""
    _failed_polls: int = 0
    _next: float = -math.inf
    _interval: float = FIRST_INTERVAL
    _has_webhooks: bool = False
    _rescheduled: anyio.Event | None = None

    @property
    def _first(self) -> float:
        return LONGEST_INTERVAL if self._has_webhooks else FIRST_INTERVAL

    @property
    def _longest(self) -> float:
        longest = SAFETY_INTERVAL if self._has_webhooks else LONGEST_INTERVAL
        return max(self._first, longest / self.polls_per_sweep)

    def restart(self) -> None:
        """Make the first poll due now: the first waiter was added."""
        self._failed_polls = 0
        self.poll_now()

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
        self._webhooks += 1

    async def run(self, poll: Callable[[], Awaitable[bool]]) -> MuxError | None:
        """Sleep until the next poll is due, run it (*poll* returns whether it found any change), and schedule the one after it.

        Returns the error that the waiters should get: a fatal one, or that of the last of many failed polls.
        """
        await self._wait_until_due()
        started, webhooks = anyio.current_time(), self._webhooks
        result: MuxError | None = None
        found_changes = False
        try:
            found_changes = await poll()
        except FATAL_ERRORS as error:
            result = error
        except MuxError as error:
            self._failed_polls += 1
            if self._failed_polls >= MAX_FAILED_POLLS:
                self._failed_polls = 0
                result = error
        else:
            self._failed_polls = 0
        if found_changes:
            self._has_webhooks = self._has_webhooks and webhooks != self._webhooks
            self._interval = self._first
        now = anyio.current_time()
        # With thousands of assets the rate limit makes a poll long. A pause of the same length leaves half of the rate to other calls.
        self._next = now + max(self._interval, now - started)
        self._interval = min(self._interval * GROWTH, self._longest)
        return result

    async def _wait_until_due(self) -> None:
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
