"""What will happen when: a queue of named steps, run in the order of their times.

Nothing here waits. Steps are plain data (a name and whom it concerns), so that they can be kept in a file some day.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import attrs


@attrs.frozen(order=True)
class Step:
    """One thing to do.

    Attributes:
        at: Epoch seconds.
        number: Order of asking, for steps of the same time.
        name: Which step: ``asset.ready``, ...
        environment: Id of the environment.
        subject: Id of the object, or of the object and its part, joined by a slash.
    """

    at: float
    number: int
    name: str
    environment: str
    subject: str


class Agenda:
    """Steps to come."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._number = 0

    def add(self, at: float, name: str, environment: str, subject: str) -> None:
        """Plan a step."""
        self._number += 1
        heapq.heappush(self._steps, Step(at, self._number, name, environment, subject))

    def due(self, now: float) -> Iterator[Step]:
        """Take out what is due at *now*, earliest first, including what gets planned meanwhile."""
        while self._steps and self._steps[0].at <= now:
            yield heapq.heappop(self._steps)

    @property
    def next_at(self) -> float | None:
        """When the next step is due; ``None`` when nothing is planned."""
        return self._steps[0].at if self._steps else None
