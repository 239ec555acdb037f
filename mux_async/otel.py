"""OpenTelemetry: spans and metrics of clients, made from their events (extra ``otel``, which brings the API alone).

`MuxInstrumentor` is for every client that a program makes from then on, and ``opentelemetry-instrument`` finds it. `instrument` is for
one client, without global state. Names follow the stable semantic conventions for HTTP clients, where those have one; the others begin
with ``mux.``. docs/observability.md lists them.

No span, metric or link holds more than the events do: no queries, headers, bodies, credentials or signed URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final, final
from weakref import WeakSet

import attrs

from mux_async._client import client_hooks
from mux_async._operation import Bucket
from mux_async._version import __version__
from mux_async.errors import MissingExtraError
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
    IngestItemChanged,
    Outcome,
    OutgoingRequest,
    ReadShared,
    UploadEnded,
    UploadProgressed,
    UploadStarted,
    WebhookEnded,
    WebhookRefused,
    WebhookStarted,
)

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import SpanKind, StatusCode, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as _error:
    raise MissingExtraError("mux_async.otel", "opentelemetry-api", "otel") from _error

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from mux_async._client import Mux
    from mux_async._listeners import Listening
    from mux_async.limits._snapshots import BucketSnapshot

__all__ = ["MuxInstrumentor", "OpenTelemetryListener", "instrument"]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.27.0"
_HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Boundaries that the semantic conventions give for ``http.client.request.duration``."""
_QUEUE_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_OPEN: Final = otel_context.create_key("mux-open-span")
_SUPPRESS_HTTP: Final = "suppress_http_instrumentation"


@attrs.define(eq=False)
class _OpenSpan:
    """A span that is current, and what was current before."""

    span: Span
    before: Context
    current: Context
    is_ended: bool = False

    @classmethod
    def start(cls, span: Span, before: Context | None = None, *, flag: str | None = None) -> _OpenSpan:
        """Make *span* current, and set a *flag* in its context."""
        before = otel_context.get_current() if before is None else before
        current = trace.set_span_in_context(span, before)
        if flag is not None:
            current = otel_context.set_value(flag, "yes", current)
        found = cls(span, before, current)
        found.current = otel_context.set_value(_OPEN, found, current)
        otel_context.attach(found.current)
        return found

    def end(self, outcome: Outcome, error: str | None) -> None:
        """End the span. Its context is left, unless the program has entered another one, or is in another task, by now."""
        try:
            if error is not None:
                self.span.set_attribute("error.type", error)
            if outcome == "error":
                self.span.set_status(StatusCode.ERROR)
            self.span.end()
        finally:  # a processor may fail, and what the task does next is not below this span
            self.is_ended = True
            if otel_context.get_current() is self.current:
                otel_context.attach(self._last_open())

    def _last_open(self) -> Context:
        """Return the context to go back to: that of before, unless its span has ended too, as that of another listener has."""
        context = self.before
        while (
            isinstance(other := otel_context.get_value(_OPEN, context), _OpenSpan)
            and other.is_ended
            and other.current is context
        ):
            context = other.before
        return context


@attrs.define(eq=False)
class _OpenCall:
    open_span: _OpenSpan
    attempt: _OpenSpan | None = None
    queued: float = 0.0


@attrs.define(eq=False)
class _OpenItem:
    """An ingest item under way."""

    open_span: _OpenSpan
    stage: str


@final
class OpenTelemetryListener:
    """A listener that makes spans and metrics of events: ``Mux(listeners=[OpenTelemetryListener()])``, or a router's.

    While neither a provider of traces nor one of metrics is configured, it is not called at all, and costs a check for each call.

    Args:
        tracer_provider: Makes the spans; by default the global one, also if that is configured later.
        meter_provider: Keeps the metrics; by default the global one.
        tags: Attributes for every span and metric, for example ``{"mux.environment": "production"}``.
    """

    finishes_calls: ClassVar[bool] = True
    """Calls under way when it is removed are recorded to their end: their spans are current until then."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._providers: tuple[object, object] = tracer_provider, meter_provider
        self._is_configured = False
        self._tags = dict(tags or {})
        self._tracer = trace.get_tracer("mux_async", __version__, tracer_provider, _SCHEMA)
        self._instruments = _Instruments(meter_provider, self._tags)
        self._calls: dict[int, _OpenCall] = {}
        self._others: dict[int, _OpenSpan] = {}
        """Uploads and webhooks."""
        self._items: dict[int, _OpenItem] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            CallStarted: self._call_started,
            ReadShared: self._read_shared,
            GrantWaited: self._grant_waited,
            AttemptStarted: self._attempt_started,
            AttemptEnded: self._attempt_ended,
            CallThrottled: self._call_throttled,
            CallRetried: self._call_retried,
            FoundByKey: self._found_by_key,
            CallEnded: self._call_ended,
            UploadStarted: self._upload_started,
            UploadProgressed: self._upload_progressed,
            UploadEnded: self._upload_ended,
            IngestItemChanged: self._item_changed,
            WebhookStarted: self._webhook_started,
            WebhookEnded: self._webhook_ended,
            WebhookRefused: self._webhook_refused,
        }

    def is_enabled(self) -> bool:
        """Whether a provider is configured, so that events are of use."""
        if not self._is_configured:
            tracing, metering = self._providers
            self._is_configured = _is_real(
                tracing or _global(_TRACES, "_TRACER_PROVIDER", trace.get_tracer_provider)
            ) or _is_real(metering or _global(_METRICS, "_METER_PROVIDER", metrics.get_meter_provider))
        return self._is_configured

    def __call__(self, event: ClientEvent) -> None:
        """Take an event."""
        handle = self._handlers.get(type(event))
        if handle is not None:
            handle(event)

    def observe_limits(self, client: Mux) -> None:
        """Report the queues and rates of the account of *client* whenever metrics are collected, as long as the client lives."""
        self._instruments.clients.add(client)

    # calls

    def _call_started(self, event: CallStarted) -> None:
        call = event.call
        attributes = {**_http(call), **self._tags, "mux.operation": call.operation, "mux.priority": call.priority}
        if call.bucket is not None:
            attributes["mux.rate_limit.bucket"] = call.bucket.value
        span = self._tracer.start_span(call.operation, kind=SpanKind.CLIENT, attributes=attributes)
        self._calls[call.id] = _OpenCall(_OpenSpan.start(span))

    def _span(self, event: CallStarted | ReadShared | GrantWaited | CallThrottled | CallRetried | FoundByKey) -> Span:
        found = self._calls.get(event.id)
        return trace.INVALID_SPAN if found is None else found.open_span.span

    def _read_shared(self, event: ReadShared) -> None:
        leader = None if event.leader is None else self._calls.get(event.leader.id)
        if leader is not None:
            self._span(event).add_link(leader.open_span.span.get_span_context(), {"mux.link": "shared read"})

    def _grant_waited(self, event: GrantWaited) -> None:
        if (found := self._calls.get(event.id)) is not None:
            found.queued += event.waited
        attributes = {"mux.rate_limit.bucket": event.bucket.value, "mux.priority": event.priority}
        self._instruments.queue_wait.record(event.waited, {**self._tags, **attributes})
        self._span(event).add_event(
            "mux.rate_limit.waited", {**attributes, "mux.waited": event.waited, "mux.ahead": event.ahead}
        )

    def _attempt_started(self, event: AttemptStarted) -> None:
        found = self._calls.get(event.id)
        if found is None:
            return
        attributes = {**_http(event.call), **self._tags, "url.path": event.path}
        if event.number > 1:
            attributes["http.request.resend_count"] = event.number - 1
        name = f"{event.call.method} {event.call.url_template}" if event.call.url_template else event.call.method
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        # The instrumentations of HTTP libraries would make a second span of the same request.
        found.attempt = _OpenSpan.start(span, flag=_SUPPRESS_HTTP_KEY)

    def _attempt_ended(self, event: AttemptEnded) -> None:
        attributes = {**_http(event.call), **self._tags}
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        error = event.error or (str(event.status) if event.status is not None and event.status >= 400 else None)
        if error is not None:
            attributes["error.type"] = error
        measured = {**attributes, "mux.operation": event.call.operation}
        if event.call.bucket is not None:
            measured["mux.rate_limit.bucket"] = event.call.bucket.value
        try:  # while the span is current, for exemplars
            self._instruments.request_duration.record(event.elapsed, measured)
        finally:
            self._end_attempt(event, error)

    def _end_attempt(self, event: AttemptEnded, error: str | None) -> None:
        found = self._calls.get(event.id)
        if found is None or found.attempt is None:
            return
        open_span, found.attempt = found.attempt, None
        if event.status is not None:
            open_span.span.set_attribute("http.response.status_code", event.status)
        if event.request_id is not None:
            open_span.span.set_attribute("mux.request_id", event.request_id)
        open_span.span.set_attribute("mux.delivery", event.delivery.name.lower())
        open_span.end("ok" if error is None else "error", error)

    def _call_throttled(self, event: CallThrottled) -> None:
        bucket = "none" if event.bucket is None else event.bucket.value
        self._instruments.throttled.add(1, {**self._tags, "mux.rate_limit.bucket": bucket})
        known = {"mux.closed_for": event.closed_for, "mux.rate": event.rate, "mux.retry_after": event.retry_after}
        shown = {name: value for name, value in known.items() if value is not None}
        self._span(event).add_event("mux.throttled", {"mux.rate_limit.bucket": bucket, **shown})

    def _call_retried(self, event: CallRetried) -> None:
        attributes = {"mux.operation": event.call.operation, "mux.retry.reason": event.reason}
        self._instruments.retries.add(1, {**self._tags, **attributes})
        self._span(event).add_event("mux.retried", {"mux.retry.reason": event.reason, "mux.delay": event.delay})

    def _found_by_key(self, event: FoundByKey) -> None:
        self._span(event).add_event("mux.found_by_key", {"mux.attempts": event.attempts})

    def _call_ended(self, event: CallEnded) -> None:
        attributes = {**self._tags, "mux.operation": event.call.operation, "mux.outcome": event.outcome}
        if event.error is not None:
            attributes["error.type"] = event.error
        try:
            self._instruments.call_duration.record(event.elapsed, attributes)
        finally:
            self._end_call(event)

    def _end_call(self, event: CallEnded) -> None:
        found = self._calls.pop(event.id, None)
        if found is None:
            return
        span = found.open_span.span
        span.set_attribute("mux.outcome", event.outcome)
        span.set_attribute("mux.attempts", event.attempts)
        span.set_attribute("mux.queue.duration", found.queued)
        span.set_attribute("mux.shared_read", event.is_shared)
        if event.status is not None:
            span.set_attribute("http.response.status_code", event.status)
        if event.request_id is not None:
            span.set_attribute("mux.request_id", event.request_id)
        if event.error is not None:
            span.set_attribute("mux.delivery", event.delivery.name.lower())
        found.open_span.end(event.outcome, event.error)

    # uploads, ingest, webhooks

    def _upload_started(self, event: UploadStarted) -> None:
        attributes: dict[str, str | int] = {**self._tags, "mux.upload.held": event.held}
        if event.upload_id is not None:
            attributes["mux.upload.id"] = event.upload_id
        if event.size is not None:
            attributes["mux.upload.size"] = event.size
        self._others[event.id] = _OpenSpan.start(
            self._tracer.start_span("mux.upload", attributes=attributes), flag=_SUPPRESS_HTTP_KEY
        )

    def _upload_progressed(self, event: UploadProgressed) -> None:
        self._instruments.uploaded.add(event.added, self._tags)

    def _upload_ended(self, event: UploadEnded) -> None:
        found = self._others.pop(event.id, None)
        try:
            self._instruments.uploads.add(1, {**self._tags, "mux.outcome": event.outcome})
        finally:
            if found is not None:
                found.span.set_attributes({"mux.upload.sent": event.sent, "mux.upload.requests": event.requests})
                found.end(event.outcome, event.error)

    def _item_changed(self, event: IngestItemChanged) -> None:
        is_final = event.stage in _FINAL_STAGES
        item = self._items.pop(event.id, None)
        if item is not None:
            self._instruments.items.add(-1, {**self._tags, "mux.ingest.stage": item.stage})
        if is_final:
            outcome = "skipped" if event.is_skipped else event.stage
            self._instruments.items_ended.add(1, {**self._tags, "mux.outcome": outcome})
            if item is not None:
                item.open_span.span.set_attribute("mux.ingest.stage", event.stage)
                item.open_span.end("error" if event.stage == "dead" else "ok", event.error)
            return
        self._instruments.items.add(1, {**self._tags, "mux.ingest.stage": event.stage})
        if item is None:
            item = _OpenItem(self._start_item(event), event.stage)
        item.stage = event.stage
        item.open_span.span.add_event(event.stage)
        self._items[event.id] = item
        # What follows in this task is about this item: a task works on one after the other, and an item passes from one to another.
        if otel_context.get_value(_ITEM) is not item.open_span:
            otel_context.attach(item.open_span.current)

    def _start_item(self, event: IngestItemChanged) -> _OpenSpan:
        before = otel_context.get_current()
        other = otel_context.get_value(_ITEM)
        if isinstance(other, _OpenSpan):  # left in this task by the item before
            before = other.before
        span = self._tracer.start_span("mux.ingest.item", before, attributes={**self._tags, "mux.ingest.key": event.key})
        found = _OpenSpan.start(span, before)
        found.current = otel_context.set_value(_ITEM, found, found.current)
        otel_context.attach(found.current)
        return found

    def _webhook_started(self, event: WebhookStarted) -> None:
        attributes = {**self._tags, "mux.webhook.type": event.type, "mux.webhook.event_id": event.event_id}
        span = self._tracer.start_span(f"webhook {event.type}", kind=SpanKind.CONSUMER, attributes=attributes)
        self._others[event.id] = _OpenSpan.start(span)

    def _webhook_ended(self, event: WebhookEnded) -> None:
        attributes = {**self._tags, "mux.webhook.type": event.type, "mux.outcome": event.outcome}
        found = self._others.pop(event.id, None)
        try:
            self._instruments.webhooks.add(1, attributes)
            self._instruments.webhook_duration.record(event.elapsed, attributes)
        finally:
            if found is not None:
                found.span.set_attribute("mux.outcome", event.outcome)
                is_failed = event.outcome in {"failed", "store failed"}
                found.end("error" if is_failed else "ok", event.outcome if is_failed else None)

    def _webhook_refused(self, event: WebhookRefused) -> None:
        attributes: dict[str, str | int] = {
            **self._tags,
            "mux.outcome": "refused",
            "http.response.status_code": event.status,
        }
        self._instruments.webhooks.add(1, attributes)


_ITEM: Final = otel_context.create_key("mux-ingest-item")
_FINAL_STAGES: Final = frozenset({"done", "dead"})
_SUPPRESS_HTTP_KEY: Final[str] = getattr(otel_context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", _SUPPRESS_HTTP)
"""What the instrumentations of aiohttp and httpx ask the context for; OpenTelemetry has no public name for it yet."""


_TRACES: Final = vars(trace)
_METRICS: Final = vars(import_module("opentelemetry.metrics._internal"))


def _global(names: Mapping[str, object], name: str, get: Callable[[], object]) -> object:
    """Return the global provider; ``None`` if none is set.

    While none is set, the public function looks for its name in the environment, which takes a microsecond, and every call of a client
    asks. Making a listener calls it, which sets the provider that the environment names; from then on the API's variable will do.
    """
    return names[name] if name in names else get()


def _is_real(provider: object) -> bool:
    """Whether *provider* does anything: those that the API has itself stand for one that is not configured."""
    return provider is not None and not type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


def _http(call: CallInfo) -> dict[str, str | int]:
    """Return what the spans and the metric of a request have in common."""
    attributes: dict[str, str | int] = {
        "http.request.method": call.method,
        "server.address": call.server_address,
        "server.port": call.server_port,
    }
    if call.url_template is not None:
        attributes["url.template"] = call.url_template
    return attributes


class _Instruments:
    """The metrics. `clients` are those whose limits are reported."""

    def __init__(self, provider: MeterProvider | None, tags: dict[str, str]) -> None:
        meter = metrics.get_meter("mux_async", __version__, provider, _SCHEMA)
        self.clients: WeakSet[Mux] = WeakSet()
        self._tags = tags
        self.request_duration = meter.create_histogram(
            "http.client.request.duration", "s", "Duration of HTTP requests", explicit_bucket_boundaries_advisory=_HTTP_SECONDS
        )
        self.call_duration = meter.create_histogram(
            "mux.call.duration",
            "s",
            "Duration of calls, with their waits and retries",
            explicit_bucket_boundaries_advisory=_QUEUE_SECONDS,
        )
        self.queue_wait = meter.create_histogram(
            "mux.rate_limit.wait",
            "s",
            "Time in the queue of the rate limit",
            explicit_bucket_boundaries_advisory=_QUEUE_SECONDS,
        )
        self.throttled = meter.create_counter("mux.rate_limit.throttled", "{response}", "Responses of 429")
        self.retries = meter.create_counter("mux.call.retries", "{retry}", "Requests that are sent again")
        self.uploaded = meter.create_counter("mux.upload.bytes", "By", "Bytes of direct uploads handed to the network")
        self.uploads = meter.create_counter("mux.upload.ended", "{upload}", "Direct uploads that ended")
        self.items = meter.create_up_down_counter("mux.ingest.items", "{item}", "Items under way, by stage")
        self.items_ended = meter.create_counter("mux.ingest.ended", "{item}", "Items that ended")
        self.webhooks = meter.create_counter("mux.webhook.events", "{event}", "Deliveries of webhooks")
        self.webhook_duration = meter.create_histogram("mux.webhook.duration", "s", "Duration of webhook handlers")
        meter.create_observable_gauge(
            "mux.rate_limit.queue.length", [self._observe_queues], "{request}", "Requests that wait for the rate limit"
        )
        meter.create_observable_gauge(
            "mux.rate_limit.rate",
            [self._observe_rates],
            "{request}/s",
            "Requests a second that the account is believed to be allowed",
        )
        meter.create_observable_gauge(
            "mux.rate_limit.ceiling",
            [self._observe_ceilings],
            "{request}/s",
            "Requests a second that the account is allowed, as configured",
        )
        meter.create_observable_gauge(
            "mux.rate_limit.closed", [self._observe_closed], "s", "Seconds until a bucket that a 429 closed opens"
        )

    def _states(self) -> Iterator[tuple[dict[str, str], BucketSnapshot]]:
        """Yield attributes and state of each bucket of each account, once. Called in whatever thread collects metrics."""
        seen: set[str] = set()
        for client in list(self.clients):
            for limits in (client.limits, client.limits.low_priority):
                if limits is None or limits.label in seen:
                    continue
                seen.add(limits.label)
                snapshot = limits.snapshot()
                for bucket in Bucket:
                    attributes = {**self._tags, "mux.account": limits.label, "mux.rate_limit.bucket": bucket.value}
                    yield attributes, getattr(snapshot, bucket.value.replace("-", "_"))

    def _observe_queues(self, _options: CallbackOptions) -> Iterable[Observation]:
        for attributes, state in self._states():
            for priority, queued in state.queued_by_priority.items():
                yield Observation(queued, {**attributes, "mux.priority": priority})

    def _observe_rates(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(state.rate, attributes) for attributes, state in self._states()]

    def _observe_ceilings(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(state.ceiling, attributes) for attributes, state in self._states()]

    def _observe_closed(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(state.closed_for, attributes) for attributes, state in self._states()]


def _propagate(_request: OutgoingRequest) -> dict[str, str]:
    """Return the headers that continue the trace. Baggage stays here: it may hold anything."""
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


def instrument(
    client: Mux,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    tags: Mapping[str, str] | None = None,
    propagate: bool = False,
) -> Listening:
    """Make spans and metrics of what *client* does from now on. ``remove()`` of what is returned ends it for the calls that follow.

    Args:
        client: With it, its ``with_options`` variants, and the webhook routers that it is attached to.
        tracer_provider: Makes the spans; by default the global one, also if that is configured later.
        meter_provider: Keeps the metrics; by default the global one.
        tags: Attributes for every span and metric.
        propagate: Whether to send ``traceparent`` to Mux, which does not use it.
    """
    return _listen(client, OpenTelemetryListener(tracer_provider, meter_provider, tags=tags), propagate=propagate)


def _listen(client: Mux, listener: OpenTelemetryListener, *, propagate: bool) -> Listening:
    listener.observe_limits(client)
    return client.listen(listener, on_request=_propagate if propagate else None)


class MuxInstrumentor:
    """Makes spans and metrics of what every client does that is made from then on.

    It has the methods of OpenTelemetry's other instrumentors, and the entry point by which ``opentelemetry-instrument`` finds it. Clients
    that exist already are left alone: use `instrument` for them.
    """

    _installed: ClassVar[Callable[[Mux], object] | None] = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what has to be installed: nothing besides this package."""
        return ()

    def instrument(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        tags: Mapping[str, str] | None = None,
        propagate: bool = False,
        **_others: object,
    ) -> None:
        """Instrument the clients that are made from now on. A second time it does nothing, until `uninstrument`.

        Args:
            tracer_provider: See `instrument`.
            meter_provider: See `instrument`.
            tags: See `instrument`.
            propagate: See `instrument`.
            _others: Options that are meant for other instrumentors.
        """
        if MuxInstrumentor._installed is not None:
            return
        listener = OpenTelemetryListener(tracer_provider, meter_provider, tags=tags)

        def install(client: Mux) -> None:
            _listen(client, listener, propagate=propagate)

        MuxInstrumentor._installed = install
        client_hooks.append(install)

    def uninstrument(self, **_others: object) -> None:
        """Leave the clients alone that are made from now on."""
        if MuxInstrumentor._installed is not None:
            client_hooks.remove(MuxInstrumentor._installed)
            MuxInstrumentor._installed = None
