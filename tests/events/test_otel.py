"""Spans and metrics of OpenTelemetry, by the SDK's own exporters. In virtual time, on asyncio and trio."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from mux_async import BucketSettings, LimitSettings, Mux, NotFoundError
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport
from mux_async.errors import ConnectError, UploadError
from mux_async.ingest import Ingest, Journal, make_plan
from mux_async.otel import MuxInstrumentor, OpenTelemetryListener, instrument
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse
from mux_async.webhooks import Event, WebhookRouter
from tests.events.recording import client, script
from tests.webhooks.samples import NOW, SECRET, body_of, headers_of

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ASSET = {"data": {"id": "a1", "status": "ready"}}
_accounts = count()


def ok() -> HttpResponse:
    return respond(json=ASSET, headers={"X-Request-Id": "r1"})


def status(number: int, **headers: str) -> Callable[[], HttpResponse]:
    return lambda: respond(number, json={}, headers=headers)


class Telemetry:
    """Providers whose spans and metrics a test can read."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.metering = MeterProvider([self._reader])

    @property
    def options(self) -> dict[str, Any]:
        return {"tracer_provider": self.tracing, "meter_provider": self.metering}

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def values(self, name: str, *keys: str) -> dict[Any, Any]:
        """Return the value of a metric, or the count of a histogram, by the values of some attributes."""
        found: dict[Any, Any] = {}
        for point in self.points(name):
            key = tuple(point.attributes.get(each) for each in keys)
            value = point.count if hasattr(point, "count") else point.value
            found[key[0] if len(keys) == 1 else key] = found.get(key, 0) + value
        return found


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture(autouse=True)
def no_context_is_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing of OpenTelemetry fails, and after a test no span is current."""
    with caplog.at_level(logging.WARNING):
        yield
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert not [each for each in caplog.records if each.name.startswith("opentelemetry") or "listener" in each.getMessage()]


def tree(spans: list[ReadableSpan]) -> list[str]:
    """Return the names of spans, each indented below its parent."""
    depth: dict[int, int] = {}
    lines = list[str]()
    for span in spans:
        above = -1 if span.parent is None else depth[span.parent.span_id]
        depth[span_id(span)] = above + 1
        lines.append("  " * (above + 1) + span.name)
    return lines


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    found: int = span.context.span_id
    return found


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


async def test_a_call_that_goes_well(telemetry: Telemetry) -> None:
    """A span for the call, named by the operation, and a child for the request, with the stable conventions of HTTP clients."""
    mux = client(script(ok))
    instrument(mux, **telemetry.options, tags={"mux.environment": "test"})
    await mux.video.assets.retrieve("a1")

    call, attempt = telemetry.spans
    assert tree(telemetry.spans) == ["video.assets.retrieve", "  GET /video/v1/assets/{ASSET_ID}"]
    assert call.kind is attempt.kind is SpanKind.CLIENT
    assert call.status.status_code is attempt.status.status_code is StatusCode.UNSET
    assert dict(attributes(attempt)) == {
        "http.request.method": "GET",
        "url.template": "/video/v1/assets/{ASSET_ID}",
        "url.path": "/video/v1/assets/a1",
        "server.address": "mux.test",
        "server.port": 443,
        "http.response.status_code": 200,
        "mux.request_id": "r1",
        "mux.delivery": "answered",
        "mux.environment": "test",
    }
    assert dict(attributes(call)) == {
        "http.request.method": "GET",
        "url.template": "/video/v1/assets/{ASSET_ID}",
        "server.address": "mux.test",
        "server.port": 443,
        "http.response.status_code": 200,
        "mux.operation": "video.assets.retrieve",
        "mux.priority": "default",
        "mux.rate_limit.bucket": "other",
        "mux.request_id": "r1",
        "mux.outcome": "ok",
        "mux.attempts": 1,
        "mux.queue.duration": 0.0,
        "mux.shared_read": False,
        "mux.environment": "test",
    }
    (point,) = telemetry.points("http.client.request.duration")
    assert point.count == 1
    assert point.attributes["http.response.status_code"] == 200
    assert point.explicit_bounds[0] == 0.005


async def test_queue_throttling_and_retries(telemetry: Telemetry) -> None:
    """The time in the queue is a number of its own and an event; each attempt is a span; throttles and retries are counted by reason."""
    mux = client(script(lambda: ConnectError("refused"), status(429, **{"Retry-After": "7"}), status(503), ok))
    instrument(mux, **telemetry.options)
    await mux.video.assets.retrieve("a1")

    call, *attempts = telemetry.spans
    assert len(attempts) == 4
    assert [attributes(each).get("error.type") for each in attempts] == ["ConnectError", "429", "503", None]
    assert [attributes(each).get("http.request.resend_count") for each in attempts] == [None, 1, 2, 3]
    assert [each.status.status_code for each in attempts] == [StatusCode.ERROR] * 3 + [StatusCode.UNSET]
    assert [each.name for each in call.events if each.name != "mux.rate_limit.waited"] == [
        "mux.retried", "mux.throttled", "mux.retried", "mux.retried",
    ]  # fmt: skip
    waits: list[dict[str, Any]] = [dict(each.attributes or {}) for each in call.events if each.name == "mux.rate_limit.waited"]
    assert attributes(call)["mux.queue.duration"] == pytest.approx(sum(each["mux.waited"] for each in waits))
    assert attributes(call)["mux.queue.duration"] >= 7
    assert telemetry.values("mux.call.retries", "mux.retry.reason") == {"not_sent": 1, "throttled": 1, "status": 1}
    assert telemetry.values("mux.rate_limit.throttled", "mux.rate_limit.bucket") == {"other": 1}
    assert telemetry.values("http.client.request.duration", "error.type") == {"ConnectError": 1, "429": 1, "503": 1, None: 1}
    assert telemetry.values("mux.call.duration", "mux.outcome") == {"ok": 1}


async def test_an_error(telemetry: Telemetry) -> None:
    """A call that raises is an error, by the name of the exception; nothing of what Mux said about it is in the span."""
    mux = client(script(lambda: respond(404, json={"error": {"type": "not_found", "messages": ["s3cr3t"]}})))
    instrument(mux, **telemetry.options)
    with pytest.raises(NotFoundError):
        await mux.video.assets.retrieve("a1")

    call, attempt = telemetry.spans
    assert (call.status.status_code, attributes(call)["error.type"]) == (StatusCode.ERROR, "NotFoundError")
    assert (attempt.status.status_code, attributes(attempt)["error.type"]) == (StatusCode.ERROR, "404")
    assert "s3cr3t" not in "".join(span.to_json() for span in telemetry.spans)


async def test_a_call_that_is_cancelled(telemetry: Telemetry) -> None:
    """It is no error of anything, and its spans end; what was current before is current again."""

    async def never(_: SentRequest) -> HttpResponse:
        await anyio.sleep_forever()
        raise AssertionError

    mux = client(FakeTransport(never))
    instrument(mux, **telemetry.options)
    with anyio.move_on_after(5):
        await mux.video.assets.retrieve("a1")

    call, attempt = telemetry.spans
    assert attributes(call)["mux.outcome"] == "cancelled"
    assert call.status.status_code is StatusCode.UNSET
    assert attempt.end_time is not None


async def test_a_shared_read_links_to_the_call_that_sent_it(telemetry: Telemetry) -> None:
    """Ten equal reads send one request; the nine that wait have a link to the one that did, and no child."""

    async def answer(_: SentRequest) -> HttpResponse:
        await anyio.sleep(1)
        return ok()

    mux = client(FakeTransport(answer))
    instrument(mux, **telemetry.options)
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(mux.video.assets.retrieve, "a1")

    calls = [each for each in telemetry.spans if each.name == "video.assets.retrieve"]
    (leader,) = (each for each in calls if not attributes(each)["mux.shared_read"])
    assert len(calls) == 10
    assert len(telemetry.spans) == 11
    for each in calls:
        if each is not leader:
            assert [link.context.span_id for link in each.links] == [span_id(leader)]


async def test_the_program_s_spans_are_the_parents(telemetry: Telemetry) -> None:
    """Each of many calls at a time, in tasks of their own, is a child of the span in which it was started."""
    mux = client(FakeTransport(lambda _: ok()), limits=LimitSettings(other=BucketSettings(rate=1000, burst=1000)))
    instrument(mux, **telemetry.options)
    tracer = telemetry.tracing.get_tracer("program")

    async def request(number: int) -> None:
        with tracer.start_as_current_span(f"request {number}"):
            async with anyio.create_task_group() as tasks:
                for part in "ab":
                    tasks.start_soon(mux.video.assets.retrieve, f"{number}{part}")
            assert trace.get_current_span().get_span_context().span_id

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(request, number)

    by_id = {span_id(span): span for span in telemetry.spans}
    calls = [each for each in telemetry.spans if each.name == "video.assets.retrieve"]
    assert len(calls) == 40
    for call in calls:
        assert call.parent is not None
        above = by_id[call.parent.span_id].name
        (below,) = (each for each in telemetry.spans if each.parent and each.parent.span_id == span_id(call))
        assert str(attributes(below)["url.path"]).startswith(f"/video/v1/assets/{above.removeprefix('request ')}")


async def test_two_listeners_leave_nothing_current(telemetry: Telemetry) -> None:
    """A client that is instrumented twice, for two providers: both have their spans, and after a call neither is current."""
    other = Telemetry()
    mux = client(FakeTransport(lambda _: ok()))
    instrument(mux, **telemetry.options)
    instrument(mux, **other.options)
    tracer = telemetry.tracing.get_tracer("program")
    with tracer.start_as_current_span("request"):
        before = otel_context.get_current()
        await mux.video.assets.retrieve("a1")
        assert otel_context.get_current() is before

    assert len(telemetry.spans) == 3
    assert len(other.spans) == 2


async def test_searches_by_key_are_children(telemetry: Telemetry) -> None:
    """A create whose answer was lost searches for what it made: calls below the create."""
    emulator = Emulator(EmulatorSettings(seed=1), clock=lambda: 1.7e9 + anyio.current_time())
    inner = EmulatorTransport(emulator)
    lost = False

    class Losing:
        async def send(self, request: Any, /) -> HttpResponse:
            nonlocal lost
            response = await inner.send(request)
            if request.method == "POST" and not lost:
                lost = True
                await response.body.aclose()
                raise ConnectionResetError("reset")
            return response

        async def aclose(self) -> None:
            await inner.aclose()

    mux = Mux(
        token_id="test-token", token_secret="test-secret", account=f"otel-{next(_accounts)}", transport=Losing(),
        clock=anyio.current_time,
    )  # fmt: skip
    instrument(mux, **telemetry.options)
    with suppress(ConnectionResetError):
        await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], once="k1")
    names = tree(telemetry.spans)
    assert names[0] == "video.assets.create"
    assert all(name.startswith("  ") for name in names[1:])


async def test_nothing_is_called_while_no_provider_is_configured() -> None:
    """With the API's own providers, which do nothing, a call is not even reported."""
    listener = OpenTelemetryListener(NoOpTracerProvider(), NoOpMeterProvider())
    assert not listener.is_enabled()
    called = list[object]()
    mux = client(script(ok))

    class Counting:
        is_enabled = listener.is_enabled

        def __call__(self, event: object) -> None:
            called.append(event)

    mux.listen(Counting())
    await mux.video.assets.retrieve("a1")
    assert not called
    assert not OpenTelemetryListener().is_enabled()
    assert OpenTelemetryListener(TracerProvider()).is_enabled()
    assert OpenTelemetryListener(meter_provider=MeterProvider()).is_enabled()


async def test_propagation_is_asked_for(telemetry: Telemetry) -> None:
    """Mux gets no header of a trace by default; with ``propagate`` it gets ``traceparent`` of the attempt, and never baggage."""
    sent = list[SentRequest]()

    def answer(request: SentRequest) -> HttpResponse:
        sent.append(request)
        return ok()

    mux = client(FakeTransport(answer))
    with instrument(mux, **telemetry.options):
        await mux.video.assets.retrieve("a1")
    with instrument(mux, **telemetry.options, propagate=True):
        await mux.video.assets.retrieve("a2")
    await mux.video.assets.retrieve("a3")

    first, second, third = ({name.lower(): value for name, value in each.headers.items()} for each in sent)
    assert "traceparent" not in first
    assert "traceparent" not in third
    attempt = telemetry.spans[-1]
    assert second["traceparent"].split("-")[2] == f"{span_id(attempt):016x}"
    assert "baggage" not in second
    assert len(telemetry.spans) == 4


async def test_the_instrumentor_reaches_every_client_that_is_made(telemetry: Telemetry) -> None:
    """From the moment it is installed until it is removed, once, however often it is called."""
    before = client(FakeTransport(lambda _: ok()))
    instrumentor = MuxInstrumentor()
    instrumentor.instrument(**telemetry.options, unknown_option=1)
    try:
        instrumentor.instrument(**telemetry.options)
        during = client(FakeTransport(lambda _: ok()))
    finally:
        instrumentor.uninstrument()
        instrumentor.uninstrument()
    after = client(FakeTransport(lambda _: ok()))
    for mux in (before, during, after):
        await mux.video.assets.retrieve("a1")

    assert len(telemetry.spans) == 2


async def test_limits_are_observed_for_each_account_once(telemetry: Telemetry) -> None:
    """The queue by bucket and class and the rate, while calls wait; two clients of an account are one; no id of a token is in it."""
    settings = LimitSettings(other=BucketSettings(rate=1.0, burst=1))
    account = f"otel-{next(_accounts)}"
    clients = [client(FakeTransport(lambda _: ok()), limits=settings, account=account, share_reads=False) for _ in range(2)]
    for mux in clients:
        instrument(mux, **telemetry.options)
    queued: dict[Any, Any] = {}
    points: list[Any] = []
    async with anyio.create_task_group() as tasks:
        for mux in clients:
            for _ in range(3):
                tasks.start_soon(mux.with_options(priority="batch").video.assets.retrieve, "a1")
        await anyio.sleep(0.5)
        queued = telemetry.values("mux.rate_limit.queue.length", "mux.rate_limit.bucket", "mux.priority")
        points = telemetry.points("mux.rate_limit.rate")

    assert queued["other", "batch"] == clients[0].limits.snapshot().other.queued + 5
    assert sum(queued.values()) == 5
    assert {point.attributes["mux.rate_limit.bucket"]: point.value for point in points}["other"] == 1.0
    labels = {point.attributes["mux.account"] for point in points}
    assert labels == {clients[0].limits.label}
    assert account not in labels.pop()


async def test_uploads_and_ingest(telemetry: Telemetry, tmp_path: Path) -> None:
    """The bytes counted are those of the files; items by stage are none in the end, and each has ended once."""
    emulator = Emulator(EmulatorSettings(seed=1), clock=lambda: 1.7e9 + anyio.current_time())
    mux = Mux(
        token_id="test-token", token_secret="test-secret", account=f"otel-{next(_accounts)}",
        transport=EmulatorTransport(emulator), clock=anyio.current_time,
    )  # fmt: skip
    instrument(mux, **telemetry.options)
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(os.urandom(300_000 + number))
    plan = make_plan([tmp_path])
    with Journal.in_memory() as journal:
        await Ingest(mux, plan.items, journal=journal).run()

    assert sum(telemetry.values("mux.upload.bytes", "x").values()) == 900_003
    assert telemetry.values("mux.upload.ended", "mux.outcome") == {"ok": 3}
    assert set(telemetry.values("mux.ingest.items", "mux.ingest.stage").values()) == {0}
    assert telemetry.values("mux.ingest.ended", "mux.outcome") == {"done": 3}
    by_id = {span_id(span): span for span in telemetry.spans}
    items = [each for each in telemetry.spans if each.name == "mux.ingest.item"]
    assert len(items) == 3
    assert all(each.parent is None for each in items)
    for name in ("video.uploads.create", "mux.upload"):
        below = [by_id[each.parent.span_id] for each in telemetry.spans if each.name == name and each.parent]
        assert sorted(map(id, below)) == sorted(map(id, items)), name


async def test_webhooks(telemetry: Telemetry) -> None:
    """The handlers of a delivery run in its span, and so do the calls that they make; a client that is attached adds no second one."""
    mux = client(FakeTransport(lambda _: ok()))
    listener = OpenTelemetryListener(**telemetry.options)
    mux.listen(listener)
    hooks = WebhookRouter(SECRET, clock=lambda: NOW, listeners=[listener])
    hooks.attach(mux)

    @hooks.on("video.asset.ready")
    async def handle(event: Event) -> None:
        await mux.video.assets.retrieve("a1")
        if event.id == "e2":
            raise ValueError("no")

    for number in ("e1", "e2"):
        body = body_of("video.asset.ready", number)
        await hooks.receive(body, headers_of(body))
    await hooks.receive(b"{}", {})

    assert tree(telemetry.spans) == [
        "webhook video.asset.ready", "  video.assets.retrieve", "    GET /video/v1/assets/{ASSET_ID}",
    ] * 2  # fmt: skip
    assert [each.status.status_code for each in telemetry.spans if each.kind is SpanKind.CONSUMER] == [
        StatusCode.UNSET, StatusCode.ERROR,
    ]  # fmt: skip
    consumers = [each for each in telemetry.spans if each.kind is SpanKind.CONSUMER]
    assert [attributes(each)["mux.outcome"] for each in consumers] == ["handled", "failed"]
    assert telemetry.values("mux.webhook.events", "mux.outcome") == {"handled": 1, "failed": 1, "refused": 1}


async def test_no_secret_is_in_spans_or_metrics(telemetry: Telemetry) -> None:
    """Neither credentials nor signed URLs, of a call, an upload and their errors."""
    mux = client(FakeTransport(lambda _: respond(500, json={"error": {"messages": ["c4nary"]}})), token_secret="c4nary")
    instrument(mux, **telemetry.options)
    with suppress(Exception):
        await mux.video.assets.create(inputs=[{"url": "https://x.test/a?X-Amz-Signature=c4nary"}], passthrough="c4nary")
    with suppress(Exception):
        await mux.request("GET", "/video/v1/assets", query={"token": "c4nary"})
    with suppress(UploadError):
        await mux.uploads.put("https://upload.test/u?signature=c4nary", b"x" * 100)

    written = "".join(span.to_json() for span in telemetry.spans)
    written += json.dumps([dict(point.attributes) for name in METRICS for point in telemetry.points(name)])
    assert len(telemetry.spans) >= 5
    assert "c4nary" not in written


METRICS = ("http.client.request.duration", "mux.call.duration", "mux.call.retries", "mux.upload.ended", "mux.upload.bytes")
