"""The progress of ``mux-async ingest``: JSON lines for programs, plain lines on request, and the lines of the summary.

The live display of terminals is in `_ingest_display`. Results are written to standard output, everything else to standard error, so that a
program can read the results alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import attrs

from mux_async._text_encoding import legible_all
from mux_async.cli._interrupts import RunReporter
from mux_async.cli._output import counted, printable, size, span, stderr
from mux_async.ingest import IngestEvent, IngestSummary, ItemFinished, ItemResult, Plan, RunsAdopted
from mux_async.limits import LimitsSnapshot

Form: TypeAlias = Literal["live", "plain", "json"]

_MAX_REASONS = 3
"""Reasons for failures in the summary."""


@attrs.frozen
class RateBudget:
    """The account's rate limits, for display."""

    snapshot: Callable[[], LimitsSnapshot]
    forecast: Callable[[int], float]
    """Returns the seconds until the given number of creates can have been sent."""


@attrs.frozen
class IngestJob:
    """The items of a run, and the keys of those that earlier runs processed."""

    plan: Plan
    journal: Path
    done: Collection[str] = ()
    failed: Collection[str] = ()
    """Not retried in this run."""
    begun: Collection[str] = ()
    """Unfinished items that were created already, so that they cost no POST."""
    report: Path | None = None

    @property
    def total(self) -> int:
        """Number of items."""
        return len(self.plan.items)

    @property
    def posts(self) -> int:
        """Creates that are left."""
        return self.total - len(self.done) - len(self.failed) - len(self.begun)

    @property
    def size_left(self) -> int:
        """Bytes of the items that are not finished."""
        return sum(item.size or 0 for item in self.plan.items if item.key not in self.done and item.key not in self.failed)

    def describe(self) -> list[str]:
        """Return the lines to show at the start."""
        urls = sum(item.url is not None for item in self.plan.items)
        parts = f"{counted(self.total - urls, 'file')} and {counted(urls, 'URL')}"
        lines = [f"{counted(self.total, 'item')}: {parts}; the journal is {printable(str(self.journal))}"]
        if self.done or self.begun:
            begun = f", {len(self.begun)} begun" if self.begun else ""
            lines.append(f"{len(self.done)} of {self.total} done before{begun}")
        if self.failed:
            verb = "is" if len(self.failed) == 1 else "are"
            lines.append(f"{len(self.failed)} failed before and {verb} not retried without --retry-failed")
        if self.plan.duplicates:
            lines.append(f"{len(self.plan.duplicates)} named more than once, or equal to another, and ingested once")
        return lines


class Reporter(RunReporter[IngestSummary], Protocol):
    """Shows an ingest."""

    def event(self, event: IngestEvent) -> None: ...


def summary_lines(summary: IngestSummary | None, job: IngestJob) -> list[str]:
    """Return the lines of the summary."""
    again = f"run the same command again to continue; {printable(str(job.journal))} has the progress"
    if summary is None:
        return [f"stopped at once: {again}"]
    counts = {
        "ready before": summary.ready_before,
        "failed": summary.failed,
        "unfinished": summary.unfinished,
        "not started": summary.not_started,
    }
    parts = [f"{summary.ready} ready", *(f"{count} {word}" for word, count in counts.items() if count)]
    sent = f" ({size(summary.size)})" if summary.size else ""
    lines = [f"{', '.join(parts)}{sent} in {span(summary.elapsed)}"]
    if summary.reason is not None:
        lines.append(f"the run ended early: {printable(summary.reason)}")
    if summary.unfinished or summary.not_started:
        lines.append(again)
    if summary.failed:
        reasons = list(summary.errors.items())[:_MAX_REASONS]
        lines += [f"{count} failed: {printable(sentence)}" for sentence, count in reasons]
        if rest := summary.failed - sum(count for _, count in reasons):
            lines.append(f"{rest} failed for other reasons; --report has them")
        lines.append("--retry-failed retries the failed items")
    return lines


class LineReporter:
    """What the reporters have in common that print lines."""

    def __init__(self, job: IngestJob) -> None:
        self._job = job
        self._count = len(job.done) + len(job.failed)

    def event(self, event: IngestEvent) -> None:
        if isinstance(event, ItemFinished):
            self._count += 1
            self._finished(event.result)
        elif isinstance(event, RunsAdopted):
            self.note(adopted_line(event))

    def tick(self) -> None: ...

    def note(self, text: str) -> None:
        stderr().print(text, markup=False)

    def _finished(self, result: ItemResult) -> None:
        raise NotImplementedError


class JsonReporter(LineReporter):
    """Writes one JSON object per line; its ``event`` is ``begin``, ``item`` (for each finished item) or ``end``."""

    def begin(self) -> None:
        job = self._job
        counts = {"items": job.total, "ready_before": len(job.done), "failed_before": len(job.failed), "posts": job.posts}
        _print_json(event="begin", **counts, bytes=job.size_left, journal=str(job.journal))

    def _finished(self, result: ItemResult) -> None:
        _print_json(event="item", **result.to_dict())

    def end(self, summary: IngestSummary | None) -> None:
        report = str(self._job.report) if self._job.report is not None else None
        members = attrs.asdict(summary) if summary is not None else None
        _print_json(event="end", summary=members, journal=str(self._job.journal), report=report)
        for line in summary_lines(summary, self._job):
            self.note(line)


class PlainReporter(LineReporter):
    """Writes a line for each finished item."""

    def begin(self) -> None:
        _print(f"ingesting {counted(self._job.total - self._count, 'item')}, {size(self._job.size_left)} to send")

    def _finished(self, result: ItemResult) -> None:
        place = f"[{self._count}/{self._job.total}]"
        if result.error is None:
            where = result.playback_urls[0] if result.playback_urls else f"asset {result.asset_id}"
            _print(f"{place} ready   {printable(result.source)} -> {where} ({span(result.seconds)})")
        else:
            _print(f"{place} failed  {printable(result.source)}: {printable(result.error.message)}")

    def end(self, summary: IngestSummary | None) -> None:
        for line in summary_lines(summary, self._job):
            _print(line)


def _print_json(**members: object) -> None:
    _print(json.dumps(legible_all(members)))


def _print(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone; the ingest continues, and the journal has everything
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def adopted_line(event: RunsAdopted) -> str:
    """Return the line about items of a killed run."""
    return f"an earlier run was killed; this one continues with its {counted(event.items, 'item')}"
