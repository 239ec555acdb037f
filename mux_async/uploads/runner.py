"""Drives the upload machine over a transport: sends the chunks, asks the questions, waits the waits.

The upload URL is another host's and is itself the key to the upload: no credentials go there, and it is kept out of errors, reprs and
logs. Cancelling at any point leaves the session as it is; it can be resumed until it expires.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from random import Random
from typing import TypeAlias

import anyio
import attrs
from anyio.abc import TaskGroup

from mux_async._retry import parse_retry_after
from mux_async._types import Secret
from mux_async._version import __version__
from mux_async.errors import Delivery, InvalidRequestError, TransportClosedError, TransportError, UploadError
from mux_async.transport import Body, HttpRequest, HttpResponse, Timeouts, Transport
from mux_async.uploads._ahead import Checksums, ReadAhead
from mux_async.uploads._flow import Flow
from mux_async.uploads._reader import Reader
from mux_async.uploads.machine import (
    MAX_CHUNK_SIZE,
    Answered,
    Broken,
    Done,
    Event,
    Failed,
    QueryOffset,
    SendChunk,
    UploadMachine,
    UploadState,
    Wait,
    Waited,
)

logger = logging.getLogger(__name__)

_LONGEST_ANSWER = 64 * 1024
_TIMEOUTS = Timeouts(read=120.0)
"""When a chunk has been handed over, up to 4 MB of it may still be in the system's buffer, which a slow line takes a while to empty."""


@attrs.frozen
class UploadProgress:
    """How far an upload is.

    Attributes:
        sent: Bytes handed to the network; never less than before, and bytes sent again do not count twice.
        size: Bytes in all; ``None`` when that is not known.
        state: What the server is known to hold; enough to resume. ``None`` when the upload cannot be resumed.
        upload_id: The upload; ``None`` when only its URL is known.
    """

    sent: int
    size: int | None
    state: UploadState | None
    upload_id: str | None = None


ProgressCallback: TypeAlias = Callable[[UploadProgress], object]
"""Called for every piece sent (2 MiB at most) and after every answer; must return at once."""


@attrs.frozen
class UploadReport:
    """What an upload took.

    Attributes:
        size: Bytes the server has.
        elapsed: Seconds from the first request to the last answer.
        requests: Exchanges with the upload host, questions included.
    """

    size: int
    elapsed: float
    requests: int


class UploadGoneError(UploadError):
    """The session has expired, was cancelled, or is complete already: what became of the upload shows in its status."""


@attrs.define
class UploadRun:
    """One run of one upload.

    Args:
        transport: Of the running event loop.
        url: The session.
        reader: The bytes.
        random: Source of jitter.
        upload_id: For errors; ``None`` when not known.
        on_progress: Told as bytes leave.
        timeouts: For one exchange, in seconds.
        max_failures: See `UploadMachine`.
        flow: What it shares with the client's other uploads; the caller holds a place in it.
    """

    transport: Transport
    url: Secret
    reader: Reader
    random: Random
    upload_id: str | None = None
    on_progress: ProgressCallback | None = None
    timeouts: Timeouts = _TIMEOUTS
    max_failures: int = 10
    flow: Flow = attrs.field(factory=Flow)
    _sent: int = attrs.field(init=False, default=0)
    _requests: int = attrs.field(init=False, default=0)
    _state: UploadState | None = attrs.field(init=False, default=None)
    _trouble: Exception | None = attrs.field(init=False, default=None)
    """What reading the source or the progress callback raised; transports may wrap it past recognition."""
    _checksums: Checksums | None = attrs.field(init=False, default=None)

    async def run(self, state: UploadState | None = None) -> UploadReport:
        """Send everything that the server does not hold yet.

        Args:
            state: Where an earlier run left off; ``None`` for a session nothing was sent to.

        Raises:
            UploadError: It cannot go on; ``resumable`` says whether the same session can be taken up later.
            InvalidRequestError: The source is unreadable, empty, or not the one that *state* is about.
        """
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
            if (
                isinstance(failure, UploadError) and failure.upload_id is None
            ):  # of a source, which does not know what it is read for
                failure.upload_id, failure.sent = self.upload_id, self._held
            raise failure
        return UploadReport(size=size, elapsed=anyio.current_time() - started, requests=self._requests)

    async def _send_in_chunks(self, state: UploadState, size: int, tasks: TaskGroup) -> None:
        if state.size != size:
            raise InvalidRequestError(
                f"{self.reader.label} has {size} bytes, and the upload was begun with {state.size}; start a new upload"
            )
        if self.on_progress is not None and not self.reader.is_read_once:  # else nobody could ask for the checksum, or use it
            self._checksums = Checksums()
        ahead = ReadAhead(self.reader, self.flow, tasks, self._checksums)
        longest_known = await self._compare(state, ahead)
        machine = UploadMachine(state, random=self.random, max_failures=self.max_failures)
        last_error: TransportError | None = None
        has_answered = False
        while True:
            self._report(machine.state)
            if longest_known is not None and machine.state.is_sure:
                if machine.state.offset > longest_known:
                    raise self._is_another(machine.state.offset)
                longest_known = None
            machine.max_chunk_size = self.flow.window_size if self.reader.is_read_once else MAX_CHUNK_SIZE
            match machine.next_action():
                case Done():
                    return
                case Failed() as failed:
                    raise self._error(failed) from last_error
                case Wait(delay):
                    await anyio.sleep(delay)
                    machine.receive(Waited())
                case SendChunk() | QueryOffset() as action:
                    event: Event
                    try:
                        event = await self._exchange(action, ahead)
                        has_answered = True
                    except TransportError as error:
                        if isinstance(error, TransportClosedError) or (error.is_permanent and not has_answered):
                            raise
                        last_error = error
                        is_sent = error.delivery is not Delivery.NEVER_SENT
                        event = Broken(f"the connection failed ({type(error).__name__})", is_sent=is_sent)
                    machine.receive(event)
                    logger.debug("upload %s: %s -> %s", self.upload_id, action.content_range, event)

    async def _compare(self, state: UploadState, ahead: ReadAhead) -> int | None:
        """See whether the source is still the one that an earlier run sent, as far as that run could tell.

        Returns:
            How many of the bytes the server may hold and have come from this source; ``None`` for all of them.
        """
        if state.crc is not None and state.offset:
            checksums = Checksums()
            async for _ in ReadAhead(self.reader, self.flow, ahead.tasks, checksums).pieces(0, state.offset):
                pass
            if checksums.at(state.offset) != state.crc:
                raise self._is_another(state.offset)
            if self._checksums is not None:
                self._checksums.trust(state.offset, state.crc)
        if state.version is None or self.reader.version is None or state.version == self.reader.version:
            return None
        # Written to since, or copied: the bytes that were compared are the same, and of others nothing is known.
        return state.offset if state.crc is not None else 0

    def _is_another(self, held: int) -> UploadError:
        return UploadError(
            f"{self.reader.label} is not the file it was when its upload began: the server holds {held} bytes that may be of the other;"
            " start a new upload",
            upload_id=self.upload_id,
            sent=held,
            resumable=False,
        )

    async def _exchange(self, action: SendChunk | QueryOffset, ahead: ReadAhead) -> Answered:
        body: Body | bytes = b""
        if isinstance(action, SendChunk):
            await self.reader.prepare(action.first, action.length)
            if self._checksums is not None:
                self._checksums.forget_before(action.first)
            body = Body(lambda: self._chunk(action, ahead), action.length)
        started = anyio.current_time()
        response = await self._send(body, {"Content-Range": action.content_range})
        elapsed = anyio.current_time() - started
        retry_after = parse_retry_after(response.headers.get("Retry-After"), time.time())
        return Answered(response.status, response.headers.get("Range"), elapsed, retry_after)

    async def _send(self, body: Body | bytes, headers: dict[str, str]) -> HttpResponse:
        """Put one request on the wire and return its answer, the body of which has been done with."""
        self._requests += 1
        headers = {"Content-Type": "application/octet-stream", "User-Agent": f"mux-async/{__version__}", **headers}
        request = HttpRequest("PUT", self.url.reveal(), headers, body, self.timeouts)
        try:
            response = await self.transport.send(request)
            await _discard(response)
        except Exception:
            if self._trouble is not None:
                trouble, self._trouble = self._trouble, None
                raise trouble from trouble.__cause__
            raise
        if self._trouble is not None:  # the server answered before it had the whole chunk
            raise self._trouble
        return response

    async def _send_once(self) -> int:
        """Send a stream of unknown length in one request.

        It cannot be resumed: what was read is gone, and without a length the server cannot be asked what it is missing.
        """
        try:
            response = await self._send(Body(self._drain), {})
        except TransportError as error:
            raise self._lost(f"the connection failed ({type(error).__name__})") from error
        if response.status not in {200, 201, 202, 204}:
            raise self._lost(f"the server answered {response.status}")
        if not self._sent:
            raise InvalidRequestError(f"{self.reader.label} is empty, and nothing can be made of it")
        self._report(None)
        return self._sent

    async def _chunk(self, chunk: SendChunk, ahead: ReadAhead) -> AsyncIterator[bytes | memoryview]:
        """Yield one chunk, piece by piece."""
        position = chunk.first
        try:
            async with aclosing(ahead.pieces(chunk.first, chunk.last + 1)) as pieces:
                async for piece in pieces:
                    for part in self._parts(piece):
                        await self.flow.pace(len(part))
                        yield part
                        position += len(part)
                        self._left(position)
            await self.reader.verify()
        except Exception as error:
            self._trouble = error
            raise

    async def _drain(self) -> AsyncIterator[bytes | memoryview]:
        try:
            async for piece in self.reader.drain():
                for part in self._parts(piece):
                    await self.flow.pace(len(part))
                    yield part
                    self._left(self._sent + len(part))
        except Exception as error:
            self._trouble = error
            raise

    def _parts(self, piece: bytes | memoryview) -> Iterable[bytes | memoryview]:
        """Return *piece* in parts that neither hold up the event loop nor make a capped flow uneven."""
        size = self.flow.part_size
        return (piece,) if len(piece) <= size else (piece[start : start + size] for start in range(0, len(piece), size))

    def _left(self, position: int) -> None:
        """Note that everything below *position* has been handed to the network."""
        if position > self._sent:
            self._sent = position
            if self.on_progress is not None:
                self.on_progress(UploadProgress(position, self.reader.size, self._state, self.upload_id))

    def _report(self, state: UploadState | None) -> None:
        """Note what the server holds."""
        if state is not None:
            crc = self._checksums.at(state.offset) if self._checksums is not None else None
            state = attrs.evolve(state, crc=crc, version=self.reader.version)
        self._state = state
        if state is not None and state.is_sure:
            self._sent = max(self._sent, state.offset)
        if self.on_progress is not None:
            self.on_progress(UploadProgress(self._sent, self.reader.size, state, self.upload_id))

    @property
    def _held(self) -> int:
        """Bytes the server is known to hold."""
        return self._state.offset if self._state is not None else 0

    def _error(self, failed: Failed) -> UploadError:
        held = self._held
        if failed.is_gone:
            advice = "start a new upload"
        elif failed.is_resumable:
            advice = "resume it when the network is back"
        else:
            advice = "it cannot be resumed"
        of = f" of upload {self.upload_id!r}" if self.upload_id is not None else ""
        kind = UploadGoneError if failed.is_gone else UploadError
        return kind(
            f"sending {self.reader.label}{of} stopped at {held} of {self.reader.size} bytes: {failed.reason}; {advice}",
            upload_id=self.upload_id,
            sent=held,
            resumable=failed.is_resumable,
        )

    def _lost(self, reason: str) -> UploadError:
        return UploadError(
            f"sending {self.reader.label} stopped: {reason}; a stream of unknown length cannot be sent again, so upload it anew",
            upload_id=self.upload_id,
            sent=0,
            resumable=False,
        )


async def _discard(response: HttpResponse) -> None:
    """Read the few bytes that come with a status, so that the connection can be used again; cut it when there are many."""
    total = 0
    try:
        async for piece in response.body:
            total += len(piece)
            if total > _LONGEST_ANSWER:
                break
    except TransportError:
        pass  # the status and headers, which are all that matters here, had arrived
    finally:
        await response.body.aclose()
