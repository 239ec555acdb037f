"""The result of each item, and counts of failures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

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
