"""The queue in front of a bucket, ordered by priority.

Bookkeeping only: nothing here waits or asks the bucket. The rules:

1. ``interactive`` goes before ``default``, and ``default`` before ``batch``.
2. Within a priority, first come, first served.
3. No starvation: a priority that has waited `max_gap` seconds since its last grant goes before all others. So while it has waiters it
   gets at least one grant in every `max_gap` seconds.
4. Removing a waiter is cheap anywhere in the queue: it is only marked as gone. Gone waiters are dropped when they reach the front, or
   when they outnumber the others. A linked list would remove them at once, and cost 100 bytes more for each waiter.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import Final, Generic, Literal, TypeAlias, TypeVar

Priority: TypeAlias = Literal["interactive", "default", "batch"]
"""How a call uses the rate limit.

``interactive``: a person waits for the answer; goes first, and may use the whole burst. ``default``: may use the burst except for a share
that is reserved for ``interactive``. ``batch``: evenly spaced, does not use the burst, goes last except for its guaranteed share.
"""

PRIORITIES: Final[tuple[Priority, ...]] = ("interactive", "default", "batch")
"""All priorities, the first to be served first."""

_GUARANTEED: Final[tuple[Priority, ...]] = ("default", "batch")

_FEW: Final = 32
"""Gone waiters that are not worth removing."""


class Waiter:
    """An entry of a `WaitQueue`, at most once."""

    __slots__ = ("arrived", "is_waiting")

    def __init__(self) -> None:
        self.is_waiting = False
        self.arrived = 0.0


W = TypeVar("W", bound=Waiter)


class WaitQueue(Generic[W]):
    """Waiters of type *W*."""

    __slots__ = ("_counts", "_last_served", "_queues", "_served_at", "size")

    def __init__(self) -> None:
        self._queues: dict[Priority, deque[W]] = defaultdict(deque)
        """In order of arrival. May hold gone waiters, but never in front. Made for the first waiter: an empty deque takes 0.7 KB."""
        self._counts: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)
        self.size = 0
        """How many wait."""
        self._served_at: dict[Priority, float] = dict.fromkeys(PRIORITIES, -math.inf)
        self._last_served = -math.inf

    def count(self, priority: Priority) -> int:
        """Return how many of one priority wait."""
        return self._counts[priority]

    def add(self, waiter: W, priority: Priority, now: float) -> None:
        """Append *waiter* to the queue of its priority."""
        if not self._counts[priority]:
            self._served_at[priority] = now  # its waiting starts now
        self._counts[priority] += 1
        self.size += 1
        self._queues[priority].append(waiter)
        waiter.is_waiting = True
        waiter.arrived = now

    def remove(self, waiter: W, priority: Priority) -> None:
        """Remove *waiter*, if it is still queued."""
        if not waiter.is_waiting:
            return
        waiter.is_waiting = False
        self.size -= 1
        self._counts[priority] = count = self._counts[priority] - 1
        queue = self._queues[priority]
        while queue and not queue[0].is_waiting:
            queue.popleft()
        if len(queue) > 2 * count + _FEW:
            self._queues[priority] = deque(one for one in queue if one.is_waiting)

    def first(self, now: float, max_gap: float) -> tuple[W, Priority] | None:
        """Return the next waiter and the priority to serve it with; ``None`` when the queue is empty.

        *max_gap* is how many seconds lie between two grants of a priority at most; ``inf`` for no guaranteed share. A starved priority is
        served as ``interactive``: it may use the burst.
        """
        counts = self._counts
        starved: Priority | None = None
        for priority in _GUARANTEED:
            if (
                counts[priority]
                and now - self._served_at[priority] >= max_gap
                and (starved is None or self._served_at[priority] < self._served_at[starved])
            ):
                starved = priority
        if starved is not None:
            return self._queues[starved][0], "interactive"
        for priority in PRIORITIES:
            if counts[priority]:
                return self._queues[priority][0], priority
        return None

    def next_starved_at(self, now: float, max_gap: float) -> float:
        """Return when the next priority will be starved, after *now*; ``inf`` when none will."""
        earliest = math.inf
        for priority in _GUARANTEED:
            if self._counts[priority] and now < (due := self._served_at[priority] + max_gap) < earliest:
                earliest = due
        return earliest

    def serve(self, waiter: W, priority: Priority, now: float) -> None:
        """Remove *waiter* because it has its grant."""
        self._served_at[priority] = self._last_served = now
        self.remove(waiter, priority)

    def stalled_for(self, now: float) -> float:
        """Return for how many seconds no waiter was served although at least one waits; 0.0 if none does."""
        heads = [queue[0].arrived for queue in list(self._queues.values()) if queue]
        return max(0.0, now - max(self._last_served, min(heads))) if heads else 0.0

    def ahead(self, priority: Priority) -> int:
        """Return how many waiters would go before a new one of *priority*, not counting guaranteed shares."""
        return sum(self._counts[other] for other in PRIORITIES[: PRIORITIES.index(priority) + 1])
