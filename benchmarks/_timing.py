"""Contenders timed in one process, in turn, as ratios to the first of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def cost(action: Callable[[], object], count: int) -> float:
    """Return the microseconds of CPU time that one call takes."""
    start = time.process_time()
    for _ in range(count):
        action()
    return (time.process_time() - start) / count * 1e6


def compare(contenders: Mapping[str, Callable[[], object]], *, rounds: int, count: int) -> None:
    """Print medians, and medians of the ratios to the first contender within a round."""
    found = [{name: cost(action, count) for name, action in contenders.items()} for _ in range(rounds)]
    first = next(iter(contenders))
    for name in contenders:
        ratio = statistics.median(one[name] / one[first] for one in found)
        print(f"{name:24} {statistics.median(one[name] for one in found):8.2f} us {ratio:6.2f} x")
