"""What do listeners and OpenTelemetry cost per call, beside what OpenTelemetry's own instrumentation of aiohttp costs per request?

Method: one process, CPU time, contenders in turn within a round, no garbage collection while a sample is taken. Printed are medians over
the rounds: of the time, and of the difference and the ratio within a round to the contender without anything. *GET, no network*: the
answer is there already, so that only the client is measured. *GET, loopback*: over aiohttp to the server of the other benchmarks, on
another core.

*no provider* is a program that has installed `mux_async.otel` and no SDK. *SDK* has a `TracerProvider` whose spans go nowhere and a
`MeterProvider` that nobody reads. The instrumentation of aiohttp gets the same, and makes one span and one metric for a request; ours
makes a span for the call and one for the attempt, and metrics of both.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from benchmarks._answers import ONE
from mux_async import BucketSettings, LimitSettings, Mux
from mux_async.events import ClientEvent
from mux_async.otel import instrument
from mux_async.transport import HttpRequest, HttpResponse, Transport

Call = Callable[[], Awaitable[object]]
HEADERS = CIMultiDictProxy(CIMultiDict({"Content-Type": "application/json", "X-Request-Id": "r1"}))
ASSET = "x" * 40


class Body:
    """A body that is there as a whole."""

    def __init__(self) -> None:
        self.is_read = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.is_read:
            raise StopAsyncIteration
        self.is_read = True
        return ONE

    async def aclose(self) -> None: ...


class Canned:
    """A transport that has the answer ready."""

    async def send(self, request: HttpRequest, /) -> HttpResponse:  # noqa: ARG002 - all are answered alike
        return HttpResponse(200, HEADERS, Body())

    async def aclose(self) -> None: ...


def make_clients(transport: Callable[[], Transport | str], base_url: str) -> dict[str, Mux]:
    """Return a client for each contender."""
    fast = BucketSettings(rate=1e6, burst=1_000_000)
    limits = LimitSettings(post=fast, other=fast, realtime_data=fast, general_data=fast)
    clients = {
        name: Mux(
            token_id="id", token_secret="secret", base_url=base_url, account="benchmark", transport=transport(), limits=limits
        )
        for name in ("nothing", "a listener", "no provider", "SDK, spans", "SDK, spans and metrics")
    }
    tracing, metering = providers()
    clients["a listener"].listen(ignore)
    instrument(clients["no provider"])
    instrument(clients["SDK, spans"], tracer_provider=tracing)
    instrument(clients["SDK, spans and metrics"], tracer_provider=tracing, meter_provider=metering)
    return clients


def providers() -> tuple[TracerProvider, MeterProvider]:
    tracing = TracerProvider()
    tracing.add_span_processor(SpanProcessor())  # without one, no span would be recorded
    return tracing, MeterProvider([InMemoryMetricReader()])


def ignore(event: ClientEvent) -> None:
    """Do nothing."""


def get_with(client: Mux) -> Call:
    return lambda: client.video.assets.retrieve(ASSET)


async def cost(call: Call, count: int) -> float:
    """Return the microseconds of CPU time that one call takes."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        for _ in range(count):
            await call()
        return (time.process_time() - start) / count * 1e6
    finally:
        gc.enable()


async def compare(title: str, contenders: dict[str, Call], rounds: int, count: int) -> None:
    """Print what each contender costs more than the first one of its family, whose name ends in ``nothing``."""
    for call in contenders.values():
        await cost(call, 50)
    found: list[dict[str, float]] = []
    names = list(contenders)
    for number in range(rounds):
        turned = names[number % len(names) :] + names[: number % len(names)]
        found.append({name: await cost(contenders[name], count) for name in turned})
    print(f"\n{title}")
    base = names[0]
    for name in names:
        base = name if name.endswith("nothing") else base
        more = statistics.median(one[name] - one[base] for one in found)
        ratio = statistics.median(one[name] / one[base] for one in found)
        print(f"{name:38} {statistics.median(one[name] for one in found):8.1f} us {more:+8.2f} us {ratio:6.3f} x")


async def over_sockets(port: int, rounds: int, count: int) -> None:
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        contenders: dict[str, Call] = {}
        for name, client in make_clients(lambda: "aiohttp", url).items():
            await stack.enter_async_context(client)
            contenders[f"mux_async, {name}"] = get_with(client)
        tracing, metering = providers()
        configs = {
            "nothing": [],
            "SDK, spans": [create_trace_config(tracer_provider=tracing)],
            "SDK, spans and metrics": [create_trace_config(tracer_provider=tracing, meter_provider=metering)],
        }
        for name, config in configs.items():
            session = await stack.enter_async_context(aiohttp.ClientSession(trace_configs=config))

            async def get(session: aiohttp.ClientSession = session) -> bytes:
                async with session.get(f"{url}/video/v1/assets/{ASSET}") as response:
                    return await response.read()

            contenders[f"aiohttp, {name}"] = get
        await compare("GET, loopback", contenders, rounds, count)


async def without_network(rounds: int, count: int) -> None:
    clients = make_clients(Canned, "http://127.0.0.1:9")
    await compare("GET, no network", {name: get_with(client) for name, client in clients.items()}, rounds, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--count", type=int, default=300)
    options = parser.parse_args()
    names = ("aiohttp", "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-instrumentation-aiohttp-client")
    print(
        f"Python {platform.python_version()}, {platform.machine()}, " + ", ".join(f"{name} {version(name)}" for name in names)
    )
    asyncio.run(without_network(options.rounds, options.count))
    core = str(max(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else "0"
    command = [sys.executable, "-m", "benchmarks._server", core]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        asyncio.run(over_sockets(int(server.stdout.readline()), options.rounds, options.count))
        server.communicate()  # closes its input, which ends it


if __name__ == "__main__":
    main()
