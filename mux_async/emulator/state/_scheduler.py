"""The scheduler: a queue of named steps, taken out in the order of their times.

Nothing here waits. Steps are plain data (a name and the object's id), so that the state file can store them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import attrs


@attrs.frozen
class Step:
    """One scheduled step, at a time in epoch seconds; *number* orders steps of the same time. *environment* is an id.

    *subject* is the id of the object, or of the object and its part, joined by a slash.
    """

    at: float
    number: int
    name: str
    environment: str
    subject: str

    def __lt__(self, other: Step) -> bool:
        return (self.at, self.number) < (other.at, other.number)  # ten times as fast as the order of all fields by attrs


@attrs.define
class Changes:
    """Changes of a scheduler: steps that were added, and the numbers of those that were taken out."""

    added: list[Step] = attrs.field(factory=list[Step])
    taken: list[int] = attrs.field(factory=list[int])


class Scheduler:
    """Scheduled steps. If *changes* is set, every change is recorded in it; the code that sets it also empties it."""

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self._steps = list(steps)
        heapq.heapify(self._steps)
        self._number = max((step.number for step in self._steps), default=0)
        self.changes: Changes | None = None

    def add(self, at: float, name: str, environment: str, subject: str) -> None:
        """Schedule a step."""
        self._number += 1
        step = Step(at, self._number, name, environment, subject)
        heapq.heappush(self._steps, step)
        if self.changes is not None:
            self.changes.added.append(step)

    def due(self, now: float) -> Iterator[Step]:
        """Take out the steps that are due at *now*, earliest first, including those that are scheduled meanwhile."""
        while self._steps and self._steps[0].at <= now:
            step = heapq.heappop(self._steps)
            if self.changes is not None:
                self.changes.taken.append(step.number)
            yield step

    @property
    def next_at(self) -> float | None:
        """Time of the next step; ``None`` if there is none."""
        return self._steps[0].at if self._steps else None
