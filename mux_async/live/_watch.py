"""``mux.live``: what a program holds in its hand, an iterator, and what it keeps for a program that is slow."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
import attrs

from mux_async._checks import check_whole
from mux_async._resource import Resource
from mux_async.errors import MuxError
from mux_async.live._events import LiveEvent
from mux_async.live._hub import LiveHub, hub_of
from mux_async.live._source import ApiSource
from mux_async.live._stories import Stories

if TYPE_CHECKING:
    from typing import Self

    from mux_async.models import LiveStream

BUFFER: Final = 1_000


@attrs.define(eq=False)
class _Shelf:
    """Events that wait for a slow program, at most `room`.

    When it is full, the oldest one goes that a later one has made old news: how a stream or a recording stands at last is kept.
    """

    room: int
    lost: int = 0
    _events: deque[LiveEvent] = attrs.field(factory=deque[LiveEvent])
    _states: Counter[str] = attrs.field(factory=Counter[str])
    """By subject: how many of its states wait."""

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: LiveEvent) -> None:
        self._events.append(event)
        self._states[event.subject] += event.is_state
        if len(self._events) > self.room:
            self._drop()

    def take(self) -> LiveEvent:
        event = self._events.popleft()
        self._forget(event)
        return event

    def _drop(self) -> None:
        old = (number for number, each in enumerate(self._events) if not each.is_state or self._states[each.subject] > 1)
        number = next(old, 0)  # as many subjects as there is room for, each with one state: then the oldest
        self._forget(self._events[number])
        del self._events[number]
        self.lost += 1

    def _forget(self, event: LiveEvent) -> None:
        self._states[event.subject] -= event.is_state
        if not self._states[event.subject]:
            del self._states[event.subject]


class LiveWatch:
    """Events of live streams, one after the other. What `Live.watch` returns; iterated over by one task at a time.

    While nobody waits for the next event nothing is asked of Mux; what webhooks say is kept meanwhile, up to *buffer* events, and
    what happened besides is found by the next look. There is nothing to close: a watch that nobody holds is forgotten.
    """

    def __init__(self, hub: LiveHub, source: ApiSource, stories: Stories, buffer: int) -> None:
        self.stories = stories
        self.source = source
        self.woken: anyio.Event | None = None
        self._hub = hub
        self._shelf = _Shelf(buffer)
        self._error: MuxError | None = None
        self._is_closed = False

    @property
    def lost(self) -> int:
        """How many events were dropped because the program was slow. Each had a later one, unless there were more streams than room."""
        return self._shelf.lost

    @property
    def has_news(self) -> bool:
        """Whether the next event is there already, or the end."""
        return bool(self._shelf) or self._error is not None or self._is_closed or self.stories.are_over

    def close(self) -> None:
        """End the iteration, of whichever task waits. Any number of times."""
        self._is_closed = True
        self._hub.leave(self)
        self._wake()
        self._hub.interrupt()

    def put(self, event: LiveEvent) -> None:
        """Keep an event for the one who iterates."""
        self._shelf.put(event)
        self._wake()

    def fail(self, error: MuxError) -> None:
        """Raise *error* when the events that are there have been taken."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self.woken is not None:
            self.woken.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LiveEvent:
        """Return the next event; wait for it.

        Raises:
            StopAsyncIteration: The watch was closed, or every stream that it is for was deleted.
            NotFoundError: There is no such live stream.
            BadRequestError: The id is none.
            MuxError: Looking failed, for good or ten times in a row. The next call goes on.
        """
        if self.woken is not None:
            raise RuntimeError("two tasks wait for the next event of one watch; give each a watch of its own")
        await anyio.lowlevel.checkpoint()  # however much there is to take, others get their turn
        while not self.has_news:
            await self._hub.wait(self)
        if self._is_closed:
            raise StopAsyncIteration
        if self._shelf:
            return self._shelf.take()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration


class Live(Resource):
    """``mux.live``: live streams as they happen."""

    def watch(self, *streams: LiveStream | str, buffer: int = BUFFER) -> LiveWatch:
        """Watch live streams, from now on.

        ::

            async for event in mux.live.watch(stream):
                print(event.type)

        Events come from webhooks where they arrive (`Mux.webhook_received`; ``hooks.attach(mux)``), at once and each step of a broadcast.
        Without them, and for those that get lost, all watches of the client share a look at the API: every 1 to 10 s, every 10 to 60 s
        while webhooks arrive. A look shows which streams became ``connected``, ``active``, ``idle``, ``disabled``, ``enabled`` or were
        ``created`` or ``deleted``, and which recordings are ready, errored or complete; a broadcast that began and ended in between is
        told of, too. ``recording``, ``disconnected``, ``updated``, ``warning`` and simulcast targets are known by webhooks only. No event
        is told twice, and none that is older than the newest one of its stream.

        A look costs one request for a single stream; for more it is a list request per 100 watched streams and 2 more, or 3 for
        all streams; besides, the pages of those on air, and at most 10 streams and 10 recordings one by one. They are limited like any
        other; `Mux.with_options` gives them a priority.

        Args:
            streams: What to watch. Of a `LiveStream`, what happened since it was read is told. Of an id, the first event says how it
                stands, unless it is idle. None at all: every stream of the environment, new ones included.
            buffer: How many events are kept while the program does something else. When there are more, the oldest goes that a newer one
                of the same stream or recording has overtaken: how things stand at last is kept.

        Raises:
            ConfigurationError: *buffer* is not a whole number from 1 on.
            ValueError: An id is empty.
        """
        check_whole("buffer", buffer, 1, "it takes room for one event at least, and is a whole number")
        hub = hub_of(self._caller)
        watch = LiveWatch(hub, ApiSource(self._caller.for_long_work), Stories.of(streams), buffer)
        hub.join(watch)
        return watch
