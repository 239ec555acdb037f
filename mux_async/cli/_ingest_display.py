"""The live display of an ingest: all items, all bytes, each file that is being sent, and the use of the rate limit.

One grid, redrawn a few times a second from the event loop: rich's own thread would read the queues of the rate limit while the loop
changes them. Bars take the remaining width, so that 80 columns show the same as 200 in less detail.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import PurePath
from typing import Final

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mux_async.cli._ingest_progress import IngestJob, RateBudget, adopted_line, summary_lines
from mux_async.cli._output import printable, size, span, stdout
from mux_async.ingest import (
    IngestEvent,
    IngestSummary,
    Item,
    ItemFinished,
    ItemMoved,
    ItemProgress,
    ItemSkipped,
    RunsAdopted,
    Stage,
)

_WINDOW: Final = 20.0
"""Seconds over which a speed is averaged."""
_MINUTE: Final = 60.0
_MAX_FILES: Final = 10
"""Files that have their own bar; others are only counted."""
_CREATED: Final = frozenset({Stage.CREATED, Stage.SENDING, Stage.SENT, Stage.WAITING})


class SpeedMeter:
    """Measures the growth of a number, averaged over *window* seconds."""

    def __init__(self, window: float = _WINDOW) -> None:
        self._window = window
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """Add a sample."""
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < self._window / 40:
            samples.pop()  # keeps 40 samples, however often this is called
        samples.append((now, value))
        while len(samples) > 2 and now - samples[1][0] > self._window:
            samples.popleft()

    def rate(self, now: float) -> float:
        """Return the growth per second; 0.0 if there are too few samples."""
        if not self._samples or now - self._samples[0][0] < 0.5:
            return 0.0
        (since, before), (_, latest) = self._samples[0], self._samples[-1]
        return (latest - before) / (now - since)

    def growth(self, now: float) -> float:
        """Return the growth within the window."""
        inside = [value for at, value in self._samples if now - at <= self._window]
        return inside[-1] - inside[0] if inside else 0.0


@attrs.define
class _File:
    """A file that is being sent."""

    item: Item
    sent: int = 0
    speed_meter: SpeedMeter = attrs.field(factory=SpeedMeter)


class LiveDisplay:
    """Shows progress bars on *console*; *clock* returns monotonic seconds."""

    def __init__(
        self, job: IngestJob, budget: RateBudget, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._job = job
        self._budget = budget
        self._console = console or stdout()
        self._clock = clock
        self._finished = {*job.done, *job.failed}
        self._begun = set(job.begun)
        self._failed = len(job.failed)
        self._files: dict[str, _File] = {}
        self._waiting: set[str] = set()
        self._size = job.size_left
        self._sent = 0
        """Bytes of files that are no longer in `_files`."""
        self._counted: set[str] = set()
        """Keys of items whose bytes are in `_sent`."""
        self._item_speed, self._byte_speed, self._post_speed = SpeedMeter(_MINUTE), SpeedMeter(), SpeedMeter(_MINUTE)
        self._live = Live(get_renderable=self._render, console=self._console, auto_refresh=False, transient=True)

    def begin(self) -> None:
        """Start drawing."""
        self._measure()
        self._live.start()

    def tick(self) -> None:
        """Redraw."""
        self._measure()
        self._live.refresh()

    def _measure(self) -> None:
        now = self._clock()
        self._item_speed.add(now, len(self._finished))
        self._byte_speed.add(now, self._all_sent())
        self._post_speed.add(now, self._budget.snapshot().post.granted)
        for file in self._files.values():
            file.speed_meter.add(now, file.sent)

    def _all_sent(self) -> int:
        return self._sent + sum(file.sent for file in self._files.values())

    def event(self, event: IngestEvent) -> None:
        """Update the bars."""
        match event:
            case ItemProgress(item, sent, _):
                if (file := self._files.get(item.key)) is not None:
                    file.sent = max(sent, file.sent)
            case ItemMoved(item, state):
                self._moved(item, state.stage)
            case ItemFinished(item, result):
                self._finish(item)
                if result.error is not None:
                    self._failed += 1
                    line = Text("failed ", style="bold red")
                    line.append(f"{printable(item.source)}: {printable(result.error.message)}", style="default")
                    self._console.print(line, soft_wrap=True)
            case ItemSkipped(item, _):
                self._finish(item)
            case RunsAdopted():
                self.note(adopted_line(event))

    def _moved(self, item: Item, stage: Stage) -> None:
        key = item.key
        if stage in _CREATED:
            self._begun.add(key)
        elif stage is Stage.PLANNED:  # its upload expired, and another create is needed
            self._begun.discard(key)
        if stage is Stage.WAITING:
            self._waiting.add(key)
        if stage is Stage.SENDING:
            if key not in self._files:
                self._files[key] = file = _File(item)
                file.speed_meter.add(self._clock(), 0)
        else:
            self._files.pop(key, None)
        if stage is Stage.SENT:
            self._count(item)
        if stage.is_final:
            self._waiting.discard(key)

    def _count(self, item: Item) -> None:
        """Count an item's bytes as sent: they were sent, or never will be."""
        if item.key not in self._counted:
            self._counted.add(item.key)
            self._sent += item.size or 0

    def _finish(self, item: Item) -> None:
        if item.key not in self._finished:
            self._finished.add(item.key)
            self._count(item)
        self._begun.discard(item.key)
        self._files.pop(item.key, None)

    def note(self, text: str) -> None:
        """Print above the bars."""
        self._console.print(text, markup=False)

    def end(self, summary: IngestSummary | None) -> None:
        """Stop drawing, and print the summary."""
        self._live.stop()
        for line in summary_lines(summary, self._job):
            self._console.print(line, markup=False, soft_wrap=True)

    # Drawing

    def _render(self) -> RenderableType:
        now = self._clock()
        width = self._console.width
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 4, 12))
        grid.add_column(ratio=1)
        for least in (13, 10, 13):  # so that the bars keep their place when a number gets longer
            grid.add_column(justify="right", no_wrap=True, min_width=least)
        done, total = len(self._finished), self._job.total
        left = self._remaining(now)
        items_rate = self._item_speed.rate(now) * _MINUTE
        grid.add_row(
            Text("items", style="bold"),
            _bar(done, total),
            f"{done:,}/{total:,}",
            f"{items_rate:.0f}/min" if items_rate else "",
            Text(f"{_rounded(left)} left" if left > 0 else "finishing", style="bold"),
        )
        if self._size:
            sent = self._all_sent()
            speed = self._byte_speed.rate(now)
            grid.add_row(Text("bytes", style="bold"), _bar(sent, self._size), _amount(sent, self._size), _speed(speed), "")
        post = self._budget.snapshot().post
        allowed = post.rate * _MINUTE
        used = self._post_speed.growth(now)
        grid.add_row(
            Text("budget", style="bold"),
            _bar(used, allowed, style="yellow"),
            f"{used:.0f} of {allowed:.0f}",
            "POST/min",
            f"{post.queued} waiting" if post.queued else "",
        )
        for row in self._file_rows(now):
            grid.add_row(*row)
        return Group(grid, self._status(post.throttled, post.closed_for))

    def _file_rows(self, now: float) -> Iterator[tuple[RenderableType, ...]]:
        room = max(min(_MAX_FILES, self._console.height - 8), 1)
        for file in islice(self._files.values(), room):
            total = file.item.size or 0
            speed = file.speed_meter.rate(now)
            left = (total - file.sent) / speed if speed else 0.0
            yield (
                Text(f"  {printable(PurePath(file.item.source).name)}"),
                _bar(file.sent, total),
                _amount(file.sent, total),
                _speed(speed),
                _rounded(left) if left else "",
            )
        if len(self._files) > room:
            yield (Text(f"  and {len(self._files) - room} more", style="dim"),)

    def _status(self, refused: int, closed_for: float) -> Text:
        parts: list[Text] = []
        if self._waiting:
            parts.append(Text(f"{len(self._waiting):,} being prepared", style="dim"))
        if self._job.done:
            parts.append(Text(f"{len(self._job.done):,} done before", style="dim"))
        if self._failed:
            parts.append(Text(f"{self._failed:,} failed", style="bold red"))
        if refused:
            closed = f", closed for {span(closed_for)}" if closed_for > 0 else ""
            parts.append(Text(f"{refused} answers of 429{closed}", style="bold yellow"))
        return Text(" · ").join(parts)

    def _remaining(self, now: float) -> float:
        """Estimate the remaining seconds: by the forecast for creates, or the speed of bytes, whichever is longer."""
        posts = self._job.total - len(self._finished) - len(self._begun)
        speed = self._byte_speed.rate(now)
        sending = (self._size - self._all_sent()) / speed if speed > 0 else 0.0
        return max(self._budget.forecast(posts) if posts > 0 else 0.0, sending)


def _bar(done: float, total: float, style: str = "bar.complete") -> ProgressBar:
    return ProgressBar(
        total=max(total, 1), completed=min(done, max(total, 1)), complete_style=style, finished_style="bar.finished"
    )


def _amount(done: float, total: float) -> str:
    """Format ``12.1/64.0 MB``: both in the unit of the total."""
    whole = size(total)
    number, _, unit = whole.partition(" ")
    share = done / total * float(number) if total else 0.0
    return f"{share:.{1 if '.' in number else 0}f}/{whole}" if unit else whole


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < _MINUTE else span(seconds)


def _speed(rate: float) -> str:
    return f"{size(rate)}/s" if rate >= 1 else ""
