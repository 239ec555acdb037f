"""What does the rate limiter cost: per free grant, per paced grant, per place in the queue, and when nine in ten of a queue leave?

Method: every number comes from a process of its own; contenders take turns in each round; medians, and ratios of medians.

*Free*: the bucket always has a permit; microseconds of CPU per grant. The peer is `anyio.Semaphore`, which only counts.

*Paced*: many tasks wait, and one is let out every 2 ms of real time; microseconds of CPU per grant, everything included: the timer, the
event loop, the task that ends. What is the least that this costs on the machine, says the *timer*: one task that sleeps 2 ms and sets the
event that the next of the waiting tasks waits for. The same on a clock that jumps (*no kernel*): what is left without system calls and
idle wake-ups. Peers, when installed: aiolimiter and pyrate-limiter, with a tenth of the tasks.

*Memory*: bytes per waiting task by tracemalloc, beyond a task that waits for an event.

*Leaving*: seconds of CPU for 90 % of the queue to be cancelled at random moments while it is served; it fails unless the others come
out in order.

``python -m benchmarks.limiter --tasks 100000``
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.metadata
import importlib.util
import json
import platform
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio

from mux_async.limits import Bucket, BucketSettings, LimitSettings
from mux_async.limits._account import AccountLimits
from mux_async.limits._gate import Gate
from mux_async.testing import VirtualTimeLoop

INTERVAL = 0.002
PEERS = {"aiolimiter": "aiolimiter", "pyrate": "pyrate-limiter"}


def make_gate(rate: float, burst: int = 1) -> Gate:
    loop = asyncio.get_running_loop()
    limits = AccountLimits(LimitSettings(post=BucketSettings(rate, burst)), clock=loop.time)
    return limits.gate(loop, Bucket.POST)


def make_acquire(contender: str) -> Callable[[], Awaitable[object]]:
    """Return what waits for one paced grant of *contender*."""
    match contender:
        case "gate":
            gate = make_gate(1 / INTERVAL)
            return lambda: gate.acquire("batch", None)
        case "aiolimiter":
            from aiolimiter import AsyncLimiter

            return AsyncLimiter(1, INTERVAL).acquire
        case "pyrate":
            from pyrate_limiter import Limiter, Rate

            return Limiter(Rate(1, round(INTERVAL * 1000)), buffer_ms=0).try_acquire_async
        case _:
            raise ValueError(contender)


async def paced(contender: str, tasks: int, grants: int) -> float:
    served, done = 0, asyncio.Event()

    def serve() -> None:
        nonlocal served
        served += 1
        if served == grants + 1:
            done.set()

    if contender == "timer":
        events = [anyio.Event() for _ in range(tasks)]

        async def wait(number: int) -> None:
            await events[number].wait()
            serve()

        async def tick() -> None:
            for event in events:
                await anyio.sleep(INTERVAL)
                event.set()

        waiting = [asyncio.ensure_future(wait(number)) for number in range(tasks)]
        waiting.append(asyncio.ensure_future(tick()))
    else:
        acquire = make_acquire(contender)

        async def queue() -> None:
            await acquire()
            serve()

        waiting = [asyncio.ensure_future(queue()) for _ in range(tasks)]
    await asyncio.wait(waiting[:1])
    gc.collect()
    gc.freeze()
    before, start = served, time.process_time()
    await done.wait()
    spent = time.process_time() - start
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return spent / (served - before) * 1e6


async def free(contender: str, count: int) -> float:
    if contender == "semaphore":
        semaphore = anyio.Semaphore(1, fast_acquire=True)

        async def through() -> None:
            async with semaphore:
                pass

    else:
        gate = make_gate(1e6, 10_000_000)

        async def through() -> None:
            await gate.acquire("default", None)

    start = time.process_time()
    for _ in range(count):
        await through()
    return (time.process_time() - start) / count * 1e6


async def wait_for(event: anyio.Event) -> None:
    await event.wait()


async def memory(contender: str, tasks: int) -> float:
    def bare() -> Coroutine[Any, Any, object]:
        return wait_for(anyio.Event())

    gate = make_gate(1e-3)
    await gate.acquire("default", None)
    start = bare if contender == "event" else lambda: gate.acquire("default", None)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    waiting = [asyncio.ensure_future(start()) for _ in range(tasks)]
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return used / tasks


async def leaving(tasks: int) -> float:
    gate, chance = make_gate(1000.0), random.Random(1)
    stays = [chance.random() < 0.1 for _ in range(tasks)]
    served: list[int] = []

    async def wait(number: int) -> None:
        await gate.acquire("default", None)
        if stays[number]:
            served.append(number)

    waiting = [asyncio.ensure_future(wait(number)) for number in range(tasks)]
    await asyncio.sleep(0)
    leavers = [task for number, task in enumerate(waiting) if not stays[number]]
    chance.shuffle(leavers)
    start = time.process_time()
    for number, task in enumerate(leavers):
        task.cancel()
        if number % 100 == 0:
            await asyncio.sleep(0.001)
    await asyncio.gather(*waiting, return_exceptions=True)
    if served != [number for number in range(tasks) if stays[number]] or len(gate):
        raise SystemExit("somebody was lost, or served out of order")
    return time.process_time() - start


def run_one(question: str, contender: str, options: argparse.Namespace) -> float:
    tasks = options.tasks if contender not in PEERS else options.tasks // 10
    main: Coroutine[Any, Any, float]
    loop: Callable[[], asyncio.AbstractEventLoop] | None = VirtualTimeLoop if question in {"no kernel", "leaving"} else None
    match question:
        case "free":
            main = free(contender, 20_000)
        case "paced" | "no kernel":
            main = paced(contender, tasks, options.grants)
        case "memory":
            main = memory(contender, tasks)
        case _:
            main = leaving(tasks)
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


def ask(question: str, contender: str, options: argparse.Namespace) -> float:
    command = [sys.executable, "-m", "benchmarks.limiter", "--one", question, contender]
    command += ["--tasks", str(options.tasks), "--grants", str(options.grants)]
    done = subprocess.run(command, check=True, capture_output=True)
    value: float = json.loads(done.stdout)
    return value


def report(title: str, unit: str, results: dict[str, list[float]], against: str) -> None:
    print(title)
    base = statistics.median(results[against])
    for name, values in results.items():
        median = statistics.median(values)
        print(f"  {name:12} {median:10.2f} {unit:14} {median / base:7.2f} x {against}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--grants", type=int, default=1000)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        question, contender = options.one
        print(json.dumps(run_one(question, contender, options)))
        return
    peers = [name for name in PEERS if importlib.util.find_spec(PEERS[name].replace("-", "_"))]
    versions = ", ".join(f"{PEERS[name]} {importlib.metadata.version(PEERS[name])}" for name in peers)
    print(f"Python {platform.python_version()}, {platform.machine()}, anyio {importlib.metadata.version('anyio')}, {versions}")
    print(f"{options.tasks} tasks (peers: {options.tasks // 10}), {options.grants} grants, {options.rounds} rounds")
    questions = {
        "free": ("free grant", "us of CPU", ["semaphore", "gate"]),
        "paced": ("paced grant", "us of CPU", ["timer", "gate", *peers]),
        "no kernel": ("paced grant, no kernel", "us of CPU", ["timer", "gate"]),
        "memory": ("waiting task", "bytes", ["event", "gate"]),
        "leaving": ("nine in ten leave", "s of CPU", ["gate"]),
    }
    for question, (title, unit, contenders) in questions.items():
        results: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(1 if question == "memory" else options.rounds):
            for name in contenders:
                results[name].append(ask(question, name, options))
        report(title, unit, results, contenders[0])


if __name__ == "__main__":
    main()
