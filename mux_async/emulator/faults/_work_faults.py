"""Faults of what Mux works on, on order: an asset that errors, a track, a file, a master, shots or a job that come to nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

import attrs

Work: TypeAlias = Literal["asset", "track", "static_rendition", "static_renditions", "master", "shots", "job"]
"""What can fail: ``static_rendition`` is one file, ``static_renditions`` the legacy ones of ``mp4_support``, all at once; ``track`` is one
that was added or generated; ``job`` is one of Robots."""


@attrs.frozen
class WorkFault:
    """Something that Mux works on and that is not to succeed.

    A piece of work matches when *work* and *id* do; it fails when its number among the matching ones is in *nth*. It is counted when it
    would be done, so a fault can be set up while it is under way. What would be skipped, or fails by itself, does not count.

    Attributes:
        work: Which kind of work.
        id: Of the asset; or of the track, the file or the job, or a job's workflow (``summarize``); ``None`` matches all.
        nth: Numbers from 1, or one number, or ``None`` for every one that matches.
        type: What the error says to programs.
        message: What it says to people.
    """

    work: Work
    id: str | None = None
    nth: int | Collection[int] | None = None
    type: str = "invalid_input"
    message: str = "The emulator was told to let this fail"

    def hits(self, number: int) -> bool:
        """Whether the matching work of this *number* (from 1) is to fail."""
        if self.nth is None:
            return True
        return number == self.nth if isinstance(self.nth, int) else number in self.nth

    @property
    def errors(self) -> dict[str, object]:
        """The error as most objects show it: ``{"type": "...", "messages": ["..."]}``."""
        return {"type": self.type, "messages": [self.message]}


class WorkFaults:
    """The faults that are set up, in order: the first that hits a piece of work is the one that happens."""

    def __init__(self) -> None:
        self._rules: list[WorkFault] = []
        self._counts: list[int] = []

    def add(self, *faults: WorkFault) -> None:
        """Set up more. Each counts matching work from now on."""
        self._rules += faults
        self._counts += [0] * len(faults)

    def clear(self) -> None:
        """Forget all of them."""
        self._rules.clear()
        self._counts.clear()

    def pick(self, work: Work, *ids: str) -> WorkFault | None:
        """Count a piece of work on what has these *ids*, and return why it fails; ``None`` when it does not."""
        picked: WorkFault | None = None
        for index, fault in enumerate(self._rules):
            if fault.work == work and (fault.id is None or fault.id in ids):
                self._counts[index] += 1
                if picked is None and fault.hits(self._counts[index]):
                    picked = fault
        return picked

    def __len__(self) -> int:
        return len(self._rules)
