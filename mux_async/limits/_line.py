"""Who is next: the waiting line in front of a bucket, by class of service.

Arithmetic and bookkeeping only: nothing here waits or talks to the bucket. The rules:

1. ``interactive`` goes before ``default``, and ``default`` before ``batch``.
2. Within a class, first come, first served.
3. Nobody starves: a class that has been kept waiting for `patience` seconds since it was last served goes before all others. So while
   it waits it gets at least one grant in every `patience` seconds, which is its floor.
4. A waiter that leaves costs nothing, wherever it stands: it stays in its queue as an empty place, which is passed over when its turn
   comes, or cleared away when most places are empty. A linked list would find it at once, at 100 bytes more for everybody who waits.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, Generic, Literal, TypeAlias, TypeVar

Priority: TypeAlias = Literal["interactive", "default", "batch"]
"""How a call uses the rate limit.

``interactive``: somebody is looking; goes first, and may use the whole burst. ``default``: may use the burst but for a share that is kept
for the first. ``batch``: evenly spaced, leaves the burst alone, goes last but for its floor.
"""

PRIORITIES: Final[tuple[Priority, ...]] = ("interactive", "default", "batch")

_PATIENT: Final[tuple[Priority, ...]] = ("default", "batch")

_FEW: Final = 32
"""Empty places that are not worth clearing away."""


class Place:
    """Somebody in a `Line`, at most once in its life."""

    __slots__ = ("is_waiting",)

    def __init__(self) -> None:
        self.is_waiting = False


W = TypeVar("W", bound=Place)


class Line(Generic[W]):
    """Waiters of type *W*."""

    __slots__ = ("_counts", "_queues", "_served_at", "size")

    def __init__(self) -> None:
        self._queues: dict[Priority, deque[W]] = {priority: deque() for priority in PRIORITIES}
        """In order of arrival; empty places included, but never in front."""
        self._counts: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)
        self.size = 0
        """How many wait."""
        self._served_at: dict[Priority, float] = dict.fromkeys(PRIORITIES, -math.inf)

    def count(self, priority: Priority) -> int:
        """Return how many of one class wait."""
        return self._counts[priority]

    def join(self, waiter: W, priority: Priority, now: float) -> None:
        """Put *waiter* at the end of its class."""
        if not self._counts[priority]:
            self._served_at[priority] = now  # it has waited for nothing so far
        self._counts[priority] += 1
        self.size += 1
        self._queues[priority].append(waiter)
        waiter.is_waiting = True

    def leave(self, waiter: W, priority: Priority) -> None:
        """Take *waiter* out, if it is still in."""
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

    def first(self, now: float, patience: float) -> tuple[W, Priority] | None:
        """Return who is next, and the class it is served as; ``None`` when nobody waits.

        Args:
            now: Monotonic seconds.
            patience: Seconds that a class waits at most between two grants; ``inf`` for no floor.

        Returns:
            A class that ran out of patience is served as ``interactive``: it may use the burst.
        """
        counts = self._counts
        neglected: Priority | None = None
        for priority in _PATIENT:
            if (
                counts[priority]
                and now - self._served_at[priority] >= patience
                and (neglected is None or self._served_at[priority] < self._served_at[neglected])
            ):
                neglected = priority
        if neglected is not None:
            return self._queues[neglected][0], "interactive"
        for priority in PRIORITIES:
            if counts[priority]:
                return self._queues[priority][0], priority
        return None

    def next_neglected_at(self, now: float, patience: float) -> float:
        """Return when the next class will run out of patience, after *now*; ``inf`` when none will."""
        earliest = math.inf
        for priority in _PATIENT:
            if self._counts[priority] and now < (due := self._served_at[priority] + patience) < earliest:
                earliest = due
        return earliest

    def serve(self, waiter: W, priority: Priority, now: float) -> None:
        """Take *waiter* out because it got its grant."""
        self._served_at[priority] = now
        self.leave(waiter, priority)

    def ahead(self, priority: Priority) -> int:
        """Return how many waiters would go before one of *priority* that joined now, floors aside."""
        total = 0
        for other in PRIORITIES:
            total += self._counts[other]
            if other == priority:
                break
        return total
