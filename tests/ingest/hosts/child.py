"""A worker of an ingest on many hosts, as a process of its own. Its times are shorter than in production, so that tests are quick."""

from __future__ import annotations

import asyncio
import signal
import sys

from mux_async import BucketSettings, LimitSettings, Mux
from mux_async.ingest.dbos import Worker, _fence, _worker
from mux_async.transport import TransportFactory


async def main(url: str, origin: str, limits: str, rate: str, concurrency: str = "4") -> None:
    def make_client(transport: TransportFactory) -> Mux:
        settings = LimitSettings(
            url=limits,
            post=BucketSettings(rate=float(rate), burst=2),
            other=BucketSettings(rate=5 * float(rate), burst=10),
        )
        return Mux(token_id="test-token", token_secret="test-secret", base_url=origin, transport=transport, limits=settings)

    worker = Worker(url, make_client=make_client, concurrency=int(concurrency), drain=5.0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    print("working", flush=True)
    is_own = await worker.run()
    print("ended" if is_own else "taken over", flush=True)


for name, seconds in {"BEAT": 1.0, "FENCE_AFTER": 5.0, "ADOPT_AFTER": 8.0}.items():
    for module in (_fence, _worker):
        setattr(module, name, seconds)
asyncio.run(main(*sys.argv[1:]))
