"""Who is next: the waiting line in front of a bucket, by class of service.

Arithmetic and bookkeeping only: nothing here waits or talks to the bucket. The rules:

1. ``interactive`` goes before ``default``, and ``default`` before ``batch``.
2. Within a class, first come, first served.
3. Nobody starves: a class that has been kept waiting for `patience` seconds since it was last served goes before all others. So while
   it waits it gets at least one grant in every `patience` seconds, which is its floor.
4. A waiter that leaves costs nothing, wherever it stands.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final, Generic, Literal, TypeAlias, TypeVar

Priority: TypeAlias = Literal["interactive", "default", "batch"]
"""How a call uses the rate limit.

``interactive``: somebody is looking; goes first, and may use the whole burst. ``default``: may use the burst but for a share that is kept
for the first. ``batch``: evenly spaced, leaves the burst alone, goes last but for its floor.
"""

PRIORITIES: Final[tuple[Priority, ...]] = ("interactive", "default", "batch")

_PATIENT: Final[tuple[Priority, ...]] = ("default", "batch")

W = TypeVar("W")


class Line(Generic[W]):
    """Waiters of type *W*, hashable by identity."""

    __slots__ = ("_classes", "_served_at")

    def __init__(self) -> None:
        # An OrderedDict, not a dict: its first key is found at once even after many were taken from the front.
        self._classes: dict[Priority, OrderedDict[W, None]] = {priority: OrderedDict() for priority in PRIORITIES}
        self._served_at: dict[Priority, float] = dict.fromkeys(PRIORITIES, -math.inf)

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self._classes.values())

    def count(self, priority: Priority) -> int:
        """Return how many of one class wait."""
        return len(self._classes[priority])

    def join(self, waiter: W, priority: Priority, now: float) -> None:
        """Put *waiter* at the end of its class."""
        waiters = self._classes[priority]
        if not waiters:
            self._served_at[priority] = now  # it has waited for nothing so far
        waiters[waiter] = None

    def leave(self, waiter: W, priority: Priority) -> None:
        """Take *waiter* out, if it is still in."""
        self._classes[priority].pop(waiter, None)

    def first(self, now: float, patience: float) -> tuple[W, Priority] | None:
        """Return who is next, and the class it is served as; ``None`` when nobody waits.

        Args:
            now: Monotonic seconds.
            patience: Seconds that a class waits at most between two grants; ``inf`` for no floor.

        Returns:
            A class that ran out of patience is served as ``interactive``: it may use the burst.
        """
        neglected: Priority | None = None
        for priority in _PATIENT:
            if (
                self._classes[priority]
                and now - self._served_at[priority] >= patience
                and (neglected is None or self._served_at[priority] < self._served_at[neglected])
            ):
                neglected = priority
        if neglected is not None:
            return next(iter(self._classes[neglected])), "interactive"
        for priority in PRIORITIES:
            if waiters := self._classes[priority]:
                return next(iter(waiters)), priority
        return None

    def next_neglected_at(self, now: float, patience: float) -> float:
        """Return when the next class will run out of patience, after *now*; ``inf`` when none will."""
        due = [self._served_at[priority] + patience for priority in _PATIENT if self._classes[priority]]
        return min((moment for moment in due if moment > now), default=math.inf)

    def serve(self, waiter: W, priority: Priority, now: float) -> None:
        """Take *waiter* out because it got its grant."""
        self._served_at[priority] = now
        self._classes[priority].pop(waiter, None)

    def ahead(self, priority: Priority) -> int:
        """Return how many waiters would go before one of *priority* that joined now, floors aside."""
        total = 0
        for other in PRIORITIES:
            total += len(self._classes[other])
            if other == priority:
                break
        return total
