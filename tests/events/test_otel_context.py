"""Spans where tasks begin and end: nurseries, leaders that are cancelled, lists, webhooks in the background; and an SDK that fails."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.server import serve
from mux_async.ingest import Ingest, Journal, make_plan
from mux_async.otel import OpenTelemetryListener, instrument
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse
from mux_async.webhooks import Event, WebhookRouter
from tests.events.recording import client
from tests.events.test_otel import Telemetry, attributes, span_id, tree
from tests.webhooks.samples import NOW, SECRET, body_of, headers_of

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ASSET = {"data": {"id": "a1", "status": "ready"}}
_accounts = count()


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


async def slowly(_: SentRequest) -> HttpResponse:
    await anyio.sleep(1)
    return respond(json=ASSET)


def parents(spans: list[ReadableSpan], name: str) -> list[str | None]:
    """Return the name of the parent of each span of a name."""
    by_id = {span_id(each): each.name for each in spans}
    return [None if each.parent is None else by_id.get(each.parent.span_id) for each in spans if each.name == name]


async def test_nested_task_groups(telemetry: Telemetry) -> None:
    """A call in a task, in a group within a group, is below the span that was current where its group began; nothing is left behind."""
    mux = client(FakeTransport(slowly), share_reads=False)
    instrument(mux, **telemetry.options)
    tracer = telemetry.tracing.get_tracer("program")

    async def inner(name: str) -> None:
        with tracer.start_as_current_span(name):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(mux.video.assets.retrieve, name)
                tasks.start_soon(mux.video.assets.retrieve, name)
            await mux.video.assets.retrieve(name)

    with tracer.start_as_current_span("outer") as outer:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(inner, "one")
            tasks.start_soon(inner, "two")
        assert trace.get_current_span() is outer

    assert Counter(parents(telemetry.spans, "video.assets.retrieve")) == {"one": 3, "two": 3}
    assert parents(telemetry.spans, "one") == parents(telemetry.spans, "two") == ["outer"]


async def test_trio_nurseries(anyio_backend_name: str, telemetry: Telemetry) -> None:
    """The same with trio's own nursery, and with asyncio's own task group."""
    mux = client(FakeTransport(slowly), share_reads=False)
    instrument(mux, **telemetry.options)
    with telemetry.tracing.get_tracer("program").start_as_current_span("program"):
        if anyio_backend_name == "trio":
            import trio

            async with trio.open_nursery() as nursery:
                nursery.start_soon(mux.video.assets.retrieve, "a")
                nursery.start_soon(mux.video.assets.retrieve, "b")
        else:
            import asyncio

            async with asyncio.TaskGroup() as group:
                group.create_task(mux.video.assets.retrieve("a"))
                group.create_task(mux.video.assets.retrieve("b"))

    assert parents(telemetry.spans, "video.assets.retrieve") == ["program", "program"]


async def test_a_leader_that_is_cancelled(telemetry: Telemetry) -> None:
    """A follower of a shared read whose leader is cancelled has its answer, its span ends, and each request is in exactly one span."""
    sent = 0

    async def answer(_: SentRequest) -> HttpResponse:
        nonlocal sent
        sent += 1
        await anyio.sleep(1)
        return respond(json=ASSET)

    mux = client(FakeTransport(answer))
    instrument(mux, **telemetry.options)
    got = list[str | None]()

    async def follow() -> None:
        got.append((await mux.video.assets.retrieve("a1")).id)

    leader = anyio.CancelScope()

    async def lead() -> None:
        with leader:
            await mux.video.assets.retrieve("a1")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        await anyio.sleep(0.3)
        tasks.start_soon(follow)
        tasks.start_soon(follow)
        await anyio.sleep(0.3)
        leader.cancel()

    calls = [each for each in telemetry.spans if each.name == "video.assets.retrieve"]
    attempts = [each for each in telemetry.spans if each.name.startswith("GET")]
    assert got == ["a1", "a1"]
    assert Counter(attributes(each)["mux.outcome"] for each in calls) == {"cancelled": 1, "ok": 2}
    assert len(attempts) == sent
    assert all(each.end_time for each in telemetry.spans)
    assert set(parents(telemetry.spans, attempts[0].name)) == {"video.assets.retrieve"}
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_lists_of_many_pages(telemetry: Telemetry) -> None:
    """Each page is a call of its own, below the span in which the list is read; what the loop does in between is not below a call."""
    seen = list[trace.Span]()
    emulator = Emulator(EmulatorSettings(instant=True, limits=None), clock=lambda: 1.7e9 + anyio.current_time())
    mux = _on(emulator)
    for number in range(5):
        await mux.video.assets.create(inputs=[{"url": f"https://example.com/{number}.mp4"}])
    instrument(mux, **telemetry.options)
    with telemetry.tracing.get_tracer("program").start_as_current_span("program") as program:
        async for _ in mux.video.assets.list(limit=2):
            seen.append(trace.get_current_span())

    assert parents(telemetry.spans, "video.assets.list") == ["program"] * 3
    assert all(each is program for each in seen)
    assert len(seen) == 5


async def test_webhooks_handled_in_the_background(telemetry: Telemetry) -> None:
    """A handler that hands its work to a task group answers at once; what the task does later is in the trace of the delivery."""
    mux = client(FakeTransport(slowly))
    listener = OpenTelemetryListener(**telemetry.options)
    mux.listen(listener)
    hooks = WebhookRouter(SECRET, clock=lambda: NOW, listeners=[listener])
    async with anyio.create_task_group() as background:

        @hooks.on("video.asset.ready")
        async def handle(event: Event) -> None:
            background.start_soon(mux.video.assets.retrieve, "a1")

        body = body_of("video.asset.ready", "e1")
        assert (await hooks.receive(body, headers_of(body))).status == 200
        assert trace.get_current_span() is trace.INVALID_SPAN

    (delivery,) = (each for each in telemetry.spans if each.name.startswith("webhook"))
    (call,) = (each for each in telemetry.spans if each.name == "video.assets.retrieve")
    assert call.context is not None
    assert delivery.context is not None
    assert call.context.trace_id == delivery.context.trace_id
    assert tree(telemetry.spans)[1].strip() == "video.assets.retrieve"


@pytest.mark.parametrize("is_own_task", [True, False])
async def test_a_listener_that_is_removed_in_a_call(telemetry: Telemetry, *, is_own_task: bool) -> None:
    """The call under way is recorded to its end, also in the task that removes it; then no span is current, and later calls make none."""
    started = anyio.Event()

    async def answer(_: SentRequest) -> HttpResponse:
        started.set()
        if is_own_task:
            listening.remove()
        await anyio.sleep(1)
        return respond(json=ASSET)

    mux = client(FakeTransport(answer))
    listening = instrument(mux, **telemetry.options)
    if is_own_task:
        await mux.video.assets.retrieve("a1")
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mux.video.assets.retrieve, "a1")
            await started.wait()
            listening.remove()
    assert trace.get_current_span() is trace.INVALID_SPAN
    await mux.video.assets.retrieve("a2")

    assert tree(telemetry.spans) == ["video.assets.retrieve", "  GET /video/v1/assets/{ASSET_ID}"]
    assert attributes(telemetry.spans[0])["mux.outcome"] == "ok"


class Broken(SpanProcessor, Sampler):
    """A part of the SDK that fails, wherever it is used."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        raise RuntimeError("on_start")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("on_end")

    def should_sample(self, *_args: Any, **_options: Any) -> SamplingResult:
        raise RuntimeError("should_sample")

    def get_description(self) -> str:
        return "broken"


class Ending(SpanProcessor):
    """A processor that fails when a span ends."""

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("on_end")


@pytest.mark.parametrize("part", ["sampler", "start", "end", "metrics"])
async def test_an_sdk_that_fails(part: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls, webhooks and uploads go on as if nothing were; the log says so; no span is left current."""
    tracing = TracerProvider(sampler=Broken()) if part == "sampler" else TracerProvider()
    if part != "sampler":
        tracing.add_span_processor(Broken() if part == "start" else Ending())
    metering = MeterProvider()
    mux = client(FakeTransport(lambda _: respond(json=ASSET)))
    listener = OpenTelemetryListener(tracing, metering)
    if part == "metrics":

        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("record")

        for name in ("request_duration", "call_duration"):
            monkeypatch.setattr(listener._instruments, name, type("Histogram", (), {"record": fail})())  # pyright: ignore[reportPrivateUsage]
    mux.listen(listener)
    with caplog.at_level(logging.ERROR):
        for number in range(3):
            assert (await mux.video.assets.retrieve(f"a{number}")).id == "a1"

    assert trace.get_current_span() is trace.INVALID_SPAN
    assert "the call goes on" in caplog.text


def _on(emulator: Emulator) -> Mux:
    from mux_async.emulator import EmulatorTransport

    return Mux(
        token_id="test-token", token_secret="test-secret", account=f"otel-context-{next(_accounts)}",
        transport=EmulatorTransport(emulator), clock=anyio.current_time,
    )  # fmt: skip


LATE = """
import anyio
from mux_async import Mux
from mux_async.otel import instrument
from mux_async.testing import FakeTransport, respond
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

async def main():
    mux = Mux(token_id="a", token_secret="b", transport=FakeTransport(lambda _: respond(json={"data": {"id": "a1"}})))
    instrument(mux)
    await mux.video.assets.retrieve("before")
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    await mux.video.assets.retrieve("after")
    (call,) = (each for each in exporter.get_finished_spans() if each.name == "video.assets.retrieve")
    (attempt,) = (each for each in exporter.get_finished_spans() if each.name.startswith("GET"))
    assert attempt.attributes["url.path"].endswith("/after")
    data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    (duration,) = (each for each in data if each.name == "http.client.request.duration")
    assert [point.count for point in duration.data.data_points] == [1]
    assert "mux.rate_limit.rate" in {each.name for each in data}
    print("recorded")

anyio.run(main)
"""


@pytest.mark.runtimes("asyncio")
def test_providers_that_are_set_later() -> None:
    """Global providers that a program sets after it made its client get the calls from then on. They are global: a process of its own."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "recorded", done.stderr


@pytest.mark.proof
@pytest.mark.runtimes("asyncio")
async def test_ingest_over_sockets(telemetry: Telemetry, tmp_path: Path) -> None:
    """Every call and upload of an item is in the trace of that item, over real sockets; the reads that all share are in no other's."""
    for number in range(6):
        (tmp_path / f"{number}.mp4").write_bytes(bytes(60_000 + number))
    async with serve(Emulator(EmulatorSettings(limits=None, time_to_ready=0.2))) as origin:
        mux = Mux(token_id="test-token", token_secret="test-secret", base_url=origin, account=f"otel-{next(_accounts)}")
        instrument(mux, **telemetry.options)
        async with mux:
            with Journal.in_memory() as journal:
                await Ingest(mux, make_plan([tmp_path]).items, journal=journal).run()

    items = [each for each in telemetry.spans if each.name == "mux.ingest.item"]
    assert len(items) == 6
    for name in ("video.uploads.create", "mux.upload"):
        below = [each.parent.span_id for each in telemetry.spans if each.name == name and each.parent]
        assert sorted(below) == sorted(map(span_id, items)), name
    assert all(each.end_time for each in telemetry.spans)
