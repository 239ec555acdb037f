"""What events count is what the server counted: over real sockets, with faults on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import anyio
import pytest

from mux_async import LimitSettings, Mux, MuxError, RetryPolicy, Timeouts
from mux_async.emulator import Emulator, EmulatorSettings, Fault
from mux_async.emulator.server import serve
from mux_async.errors import Delivery
from mux_async.events import AttemptEnded, AttemptStarted, CallEnded, CallRetried, CallStarted, CallThrottled

pytestmark = [pytest.mark.asyncio, pytest.mark.proof]

_accounts = count()


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_counts_of_the_server(transport: str) -> None:
    """Requests, statuses and 429s that events report are those in the emulator's log, exactly: with errors, cuts, halves and limits."""
    emulator = Emulator(EmulatorSettings(time_to_ready=0.1))
    emulator.faults.add(Fault(method="GET", nth=range(3, 1000, 7), status=503))
    emulator.faults.add(Fault(method="GET", nth=range(5, 1000, 11), cut="before"))
    emulator.faults.add(Fault(method="GET", nth=range(6, 1000, 13), truncate=10))
    emulator.faults.add(Fault(method="POST", nth=range(2, 1000, 5), status=500, acts=True))
    emulator.faults.add(Fault(method="POST", nth=range(4, 1000, 9), cut="after"))
    events = list[Any]()
    done = Counter[str]()
    async with serve(emulator) as origin:
        mux = Mux(
            token_id="test-token",
            token_secret="test-secret",
            base_url=origin,
            account=f"counts-{next(_accounts)}",
            transport=transport,
            limits=LimitSettings(enabled=False),
            timeouts=Timeouts(connect=5.0, read=5.0),
            retry=RetryPolicy(first=0.01, longest=0.05),
            max_attempts=4,
            share_reads=False,
            random=Random(7),
            listeners=[events.append],
        )

        async def quietly(call: Callable[[], Any]) -> None:
            try:
                await call()
                done["ok"] += 1
            except MuxError as error:
                done[type(error).__name__] += 1

        async with mux, anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(quietly, lambda number=number: mux.video.assets.list(limit=number + 1))
                if number % 4 == 0:
                    tasks.start_soon(
                        quietly,
                        lambda number=number: mux.video.assets.create(
                            inputs=[{"url": f"https://example.com/{number}.mp4"}], once=f"k{number}" if number % 8 else None
                        ),
                    )

    started = [each for each in events if isinstance(each, AttemptStarted)]
    ended = [each for each in events if isinstance(each, AttemptEnded)]
    arrived = [each for each in emulator.arrivals if each.path.startswith("/video/")]
    assert Counter(each.call.method for each in started) == Counter(each.method for each in arrived)
    assert Counter(each.status for each in ended) == Counter(each.status for each in arrived)
    assert Counter(each.path for each in started) == Counter(each.path for each in arrived)
    throttled = sum(isinstance(each, CallThrottled) for each in events)
    assert throttled == sum(each.status == 429 for each in arrived) > 0
    assert any(each.reason == "throttled" for each in events if isinstance(each, CallRetried))
    calls = [each for each in events if isinstance(each, CallStarted)]
    own = Counter(
        "ok" if each.error is None else each.error for each in events if isinstance(each, CallEnded) and not each.call.parent
    )
    assert own == done
    assert len(calls) == sum(isinstance(each, CallEnded) for each in events)
    assert len(ended) == len(started)
    assert sum(each.attempts for each in events if isinstance(each, CallEnded)) == len(started)
    assert any(each.delivery is Delivery.MAYBE_PROCESSED for each in ended)
