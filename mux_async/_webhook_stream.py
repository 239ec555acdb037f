"""``mux.webhook_events``: the events of an environment over one connection, for programs that Mux cannot send requests to.

The route is that of ``mux webhooks listen`` (facts/NEWER.md, section 7), and not described by Mux. Rules of the file:

1. There is no task and no queue. The connection is read while the caller waits for an event, so that a slow caller slows the server down.
2. No cancel scope is open between two events: the caller may open and close its own.
3. A connection is opened once for each grant of the rate limit. When it breaks, the next one is opened after a pause that grows.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Final, cast

import anyio
import anyio.lowlevel
import attrs

# Imported here because the import takes a while, and events are parsed in the event loop.
import mux_async.models.webhooks as _  # noqa: F401
from mux_async._arguments import Arguments
from mux_async._checks import check_number
from mux_async._content import iter_content
from mux_async._models.json_reader import NotJsonError
from mux_async._operation import Bucket, Operation, Replay
from mux_async._tracebacks import clear_locals, hides_locals, hides_methods
from mux_async.errors import (
    EVENT_STREAM,
    APIStatusError,
    ConnectError,
    MuxError,
    ResponseError,
    TransportError,
    UndecodableResponseError,
)
from mux_async.transport import Timeouts
from mux_async.webhooks._event_stream import EventStreamParser, StreamMessage
from mux_async.webhooks._handlers import type_pattern
from mux_async.webhooks.events import parse_event_text

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mux_async._resource import Caller
    from mux_async.transport import HttpResponse
    from mux_async.webhooks import Event, WebhookEvent

logger = logging.getLogger(__name__)

MAX_SIZE: Final = 1024 * 1024
"""Bytes of an event; the largest observed ones have about ten thousand."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
"""Seconds before connecting again; the same as those of ``mux webhooks listen``."""
_LONGEST_ID: Final = 1024
"""Characters of an id that is sent back."""

_OPERATION: Final = Operation[bytes](
    id="webhook_events", method="GET", path=EVENT_STREAM, bucket=Bucket.OTHER, replay=Replay.SAFE, result="bytes"
)


@attrs.frozen
class StreamStatus:
    """What happened to the connection of a `WebhookStream`.

    Attributes:
        is_connected: Whether it is open now.
        error: Why it is not; ``None`` if the server ended it in order.
        retry_in: Seconds until it is opened again; ``None`` while it is open.
    """

    is_connected: bool
    error: MuxError | None = None
    retry_in: float | None = None


@hides_methods
class WebhookStream:
    """An async iterator of the events of an environment. Returned by `Mux.webhook_events`; one task iterates at a time.

    ``async with`` opens the connection and closes it. In between it is opened again whenever it breaks: after 1 s, then 2 s, up to 30 s,
    each shortened by a random part.

    Attributes:
        body: The JSON of the last event as it arrived, to store or to forward.
        skipped: Number of messages that were no event, or larger than a mebibyte.
    """

    def __init__(
        self,
        caller: Caller,
        deliver: Callable[[Event], None],
        types: tuple[str, ...],
        *,
        allow_unknown: bool,
        silence: float,
        on_status: Callable[[StreamStatus], object] | None,
    ) -> None:
        check_number("silence", silence, "it is seconds without a byte, more than 0", above=0)
        self.body: bytes = b""
        self._caller = caller
        self._deliver = deliver
        self._pattern: re.Pattern[str] | None = type_pattern(types, allow_unknown=allow_unknown) if types else None
        least = caller.options.timeouts
        self._options = attrs.evolve(
            caller.options, deadline=None, timeouts=Timeouts(connect=least.connect, read=silence, write=least.write)
        )
        self._on_status = on_status
        self._parser = EventStreamParser(MAX_SIZE)
        self._not_events = 0
        self._messages: deque[StreamMessage] = deque()
        self._response: HttpResponse | None = None
        self._chunks: AsyncGenerator[bytes] | None = None
        self._failures = 0
        self._lost: MuxError | None = None
        self._is_waiting = False
        self._wait: anyio.CancelScope | None = None
        """What the task that waits for the next event can be woken with."""
        self._woken: anyio.Event | None = None
        """Set when that task has ended its wait."""
        self._is_closed = True

    @property
    def skipped(self) -> int:
        return self._parser.skipped + self._not_events

    @hides_locals
    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            AuthenticationError: The access token is not valid.
            PermissionDeniedError: It may not read the system.
            NotFoundError: The server has no such stream.
            MuxError: It cannot be connected to; it was tried as often as any request.
        """
        await self._connect()
        self._is_closed = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_closed = True
        if self._is_waiting:  # another task, whose iteration ends now
            self._woken = anyio.Event()
            if self._wait is not None:
                self._wait.cancel()
            with anyio.CancelScope(shield=True):
                await self._woken.wait()
        await self._disconnect()

    def __aiter__(self) -> Self:
        return self

    @hides_locals
    async def __anext__(self) -> WebhookEvent:
        """Wait for the next event and return it.

        When this is cancelled, the connection is closed; the next call opens it again.

        Raises:
            StopAsyncIteration: The stream was closed by another task, which left the ``async with``.
            MuxError: The stream cannot go on: the token was revoked, the client was closed. What passes by itself is not raised.
        """
        if self._is_closed:
            raise RuntimeError("the stream of events is not open: use `async with mux.webhook_events() as events`")
        if self._is_waiting:
            raise RuntimeError("two tasks wait for the next event of the same stream; open one stream for each")
        self._is_waiting = True
        try:
            await anyio.lowlevel.checkpoint()  # lets other tasks run, however many events have arrived
            while not self._is_closed:
                while self._messages:
                    event = self._event_in(self._messages.popleft())
                    if event is not None:
                        return event
                with anyio.CancelScope() as self._wait:
                    await self._read()
            raise StopAsyncIteration
        finally:
            self._is_waiting = False
            self._wait = None
            if self._woken is not None:
                self._woken.set()

    def _event_in(self, message: StreamMessage) -> WebhookEvent | None:
        """Return the event that a message holds, if it is a wanted one. Every event is passed to the client."""
        self._failures = 0
        if message.type == b"connected":
            return None
        try:
            event = parse_event_text(message.data)
        except NotJsonError:
            event = None
        if event is None or not all(isinstance(cast("object", each), str) for each in (event.id, event.type)):
            self._not_events += 1
            logger.warning(
                "a message in the stream of events was skipped: it is not an event", extra={"mux_reason": "not_an_event"}
            )
            return None
        self._deliver(event)
        if self._pattern is not None and self._pattern.fullmatch(event.type) is None:
            return None
        self.body = message.data
        return event

    async def _read(self) -> None:
        """Read a piece of the stream, and connect first if there is no connection."""
        if self._chunks is None:
            await self._reconnect()
            return
        before = self._parser.skipped
        chunk: bytes | None = None
        try:
            chunk = await anext(self._chunks, None)
        except (TransportError, ResponseError) as error:
            self._note(error)
        finally:
            if chunk is None:
                await self._disconnect()
        if chunk is not None:
            self._messages.extend(self._parser.feed(chunk))
        if self._parser.skipped > before:
            extra = {"mux_reason": "too_large"}
            logger.warning("a message in the stream of events was skipped: it is larger than %d bytes", MAX_SIZE, extra=extra)

    async def _reconnect(self) -> None:
        """Pause, and connect; again, as long as what fails may pass by itself."""
        while True:
            pause = max(_FIRST_PAUSE, self._parser.retry or 0.0) * 2.0 ** min(self._failures, 10)
            pause = min(pause, _LONGEST_PAUSE) * (0.5 + self._caller.engine.config.random.random() / 2)
            self._failures += 1
            logger.info(
                "the stream of events ended (%s); connecting again in %.1f s",
                self._lost or "the server ended it",
                pause,
                extra={"mux_failures": self._failures, "mux_delay": pause},
            )
            self._report(StreamStatus(is_connected=False, error=self._lost, retry_in=pause))
            await anyio.sleep(pause)
            try:
                await self._connect(max_attempts=1)
            except MuxError as error:
                if not _may_pass(error):
                    raise
                self._note(error)
            else:
                return

    def _note(self, error: MuxError) -> None:
        """Keep why there is no connection, for `StreamStatus`."""
        clear_locals(error)
        self._lost = error

    async def _connect(self, *, max_attempts: int | None = None) -> None:
        options = self._options if max_attempts is None else attrs.evolve(self._options, max_attempts=max_attempts)
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        last = self._parser.last_event_id
        if last and len(last) <= _LONGEST_ID and last.isascii() and last.isprintable():
            headers["Last-Event-ID"] = last
        self._response = await self._caller.engine.open(_OPERATION, Arguments(extra_headers=headers), options)
        kind = self._response.headers.get("Content-Type", "nothing")
        if kind.partition(";")[0].strip().lower() != "text/event-stream":
            response = self._response
            await self._disconnect()
            raise UndecodableResponseError(
                f"{_OPERATION.line} was answered with {kind!r:.80} instead of a stream of events; something else may be in front of it",
                status=response.status,
                request_id=response.headers.get("X-Request-Id"),
            )
        self._chunks = iter_content(self._response)
        self._parser = EventStreamParser(MAX_SIZE, last_event_id=last, retry=self._parser.retry, skipped=self._parser.skipped)
        self._lost = None
        self._report(StreamStatus(is_connected=True))

    async def _disconnect(self) -> None:
        chunks, response = self._chunks, self._response
        self._chunks = self._response = None
        with anyio.CancelScope(shield=True):  # closing is short, and an open connection must not outlive the stream
            if chunks is not None:
                await chunks.aclose()
            if response is not None:
                await response.body.aclose()

    def _report(self, status: StreamStatus) -> None:
        if self._on_status is not None:
            self._on_status(status)


def _may_pass(error: MuxError) -> bool:
    """Whether a connection that could not be opened again may be possible later: the network changes, and servers restart."""
    if isinstance(error, APIStatusError):
        return error.status in {408, 429} or error.status >= 500
    return isinstance(error, ConnectError) or (isinstance(error, TransportError) and not error.is_permanent)
