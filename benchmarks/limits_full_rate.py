"""Is Mux's own rate used to the full, and never exceeded, for ten minutes?

Method: the POST bucket at 1 request a second, saturated by 20 tasks through `Mux`, aiohttp and real sockets, against nginx (``limit_req``
with 429, with a burst and without) and against the emulator in each of its limit models, all at the same time, each with two clients'
settings: those that fit the server (interactive calls, which use the burst), and the defaults (batch calls, which know nothing of the
server). Counted from the servers' logs: answers of 429, and the share of the sustained rate that was used after the first burst. The
same at fifty times the rate is `tests/limits/test_against_servers.py`.

``python -m benchmarks.limits_full_rate --seconds 120``
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import tempfile
from pathlib import Path

from mux_async import Priority
from mux_async._operation import Bucket
from mux_async.emulator import RateRules
from mux_async.limits import BucketSettings, LimitSettings
from tests.limits.load import LimitedServer, emulator, judge, nginx, saturate

RATE, WINDOW = 1, 5.0
CAPACITY = int(RATE * WINDOW)
FITTING = {
    "nginx": BucketSettings(RATE, CAPACITY),
    "nginx, no burst": BucketSettings.for_window(1, 1 / RATE),
    "token-bucket": BucketSettings(RATE, CAPACITY),
    "fixed-window": BucketSettings.for_window(CAPACITY, WINDOW),
    "sliding-window": BucketSettings.for_window(CAPACITY, WINDOW),
}


def make(name: str, folder: Path) -> LimitedServer:
    if name.startswith("nginx"):
        return nginx(folder, RATE, CAPACITY - 1 if name == "nginx" else 0)
    return emulator(RateRules(model=name, rates=dict.fromkeys(Bucket, float(RATE)), burst=WINDOW))  # type: ignore[arg-type]


async def measure(name: str, allowance: BucketSettings, priority: Priority, seconds: float) -> str:
    with tempfile.TemporaryDirectory() as folder:
        async with make(name, Path(folder)) as server:
            await saturate(server.origin, allowance, seconds, priority=priority)
            report = judge(server.arrivals(), RATE, allowance.burst)
    settings = f"rate {allowance.rate:.3f}, burst {allowance.burst}, {priority}"
    outcome = f"{report.passed:6} passed {report.refused:4} refused {report.others:4} other"
    return f"{name:16} {settings:36} {outcome}  {report.used:7.2%} of the rate used"


async def main(seconds: float) -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, {seconds:g} s at {RATE} request a second", flush=True)
    default = LimitSettings().post
    runs = [measure(name, fitting, "interactive", seconds) for name, fitting in FITTING.items()]
    runs += [measure(name, default, "batch", seconds) for name in FITTING]
    for line in await asyncio.gather(*runs):
        print(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    asyncio.run(main(parser.parse_args().seconds))
