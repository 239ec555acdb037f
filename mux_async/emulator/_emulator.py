"""The emulator: a function of a request and a time that returns a response and keeps state.

Nothing here waits, opens a socket or reads a clock other than the given one. A frontend (`EmulatorTransport`, `serve`) parses a
`Request`, begins an `Exchange`, feeds it the body as it arrives, and sends the `Reply`; `Emulator.handle` does the same in one step.
Every call first runs the scheduled steps that are due (`Emulator.advance`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import attrs

from mux_async.emulator._routes import DATA_OPERATIONS, ROUTES
from mux_async.emulator._settings import EmulatorSettings, RobotsPlan, Token
from mux_async.emulator._sites import API_FAMILIES, Sites
from mux_async.emulator._steps import run
from mux_async.emulator.control._access import check_control_access
from mux_async.emulator.control._api import CONTROL_PREFIX, ControlCall, control, is_download
from mux_async.emulator.control._handles import (
    AssetHandle,
    LiveHandle,
    SpaceHandle,
    accept_robots_terms,
    asked,
    set_robots_plan,
)
from mux_async.emulator.control._page_data import answer as overview
from mux_async.emulator.control._page_data import asks_for_overview, is_from_page
from mux_async.emulator.data import _beacons
from mux_async.emulator.data._exports import PREFIX as EXPORTS_PREFIX
from mux_async.emulator.data._exports import download
from mux_async.emulator.data._requests import DatasetCache
from mux_async.emulator.faults._faults import Faults, WebhookFaults, WorkFaults
from mux_async.emulator.http._messages import ApiError, Request, Response, not_found
from mux_async.emulator.live._pushes import Push, SrtSettings, drop_pushes, srt_settings
from mux_async.emulator.playback._hosts import answer_host
from mux_async.emulator.resources import _uploads
from mux_async.emulator.resources._upload_storage import StorageSink
from mux_async.emulator.routing._auth import WHOAMI, authenticate, authorize, whoami
from mux_async.emulator.routing._exchange import Arrival, BodyCollector, BodyDiscarder, ConnectionCutError, Exchange, Sink
from mux_async.emulator.routing._rate_limits import RateLimiter, bucket_of
from mux_async.emulator.routing._router import ApiCall, Router, checked
from mux_async.emulator.state._media_orders import forget
from mux_async.emulator.state._records import Delivery, WebhookEvent
from mux_async.emulator.state._serialization import origin_of
from mux_async.emulator.state._state import State
from mux_async.emulator.state._state_file import StateFile
from mux_async.emulator.stub._stub import Stub, StubStorage
from mux_async.emulator.webhooks._deliveries import WebhookRequest, take_due
from mux_async.emulator.webhooks._deliveries import settle as settle_delivery
from mux_async.emulator.webhooks._event_stream import EVENT_STREAM, EventStreams
from mux_async.errors import MissingExtraError

log = logging.getLogger(__name__)

_API_HEADERS = {"Cache-Control": "max-age=0, private, must-revalidate", "Server": "Mux API Server"}


@attrs.frozen
class StoredUpload:
    """What is stored of an upload.

    Attributes:
        size: Bytes.
        crc32: Their checksum, as `zlib.crc32` computes it.
        is_complete: Whether the upload is complete.
        path: The stored file; ``None`` without `EmulatorSettings.store`.
    """

    size: int
    crc32: int
    is_complete: bool
    path: Path | None


class Emulator:
    """A Mux account with its environments, assets, uploads and live streams.

    Args:
        settings: Tokens, rate limits, webhooks, media and time.
        clock: Gives epoch seconds. With virtual time, time passes as the clock says.
        on_arrival: Called with every request that ended.
        on_delivery: Called with every webhook delivery after each attempt.

    Attributes:
        faults: The faults of requests.
        arrivals: The last requests that ended, oldest first; see `EmulatorSettings.max_arrivals`.
    """

    def __init__(
        self,
        settings: EmulatorSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
        on_arrival: Callable[[Arrival], None] | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.settings: EmulatorSettings = EmulatorSettings() if settings is None else settings
        self.faults: Faults = Faults()
        self._clock = clock
        self._on_arrival = on_arrival
        self._on_delivery = on_delivery
        self._watchers: list[Callable[[], None]] = []
        self._event_streams = EventStreams(lambda: self._state, self.advance, clock)
        self._arrivals: deque[Arrival] = deque(maxlen=self.settings.max_arrivals)
        self._hosts = {urlsplit(self.settings.public_origin or "").hostname or "", *map(str.lower, self.settings.allowed_hosts)}
        self._sites = Sites(self.settings.domains)
        self._dataset_cache = DatasetCache()
        self._router = Router(map(checked, (*ROUTES, *self._dataset_cache.routes(DATA_OPERATIONS))))
        if self.settings.upload_folder is not None:
            self.settings.upload_folder.mkdir(parents=True, exist_ok=True)
        self._stub = Stub(self.settings.seed) if self.settings.stub else None
        self._file: StateFile | None = None
        self._start()

    def _start(self) -> None:
        if self.settings.state is None or self._stub is not None:
            self._state = State.create(self.settings, self._clock())
        else:
            self._file = StateFile(self.settings.state, self.settings, self._clock())
            self._state = self._file.state
        self._limiter = None if self.settings.limits is None else RateLimiter(self.settings.limits)

    @property
    def served(self) -> frozenset[tuple[str, str]]:
        """Verb and path (``/video/v1/assets/{ASSET_ID}``) of every API operation that the emulator serves."""
        return frozenset({("GET", "/" + "/".join(WHOAMI)), *((route.method, route.template) for route in self._router.routes)})

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """A copy of the log."""
        return tuple(self._arrivals)

    def advance(self) -> float | None:
        """Run the scheduled steps that are due.

        Returns:
            Epoch seconds of the next step; ``None`` if there is none.
        """
        state = self._state
        now = max(state.now, self._clock())
        for step in state.scheduler.due(now):
            state.now = max(state.now, step.at)
            run(state, step)
        state.now = now
        self._event_streams.announce()
        return state.scheduler.next_at

    @property
    def now(self) -> float:
        """The clock's time, in epoch seconds."""
        return self._clock()

    def watch(self, notice: Callable[[], None]) -> Callable[[], None]:
        """Call *notice* whenever a step may have been scheduled. For senders of webhooks.

        Returns:
            A function that stops the calls.
        """
        self._watchers.append(notice)
        return lambda: self._watchers.remove(notice)

    def _notify(self) -> None:
        for notice in self._watchers:
            notice()
        self._event_streams.announce()

    @property
    def events(self) -> Sequence[WebhookEvent]:
        """All events, oldest first, with or without endpoints; see `EmulatorSettings.max_events`."""
        self.advance()
        return tuple(self._state.events)

    @property
    def deliveries(self) -> Sequence[Delivery]:
        """A copy of the log of webhook deliveries, in the order of scheduling."""
        self.advance()
        return tuple(attrs.evolve(entry, attempts=list(entry.attempts)) for entry in self._state.deliveries.values())

    @property
    def webhook_faults(self) -> WebhookFaults:
        """The faults of webhook deliveries."""
        return self._state.webhook_faults

    def take_webhooks(self, busy: Collection[str] | None = None) -> list[WebhookRequest]:
        """Take the deliveries that are due, to send them. Report the result of each with `settle_webhook`.

        Args:
            busy: Ids of endpoints to leave out; the other endpoints then get at most one each. ``None`` takes all.
        """
        self.advance()
        due = take_due(self._state, busy)
        self._keep()
        return due

    def settle_webhook(self, delivery_id: str, status: int | None, error: str | None = None) -> None:
        """Report the result of an attempt.

        Args:
            delivery_id: Of the `WebhookRequest`.
            status: Status of the response; ``None`` without a response.
            error: Why there was no response.
        """
        self.advance()
        delivery = settle_delivery(self._state, delivery_id, status, error)
        if delivery is not None and self._on_delivery is not None:
            self._on_delivery(delivery)
        self._keep()
        self._notify()

    def reset(self) -> None:
        """Delete all objects, logs and faults, and refill the rate limits. Ids start again from the seed."""
        for environment in self._state.environments.values():
            for upload in environment.uploads.values():
                upload.session.discard()
            for asset_id in environment.assets:
                forget(self._state, asset_id)
        self.faults.clear()
        self._arrivals.clear()
        if self._file is not None:
            self._file.clear()
        self._start()
        self._notify()

    def accept_robots_terms(self, environment: str | None = None) -> None:
        """Accept the terms of Robots v1, which answers 403 until then.

        Args:
            environment: Name of the environment; all of them when left out.

        Raises:
            ValueError: There is no such environment.
        """
        asked(self._perform, lambda state: accept_robots_terms(state, environment))

    def set_robots_plan(self, plan: RobotsPlan, environment: str | None = None) -> None:
        """Change what an environment may do with Robots: more is ``robots_units_limit_exceeded`` or ``robots_workflow_not_available``.

        Args:
            plan: What it may do from now on; ``RobotsPlan()`` for everything.
            environment: Name of the environment; all of them when left out.

        Raises:
            ValueError: There is no such environment or workflow.
        """
        asked(self._perform, lambda state: set_robots_plan(state, environment, plan))

    @property
    def live(self) -> LiveHandle:
        """Encoders that send to live streams."""
        return LiveHandle(self._perform)

    def push(self, stream_key: str, protocol: Literal["rtmp", "srt"] = "rtmp") -> Push:
        """Connect an encoder that sends real media. For frontends that take encoders. Raises `PushRefusedError`."""
        return Push(self._perform, stream_key, protocol)

    def srt_settings(self, live_stream_id: str | None) -> SrtSettings | None:
        """Return the settings of a live stream, by default of the one that was created last. For frontends that take encoders."""
        self.advance()
        return srt_settings(self._state, live_stream_id)

    def drop_pushes(self) -> None:
        """Disconnect the encoders of an earlier run, which the state file has. For frontends that take encoders."""
        self._perform(drop_pushes)

    @property
    def assets(self) -> AssetHandle:
        """Events about assets that no request causes: warnings, high traffic."""
        return AssetHandle(self._perform)

    @property
    def work_faults(self) -> WorkFaults:
        """The faults of Mux's work."""
        return self._state.work_faults

    @property
    def spaces(self) -> SpaceHandle:
        """Participants of spaces (legacy)."""
        return SpaceHandle(self._perform)

    def _perform(self, handler: Callable[[State], None]) -> None:
        self.advance()
        handler(self._state)
        self.advance()
        self._keep()
        self._notify()

    def stored_upload(self, upload_id: str) -> StoredUpload | None:
        """Return what is stored of an upload; ``None`` for an unknown id."""
        found = self._state.find_upload(upload_id)
        if found is None:
            return None
        session = found[1].session
        return StoredUpload(session.size, session.crc, session.is_complete, session.path)

    def handle(self, request: Request) -> Response:
        """Return the response to one request with its whole body. It ignores the delays of faults, and blocks on real media.

        Raises:
            ConnectionCutError: A fault broke the connection.
        """
        exchange = self.begin(request)
        if request.body:
            exchange.feed(request.body)
        reply = exchange.finish()
        if reply.response is None:
            raise ConnectionCutError(f"{request.method} {request.raw_path}: a fault broke the connection")
        response = reply.response.loaded()
        return response if reply.truncate is None else attrs.evolve(response, body=response.body[: reply.truncate])

    def begin(self, request: Request) -> Exchange:
        """Begin a request: it is counted, logged and routed now; its response follows when the body has ended."""
        self.advance()
        family = request.segments[0]
        is_beacon = _beacons.is_beacon(request)
        fault = None if family in {CONTROL_PREFIX, ""} and not is_beacon else self.faults.pick(request)
        arrival = Arrival(self._state.now, request.method, request.raw_path, None, None, None)
        headers: dict[str, str] = {}
        sink: Sink
        if fault is not None and fault.cut == "refuse":
            sink = BodyDiscarder(Response(503))
        elif (misdirected := self._sites.refusal(request)) is not None:
            sink = BodyDiscarder(misdirected)
        elif is_beacon:
            headers.update(_beacons.HEADERS)
            sink = BodyCollector(self.settings.max_body, partial(_beacons.collect, request, self._state))
        elif family in API_FAMILIES:
            # From the emulator's own clock, because clients compare its times with it.
            date = formatdate(self._state.now, usegmt=True)
            headers = {**_API_HEADERS, "Date": date, "X-Request-Id": self._state.id_generator.request_id()}
            try:
                sink, arrival = self._begin_api(request, arrival, headers)
            except ApiError as error:
                sink = BodyDiscarder(error.response(family))
        elif family == _uploads.UPLOAD_PREFIX:
            headers["Server"] = "UploadServer"
            sink = StorageSink(self._state, request) if self._stub is None else StubStorage(request)
        elif family in {CONTROL_PREFIX, ""} and (refusal := self._refusal(request)) is not None:
            sink = BodyDiscarder(refusal)
        else:
            sink = BodyCollector(self.settings.max_body, self._responder(request))
        return Exchange(self, request, sink, fault, arrival, headers)

    def _responder(self, request: Request) -> Callable[[bytes], Response]:
        """Return what responds to a request, given its body, outside of the API and of uploads."""
        if request.method == "GET" and request.segments[: len(EXPORTS_PREFIX)] == EXPORTS_PREFIX:
            return lambda _: download(request, self._state, self._dataset_cache)
        if asks_for_overview(request):
            return lambda _: self._overview(request)
        if request.method == "GET" and request.segments[:2] == (CONTROL_PREFIX, "api"):
            return lambda _: self._read_api(request)
        if request.segments[0] == CONTROL_PREFIX:
            return partial(control, ControlCall(self._state, self.faults, self._arrivals, self.reset, request))
        if self._stub is not None:
            return partial(self._stub.answer, request)
        return partial(answer_host, request, self._state, self._dataset_cache)

    def _refusal(self, request: Request) -> Response | None:
        """Return the response that refuses a control call, or a request for the page, by `check_control_access`."""
        if is_download(request):
            return None
        try:
            check_control_access(request, self._hosts, is_page=request.segments == ("",))
        except ApiError as error:
            return error.response()
        return None

    def listens_at(self, host: str) -> None:
        """Allow *host* for the page and the control calls, because a server listens there."""
        self._hosts.add(host.lower())

    def _begin_api(self, request: Request, arrival: Arrival, headers: dict[str, str]) -> tuple[Sink, Arrival]:
        token = authenticate(self.settings.tokens, request)
        bucket = bucket_of(request.method, request.raw_path)
        arrival = attrs.evolve(arrival, bucket=bucket, environment=token.environment)
        if self._limiter is not None:
            decision, more = self._limiter.take(token, bucket, self._state.now)
            headers.update(more)
            if not decision.allowed:
                return BodyDiscarder(self._limiter.refusal()), arrival
        return BodyCollector(self.settings.max_body, lambda body: self._answer(request, token, body)), arrival

    def _answer(self, request: Request, token: Token, body: bytes) -> Response:
        authorize(token, request)
        if request.method == "GET" and request.segments == EVENT_STREAM:
            return self._event_streams.open(request, self._state.environments[token.environment])
        if self._stub is not None:
            return self._stub.answer(request, body)
        if request.method == "GET" and request.segments == WHOAMI:
            return whoami(self._state, token)
        found = self._router.find(request.method, request.segments)
        if found is None:
            raise not_found()
        handler, params = found
        call = ApiCall(request, body, params, self._state, self._state.environments[token.environment])
        with self._reading() if request.method == "GET" else nullcontext():
            return handler(call)

    def _reading(self) -> AbstractContextManager[None]:
        return nullcontext() if self._file is None else self._file.reading()

    def _overview(self, request: Request) -> Response:
        with self._reading():
            return overview(request, self._state, self._limiter, tuple(self._arrivals), self.settings.tokens)

    def _read_api(self, request: Request) -> Response:
        """Respond to a GET of the API for the page, from the first environment that has the object."""
        plain = attrs.evolve(request, target=request.target.removeprefix(f"/{CONTROL_PREFIX}/api"))
        found = self._router.find("GET", plain.segments)
        if found is None:
            raise not_found()
        handler, params = found
        with self._reading():
            for environment in self._state.environments.values():
                with suppress(ApiError):
                    return handler(ApiCall(plain, b"", params, self._state, environment))
        raise not_found()

    def settle(self, request: Request, sink: Sink, headers: dict[str, str]) -> Response:
        """Return the response of *sink*. For `Exchange`."""
        family = request.segments[0]
        self.advance()
        if self._sites.is_for_programs(request) and not _beacons.is_beacon(request):
            self._state.origin = origin_of(request, self._state)
        try:
            response = sink.finish()
        except ApiError as error:
            response = error.response(family)
        except MissingExtraError as error:
            response = ApiError(501, "missing_extra", str(error)).response(family)
        self._keep()
        self._notify()
        return response.with_headers(headers)

    def _keep(self) -> None:
        """Write all changes to the state file, before a response reports them."""
        if self._file is not None:
            self._file.keep()

    def close(self) -> None:
        """End the streams of events; write and close the state file, if there is one. May be called more than once."""
        self._event_streams.close()
        if self._file is not None:
            self._file.close()
            self._file = None

    def record(self, request: Request, arrival: Arrival) -> None:
        """Log a request that ended, unless it is the page's own. For `Exchange`."""
        is_own = request.segments[0] in {"", CONTROL_PREFIX} or is_from_page(request)
        if is_own and not _beacons.is_beacon(request):
            return
        log.debug("%s %s: %s", arrival.method, arrival.path, arrival.status)
        self._arrivals.append(arrival)
        if self._on_arrival is not None:
            self._on_arrival(arrival)
