"""The live view of an ingest: all items, all bytes, each file on its way, and what the rate limit lets out.

One grid, drawn anew a few times a second from the event loop: rich's own thread would read the queues of the rate limit while the loop
changes them. Bars take what is left of the width, so that 80 columns show the same as 200 in less detail.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import PurePath
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mux_async.cli._output import printable, size, span, stdout
from mux_async.cli._progress import Budget, Job, runs_adopted, summary_lines
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
"""Seconds that a speed is the average of."""
_MINUTE: Final = 60.0
_MOST_FILES: Final = 10
"""Files with a bar of their own at most; the others are counted."""
_CREATED: Final = frozenset({Stage.CREATED, Stage.SENDING, Stage.SENT, Stage.WAITING})


class Pace:
    """How fast a number grows.

    Args:
        window: Seconds of the past that count.
    """

    def __init__(self, window: float = _WINDOW) -> None:
        self._window = window
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """Take note of the number as it is."""
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < self._window / 40:
            samples.pop()  # so that there are 40 of them, however often something happens
        samples.append((now, value))
        while len(samples) > 2 and now - samples[1][0] > self._window:
            samples.popleft()

    def rate(self, now: float) -> float:
        """Return the growth in a second; 0.0 when not enough is known."""
        if not self._samples or now - self._samples[0][0] < 0.5:
            return 0.0
        (since, before), (_, latest) = self._samples[0], self._samples[-1]
        return (latest - before) / (now - since)

    def growth(self, now: float) -> float:
        """Return how much was added in the window."""
        inside = [value for at, value in self._samples if now - at <= self._window]
        return inside[-1] - inside[0] if inside else 0.0


class _File:
    """A file on its way."""

    def __init__(self, item: Item, now: float) -> None:
        self.item = item
        self.sent = 0
        self.pace = Pace()
        self.pace.add(now, 0)


class LiveReporter:
    """Bars that move.

    Args:
        job: What is to be done.
        budget: What the limits say.
        console: Where it is drawn.
        clock: Monotonic seconds.
    """

    def __init__(
        self, job: Job, budget: Budget, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._job = job
        self._budget = budget
        self._console = console or stdout()
        self._clock = clock
        self._settled = {*job.done, *job.failed}
        self._begun = set(job.begun)
        self._failed = len(job.failed)
        self._files: dict[str, _File] = {}
        self._waiting: set[str] = set()
        self._size = job.size_left
        self._sent = 0
        """Bytes of files that are no longer on their way; with those of `_files`, all."""
        self._counted: set[str] = set()
        """Keys of items that are in `_sent`."""
        self._items_pace, self._bytes_pace, self._posts_pace = Pace(_MINUTE), Pace(), Pace(_MINUTE)
        self._live = Live(get_renderable=self._render, console=self._console, auto_refresh=False, transient=True)

    def begin(self) -> None:
        """Start drawing."""
        self._measure()
        self._live.start()

    def tick(self) -> None:
        """Draw anew."""
        self._measure()
        self._live.refresh()

    def _measure(self) -> None:
        now = self._clock()
        self._items_pace.add(now, len(self._settled))
        self._bytes_pace.add(now, self._all_sent())
        self._posts_pace.add(now, self._budget.look().post.granted)
        for file in self._files.values():
            file.pace.add(now, file.sent)

    def _all_sent(self) -> int:
        return self._sent + sum(file.sent for file in self._files.values())

    def event(self, event: IngestEvent) -> None:
        """Move the bars."""
        match event:
            case ItemProgress(item, sent, _):
                if (file := self._files.get(item.key)) is not None:
                    file.sent = max(sent, file.sent)
            case ItemMoved(item, state):
                self._moved(item, state.stage)
            case ItemFinished(item, result):
                self._settle(item)
                if result.error is not None:
                    self._failed += 1
                    line = Text("failed ", style="bold red")
                    line.append(f"{printable(item.source)}: {printable(result.error.message)}", style="default")
                    self._console.print(line, soft_wrap=True)
            case ItemSkipped(item, _):
                self._settle(item)
            case RunsAdopted():
                self.note(runs_adopted(event))

    def _moved(self, item: Item, stage: Stage) -> None:
        key = item.key
        if stage in _CREATED:
            self._begun.add(key)
        elif stage is Stage.PLANNED:  # its upload expired, and another create is needed
            self._begun.discard(key)
        if stage is Stage.WAITING:
            self._waiting.add(key)
        if stage is Stage.SENDING:
            self._files.setdefault(key, _File(item, self._clock()))
        else:
            self._files.pop(key, None)
        if stage is Stage.SENT:
            self._count(item)
        if stage.is_final:
            self._waiting.discard(key)

    def _count(self, item: Item) -> None:
        """Take an item's bytes as sent: they are, or never will be."""
        if item.key not in self._counted:
            self._counted.add(item.key)
            self._sent += item.size or 0

    def _settle(self, item: Item) -> None:
        if item.key not in self._settled:
            self._settled.add(item.key)
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
        for least in (13, 10, 13):  # so that the bars do not jump whenever a number gets a digit more
            grid.add_column(justify="right", no_wrap=True, min_width=least)
        done, total = len(self._settled), self._job.total
        left = self._remaining(now)
        items_rate = self._items_pace.rate(now) * _MINUTE
        grid.add_row(
            Text("items", style="bold"),
            _bar(done, total),
            f"{done:,}/{total:,}",
            f"{items_rate:.0f}/min" if items_rate else "",
            Text(f"{_rough(left)} left" if left > 0 else "finishing", style="bold"),
        )
        if self._size:
            sent = self._all_sent()
            speed = self._bytes_pace.rate(now)
            grid.add_row(Text("bytes", style="bold"), _bar(sent, self._size), _amount(sent, self._size), _speed(speed), "")
        post = self._budget.look().post
        allowed = post.rate * _MINUTE
        used = self._posts_pace.growth(now)
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
        room = max(min(_MOST_FILES, self._console.height - 8), 1)
        for file in islice(self._files.values(), room):
            total = file.item.size or 0
            speed = file.pace.rate(now)
            left = (total - file.sent) / speed if speed else 0.0
            yield (
                Text(f"  {printable(PurePath(file.item.source).name)}"),
                _bar(file.sent, total),
                _amount(file.sent, total),
                _speed(speed),
                _rough(left) if left else "",
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
        """Guess the seconds that are left: creates as the limits forecast them, or bytes at their speed, whichever takes longer."""
        posts = self._job.total - len(self._settled) - len(self._begun)
        speed = self._bytes_pace.rate(now)
        sending = (self._size - self._all_sent()) / speed if speed > 0 else 0.0
        return max(self._budget.forecast(posts) if posts > 0 else 0.0, sending)


def _bar(done: float, total: float, style: str = "bar.complete") -> ProgressBar:
    return ProgressBar(
        total=max(total, 1), completed=min(done, max(total, 1)), complete_style=style, finished_style="bar.finished"
    )


def _amount(done: float, total: float) -> str:
    """Write ``12.1/64.0 MB``: both in the unit of the whole."""
    whole = size(total)
    number, _, unit = whole.partition(" ")
    share = done / total * float(number) if total else 0.0
    return f"{share:.{1 if '.' in number else 0}f}/{whole}" if unit else whole


def _rough(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < _MINUTE else span(seconds)


def _speed(rate: float) -> str:
    return f"{size(rate)}/s" if rate >= 1 else ""
