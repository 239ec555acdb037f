"""Contenders timed in one process, in turn, as ratios to the first of them; and how late an event loop is."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping

TICK = 0.001


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


class Lateness:
    """A task that wakes every millisecond and notes by how much it was late.

    On a busy machine most of that is the system giving the core to somebody else, so it also notes how much of the core the loop's thread
    itself used from one waking to the next: what the loop was held up by its own work.
    """

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.held = 0.0

    async def watch(self) -> None:
        while True:
            due, used = time.perf_counter() + TICK, time.thread_time()
            await asyncio.sleep(TICK)
            self.seen.append(time.perf_counter() - due)
            self.held = max(self.held, (time.thread_time() - used) * 1e3)

    def __enter__(self) -> Lateness:
        self.task = asyncio.create_task(self.watch())
        return self

    def __exit__(self, *_: object) -> None:
        self.task.cancel()

    @property
    def worst(self) -> float:
        return max(self.seen, default=0.0) * 1e3

    @property
    def usual(self) -> float:
        """Milliseconds that 999 of 1000 wakings stay below."""
        return sorted(self.seen)[int(len(self.seen) * 0.999)] * 1e3 if self.seen else 0.0
