"""The account's retry budget: repeating stays a small part of what is sent, however much goes wrong.

Each call gives up by itself after a few attempts, and a thousand calls that each do so still send five thousand requests at a server
that is down. So an account has one budget for all of them: every call pays a share of a token in, every repetition takes one out, and
a slow trickle lets a program that seldom calls repeat too. Arithmetic only: time is handed in.

In any window of *w* seconds with *n* calls, at most ``reserve * (1 + w / 60) + share * n`` repetitions are let through.
"""

from __future__ import annotations

import math
import threading
from typing import Final

import attrs

from mux_async._checks import check_number, check_whole, explains_arguments
from mux_async._lifetimes import after_fork

_REFILL_TIME: Final = 60.0
"""Seconds in which an empty reserve fills up by itself."""


@explains_arguments
@attrs.frozen
class RetrySettings:
    """How much of what an account sends may be repetition. See docs/decisions/retry-budget.md.

    Attributes:
        share: Repetitions per call, 0 or more; ``inf`` for no budget at all.
        reserve: Repetitions that are always put by, and come back within a minute. 0 or more.
    """

    share: float = 0.2
    reserve: int = 20

    def __attrs_post_init__(self) -> None:
        takes = "it is repetitions per call, 0 or more"
        check_number("the retry budget's share", self.share, takes, least=0, allow_infinite=True)
        check_whole("the retry budget's reserve", self.reserve, 0, "it must be 0 or more, and whole")


class RetryBudget:
    """What is left. Shared by threads.

    Args:
        settings: How much there is.

    Attributes:
        calls: Calls so far. Whoever makes one counts it; what it pays in is reckoned when somebody spends, which keeps calls cheap.
        refused: Repetitions that were not let through.
    """

    __slots__ = ("__weakref__", "_at", "_counted", "_level", "_lock", "_settings", "calls", "refused")

    def __init__(self, settings: RetrySettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._level = float(settings.reserve)
        self._counted = 0
        self._at = -math.inf
        self.calls = 0
        self.refused = 0
        after_fork(self)

    def start_afresh(self) -> object:
        """Make a new lock, in a forked child: another thread may have held the old one, and does not exist there."""
        self._lock = threading.Lock()
        return None

    def spend(self, now: float) -> bool:
        """Take a token for one repetition.

        Args:
            now: Monotonic seconds.

        Returns:
            Whether there was one.
        """
        if math.isinf(self._settings.share):
            return True
        with self._lock:
            self._level = self.level(now)
            self._counted = self.calls
            self._at = max(now, self._at)
            if self._level < 1.0:
                self.refused += 1
                return False
            self._level -= 1.0
            return True

    def level(self, now: float) -> float:
        """Return how many repetitions would be let through at once."""
        reserve = float(self._settings.reserve)
        # Nothing is paid out between two times of spending, so capping at the end is the same as capping at every step.
        paid_in = self._settings.share * (self.calls - self._counted)
        trickled = reserve * max(0.0, now - self._at) / _REFILL_TIME if self._at > -math.inf else 0.0
        return min(max(reserve, 1.0) if self._settings.share else reserve, self._level + paid_in + trickled)
