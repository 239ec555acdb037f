"""What one watch is about: the stories of its streams, or of all there are. Pure, as `_story` is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from mux_async._models.model import Model
from mux_async.live._events import DELETED, LiveEvent
from mux_async.live._story import Story

if TYPE_CHECKING:
    from mux_async.models import Asset, LiveStream


@attrs.define(eq=False)
class Stories:
    """The streams of one watch.

    Attributes:
        is_all: Whether every stream is watched, and not only those named.
    """

    is_all: bool
    _stories: dict[str, Story]
    _newest: dt.datetime | None = None
    """When the newest stream was made that was there when the watch began: whatever is younger was made meanwhile."""

    @classmethod
    def of(cls, streams: Sequence[LiveStream | str]) -> Stories:
        """Return the stories of what `Live.watch` was given.

        Raises:
            ValueError: An id is empty.
        """
        stories: dict[str, Story] = {}
        for stream in streams:
            if isinstance(stream, Model):
                stories[stream.id] = Story.since(stream)
            elif stream:
                stories[stream] = Story(stream)
            else:
                raise ValueError("the id of a live stream is empty; watch() without any id watches all of them")
        return cls(not streams, stories)

    @property
    def ids(self) -> Iterable[str]:
        """The streams that are watched by name."""
        return () if self.is_all else self._stories

    @property
    def known(self) -> Iterable[str]:
        """The streams that were seen or heard of."""
        return self._stories

    @property
    def on_air(self) -> list[str]:
        """The streams that go on, as far as is known."""
        return [each.live_stream_id for each in self._stories.values() if each.is_on]

    @property
    def are_over(self) -> bool:
        """Whether nothing can happen any more."""
        return not self.is_all and not self._stories

    def awaited(self) -> Iterable[tuple[str, str]]:
        """Yield the recordings of which a look may bring news, each with its stream."""
        for story in self._stories.values():
            for asset_id in story.awaited:
                yield asset_id, story.live_stream_id

    def hear(self, event: LiveEvent, now: float) -> list[LiveEvent]:
        """Take what a webhook said; see `Story.hear`."""
        story = self._story(event.live_stream_id)
        return [] if story is None else self._end_of(story, story.hear(event, now))

    def see(self, stream: LiveStream, began: float, at: dt.datetime) -> list[LiveEvent]:
        """Take what a look showed; see `Story.see`."""
        story = self._story(stream.id)
        if story is None:
            return []
        is_new = self.is_all and self._newest is not None and stream.created_at > self._newest
        return [*(story.see_new(stream, at) if is_new else ()), *story.see(stream, began, at)]

    def see_asset(self, live_stream_id: str, asset: Asset, at: dt.datetime) -> list[LiveEvent]:
        """Take how a recording stands; see `Story.see_asset`."""
        story = self._stories.get(live_stream_id)
        return [] if story is None else story.see_asset(asset, at)

    def miss(self, live_stream_id: str, at: dt.datetime) -> list[LiveEvent] | None:
        """Take that there is no such stream. Returns what is news; ``None`` when there has never been one."""
        story = self._stories.pop(live_stream_id, None)
        if story is None:
            return []
        return story.miss(at) if story.is_known else None

    def miss_asset(self, live_stream_id: str, asset_id: str) -> None:
        """Take that there is no such recording any more."""
        if (story := self._stories.get(live_stream_id)) is not None:
            story.miss_asset(asset_id)

    def looked(self, newest: dt.datetime | None) -> None:
        """Take that all streams were looked at; *newest* is when the youngest was made, ``None`` when there is none."""
        if self._newest is None:
            self._newest = newest or dt.datetime.min.replace(tzinfo=dt.UTC)

    def _story(self, live_stream_id: str) -> Story | None:
        found = self._stories.get(live_stream_id)
        if found is None and self.is_all:
            found = self._stories[live_stream_id] = Story(live_stream_id)
        return found

    def _end_of(self, story: Story, events: list[LiveEvent]) -> list[LiveEvent]:
        if any(event.type == DELETED for event in events):
            self._stories.pop(story.live_stream_id, None)
        return events
