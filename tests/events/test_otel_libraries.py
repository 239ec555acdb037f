"""OpenTelemetry beside other instrumentations, and its own command, over real sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.metadata import entry_points
from typing import Any

import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mux_async import Mux
from mux_async.emulator import Emulator, serve
from mux_async.otel import MuxInstrumentor, instrument

pytestmark = pytest.mark.asyncio

INSTRUMENT = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
"""What the command ``opentelemetry-instrument`` is."""


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_no_request_has_two_spans(transport: str) -> None:
    """With the instrumentations of aiohttp and httpx switched on, a request has one span, and other requests of theirs still have one.

    The requests of an upload are in the span of the upload: that of aiohttp would show the signed URL.
    """
    import aiohttp

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    others: list[Any] = [AioHttpClientInstrumentor(), HTTPXClientInstrumentor()]
    for each in others:
        each.instrument(tracer_provider=provider)
    try:
        async with serve(Emulator()) as url:
            async with Mux(token_id="test-token", token_secret="test-secret", base_url=url, transport=transport) as mux:
                with instrument(mux, tracer_provider=provider):
                    await mux.video.assets.list()
                    await mux.uploads.send(b"x" * 1000, wait=False)
            ours = Counter(span.name for span in exporter.get_finished_spans())
            exporter.clear()
            async with aiohttp.ClientSession() as session, session.get(f"{url}/video/v1/assets"):
                pass
            theirs = [span.name for span in exporter.get_finished_spans()]
    finally:
        for each in others:
            each.uninstrument()

    assert ours == {
        "video.assets.list": 1,
        "GET /video/v1/assets": 1,
        "video.uploads.create": 1,
        "POST /video/v1/uploads": 1,
        "mux.upload": 1,
        "video.uploads.retrieve": 1,
        "GET /video/v1/uploads/{UPLOAD_ID}": 1,
    }
    assert theirs == ["GET"]


async def test_the_entry_point_is_the_instrumentor() -> None:
    """Under the name that people turn instrumentations off by."""
    (found,) = entry_points(group="opentelemetry_instrumentor", name="mux_async")
    assert found.load() is MuxInstrumentor


@pytest.mark.proof
async def test_opentelemetry_instrument() -> None:
    """A program that knows nothing of OpenTelemetry has spans when it is started by ``opentelemetry-instrument``."""
    async with serve(Emulator()) as url:
        program = f"""
import anyio
from mux_async import Mux

async def main():
    async with Mux(token_id="test-token", token_secret="test-secret", base_url={url!r}) as mux:
        await mux.video.assets.list()

anyio.run(main)
"""
        environment = {
            **os.environ,
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_METRICS_EXPORTER": "console",
            "OTEL_LOGS_EXPORTER": "none",
        }
        command = [sys.executable, "-c", INSTRUMENT, sys.executable, "-c", program]
        import anyio

        with anyio.fail_after(60):
            done = await anyio.run_process(command, env=environment, check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    printed = done.stdout.decode()
    decoder, names, at = json.JSONDecoder(), list[str](), 0
    while (at := printed.find("{", at)) >= 0:
        value, at = decoder.raw_decode(printed, at)
        names += [value["name"]] if "span_id" in value.get("context", {}) else []
        names += [
            metric["name"]
            for resource in value.get("resource_metrics", [])
            for scope in resource["scope_metrics"]
            for metric in scope["metrics"]
        ]
    assert {"video.assets.list", "GET /video/v1/assets", "http.client.request.duration"} <= set(names)
