"""Draw docs/limits.svg: what a server saw of a batch and of people in between, against the bound; and a rate that is learned.

Both are recorded from real runs of `Mux` against the emulator, in virtual time, so that the picture is the same on every machine.

``python -m benchmarks.limits_picture docs/limits.svg``
"""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import anyio
import attrs
import matplotlib as mpl
from matplotlib import pyplot as plt

from mux_async import BucketSettings, LimitSettings, Mux, Priority
from mux_async._operation import Bucket
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, RateRules, Request
from mux_async.limits import LimitEvent, RequestThrottled
from mux_async.testing import VirtualTimeLoop
from mux_async.transport import HttpRequest, HttpResponse

COLOURS: dict[str, str] = {"batch": "#5b7ba8", "default": "#3a9a5b", "interactive": "#d9730d"}
BOUND = "#b00020"
NOTES = (
    (1.0, 22.0, "the bound: all that could be out by now", BOUND),
    (5.4, 3.5, "batch: evenly spaced, leaves the burst to people", COLOURS["batch"]),
    (10.2, 9.0, "three interactive calls at 9.4 s go at once;", COLOURS["interactive"]),
    (13.8, 12.2, "batch waits until the burst is full again", COLOURS["batch"]),
    (20.6, 18.0, "ten default calls at 20 s: the burst but for a reserve,\nthen one a second", COLOURS["default"]),
    (29.6, 28.0, "batch: its floor, then its turn", COLOURS["batch"]),
)
"""Where the classes' picture says what, in seconds and creates."""
AUTHORIZATION = "Basic " + b64encode(b"test-token:test-secret").decode()


@attrs.define
class Recorder:
    """A transport that notes when each create was written, and for whom."""

    inner: EmulatorTransport
    random: Random = attrs.field(factory=lambda: Random(1))
    longest: float = 0.0
    written: list[tuple[float, str]] = attrs.field(factory=list[tuple[float, str]])

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        assert isinstance(request.body, bytes)
        self.written.append((anyio.current_time(), json.loads(request.body)["passthrough"]))
        await anyio.sleep(self.random.uniform(0, self.longest))
        return await self.inner.send(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


def make(rate: float, burst: int, name: str, *, distance: float = 0.0) -> tuple[Mux, Recorder, Emulator]:
    rules = RateRules(rates=dict.fromkeys(Bucket, rate), burst=max(1.0, burst / rate))
    emulator = Emulator(EmulatorSettings(limits=rules), clock=anyio.current_time)
    recorder = Recorder(EmulatorTransport(emulator), longest=distance)
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        transport=recorder,
        limits=LimitSettings(post=BucketSettings(rate, burst)),
        clock=anyio.current_time,
        account=name,
        random=Random(1),
    )
    return mux, recorder, emulator


async def create(mux: Mux, priority: Priority) -> None:
    body = {"inputs": [{"url": "https://example.com/film.mp4"}], "passthrough": priority}
    await mux.with_options(priority=priority).request("POST", "/video/v1/assets", body=body)


RATE, BURST, SECONDS = 1.0, 5, 40.0


async def record_classes() -> list[tuple[float, str]]:
    """A batch of creates, three interactive calls at 9 s, and ten default ones at 20 s."""
    mux, recorder, _ = make(RATE, BURST, "classes")
    async with mux, anyio.create_task_group() as tasks:
        for _ in range(60):
            tasks.start_soon(create, mux, "batch")
        await anyio.sleep(9.4)
        for _ in range(3):
            tasks.start_soon(create, mux, "interactive")
        await anyio.sleep(10.6)
        for _ in range(10):
            tasks.start_soon(create, mux, "default")
        await anyio.sleep(SECONDS - 20.0)
        tasks.cancel_scope.cancel()
    return recorder.written


FOREIGN_RATE, FOREIGN = 20.0, (10.0, 60.0)
FOREIGN_SECONDS = 90.0


async def record_learning() -> tuple[list[tuple[float, float]], list[float]]:
    """A saturated client; from 10 s to 60 s somebody else takes half. Returns its rate over time, and when it was refused."""
    mux, _, emulator = make(FOREIGN_RATE, int(FOREIGN_RATE), "learning", distance=0.02)
    rates: list[tuple[float, float]] = []
    refused: list[float] = []
    chance = Random(3)

    async def work() -> None:
        while True:
            await create(mux, "default")

    async def take_half() -> None:
        await anyio.sleep(FOREIGN[0])
        while anyio.current_time() < FOREIGN[1]:
            await anyio.sleep(chance.uniform(0.7, 1.3) * 2 / FOREIGN_RATE)
            emulator.handle(Request("POST", "/video/v1/uploads", {"Authorization": AUTHORIZATION, "Content-Length": "0"}))

    def listen(event: LimitEvent) -> None:
        if isinstance(event, RequestThrottled):
            refused.append(anyio.current_time())

    with mux.limits.listen(listen):
        async with mux, anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(work)
            tasks.start_soon(take_half)
            while anyio.current_time() < FOREIGN_SECONDS:
                rates.append((anyio.current_time(), mux.limits.snapshot().post.rate))
                await anyio.sleep(0.25)
            tasks.cancel_scope.cancel()
    return rates, refused


def bound(written: Sequence[tuple[float, str]]) -> list[tuple[float, float]]:
    """Return the most that could have been written by each moment: in no window more than burst + rate x window."""
    line: list[tuple[float, float]] = []
    level, before, count = float(BURST), 0.0, 0
    moments = sorted([*(at for at, _ in written), *(n / 10 for n in range(int(SECONDS * 10) + 1))])
    arrivals = [at for at, _ in written]
    for moment in moments:
        level = min(BURST, level + (moment - before) * RATE)
        taken = sum(before < at <= moment or (moment == at == 0.0 and not line) for at in arrivals)
        level, count, before = level - taken, count + taken, moment
        line.append((moment, count + level))
    return line


def draw(path: Path) -> None:
    """Run both, and draw the picture; the same runs give the same bytes."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        written = runner.run(record_classes())
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        rates, refused = runner.run(record_learning())
    mpl.rcParams.update({"svg.hashsalt": "mux_async", "svg.fonttype": "none", "font.size": 9})
    figure, places = plt.subplots(2, figsize=(9, 8), height_ratios=(2, 1), layout="constrained")
    classes, learning = places
    classes.set(title="Creates on the wire, against the bound: 1 a second, burst of 5", ylabel="creates", xlim=(0, SECONDS))
    classes.plot(*zip(*bound(written), strict=True), color=BOUND, linestyle="--", linewidth=1.5)
    arrivals = [at for at, _ in written]
    classes.step([0.0, *arrivals, SECONDS], [0, *range(1, len(written) + 1), len(written)], "#999", where="post", linewidth=1)
    for priority, colour in COLOURS.items():
        points = [(at, number) for number, (at, who) in enumerate(written, 1) if who == priority]
        classes.scatter(*zip(*points, strict=True), color=colour, s=18, zorder=3)
    for x, y, words, colour in NOTES:
        classes.text(x, y, words, color=colour)
    begin, end = FOREIGN
    title = f"The rate as learned, while somebody else takes half of {FOREIGN_RATE:g} a second"
    learning.set(title=title, xlabel="seconds", ylabel="1/s", xlim=(0, FOREIGN_SECONDS), ylim=(0, 25))
    learning.axvspan(begin, end, color="#f5e9e9")
    learning.plot(*zip(*rates, strict=True), color=COLOURS["batch"], linewidth=2)
    learning.scatter(refused, [2] * len(refused), color=BOUND, s=18)
    learning.text(begin + 0.6, 3.2, f"{len(refused)} answers of 429", color=BOUND)
    learning.text(begin + 0.6, 22, f"somebody else takes {FOREIGN_RATE / 2:g} a second")
    learning.text(end + 0.6, 22, "they are gone")
    for axes in places:
        axes.grid(color="#eee")
        axes.spines[["top", "right"]].set_visible(False)
    drawn: Any = figure  # what it says of `savefig` is not complete
    drawn.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
