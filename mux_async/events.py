"""What a client does, as a stream of values for listeners (`Mux.listen`, ``Mux(listeners=[...])``).

A listener is a plain function that takes an event, and is called in the task and context (`contextvars`) of whoever caused it. All events
have an `id`: that of the call, upload, item or webhook delivery they are about, unique in this process. Times (``at``) are those of the
client's clock: monotonic seconds.

The events of one call, in order::

    CallStarted
        ReadShared              it waits for the same GET of another call; no request of its own, unless that one is given up
        GrantWaited             the rate limit made it wait
        AttemptStarted          the request is sent now
        CallThrottled           a 429: the rate limit's bucket is closed, and its rate lowered
        AttemptEnded            exactly one for each AttemptStarted
        CallRetried             it sleeps, and is then sent again: GrantWaited, AttemptStarted, ...
        FoundByKey              what it would make is there already (``once=``)
    CallEnded                   exactly one for each CallStarted

Events hold ids, paths and names of errors. They hold no queries, headers, bodies, credentials or signed URLs.
The values are not frozen, because a call builds several and a frozen one takes three times as long: treat them as immutable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import attrs

from mux_async._operation import Bucket
from mux_async.errors import Delivery

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "CallEnded",
    "CallInfo",
    "CallRetried",
    "CallStarted",
    "CallThrottled",
    "ClientEvent",
    "FoundByKey",
    "GrantWaited",
    "IngestItemChanged",
    "Listener",
    "LiveEventRead",
    "OnRequest",
    "OnResponse",
    "Outcome",
    "OutgoingRequest",
    "ReadShared",
    "ReceivedResponse",
    "RetryReason",
    "UploadEnded",
    "UploadProgressed",
    "UploadStarted",
    "WebhookEnded",
    "WebhookOutcome",
    "WebhookRefused",
    "WebhookStarted",
]  # fmt: skip

Outcome: TypeAlias = Literal["ok", "error", "cancelled"]
"""How something ended. ``cancelled``: by the program, and not by its own deadline, which is an error."""

RetryReason: TypeAlias = Literal["throttled", "status", "not_sent", "no_answer", "broken_answer", "not_found_by_key"]
"""Why a request is sent again: a 429; another status; nothing of it was sent; no answer came; the answer's body broke off; its outcome was
unknown, and what it would have made was searched for and is not there."""

WebhookOutcome: TypeAlias = Literal["handled", "handled before", "no handler", "busy", "failed", "store failed", "cancelled"]
"""How the handling of a webhook ended. ``busy``: another delivery of the event is being handled."""


@attrs.define(eq=False)
class CallInfo:
    """One call, the same object in all its events.

    Attributes:
        id: Unique in this process.
        operation: As a user writes it: ``video.assets.retrieve``; ``request`` for `Mux.request`.
        method: HTTP verb.
        url_template: The path with the names of its parameters: ``/video/v1/assets/{ASSET_ID}``; ``None`` for `Mux.request`, whose path
            is the caller's own.
        server_address: Host that serves it.
        server_port: Its port.
        bucket: Allowance of the account that it counts against; ``None`` for hosts without limits.
        priority: Class of service.
        started_at: When it began.
        deadline: Seconds that it may take; ``None`` for no limit.
        parent: Id of the call that made it, to search for what a create made; ``None`` for a call of the program.
    """

    id: int
    operation: str
    method: str
    url_template: str | None
    server_address: str
    server_port: int
    bucket: Bucket | None
    priority: Literal["interactive", "default", "batch"]
    started_at: float
    deadline: float | None = None
    parent: int | None = None


@attrs.define(eq=False)
class _OfCall:
    """What the events of a call share."""

    call: CallInfo
    at: float

    @property
    def id(self) -> int:
        """Id of the call."""
        return self.call.id


@attrs.define(eq=False)
class CallStarted(_OfCall):
    """A call begins. Its `CallEnded` follows in the same task."""


@attrs.define(eq=False)
class ReadShared(_OfCall):
    """A GET waits for the same one, which another call has sent.

    Attributes:
        leader: The call that has sent it; ``None`` if that began before there was a listener.
    """

    leader: CallInfo | None


@attrs.define(eq=False)
class GrantWaited(_OfCall):
    """A call has waited in the queue of the rate limit and has its grant. Calls that did not have to wait have no such event.

    Attributes:
        bucket: The queue.
        waited: Seconds in the queue.
        ahead: Requests that were in the queue when it came.
    """

    bucket: Bucket
    waited: float
    ahead: int

    @property
    def priority(self) -> Literal["interactive", "default", "batch"]:
        """Class of service of the call."""
        return self.call.priority


@attrs.define(eq=False)
class AttemptStarted(_OfCall):
    """A request is about to be sent.

    Attributes:
        number: From 1. ``number - 1`` is OpenTelemetry's ``http.request.resend_count``.
        queued: Seconds that it waited for its grant.
        path: Of the URL, without the query.
    """

    number: int
    queued: float
    path: str


@attrs.define(eq=False)
class AttemptEnded(_OfCall):
    """A request was answered, or failed, or was cut off.

    Attributes:
        number: From 1.
        elapsed: Seconds since it was sent.
        status: HTTP status; ``None`` when no head of an answer arrived.
        request_id: ``X-Request-Id`` of the answer.
        error: Name of the class of what went wrong with the exchange; ``None`` when an answer arrived whole, of whatever status.
        delivery: What the server may have done.
    """

    number: int
    elapsed: float
    status: int | None
    request_id: str | None
    error: str | None
    delivery: Delivery


@attrs.define(eq=False)
class CallThrottled(_OfCall):
    """A request was answered 429.

    Attributes:
        bucket: It counted against this one; ``None`` if the client's limits are off, and the next two with it.
        closed_for: Seconds for which the bucket is closed now.
        rate: Requests a second from then on, as learned.
        retry_after: Seconds that the server asked for; ``None`` if it did not.
    """

    bucket: Bucket | None
    closed_for: float | None
    rate: float | None
    retry_after: float | None


@attrs.define(eq=False)
class CallRetried(_OfCall):
    """An attempt failed, and the request is sent again.

    Attributes:
        number: Of the attempt that failed, from 1.
        reason: Why.
        error: Name of the class of the failure.
        status: Of the answer, if there was one.
        delay: Seconds that the call sleeps first; after a 429 it waits in the queue instead.
    """

    number: int
    reason: RetryReason
    error: str
    status: int | None
    delay: float


@attrs.define(eq=False)
class FoundByKey(_OfCall):
    """A create with an idempotency key did not make another object: what it stands for was found, or another call with the key made it.

    Attributes:
        attempts: Times that the request was sent before.
    """

    attempts: int


@attrs.define(eq=False)
class CallEnded(_OfCall):
    """A call has ended.

    Attributes:
        outcome: How.
        elapsed: Seconds since it began.
        attempts: Times that the request was sent by this call.
        status: Of the last answer; for a shared read that of the other call.
        request_id: Of the last answer.
        error: Name of the class of the error; ``None`` for a success.
        delivery: What the server may have done in the attempts of this call, the most.
        is_shared: Whether another call's request answered it.
        is_found: Whether it was found by its idempotency key.
    """

    outcome: Outcome
    elapsed: float
    attempts: int
    status: int | None
    request_id: str | None
    error: str | None
    delivery: Delivery
    is_shared: bool
    is_found: bool


@attrs.define(eq=False)
class UploadStarted:
    """Bytes of a direct upload are about to be sent.

    Attributes:
        id: Of this run of the upload.
        at: When.
        upload_id: The upload; ``None`` if only its URL is known.
        size: Bytes of the source; ``None`` if not known.
        held: Bytes that the server holds already, of an earlier run.
    """

    id: int
    at: float
    upload_id: str | None
    size: int | None
    held: int


@attrs.define(eq=False)
class UploadProgressed:
    """More bytes were handed to the network.

    Attributes:
        id: Of this run of the upload.
        at: When.
        upload_id: The upload; ``None`` if only its URL is known.
        sent: Bytes so far, counting those of earlier runs; bytes that are sent again do not count twice.
        added: Bytes since the event before.
        size: Bytes of the source; ``None`` if not known.
    """

    id: int
    at: float
    upload_id: str | None
    sent: int
    added: int
    size: int | None


@attrs.define(eq=False)
class UploadEnded:
    """The bytes were sent, or not.

    Attributes:
        id: Of this run of the upload.
        at: When.
        upload_id: The upload; ``None`` if only its URL is known.
        outcome: How.
        elapsed: Seconds since it began.
        sent: Bytes handed to the network, counting those of earlier runs.
        held: Bytes that the server is known to hold.
        requests: Requests to the upload host.
        error: Name of the class of the error; ``None`` for a success.
    """

    id: int
    at: float
    upload_id: str | None
    outcome: Outcome
    elapsed: float
    sent: int
    held: int
    requests: int
    error: str | None


@attrs.define(eq=False)
class IngestItemChanged:
    """An item of an ingest is in another state.

    Attributes:
        id: Of the item in this run.
        at: When.
        key: Of the item: its asset's ``meta.external_id``.
        stage: ``planned``, ``creating``, ``created``, ``sending``, ``sent``, ``waiting``, ``done`` or ``dead``.
        before: The stage before; ``None`` for the first event of an item in this run.
        asset_id: The asset, when known.
        upload_id: The upload, when known.
        error: Name of the class of the error of a dead item.
        is_skipped: Whether it was finished before this run.
    """

    id: int
    at: float
    key: str
    stage: str
    before: str | None
    asset_id: str | None
    upload_id: str | None
    error: str | None
    is_skipped: bool = False


@attrs.define(eq=False)
class WebhookStarted:
    """A delivery is authentic, and its handlers are about to be called.

    Attributes:
        id: Of this delivery.
        at: When.
        type: Mux's event type: ``video.asset.ready``.
        event_id: Mux's id of the event.
    """

    id: int
    at: float
    type: str
    event_id: str


@attrs.define(eq=False)
class WebhookEnded:
    """The handlers of a delivery have ended.

    Attributes:
        id: Of this delivery.
        at: When.
        type: Mux's event type.
        event_id: Mux's id of the event.
        outcome: How.
        status: That the delivery is answered with; ``None`` if it was cancelled.
        elapsed: Seconds since `WebhookStarted`.
    """

    id: int
    at: float
    type: str
    event_id: str
    outcome: WebhookOutcome
    status: int | None
    elapsed: float


@attrs.define(eq=False)
class WebhookRefused:
    """A delivery is not authentic, too large, or not an event. No handler was called.

    Attributes:
        id: Of this delivery.
        at: When.
        reason: In a few words.
        status: That it is answered with.
    """

    id: int
    at: float
    reason: str
    status: int


@attrs.define(eq=False)
class LiveEventRead:
    """The program read an event of a live stream.

    Attributes:
        id: Of the watch that it was read from.
        at: When.
        type: ``video.live_stream.active``, ...
        live_stream_id: The live stream.
        asset_id: The recording, when known.
        is_webhook: Whether a webhook brought it; otherwise a poll found it.
        buffered: Events that are still to be read.
    """

    id: int
    at: float
    type: str
    live_stream_id: str
    asset_id: str | None
    is_webhook: bool
    buffered: int


ClientEvent: TypeAlias = (
    CallStarted
    | ReadShared
    | GrantWaited
    | AttemptStarted
    | AttemptEnded
    | CallThrottled
    | CallRetried
    | FoundByKey
    | CallEnded
    | UploadStarted
    | UploadProgressed
    | UploadEnded
    | IngestItemChanged
    | WebhookStarted
    | WebhookEnded
    | WebhookRefused
    | LiveEventRead
)
"""Any event that a listener gets."""
Listener: TypeAlias = Callable[[ClientEvent], object]
"""Called with every event. It must return at once: the call waits for it. For work that waits, put the event into a memory stream."""


@attrs.define(eq=False)
class OutgoingRequest:
    """A request that is about to be sent, for ``on_request``.

    Attributes:
        call: The call.
        number: Of the attempt, from 1.
        path: Of the URL, without the query.
    """

    call: CallInfo
    number: int
    path: str


@attrs.define(eq=False)
class ReceivedResponse:
    """An answer of any status, for ``on_response``. With a success its body has arrived, unless it is streamed.

    Attributes:
        call: The call.
        number: Of the attempt, from 1.
        status: HTTP status.
        headers: Of the answer, names in any case. Unlike events they are Mux's, unfiltered.
        request_id: ``X-Request-Id``.
        elapsed: Seconds since the request was sent.
    """

    call: CallInfo
    number: int
    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    request_id: str | None
    elapsed: float


OnRequest: TypeAlias = Callable[[OutgoingRequest], Mapping[str, str] | None]
"""Returns headers to add to a request, or ``None``. Called for every attempt, just before it is sent."""
OnResponse: TypeAlias = Callable[[ReceivedResponse], object]
"""Called with every answer."""
