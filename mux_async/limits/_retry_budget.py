"""The account's retry budget: retries stay a small part of what is sent, however much fails.

Each call gives up by itself after a few attempts, and a thousand calls that each do so still send five thousand requests to a server
that is down. So all calls of an account share one budget: every call adds a fraction of a token, every retry takes one, and a slow refill
lets a program that seldom calls retry too. Arithmetic only: the time is an argument.

In any window of *w* seconds with *n* calls, at most ``reserve * (1 + w / 60) + share * n`` retries are allowed.
"""

from __future__ import annotations

import math
import threading
from typing import Final

import attrs

from mux_async._checks import check_number, check_whole, explains_arguments
from mux_async._forks import after_fork

_REFILL_TIME: Final = 60.0
"""Seconds in which an empty reserve refills without calls."""


@explains_arguments
@attrs.frozen
class RetrySettings:
    """How much of what an account sends may be retries. See docs/decisions/retry-budget.md.

    Attributes:
        share: Retries per call, 0 or more; ``inf`` for no budget at all.
        reserve: Retries that are always available, and refill within a minute. 0 or more.
    """

    share: float = 0.2
    reserve: int = 20

    def __attrs_post_init__(self) -> None:
        takes = "it is retries per call, 0 or more"
        check_number("the retry budget's share", self.share, takes, least=0, allow_infinite=True)
        check_whole("the retry budget's reserve", self.reserve, 0, "it must be 0 or more, and whole")


class RetryBudget:
    """The retries that are left. Shared by threads.

    *calls* is incremented by the caller; `spend` works out what they add, which keeps calls cheap. *denied* counts retries not allowed.
    """

    __slots__ = ("__weakref__", "_at", "_counted", "_level", "_lock", "_settings", "calls", "denied")

    def __init__(self, settings: RetrySettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._level = float(settings.reserve)
        self._counted = 0
        self._at = -math.inf
        self.calls: int = 0
        self.denied: int = 0
        after_fork(self)

    def reset_after_fork(self) -> object:
        """Make a new lock, in a forked child: a thread of the parent may have held the old one, and does not exist here."""
        self._lock = threading.Lock()
        return None

    def spend(self, now: float) -> bool:
        """Take a token for one retry at *now*, in monotonic seconds. Returns whether there was one."""
        if math.isinf(self._settings.share):
            return True
        with self._lock:
            self._level = self.level(now)
            self._counted = self.calls
            self._at = max(now, self._at)
            if self._level < 1.0:
                self.denied += 1
                return False
            self._level -= 1.0
            return True

    def level(self, now: float) -> float:
        """Return how many retries would be allowed at once."""
        reserve = float(self._settings.reserve)
        # Nothing is taken between two calls of `spend`, so a cap at the end is the same as a cap at every step.
        added = self._settings.share * (self.calls - self._counted)
        refilled = reserve * max(0.0, now - self._at) / _REFILL_TIME if self._at > -math.inf else 0.0
        return min(max(reserve, 1.0) if self._settings.share else reserve, self._level + added + refilled)
