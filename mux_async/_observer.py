"""Reports one call to listeners (`mux_async.events`). Only calls that begin while there are listeners have an observer.

It sits beside the path of a request: `Engine.call` makes one, `Engine._send` and `Recovery` call it, and `__exit__` reports the end of the
call, whatever that is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mux_async._classify import RANK
from mux_async._listeners import Listening, next_id, notify
from mux_async._operation import Host
from mux_async._wire import merge_headers, origin
from mux_async.errors import Delivery, InvalidRequestError
from mux_async.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallInfo,
    CallRetried,
    CallStarted,
    CallThrottled,
    ClientEvent,
    FoundByKey,
    GrantWaited,
    Outcome,
    OutgoingRequest,
    ReadShared,
    ReceivedResponse,
    RetryReason,
)
from mux_async.transport import HttpRequest

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mux_async._config import Config
    from mux_async._operation import Bucket, Operation
    from mux_async._response import Answer, AttemptRecord
    from mux_async.limits import Priority
    from mux_async.limits._account import AccountLimits

_API: Final = Host.API  # looking a member up in its enum is a call, up to Python 3.11
_NEVER_SENT: Final = Delivery.NEVER_SENT
_RESERVED: Final = frozenset({"accept-encoding", "authorization", "content-encoding", "content-type"})
"""Headers that ``on_request`` may not set, beside those that `check_headers` leaves to the transport."""


class CallObserver:
    """Reports one call to *entries*. A context manager around the call; *parent* is the call that makes it."""

    __slots__ = (
        "_answer", "_attempts", "_clock", "_delivery", "_entries", "_is_shared", "_last", "_open", "_original",
        "announce", "info",
    )  # fmt: skip

    def __init__(
        self,
        entries: tuple[Listening, ...],
        operation: Operation[Any],
        config: Config,
        priority: Priority,
        deadline: float | None,
        parent: CallInfo | None = None,
    ) -> None:
        self._entries = entries
        self._clock = config.clock
        is_api = operation.host is _API
        address, port = _address(config.base_url if is_api else origin(operation.host, config))
        self.info: CallInfo = CallInfo(
            next_id(),
            operation.id,
            operation.method,
            None if operation.id == "request" else operation.path,
            address,
            port,
            operation.bucket,
            priority,
            config.clock(),
            deadline,
            None if parent is None else parent.id,
        )
        self.announce: Callable[[], Awaitable[None]] | None = None
        """Awaited before each attempt; what it raises keeps the request from being sent (`KeyGuard`)."""
        self._original: HttpRequest | None = None
        self._attempts = 0
        self._open: float | None = None
        """When the attempt that is under way began."""
        self._last: AttemptRecord | None = None
        self._answer: Answer | None = None
        self._delivery = _NEVER_SENT
        self._is_shared = False

    def _notify(self, event: ClientEvent) -> None:
        notify(self._entries, event)

    def __enter__(self) -> Self:
        self._notify(CallStarted(self.info, self.info.started_at))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        now, answer, last = self._clock(), self._answer, self._last
        if self._open is not None:  # its end was not seen: a listener was interrupted
            self._report_end(now, None, _name(error), Delivery.MAYBE_PROCESSED)
        is_found = answer is not None and answer.is_reconciled
        if is_found:
            self._notify(FoundByKey(self.info, now, self._attempts))
        status, request_id = (None, None) if last is None else (last.status, last.request_id)
        if answer is not None:
            status, request_id = answer.response.status, answer.response.headers.get("X-Request-Id")
        if error is not None:
            found: object = getattr(error, "status", None)
            status = found if isinstance(found, int) else status
        self._notify(
            CallEnded(
                self.info,
                now,
                outcome_of(error),
                now - self.info.started_at,
                self._attempts,
                status,
                request_id,
                _name(error),
                self._delivery,
                self._is_shared,
                is_found,
            )
        )

    def answered(self, answer: Answer) -> None:
        """Take note of what the call returns."""
        self._answer = answer

    def shares(self, leader: CallObserver | None) -> None:
        """Report that the call waits for the GET of another one."""
        self._is_shared = True
        self._notify(ReadShared(self.info, self._clock(), None if leader is None else leader.info))

    def leads(self) -> None:
        """Take note that the call sends its own request after all."""
        self._is_shared = False

    def waited(self, bucket: Bucket, seconds: float, ahead: int) -> None:
        """Report a wait for a grant."""
        self._notify(GrantWaited(self.info, self._clock(), bucket, seconds, ahead))

    def attempt_started(self, request: HttpRequest, queued: float) -> HttpRequest:
        """Report an attempt, and return the request with the headers of ``on_request``."""
        if not self._entries:
            return request
        if self._original is None:
            self._original = request
        request = self._original  # without the headers of the attempt before
        self._attempts += 1
        self._open = self._clock()
        url = request.url
        path = url[url.find("/", url.find("://") + 3) :].partition("?")[0]
        notify(self._entries, AttemptStarted(self.info, self._open, self._attempts, queued, path))
        for each in self._entries:
            if each.recorder is not None:
                each.call(partial(each.recorder.on_request, self.info), request)
            if each.on_request is not None and each.is_active:
                request = self._with_headers(each, each.on_request, request, path)
        return request

    def _with_headers(
        self, listening: Listening, on_request: Callable[[OutgoingRequest], Any], request: HttpRequest, path: str
    ) -> HttpRequest:
        about = OutgoingRequest(self.info, self._attempts, path)
        try:
            extra = on_request(about)
            if not extra:
                return request
            if reserved := sorted(str(name) for name in extra if str(name).lower() in _RESERVED):
                raise InvalidRequestError(f"on_request may not set the header {reserved[0]!r}; it adds headers of its own")
            headers = merge_headers(request.headers, extra)
            return HttpRequest(request.method, request.url, headers, request.body, request.timeouts)
        except Exception as error:  # noqa: BLE001 - logged; the request goes out without these headers
            listening.failed(on_request, about, error)
            return request

    def attempt_ended(self, record: AttemptRecord, cut_off_by: BaseException | None = None) -> None:
        """Report the end of an attempt, with the exception that cut it off."""
        if self._open is None:
            return
        self._last = record
        error = cut_off_by or record.failure
        self._report_end(self._clock() if record.ended_at is None else record.ended_at, record, _name(error), record.delivery)

    def _report_end(self, now: float, record: AttemptRecord | None, error: str | None, delivery: Delivery) -> None:
        started, self._open = self._open, None
        if self._delivery is _NEVER_SENT or RANK[delivery] > RANK[self._delivery]:
            self._delivery = delivery
        status, request_id = (None, None) if record is None else (record.status, record.request_id)
        elapsed = 0.0 if started is None else now - started
        self._notify(AttemptEnded(self.info, now, self._attempts, elapsed, status, request_id, error, delivery))
        for each in self._entries:
            if each.recorder is not None and record is not None:
                each.call(partial(each.recorder.on_answer, self.info), record)
        if record is not None and record.response is not None:
            headers, status = record.response.headers, record.response.status
            for each in self._entries:
                if each.on_response is not None:
                    each.call(
                        each.on_response, ReceivedResponse(self.info, self._attempts, status, headers, request_id, elapsed)
                    )

    def throttled(
        self, record: AttemptRecord, limits: AccountLimits, closed_for: float | None, retry_after: float | None
    ) -> None:
        """Report a 429."""
        bucket = None if record.grant is None else record.grant.bucket
        rate = None if bucket is None else limits.rate(bucket)
        self._notify(CallThrottled(self.info, self._clock(), bucket, closed_for, rate, retry_after))

    def retried(self, record: AttemptRecord, delay: float) -> None:
        """Report that the request is sent again after *record*."""
        self._notify(
            CallRetried(
                self.info,
                self._clock(),
                self._attempts,
                _reason(record),
                _name(record.problem) or "",
                record.status,
                delay,
            )
        )


def _reason(record: AttemptRecord) -> RetryReason:
    if record.is_searched:
        return "not_found_by_key"
    status = record.status
    if status is None:
        return "not_sent" if record.delivery is Delivery.NEVER_SENT else "no_answer"
    if 199 < status < 300:
        return "broken_answer"
    return "throttled" if status == 429 else "status"


def _name(error: BaseException | None) -> str | None:
    return None if error is None else type(error).__name__


def outcome_of(error: BaseException | None) -> Outcome:
    """Return how something ended that raised *error*. What is no `Exception` comes from outside: a cancellation, an interrupt."""
    return "ok" if error is None else "error" if isinstance(error, Exception) else "cancelled"


@cache
def _address(origin: str) -> tuple[str, int]:
    """Return host and port of an origin."""
    parts = urlsplit(origin)
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
