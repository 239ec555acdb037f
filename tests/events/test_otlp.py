"""Spans and metrics as they leave the process: by the SDK's OTLP/HTTP exporters, to a receiver that decodes them, over real sockets.

The receiver stands in for a collector, of which no registry of packages has a program that can be installed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from mux_async import BucketSettings, LimitSettings, Mux, MuxError, RetryPolicy, Timeouts
from mux_async.emulator import Emulator, EmulatorSettings, Fault, RateRules, Token
from mux_async.emulator.server import serve
from mux_async.ingest import Ingest, Journal, make_plan
from mux_async.limits import Bucket
from mux_async.otel import OpenTelemetryListener, instrument
from mux_async.webhooks import WebhookRouter
from tests.security.canaries import CANARIES, TOKEN_ID, leaks

pytestmark = [pytest.mark.proof, pytest.mark.asyncio]

_accounts = count()


class Receiver:
    """Keeps what exporters send, decoded and as bytes."""

    def __init__(self) -> None:
        self.content: list[bytes] = []
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        """The last state of each metric, by name."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                answer = receiver.take(self.path, content).SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def take(self, path: str, content: bytes) -> Any:
        self.content.append(content)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
            return ExportTraceServiceResponse()
        assert path == "/v1/metrics"
        for resource in ExportMetricsServiceRequest.FromString(content).resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics |= {metric.name: metric for metric in scope.metrics}
        return ExportMetricsServiceResponse()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def counts(self, name: str, *keys: str) -> Counter[tuple[str | None, ...]]:
        """Return the values of a counter, or the counts of a histogram, by some attributes."""
        metric = self.metrics[name]
        found = Counter[tuple[str | None, ...]]()
        for point in getattr(metric, metric.WhichOneof("data")).data_points:
            attributes = attributes_of(point)
            value = point.count if metric.HasField("histogram") else int(point.as_int or point.as_double)
            found[tuple(attributes.get(key) for key in keys)] += value
        return found


def attributes_of(thing: Any) -> dict[str, str]:
    return {each.key: str(getattr(each.value, each.value.WhichOneof("value"))) for each in thing.attributes}


@pytest.fixture
def receiver() -> Generator[Receiver]:
    found = Receiver()
    found.start()
    yield found
    found.stop()


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_what_is_exported(receiver: Receiver, transport: str, tmp_path: Path) -> None:
    """Spans and counts are those of the emulator's log, exactly, with faults and 429s on the way; and no byte of them is a secret."""
    few = RateRules(rates={**RateRules().rates, Bucket.OTHER: 30.0}, burst=1.0)
    token = Token(id=TOKEN_ID, secret=CANARIES["token secret"])
    emulator = Emulator(EmulatorSettings(tokens=(token,), limits=few, time_to_ready=0.1))
    emulator.faults.add(Fault(method="GET", nth=range(3, 1000, 7), status=503))
    emulator.faults.add(Fault(method="GET", nth=range(5, 1000, 11), cut="before"))
    emulator.faults.add(Fault(method="GET", nth=range(6, 1000, 13), truncate=10))
    tracing = TracerProvider()
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{receiver.url}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{receiver.url}/v1/metrics"), export_interval_millis=3_600_000)
    metering = MeterProvider([reader])
    for number in range(2):
        (tmp_path / f"{number}.mp4").write_bytes(bytes(50_000 + number))
    fast = BucketSettings(rate=40.0, burst=40)
    async with serve(emulator) as origin:
        mux = Mux(
            token_id=TOKEN_ID,
            token_secret=CANARIES["token secret"],
            base_url=origin,
            account=f"otlp-{next(_accounts)}",
            headers={"X-Own": CANARIES["header"]},
            transport=transport,
            limits=LimitSettings(post=fast, other=fast),
            timeouts=Timeouts(connect=5.0, read=5.0),
            retry=RetryPolicy(first=0.01, longest=0.05),
        )
        instrument(mux, tracer_provider=tracing, meter_provider=metering)
        hooks = WebhookRouter(CANARIES["webhook secret"], listeners=[OpenTelemetryListener(tracing, metering)])

        async def list_quietly(number: int) -> None:
            try:
                await mux.video.assets.list(limit=number, live_stream_id=CANARIES["stream key"])
            except MuxError:
                return

        async with mux:
            async with anyio.create_task_group() as tasks:
                for number in range(60):
                    tasks.start_soon(list_quietly, number + 1)
            with Journal.in_memory() as journal:
                await Ingest(mux, make_plan([tmp_path]).items, journal=journal).run()
            await mux.video.assets.create(
                inputs=[{"url": f"https://e.com/a.mp4?X-Amz-Signature={CANARIES['input URL']}"}], passthrough=CANARIES["token"]
            )
            await hooks.receive(CANARIES["token"].encode(), {"mux-signature": CANARIES["webhook secret"]})
    await anyio.to_thread.run_sync(tracing.shutdown)
    await anyio.to_thread.run_sync(metering.force_flush)
    await anyio.to_thread.run_sync(metering.shutdown)

    arrived = [each for each in emulator.arrivals if each.path.startswith(("/video/", "/system/"))]
    attempts = [each for each in receiver.spans if "url.path" in attributes_of(each)]
    assert Counter(attributes_of(each)["url.path"] for each in attempts) == Counter(each.path for each in arrived)
    assert receiver.counts(
        "http.client.request.duration", "http.request.method", "http.response.status_code", "mux.rate_limit.bucket"
    ) == Counter((each.method, each.status and str(each.status), each.bucket and each.bucket.value) for each in arrived)
    resent = [each for each in attempts if "http.request.resend_count" in attributes_of(each)]
    retries = receiver.counts("mux.call.retries", "mux.retry.reason")
    assert retries.total() == len(resent)
    assert receiver.counts("mux.rate_limit.throttled").total() == sum(each.status == 429 for each in arrived)
    assert set(retries) >= {("status",), ("no_answer",), ("broken_answer",)}
    assert receiver.counts("mux.upload.bytes").total() == 100_001
    ids = {each.span_id for each in receiver.spans}
    assert all(each.parent_span_id in ids for each in attempts)
    assert all(each.end_time_unix_nano >= each.start_time_unix_nano > 0 for each in receiver.spans)
    assert len(receiver.content) >= 2
    assert leaks(b"".join(receiver.content)) == []
