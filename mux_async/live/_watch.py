"""``mux.live``: the iterator of live events, and its bounded buffer."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
import attrs

from mux_async._checks import check_whole
from mux_async._resource import Caller, Resource
from mux_async.errors import MuxError
from mux_async.live._events import LiveEvent
from mux_async.live._poller import LivePoller, poller_of
from mux_async.live._stream_tracker import StreamTrackers
from mux_async.resources._waits import for_polls

if TYPE_CHECKING:
    from typing import Self

    from mux_async._listeners import Listeners
    from mux_async.limits import Priority
    from mux_async.models import LiveStream

BUFFER: Final = 1_000


@attrs.define(eq=False)
class _EventBuffer:
    """Events that were not read yet, at most `size`.

    When it is full, it drops the oldest event that a later one supersedes, so that the last state of each stream and recording is kept.
    """

    size: int
    dropped: int = 0
    _events: deque[LiveEvent] = attrs.field(factory=deque[LiveEvent])
    _states: Counter[str] = attrs.field(factory=Counter[str])
    """Number of buffered state events, by subject."""

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: LiveEvent) -> None:
        self._events.append(event)
        self._states[event.subject] += event.is_state
        if len(self._events) > self.size:
            self._drop()

    def pop(self) -> LiveEvent:
        event = self._events.popleft()
        self._uncount(event)
        return event

    def _drop(self) -> None:
        superseded = (number for number, each in enumerate(self._events) if not each.is_state or self._states[each.subject] > 1)
        number = next(superseded, 0)  # if every event is the only state of its subject: the oldest
        self._uncount(self._events[number])
        del self._events[number]
        self.dropped += 1

    def _uncount(self, event: LiveEvent) -> None:
        self._states[event.subject] -= event.is_state
        if not self._states[event.subject]:
            del self._states[event.subject]


class LiveWatch:
    """An async iterator of the events of live streams. Returned by `Live.watch`; one task iterates at a time.

    There are no requests while no task waits for the next event. Meanwhile webhooks are buffered, up to *buffer* events, and the next poll
    finds other changes. A watch need not be closed: one that is no longer referenced is removed.
    """

    def __init__(self, poller: LivePoller, caller: Caller, trackers: StreamTrackers, buffer: int) -> None:
        self.trackers = trackers
        self.caller: Caller = for_polls(caller)
        self.priority: Priority | None = caller.options.priority
        self.rank = 0
        self.event: anyio.Event | None = None
        self._poller = poller
        self._buffer = _EventBuffer(buffer)
        self._error: MuxError | None = None
        self._is_closed = False
        self._id = 0
        """For listeners; 0 until there is one."""

    @property
    def lost(self) -> int:
        """Number of events that were dropped because the buffer was full. All were superseded, unless there are more streams than room."""
        return self._buffer.dropped

    @property
    def has_next(self) -> bool:
        """Whether `__anext__` returns or raises without waiting."""
        return bool(self._buffer) or self._error is not None or self._is_closed or self.trackers.are_over

    def close(self) -> None:
        """End the iteration, also in a task that waits. May be called more than once."""
        self._is_closed = True
        self._poller.remove(self)
        self._wake()
        self._poller.release_leader()

    def add(self, event: LiveEvent) -> None:
        """Buffer an event. For the poller."""
        self._buffer.add(event)
        self._wake()

    def fail(self, error: MuxError) -> None:
        """Raise *error* after the buffered events were read. For the poller."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self.event is not None:
            self.event.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LiveEvent:
        """Wait for the next event and return it.

        Raises:
            StopAsyncIteration: The watch was closed, or all its streams were deleted.
            NotFoundError: A live stream does not exist.
            BadRequestError: An id is not valid.
            MuxError: A poll failed with a fatal error, or ten polls in a row failed. The next call continues.
        """
        if self.event is not None:
            raise RuntimeError("two tasks wait for the next event of the same watch; create one watch per task")
        await anyio.lowlevel.checkpoint()  # lets other tasks run, however many events are buffered
        while not self.has_next:
            await self._poller.wait(self)
        if self._is_closed:
            raise StopAsyncIteration
        if self._buffer:
            event = self._buffer.pop()
            if (listeners := self.caller.engine.listeners) is not None:
                self._report(listeners, event)
            return event
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration

    def _report(self, listeners: Listeners, event: LiveEvent) -> None:
        from mux_async._listeners import next_id
        from mux_async.events import LiveEventRead

        if not self._id:
            self._id = next_id()
        listeners.notify(
            LiveEventRead(
                self._id,
                anyio.current_time(),
                event.type,
                event.live_stream_id,
                event.asset_id,
                event.webhook is not None,
                len(self._buffer),
            )
        )


class Live(Resource):
    """``mux.live``: events of live streams."""

    def watch(self, *streams: LiveStream | str, buffer: int = BUFFER) -> LiveWatch:
        """Watch live streams from now on.

        ::

            async for event in mux.live.watch(stream):
                print(event.type)

        Webhooks that the client receives (`Mux.webhook_received`; ``hooks.attach(mux)``) are reported at once, each step of a broadcast.
        Without webhooks, and for lost ones, all watches of the client share a poll of the API: every 1 to 10 s, or every 10 to 60 s
        while webhooks arrive. A poll finds streams that became ``connected``, ``active``, ``idle``, ``disabled``, ``enabled`` or were
        ``created`` or ``deleted``, and recordings that are ready, errored or complete. It also finds a broadcast that started and ended
        between two polls. Only webhooks report ``recording``, ``disconnected``, ``updated``, ``warning`` and simulcast targets. No event
        is reported twice, and none that is older than the newest one of its stream.

        A poll of one stream is one request. For more streams it makes a list request per 100 watched streams and 2 more, or 3 for
        all streams; in addition the pages of streams on air, and at most 10 streams and 10 recordings one by one. These requests are
        limited like all others; `Mux.with_options` sets their priority.

        Args:
            streams: The streams to watch. For a `LiveStream`, changes since it was read are reported. For an id, the first event is the
                current state, unless the stream is idle. Without arguments: every stream of the environment, new ones included.
            buffer: Maximum number of events that are kept while the program does not read. If there are more, the oldest event that a
                newer one of the same stream or recording supersedes is dropped, so that the last state of each is kept.

        Raises:
            ConfigurationError: *buffer* is not a whole number of 1 or more.
            ValueError: An id is empty.
        """
        check_whole("buffer", buffer, 1, "it is a number of events, 1 or more, and whole")
        poller = poller_of(self._caller)
        watch = LiveWatch(poller, self._caller, StreamTrackers.of(streams), buffer)
        poller.add(watch)
        return watch
