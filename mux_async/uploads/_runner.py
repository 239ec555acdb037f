"""Runs an upload: performs the actions of `UploadMachine` over a transport.

The upload URL belongs to another host and is itself a secret: no credentials are sent there, and it is kept out of errors, reprs and
logs. Cancelling at any point leaves the session unchanged; it can be resumed until it expires.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import anyio
import attrs
from anyio.abc import TaskGroup

from mux_async._retry import parse_retry_after
from mux_async._types import Secret
from mux_async._version import __version__
from mux_async.errors import Delivery, InvalidRequestError, TransportClosedError, TransportError, UploadError
from mux_async.transport import Body, HttpRequest, HttpResponse, Timeouts, Transport
from mux_async.uploads._read_ahead import Checksums, ReadAhead
from mux_async.uploads._reader import Reader
from mux_async.uploads._scheduler import UploadScheduler
from mux_async.uploads.machine import (
    MAX_CHUNK_SIZE,
    ConnectionFailed,
    QueryOffset,
    ResponseReceived,
    SendChunk,
    UploadDone,
    UploadEvent,
    UploadFailed,
    UploadMachine,
    UploadState,
    Wait,
    WaitEnded,
)

if TYPE_CHECKING:
    from mux_async._listeners import Listeners
    from mux_async.events import Outcome

logger: logging.Logger = logging.getLogger(__name__)

_MAX_RESPONSE_BODY = 64 * 1024
_TIMEOUTS = Timeouts(read=120.0)
"""After a chunk was written, up to 4 MB of it may still be in the system's send buffer, which takes long to drain on a slow connection."""


@attrs.frozen
class UploadProgress:
    """The progress of an upload.

    Attributes:
        sent: Bytes handed to the network; never decreases, and bytes sent again do not count twice.
        size: Size in bytes; ``None`` if not known.
        state: What the server is known to hold; enough to resume. ``None`` if the upload cannot be resumed.
        upload_id: The upload; ``None`` if only its URL is known.
    """

    sent: int
    size: int | None
    state: UploadState | None
    upload_id: str | None = None


ProgressCallback: TypeAlias = Callable[[UploadProgress], object]
"""Called for every piece sent (at most 2 MiB) and after every response; must return at once."""


@attrs.frozen
class UploadReport:
    """Size, time and requests of a finished upload.

    Attributes:
        size: Bytes that the server holds.
        elapsed: Seconds from the first request to the last response.
        requests: Requests to the upload host, queries included.
    """

    size: int
    elapsed: float
    requests: int


class UploadGoneError(UploadError):
    """The session has expired, was cancelled, or is complete already: the upload's status at Mux tells which."""


@attrs.define
class UploadRun:
    """One run of one upload. The caller holds a slot of the scheduler."""

    transport: Transport
    url: Secret
    reader: Reader
    random: Random
    """Source of jitter."""
    upload_id: str | None = None
    """For errors; ``None`` if not known."""
    on_progress: ProgressCallback | None = None
    timeouts: Timeouts = _TIMEOUTS
    max_failures: int = 10
    scheduler: UploadScheduler = attrs.field(factory=UploadScheduler)
    listeners: Listeners | None = None
    """Of the client; ``None`` if it never had one."""
    _id: int = attrs.field(init=False, default=0)
    _reported: int = attrs.field(init=False, default=0)
    """Bytes that listeners know to be sent."""
    _sent: int = attrs.field(init=False, default=0)
    _requests: int = attrs.field(init=False, default=0)
    _state: UploadState | None = attrs.field(init=False, default=None)
    _body_error: Exception | None = attrs.field(init=False, default=None)
    """Raised by the source or the progress callback while a body was sent. Kept here because transports may wrap it."""
    _checksums: Checksums | None = attrs.field(init=False, default=None)

    async def run(self, state: UploadState | None = None) -> UploadReport:
        """Send everything that the server does not hold yet. *state* is the progress of an earlier run."""
        if self.listeners is None:
            return await self._run(state)
        from mux_async._listeners import next_id
        from mux_async.events import UploadEnded, UploadStarted

        self._id, started = next_id(), anyio.current_time()
        self._reported = 0 if state is None else state.offset
        self.listeners.notify(UploadStarted(self._id, started, self.upload_id, self.reader.size, self._reported))
        error: BaseException | None = None
        try:
            return await self._run(state)
        except BaseException as caught:
            error = caught
            raise
        finally:
            held = self._sent if error is None else self._held
            now = anyio.current_time()
            name = None if error is None else type(error).__name__
            outcome: Outcome = "ok" if error is None else "error" if isinstance(error, Exception) else "cancelled"
            self.listeners.notify(
                UploadEnded(self._id, now, self.upload_id, outcome, now - started, self._sent, held, self._requests, name)
            )
            del error

    async def _run(self, state: UploadState | None) -> UploadReport:
        started = anyio.current_time()
        size = 0
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            try:
                await self.reader.prepare(0, 0)
                if self.reader.size is None:
                    size = await self._send_once()
                else:
                    size = self.reader.size
                    await self._send_in_chunks(state or UploadState(size), size, tasks)
            except Exception as error:  # noqa: BLE001 - raised below: the task group would wrap it
                failure = error
        if failure is not None:
            if isinstance(failure, UploadError) and failure.upload_id is None:  # see `source_error`
                failure.upload_id, failure.sent = self.upload_id, self._held
            raise failure
        return UploadReport(size=size, elapsed=anyio.current_time() - started, requests=self._requests)

    async def _send_in_chunks(self, state: UploadState, size: int, tasks: TaskGroup) -> None:
        if state.size != size:
            raise InvalidRequestError(
                f"{self.reader.label} has {size} bytes, and the upload was begun with {state.size}; start a new upload"
            )
        if self.on_progress is not None and not self.reader.is_read_once:  # otherwise the checksum is unused
            self._checksums = Checksums()
        ahead = ReadAhead(self.reader, self.scheduler, tasks, self._checksums)
        verified = await self._check_source(state, ahead)
        machine = UploadMachine(state, random=self.random, max_failures=self.max_failures)
        last_error: TransportError | None = None
        has_answered = False
        while True:
            self._report(machine.state)
            if verified is not None and machine.state.is_sure:
                if machine.state.offset > verified:
                    raise self._changed_source_error(machine.state.offset)
                verified = None
            machine.max_chunk_size = self.scheduler.window_size if self.reader.is_read_once else MAX_CHUNK_SIZE
            match machine.next_action():
                case UploadDone():
                    return
                case UploadFailed() as failed:
                    raise self._error(failed) from last_error
                case Wait(delay):
                    await anyio.sleep(delay)
                    machine.receive(WaitEnded())
                case SendChunk() | QueryOffset() as action:
                    event: UploadEvent
                    try:
                        event = await self._perform(action, ahead)
                        has_answered = True
                    except TransportError as error:
                        if isinstance(error, TransportClosedError) or (error.is_permanent and not has_answered):
                            raise
                        last_error = error
                        is_sent = error.delivery is not Delivery.NEVER_SENT
                        event = ConnectionFailed(f"the connection failed ({type(error).__name__})", is_sent=is_sent)
                    machine.receive(event)
                    extra = {"mux_upload_id": self.upload_id, "mux_content_range": action.content_range}
                    logger.debug("upload %s: %s -> %s", self.upload_id, action.content_range, event, extra=extra)

    async def _check_source(self, state: UploadState, ahead: ReadAhead) -> int | None:
        """Compare the source with the one that an earlier run sent, as far as *state* describes it.

        Returns how many bytes at the beginning are known to be the same; ``None`` if the source has not changed.
        """
        if state.crc is not None and state.offset:
            checksums = Checksums()
            async for _ in ReadAhead(self.reader, self.scheduler, ahead.tasks, checksums).pieces(0, state.offset):
                pass
            if checksums.at(state.offset) != state.crc:
                raise self._changed_source_error(state.offset)
            if self._checksums is not None:
                self._checksums.set_known(state.offset, state.crc)
        if state.version is None or self.reader.version is None or state.version == self.reader.version:
            return None
        # The file was written to or copied: only the bytes that were compared are known to be the same.
        return state.offset if state.crc is not None else 0

    def _changed_source_error(self, held: int) -> UploadError:
        message = (
            f"{self.reader.label} has changed since its upload began, and the server holds {held} bytes of it that may be different;"
            " start a new upload"
        )
        return UploadError(message, upload_id=self.upload_id, sent=held, resumable=False)

    async def _perform(self, action: SendChunk | QueryOffset, ahead: ReadAhead) -> ResponseReceived:
        body: Body | bytes = b""
        if isinstance(action, SendChunk):
            await self.reader.prepare(action.first, action.length)
            if self._checksums is not None:
                self._checksums.forget_before(action.first)
            body = Body(lambda: self._parts(ahead.pieces(action.first, action.last + 1), action.first), action.length)
        started = anyio.current_time()
        response = await self._send(body, {"Content-Range": action.content_range})
        elapsed = anyio.current_time() - started
        retry_after = parse_retry_after(response.headers.get("Retry-After"), time.time())
        return ResponseReceived(response.status, response.headers.get("Range"), elapsed, retry_after)

    async def _send(self, body: Body | bytes, headers: dict[str, str]) -> HttpResponse:
        """Send one request and return the response, with its body consumed."""
        self._requests += 1
        headers = {"Content-Type": "application/octet-stream", "User-Agent": f"mux-async/{__version__}", **headers}
        request = HttpRequest("PUT", self.url.reveal(), headers, body, self.timeouts)
        try:
            response = await self.transport.send(request)
            await _discard(response)
        except Exception:
            if self._body_error is not None:
                error, self._body_error = self._body_error, None
                raise error from error.__cause__
            raise
        if self._body_error is not None:  # the server responded before it had the whole chunk
            raise self._body_error
        return response

    async def _send_once(self) -> int:
        """Send a stream of unknown length in one request. Without a length, the server cannot be asked for its offset."""
        try:
            response = await self._send(Body(lambda: self._parts(self.reader.read_stream())), {})
        except TransportError as error:
            raise self._stream_error(f"the connection failed ({type(error).__name__})") from error
        if response.status not in {200, 201, 202, 204}:
            raise self._stream_error(f"the server answered {response.status}")
        if not self._sent:
            raise InvalidRequestError(f"{self.reader.label} is empty, so no asset can be made of it")
        self._report(None)
        return self._sent

    async def _parts(
        self, pieces: AsyncGenerator[bytes | memoryview, None], position: int = 0
    ) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield *pieces*, which begin at *position*, in parts.

        Parts are small enough for the event loop and for an even use of the bandwidth limit.
        """
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    size = self.scheduler.part_size
                    for start in range(0, len(piece), size):
                        part = piece[start : start + size]
                        await self.scheduler.throttle(len(part))
                        yield part
                        position += len(part)
                        self._count_sent(position)
            await self.reader.verify()
        except Exception as error:
            self._body_error = error
            raise

    def _count_sent(self, position: int) -> None:
        """Record that all bytes before *position* were handed to the network."""
        if position > self._sent:
            self._sent = position
            if self.listeners is not None:
                self._notify(self.listeners)
            if self.on_progress is not None:
                self.on_progress(UploadProgress(position, self.reader.size, self._state, self.upload_id))

    def _notify(self, listeners: Listeners) -> None:
        from mux_async.events import UploadProgressed

        added, self._reported = self._sent - self._reported, self._sent
        if added > 0:
            now = anyio.current_time()
            listeners.notify(UploadProgressed(self._id, now, self.upload_id, self._sent, added, self.reader.size))

    def _report(self, state: UploadState | None) -> None:
        """Record and report what the server holds."""
        if state is not None:
            crc = self._checksums.at(state.offset) if self._checksums is not None else None
            state = attrs.evolve(state, crc=crc, version=self.reader.version)
        self._state = state
        if state is not None and state.is_sure:
            self._sent = max(self._sent, state.offset)
            self._reported = max(self._reported, state.offset)  # what an earlier run sent
        if self.on_progress is not None:
            self.on_progress(UploadProgress(self._sent, self.reader.size, state, self.upload_id))

    @property
    def _held(self) -> int:
        """Bytes that the server is known to hold."""
        return self._state.offset if self._state is not None else 0

    def _error(self, failed: UploadFailed) -> UploadError:
        held = self._held
        advice = "resume it when the network is back" if failed.is_resumable else "it cannot be resumed"
        of = f" of upload {self.upload_id!r}" if self.upload_id is not None else ""
        message = f"sending {self.reader.label}{of} stopped at {held} of {self.reader.size} bytes: {failed.reason}; "
        if failed.is_gone:
            return UploadGoneError(f"{message}start a new upload", upload_id=self.upload_id, sent=held, resumable=False)
        return UploadError(f"{message}{advice}", upload_id=self.upload_id, sent=held, resumable=failed.is_resumable)

    def _stream_error(self, reason: str) -> UploadError:
        message = f"sending {self.reader.label} stopped: {reason}; a stream of unknown length cannot be resumed, so start a new upload"
        return UploadError(message, upload_id=self.upload_id, sent=0, resumable=False)


async def _discard(response: HttpResponse) -> None:
    """Read a short response body, so that the connection can be reused; close the connection if the body is long."""
    total = 0
    try:
        async for piece in response.body:
            total += len(piece)
            if total > _MAX_RESPONSE_BODY:
                break
    except TransportError:
        pass  # only the status and headers matter, and they have arrived
    finally:
        await response.body.aclose()
