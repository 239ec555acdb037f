"""Who is next: items come from any iterable, a thousand at a time; those that nobody works on are claimed and handed out.

Of a hundred thousand items, a thousand are looked at ahead and a few are claimed: a second run beside this one finds work until
the end. Items that somebody else works on, or that are being looked into, are put aside and asked about now and then: they come back as
finished, or free because their run was killed. Those with a higher priority go first: among all items when they come as a sequence, else
among those that were looked at.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Final

import anyio
import attrs

from mux_async.ingest._items import Item
from mux_async.ingest._journal_writer import JournalWriter
from mux_async.ingest._store import Enrolment, Standing
from mux_async.ingest.machine import ItemState, Stage

LOOKAHEAD: Final = 1000
"""Items that are looked at ahead."""
RECHECK_INTERVAL: Final = 5.0
"""Seconds between two questions about items that others work on."""


@attrs.frozen
class ClaimedItem:
    """An item that is ours.

    Attributes:
        item: The item.
        state: Where it is.
        is_changed: Whether its file is another one than its upload was created for.
    """

    item: Item
    state: ItemState
    is_changed: bool


def fingerprint(item: Item) -> str | None:
    """Return what differs when the item's file does; ``None`` for what Mux fetches: signed URLs differ every time."""
    if item.url is not None or item.size is None:
        return None
    return f"{item.size}:{item.modified_ns}" if item.modified_ns is not None else str(item.size)


def enrolment(item: Item) -> Enrolment:
    """Return *item* as it is put into the journal."""
    return Enrolment(
        item.key,
        item.source,
        item.url is not None,
        size=item.size,
        fingerprint=fingerprint(item),
        older_key=item.older_key,
    )


class ItemQueue:
    """Hands out the items of one run.

    Args:
        items: Where they come from; read in worker threads, because reading may touch the disk.
        writer: The journal.
        group: How many are claimed at a time.
        skipped: Told of items for which there is nothing to do.
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
        """Items that have come so far; all of them, from the start, when they are a sequence."""

    async def register(self) -> None:
        """Put all items on the writer, when they are a sequence: then the journal shows from the start how many there are."""
        if isinstance(self._items, Sequence):
            items = iter(self._items)
            while await self._writer.call(self._read, items):
                pass

    def stop(self) -> None:
        """Hand out nothing more."""
        self._is_stopped = True
        self.wake()

    def wake(self) -> None:
        """Have another look at what is aside."""
        self._wake.set()

    def defer(self, item: Item) -> None:
        """Come back to *item* when somebody has found out how it stands."""
        self._deferred.append(item)

    async def next(self) -> ClaimedItem | None:
        """Return the next item; ``None`` when all are finished, or after `stop`. Waits while others work on all that is left."""
        async with self._lock:  # whoever waits for it is served in turn
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

    def _read(self, source: Iterator[Item]) -> list[tuple[Item, Standing]]:
        """Take items from *source* and put them on the books; empty at its end. Blocks."""
        items = list(islice(source, LOOKAHEAD))
        standings = self._writer.store.enrol([enrolment(item) for item in items]) if items else []
        return [
            (item if item.key == standing.state.key else item.with_key(standing.state.key), standing)
            for item, standing in zip(items, standings, strict=True)
        ]

    async def _fill(self) -> None:
        read = await self._writer.call(self._read, self._source)
        self._is_exhausted = not read
        if not isinstance(self._items, Sequence):
            self.total += len(read)
        for item, standing in read:
            self._classify(item, standing)

    def _classify(self, item: Item, standing: Standing) -> None:
        if standing.state.stage.is_final:
            self._skipped(item, standing.state)
        elif standing.runner is not None:
            self._deferred.append(item)
        else:
            heapq.heappush(self._candidates, (-item.priority, next(self._numbers), item))

    async def _claim(self) -> None:
        items = [heapq.heappop(self._candidates)[2] for _ in range(min(self._group, len(self._candidates)))]
        store, runner = self._writer.store, self._writer.runner
        ours, standings = await self._writer.call(store.claim, [item.key for item in items], runner)
        for item in items:
            standing = standings[item.key]
            if item.key in ours:
                ours.remove(item.key)  # a second item of the same key waits for what becomes of the first
                state = standing.state
                if state.stage is Stage.PLANNED:  # nothing was begun, so it may be another kind of thing by now
                    state = attrs.evolve(state, is_fetched=item.url is not None)
                is_changed = standing.fingerprint is not None and standing.fingerprint != fingerprint(item)
                self._claimed.append(ClaimedItem(item, state, is_changed))
            else:
                self._classify(item, standing)

    async def _recheck_deferred(self) -> None:
        with anyio.move_on_after(RECHECK_INTERVAL):
            await self._wake.wait()
        self._wake = anyio.Event()
        if self._is_stopped:
            return
        aside, self._deferred = self._deferred, []
        standings = await self._writer.call(self._writer.store.standings, [item.key for item in aside])
        for item in aside:
            self._classify(item, standings[item.key])


def _by_priority(items: Sequence[Item]) -> Iterable[Item]:
    """Return *items*, those of a higher priority first, otherwise in their order."""
    if not any(item.priority for item in items):
        return items
    return (items[number] for number in sorted(range(len(items)), key=lambda number: -items[number].priority))
