"""Everybody of one client who watches live streams, in one event loop: one look serves all.

As with waits for assets (`_waiting`), there is no task of its own. One of those who wait for their next event leads: it sleeps until the
next look is due and looks, for everybody. When it has what it came for, or is cancelled, somebody else leads. What is seen and heard goes
to every watch that it concerns, and each knows by itself what is news to it (`_story`). Watches are held weakly.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from copy import copy
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

import anyio
import attrs

from mux_async._asset_poller import BAD_ID_STATUSES, EXTRA_PAGES, FATAL_ERRORS, MAX_FAILED_POLLS, PAGE_LIMIT, SINGLE_REQUESTS
from mux_async._poll_schedule import PollSchedule
from mux_async._resource import Caller
from mux_async.errors import APIStatusError, DeadlineExceededError, MuxError
from mux_async.live._events import LiveEvent, read_webhook
from mux_async.live._source import ApiSource
from mux_async.live._stories import Stories

if TYPE_CHECKING:
    from mux_async.models import Asset, LiveStream
    from mux_async.webhooks._event import Event

REMEMBERED: Final = 1_024
"""Deliveries of webhooks, to know a repeated one."""
ALL_PAGES: Final = 3
"""Pages of the list in a look at all streams: the first, and others in turn."""
ON_AIR_PAGES: Final = 10
MAY_BE_CUT: Final = 3
"""Looks in a row that webhooks may cut short."""


class Watcher(Protocol):
    """A watch, as the hub knows it."""

    stories: Stories
    source: ApiSource
    woken: anyio.Event | None

    @property
    def has_news(self) -> bool: ...

    def put(self, event: LiveEvent) -> None: ...

    def fail(self, error: MuxError) -> None: ...


class LiveHub:
    """See the module."""

    def __init__(self) -> None:
        self._watches: WeakSet[Watcher] = WeakSet()
        self._waiting: list[Watcher] = []
        self._leader: Watcher | None = None
        self._turn: anyio.CancelScope | None = None
        self._is_looking = False
        self._cut = 0
        self._failed = 0
        self._schedule = PollSchedule()
        self._heard: OrderedDict[str, None] = OrderedDict()
        self._rounds = _Rounds()

    def join(self, watch: Watcher) -> None:
        """Let *watch* take part, until nobody holds it any more."""
        if not self._watches:
            self._schedule.poll_now()
            self._failed = 0
        self._watches.add(watch)
        self._schedule.poll_soon()

    def leave(self, watch: Watcher) -> None:
        """Look for *watch* no longer, whoever still holds it."""
        self._watches.discard(watch)

    async def wait(self, watch: Watcher) -> None:
        """Wait until there may be news for *watch*, and look meanwhile if nobody else does."""
        watch.woken = anyio.Event()
        self._waiting.append(watch)
        try:
            if self._leader is None:
                self._leader = watch
                await self._lead(watch)
            else:
                await watch.woken.wait()
        finally:
            watch.woken = None
            self._waiting.remove(watch)
            if self._leader is watch:
                self._leader = None
            if self._leader is None and self._waiting and (event := self._waiting[0].woken) is not None:
                event.set()  # to take the lead

    def hear(self, event: Event) -> None:
        """Take a webhook. Whoever watches what it is about is woken; waits for nothing."""
        if not self._watches:
            return
        self._schedule.webhook_received()
        said = read_webhook(event)
        if said is None or event.id in self._heard:
            return
        self._heard[event.id] = None
        if len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)
        now = anyio.current_time()
        for watch in list(self._watches):
            for news in watch.stories.hear(said, now):
                watch.put(news)
        self.interrupt()

    def interrupt(self) -> None:
        """Let the leader go if it has what it came for."""
        if self._leader is None or self._turn is None or not self._leader.has_news:
            return
        if not self._is_looking:
            self._turn.cancel()
        elif self._cut < MAY_BE_CUT:  # or one webhook after the other would keep it from ever seeing what they do not say
            self._cut += 1
            self._turn.cancel()

    async def _lead(self, leader: Watcher) -> None:
        with anyio.CancelScope() as self._turn:
            try:
                await self._tick(leader)
            finally:
                self._turn = None
                self._is_looking = False

    async def _tick(self, leader: Watcher) -> None:
        await self._schedule.wait_until_due()
        self._is_looking = True
        started, webhooks = anyio.current_time(), self._schedule.webhooks
        look = _Look(leader.source, list(self._watches), started, self._rounds)
        try:
            await look.run()
        except FATAL_ERRORS as error:
            self._fail(self._waiting, error)
        except MuxError as error:
            self._failed += 1
            if self._failed >= MAX_FAILED_POLLS:
                self._failed = 0
                # A deadline is the leader's own, and others may have more time.
                self._fail([leader] if isinstance(error, DeadlineExceededError) else self._waiting, error)
        else:
            self._failed = 0
        self._cut = 0
        self._schedule.polled(started, webhooks, found_changes=look.found > 0)

    def _fail(self, watches: Iterable[Watcher], error: MuxError) -> None:
        for watch in watches:
            watch.fail(_own(error))


@attrs.define(eq=False)
class _Rounds:
    """Whose turn it is, where not everything fits into one look."""

    number: int = 0
    page: int = 2
    seen: dict[str, int] = attrs.field(factory=dict[str, int])
    """By id of a stream or an asset: the look that last asked for it by itself."""

    def longest_unseen(self, ids: Iterable[str]) -> list[str]:
        chosen = sorted(ids, key=lambda each: self.seen.get(each, -1))[:SINGLE_REQUESTS]
        self.seen.update(dict.fromkeys(chosen, self.number))
        return chosen

    def forget_others(self, ids: set[str]) -> None:
        self.seen = {each: number for each, number in self.seen.items() if each in ids}


class _Look:
    """One look, for everybody."""

    def __init__(self, source: ApiSource, watches: list[Watcher], began: float, rounds: _Rounds) -> None:
        self.found = 0
        self._source = source
        self._began = began
        self._rounds = rounds
        self._at = dt.datetime.now(dt.UTC)
        self._all = [watch for watch in watches if watch.stories.is_all]
        self._named: dict[str, list[Watcher]] = {}
        for watch in watches:
            for stream_id in watch.stories.ids:
                self._named.setdefault(stream_id, []).append(watch)
        self._watches = watches
        self._missing = dict.fromkeys(self._named)
        for watch in self._all:  # what they know to be on air has to be seen to end
            self._missing.update(dict.fromkeys(watch.stories.on_air))
        self._newest: dt.datetime | None = None
        self._shown = set[str]()

    async def run(self) -> None:
        """Look at everything that is watched, once."""
        self._rounds.number += 1
        if self._all or len(self._missing) > 1:
            if await self._sweep():
                for watch in self._all:  # what was there and is not shown may have been deleted, or slipped between two pages
                    self._missing.update((each, None) for each in watch.stories.known if each not in self._shown)
            else:
                await self._on_air()
            for watch in self._all:
                watch.stories.looked(self._newest)
        streams = set(self._missing)
        for stream_id in self._rounds.longest_unseen(self._missing):
            await self._one(stream_id)
        awaited = await self._recordings()
        self._rounds.forget_others(streams | awaited)

    async def _sweep(self) -> bool:
        """Go through the list, within bounds. Returns whether it came to the end."""
        if not self._all:
            for page in range(1, math.ceil(len(self._missing) / PAGE_LIMIT) + EXTRA_PAGES + 1):
                if not self._missing:
                    break
                if await self._page(page):
                    return True
            return not self._missing
        if await self._page(1):
            return True
        is_whole = self._rounds.page == 2
        for _ in range(ALL_PAGES - 1):
            page = self._rounds.page
            is_last = await self._page(page)
            self._rounds.page = 2 if is_last else page + 1
            if is_last:
                return is_whole
        return False

    async def _page(self, page: int) -> bool:
        """Look at a page of the list. Returns whether it is the last."""
        streams = await self._source.streams(page)
        for stream in streams:
            self._newest = max(self._newest or stream.created_at, stream.created_at)
            self._show(stream)
        return len(streams) < PAGE_LIMIT

    async def _on_air(self) -> None:
        for page in range(1, ON_AIR_PAGES + 1):
            streams = await self._source.streams(page, "active")
            for stream in streams:
                self._show(stream)
            if len(streams) < PAGE_LIMIT:
                return

    async def _one(self, stream_id: str) -> None:
        try:
            self._show(await self._source.stream(stream_id))
        except APIStatusError as error:
            if error.status not in BAD_ID_STATUSES:
                raise
            for watch in self._concerned(stream_id):
                news = watch.stories.miss(stream_id, self._at)
                if news is None:
                    watch.fail(_own(error))
                else:
                    self._put(watch, news)

    async def _recordings(self) -> set[str]:
        awaited: dict[str, list[tuple[Watcher, str]]] = {}
        for watch in self._watches:
            for asset_id, stream_id in watch.stories.awaited():
                awaited.setdefault(asset_id, []).append((watch, stream_id))
        missing = set(awaited)
        if len(missing) > 1:
            for asset in await self._source.newest_assets():
                if asset.id in missing:
                    missing.discard(asset.id)
                    self._show_asset(asset, awaited[asset.id])
        for asset_id in self._rounds.longest_unseen(missing):
            try:
                self._show_asset(await self._source.asset(asset_id), awaited[asset_id])
            except APIStatusError as error:
                if error.status not in BAD_ID_STATUSES:
                    raise
                for watch, stream_id in awaited[asset_id]:
                    watch.stories.miss_asset(stream_id, asset_id)
        return missing

    def _concerned(self, stream_id: str) -> list[Watcher]:
        return [*self._named.get(stream_id, ()), *self._all]

    def _show(self, stream: LiveStream) -> None:
        self._missing.pop(stream.id, None)
        self._shown.add(stream.id)
        for watch in self._concerned(stream.id):
            self._put(watch, watch.stories.see(stream, self._began, self._at))

    def _show_asset(self, asset: Asset, watches: list[tuple[Watcher, str]]) -> None:
        for watch, stream_id in watches:
            self._put(watch, watch.stories.see_asset(stream_id, asset, self._at))

    def _put(self, watch: Watcher, news: list[LiveEvent]) -> None:
        self.found += len(news)
        for event in news:
            watch.put(event)


def _own(error: MuxError) -> MuxError:
    """Return an error of somebody's own: one that is raised again and again grows by a traceback each time."""
    own = copy(error).with_traceback(error.__traceback__)
    own.__cause__ = error.__cause__
    return own


def _make_hub(_: Caller) -> LiveHub:
    return LiveHub()


_MAKE_HUB: Callable[[Caller], LiveHub] = _make_hub


def hub_of(caller: Caller) -> LiveHub:
    """Return the hub of a client in the running event loop."""
    return caller.local(_MAKE_HUB)
