"""What do many clients in one process cost, and many tasks on one client?

Method, clients: each count in a new process, beside a server in another one. Clients of different accounts share one transport, as a
program with many accounts would (`Mux(transport=one)`): it stays the caller's, and no client closes it. Bytes at rest are what
tracemalloc counts, in a run of its own because it slows everything down, and what the process holds in addition (RSS); before that, ten
clients have done everything once. Times are CPU time of the process. "Left" is what remains of each once all were closed and dropped, in a
second round of as many: what grows with every client that ever was shows there.

Method, tasks: the same number of GETs on one client whose rates are raised out of the way, by 100 tasks and by 10,000, in turn. Every GET
is for another asset. A call takes from when its task wants it to its answer, the wait for one of the 100 connections included.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from itertools import count
from typing import NamedTuple

from benchmarks._child import resident
from benchmarks._run import Server, environment, serve
from mux_async import BucketSettings, LimitSettings, Mux, Timeouts
from mux_async_aiohttp import AiohttpTransport

COUNTS = (100, 1_000, 10_000)


async def measure_clients(origin: str, number: int, *, sends: bool, traces: bool) -> dict[str, float]:
    """Open *number* clients, keep them, close them; twice."""
    transport = AiohttpTransport()
    rounds: list[dict[str, float]] = []
    left = 0.0
    # By then, the transport has imported what it imports after the first answer.
    await open_and_close(origin, 10, transport, sends=True)
    await asyncio.sleep(1.2)
    if traces:
        tracemalloc.start()
    for _ in range(2):
        before = traced_after_collection()
        rounds.append(await open_and_close(origin, number, transport, sends=sends))
        left = (traced_after_collection() - before) / number
    await transport.aclose()
    first, second = rounds  # the second finds memory that the first one freed
    return {**{name: min(first[name], second[name]) for name in first}, "rss": first["rss"], "left": left}


async def open_and_close(origin: str, number: int, transport: AiohttpTransport, *, sends: bool) -> dict[str, float]:
    """Return bytes of each, and microseconds of CPU for opening, a first call, and closing."""
    traced, held = traced_after_collection(), resident()
    start = time.process_time()
    clients = [Mux(token_id=f"id-{n}", token_secret="secret", base_url=origin, transport=transport) for n in range(number)]
    opened = time.process_time()
    if sends:
        for client in clients:
            await client.video.assets.retrieve("a")
    sent = time.process_time()
    found = {"bytes": (traced_after_collection() - traced) / number, "rss": (resident() - held) / number}
    closing = time.process_time()
    for client in clients:
        await client.aclose()
    closed = time.process_time()
    times = {"open": opened - start, "send": sent - opened, "close": closed - closing}
    return found | {name: seconds / number * 1e6 for name, seconds in times.items()}


def traced_after_collection() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def print_clients(server: Server) -> None:
    print(
        f"{'clients':>8}{'':12}{'bytes each':>12}{'RSS each':>10}{'open, us':>10}{'send, us':>10}{'close, us':>11}{'left':>7}"
    )
    for sends in (False, True):
        for number in COUNTS:
            found: list[dict[str, float]] = []
            for traces in (False, True):
                options = ["--clients", str(number), "--origin", server.origin, *["--sends"] * sends, *["--traces"] * traces]
                command = [sys.executable, "-m", "benchmarks.scale", *options]
                done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment())
                found.append(json.loads(done.stdout))
            timed, traced = found
            print(
                f"{number:8}{'  after a GET' if sends else '  at rest':14}{traced['bytes']:10.0f}{timed['rss']:10.0f}"
                f"{timed['open']:10.0f}{timed['send']:10.0f}{timed['close']:11.1f}{traced['left']:7.0f}"
            )


class Sample(NamedTuple):
    """GETs by many tasks: calls a second, microseconds of CPU for each, and seconds that calls took."""

    rate: float
    cpu: float
    taken: list[float]


async def measure_tasks(origin: str, tasks: int, calls: int) -> Sample:
    """Make *calls* GETs with so many *tasks*."""
    fast = BucketSettings(rate=1e6, burst=1_000_000)
    limits = LimitSettings(post=fast, other=fast, realtime_data=fast, general_data=fast)
    timeouts = Timeouts(connect=None)  # a call may wait for a connection as long as it has to
    taken: list[float] = []
    ids = count()
    async with Mux(token_id="id", token_secret="secret", base_url=origin, limits=limits, timeouts=timeouts) as mux:

        async def work(number: int) -> None:
            for _ in range(number):
                start = time.perf_counter()
                await mux.video.assets.retrieve(f"a{next(ids)}")
                taken.append(time.perf_counter() - start)

        await asyncio.gather(*(work(2) for _ in range(100)))
        taken.clear()
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work(calls // tasks) for _ in range(tasks)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Sample(len(taken) / wall, cpu / len(taken) * 1e6, sorted(taken))


def print_tasks(server: Server, rounds: int, calls: int) -> None:
    few, many = 100, 10_000
    found: dict[int, list[Sample]] = {few: [], many: []}
    for number in range(rounds):
        for tasks in (few, many) if number % 2 else (many, few):
            found[tasks].append(asyncio.run(measure_tasks(server.origin, tasks, calls)))
    print(f"\n{'tasks':>8}{'calls a second':>16}{'CPU, us':>10}{'median, ms':>12}{'p99':>8}{'longest':>9}")
    for tasks, samples in found.items():
        best = min(samples, key=lambda one: one.cpu)
        median = statistics.median(best.taken)
        p99 = best.taken[int(len(best.taken) * 0.99)]
        print(
            f"{tasks:8}{best.rate:16.0f}{best.cpu:10.1f}{median * 1e3:12.1f}{p99 / median:6.2f} x{best.taken[-1] / median:7.2f} x"
        )
    ratio = statistics.median(slow.cpu / quick.cpu for slow, quick in zip(found[many], found[few], strict=True))
    print(f"CPU of a call, {many} tasks beside {few}, median of the rounds: {ratio:.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of tasks")
    parser.add_argument("--calls", type=int, default=30_000, help="of a round of tasks")
    parser.add_argument("--clients", type=int, help=argparse.SUPPRESS)  # these four: the processes that this one starts
    parser.add_argument("--origin", help=argparse.SUPPRESS)
    parser.add_argument("--sends", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--traces", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.clients:
        measuring = measure_clients(options.origin, options.clients, sends=options.sends, traces=options.traces)
        print(json.dumps(asyncio.run(measuring)))
        return
    with serve() as server:
        print_clients(server)
        print_tasks(server, options.rounds, options.calls)


if __name__ == "__main__":
    main()
