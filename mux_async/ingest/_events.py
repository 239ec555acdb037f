"""The events of a running ingest, and its summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from mux_async.ingest._items import Item
from mux_async.ingest._results import ItemResult
from mux_async.ingest.machine import ItemState


@attrs.frozen
class ItemMoved:
    """The state of an item changed."""

    item: Item
    state: ItemState


@attrs.frozen
class ItemProgress:
    """More bytes of an item were sent."""

    item: Item
    sent: int
    size: int


@attrs.frozen
class ItemFinished:
    """An item is ready or has failed, and its result is in the journal."""

    item: Item
    result: ItemResult


@attrs.frozen
class ItemSkipped:
    """An item was finished already: by an earlier run, or by another run with the same journal.

    Attributes:
        item: The item.
        state: Its final state: ``done`` or ``dead``.
    """

    item: Item
    state: ItemState


@attrs.frozen
class RunsAdopted:
    """This run continues with the items of runs that were killed.

    Attributes:
        items: Number of items, including those that were not begun.
    """

    items: int


IngestEvent: TypeAlias = ItemMoved | ItemProgress | ItemFinished | ItemSkipped | RunsAdopted
EventCallback: TypeAlias = Callable[[IngestEvent], object]
"""Called with every event; must return at once."""


@attrs.frozen
class IngestSummary:
    """The result of an ingest.

    Attributes:
        ready: Items that became ready assets in this run.
        failed: Items that failed in this run or an earlier one, and are not retried without a request.
        not_started: Items that were not begun, because the ingest was stopped or ended early.
        size: Bytes of the files that became assets in this run.
        elapsed: Seconds.
        reason: Why the run ended early; ``None`` if it did not.
        ready_before: Items that became assets in an earlier or a concurrent run.
        unfinished: Items that were begun but not finished; the next run with the same journal continues them.
        errors: Number of failed items by error message, the most frequent first; at most 1000 different ones.
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
        """Whether every item became a ready asset."""
        return not self.failed and not self.not_started and not self.unfinished
