"""The queue of items: reads any iterable, a thousand items at a time, claims free items and returns them one by one.

A thousand items are read ahead and only a few are claimed, so that a concurrent run finds work until the end. Items that another run works
on, or whose create is being looked up, are deferred and checked again later: they are finished then, or free because their run was killed.
Items with a higher priority come first: among all items of a sequence, otherwise among those read ahead.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Final

import anyio
import attrs

from mux_async.ingest._items import Item, fingerprint
from mux_async.ingest._journal_store import StoredItem
from mux_async.ingest._journal_writer import JournalWriter
from mux_async.ingest.machine import ItemState, Stage

LOOKAHEAD: Final = 1000
"""Items that are read ahead."""
RECHECK_INTERVAL: Final = 5.0
"""Seconds between two checks of deferred items."""


@attrs.frozen
class ClaimedItem:
    """An item that this run has claimed, and its stored state."""

    item: Item
    state: ItemState
    is_changed: bool
    """Whether the file has changed since its upload was created."""


class ItemQueue:
    """The items of one run. They are read in worker threads, because reading may access the disk.

    Items are claimed in groups of *group*. *skipped* is called with items that are finished already.
    """

    def __init__(
        self, items: Iterable[Item], writer: JournalWriter, group: int, skipped: Callable[[Item, ItemState], object]
    ) -> None:
        self._items = items
        self._source = iter(items if not isinstance(items, Sequence) else _by_priority(items))
        self._writer = writer
        self._group = group
        self._skipped = skipped
        self._lock = anyio.Lock()
        self._numbers = count()
        self._candidates: list[tuple[int, int, Item]] = []
        self._claimed: deque[ClaimedItem] = deque()
        self._deferred: list[Item] = []
        self._is_exhausted = False
        self._is_stopped = False
        self._wake = anyio.Event()
        self.total = len(items) if isinstance(items, Sequence) else 0
        """Items read so far; for a sequence, all of them from the start."""

    async def register(self) -> None:
        """Store all items of a sequence in the journal, so that it has their number from the start."""
        if isinstance(self._items, Sequence):
            items = iter(self._items)
            while await self._writer.call(self._read, items):
                pass

    def stop(self) -> None:
        """Return no more items."""
        self._is_stopped = True
        self.wake()

    def wake(self) -> None:
        """Check deferred items now."""
        self._wake.set()

    def defer(self, item: Item) -> None:
        """Return *item* again later, when the lookup of its create has ended."""
        self._deferred.append(item)

    async def next(self) -> ClaimedItem | None:
        """Return the next item; ``None`` when all are finished, or after `stop`. Waits while other runs have all remaining items."""
        async with self._lock:  # serves waiters in order of arrival
            while not self._is_stopped:
                if self._claimed:
                    return self._claimed.popleft()
                if len(self._candidates) < self._group and not self._is_exhausted:
                    await self._fill()
                elif self._candidates:
                    await self._claim()
                elif self._deferred:
                    await self._recheck_deferred()
                else:
                    return None
            return None

    def _read(self, source: Iterator[Item]) -> list[tuple[Item, StoredItem]]:
        """Read items from *source* and store them in the journal; empty at its end. Blocks."""
        items = list(islice(source, LOOKAHEAD))
        found = self._writer.store.add_items(items) if items else []
        return [
            (item if item.key == stored.state.key else item.with_key(stored.state.key), stored)
            for item, stored in zip(items, found, strict=True)
        ]

    async def _fill(self) -> None:
        read = await self._writer.call(self._read, self._source)
        self._is_exhausted = not read
        if not isinstance(self._items, Sequence):
            self.total += len(read)
        for item, stored in read:
            self._classify(item, stored)

    def _classify(self, item: Item, stored: StoredItem) -> None:
        if stored.state.stage.is_final:
            self._skipped(item, stored.state)
        elif stored.runner is not None:
            self._deferred.append(item)
        else:
            heapq.heappush(self._candidates, (-item.priority, next(self._numbers), item))

    async def _claim(self) -> None:
        items = [heapq.heappop(self._candidates)[2] for _ in range(min(self._group, len(self._candidates)))]
        store, runner = self._writer.store, self._writer.runner
        ours, found = await self._writer.call(store.claim, [item.key for item in items], runner)
        for item in items:
            stored = found[item.key]
            if item.key in ours:
                ours.remove(item.key)  # a second item with the same key waits for the first
                state = stored.state
                if state.stage is Stage.PLANNED:  # not begun, so a file may have become a URL or the reverse
                    state = attrs.evolve(state, is_fetched=item.url is not None)
                is_changed = stored.fingerprint is not None and stored.fingerprint != fingerprint(item)
                self._claimed.append(ClaimedItem(item, state, is_changed))
            else:
                self._classify(item, stored)

    async def _recheck_deferred(self) -> None:
        with anyio.move_on_after(RECHECK_INTERVAL):
            await self._wake.wait()
        self._wake = anyio.Event()
        if self._is_stopped:
            return
        deferred, self._deferred = self._deferred, []
        found = await self._writer.call(self._writer.store.read_items, [item.key for item in deferred])
        for item in deferred:
            self._classify(item, found[item.key])


def _by_priority(items: Sequence[Item]) -> Iterable[Item]:
    """Return *items* by descending priority, otherwise in their order."""
    if not any(item.priority for item in items):
        return items
    return (items[number] for number in sorted(range(len(items)), key=lambda number: -items[number].priority))
