"""Four processes share one account through a file and through Redis, and one of them is killed: over real sockets, in real time.

The rate is fifty times Mux's own. The settings are those that fit each way of counting, as in `test_against_servers`.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from mux_async.emulator import LimitModel, RateRules
from mux_async.limits import Bucket, BucketSettings
from tests.limits.load import TRIES, emulator, judge
from tests.limits.stores import redis_server

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[2]
RATE = 50
WINDOW = 10.0
"""Seconds: of the windows, and what the token bucket holds."""
CAPACITY = int(RATE * WINDOW)
SECONDS = 1.25 * WINDOW
PROCESSES = 4
BURST = 4
"""Where windows are counted. Whoever comes late for its slot still finds it after 30 ms, which is a second and a half at Mux's rate."""

ALLOWANCES: dict[LimitModel, BucketSettings] = {
    "token-bucket": BucketSettings(rate=RATE, burst=CAPACITY // 2),
    "fixed-window": BucketSettings.for_window(CAPACITY, WINDOW, burst=BURST),
    "sliding-window": BucketSettings.for_window(CAPACITY, WINDOW, burst=BURST),
}


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'limits.db'}"
    else:
        with redis_server(tmp_path) as server:
            yield server


@asynccontextmanager
async def workers(count: int, log: Path, **arguments: object) -> AsyncGenerator[list[Process]]:
    """Start *count* workers at the same moment; those still running at the end of the block are killed."""
    command = [sys.executable, "-m", "tests.limits.worker", json.dumps(arguments)]
    started: list[Process] = []
    try:
        with log.open("wb") as errors:
            started.extend([await anyio.open_process(command, cwd=ROOT, stderr=errors) for _ in range(count)])
        for process in started:
            assert process.stdout is not None
            assert (await process.stdout.receive()).startswith(b"ready")
        for process in started:
            assert process.stdin is not None
            await process.stdin.send(b"go\n")
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await process.aclose()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("model", ALLOWANCES)
@pytest.mark.asyncio
async def test_four_processes_and_a_kill(url: str, model: LimitModel, tmp_path: Path) -> None:
    """Four saturated processes, one of them killed half-way, are never answered 429 and use at least 98 % of the rate."""
    allowance, used = ALLOWANCES[model], 0.0
    for number in range(TRIES):
        log = tmp_path / f"workers-{number}.log"
        async with emulator(RateRules(model=model, rates=dict.fromkeys(Bucket, float(RATE)), burst=WINDOW)) as server:
            async with workers(
                PROCESSES, log, origin=server.origin, url=url, rate=allowance.rate, burst=allowance.burst, seconds=SECONDS
            ) as processes:
                await anyio.sleep(SECONDS / 2)
                processes[0].send_signal(signal.SIGKILL)
                codes = [await process.wait() for process in processes]
            report = judge(server.arrivals(), RATE, allowance.burst)
        assert codes == [-signal.SIGKILL, 0, 0, 0], log.read_text()
        assert (report.refused, report.others) == (0, 0), (report, log.read_text())
        used = max(used, report.used)
        if used >= 0.98:
            break

    assert used >= 0.98
