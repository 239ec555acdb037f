"""Verify a delivery, handle its event once, and return the response.

Independent of web frameworks: adapters pass headers and the chunks of the body, and get a status. Rules of the file:

1. No handler runs for a delivery that is not verified.
2. 200 means *handled*: by these handlers, now or before. Mux repeats a delivery with any other response for 24 hours
   (facts/BEHAVIOUR.md, section 7.1), so a doubtful outcome never gets a 200.
3. Of concurrent deliveries of one event, one runs the handlers. The others get a 409 at once and do not wait: Mux closes the connection
   after 5 s and repeats the delivery anyway.
4. The timeout of the handlers is shorter than the lease of the claim, so that they cannot run twice at the same time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from uuid import uuid4

import anyio
import attrs

from mux_async._checks import check_callable, check_number, check_text, wrong
from mux_async._tracebacks import clear_locals, hides_methods
from mux_async._types import Secret
from mux_async.errors import MuxError
from mux_async.webhooks._errors import BodyTooLargeError, EventStoreError, SignatureError, WebhookError
from mux_async.webhooks._handlers import AnyHandler, HandlerEntry, make_entry
from mux_async.webhooks._headers import Headers, content_length, find_signature, pairs_of
from mux_async.webhooks._open_store import open_event_store
from mux_async.webhooks._registration import HandlerDecorator, HandlerRegistration
from mux_async.webhooks._signature import MAX_BODY, TOLERANCE, Body, Secrets, make_verifier
from mux_async.webhooks._store import Claim, EventKey, EventStore, MemoryEventStore
from mux_async.webhooks._unwrap import verify_and_parse

if TYPE_CHECKING:
    from mux_async._listeners import Listeners, Listening
    from mux_async.events import Listener
    from mux_async.webhooks._event import Event
    from mux_async.webhooks.events import WebhookEvent

logger = logging.getLogger(__name__)

_MARGIN: Final = 15.0
"""Seconds by which a claim's lease is longer than the handlers' timeout: to record the result, and for clocks that differ."""


class EventListener(Protocol):
    """Receives every verified event; `mux_async.Mux` is one."""

    def webhook_received(self, event: Event) -> None:
        """Process an event. Returns at once."""
        ...


@attrs.frozen
class WebhookAnswer:
    """The response to a delivery.

    Attributes:
        status: HTTP status. 200: handled, now or before, or no handler. 400: not verified, or not an event. 409: another delivery of the
            event is being handled. 413: too large. 500: a handler failed. 503: the store of handled events failed.
        text: A few words, which Mux's list of deliveries shows.
    """

    status: int
    text: str


@hides_methods
class WebhookRouter(HandlerRegistration):
    """Calls the handlers of webhook events.

    ::

        hooks = WebhookRouter()  # MUX_WEBHOOK_SECRET


        @hooks.on("video.asset.ready")
        async def publish(event: AssetEvent) -> None:
            await database.publish(event.data.id)

    `mux_async.webhooks.starlette` and the modules for other frameworks turn a router into an endpoint.

    Args:
        secrets: The secret of the endpoint; several during a change of the secret, or for several endpoints. ``None`` for the secret in
            ``MUX_WEBHOOK_SECRET``.
        store: Remembers handled events, so that no event is handled twice: a store or its URL: ``sqlite:///path`` for the processes of one
            host, ``redis://...`` for several hosts. ``None`` remembers them in the memory of this process.
        name: Name of the program in the store. Programs with the same name share the events; with different names, each handles all events.
        tolerance: Maximum difference in seconds between a signature's time and now, in both directions.
        max_body: Maximum bytes of a body; a larger one gets a 413 before it is read.
        timeout: Seconds for all handlers of an event together; then they are cancelled, which counts as a failure. Mux itself waits 5 s and
            then repeats the delivery, which gets a 409 or 200.
        clock: Returns Unix seconds.
        listeners: Called with events about deliveries, as with `listen`.

    Raises:
        ConfigurationError: There is no secret, a secret is not valid, or the URL of the store is not valid.
    """

    def __init__(
        self,
        secrets: Secrets = None,
        *,
        store: EventStore | str | Secret | None = None,
        name: str = "default",
        tolerance: float = TOLERANCE,
        max_body: int = MAX_BODY,
        timeout: float = 30.0,
        clock: Callable[[], float] = time.time,
        listeners: Iterable[Listener] = (),
    ) -> None:
        takes = "it is seconds, more than 0 and finite, because the events of a crashed process are blocked that long"
        check_number("timeout", timeout, takes, above=0)
        check_text("name", name)
        check_callable("clock", clock, "it must be a function that returns Unix seconds")
        self._verifier = make_verifier(secrets, tolerance, max_body)
        if store is None:
            store = MemoryEventStore()
        elif not isinstance(store, str | Secret) and not callable(getattr(store, "claim", None)):
            raise wrong("store", store, "it must be an event store, the URL of one, or None")
        self._store: EventStore = open_event_store(store) if isinstance(store, str | Secret) else store
        self._name = name
        self._timeout = timeout
        self._clock = clock
        self._handlers: list[HandlerEntry] = []
        self._clients: list[EventListener] = []
        self._listeners: Listeners | None = None
        for listener in listeners:
            self.listen(listener)

    def _register(self, wanted: tuple[object, ...], *, latest: bool, allow_unknown: bool) -> HandlerDecorator[Any]:
        def register(handler: AnyHandler) -> AnyHandler:
            self._handlers.append(make_entry(handler, wanted, latest=latest, allow_unknown=allow_unknown))
            return handler

        return register

    def attach(self, mux: EventListener) -> None:
        """Pass every authentic event to a client (`Mux.webhook_received`), so that its tasks that wait for an asset wake at once.

        Deliveries must arrive in the event loop of the waiting tasks. Attaching a client again has no effect.
        """
        if all(mux is not each for each in self._clients):
            self._clients.append(mux)

    def listen(self, on_event: Listener) -> Listening:
        """Call a function with `WebhookStarted`, `WebhookEnded` and `WebhookRefused` of every delivery from now on.

        Listeners of attached clients get them too. It is called in the task of the delivery, whose handlers run in the same context. It
        must return at once. What it raises is logged and does not affect the delivery.

        Returns:
            What ends it: by `Listening.remove`, or at the end of a ``with`` block.

        Raises:
            ConfigurationError: The function cannot be called, or is asynchronous.
        """
        from mux_async._listeners import Listeners, creation

        with creation:
            if self._listeners is None:
                self._listeners = Listeners()
        return self._listeners.add(on_event, None, None)

    async def check_store(self) -> None:
        """Ask the store of handled events something, for `Mux.health`.

        Raises:
            EventStoreError: It does not answer.
        """
        await self._store.newest(f"{self._name} health")

    async def aclose(self) -> None:
        """Close the store's connections of the running event loop. The router can be used again afterwards."""
        await self._store.aclose()

    async def answer(self, headers: Headers, chunks: AsyncIterable[bytes]) -> WebhookAnswer:
        """Read a delivery and handle it. For adapters to web frameworks.

        A body without a signature, or with a ``Content-Length`` above the limit, is not read; of others, at most one chunk beyond the
        limit is read.

        Args:
            headers: Headers of the request.
            chunks: The raw body.
        """
        bound = self._verifier.max_body
        try:
            signature = find_signature(pairs := pairs_of(headers))
            if content_length(pairs) > bound:
                return self._refuse(_too_large(bound))
            body = await _read(chunks, bound)
        except SignatureError as error:
            return self.refuse(error)
        if body is None:
            return self._refuse(_too_large(bound))
        return await self.receive(body, signature)

    async def receive(self, body: Body, headers: Headers) -> WebhookAnswer:
        """Handle a delivery whose body was read: verify it, claim the event, run the handlers, and record the result.

        Cancelling it cancels the handlers and releases the event. Exceptions of handlers are logged, with their tracebacks.

        Args:
            body: The bytes as they arrived.
            headers: Headers of the request, or only the text of the signature. Only ``Mux-Signature`` is read.
        """
        try:
            event = verify_and_parse(self._verifier, body, headers, self._clock())
        except BodyTooLargeError:
            return self._refuse(_too_large(self._verifier.max_body))
        except WebhookError as error:
            return self.refuse(error)
        if not isinstance(cast("object", event.id), str) or not event.id or not isinstance(cast("object", event.type), str):
            text = "a delivery was refused: the signature is valid, but the body is not an event with id and type"
            logger.warning(text, extra={"mux_reason": "not_an_event", "mux_status": 400})
            return self._refuse(WebhookAnswer(400, "refused: not an event"))
        listening = self._listening
        if not listening:
            return await self._handle(event)
        from mux_async.webhooks._reports import report_delivery

        return await report_delivery(listening, event, self._handle)

    @property
    def _listening(self) -> list[Listeners]:
        """Those of this router and of the attached clients."""
        found: list[Listeners | None] = [self._listeners, *(getattr(each, "_mux_listeners", None) for each in self._clients)]
        return [each for each in found if each is not None]

    def refuse(self, error: WebhookError) -> WebhookAnswer:
        """Return the response to a delivery that must not be handled, and log why. For adapters to web frameworks."""
        return self._refuse(refused(error))

    def _refuse(self, answer: WebhookAnswer) -> WebhookAnswer:
        if listening := self._listening:
            from mux_async.webhooks._reports import report_refusal

            report_refusal(listening, answer.text.removeprefix("refused: "), answer.status)
        return answer

    async def _handle(self, event: WebhookEvent) -> WebhookAnswer:
        self._pass_on(event)
        entries = [each for each in self._handlers if each.matches(event)]
        if not entries:
            return WebhookAnswer(200, "no handler")
        try:
            return await self._handle_once(event, entries)
        except EventStoreError as error:
            extra = _extra(event)
            logger.error("%s %s is not handled now: %s", event.type, event.id, error, extra=extra)  # noqa: TRY400 - no news in it
            return WebhookAnswer(503, "the store of events cannot be used")

    async def is_stale(self, event: Event) -> bool:
        """Whether a newer event about the same object was handled, or is being handled.

        Raises:
            EventStoreError: The store failed.
        """
        key = self._key(event)
        newest = None if key.subject is None else await self._store.newest(key.subject)
        return newest is not None and newest > key.at

    def _pass_on(self, event: WebhookEvent) -> None:
        for client in self._clients:
            try:
                client.webhook_received(event)
            except MuxError as error:  # a closed client is no reason to refuse the event
                logger.warning("%s %s was not passed to a client: %s", event.type, event.id, error, extra=_extra(event))

    def _key(self, event: Event) -> EventKey:
        subject: str | None = None
        at = 0
        if isinstance(cast("object", event.created_at), datetime):
            kind, object_id = (getattr(event.object, name, None) for name in ("type", "id"))
            if isinstance(kind, str) and isinstance(object_id, str):
                subject = f"{self._name}:{kind}:{object_id}"
                at = round(event.created_at.timestamp() * 1_000_000)
        return EventKey(f"{self._name}:{event.id}", subject, at)

    async def _handle_once(self, event: WebhookEvent, entries: list[HandlerEntry]) -> WebhookAnswer:
        key, token = self._key(event), uuid4().hex
        claim = await self._store.claim(key, token, self._timeout + _MARGIN)
        if claim.state == "done":
            return WebhookAnswer(200, "handled before")
        if claim.state == "busy":
            return WebhookAnswer(409, "another delivery of the event is being handled; deliver again later")
        is_done = False
        try:
            is_done = await self._run(event, entries, claim)
        finally:
            if not is_done:
                await self._release(event, key, token)
        if not is_done:
            return WebhookAnswer(500, "a handler failed")
        with anyio.CancelScope(shield=True):  # the handlers have finished, and this must be recorded
            await self._store.finish(key)
        return WebhookAnswer(200, "handled")

    async def _run(self, event: WebhookEvent, entries: list[HandlerEntry], claim: Claim) -> bool:
        current: HandlerEntry | None = None
        try:
            with anyio.move_on_after(self._timeout) as scope:
                for current in entries:
                    if not (current.latest and claim.is_stale):
                        await current.handler(event)
        except Exception as error:
            clear_locals(error)
            # Without the frame of this method, which references the event.
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            message = "the handler %s failed on %s %s; Mux will deliver it again"
            logger.error(message, _name(current), event.type, event.id, exc_info=error, extra=_extra(event))  # noqa: TRY400
            return False
        if scope.cancelled_caught:
            logger.error(
                "the handler %s was cancelled on %s %s: it took longer than %g s; Mux will deliver it again",
                _name(current),
                event.type,
                event.id,
                self._timeout,
                extra=_extra(event),
            )
            return False
        return True

    async def _release(self, event: WebhookEvent, key: EventKey, token: str) -> None:
        with anyio.CancelScope(shield=True):  # short; otherwise the event would be blocked until the claim expires
            try:
                await self._store.release(key, token)
            except EventStoreError as error:
                logger.warning("%s; the event is free again when its claim expires", error, extra=_extra(event))


async def _read(chunks: AsyncIterable[bytes], bound: int) -> bytes | None:
    """Return the body; ``None`` if it is larger than *bound*."""
    body = bytearray()
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) > bound:
                return None
    finally:
        # An unfinished generator must be closed here: not every event loop does it later.
        if isinstance(chunks, AsyncGenerator):
            await cast("AsyncGenerator[bytes, None]", chunks).aclose()
    return bytes(body)


def _too_large(bound: int) -> WebhookAnswer:
    extra = {"mux_reason": "too_large", "mux_status": 413}
    logger.warning(
        "a delivery was refused: its body is larger than %d bytes; if Mux sent it, raise max_body", bound, extra=extra
    )
    return WebhookAnswer(413, f"refused: larger than {bound} bytes")


def refused(error: WebhookError) -> WebhookAnswer:
    """Return the response to a delivery that must not be handled, and log why."""
    reason = error.reason if isinstance(error, SignatureError) else "not_an_event"
    logger.warning("a delivery was refused: %s", error, extra={"mux_reason": reason, "mux_status": 400})
    return WebhookAnswer(400, f"refused: {reason.replace('_', ' ')}")


def _extra(event: WebhookEvent) -> dict[str, object]:
    """Return the fields of a log line about *event*."""
    return {"mux_event_type": event.type, "mux_event_id": event.id}


def _name(entry: HandlerEntry | None) -> str:
    return "?" if entry is None else getattr(entry.handler, "__qualname__", repr(entry.handler))
