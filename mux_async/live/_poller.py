"""Poll live streams for all watches of one client, in one event loop.

As in `mux_async._poller`, one of the tasks that wait for their next event is the leader (`_leader`): it sleeps until the next poll is due
and polls for all. Polled states and webhooks go to every watch that they concern, and each watch decides which events are new to it
(`_stream_tracker`). Watches are held weakly.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

import anyio
import attrs

from mux_async._leader import LeaderElection
from mux_async._options import ambient_priority, use_priority
from mux_async._poll_schedule import PollSchedule
from mux_async._poller import BAD_ID_STATUSES, EXTRA_PAGES, PAGE_LIMIT, SINGLE_REQUESTS
from mux_async._resource import Caller
from mux_async.errors import APIStatusError, DeadlineExceededError, MuxError, copied
from mux_async.limits._wait_queue import PRIORITIES, Priority
from mux_async.live._events import LiveEvent, read_webhook
from mux_async.live._stream_tracker import StreamTrackers

if TYPE_CHECKING:
    from mux_async.models import Asset, LiveStream
    from mux_async.webhooks._event import Event

REMEMBERED: Final = 1_024
"""Ids of webhook events that are remembered, to ignore repeated deliveries."""
PAGES_OF_ALL: Final = 3
"""Pages per poll of all streams: always the first, and the others in rotation."""
PAGES_ON_AIR: Final = 10
MAX_INTERRUPTED_POLLS: Final = 3
"""Polls in a row that webhooks may interrupt."""


class Watch(Protocol):
    """What the poller uses of a `LiveWatch`."""

    trackers: StreamTrackers
    caller: Caller
    priority: Priority | None
    rank: int
    event: anyio.Event | None

    @property
    def has_next(self) -> bool: ...

    def add(self, event: LiveEvent) -> None: ...

    def fail(self, error: MuxError) -> None: ...


class LivePoller:
    """See the module."""

    def __init__(self) -> None:
        self._watches: WeakSet[Watch] = WeakSet()
        self._waiting: list[Watch] = []
        self._election: LeaderElection[Watch] = LeaderElection()
        self._scope: anyio.CancelScope | None = None
        self._is_polling = False
        self._poll_rank: int | None = None
        """Of the poll that is running: it has the highest priority of the tasks that wait, whichever of them leads."""
        self._interrupted_polls = 0
        self._schedule = PollSchedule()
        self._received: OrderedDict[str, None] = OrderedDict()
        self._rotation = _Rotation()

    def add(self, watch: Watch) -> None:
        """Poll for *watch* as long as it is referenced."""
        if not self._watches:
            self._schedule.restart()
        self._watches.add(watch)
        self._schedule.poll_soon()

    def remove(self, watch: Watch) -> None:
        """Stop polling for *watch*."""
        self._watches.discard(watch)

    async def wait(self, watch: Watch) -> None:
        """Wait until there may be events for *watch*; poll meanwhile if no other task does."""
        watch.event = anyio.Event()
        watch.rank = PRIORITIES.index(watch.priority or ambient_priority.get() or "default")
        self._waiting.append(watch)
        if self._scope is not None and self._poll_rank is not None and watch.rank < self._poll_rank:
            self._scope.cancel()  # its request may be far down the queue; the next poll has the higher priority
        try:
            if not self._election.try_lead(watch):
                await watch.event.wait()
            if self._election.leader is watch and not watch.has_next:
                await self._lead(watch)
        finally:
            watch.event = None
            self._waiting.remove(watch)
            self._election.leave(watch, lambda: next(iter(self._waiting), None))

    def webhook_received(self, event: Event) -> None:
        """Apply a webhook and wake the watches that it concerns. Returns at once."""
        if not self._watches:
            return
        self._schedule.webhook_received()
        live_event = read_webhook(event)
        if live_event is None or event.id in self._received:
            return
        self._received[event.id] = None
        if len(self._received) > REMEMBERED:
            self._received.popitem(last=False)
        now = anyio.current_time()
        for watch in list(self._watches):
            for new in watch.trackers.webhook(live_event, now):
                watch.add(new)
        self.release_leader()

    def release_leader(self) -> None:
        """Cancel the leader's sleep or poll if it has an event."""
        leader = self._election.leader
        if leader is None or self._scope is None or not leader.has_next:
            return
        if not self._is_polling:
            self._scope.cancel()
        elif self._interrupted_polls < MAX_INTERRUPTED_POLLS:  # frequent webhooks must not prevent all polls
            self._interrupted_polls += 1
            self._scope.cancel()

    async def _lead(self, leader: Watch) -> None:
        with anyio.CancelScope() as self._scope:
            try:
                error = await self._schedule.run(lambda: self._poll(leader.caller))
                if error is not None:
                    # The deadline is the leader's; others may have more time.
                    for watch in [leader] if isinstance(error, DeadlineExceededError) else self._waiting:
                        watch.fail(copied(error))
                self._interrupted_polls = 0
            finally:
                self._scope = None
                self._is_polling = False

    async def _poll(self, caller: Caller) -> bool:
        self._is_polling = True
        poll = _Poll(caller, list(self._watches), anyio.current_time(), self._rotation)
        self._poll_rank = min(watch.rank for watch in self._waiting)
        try:
            with use_priority(PRIORITIES[self._poll_rank]):
                await poll.run()
        finally:
            self._poll_rank = None
        return poll.events > 0


@attrs.define(eq=False)
class _Rotation:
    """Where the next poll continues, if not everything fits into one poll."""

    poll: int = 0
    """Number of the current poll."""
    page: int = 2
    """Next page of all streams."""
    polled: dict[str, int] = attrs.field(factory=dict[str, int])
    """By id of a stream or an asset: the last poll that requested it by itself."""

    def next_single_requests(self, ids: Iterable[str]) -> list[str]:
        """Return the ids whose last single request was longest ago, and record them as requested."""
        chosen = sorted(ids, key=lambda each: self.polled.get(each, -1))[:SINGLE_REQUESTS]
        self.polled.update(dict.fromkeys(chosen, self.poll))
        return chosen

    def forget_others(self, ids: set[str]) -> None:
        """Remove all ids except *ids*."""
        self.polled = {each: number for each, number in self.polled.items() if each in ids}


class _Poll:
    """One poll for all watches."""

    def __init__(self, caller: Caller, watches: list[Watch], started: float, rotation: _Rotation) -> None:
        from mux_async.resources.video_assets import VideoAssets
        from mux_async.resources.video_live_streams import VideoLiveStreams

        self.events = 0
        self._streams = VideoLiveStreams(caller)
        self._assets = VideoAssets(caller)
        self._started = started
        self._rotation = rotation
        self._at = dt.datetime.now(dt.UTC)
        self._watches = watches
        self._of_all = [watch for watch in watches if watch.trackers.is_all]
        self._by_id: dict[str, list[Watch]] = {}
        for watch in watches:
            for stream_id in watch.trackers.ids:
                self._by_id.setdefault(stream_id, []).append(watch)
        self._missing = dict.fromkeys(self._by_id)
        for watch in self._of_all:  # a stream that was on air must be polled to find its end
            self._missing.update(dict.fromkeys(watch.trackers.on_air))
        self._newest: dt.datetime | None = None
        self._found = set[str]()

    async def run(self) -> None:
        """Request the state of everything that is watched."""
        self._rotation.poll += 1
        if self._of_all or len(self._missing) > 1:
            if await self._poll_list():
                for watch in self._of_all:  # a known stream that is not listed was deleted, or moved between two pages
                    self._missing.update((each, None) for each in watch.trackers.known if each not in self._found)
            else:
                await self._poll_on_air()
            for watch in self._of_all:
                watch.trackers.polled_all(self._newest)
        streams = set(self._missing)
        for stream_id in self._rotation.next_single_requests(self._missing):
            await self._poll_stream(stream_id)
        awaited = await self._poll_recordings()
        self._rotation.forget_others(streams | awaited)

    async def _poll_list(self) -> bool:
        """Read pages of the list, within bounds. Returns whether the whole list was read."""
        if not self._of_all:
            for page in range(1, math.ceil(len(self._missing) / PAGE_LIMIT) + EXTRA_PAGES + 1):
                if not self._missing:
                    break
                if await self._poll_page(page):
                    return True
            return not self._missing
        if await self._poll_page(1):
            return True
        is_whole = self._rotation.page == 2
        for _ in range(PAGES_OF_ALL - 1):
            page = self._rotation.page
            is_last = await self._poll_page(page)
            self._rotation.page = 2 if is_last else page + 1
            if is_last:
                return is_whole
        return False

    async def _poll_page(self, page: int) -> bool:
        """Read a page of the list. Returns whether it is the last."""
        streams = (await self._streams.list(page=page, limit=PAGE_LIMIT)).data  # newest first
        for stream in streams:
            self._newest = max(self._newest or stream.created_at, stream.created_at)
            self._apply(stream)
        return len(streams) < PAGE_LIMIT

    async def _poll_on_air(self) -> None:
        for page in range(1, PAGES_ON_AIR + 1):
            streams = (await self._streams.list(page=page, limit=PAGE_LIMIT, status="active")).data
            for stream in streams:
                self._apply(stream)
            if len(streams) < PAGE_LIMIT:
                return

    async def _poll_stream(self, stream_id: str) -> None:
        try:
            self._apply(await self._streams.retrieve(stream_id))
        except APIStatusError as error:
            if error.status not in BAD_ID_STATUSES:
                raise
            for watch in self._watches_of(stream_id):
                events = watch.trackers.missing(stream_id, self._at)
                if events is None:
                    watch.fail(copied(error))
                else:
                    self._add(watch, events)

    async def _poll_recordings(self) -> set[str]:
        awaited: dict[str, list[tuple[Watch, str]]] = {}
        for watch in self._watches:
            for asset_id, stream_id in watch.trackers.awaited():
                awaited.setdefault(asset_id, []).append((watch, stream_id))
        missing = set(awaited)
        if len(missing) > 1:
            for asset in (await self._assets.list(limit=PAGE_LIMIT)).data:
                if asset.id in missing:
                    missing.discard(asset.id)
                    self._apply_asset(asset, awaited[asset.id])
        for asset_id in self._rotation.next_single_requests(missing):
            try:
                self._apply_asset(await self._assets.retrieve(asset_id), awaited[asset_id])
            except APIStatusError as error:
                if error.status not in BAD_ID_STATUSES:
                    raise
                for watch, stream_id in awaited[asset_id]:
                    watch.trackers.missing_asset(stream_id, asset_id)
        return missing

    def _watches_of(self, stream_id: str) -> list[Watch]:
        return [*self._by_id.get(stream_id, ()), *self._of_all]

    def _apply(self, stream: LiveStream) -> None:
        self._missing.pop(stream.id, None)
        self._found.add(stream.id)
        for watch in self._watches_of(stream.id):
            self._add(watch, watch.trackers.polled(stream, self._started, self._at))

    def _apply_asset(self, asset: Asset, watches: list[tuple[Watch, str]]) -> None:
        for watch, stream_id in watches:
            self._add(watch, watch.trackers.polled_asset(stream_id, asset, self._at))

    def _add(self, watch: Watch, events: list[LiveEvent]) -> None:
        self.events += len(events)
        for event in events:
            watch.add(event)


def _make_poller(_: Caller) -> LivePoller:
    return LivePoller()


def poller_of(caller: Caller) -> LivePoller:
    """Return the poller of a client in the running event loop."""
    return caller.local(_make_poller)
