"""Everything `mux_async` raises on purpose.

::

    MuxError
    ├── ConfigurationError (ValueError)     the client cannot be set up like this; nothing was sent
    │   ├── MissingCredentialsError
    │   ├── MissingExtraError               a library that an extra brings is not installed
    │   ├── UnknownArgumentError (TypeError)   a setting has another name here
    │   ├── UnknownTransportError
    │   └── WrongRuntimeError               the transport cannot run on this event loop
    ├── UnknownNameError (AttributeError)   an operation or a part of the client has another name here
    ├── InvalidRequestError (ValueError)    an argument cannot be sent; nothing was
    ├── ClosedError (RuntimeError)          the client was closed
    ├── TransportError                      no complete answer; says what may have reached the server
    │   ├── ConnectError                    no connection: nothing was sent
    │   ├── TransportTimeoutError (TimeoutError)
    │   └── TransportClosedError            the transport was closed: nothing was sent
    ├── DeadlineExceededError (TimeoutError)   the caller's deadline
    │   └── LimitWaitError                  refused at once: the queue is longer than the deadline
    ├── AmbiguousOutcomeError               a write that may or may not have happened, and is not sent again
    ├── ResponseError                       an answer that cannot be used
    │   ├── ResponseTooLargeError
    │   └── UndecodableResponseError
    ├── APIStatusError                      Mux answered with an error status
    │   ├── BadRequestError                 400, 422
    │   ├── AuthenticationError             401
    │   ├── PermissionDeniedError           403
    │   ├── NotFoundError                   404 (or no access: Mux does not distinguish them)
    │   ├── ConflictError                   409
    │   ├── NotReadyError                   412
    │   ├── RateLimitedError                429
    │   └── ServerError                     5xx
    ├── DriftError                          strict mode: Mux sent what this version has no name for
    ├── RepeatedPageError                   a list that does not go on: a cursor came back, or a page
    ├── ProcessingError                     Mux could not make what was waited for
    │   ├── AssetErroredError
    │   ├── DirectiveRunFailedError
    │   ├── JobFailedError
    │   ├── LiveStreamDisabledError
    │   ├── MasterErroredError
    │   ├── StaticRenditionErroredError
    │   └── TrackErroredError
    └── UploadError                         a direct upload that cannot go on

    MuxWarning (UserWarning)                what a request probably says by mistake
    ├── MisspeltArgumentWarning             a member or value that is close to a known one
    └── DeprecatedArgumentWarning (DeprecationWarning)

Catching `MuxError` catches all errors. Cancellation is never turned into an error. No message holds a credential, a body or a
signed URL.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar, cast

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

__all__ = [
    "APIStatusError", "AmbiguousOutcomeError", "AssetErroredError", "Attempt", "AuthenticationError",
    "BadRequestError", "ClosedError", "ConfigurationError", "ConflictError", "ConnectError",
    "DeadlineExceededError", "Delivery", "DeprecatedArgumentWarning", "DirectiveRunFailedError",
    "DriftError", "InvalidRequestError", "JobFailedError", "LimitWaitError", "LiveStreamDisabledError", "MasterErroredError",
    "MissingCredentialsError", "MissingExtraError", "MisspeltArgumentWarning", "MuxError", "MuxWarning",
    "NotFoundError", "NotReadyError", "PermissionDeniedError", "Phase", "ProcessingError", "RateLimitedError",
    "RepeatedPageError", "ResponseError", "ResponseTooLargeError", "ServerError", "StaticRenditionErroredError",
    "TrackErroredError", "TransportClosedError", "TransportError", "TransportTimeoutError",
    "UndecodableResponseError", "UnknownArgumentError", "UnknownNameError", "UnknownTransportError",
    "UploadError", "WrongRuntimeError",
]  # fmt: skip

E = TypeVar("E", bound="MuxError")


class Delivery(enum.Enum):
    """What may have reached the server. On the error of a call, the most that one of its attempts may have done."""

    NEVER_SENT = "never sent"
    """Not one byte of the request left, or the server refused every attempt (429): it may be sent again, whatever it was."""
    MAYBE_PROCESSED = "may have been processed"
    """Bytes left and no answer came, or one that does not say (a 5xx, a 408): the server may have acted, or not."""
    ANSWERED = "answered in part"
    """The head of a success arrived, and its body did not arrive whole or cannot be read: the server has acted on the request."""


class Phase(enum.Enum):
    """The step of an exchange that failed."""

    CONNECT = "connect"
    WRITE = "write"
    READ_HEAD = "read head"
    READ_BODY = "read body"


@attrs.frozen
class Attempt:
    """One time that a request was sent, and its outcome."""

    number: int
    """From 1."""
    queued: float
    """Seconds spent waiting for a grant of the rate limit."""
    elapsed: float
    """Seconds from sending to the end of the answer, or to the failure."""
    status: int | None
    """HTTP status; ``None`` when no head of an answer arrived."""
    request_id: str | None
    """``X-Request-Id`` of the answer: what Mux's support asks for."""
    error: str | None
    """What failed, in words; ``None`` when a complete answer arrived."""
    slept: float = 0.0
    """Seconds between the end of the attempt before and the queue: the pause before a retry, and searches for what it made."""
    head: float | None = None
    """Seconds from sending to the head of the answer, where known: for answers with an error status."""
    phase: Phase | None = None
    """The step that failed; ``None`` when a complete answer arrived, or when it is not known."""
    delivery: Delivery | None = None
    """What the server may have done."""

    def to_dict(self) -> dict[str, object]:
        """Return JSON members."""
        members = attrs.asdict(self)
        return {name: value.value if isinstance(value, enum.Enum) else value for name, value in members.items()}


class MuxError(Exception):
    """The root: everything raised on purpose.

    Attributes:
        attempts: Every time the request was sent; empty if it never was.
        operation: The operation, as in ``POST /video/v1/assets``; ``None`` outside a call.
    """

    attempts: Sequence[Attempt] = ()
    operation: str | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # Python would call the class with `args` alone, and most of the classes below take more: such an error could not be copied, nor
        # come out of another process. Its cause stays behind, as with any exception.
        return _blank, (type(self), self.args), self.__getstate__()

    def to_dict(self) -> dict[str, object]:
        """Return what this error says as JSON members, for a log and for ``mux-async explain``. They hold no secret and no body."""
        members: dict[str, object] = {
            "type": type(self).__name__,
            "message": str(self),
            "operation": self.operation,
            "attempts": [each.to_dict() for each in self.attempts],
        }
        for name in _REPORTED:
            value: object = getattr(self, name, None)
            if isinstance(value, enum.Enum):
                value = value.value
            if isinstance(value, str | int | float):
                members[name] = value
        if isinstance(self.__cause__, MuxError) and self.__cause__ is not self:
            members["cause"] = {"type": type(self.__cause__).__name__, "message": str(self.__cause__)}
        return members


_REPORTED = (
    "status",
    "request_id",
    "delivery",
    "phase",
    "retry_after",
    "advice",
    "deadline",
    "eta",
    "how",
    "once",
    "resumable",
)
"""Attributes of errors that `MuxError.to_dict` includes."""


class MuxWarning(UserWarning):
    """The root of warnings. ``warnings.simplefilter("error", MuxWarning)`` makes errors of them, in tests for example."""


class MisspeltArgumentWarning(MuxWarning):
    """A member of a request, or a value, is not known to this version and close to one that is. It was sent all the same."""


class DeprecatedArgumentWarning(MuxWarning, DeprecationWarning):
    """A member of a request is deprecated; the message says what takes its place."""


def _blank(cls: type[MuxError], args: tuple[object, ...]) -> MuxError:
    made = cls.__new__(cls, *args)
    made.args = args
    return made


def copied(error: E) -> E:
    """Return *error* again, without its traceback: one object raised by two tasks would collect the traceback of both."""
    copy = type(error).__new__(type(error), *error.args)
    vars(copy).update(vars(error))
    if "__notes__" in vars(copy):
        copy.__notes__ = [*error.__notes__]
    copy.__cause__ = error.__cause__
    return copy


class ConfigurationError(MuxError, ValueError):
    """The client cannot be set up like this. Nothing was sent."""


class MissingCredentialsError(ConfigurationError):
    """No access token was given, nor found in the environment."""


class MissingExtraError(ConfigurationError):
    """A part was asked for whose library is not installed."""

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(f"{what} needs {library}: pip install 'mux-async[{extra}]'")
        self.extra = extra


class UnknownArgumentError(ConfigurationError, TypeError):
    """A client or setting has no argument of this name; the message says what it is called here."""


class UnknownNameError(MuxError, AttributeError):
    """A client or a group of operations has nothing of this name; the message says what it is called here."""


class UnknownTransportError(ConfigurationError):
    """No transport of this name is installed."""


class WrongRuntimeError(ConfigurationError):
    """The transport cannot run on the event loop that is running."""

    def __init__(self, transport: str, *, running: str | None, supported: Sequence[str]) -> None:
        able = " and ".join(supported)
        if running is None:
            message = f"the {transport!r} transport was asked for outside an event loop; it runs on {able}"
        else:
            message = (
                f"the {transport!r} transport runs on {able}, and this is {running}; use one that runs here, "
                f"for example Mux(transport='httpx') (pip install 'mux-async[httpx]')"
            )
        super().__init__(message)
        self.running = running
        self.supported: tuple[str, ...] = tuple(supported)


class InvalidRequestError(MuxError, ValueError):
    """An argument cannot be sent. Nothing was."""


class ClosedError(MuxError, RuntimeError):
    """The client was closed, and cannot be used again in the same event loop."""


class TransportError(MuxError):
    """An exchange that did not end in a complete answer. Raised by transports.

    Attributes:
        delivery: What may have reached the server; where a call made several attempts, in any of them.
        phase: The step that failed.
        is_permanent: Whether another attempt would end in the same way, so that none is made.
    """

    is_permanent: bool = False

    def __init__(self, message: str, *, delivery: Delivery, phase: Phase) -> None:
        super().__init__(message)
        self.delivery = delivery
        self.phase = phase


class ConnectError(TransportError):
    """No connection (name, refusal, TLS): nothing was sent. An earlier attempt of the same call may have been: see `delivery`.

    Args:
        message: What happened.
        is_permanent: Whether another attempt would end in the same way: the name does not exist, the certificate is not trusted or is for
            another name, the URL is none. See `mux_async.transport.is_permanent`.
    """

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        super().__init__(message, delivery=Delivery.NEVER_SENT, phase=Phase.CONNECT)
        self.is_permanent = is_permanent


class TransportTimeoutError(TransportError, TimeoutError):
    """A limit of one attempt ran out (`mux_async.transport.Timeouts`)."""


class TransportClosedError(TransportError):
    """The transport was used after ``aclose``: nothing was sent."""

    is_permanent = True

    def __init__(self, transport: str) -> None:
        super().__init__(
            f"the {transport!r} transport is closed; open a new client", delivery=Delivery.NEVER_SENT, phase=Phase.CONNECT
        )


class DeadlineExceededError(MuxError, TimeoutError):
    """The caller's deadline over queue, attempts, waits and body has passed, or would before another attempt.

    What the last attempt came to is ``__cause__``.

    Attributes:
        deadline: Seconds that were allowed.
        delivery: What may have reached the server by then, in any of the attempts.
    """

    def __init__(self, message: str, *, deadline: float, delivery: Delivery) -> None:
        super().__init__(message)
        self.deadline = deadline
        self.delivery = delivery


class LimitWaitError(DeadlineExceededError):
    """The rate limit's queue cannot let the request out before its deadline, so it was refused at once, and not sent (again).

    Attributes:
        eta: Seconds until a grant would have been free.
    """

    def __init__(self, message: str, *, deadline: float, eta: float) -> None:
        super().__init__(message, deadline=deadline, delivery=Delivery.NEVER_SENT)
        self.eta = eta


class AmbiguousOutcomeError(MuxError):
    """A write whose outcome is not known: bytes left, and no answer (or only a part of one) came back.

    It is not sent again, because that could create, and bill, twice. With ``once=``, what it made was looked for, and neither its presence
    nor its absence could be made sure of. The failure is ``__cause__``.

    Attributes:
        status: Status of the answer, when its head arrived; a 2xx means that Mux acted and only the body was lost.
        request_id: ``X-Request-Id``, when known.
        how: How to find out, in words: which operation shows what was made, and what to look for; ``None`` when nothing shows it.
        once: The key that what was made would carry; ``None`` when the call had none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        how: str | None = None,
        once: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.how = how
        self.once = once


class ResponseError(MuxError):
    """A success arrived and cannot be read: the request was acted on. (Of an answer with an error status the status counts.)

    Attributes:
        status: HTTP status of the answer.
        request_id: ``X-Request-Id``, when there was one.
        delivery: Always `Delivery.ANSWERED`.
    """

    delivery = Delivery.ANSWERED

    def __init__(self, message: str, *, status: int, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id


class ResponseTooLargeError(ResponseError):
    """The body is larger than ``max_response_bytes``, before or after decompression, or its compression by far longer than what it holds.
    Reading stopped there."""


class UndecodableResponseError(ResponseError):
    """The body is not what it says it is: a broken compression, not JSON, or not the JSON that belongs there."""


class RepeatedPageError(MuxError):
    """A list does not go on: the server leads back to a page that was read. Nothing after it was asked for.

    Attributes:
        cursor: The one that came back; ``None`` for lists with page numbers.
        page: Number of the page that held nothing but items of the page before; ``None`` for lists with cursors.
    """

    def __init__(self, line: str, *, cursor: str | None, page: int | None) -> None:
        what = (
            f"page {page} is the page before once more: the server ignores page="
            if cursor is None
            else f"cursor {cursor!r:.200} came back: it leads to a page that was read before"
        )
        super().__init__(
            f"{line} does not go on, because {what}; what was read until here is complete, the rest cannot be reached"
        )
        self.cursor = cursor
        self.page = page


class DriftError(MuxError):
    """In strict mode: Mux sent what this version has no name for. The call itself succeeded, unless ``__cause__`` says otherwise.

    Attributes:
        places: What is different and where, as sentences; no content.
    """

    def __init__(self, message: str, *, places: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.places: tuple[str, ...] = tuple(places)


class APIStatusError(MuxError):
    """Mux answered with an error status.

    Attributes:
        status: HTTP status.
        type: Mux's word for it (``invalid_parameters``, ``not_found``, ...); ``None`` when the body had none.
        messages: Mux's sentences, in order; empty when the body had none.
        request_id: ``X-Request-Id``: what Mux's support asks for.
        headers: Of the answer.
        body: Of the answer, decoded JSON, or text when it was not JSON; ``None`` when it was empty, broke off or could not be
            decompressed (then the message says why).
        retry_after: Seconds that the server asked to wait; ``None`` if absent or unparsable.
        advice: What to do about it, in a sentence; ``None`` where Mux's own sentences are all there is to say.
    """

    status: int
    advice: str | None = None
    by_status: ClassVar[dict[int, type[APIStatusError]]] = {}

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str | None,
        messages: Sequence[str],
        request_id: str | None,
        headers: CIMultiDictProxy[str],
        body: object,
        retry_after: float | None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.messages: tuple[str, ...] = tuple(messages)
        self.request_id = request_id
        self.headers = headers
        self.body = body
        self.retry_after = retry_after

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "headers": tuple(self.headers.items())}  # a multidict's proxy can be neither pickled nor copied

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        if state is not None:
            vars(self).update(state, headers=CIMultiDictProxy(CIMultiDict(state["headers"])))

    def __init_subclass__(cls, statuses: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for status in statuses:
            APIStatusError.by_status[status] = cls


_ADVICE = {
    "insufficient_scope": (
        "use an access token that may use this part of the API: permissions are chosen in the dashboard, and Robots has one of its own"
    ),
    "robots_units_limit_exceeded": (
        "the Robots units of this environment are used up: raise the limit in the dashboard, or wait until it begins anew; sending "
        "again does not help"
    ),
    "robots_workflow_not_available": (
        "this workflow is not part of the account's plan: ask Mux to enable it, or use another; sending again does not help"
    ),
}
EVENT_STREAM = "/system/v1/webhook-events/stream"
"""The path of the stream of events, which no description of Mux's API lists (facts/NEWER.md, section 7)."""
_NO_EVENT_STREAM = {
    403: "this token may not read the stream of events: it needs permission to read the system",
    404: "the stream of events is not offered here: receive webhooks at an endpoint (docs/webhooks.md)",
}
_ROBOTS_TERMS = (
    "Robots is refused until its terms are accepted: an administrator of the environment has to accept them in the dashboard"
)


def advice_about(status: int, type: str | None, path: str) -> str | None:
    """Return what to do about an error, where Mux's own sentences do not say; see ``APIStatusError.advice``."""
    if status == 403 and type in {None, "forbidden"} and path.startswith("/robots/"):
        return _ROBOTS_TERMS
    if path == EVENT_STREAM and status in _NO_EVENT_STREAM:
        return _NO_EVENT_STREAM[status]
    return _ADVICE.get(type or "")


class BadRequestError(APIStatusError, statuses=(400, 422)):
    """A parameter is wrong; ``messages`` say which. A malformed id is a 400, an unknown one a 404."""


class AuthenticationError(APIStatusError, statuses=(401,)):
    """The access token is not valid."""


class PermissionDeniedError(APIStatusError, statuses=(403,)):
    """The access token lacks a permission."""


class NotFoundError(APIStatusError, statuses=(404,)):
    """There is no such thing, or this token may not see it."""


class ConflictError(APIStatusError, statuses=(409,)):
    """It clashes with what is there; for Robots, the job exists already."""


class NotReadyError(APIStatusError, statuses=(412,)):
    """The asset or stream is not in the state that this needs yet."""


class RateLimitedError(APIStatusError, statuses=(429,)):
    """Too many requests for the account. The request was not acted on."""


class ServerError(APIStatusError):
    """A 5xx: Mux failed, and a write may or may not have happened."""


class ProcessingError(MuxError):
    """Mux could not make what was waited for. A class of its own for each kind of object.

    Attributes:
        id: Of the object.
        status: Its state, such as ``errored``.
        type: Mux's word for the reason; ``None`` when it gave none.
        messages: Mux's sentences, in order; empty when it gave none.
    """

    _kind: ClassVar[str] = "object"

    def __init__(self, id: str, *, status: str = "errored", type: str | None = None, messages: Sequence[str] = ()) -> None:
        reasons = quote_sentence("; ".join(messages)) or "no reason given"
        super().__init__(f"{self._kind} {id!r} is {status} ({type or 'no type'}): {reasons}")
        self.id = id
        self.status = status
        self.type = type
        self.messages: tuple[str, ...] = tuple(messages)


class AssetErroredError(ProcessingError):
    """Mux could not make an asset of its input.

    Attributes:
        asset_id: The asset; it exists, with status ``errored``.
    """

    _kind = "asset"

    def __init__(self, asset_id: str, *, type: str | None, messages: Sequence[str]) -> None:
        super().__init__(asset_id, type=type, messages=messages)
        self.asset_id = asset_id


class DirectiveRunFailedError(ProcessingError):
    """None of the workflows of a directive run succeeded; ``messages`` are the reasons of those that have one."""

    _kind = "directive run"


class JobFailedError(ProcessingError):
    """A Robots job is ``errored`` or ``cancelled``.

    Attributes:
        is_retryable: Whether the same job may succeed later; ``None`` where Mux does not say.
    """

    _kind = "job"

    def __init__(
        self, id: str, *, status: str, type: str | None, messages: Sequence[str], is_retryable: bool | None = None
    ) -> None:
        super().__init__(id, status=status, type=type, messages=messages)
        self.is_retryable = is_retryable


class LiveStreamDisabledError(ProcessingError):
    """A live stream is disabled, so that no encoder can connect to it until it is enabled."""

    _kind = "live stream"


class MasterErroredError(ProcessingError):
    """The master file of an asset cannot be downloaded: it is ``errored``, or access was not requested. ``id`` is that of the asset."""

    _kind = "master of asset"


class StaticRenditionErroredError(ProcessingError):
    """Mux could not make a static rendition."""

    _kind = "static rendition"


class TrackErroredError(ProcessingError):
    """Mux could not make a track."""

    _kind = "track"


class UploadError(MuxError):
    """A direct upload that cannot go on.

    Attributes:
        upload_id: The upload, when it has one.
        sent: Bytes the server is known to hold.
        resumable: Whether the same session can be resumed later.
    """

    def __init__(self, message: str, *, upload_id: str | None, sent: int, resumable: bool) -> None:
        super().__init__(message)
        self.upload_id = upload_id
        self.sent = sent
        self.resumable = resumable


# A scheme starts where a word starts: a search at every letter of a long word would take time quadratic in its length.
_URL = re.compile(r"(?<![a-z0-9+.-])([a-z0-9+.-]++://)(?:[^\s/?#'\"<>]*@)?([^\s?#'\"<>]*)([?#][^\s'\"<>]*)?", re.IGNORECASE)


def quote_sentence(text: str) -> str:
    """Return a sentence of Mux's as it may stand in a message: without the passwords and queries of URLs, which may be signatures.

    An error about an input repeats its URL.
    """
    return _URL.sub(lambda found: f"{found[1]}{found[2]}{'?...' if found[3] else ''}", text)


def error_class(status: int) -> type[APIStatusError]:
    """Return the class for an error status: a specific one, `ServerError` for any 5xx, else `APIStatusError`."""
    return APIStatusError.by_status.get(status, ServerError if status >= 500 else APIStatusError)


def parse_error_body(body: object) -> tuple[str | None, tuple[str, ...]]:
    """Read the type and messages out of an error body, in any of the shapes Mux uses.

    Known shapes (facts/BEHAVIOUR.md, 1.3; facts/README.md, oddities): ``{"error": {"type", "messages": [..]}}`` from Video,
    Data and System, ``{"error": {"type", "message": ".."}}`` from Robots, and ``{"errors": [".."]}`` with a 429. Anything
    else gives ``(None, ())``.
    """
    if not isinstance(body, Mapping):
        return None, ()
    members = cast("Mapping[str, object]", body)
    error = members.get("error")
    if isinstance(error, Mapping):
        detail = cast("Mapping[str, object]", error)
        kind = detail.get("type")
        found = detail.get("messages", detail.get("message"))
    else:
        kind, found = None, members.get("errors", error)
    if isinstance(found, str):
        found = [found]
    listed = cast("Sequence[object]", found) if isinstance(found, list | tuple) else ()
    messages = tuple(message for message in listed if isinstance(message, str))
    return (kind if isinstance(kind, str) else None), messages
