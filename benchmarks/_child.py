"""One contender at one piece of work, in a process of its own; prints what it measured as JSON.

``python -m benchmarks._child CONTENDER WORK ORIGIN SECONDS``
"""

# ruff: noqa: E402 - the clock starts before anything is imported
import time

BEGAN = time.perf_counter(), time.process_time()

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from benchmarks._contenders import AT_ONCE, CONTENDERS, THREADS, Contender, Work

T = TypeVar("T")


def main() -> None:
    name, work, origin, seconds = sys.argv[1:]
    contender = next(one for one in CONTENDERS if one.name == name)
    run: Callable[[Any], Any] = asyncio.run
    if contender.is_on_uvloop:
        import uvloop

        run = uvloop.run
    measured = run(measure(contender, work, origin, float(seconds)))
    import json

    print(json.dumps(measured))


async def measure(contender: Contender, work: str, origin: str, seconds: float) -> dict[str, float]:
    async with contender.open(origin) as calls:
        if work == "first":
            return await first(contender, calls)
        if work == "memory":
            return await memory(contender, calls)
        what, _, at_once = work.partition("/")
        call = getattr(calls, what)
        if at_once == "1":
            return await one_by_one(contender, call, seconds)
        return await many_at_once(contender, call, seconds)


async def perform(contender: Contender, call: Callable[[], Any]) -> Any:
    return call() if contender.has_threads else await call()


async def first(contender: Contender, calls: Work) -> dict[str, float]:
    """From the first import to the first answer."""
    await perform(contender, calls.get)
    return {"ms": (time.perf_counter() - BEGAN[0]) * 1e3, "cpu_ms": (time.process_time() - BEGAN[1]) * 1e3}


def resident() -> int:
    """Bytes of memory that the process holds."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - pathlib is not what is weighed
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def memory(contender: Contender, calls: Work) -> dict[str, float]:
    """Of a client that has had one answer, and of 10,000 assets in a hundred pages that are kept."""
    await perform(contender, calls.get)
    gc.collect()
    idle = resident()
    kept = [await perform(contender, calls.list) for _ in range(100)]
    gc.collect()
    return {"idle_mb": idle / 1e6, "per_asset_kb": (resident() - idle) / (len(kept) * 100) / 1e3}


async def one_by_one(contender: Contender, call: Callable[[], Any], seconds: float) -> dict[str, float]:
    async def run(count: int) -> list[float]:
        taken: list[float] = []
        for _ in range(count):
            start = time.perf_counter()
            await perform(contender, call)
            taken.append(time.perf_counter() - start)
        return taken

    measured, taken = await measure_run(run, 20, seconds)
    return {**measured, "p50_us": sorted(taken)[len(taken) // 2] * 1e6}


async def many_at_once(contender: Contender, call: Callable[[], Any], seconds: float) -> dict[str, float]:
    async def work(count: int) -> None:
        for _ in range(count):
            await call()

    def work_in_thread(count: int) -> None:
        for _ in range(count):
            call()

    async def run(count: int) -> None:
        if contender.has_threads:
            await asyncio.gather(*(asyncio.to_thread(work_in_thread, count // THREADS) for _ in range(THREADS)))
        else:
            await asyncio.gather(*(work(count // AT_ONCE) for _ in range(AT_ONCE)))

    if contender.has_threads:
        from concurrent.futures import ThreadPoolExecutor

        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    measured, _ = await measure_run(run, THREADS if contender.has_threads else AT_ONCE, seconds)
    return measured


async def measure_run(run: Callable[[int], Awaitable[T]], step: int, seconds: float) -> tuple[dict[str, float], T]:
    """Warm up, and measure about *seconds* of CPU time: some multiple of *step* calls."""
    await run(step)
    start = time.process_time()
    await run(step)
    count = max(1, round(seconds / (time.process_time() - start))) * step
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    found = await run(count)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_us": cpu / count * 1e6, "rate": count / wall, "calls": count + 2 * step}, found


if __name__ == "__main__":
    main()
