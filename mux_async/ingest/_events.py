"""The events of a running ingest, the result of each item, and the summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from mux_async.ingest._items import Item
from mux_async.ingest.machine import ItemError, ItemState, Stage
from mux_async.playback import Hosts

if TYPE_CHECKING:
    from mux_async.models import Asset


@attrs.frozen
class ItemResult:
    """The result of one item.

    Attributes:
        source: The path, or the URL without its query.
        key: Of the item; the asset's ``meta.external_id``.
        status: ``ready``, or ``failed``.
        asset_id: The asset; also of a failed item that has one.
        upload_id: The upload; ``None`` for URLs.
        playback_ids: Policy by playback id.
        playback_urls: Of the public playback ids; the others need a signed token.
        bytes: Size of the file; ``None`` for URLs.
        seconds: From the create call to the ready asset, or to the failure.
        duration: Seconds of media; ``None`` if failed.
        error: Why it failed.
    """

    source: str
    key: str
    status: Literal["ready", "failed"]
    asset_id: str | None
    upload_id: str | None
    playback_ids: Mapping[str, str]
    playback_urls: tuple[str, ...]
    bytes: int | None
    seconds: float
    duration: float | None
    error: ItemError | None

    @classmethod
    def of(cls, item: Item, state: ItemState, asset: Asset | None, *, seconds: float, base_url: str) -> ItemResult:
        """Return the result of a finished item."""
        playback_ids = (asset.playback_ids or []) if asset is not None else []
        return cls(
            source=item.source,
            key=item.key,
            status="ready" if state.stage is Stage.DONE else "failed",
            asset_id=state.asset_id,
            upload_id=state.upload_id,
            playback_ids={each.id: each.policy for each in playback_ids},
            playback_urls=tuple(playback_url(base_url, each.id) for each in playback_ids if each.policy == "public"),
            bytes=item.size,
            seconds=round(seconds, 3),
            duration=asset.duration if asset is not None else None,
            error=state.error,
        )

    def to_dict(self) -> dict[str, object]:
        """Return JSON members."""
        members: dict[str, object] = attrs.asdict(self)
        members["playback_ids"] = dict(self.playback_ids)
        return members


_VARIABLE_PARTS: Final = re.compile(r" \(request id '[^']*'\)|(?<=asset )'\w+' |(?<=upload )'[\w-]+' ")
"""Parts of a message that differ each time."""
_MAX_REASONS: Final = 1000
"""Messages that are counted: messages with the name of the item are all different."""


class FailureCounts:
    """The number of failed items by message."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def add(self, error: ItemError | None) -> None:
        """Count a finished item; ``None`` if it did not fail."""
        if error is not None:
            sentence = _VARIABLE_PARTS.sub("", error.message)
            if sentence in self._counts or len(self._counts) < _MAX_REASONS:
                self._counts[sentence] += 1

    def most_common(self) -> dict[str, int]:
        """Return the number of items by message, the most frequent first."""
        return dict(self._counts.most_common())


def playback_url(base_url: str, playback_id: str) -> str:
    """Return the URL of the stream: at Mux, or at *base_url* if that is another server."""
    return f"{Hosts.of(base_url).stream}/{playback_id}.m3u8"


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
"""Any event of an ingest."""
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
