"""The progress of ``mux-async ingest``: what there is to do, the interface of everything that shows it, and the lines of the summary."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import attrs

from mux_async.cli._output import counted, printable, size, span
from mux_async.ingest import IngestEvent, IngestSummary, Plan, RunsAdopted
from mux_async.limits import LimitsSnapshot

Form: TypeAlias = Literal["live", "plain", "json"]

_MAX_REASONS = 3
"""Reasons for failures in the summary."""


@attrs.frozen
class RateBudget:
    """The account's rate limits, for display.

    Attributes:
        snapshot: Returns the current state of the buckets.
        forecast: Returns the seconds until the given number of creates can have been sent.
    """

    snapshot: Callable[[], LimitsSnapshot]
    forecast: Callable[[int], float]


@attrs.frozen
class IngestJob:
    """The items of a run and how many of them are finished already.

    Attributes:
        plan: All items.
        journal: Path of the journal.
        done: Keys of items that were ready before this run.
        failed: Keys of items that failed in an earlier run and are not retried.
        begun: Keys of unfinished items that were created already and cost no POST.
        report: Path of the report; ``None`` for no report.
    """

    plan: Plan
    journal: Path
    done: Collection[str] = ()
    failed: Collection[str] = ()
    begun: Collection[str] = ()
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


class Reporter(Protocol):
    """Shows an ingest. Called on the event loop, so it must return at once."""

    def begin(self) -> None: ...

    def event(self, event: IngestEvent) -> None: ...

    def tick(self) -> None:
        """Redraw; called a few times a second."""
        ...

    def note(self, text: str) -> None:
        """Show a message."""
        ...

    def end(self, summary: IngestSummary | None) -> None:
        """Show the summary; ``None`` if the run was cancelled."""
        ...


def summary_lines(summary: IngestSummary | None, job: IngestJob) -> list[str]:
    """Return the lines of the summary."""
    again = f"run the same command again to continue; {printable(str(job.journal))} has the progress"
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
        lines.append(f"the run ended early: {printable(summary.reason)}")
    if summary.unfinished or summary.not_started:
        lines.append(again)
    if summary.failed:
        lines += failure_lines(summary)
        lines.append("--retry-failed retries the failed items")
    return lines


def failure_lines(summary: IngestSummary) -> list[str]:
    """Return the most frequent reasons for failures."""
    reasons = list(summary.errors.items())
    lines = [f"{count} failed: {printable(sentence)}" for sentence, count in reasons[:_MAX_REASONS]]
    if rest := summary.failed - sum(count for _, count in reasons[:_MAX_REASONS]):
        lines.append(f"{rest} failed for other reasons; --report has them")
    return lines


def adopted_line(event: RunsAdopted) -> str:
    """Return the line about items of a killed run."""
    return f"an earlier run was killed; this one continues with its {counted(event.items, 'item')}"
