"""What ``mux-async ingest`` shows while it runs: a live view on a terminal (`_live`), JSON lines for programs, plain lines if asked for.

Results go to standard output, and what is said about them to standard error, so that a program that reads the one is not in the way of a
person who reads the other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import attrs

from mux_async.cli._output import counted, printable, size, span, stderr
from mux_async.ingest import IngestEvent, IngestSummary, ItemFinished, Plan, RunsAdopted
from mux_async.ingest._text_encoding import legible_all
from mux_async.limits import LimitsSnapshot

Form: TypeAlias = Literal["live", "plain", "json"]

_MOST_REASONS = 3
"""Sentences about failures at the end."""


@attrs.frozen
class Budget:
    """What the account's limits say, for the view.

    Attributes:
        look: Returns the buckets as they stand.
        forecast: Returns the seconds until so many creates have been let out.
    """

    look: Callable[[], LimitsSnapshot]
    forecast: Callable[[int], float]


@attrs.frozen
class Job:
    """What is to be done, and what is done already.

    Attributes:
        plan: All of it.
        journal: Where it is kept.
        done: Keys of items that were ready before this run.
        failed: Keys of items that had failed before, and are not tried again.
        begun: Keys of items that have been created and are neither; they cost no POST any more.
        report: Where the report will be; ``None`` for no report.
    """

    plan: Plan
    journal: Path
    done: Collection[str] = ()
    failed: Collection[str] = ()
    begun: Collection[str] = ()
    report: Path | None = None

    @property
    def total(self) -> int:
        """Items in all."""
        return len(self.plan.items)

    @property
    def posts(self) -> int:
        """Creates that are left."""
        return self.total - len(self.done) - len(self.failed) - len(self.begun)

    @property
    def size_left(self) -> int:
        """Bytes of the items that are not finished."""
        return sum(item.size or 0 for item in self.plan.items if item.key not in self.done and item.key not in self.failed)

    def greeting(self) -> list[str]:
        """Say what there is to do, in sentences."""
        urls = sum(item.url is not None for item in self.plan.items)
        parts = f"{counted(self.total - urls, 'file')} and {counted(urls, 'URL')}"
        lines = [f"{counted(self.total, 'item')}: {parts}; the journal is {printable(str(self.journal))}"]
        if self.done or self.begun:
            begun = f", {len(self.begun)} begun" if self.begun else ""
            lines.append(f"{len(self.done)} of {self.total} done before{begun}")
        if self.failed:
            verb = "is" if len(self.failed) == 1 else "are"
            lines.append(f"{len(self.failed)} failed before, and {verb} not tried again without --retry-failed")
        if self.plan.duplicates:
            lines.append(f"{len(self.plan.duplicates)} named more than once, or equal to another, and taken once")
        return lines


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

    def end(self, summary: IngestSummary | None) -> None:
        """Show how it ended; ``None`` when it was broken off."""
        ...


def make_reporter(form: Form, job: Job, budget: Budget) -> Reporter:
    """Return the reporter of a form."""
    if form == "live":
        from mux_async.cli._live import LiveReporter

        return LiveReporter(job, budget)
    return PlainReporter(job) if form == "plain" else JsonReporter(job)


def summary_lines(summary: IngestSummary | None, job: Job) -> list[str]:
    """Say how an ingest ended."""
    again = f"run the same command again to go on; {printable(str(job.journal))} knows where"
    if summary is None:
        return [f"stopped at once: {again}"]
    parts = [f"{summary.ready} ready"]
    for count, word in [
        (summary.ready_before, "ready before"),
        (summary.failed, "failed"),
        (summary.unfinished, "unfinished"),
        (summary.not_started, "not started"),
    ]:
        if count:
            parts.append(f"{count} {word}")
    sent = f" ({size(summary.size)})" if summary.size else ""
    lines = [f"{', '.join(parts)}{sent} in {span(summary.elapsed)}"]
    if summary.reason is not None:
        lines.append(f"it could not go on: {printable(summary.reason)}")
    if summary.unfinished or summary.not_started:
        lines.append(again)
    if summary.failed:
        lines += failure_lines(summary)
        lines.append("--retry-failed tries those that failed again")
    return lines


def failure_lines(summary: IngestSummary) -> list[str]:
    """Say why items failed: the most frequent reasons."""
    reasons = list(summary.errors.items())
    lines = [f"{count} failed: {printable(sentence)}" for sentence, count in reasons[:_MOST_REASONS]]
    if rest := summary.failed - sum(count for _, count in reasons[:_MOST_REASONS]):
        lines.append(f"{rest} failed for other reasons; --report has them")
    return lines


def runs_adopted(event: RunsAdopted) -> str:
    """Say that another run's items are gone on with."""
    verb = "is" if event.items == 1 else "are"
    return f"an earlier run was killed; the {counted(event.items, 'item')} that it had {verb} gone on with"


class JsonReporter:
    """One JSON object a line, told apart by ``event``: ``begin``, an ``item`` for each that is finished, and ``end``."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def begin(self) -> None:
        """Print what there is to do."""
        job = self._job
        _print_json(
            event="begin",
            items=job.total,
            ready_before=len(job.done),
            failed_before=len(job.failed),
            posts=job.posts,
            bytes=job.size_left,
            journal=str(job.journal),
        )

    def event(self, event: IngestEvent) -> None:
        """Print results."""
        if isinstance(event, ItemFinished):
            _print_json(event="item", **event.result.to_dict())
        elif isinstance(event, RunsAdopted):
            self.note(runs_adopted(event))

    def tick(self) -> None:
        """Nothing moves."""

    def note(self, text: str) -> None:
        """Print to standard error, where it is in nobody's way."""
        stderr().print(text, markup=False)

    def end(self, summary: IngestSummary | None) -> None:
        """Print the summary; for a person, too, in words."""
        report = str(self._job.report) if self._job.report is not None else None
        members = attrs.asdict(summary) if summary is not None else None
        _print_json(event="end", summary=members, journal=str(self._job.journal), report=report)
        for line in summary_lines(summary, self._job):
            self.note(line)


def _print_json(**members: object) -> None:
    _print(json.dumps(legible_all(members)))


def _print(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read along has left; the ingest goes on, and the journal has everything
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class PlainReporter:
    """A line for each item that is finished."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._count = len(job.done) + len(job.failed)

    def begin(self) -> None:
        """Say how much there is to send."""
        _print(f"ingesting {counted(self._job.total - self._count, 'item')}, {size(self._job.size_left)} to send")

    def event(self, event: IngestEvent) -> None:
        """Print a line for a finished item."""
        if isinstance(event, ItemFinished):
            self._count += 1
            result = event.result
            place = f"[{self._count}/{self._job.total}]"
            if result.error is None:
                where = result.playback_urls[0] if result.playback_urls else f"asset {result.asset_id}"
                _print(f"{place} ready   {printable(result.source)} -> {where} ({span(result.seconds)})")
            else:
                _print(f"{place} failed  {printable(result.source)}: {printable(result.error.message)}")
        elif isinstance(event, RunsAdopted):
            self.note(runs_adopted(event))

    def tick(self) -> None:
        """Nothing moves."""

    def note(self, text: str) -> None:
        """Print to standard error."""
        stderr().print(text, markup=False)

    def end(self, summary: IngestSummary | None) -> None:
        """Print the summary."""
        for line in summary_lines(summary, self._job):
            _print(line)
