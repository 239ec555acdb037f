"""The trackers of one watch: of its streams, or of all streams. Pure, as `_stream_tracker` is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from mux_async._models.model import Model
from mux_async.live._events import DELETED, LiveEvent
from mux_async.live._stream_tracker import StreamTracker

if TYPE_CHECKING:
    from mux_async.models import Asset, LiveStream


@attrs.define(eq=False)
class StreamTrackers:
    """The streams of one watch.

    Attributes:
        is_all: Whether the watch is for all streams of the environment.
    """

    is_all: bool
    _trackers: dict[str, StreamTracker]
    _newest: dt.datetime | None = None
    """Creation time of the newest stream in the first poll: newer streams were created during the watch."""

    @classmethod
    def of(cls, streams: Sequence[LiveStream | str]) -> StreamTrackers:
        """Return trackers for the arguments of `Live.watch`. Raises `ValueError` if an id is empty."""
        trackers: dict[str, StreamTracker] = {}
        for stream in streams:
            if isinstance(stream, Model):
                trackers[stream.id] = StreamTracker.since(stream)
            elif stream:
                trackers[stream] = StreamTracker(stream)
            else:
                raise ValueError("the id of a live stream is empty; watch() without any id watches all of them")
        return cls(not streams, trackers)

    @property
    def ids(self) -> Iterable[str]:
        """Ids of the streams that were passed to `Live.watch`."""
        return () if self.is_all else self._trackers

    @property
    def known(self) -> Iterable[str]:
        """Ids of the streams with any event or state so far."""
        return self._trackers

    @property
    def on_air(self) -> list[str]:
        """Ids of the streams that are on air, as far as is known."""
        return [each.live_stream_id for each in self._trackers.values() if each.is_on]

    @property
    def are_over(self) -> bool:
        """Whether there will be no more events, because every stream of the watch was deleted."""
        return not self.is_all and not self._trackers

    def awaited(self) -> Iterable[tuple[str, str]]:
        """Yield the recordings whose state may still change, each with its stream."""
        for tracker in self._trackers.values():
            for asset_id in tracker.awaited:
                yield asset_id, tracker.live_stream_id

    def webhook(self, event: LiveEvent, now: float) -> list[LiveEvent]:
        """Apply a webhook; see `StreamTracker.webhook`."""
        tracker = self._tracker(event.live_stream_id)
        if tracker is None:
            return []
        events = tracker.webhook(event, now)
        if any(each.type == DELETED for each in events):
            self._trackers.pop(tracker.live_stream_id, None)
        return events

    def polled(self, stream: LiveStream, started: float, at: dt.datetime) -> list[LiveEvent]:
        """Apply a polled stream; see `StreamTracker.polled`."""
        tracker = self._tracker(stream.id)
        if tracker is None:
            return []
        is_new = self.is_all and self._newest is not None and stream.created_at > self._newest
        return [*(tracker.created(stream, at) if is_new else ()), *tracker.polled(stream, started, at)]

    def polled_asset(self, live_stream_id: str, asset: Asset, at: dt.datetime) -> list[LiveEvent]:
        """Apply a polled recording; see `StreamTracker.polled_asset`."""
        tracker = self._trackers.get(live_stream_id)
        return [] if tracker is None else tracker.polled_asset(asset, at)

    def missing(self, live_stream_id: str, at: dt.datetime) -> list[LiveEvent] | None:
        """Apply that the API has no such stream. Returns the events; ``None`` if the stream never existed."""
        tracker = self._trackers.pop(live_stream_id, None)
        if tracker is None:
            return []
        return tracker.missing(at) if tracker.is_known else None

    def missing_asset(self, live_stream_id: str, asset_id: str) -> None:
        """Apply that the API has no such recording any more."""
        if (tracker := self._trackers.get(live_stream_id)) is not None:
            tracker.missing_asset(asset_id)

    def polled_all(self, newest: dt.datetime | None) -> None:
        """Record that all streams were polled; *newest* is the latest creation time, ``None`` if there are no streams."""
        if self._newest is None:
            self._newest = newest or dt.datetime.min.replace(tzinfo=dt.UTC)

    def _tracker(self, live_stream_id: str) -> StreamTracker | None:
        found = self._trackers.get(live_stream_id)
        if found is None and self.is_all:
            found = self._trackers[live_stream_id] = StreamTracker(live_stream_id)
        return found
