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

import anyio
import attrs

from mux_async import BucketSettings, LimitSettings, Mux, Priority
from mux_async._operation import Bucket
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, RateRules, Request
from mux_async.limits import LimitEvent, RequestThrottled
from mux_async.testing import VirtualTimeLoop
from mux_async.transport import HttpRequest, HttpResponse

COLOURS: dict[str, str] = {"batch": "#5b7ba8", "default": "#3a9a5b", "interactive": "#d9730d"}
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


@attrs.frozen
class Panel:
    """Axes: a rectangle of the picture, and the numbers at its edges."""

    left: float
    top: float
    width: float
    height: float
    x_end: float
    y_end: float

    def x(self, value: float) -> float:
        return round(self.left + value / self.x_end * self.width, 2)

    def y(self, value: float) -> float:
        return round(self.top + self.height - value / self.y_end * self.height, 2)

    def line(self, points: Sequence[tuple[float, float]], style: str) -> str:
        path = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        return f'<polyline points="{path}" fill="none" {style}/>'

    def axes(self, title: str, x_step: float, y_step: float, unit: str) -> list[str]:
        parts = [f'<text x="{self.left}" y="{self.top - 14}" class="title">{title}</text>']
        for n in range(int(self.x_end / x_step) + 1):
            x = self.x(n * x_step)
            parts.append(f'<line x1="{x}" y1="{self.top}" x2="{x}" y2="{self.top + self.height}" class="grid"/>')
            parts.append(
                f'<text x="{x}" y="{self.top + self.height + 16}" class="tick" text-anchor="middle">{n * x_step:g} s</text>'
            )
        for n in range(int(self.y_end / y_step) + 1):
            y = self.y(n * y_step)
            parts.append(f'<line x1="{self.left}" y1="{y}" x2="{self.left + self.width}" y2="{y}" class="grid"/>')
            parts.append(f'<text x="{self.left - 8}" y="{y + 4}" class="tick" text-anchor="end">{n * y_step:g}</text>')
        parts.append(f'<text x="{self.left - 8}" y="{self.top - 14}" class="tick" text-anchor="end">{unit}</text>')
        return parts

    def text(self, x: float, y: float, words: str, colour: str = "#333") -> str:
        return f'<text x="{self.x(x)}" y="{self.y(y)}" style="fill:{colour}">{words}</text>'


def draw_classes(written: Sequence[tuple[float, str]]) -> list[str]:
    panel = Panel(70, 50, 720, 330, SECONDS, 45)
    parts = panel.axes("Creates on the wire, against the bound: 1 a second, burst of 5", 5, 5, "creates")
    parts.append(panel.line(bound(written), 'stroke="#b00020" stroke-width="1.5" stroke-dasharray="5 3"'))
    steps: list[tuple[float, float]] = [(0.0, 0.0)]
    for number, (at, _) in enumerate(written):
        steps += [(at, number), (at, number + 1)]
    parts.append(panel.line([*steps, (SECONDS, len(written))], 'stroke="#999" stroke-width="1"'))
    for number, (at, who) in enumerate(written):
        parts.append(f'<circle cx="{panel.x(at)}" cy="{panel.y(number + 1)}" r="3.4" fill="{COLOURS[who]}"/>')
    parts.append(panel.text(4.0, 19.0, "the bound: all that could be out by now", "#b00020"))
    parts.append(panel.text(5.4, 3.5, "batch: evenly spaced, leaves the burst to people", COLOURS["batch"]))
    parts.append(panel.text(9.8, 10.0, "three interactive calls at 9.4 s go at once;", COLOURS["interactive"]))
    parts.append(panel.text(13.4, 12.2, "batch waits until the burst is full again", COLOURS["batch"]))
    parts.append(panel.text(20.4, 20.4, "ten default calls at 20 s: the burst but for a reserve,", COLOURS["default"]))
    parts.append(panel.text(20.4, 18.4, "then one a second", COLOURS["default"]))
    parts.append(panel.text(29.6, 30.0, "batch: its floor, and then its turn", COLOURS["batch"]))
    return parts


def draw_learning(rates: Sequence[tuple[float, float]], refused: Sequence[float]) -> list[str]:
    panel = Panel(70, 460, 720, 170, FOREIGN_SECONDS, 25)
    begin, end = FOREIGN
    shade = f'<rect x="{panel.x(begin)}" y="{panel.top}" width="{panel.x(end) - panel.x(begin)}" height="{panel.height}" fill="#f5e9e9"/>'
    title = f"The rate as learned, while somebody else takes half of {FOREIGN_RATE:g} a second"
    parts = [shade, *panel.axes(title, 10, 5, "1/s")]
    parts.append(panel.line(rates, 'stroke="#5b7ba8" stroke-width="2"'))
    parts += [f'<circle cx="{panel.x(at)}" cy="{panel.y(2)}" r="3.4" fill="#b00020"/>' for at in refused]
    parts.append(panel.text(begin + 0.6, 3.2, f"{len(refused)} answers of 429", "#b00020"))
    parts.append(panel.text(begin + 0.6, 22, "somebody else takes 10 a second"))
    parts.append(panel.text(end + 0.6, 22, "they are gone"))
    return parts


def draw() -> str:
    """Run both, and return the picture."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        written = runner.run(record_classes())
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        rates, refused = runner.run(record_learning())
    style = (
        "text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600;font-size:14px}.tick{fill:#777;font-size:11px}"
        ".grid{stroke:#eee;stroke-width:1}"
    )
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 670" role="img" aria-label="Requests against the rate limit">'
    )
    note = "<!-- python -m benchmarks.limits_picture docs/limits.svg -->"
    body = [*draw_classes(written), *draw_learning(rates, refused)]
    return "\n".join(
        [head, note, f"<style>{style}</style>", '<rect width="820" height="670" fill="#fff"/>', *body, "</svg>", ""]
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw())
