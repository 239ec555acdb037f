"""A worker that ends at a chosen point: around each stored step and response. By SIGKILL, or SIGTERM without time to drain."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any, cast

import dbos

from mux_async import LimitSettings, Mux
from mux_async.ingest import _reconcile
from mux_async.ingest.dbos import Worker, _fence, _worker, status
from mux_async.transport import HttpRequest, HttpResponse, TransportFactory

points = 0
kill_at = int(sys.argv[3])
ending = signal.Signals[sys.argv[4]]


def point(place: str) -> None:
    """Die here if this is the chosen point."""
    global points
    points += 1
    if points == kill_at:
        print(f"killed {place}", flush=True)
        os.kill(os.getpid(), ending)


async def main(url: str, origin: str) -> None:
    run_step = cast("Any", dbos.DBOS).run_step_async
    enqueue = cast("Any", dbos.DBOS).enqueue_workflow_async
    send = _fence.FencedTransport.send

    async def run_step_async(options: Any, *arguments: Any) -> Any:
        point(f"before {options['name']}")
        result = await run_step(options, *arguments)
        point(f"after {options['name']}")
        return result

    async def enqueue_workflow_async(*arguments: Any) -> Any:
        point("before the second workflow")
        result = await enqueue(*arguments)
        point("after the second workflow")
        return result

    async def send_counted(self: Any, request: HttpRequest) -> HttpResponse:
        place = f"{request.method} {request.url.partition('?')[0].rpartition('/')[2][:20]}"
        point(f"before {place}")
        response = await send(self, request)
        point(f"after {place}")
        return response

    cast("Any", dbos.DBOS).run_step_async = run_step_async
    cast("Any", dbos.DBOS).enqueue_workflow_async = enqueue_workflow_async
    cast("Any", _fence.FencedTransport).send = send_counted

    def make_client(transport: TransportFactory) -> Mux:
        unlimited = LimitSettings(enabled=False)
        return Mux(token_id="test-token", token_secret="test-secret", base_url=origin, transport=transport, limits=unlimited)

    worker = Worker(url, make_client=make_client, drain=0.0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    running = asyncio.create_task(worker.run())
    while True:
        await asyncio.sleep(0.1)
        if running.done():
            await running
            return
        found = await asyncio.to_thread(status, url)
        if found.ready + found.failed == found.total:
            break
    worker.stop()
    await running
    print(f"ended {points}", flush=True)


for name, seconds in {"BEAT": 0.3, "FENCE_AFTER": 2.0, "ADOPT_AFTER": 3.0}.items():
    for module in (_fence, _worker):
        setattr(module, name, seconds)
cast("Any", _reconcile).SETTLE_TIME = 3.0  # the emulator answers within it
asyncio.run(main(*sys.argv[1:3]))
