"""``GET /system/v1/webhook-events/stream``: the events of an environment as server-sent events (facts/NEWER.md, section 7).

No listener has a queue. It has a position in the log of events, which is bounded (`EmulatorSettings.max_events`), so that a slow reader
takes no memory. When the log has dropped events that a listener has not read, the stream ends, and the client has to connect again.

Nothing here waits: a frontend takes what is there, and is called when there is more.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

import attrs
import orjson

from mux_async.emulator.http._messages import Request, Response
from mux_async.emulator.state._state import Environment, State

EVENT_STREAM: Final = ("system", "v1", "webhook-events", "stream")
_PIECE: Final = 64 * 1024
"""Bytes from which on the next events are left for the next piece."""
_HEADERS: Final = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStreams:
    """The streams of an emulator.

    Args:
        state: Returns the state as it is now; another object after a reset.
        advance: Runs the steps that are due, and returns when the next one is.
        clock: Returns epoch seconds.
    """

    def __init__(self, state: Callable[[], State], advance: Callable[[], float | None], clock: Callable[[], float]) -> None:
        self.state: Callable[[], State] = state
        self.advance: Callable[[], float | None] = advance
        self.clock: Callable[[], float] = clock
        self.is_closed: bool = False
        self._announced: tuple[State | None, int] = (None, 0)
        self._notices: dict[object, Callable[[], None]] = {}

    def open(self, request: Request, environment: Environment) -> Response:
        """Begin a stream: with the events after ``Last-Event-ID`` if that is in the log, otherwise with those from now on."""
        state = self.state()
        position = state.emitted
        wanted = request.headers.get("Last-Event-ID")
        if wanted:
            newest_first = enumerate(reversed(state.events))
            position -= next((age for age, one in newest_first if one.id == wanted and one.environment == environment.name), 0)
        hello = orjson.dumps({"environment": {"id": environment.id, "name": environment.name}})
        feed = _EventFeed(self, environment.name, state, position, b"event: connected\ndata: %b\n\n" % hello)
        return Response(200, _HEADERS, feed=feed)

    def listen(self, notice: Callable[[], None]) -> Callable[[], None]:
        """Call *notice* whenever there are new events, and at the end. Returns a function that stops the calls."""
        key = object()
        self._notices[key] = notice
        return lambda: self._notices.pop(key, None) and None

    def announce(self) -> None:
        """Wake the listeners if there are new events."""
        if (now := (self.state(), self.state().emitted)) != self._announced:
            self._announced = now
            self._wake()

    def close(self) -> None:
        """End all streams."""
        self.is_closed = True
        self._wake()

    def _wake(self) -> None:
        for notice in tuple(self._notices.values()):
            notice()


@attrs.define(eq=False)
class _EventFeed:
    """The stream of one listener; see `mux_async.emulator.http._messages.Feed`."""

    _streams: EventStreams
    _environment: str
    _state: State
    _position: int
    """Number of the next event to send, in the order of the log; the first of a state has the number 0."""
    _unsent: bytes
    _is_over: bool = False
    _notice: Callable[[], None] | None = None

    def take(self) -> bytes | None:
        if self._streams.is_closed or self._is_over:
            return None
        if (state := self._streams.state()) is not self._state:  # it was reset
            self._state, self._position = state, 0
        piece, self._unsent = self._unsent, b""
        return piece or self._next_events()

    def _next_events(self) -> bytes:
        events = self._state.events
        start = self._position - (self._state.emitted - len(events))
        if start < 0:
            self._is_over = True
            return b": %d events were dropped, because they were not read in time; connect again\n\n" % -start
        parts: list[bytes] = []
        size = 0
        for event in islice(events, start, None):
            self._position += 1
            if event.environment == self._environment:
                parts.append(b"id: %b\ndata: %b\n\n" % (event.id.encode(), event.body.encode()))
                size += len(parts[-1])
                if size >= _PIECE:
                    break
        return b"".join(parts)

    def next_in(self) -> float | None:
        next_at = self._streams.advance()
        return None if next_at is None else max(0.0, next_at - self._streams.clock())

    def watch(self, notice: Callable[[], None]) -> Callable[[], None]:
        self._notice = notice
        return self._streams.listen(notice)

    def end(self) -> None:
        self._is_over = True
        if self._notice is not None:
            self._notice()
