"""The bound that every limiter keeps: in any window of *w* seconds there are at most ``burst + rate * w`` grants."""

from __future__ import annotations

import math


def worst_window(grants: list[float], rate: float, burst: int) -> float:
    """Return the largest excess over ``burst + rate * window`` in any window that starts and ends at a grant.

    Args:
        grants: Their times in seconds, ascending.
        rate: Grants a second.
        burst: Grants at once.

    Returns:
        Grants, at most 0 if the bound holds; ``-inf`` without grants.
    """
    lowest, worst = math.inf, -math.inf
    for number, moment in enumerate(grants):
        # The excess of a window from grant i to grant k is (k - rate * t_k) - (i - rate * t_i) + 1 - burst.
        here = number - rate * moment
        lowest = min(lowest, here)
        worst = max(worst, here - lowest + 1 - burst)
    return worst
