"""What a watch knows of one live stream, and what is news to it. Pure: values and times go in, events come out.

Two things tell of a stream. Webhooks say each step, in any order, perhaps twice, perhaps never. A look at the API shows how things
stand: whether it is on air, and which recordings there are. Both go through a `Story`, which passes on what was not told yet. Its rules:

1. A recording stands for a broadcast: an encoder that connects makes one, and after ``idle`` it never comes back (facts/BEHAVIOUR.md,
   section 6.2). So a recording that was not there before is a broadcast that was missed, and can still be told of: how it began and ended.
2. What a look found first and its webhook says later is the same news. It is told once.
3. What is over is not told as if it went on: a webhook older than the newest one, or about a broadcast whose end was told, is left out.
4. A look that began before the newest webhook, or just after it, proves nothing.

What no look can show, because only webhooks say it: ``recording``, ``disconnected``, ``updated``, ``warning``, simulcast targets.
"""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import attrs

from mux_async.live._events import (
    ACTIVE,
    ASSET_COMPLETED,
    ASSET_ERRORED,
    ASSET_READY,
    ASSET_STATES,
    CONNECTED,
    CREATED,
    DELETED,
    DISABLED,
    DISCONNECTED,
    ENABLED,
    IDLE,
    RECORDING,
    STREAM_STATES,
    LiveEvent,
    last_asset,
)

if TYPE_CHECKING:
    from mux_async.models import Asset, LiveStream

QUIET: Final = 2.0
"""Seconds after a webhook in which a look is not believed: the API may be a moment behind."""
REMEMBERED: Final = 64
"""Recordings remembered per stream, of those made while it was watched: more than lie between a webhook and its repetition."""

_BEGINNINGS = frozenset({CONNECTED, RECORDING, ACTIVE})
_LONG_AGO = dt.datetime.min.replace(tzinfo=dt.UTC)
_ABOUT_ONE = _BEGINNINGS | {DISCONNECTED, IDLE}
_STAGE = {kind: number for number, kind in enumerate(ASSET_STATES)}


@attrs.define(eq=False)
class _Recording:
    """A recording, and how much of it was told."""

    stage: int = -1
    """Number of the furthest of `ASSET_STATES` that was told."""
    told: set[str] = attrs.field(factory=set[str])
    is_over: bool = False
    """Whether the end of its broadcast was told."""
    is_awaited: bool = False
    """Whether it was made while the stream was watched, so that its own end is news."""


@attrs.define(eq=False)
class Story:
    """One live stream, to one watch.

    Attributes:
        live_stream_id: The stream.
        is_known: Whether it was ever seen, so that its absence means that it was deleted.
    """

    live_stream_id: str
    is_known: bool = False
    is_deleted: bool = False
    _is_seen: bool = False
    """Whether what was there before is known, so that anything else is news."""
    _past: frozenset[str] = frozenset()
    """Recordings that the last look showed, but for the one of a broadcast that went on."""
    _status: str = "idle"
    _on_air: str | None = None
    """The recording of the broadcast that goes on."""
    _recordings: OrderedDict[str, _Recording] = attrs.field(factory=OrderedDict[str, _Recording])
    _told_by_look: set[str] = attrs.field(factory=set[str])
    """Kinds of news without a recording, or with the current one, whose webhook may still come."""
    _newest: dt.datetime = _LONG_AGO
    _heard_at: float = float("-inf")

    @classmethod
    def since(cls, stream: LiveStream) -> Story:
        """Return the story of a stream that the program has read before: what happened since then is news."""
        story = cls(stream.id)
        story._take_past(stream)
        story._status = stream.status
        if stream.active_asset_id:
            story._begin(stream.active_asset_id)
        return story

    @property
    def is_on(self) -> bool:
        """Whether it is on air, or an encoder is connected, as far as is known."""
        return self._on_air is not None or self._status == "active"

    @property
    def awaited(self) -> list[str]:
        """Recordings of which a look may bring news: those that are not whole, but for one that is ready and goes on."""
        return [
            asset_id
            for asset_id, each in self._recordings.items()
            if each.is_awaited and each.stage < _STAGE[ASSET_READY if asset_id == self._on_air else ASSET_ERRORED]
        ]

    def hear(self, event: LiveEvent, now: float) -> list[LiveEvent]:
        """Take what a webhook said, at monotonic *now*; return it if it is news."""
        if self.is_deleted:
            return []
        if event.type in _STAGE:
            news = self._asset_event(event)
            is_end = event.type == ASSET_COMPLETED and event.asset_id == self._on_air and bool(news)
            return [self._found(IDLE, self._on_air, None, event.created_at), *news] if is_end else news
        if event.type not in STREAM_STATES:
            self._is_seen = self._is_seen or event.type == CREATED
            return [] if self._was_told(event, None) else [event]
        asset_id = event.asset_id
        known = self._recordings.get(asset_id) if asset_id else None
        self._heard_at = now
        if known is None and asset_id in self._past:
            return []  # from before it was watched
        if self._was_told(event, known) or (known is not None and known.is_over and event.type in _ABOUT_ONE):
            self._newest = max(self._newest, event.created_at)
            return []
        if event.created_at < self._newest:
            return []
        self._newest = event.created_at
        self.is_known = True
        end: list[LiveEvent] = []
        if event.type in _ABOUT_ONE and asset_id and self._on_air and self._on_air != asset_id:
            # Another broadcast: the end of the one before got lost, or comes late.
            end.append(self._found(IDLE, self._on_air, event.live_stream, event.created_at))
        self._apply(event.type, asset_id)
        return [*end, event]

    def _was_told(self, event: LiveEvent, known: _Recording | None) -> bool:
        """Whether a look had told it; said once, so that the next of its kind is news."""
        told = self._told_by_look if known is None else known.told
        if event.type not in told:
            return False
        told.discard(event.type)
        return True

    def _apply(self, kind: str, asset_id: str | None) -> None:
        if kind in _BEGINNINGS:
            self._told_by_look.discard(IDLE)
            if asset_id:
                self._begin(asset_id)
        if kind == ACTIVE:
            self._status = "active"
        elif kind == DISCONNECTED and self._on_air:
            self._recording(self._on_air).told.discard(CONNECTED)  # the next connection is another one
        elif kind == IDLE:
            self._end(asset_id)
        elif kind in {ENABLED, DISABLED}:
            self._status = "idle" if kind == ENABLED else "disabled"
            self._told_by_look -= {ENABLED, DISABLED}
        elif kind == DELETED:
            self.is_deleted = True

    def see(self, stream: LiveStream, began: float, at: dt.datetime) -> list[LiveEvent]:
        """Take what a look showed; return what is news.

        Args:
            stream: As the API showed it.
            began: Monotonic seconds, when the look began.
            at: The time that events get.
        """
        active = stream.active_asset_id
        if self.is_deleted or began < self._heard_at + QUIET:
            return []
        if active and active in self._recordings and self._recordings[active].is_over:
            return []  # shown from before its end
        missed = self._missed(stream)
        self._take_past(stream)
        is_next = bool(active) and active != self._on_air
        was_on = self._on_air or self._status == "active"
        news: list[tuple[str, str | None]] = []
        if was_on and (active != self._on_air or (self._status == "active" and stream.status != "active")):
            news.append((IDLE, self._on_air or last_asset(stream)))
        for asset_id in missed:
            news += [(CONNECTED, asset_id), (IDLE, asset_id)]
        if is_next:
            news.append((CONNECTED, active))
        if stream.status == "active" and (self._status != "active" or is_next):
            news.append((ACTIVE, active))
        if (stream.status == "disabled") != (self._status == "disabled"):
            news.append((DISABLED if stream.status == "disabled" else ENABLED, None))
        return [self._found(kind, asset_id, stream, at) for kind, asset_id in news]

    def see_new(self, stream: LiveStream, at: dt.datetime) -> list[LiveEvent]:
        """Take that the stream was made while all were watched; to be followed by `see`."""
        if self._is_seen:
            return []
        self._is_seen = True
        return [self._found(CREATED, None, stream, at)]

    def _missed(self, stream: LiveStream) -> list[str]:
        """Return the recordings of broadcasts that nothing was told of, the newest last; only such as are later than what was told."""
        if not self._is_seen or (self._on_air and self._on_air == stream.active_asset_id):
            return []
        missed: list[str] = []
        for asset_id in reversed(stream.recent_asset_ids or ()):
            if asset_id in self._past or asset_id in self._recordings:
                break
            if asset_id != stream.active_asset_id:
                missed.insert(0, asset_id)
        return missed

    def _take_past(self, stream: LiveStream) -> None:
        self._past = frozenset(stream.recent_asset_ids or ()) - {stream.active_asset_id or ""}
        self.is_known = self._is_seen = True

    def _found(self, kind: str, asset_id: str | None, stream: LiveStream | None, at: dt.datetime) -> LiveEvent:
        self._apply(kind, asset_id)
        (self._recording(asset_id).told if asset_id else self._told_by_look).add(kind)
        return LiveEvent(type=kind, live_stream_id=self.live_stream_id, asset_id=asset_id, created_at=at, live_stream=stream)

    def see_asset(self, asset: Asset, at: dt.datetime) -> list[LiveEvent]:
        """Take how a recording stands; return what is news."""
        news: list[LiveEvent] = []
        is_going_on = asset.is_live or asset.id == self._on_air
        kinds = {"errored": (ASSET_ERRORED,), "ready": (ASSET_READY,) if is_going_on else (ASSET_READY, ASSET_COMPLETED)}
        for kind in kinds.get(asset.status, ()):
            found = LiveEvent(type=kind, live_stream_id=self.live_stream_id, asset_id=asset.id, created_at=at, asset=asset)
            news += self._asset_event(found)
        return news

    def miss(self, at: dt.datetime) -> list[LiveEvent]:
        """Take that the API has no such stream any more."""
        if self.is_deleted:
            return []
        self.is_deleted = True
        return [LiveEvent(type=DELETED, live_stream_id=self.live_stream_id, created_at=at)]

    def miss_asset(self, asset_id: str) -> None:
        """Take that the API has no such recording any more."""
        self._recording(asset_id).stage = len(ASSET_STATES)

    def _asset_event(self, event: LiveEvent) -> list[LiveEvent]:
        recording = self._recording(event.asset_id or "")
        stage = _STAGE[event.type]
        if stage <= recording.stage:
            return []
        recording.stage = stage
        return [event]

    def _begin(self, asset_id: str) -> None:
        self._on_air = asset_id
        self._recording(asset_id).is_awaited = True

    def _end(self, asset_id: str | None) -> None:
        for each in {asset_id, self._on_air} - {None}:
            recording = self._recording(each or "")
            recording.is_over = recording.is_awaited = True
        self._on_air = None
        self._status = "idle"

    def _recording(self, asset_id: str) -> _Recording:
        found = self._recordings.get(asset_id)
        if found is None:
            found = self._recordings[asset_id] = _Recording()
            if len(self._recordings) > REMEMBERED:
                self._recordings.popitem(last=False)
        return found
