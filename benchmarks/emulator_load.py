"""Does the emulator hold 1,000 connections and 10,000 assets with a p99 below 50 ms for a GET?

Method. `mux-async emulate` runs as a process of its own and is filled through its API. This process opens the connections, keeps them
alive, and writes requests that were built before, with a protocol that does no more than count bytes, so that little of what is measured
is the client's own. Two kinds of round:

* *paced*: every connection asks, waits for the answer, and asks again when its next turn comes, so that all together make so many
  requests a second. Turns are spread evenly, and what is sent late is counted from when its turn was: a slow server cannot hide by being
  asked less (coordinated omission). This is the round that the question is about.
* *saturated*: every connection asks again at once. Then the server is the bottleneck by construction, latency is connections divided by
  throughput (Little's law), and only the throughput is a result.

Run with ``.venv/bin/python -m benchmarks.emulator_load``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import cast

import uvloop

ROOT = Path(__file__).parents[1]
AUTHORIZATION = "Basic " + b64encode(b"test-token:test-secret").decode()
FILL_CONNECTIONS = 8
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


def request(method: str, target: str, body: bytes = b"") -> bytes:
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: emulator\r\nAuthorization: {AUTHORIZATION}\r\n{more}\r\n".encode() + body


class Line(asyncio.Protocol):
    """One connection that asks one thing at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answered: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end + 2)
        whole = end + 4 + (0 if length is None else int(length[1]))
        if len(self._buffer) >= whole and self._answered is not None:
            answer = bytes(self._buffer[:whole])
            del self._buffer[:whole]
            self._answered.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("the server closed the connection"))

    async def ask(self, content: bytes) -> bytes:
        """Send a request and return the whole answer, which has to be a success."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(content)
        answer = await self._answered
        if not answer.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"the emulator answered {answer[:200]!r}")
        return answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def connect(origin: str, count: int) -> list[Line]:
    host, _, port = origin.removeprefix("http://").rpartition(":")
    loop = asyncio.get_running_loop()
    lines: list[Line] = []
    for _ in range(count):
        _, line = await loop.create_connection(Line, host, int(port))
        lines.append(line)
    return lines


async def fill(origin: str, assets: int) -> list[str]:
    """Create assets; return their ids."""
    ids: list[str] = []
    numbers = iter(range(assets))

    async def work(line: Line) -> None:
        for number in numbers:
            body = b'{"inputs":[{"url":"https://example.com/%d.mp4"}],"playback_policies":["public"]}' % number
            answer = await line.ask(request("POST", "/video/v1/assets", body))
            found = re.search(rb'"id":"(\w+)"', answer)
            assert found is not None
            ids.append(found[1].decode())

    lines = await connect(origin, FILL_CONNECTIONS)
    await asyncio.gather(*map(work, lines))
    for line in lines:
        line.close()
    return ids


Mix = Callable[[], tuple[str, bytes]]
"""Gives the next request, and what it is called."""


def mixes(ids: Sequence[str]) -> dict[str, Mix]:
    ones = [request("GET", f"/video/v1/assets/{asset}") for asset in ids]
    lists = [request("GET", f"/video/v1/assets?limit=100&page={page}") for page in range(1, max(2, len(ids) // 100))]
    chance = random.Random(1)

    def one() -> tuple[str, bytes]:
        return "GET asset", chance.choice(ones)

    def mixed() -> tuple[str, bytes]:
        return one() if chance.random() < 0.95 else ("GET list of 100", chance.choice(lists))

    return {"one asset each": one, "5 % lists of 100, from anywhere": mixed}


async def paced(lines: Sequence[Line], mix: Mix, rate: float, seconds: float) -> dict[str, list[float]]:
    """Ask *rate* times a second for so long; return the seconds that each answer took, by name."""
    taken: dict[str, list[float]] = {}
    period = len(lines) / rate
    begin = time.perf_counter() + 0.2

    async def run(number: int, line: Line) -> None:
        turn = begin + number / rate
        while turn < begin + seconds:
            early = turn - time.perf_counter()
            if early > 0:
                await asyncio.sleep(early)
            # Having slept too long is this process's fault, being late for the turn is the server's.
            since = time.perf_counter() if early > 0 else turn
            name, content = mix()
            await line.ask(content)
            taken.setdefault(name, []).append(time.perf_counter() - since)
            turn += period

    await asyncio.gather(*(run(number, line) for number, line in enumerate(lines)))
    return taken


async def saturated(lines: Sequence[Line], mix: Mix, seconds: float) -> dict[str, list[float]]:
    """Ask as fast as it answers."""
    taken: dict[str, list[float]] = {}
    end = time.perf_counter() + seconds

    async def run(line: Line) -> None:
        while (since := time.perf_counter()) < end:
            name, content = mix()
            await line.ask(content)
            taken.setdefault(name, []).append(time.perf_counter() - since)

    await asyncio.gather(*map(run, lines))
    return taken


def report(title: str, taken: dict[str, list[float]], seconds: float, cpu: float) -> None:
    count = sum(map(len, taken.values()))
    print(f"{title}: {count / seconds:,.0f} requests/s, {cpu / count * 1e6:.0f} us of the emulator's CPU each")
    for name, times in sorted(taken.items()):
        cuts = statistics.quantiles(times, n=1000)
        print(
            f"  {name:18} {len(times):>7,} answers   median {cuts[499] * 1e3:7.2f} ms   p99 {cuts[989] * 1e3:7.2f} ms"
            f"   p99.9 {cuts[998] * 1e3:7.2f} ms   most {max(times) * 1e3:7.2f} ms"
        )


@contextmanager
def emulator(*options: str) -> Generator[tuple[str, int]]:
    """Run the command; give the origin and the process's id."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "transports")])}
    command = [sys.executable, "-m", "mux_async.cli", "emulate", "--port", "0", "--limits", "off", "--quiet", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1], process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def cpu_seconds(pid: int) -> float:
    """Time that a process has computed for, which other programs on the machine change less than any latency."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int) -> float:
    """Memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(origin: str, pid: int, given: argparse.Namespace) -> None:
    empty, begin = megabytes(pid), time.perf_counter()
    ids = await fill(origin, given.assets)
    took = time.perf_counter() - begin
    print(f"{given.assets:,} assets made in {took:.1f} s; the emulator holds {megabytes(pid):.0f} MB, {empty:.0f} MB before")
    lines = await connect(origin, given.connections)
    await asyncio.sleep(1.5)  # until the last asset is ready

    async def run(title: str, work: Coroutine[object, object, dict[str, list[float]]], seconds: float) -> None:
        before = cpu_seconds(pid)
        taken = await work
        report(title, taken, seconds, cpu_seconds(pid) - before)

    for name, mix in mixes(ids).items():
        for rate in given.rates:
            await run(f"paced, {name}", paced(lines, mix, rate, given.seconds), given.seconds)
    one = next(iter(mixes(ids).values()))
    for few in (lines, lines[:10]):
        half = given.seconds / 2
        await run(f"saturated, {len(few):,} connections", saturated(few, one, half), half)
    print(f"the emulator holds {megabytes(pid):.0f} MB")
    for line in lines:
        line.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--assets", type=int, default=10_000)
    parser.add_argument("--rates", type=float, nargs="+", default=[500.0, 1000.0], help="requests per second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    parser.add_argument("--state", help="keep the emulator's state in this file")
    given = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "orjson", "uvloop"))
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {packages}, {os.cpu_count()} cores, load before {load}"
    )
    with emulator(*(["--state", given.state] if given.state else [])) as (origin, pid):
        uvloop.run(measure(origin, pid, given))


if __name__ == "__main__":
    main()
