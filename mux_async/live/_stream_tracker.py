"""The state of the live streams of one watch, and which events are new to it. Pure: values and times go in, events come out.

There are two sources. Webhooks report each step of a broadcast, in any order, possibly twice or never. A poll returns the current state:
whether the stream is on air, and its recordings. A `StreamTracker` merges both and returns each event once. Its rules:

1. A recording identifies a broadcast: an encoder that connects creates one, and after ``idle`` it is never continued (facts/BEHAVIOUR.md,
   section 6.2). So an unknown recording is a broadcast that was missed, and its start and end are reported late.
2. A change that a poll found first and a webhook reports later is one event.
3. Outdated events are dropped: a webhook that is older than the newest one, or that is about a broadcast whose end was reported.
4. A poll that started before the newest webhook, or shortly after it, is ignored.

Only webhooks report ``recording``, ``disconnected``, ``updated``, ``warning`` and simulcast targets; polls do not show them.
"""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from mux_async._models.model import Model
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

POLL_LAG: Final = 2.0
"""Seconds after a webhook during which polls are ignored, because the API may lag behind."""
REMEMBERED: Final = 64
"""Recordings remembered per stream: more than there are between a webhook and its repetition."""

_STARTS = frozenset({CONNECTED, RECORDING, ACTIVE})
_LONG_AGO = dt.datetime.min.replace(tzinfo=dt.UTC)
_OF_A_BROADCAST = _STARTS | {DISCONNECTED, IDLE}
_STAGES = {kind: number for number, kind in enumerate(ASSET_STATES)}


@attrs.define(eq=False)
class _Recording:
    """A recording and the events that were reported about it."""

    stage: int = -1
    """Index in `ASSET_STATES` of the latest state that was reported."""
    from_polls: set[str] = attrs.field(factory=set[str])
    """Events that a poll found first; their webhooks are dropped."""
    is_over: bool = False
    """Whether the end of its broadcast was reported."""
    is_awaited: bool = False
    """Whether it was created during the watch, so that its states are reported."""


@attrs.define(eq=False)
class StreamTracker:
    """The state of one live stream in one watch.

    Attributes:
        live_stream_id: The stream.
        is_known: Whether the stream was ever seen, so that its absence means that it was deleted.
    """

    live_stream_id: str
    is_known: bool = False
    is_deleted: bool = False
    _has_baseline: bool = False
    """Whether the state before the watch is known, so that any other state is a change."""
    _past: frozenset[str] = frozenset()
    """Recordings in the last poll, except the one of the current broadcast."""
    _status: str = "idle"
    _on_air: str | None = None
    """The recording of the current broadcast."""
    _recordings: OrderedDict[str, _Recording] = attrs.field(factory=OrderedDict[str, _Recording])
    _from_polls: set[str] = attrs.field(factory=set[str])
    """As in `_Recording`: events without a recording."""
    _newest: dt.datetime = _LONG_AGO
    """Time of the newest event from a webhook."""
    _webhook_at: float = float("-inf")

    @classmethod
    def since(cls, stream: LiveStream) -> StreamTracker:
        """Return a tracker that starts with the state of *stream* and reports all changes since then."""
        tracker = cls(stream.id)
        tracker._set_baseline(stream)
        tracker._status = stream.status
        if stream.active_asset_id:
            tracker._start(stream.active_asset_id)
        return tracker

    @property
    def is_on(self) -> bool:
        """Whether the stream is on air or an encoder is connected, as far as is known."""
        return self._on_air is not None or self._status == "active"

    @property
    def awaited(self) -> list[str]:
        """Recordings whose state may still change: incomplete ones, except one that is ready while its broadcast continues."""
        return [
            asset_id
            for asset_id, each in self._recordings.items()
            if each.is_awaited and each.stage < _STAGES[ASSET_READY if asset_id == self._on_air else ASSET_ERRORED]
        ]

    def webhook(self, event: LiveEvent, now: float) -> list[LiveEvent]:
        """Apply a webhook that arrived at monotonic *now*; return the events to report: *event* if it is new."""
        if self.is_deleted:
            return []
        if event.type in _STAGES:
            events = self._asset_event(event)
            is_end = event.type == ASSET_COMPLETED and event.asset_id == self._on_air and bool(events)
            return [self._poll_event(IDLE, self._on_air, None, event.created_at), *events] if is_end else events
        if event.type not in STREAM_STATES:
            self._has_baseline = self._has_baseline or event.type == CREATED
            return [] if self._was_polled(event, None) else [event]
        asset_id = event.asset_id
        recording = self._recordings.get(asset_id) if asset_id else None
        self._webhook_at = now
        if recording is None and asset_id in self._past:
            return []  # from before the watch
        if self._was_polled(event, recording) or (
            recording is not None and recording.is_over and event.type in _OF_A_BROADCAST
        ):
            self._newest = max(self._newest, event.created_at)
            return []
        if event.created_at < self._newest:
            return []
        self._newest = event.created_at
        self.is_known = True
        end: list[LiveEvent] = []
        if event.type in _OF_A_BROADCAST and asset_id and self._on_air and self._on_air != asset_id:
            # The next broadcast: the webhook about the end of the previous one was lost or is late.
            end.append(self._poll_event(IDLE, self._on_air, event.live_stream, event.created_at))
        self._apply(event.type, asset_id)
        return [*end, event]

    def _was_polled(self, event: LiveEvent, recording: _Recording | None) -> bool:
        """Whether a poll already reported this event. True once, so that the next event of the type is reported."""
        from_polls = self._from_polls if recording is None else recording.from_polls
        if event.type not in from_polls:
            return False
        from_polls.discard(event.type)
        return True

    def _apply(self, kind: str, asset_id: str | None) -> None:
        if kind in _STARTS:
            self._from_polls.discard(IDLE)
            if asset_id:
                self._start(asset_id)
        if kind == ACTIVE:
            self._status = "active"
        elif kind == DISCONNECTED and self._on_air:
            self._recording(self._on_air).from_polls.discard(CONNECTED)  # the next connection is a new event
        elif kind == IDLE:
            self._end(asset_id)
        elif kind in {ENABLED, DISABLED}:
            self._status = "idle" if kind == ENABLED else "disabled"
            self._from_polls -= {ENABLED, DISABLED}
        elif kind == DELETED:
            self.is_deleted = True

    def polled(self, stream: LiveStream, started: float, at: dt.datetime) -> list[LiveEvent]:
        """Apply the state of the stream in a poll; return the events to report.

        Args:
            stream: The stream in the API's response.
            started: Monotonic seconds at which the poll started.
            at: Time of the events.
        """
        active = stream.active_asset_id
        if self.is_deleted or started < self._webhook_at + POLL_LAG:
            return []
        if active and active in self._recordings and self._recordings[active].is_over:
            return []  # a response from before the end of the broadcast
        missed = self._missed_broadcasts(stream)
        self._set_baseline(stream)
        is_next = bool(active) and active != self._on_air
        was_on = self._on_air or self._status == "active"
        events: list[tuple[str, str | None]] = []
        if was_on and (active != self._on_air or (self._status == "active" and stream.status != "active")):
            events.append((IDLE, self._on_air or last_asset(stream)))
        for asset_id in missed:
            events += [(CONNECTED, asset_id), (IDLE, asset_id)]
        if is_next:
            events.append((CONNECTED, active))
        if stream.status == "active" and (self._status != "active" or is_next):
            events.append((ACTIVE, active))
        if (stream.status == "disabled") != (self._status == "disabled"):
            events.append((DISABLED if stream.status == "disabled" else ENABLED, None))
        return [self._poll_event(kind, asset_id, stream, at) for kind, asset_id in events]

    def created(self, stream: LiveStream, at: dt.datetime) -> list[LiveEvent]:
        """Apply that the stream was created during a watch of all streams. Call `polled` next."""
        if self._has_baseline:
            return []
        self._has_baseline = True
        return [self._poll_event(CREATED, None, stream, at)]

    def _missed_broadcasts(self, stream: LiveStream) -> list[str]:
        """Return the recordings of broadcasts that were not reported, newest last; only those after the last reported one."""
        if not self._has_baseline or (self._on_air and self._on_air == stream.active_asset_id):
            return []
        missed: list[str] = []
        for asset_id in reversed(stream.recent_asset_ids or ()):
            if asset_id in self._past or asset_id in self._recordings:
                break
            if asset_id != stream.active_asset_id:
                missed.insert(0, asset_id)
        return missed

    def _set_baseline(self, stream: LiveStream) -> None:
        self._past = frozenset(stream.recent_asset_ids or ()) - {stream.active_asset_id or ""}
        self.is_known = self._has_baseline = True

    def _poll_event(self, kind: str, asset_id: str | None, stream: LiveStream | None, at: dt.datetime) -> LiveEvent:
        self._apply(kind, asset_id)
        (self._recording(asset_id).from_polls if asset_id else self._from_polls).add(kind)
        return LiveEvent(type=kind, live_stream_id=self.live_stream_id, asset_id=asset_id, created_at=at, live_stream=stream)

    def polled_asset(self, asset: Asset, at: dt.datetime) -> list[LiveEvent]:
        """Apply the state of a recording in a poll; return the events to report."""
        events: list[LiveEvent] = []
        is_live = asset.is_live or asset.id == self._on_air
        kinds = {"errored": (ASSET_ERRORED,), "ready": (ASSET_READY,) if is_live else (ASSET_READY, ASSET_COMPLETED)}
        for kind in kinds.get(asset.status, ()):
            event = LiveEvent(type=kind, live_stream_id=self.live_stream_id, asset_id=asset.id, created_at=at, asset=asset)
            events += self._asset_event(event)
        return events

    def missing(self, at: dt.datetime) -> list[LiveEvent]:
        """Apply that the API has no such stream any more."""
        if self.is_deleted:
            return []
        self.is_deleted = True
        return [LiveEvent(type=DELETED, live_stream_id=self.live_stream_id, created_at=at)]

    def missing_asset(self, asset_id: str) -> None:
        """Apply that the API has no such recording any more."""
        self._recording(asset_id).stage = len(ASSET_STATES)

    def _asset_event(self, event: LiveEvent) -> list[LiveEvent]:
        recording = self._recording(event.asset_id or "")
        stage = _STAGES[event.type]
        if stage <= recording.stage:
            return []
        recording.stage = stage
        return [event]

    def _start(self, asset_id: str) -> None:
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
