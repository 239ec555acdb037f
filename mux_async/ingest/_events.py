"""What an ingest tells while it runs, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from mux_async.ingest._items import Item
from mux_async.ingest._results import ItemResult
from mux_async.ingest.machine import ItemState


@attrs.frozen
class ItemMoved:
    """An item is in another state."""

    item: Item
    state: ItemState


@attrs.frozen
class ItemProgress:
    """More of an item's bytes have left."""

    item: Item
    sent: int
    size: int


@attrs.frozen
class ItemFinished:
    """An item is finished, one way or the other, and the journal has it."""

    item: Item
    result: ItemResult


@attrs.frozen
class ItemSkipped:
    """There is nothing to do for an item: an earlier run, or another one that works on the same journal, has finished it.

    Attributes:
        item: The item.
        state: How it ended: ``done`` or ``dead``.
    """

    item: Item
    state: ItemState


@attrs.frozen
class RunsAdopted:
    """Items were freed that a run had which was killed; they are gone on with.

    Attributes:
        items: How many; with those that were not begun.
    """

    items: int


IngestEvent: TypeAlias = ItemMoved | ItemProgress | ItemFinished | ItemSkipped | RunsAdopted
EventCallback: TypeAlias = Callable[[IngestEvent], object]
"""Told everything that happens; must return at once."""


@attrs.frozen
class IngestSummary:
    """How an ingest ended.

    Attributes:
        ready: Items that became assets in this run.
        failed: Items that did not, in this run or in one before it, and that are not tried again unless somebody says so.
        not_started: Items of which nothing was begun, because the ingest was stopped or could not go on.
        size: Bytes of the files that became assets in this run.
        elapsed: Seconds.
        reason: Why it could not go on; ``None`` when it could.
        ready_before: Items that had become assets before, or in another run beside this one.
        unfinished: Items that were begun and are neither: the next run with the same journal goes on with them.
        errors: Why items failed: how many by sentence, the most frequent first; at most 1000 different ones.
    """

    ready: int
    failed: int
    not_started: int
    size: int
    elapsed: float
    reason: str | None
    ready_before: int = 0
    unfinished: int = 0
    errors: Mapping[str, int] = attrs.field(factory=dict[str, int])

    @property
    def is_complete(self) -> bool:
        """Whether every item has become an asset."""
        return not self.failed and not self.not_started and not self.unfinished
