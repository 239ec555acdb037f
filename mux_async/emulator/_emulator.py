"""Mux itself, small: a function from a request and a time to an answer, with memory.

Nothing here waits, opens a socket or reads a clock that it was not handed. A door (`EmulatorTransport`, `serve`) turns bytes into a
`Request`, opens an `Exchange`, feeds it the body as it comes and sends the `Reply`; `Emulator.handle` is the same in one step.
Time passes by itself: before anything else, whatever was planned for a time that has come is done (`Emulator.advance`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs

from mux_async._operation import Bucket, bucket_of
from mux_async.emulator import _asset_parts, _assets, _live_streams, _signing_keys, _uploads
from mux_async.emulator._auth import WHOAMI, authenticate, authorize, whoami
from mux_async.emulator._control import CONTROL_PREFIX, Arrival, control
from mux_async.emulator._faults import Fault, Faults
from mux_async.emulator._http import NOT_FOUND_TEXT, ApiError, Request, Response, not_found
from mux_async.emulator._lifecycle import run_step
from mux_async.emulator._limits import RateLimiter
from mux_async.emulator._playback import play
from mux_async.emulator._router import Call, Router
from mux_async.emulator._settings import EmulatorSettings, Token
from mux_async.emulator._state import World
from mux_async.emulator._storage import StorageSink
from mux_async.emulator._stub import Stub, StubStorage
from mux_async.errors import MissingExtraError

log = logging.getLogger(__name__)

_API_FAMILIES = frozenset({"video", "data", "system", "robots"})
_UNSERVED = {
    ("data", "v1"),
    ("robots", "v0"),
    ("system", "v1", "usage"),
    ("system", "v1", "webhooks"),
    ("video", "v1", "delivery-usage"),
    ("video", "v1", "drm-configurations"),
    ("video", "v1", "playback-restrictions"),
    ("video", "v1", "spaces"),
    ("video", "v1", "transcription-vocabularies"),
    ("video", "v1", "web-inputs"),
}
"""What Mux has and this emulator does not yet: told apart from a mistyped path by a second message."""

_API_HEADERS = {"Cache-Control": "max-age=0, private, must-revalidate", "Server": "Mux API Server"}


class ConnectionCutError(Exception):
    """A fault broke the connection, so there is no answer. Raised by `Emulator.handle` only."""


class Sink(Protocol):
    """What takes the body of a request."""

    def feed(self, data: bytes, /) -> None:
        """Take bytes of the body."""
        ...

    def finish(self) -> Response:
        """The body ended: answer.

        Raises:
            ApiError: The answer is an error.
        """
        ...

    def cut(self) -> None:
        """The connection broke before the body ended."""
        ...


class _Collect:
    """Keeps a small body whole, and answers with a function of it."""

    def __init__(self, limit: int, answer: Callable[[bytes], Response]) -> None:
        self._body = bytearray()
        self._limit = limit
        self._answer = answer

    def feed(self, data: bytes) -> None:
        if len(self._body) <= self._limit:
            self._body += data

    def finish(self) -> Response:
        if len(self._body) > self._limit:
            raise ApiError(413, "invalid_parameters", f"The request body is larger than {self._limit} bytes")
        return self._answer(bytes(self._body))

    def cut(self) -> None:
        self._body.clear()


class _Ignore:
    """Lets a body pass by, and answers what was clear from the head."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def feed(self, data: bytes) -> None:
        del data

    def finish(self) -> Response:
        return self._response

    def cut(self) -> None:
        pass


@attrs.frozen
class Reply:
    """What a door is to do at the end of a request.

    Attributes:
        response: To send; ``None`` to break the connection.
        delay: Seconds to wait before either.
        truncate: Bytes of the body to send before breaking the connection; ``None`` sends all and keeps it.
    """

    response: Response | None
    delay: float = 0.0
    truncate: int | None = None


@attrs.define(eq=False)
class Exchange:
    """One request being received. Ends with `finish` or `cut`, whichever is first; the other does nothing then."""

    _emulator: Emulator
    _request: Request
    _sink: Sink
    _fault: Fault | None
    _arrival: Arrival
    _headers: dict[str, str]
    _fed: int = 0
    _ended: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether a fault asks that the connection is not even made."""
        return self._fault is not None and self._fault.cut == "refuse"

    def feed(self, data: bytes) -> bool:
        """Take bytes of the body, in order.

        Returns:
            Whether to go on. ``False`` when a fault wants the connection broken here: call `finish` for the rest.
        """
        fault = self._fault
        if fault is None or fault.cut != "before" or fault.after_bytes is None:
            self._sink.feed(data)
            return True
        self._sink.feed(data[: max(0, fault.after_bytes - self._fed)])
        self._fed += len(data)
        return self._fed < fault.after_bytes

    def finish(self) -> Reply:
        """The body ended. Act on the request, as far as a fault lets it, and say what to send."""
        fault = self._fault
        if fault is not None and fault.cut in {"refuse", "before"}:
            self.cut()
            return Reply(None, fault.delay)
        answer = None if fault is None else fault.response()
        if fault is None or answer is None or fault.acts:
            own = self._emulator.settle(self._request, self._sink, self._headers)
            answer = own if answer is None else answer
        else:
            self._sink.cut()
        if fault is None:
            self._end(answer.status)
            return Reply(answer)
        self._end(None if fault.cut == "after" else answer.status)
        return Reply(None if fault.cut == "after" else answer, fault.delay, fault.truncate)

    def cut(self) -> None:
        """The connection broke before the body ended: what was not whole is not acted on."""
        if not self._ended:
            self._sink.cut()
            self._end(None)

    def _end(self, status: int | None) -> None:
        if not self._ended:
            self._ended = True
            self._emulator.record(attrs.evolve(self._arrival, status=status))


@attrs.frozen
class StoredUpload:
    """What is stored of an upload.

    Attributes:
        size: Bytes.
        crc32: Of those bytes, as `zlib.crc32` gives it.
        is_complete: Whether the file is whole.
        path: Where it is kept; ``None`` without `EmulatorSettings.store`.
    """

    size: int
    crc32: int
    is_complete: bool
    path: Path | None


class Emulator:
    """A Mux account with its environments, assets, uploads and live streams.

    Args:
        settings: Who may call it, how fast, and how its media behave.
        clock: Gives epoch seconds. With virtual time, time passes as the clock says.
        on_arrival: Called with every request that ended, whatever came of it.

    Attributes:
        faults: What is to go wrong.
        arrivals: The last requests that ended, oldest first; see `EmulatorSettings.max_arrivals`.
    """

    def __init__(
        self,
        settings: EmulatorSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
        on_arrival: Callable[[Arrival], None] | None = None,
    ) -> None:
        self.settings = EmulatorSettings() if settings is None else settings
        self.faults = Faults()
        self._clock = clock
        self._on_arrival = on_arrival
        self._arrivals: deque[Arrival] = deque(maxlen=self.settings.max_arrivals)
        self._router = Router(
            [*_assets.ROUTES, *_asset_parts.ROUTES, *_uploads.ROUTES, *_live_streams.ROUTES, *_signing_keys.ROUTES]
        )
        if self.settings.store is not None:
            self.settings.store.mkdir(parents=True, exist_ok=True)
        self._stub = Stub(self.settings.seed) if self.settings.stub else None
        self._start()

    def _start(self) -> None:
        self._world = World.create(self.settings, self._clock())
        self._limiter = None if self.settings.limits is None else RateLimiter(self.settings.limits)

    @property
    def served(self) -> frozenset[tuple[str, str]]:
        """Verb and path (``/video/v1/assets/{ASSET_ID}``) of every API operation that is answered."""
        return frozenset({("GET", "/" + "/".join(WHOAMI)), *((route.method, route.template) for route in self._router.routes)})

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """A copy of the log."""
        return tuple(self._arrivals)

    def advance(self) -> float | None:
        """Do what is due by now.

        Returns:
            Epoch seconds of the next thing planned; ``None`` when there is none.
        """
        world = self._world
        now = max(world.now, self._clock())
        for step in world.agenda.due(now):
            world.now = max(world.now, step.at)
            environment = world.environment_by_id(step.environment)
            if step.name == "upload.timed_out":
                _uploads.time_out(environment, step.subject)
            else:
                run_step(world, environment, step.name, step.subject)
        world.now = now
        return world.agenda.next_at

    def reset(self) -> None:
        """Forget all objects, requests and faults, and fill the rate limits up again. The same ids are given out anew."""
        for environment in self._world.environments.values():
            for upload in environment.uploads.values():
                upload.session.discard()
        self.faults.clear()
        self._arrivals.clear()
        self._start()

    def stored_upload(self, upload_id: str) -> StoredUpload | None:
        """Return what is stored of an upload; ``None`` for an unknown id."""
        found = self._world.find_upload(upload_id)
        if found is None:
            return None
        session = found[1].session
        return StoredUpload(session.size, session.crc, session.is_complete, session.path)

    def handle(self, request: Request) -> Response:
        """Answer one request whose body is at hand. A fault's delay is not waited for.

        Raises:
            ConnectionCutError: A fault broke the connection.
        """
        exchange = self.begin(request)
        if request.body:
            exchange.feed(request.body)
        reply = exchange.finish()
        if reply.response is None:
            raise ConnectionCutError(f"{request.method} {request.raw_path}: a fault broke the connection")
        if reply.truncate is not None:
            return attrs.evolve(reply.response, body=reply.response.body[: reply.truncate])
        return reply.response

    def begin(self, request: Request) -> Exchange:
        """Take the head of a request: it is counted, logged and routed now, and answered when its body has ended."""
        self.advance()
        family = request.segments[0]
        fault = None if family == CONTROL_PREFIX else self.faults.pick(request)
        arrival = Arrival(self._world.now, request.method, request.raw_path, None, None, None)
        headers: dict[str, str] = {}
        sink: Sink
        if fault is not None and fault.cut == "refuse":
            sink = _Ignore(Response(503))
        elif family in _API_FAMILIES:
            headers = {**_API_HEADERS, "X-Request-Id": self._world.mint.request_id()}
            try:
                sink, arrival = self._begin_api(request, arrival, headers)
            except ApiError as error:
                sink = _Ignore(error.response(family))
        elif family == _uploads.UPLOAD_PREFIX:
            headers["Server"] = "UploadServer"
            sink = StorageSink(self._world, request) if self._stub is None else StubStorage(request)
        elif family == CONTROL_PREFIX:
            sink = _Collect(self.settings.max_body, lambda _: control(request, self._world, self._arrivals, self.reset))
        elif self._stub is not None:
            sink = _Collect(self.settings.max_body, partial(self._stub.answer, request))
        else:
            sink = _Collect(self.settings.max_body, lambda _: play(request, self._world))
        return Exchange(self, request, sink, fault, arrival, headers)

    def _begin_api(self, request: Request, arrival: Arrival, headers: dict[str, str]) -> tuple[Sink, Arrival]:
        token = authenticate(self.settings.tokens, request)
        bucket: Bucket = bucket_of(request.method, request.raw_path)
        arrival = attrs.evolve(arrival, bucket=bucket, environment=token.environment)
        if self._limiter is not None:
            verdict, more = self._limiter.take(token.environment, bucket, self._world.now)
            headers.update(more)
            if not verdict.allowed:
                return _Ignore(self._limiter.refusal()), arrival
        return _Collect(self.settings.max_body, lambda body: self._answer(request, token, body)), arrival

    def _answer(self, request: Request, token: Token, body: bytes) -> Response:
        authorize(token, request)
        if self._stub is not None:
            return self._stub.answer(request, body)
        if request.method == "GET" and request.segments == WHOAMI:
            return whoami(self._world, token)
        found = self._router.find(request.method, request.segments)
        if found is None:
            if any(request.segments[: len(prefix)] == prefix for prefix in _UNSERVED):
                raise not_found(NOT_FOUND_TEXT, f"The emulator does not serve {request.method} {request.raw_path}")
            raise not_found()
        handler, params = found
        return handler(Call(request, body, params, self._world, self._world.environments[token.environment]))

    def settle(self, request: Request, sink: Sink, headers: dict[str, str]) -> Response:
        """Let *sink* answer, now. For `Exchange`."""
        family = request.segments[0]
        self.advance()
        try:
            response = sink.finish()
        except ApiError as error:
            response = error.response(family)
        except MissingExtraError as error:
            response = ApiError(501, "missing_extra", str(error)).response(family)
        return response.with_headers(headers)

    def record(self, arrival: Arrival) -> None:
        """Log a request that ended. For `Exchange`."""
        if arrival.path.startswith(f"/{CONTROL_PREFIX}/"):
            return
        log.debug("%s %s: %s", arrival.method, arrival.path, arrival.status)
        self._arrivals.append(arrival)
        if self._on_arrival is not None:
            self._on_arrival(arrival)
