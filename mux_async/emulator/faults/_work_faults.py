"""Faults of Mux's work: an asset, a track, a file, a master, shots or a job that errors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

import attrs

Work: TypeAlias = Literal["asset", "track", "static_rendition", "static_renditions", "master", "shots", "job"]
"""What can fail: ``static_rendition`` is one file, ``static_renditions`` the legacy ones of ``mp4_support``, all at once; ``track`` is one
that was added or generated; ``job`` is one of Robots."""


@attrs.frozen
class WorkFault:
    """A fault of Mux's work: an object that errors instead of becoming ready.

    A piece of work matches if *work* and *id* do; it fails if its number among the matching ones is in *nth*. It is counted when it would
    finish, so a fault can be added while it is in progress. Work that is skipped, or fails by itself, does not count.

    Attributes:
        work: Which kind of work.
        id: Of the asset; or of the track, the file or the job, or a job's workflow (``summarize``); ``None`` matches all.
        nth: Numbers from 1, or one number, or ``None`` for every one that matches.
        type: Type of the error, for programs.
        message: Message of the error, for people.
    """

    work: Work
    id: str | None = None
    nth: int | Collection[int] | None = None
    type: str = "invalid_input"
    message: str = "A fault of the emulator let this fail"

    def hits(self, number: int) -> bool:
        """Whether the matching work with this *number* (from 1) fails."""
        if self.nth is None:
            return True
        return number == self.nth if isinstance(self.nth, int) else number in self.nth

    @property
    def errors(self) -> dict[str, object]:
        """The error as most objects show it: ``{"type": "...", "messages": ["..."]}``."""
        return {"type": self.type, "messages": [self.message]}


class WorkFaults:
    """The faults of work, in order: the first one that hits a piece of work applies."""

    def __init__(self) -> None:
        self._rules: list[WorkFault] = []
        self._counts: list[int] = []

    def add(self, *faults: WorkFault) -> None:
        """Add faults. Each counts matching work from now on."""
        self._rules += faults
        self._counts += [0] * len(faults)

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()
        self._counts.clear()

    def pick(self, work: Work, *ids: str) -> WorkFault | None:
        """Count a piece of work on the object with these *ids*, and return the fault that applies to it, if any."""
        picked: WorkFault | None = None
        for index, fault in enumerate(self._rules):
            if fault.work == work and (fault.id is None or fault.id in ids):
                self._counts[index] += 1
                if picked is None and fault.hits(self._counts[index]):
                    picked = fault
        return picked

    def __len__(self) -> int:
        return len(self._rules)
