"""Reports the stages of items to the listeners of a client (`mux_async.events.IngestItemChanged`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from mux_async._client import Mux, listeners_of
from mux_async._listeners import next_id
from mux_async.events import IngestItemChanged

if TYPE_CHECKING:
    from mux_async.ingest._items import Item
    from mux_async.ingest.machine import ItemState


class ItemReporter:
    """Reports items, each stage once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str]] = {}
        """Id and stage of the items that have begun and not ended, by key."""

    def report(self, client: Mux, item: Item, state: ItemState, *, is_skipped: bool = False) -> None:
        """Report the state of *item* to the listeners of *client*, if it is another stage than the last one."""
        listeners = listeners_of(client)
        if listeners is None:
            return
        number, before = self._known.get(item.key, (0, None))
        if before == state.stage.value:
            return
        number = number or next_id()
        if state.stage.is_final:
            self._known.pop(item.key, None)
        else:
            self._known[item.key] = number, state.stage.value
        listeners.notify(
            IngestItemChanged(
                number,
                anyio.current_time(),
                item.key,
                state.stage.value,
                before,
                state.asset_id,
                state.upload_id,
                None if state.error is None else state.error.type,
                is_skipped,
            )
        )
