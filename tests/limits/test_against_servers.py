"""Against servers with limits, the whole rate is used, and no request is answered 429: over sockets, at 50 times Mux's rate.

The same at Mux's own rates takes ten minutes and is `benchmarks/limits_full_rate.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mux_async.emulator import LimitModel, RateRules
from mux_async.limits import Bucket, BucketSettings
from tests.limits.load import TRIES, LimitedServer, emulator, judge, nginx, saturate

pytestmark = pytest.mark.proof

RATE = 50
WINDOW = 7.0
"""Seconds: of the windows, and what the token bucket holds."""
CAPACITY = int(RATE * WINDOW)


def emulated(model: LimitModel) -> Callable[[Path], LimitedServer]:
    return lambda _: emulator(RateRules(model=model, rates=dict.fromkeys(Bucket, float(RATE)), burst=WINDOW))


SERVERS: dict[str, tuple[Callable[[Path], LimitedServer], BucketSettings]] = {
    "nginx": (lambda folder: nginx(folder, RATE, burst=24), BucketSettings(rate=RATE, burst=25)),
    "token bucket": (emulated("token-bucket"), BucketSettings(rate=RATE, burst=CAPACITY)),
    "fixed window": (emulated("fixed-window"), BucketSettings.for_window(CAPACITY, WINDOW, burst=2)),
    "sliding window": (emulated("sliding-window"), BucketSettings.for_window(CAPACITY, WINDOW, burst=2)),
}
"""Each server, and the settings that fit its rate and burst: see docs/limits.md, *Which settings*."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.asyncio
async def test_all_that_is_allowed_and_no_429(name: str, tmp_path: Path) -> None:
    """Saturated for two windows, the client is never answered 429 and uses at least 98 % of the sustained rate."""
    make, allowance = SERVERS[name]
    used = 0.0
    for number in range(TRIES):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with make(folder) as server:
            await saturate(server.origin, allowance, 2.2 * WINDOW)
            report = judge(server.arrivals(), RATE, allowance.burst)
        assert (report.refused, report.others) == (0, 0), report
        used = max(used, report.used)
        if used >= 0.98:
            break

    assert used >= 0.98


@pytest.mark.asyncio
async def test_nginx_without_a_burst(tmp_path: Path) -> None:
    """If the server allows no burst, the settings for it keep requests apart, and none is answered 429."""
    allowance = BucketSettings.for_window(1, 1 / 5)
    async with nginx(tmp_path, 5, burst=0) as server:
        await saturate(server.origin, allowance, 6.0)
        report = judge(server.arrivals(), 5, allowance.burst)

    assert (report.refused, report.others) == (0, 0), report
    assert report.passed > 1
