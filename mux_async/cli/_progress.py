"""What ``mux-async ingest`` shows while it runs: a live view on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from mux_async.cli._output import printable, size, span, stderr, stdout
from mux_async.ingest import IngestEvent, IngestSummary, ItemFinished, ItemMoved, ItemProgress, Plan, Stage
from mux_async.limits import LimitsSnapshot

Form: TypeAlias = Literal["live", "plain", "json"]
LimitsView: TypeAlias = Callable[[], LimitsSnapshot]


class Reporter(Protocol):
    """Shows an ingest. Called on the event loop, so it must return at once."""

    def begin(self) -> None: ...

    def event(self, event: IngestEvent) -> None: ...

    def tick(self) -> None:
        """Draw anew; called a few times a second."""
        ...

    def note(self, text: str) -> None:
        """Say something in between."""
        ...

    def end(self, summary: IngestSummary | None, result: Path) -> None:
        """Show how it ended; ``None`` when it was broken off."""
        ...


def make_reporter(form: Form, plan: Plan, look: LimitsView) -> Reporter:
    """Return the reporter of a form."""
    if form == "live":
        return LiveReporter(plan, look)
    return PlainReporter(plan) if form == "plain" else JsonReporter()


def summary_lines(summary: IngestSummary | None, result: Path) -> list[str]:
    """Say how an ingest ended."""
    if summary is None:
        return [f"stopped at once; what was finished is in {printable(str(result))}"]
    parts = [f"{summary.ready} ready"]
    if summary.failed:
        parts.append(f"{summary.failed} failed")
    if summary.not_started:
        parts.append(f"{summary.not_started} not started")
    sent = f" ({size(summary.size)})" if summary.size else ""
    lines = [f"{', '.join(parts)}{sent} in {span(summary.elapsed)}; results in {printable(str(result))}"]
    if summary.reason is not None:
        lines.append(f"it could not go on: {printable(summary.reason)}")
    return lines


class JsonReporter:
    """One JSON object a line: a result for each item, and the summary at the end."""

    def begin(self) -> None:
        """Say nothing."""

    def event(self, event: IngestEvent) -> None:
        """Print results."""
        if isinstance(event, ItemFinished):
            _print(event.result.to_json())

    def tick(self) -> None:
        """Nothing moves."""

    def note(self, text: str) -> None:
        """Print to standard error, where it is in nobody's way."""
        stderr().print(text, markup=False)

    def end(self, summary: IngestSummary | None, result: Path) -> None:
        """Print the summary."""
        members = attrs.asdict(summary) if summary is not None else None
        _print(json.dumps({"summary": members, "results": str(result)}))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class PlainReporter:
    """A line for each item that is finished."""

    def __init__(self, plan: Plan) -> None:
        self._total = len(plan.items)
        self._size = plan.size
        self._count = 0

    def begin(self) -> None:
        """Say what there is to do."""
        _print(f"ingesting {self._total} items, {size(self._size)} to send")

    def event(self, event: IngestEvent) -> None:
        """Print a line for a finished item."""
        if isinstance(event, ItemFinished):
            self._count += 1
            result = event.result
            place = f"[{self._count}/{self._total}]"
            if result.error is None:
                where = result.playback_urls[0] if result.playback_urls else f"asset {result.asset_id}"
                _print(f"{place} ready   {printable(result.source)} -> {where} ({span(result.seconds)})")
            else:
                _print(f"{place} failed  {printable(result.source)}: {printable(result.error.message)}")

    def tick(self) -> None:
        """Nothing moves."""

    def note(self, text: str) -> None:
        """Print it."""
        _print(text)

    def end(self, summary: IngestSummary | None, result: Path) -> None:
        """Print the summary."""
        for line in summary_lines(summary, result):
            _print(line)


class LiveReporter:
    """Bars that move: all items, all bytes, each file on its way, and what the rate limit does."""

    def __init__(self, plan: Plan, look: LimitsView, console: Console | None = None) -> None:
        self._plan = plan
        self._look = look
        self._console = console or stdout()
        self._items = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
        )
        self._bytes = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=self._console
        )
        self._all_items = self._items.add_task("items", total=len(plan.items), note="")
        self._all_bytes = self._bytes.add_task("bytes", total=plan.size or None)
        self._tasks: dict[str, TaskID] = {}
        self._sent: dict[str, int] = {}
        self._done_bytes = 0
        self._created = 0
        self._waiting: set[str] = set()
        self._started = 0.0
        # Drawn from the event loop: rich's own thread would read the queues of the rate limit while the loop changes them.
        self._live = Live(get_renderable=self._render, console=self._console, auto_refresh=False, transient=True)

    def begin(self) -> None:
        """Start drawing."""
        self._started = time.monotonic()
        self._live.start()

    def tick(self) -> None:
        """Draw anew."""
        self._live.refresh()

    def event(self, event: IngestEvent) -> None:
        """Move the bars."""
        match event:
            case ItemProgress(item, sent, _):
                self._sent[item.key] = max(sent, self._sent.get(item.key, 0))
                if item.key in self._tasks:
                    self._bytes.update(self._tasks[item.key], completed=sent)
                self._bytes.update(self._all_bytes, completed=self._done_bytes + sum(self._sent.values()))
            case ItemMoved(item, state):
                self._moved(item.key, item.source, item.size, state.stage)
            case ItemFinished(item, result):
                self._items.advance(self._all_items)
                if result.error is not None:
                    self._console.print(f"failed {printable(item.source)}: {printable(result.error.message)}", markup=False)

    def _moved(self, key: str, source: str, total: int | None, stage: Stage) -> None:
        if stage is Stage.CREATED:
            self._created += 1
        if stage is Stage.WAITING:
            self._waiting.add(key)
        if stage is Stage.SENDING and key not in self._tasks:
            name = Text(f"  {printable(Path(source).name)}", overflow="ellipsis", no_wrap=True)
            name.truncate(32)
            self._tasks[key] = self._bytes.add_task(escape(name.plain), total=total)
        if stage in {Stage.SENT, Stage.DEAD, Stage.PLANNED} and key in self._tasks:
            self._bytes.remove_task(self._tasks.pop(key))
        if stage in {Stage.SENT, Stage.DEAD}:
            self._done_bytes += self._sent.pop(key, 0)
        if stage.is_final:
            self._waiting.discard(key)

    def note(self, text: str) -> None:
        """Print above the bars."""
        self._console.print(text, markup=False)

    def end(self, summary: IngestSummary | None, result: Path) -> None:
        """Stop drawing, and print the summary."""
        self._live.stop()
        for line in summary_lines(summary, result):
            self._console.print(line, markup=False)

    def _render(self) -> Group:
        self._items.update(self._all_items, note=f"{len(self._waiting)} being prepared, about {span(self._remaining())} left")
        post = self._look().post
        gauge = Text(
            f"POST: {post.rate:g} a second, {post.granted} sent, {post.queued} waiting, next in {post.eta:.1f} s", style="dim"
        )
        if post.refused or post.closed_for:
            gauge.append(f", {post.refused} refused, closed for {post.closed_for:.1f} s", style="bold")
        return Group(self._items, self._bytes, gauge)

    def _remaining(self) -> float:
        """Guess the seconds that are left: creates at their rate, or bytes at theirs, whichever takes longer."""
        creates = (len(self._plan.items) - self._created) / self._look().post.rate
        sent = self._done_bytes + sum(self._sent.values())
        elapsed = time.monotonic() - self._started if self._started else 0.0
        bytes_left = self._plan.size - sent
        return max(creates, bytes_left * elapsed / sent if sent else 0.0)
