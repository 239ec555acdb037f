"""A call does not become more work than was committed to. Counted, not timed: see ``counts``."""

from __future__ import annotations

import json

import pytest

from mux_async.otel import instrument
from mux_async.transport import Timeouts
from tests.performance.counts import FIGURES, VERSION, Canned, instructions, make_client, measure

pytestmark = [pytest.mark.proof, pytest.mark.asyncio]

MARGIN = 0.03
COMMITTED: dict[str, dict[str, int]] = json.loads(FIGURES.read_text())


async def test_figures() -> None:
    """Calls of every kind execute as many instructions of our own, and hold as much memory, as the committed figures say.

    Less is a reason to commit to less: ``python -m tests.performance.counts --write``.
    """
    if VERSION not in COMMITTED:
        pytest.skip(f"no figures are committed for Python {VERSION}: run python -m tests.performance.counts --write with it")

    found = await measure()

    wanted = COMMITTED[VERSION]
    assert found.keys() == wanted.keys()
    moved = {name: (wanted[name], figure) for name, figure in found.items() if abs(figure / wanted[name] - 1) > MARGIN}
    assert not moved, f"committed to, and found: {moved}"


async def test_opentelemetry_without_a_provider() -> None:
    """Instrumented by `mux_async.otel` where no provider is configured, a call asks for one and does nothing else."""
    async with make_client(Canned()) as plain, make_client(Canned()) as instrumented:
        instrument(instrumented)
        without = await instructions(lambda: plain.video.assets.retrieve("x" * 40))
        more = await instructions(lambda: instrumented.video.assets.retrieve("x" * 40)) - without

    assert 0 < more < 120


async def test_count_sees_our_code_only() -> None:
    """What is counted is code of the project, the same number every time, and a loop more is a larger number."""

    async def once() -> None:
        Timeouts(connect=1.0)
        sorted(range(100), key=lambda n: -n)

    async def twice() -> None:
        await once()
        Timeouts(connect=1.0)

    first = await instructions(once)

    assert first > 0
    assert await instructions(once) == first
    assert await instructions(twice) == 2 * first
