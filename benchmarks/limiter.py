"""What does the rate limiter cost per request, when the bucket is free and when requests queue?

Method: one process, CPU time per grant, median of rounds. *Free*: the bucket always has a permit. *Queued*: 10,000 tasks wait for a bucket
so fast that waiting in line is all they do. The peer is `anyio.Semaphore`, which only counts and keeps no rate: the least that waiting
in line costs on the same event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import time
from collections.abc import Awaitable, Callable

import anyio

from mux_async.limits import AccountLimits, Bucket, BucketSettings, LimitSettings


async def cpu_per_grant(acquire: Callable[[], Awaitable[object]], count: int, tasks: int) -> float:
    async def work() -> None:
        for _ in range(count // tasks):
            await acquire()

    start = time.process_time()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return (time.process_time() - start) / count * 1e6


async def contender(name: str, count: int) -> float:
    if name.startswith("semaphore"):
        semaphore = anyio.Semaphore(1, fast_acquire=True)

        async def through() -> None:
            async with semaphore:
                await asyncio.sleep(0)

        return await cpu_per_grant(through, count, count if name.endswith("queued") else 1)
    rate = BucketSettings(rate=1e6, burst=1) if name.endswith("queued") else BucketSettings(rate=1e6, burst=10_000_000)
    limits = AccountLimits(LimitSettings(post=rate))
    gate = limits.gate(asyncio.get_running_loop(), Bucket.POST)

    async def acquire() -> None:
        await gate.acquire("default", None)

    return await cpu_per_grant(acquire, count, count if name.endswith("queued") else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {options.count} grants, {options.rounds} rounds")
    names = ["semaphore, free", "gate, free", "semaphore, queued", "gate, queued"]
    results: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            results[name].append(asyncio.run(contender(name, options.count)))
    for name in names:
        print(f"  {name:20} {statistics.median(results[name]):7.2f} us of CPU per grant")


if __name__ == "__main__":
    main()
