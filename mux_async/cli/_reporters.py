"""The output of ``mux-async ingest`` as it runs: a live display on a terminal, JSON lines for programs, plain lines on request.

Results are written to standard output, everything else to standard error, so that a program can read the results alone.
"""

from __future__ import annotations

import json
import os
import sys

import attrs

from mux_async._text_encoding import legible_all
from mux_async.cli._output import counted, printable, size, span, stderr
from mux_async.cli._progress import Form, IngestJob, RateBudget, Reporter, adopted_line, summary_lines
from mux_async.ingest import IngestEvent, IngestSummary, ItemFinished, RunsAdopted


def make_reporter(form: Form, job: IngestJob, budget: RateBudget) -> Reporter:
    """Return a reporter."""
    if form == "live":
        from mux_async.cli._live_display import LiveDisplay

        return LiveDisplay(job, budget)
    return PlainReporter(job) if form == "plain" else JsonReporter(job)


class JsonReporter:
    """Writes one JSON object per line; its ``event`` is ``begin``, ``item`` (for each finished item) or ``end``."""

    def __init__(self, job: IngestJob) -> None:
        self._job = job

    def begin(self) -> None:
        """Print the number of items, POSTs and bytes."""
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
            self.note(adopted_line(event))

    def tick(self) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Print to standard error."""
        stderr().print(text, markup=False)

    def end(self, summary: IngestSummary | None) -> None:
        """Print the summary as JSON, and as text to standard error."""
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
    except BrokenPipeError:  # the reader has gone; the ingest continues, and the journal has everything
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class PlainReporter:
    """Writes a line for each finished item."""

    def __init__(self, job: IngestJob) -> None:
        self._job = job
        self._count = len(job.done) + len(job.failed)

    def begin(self) -> None:
        """Print how much there is to send."""
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
            self.note(adopted_line(event))

    def tick(self) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Print to standard error."""
        stderr().print(text, markup=False)

    def end(self, summary: IngestSummary | None) -> None:
        """Print the summary."""
        for line in summary_lines(summary, self._job):
            _print(line)
