"""From a delivery to its answer: verified, handled once, and acknowledged when that is done.

Independent of any framework: adapters hand in headers and the chunks of the body, and get a status. Rules of the file:

1. Nothing runs for a delivery that is not authentic.
2. 200 means *handled*: by these handlers, now or before. Anything else makes Mux deliver the event again, for 24 hours
   (facts/BEHAVIOUR.md, section 7.1), so whatever is in doubt is answered with something else.
3. Of deliveries of the same event at the same time, one runs the handlers. The others are answered 409 at once rather than made to wait:
   Mux hangs up after 5 s, and asks again anyway.
4. A handler gets less time than its claim lasts, so that no second one can start while it runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable
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
from mux_async.webhooks._handlers import AnyHandler, Registered, register
from mux_async.webhooks._headers import Headers, content_length, find_signature, pairs_of
from mux_async.webhooks._open_store import open_event_store
from mux_async.webhooks._registration import Registration, Takes
from mux_async.webhooks._signature import MAX_BODY, TOLERANCE, Body, Secrets, verifier
from mux_async.webhooks._store import Claim, EventStore, MemoryEventStore, Sighting
from mux_async.webhooks._unwrap import open_delivery

if TYPE_CHECKING:
    from mux_async.webhooks._event import Event
    from mux_async.webhooks.events import WebhookEvent

logger = logging.getLogger(__name__)

_MARGIN: Final = 15.0
"""Seconds that a claim outlasts the handlers' time: to note that they are done, and for clocks that differ."""


class EventListener(Protocol):
    """Something that wants every authentic event; `mux_async.Mux` is one."""

    def webhook_received(self, event: Event) -> None:
        """Take an event. Returns at once."""
        ...


@attrs.frozen
class WebhookAnswer:
    """What to answer a delivery.

    Attributes:
        status: HTTP status. 200: handled, now or before, or nothing to do. 400: not authentic, or no event. 409: being handled by another
            delivery. 413: too large. 500: a handler failed. 503: what was handled cannot be found out now.
        text: A few words for whoever looks at Mux's list of deliveries.
    """

    status: int
    text: str


@hides_methods
class WebhookRouter(Registration):
    """Handlers of webhook events, and the way of a delivery to them.

    ::

        hooks = WebhookRouter()  # MUX_WEBHOOK_SECRET


        @hooks.on("video.asset.ready")
        async def publish(event: AssetEvent) -> None:
            await database.publish(event.data.id)

    `mux_async.webhooks.starlette` and its neighbours make endpoints of it.

    Args:
        secrets: The endpoint's secret; several while it is being changed, or when several endpoints lead here. ``None`` for that in
            ``MUX_WEBHOOK_SECRET``.
        store: What was handled, so that nothing is handled twice: a store, or its URL: ``sqlite:///path`` for the processes of a host,
            ``redis://...`` for those of many. ``None`` keeps it in memory, for one process and until it ends.
        name: Whose events these are in the store. Programs of the same name share the work; of different names, each handles every event.
        tolerance: Seconds between a signature and now, either way.
        max_body: Bytes; a larger body is answered 413 before it is read.
        timeout: Seconds that the handlers of an event may take together; what takes longer is cancelled, and counts as failed. Mux itself
            waits 5 s and then delivers again, which is answered 409 or 200.
        clock: Unix seconds.

    Raises:
        ConfigurationError: There is no secret, one that cannot be right, or a URL that names no store.
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
    ) -> None:
        takes = "it is seconds, more than 0, and has an end so that a crash has one too"
        check_number("timeout", timeout, takes, above=0)
        check_text("name", name)
        check_callable("clock", clock, "it must be a function that returns Unix seconds")
        self._verifier = verifier(secrets, tolerance, max_body)
        if store is None:
            store = MemoryEventStore()
        elif not isinstance(store, str | Secret) and not callable(getattr(store, "claim", None)):
            raise wrong("store", store, "it must be an event store, the URL of one, or None")
        self._store: EventStore = open_event_store(store) if isinstance(store, str | Secret) else store
        self._name = name
        self._timeout = timeout
        self._clock = clock
        self._registered: list[Registered] = []
        self._listeners: list[EventListener] = []

    def _take(self, wanted: tuple[object, ...], *, latest: bool, allow_unknown: bool) -> Takes[Any]:
        def take(handler: AnyHandler) -> AnyHandler:
            self._registered.append(register(handler, wanted, latest=latest, allow_unknown=allow_unknown))
            return handler

        return take

    def attach(self, mux: EventListener) -> None:
        """Pass every authentic event to a client (`Mux.webhook_received`), so that its tasks that wait for an asset wake at once.

        Deliveries must arrive in the event loop of the waiting tasks. Attaching a client again has no effect.
        """
        if all(mux is not each for each in self._listeners):
            self._listeners.append(mux)

    async def aclose(self) -> None:
        """Close the store's connections of the running event loop. The router can be used again."""
        await self._store.aclose()

    async def answer(self, headers: Headers, chunks: AsyncIterable[bytes]) -> WebhookAnswer:
        """Read a delivery and handle it: for adapters.

        Nothing is read of a body that has no signature, or says that it is too large; of any other, one chunk beyond the bound at most.

        Args:
            headers: Of the request.
            chunks: The body, raw.
        """
        bound = self._verifier.max_body
        try:
            signature = find_signature(pairs := pairs_of(headers))
            if content_length(pairs) > bound:
                return _too_large(bound)
            body = await _read(chunks, bound)
        except SignatureError as error:
            return refused(error)
        if body is None:
            return _too_large(bound)
        return await self.receive(body, signature)

    async def receive(self, body: Body, headers: Headers) -> WebhookAnswer:
        """Handle a delivery whose body was read: verify it, claim it, run the handlers, and note that they are done.

        Cancelling it cancels the handlers and sets the event free. What handlers raise is logged, with its traceback.

        Args:
            body: The bytes as they arrived.
            headers: Of the request, or the text of the signature alone. Only ``Mux-Signature`` is looked at.
        """
        try:
            event = open_delivery(self._verifier, body, headers, self._clock())
        except BodyTooLargeError:
            return _too_large(self._verifier.max_body)
        except WebhookError as error:
            return refused(error)
        if not isinstance(cast("object", event.id), str) or not event.id or not isinstance(cast("object", event.type), str):
            logger.warning("a delivery was refused: the signature is right, but the body names no event (id and type)")
            return WebhookAnswer(400, "refused: no event")
        self._notify(event)
        wanted = [each for each in self._registered if each.is_for(event)]
        if not wanted:
            return WebhookAnswer(200, "no handler")
        try:
            return await self._handle_once(event, wanted)
        except EventStoreError as error:
            logger.error("%s %s is not handled now: %s", event.type, event.id, error)  # noqa: TRY400 - its traceback says no more
            return WebhookAnswer(503, "the store of events cannot be used")

    async def is_stale(self, event: Event) -> bool:
        """Whether an event about the same object, and newer than *event*, came to some handler (or is just now).

        Raises:
            EventStoreError: That cannot be found out now.
        """
        seen = self._sighting(event)
        newest = None if seen.subject is None else await self._store.newest(seen.subject)
        return newest is not None and newest > seen.at

    def _notify(self, event: WebhookEvent) -> None:
        for listener in self._listeners:
            try:
                listener.webhook_received(event)
            except MuxError as error:  # a closed client is no reason to refuse the event
                logger.warning("%s %s was not passed to a client: %s", event.type, event.id, error)

    def _sighting(self, event: Event) -> Sighting:
        subject: str | None = None
        at = 0
        if isinstance(cast("object", event.created_at), datetime):
            kind, object_id = (getattr(event.object, name, None) for name in ("type", "id"))
            if isinstance(kind, str) and isinstance(object_id, str):
                subject = f"{self._name}:{kind}:{object_id}"
                at = round(event.created_at.timestamp() * 1_000_000)
        return Sighting(f"{self._name}:{event.id}", subject, at)

    async def _handle_once(self, event: WebhookEvent, wanted: list[Registered]) -> WebhookAnswer:
        seen, token = self._sighting(event), uuid4().hex
        claim = await self._store.claim(seen, token, self._timeout + _MARGIN)
        if claim.state == "done":
            return WebhookAnswer(200, "handled before")
        if claim.state == "busy":
            return WebhookAnswer(409, "being handled by another delivery; deliver again later")
        is_done = False
        try:
            is_done = await self._run(event, wanted, claim)
        finally:
            if not is_done:
                await self._release(seen, token)
        if not is_done:
            return WebhookAnswer(500, "a handler failed")
        with anyio.CancelScope(shield=True):  # the handlers have done their work: that must not get lost now
            await self._store.finish(seen)
        return WebhookAnswer(200, "handled")

    async def _run(self, event: WebhookEvent, wanted: list[Registered], claim: Claim) -> bool:
        current: Registered | None = None
        try:
            with anyio.move_on_after(self._timeout) as scope:
                for current in wanted:
                    if not (current.latest and claim.is_stale):
                        await current.handler(event)
        except Exception as error:
            clear_locals(error)
            # Without the frame that is here: it holds the event.
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            what = "the handler %s failed on %s %s; Mux will deliver it again"
            logger.error(what, _name(current), event.type, event.id, exc_info=error)  # noqa: TRY400
            return False
        if scope.cancelled_caught:
            logger.error(
                "the handler %s was stopped on %s %s: it took longer than %g s; Mux will deliver it again",
                _name(current),
                event.type,
                event.id,
                self._timeout,
            )
            return False
        return True

    async def _release(self, seen: Sighting, token: str) -> None:
        with anyio.CancelScope(shield=True):  # short, and else the event would be held up until the claim runs out
            try:
                await self._store.release(seen, token)
            except EventStoreError as error:
                logger.warning("%s; the event is free again when its claim runs out", error)


async def _read(chunks: AsyncIterable[bytes], bound: int) -> bytes | None:
    """Return the body; ``None`` when it is larger than *bound*."""
    body = bytearray()
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) > bound:
                return None
    finally:
        # A generator that is left in the middle has to be closed here: not every event loop does it later.
        if isinstance(chunks, AsyncGenerator):
            await cast("AsyncGenerator[bytes, None]", chunks).aclose()
    return bytes(body)


def _too_large(bound: int) -> WebhookAnswer:
    logger.warning("a delivery was refused: its body is larger than %d bytes; if it is Mux's, raise max_body", bound)
    return WebhookAnswer(413, f"refused: larger than {bound} bytes")


def refused(error: WebhookError) -> WebhookAnswer:
    """Return the answer to a delivery that is not to be acted on, and log why."""
    logger.warning("a delivery was refused: %s", error)
    return WebhookAnswer(
        400, f"refused: {error.reason.replace('_', ' ')}" if isinstance(error, SignatureError) else "refused: no event"
    )


def _name(registered: Registered | None) -> str:
    return "?" if registered is None else getattr(registered.handler, "__qualname__", repr(registered.handler))
