"""``mux-async bulk``: any operation for each row of a list; and ``mux-async bulk-status``: shows the progress."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import anyio
import typer

from mux_async.bulk import Bulk, BulkJournal, BulkPlanError, BulkSummary, RowFinished, RowStage, write_bulk_report
from mux_async.bulk._report import check_bulk_report_path
from mux_async.cli._client import BaseUrl, TransportName, make_client
from mux_async.cli._input import read_standard_input
from mux_async.cli._interrupts import open_interrupts
from mux_async.cli._output import FAILED, MOST_LINES, STOPPED, WRONG, complain, counted, printable, span, stderr, stdout

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mux_async import Mux

SUFFIX = ".mux-bulk"
_LIST, _RUN, _SAFETY, _SHOWN = "The list", "The run", "Operations that destroy", "What is shown"
"""Headings of ``--help``."""


def complete_operation(incomplete: str) -> list[str]:
    """Complete the id of an operation that changes something."""
    from mux_async._operation_index import api_operations

    return sorted(each.id for each in api_operations() if each.method != "GET" and each.id.startswith(incomplete))


Report: TypeAlias = Annotated[
    Path | None,
    typer.Option("--report", help="Write every row to FILE at the end: .csv or .jsonl.", metavar="FILE", rich_help_panel=_RUN),
]


def bulk(
    operation: Annotated[
        str,
        typer.Argument(
            metavar="OPERATION",
            autocompletion=complete_operation,
            help="Name of the operation, as of its method: video.assets.update.",
            show_default=False,
        ),
    ],
    rows: Annotated[
        str,
        typer.Argument(
            metavar="LIST",
            help="A table (.csv, .tsv), JSON (.jsonl, .json), or a file with an id on each line; - for standard input. Columns are named "
            "as the arguments: asset_id, passthrough, meta.title.",
            show_default=False,
        ),
    ],
    form: Annotated[
        Literal["lines", "csv", "jsonl", "json"] | None,
        typer.Option("--format", help="Of the list. Default: by its suffix.", show_default=False, rich_help_panel=_LIST),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Argument of all rows; those of a row win. May be repeated.",
            rich_help_panel=_LIST,
        ),
    ] = None,
    on_bad_row: Annotated[
        Literal["stop", "skip"],
        typer.Option(help="If a row cannot be sent: start nothing, or leave it out.", rich_help_panel=_LIST),
    ] = "stop",
    journal: Annotated[
        Path | None,
        typer.Option(
            help="Stores the progress, so that the same command continues it. Default: named after list and operation, here.",
            metavar="FILE",
            rich_help_panel=_RUN,
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send rows that failed again.", rich_help_panel=_RUN)
    ] = False,
    retry_unknown: Annotated[
        bool,
        typer.Option(
            "--retry-unknown",
            help="Send rows again whose outcome is unknown. Look first: they may have been performed.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    report: Report = None,
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="Requests at the same time.", rich_help_panel=_RUN)] = 8,
    max_failures: Annotated[
        int, typer.Option(min=0, help="End after this many failures in a row; 0 for no bound.", rich_help_panel=_RUN)
    ] = 25,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done. Sends nothing.", rich_help_panel=_RUN)
    ] = False,
    most: Annotated[
        int | None,
        typer.Option(
            "--max", min=0, metavar="N", help="Do nothing if there are more rows. Required by --yes.", rich_help_panel=_SAFETY
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needs --max.", rich_help_panel=_SAFETY)] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON lines, the default if the output is not a terminal.", rich_help_panel=_SHOWN)
    ] = False,
    base_url: BaseUrl = None,
    transport: TransportName = "aiohttp",
) -> None:
    """Run any operation of the API, once for each row of a list, at the rate that the account allows.

    Everything is checked before anything is sent. Each row is in a journal: after any interruption the same command continues. Requests
    whose outcome is unknown are repeated only where that does no harm.

    Operations that destroy something show their plan and ask for a text that names the number of rows; in scripts, --yes and --max.

    Ctrl-C finishes the rows that were begun; a second one stops at once. Exit code: 0 if every row is done, 1 if not, 2 if the arguments
    were wrong, 130 if interrupted.
    """
    if report is not None:
        check_bulk_report_path(report)
    client = make_client(base_url, transport)
    place = journal or Path(f"{Path(rows).name if rows != '-' else 'stdin'}.{operation}{SUFFIX}")
    given = read_standard_input() if rows == "-" else rows
    common = _common_values(values or ())
    try:
        plan = client.bulk(operation, given, form=form, values=common, on_bad_row=on_bad_row).plan
    except BulkPlanError as error:
        for problem in error.problems[:MOST_LINES]:
            complain(printable(str(problem)))
        if len(error.problems) > MOST_LINES:
            complain(f"and {len(error.problems) - MOST_LINES} more rows")
        raise typer.Exit(WRONG) from None
    count = len(plan.calls)
    if most is not None and count > most:
        raise typer.BadParameter(f"there are {counted(count, 'row')}, and --max is {most}; nothing was sent")
    if yes and plan.is_destructive and most is None:
        raise typer.BadParameter(f"--yes for {operation}, which cannot be undone, needs --max: the most rows that you expect")
    reporter = _Reporter(as_json=as_json or not sys.stdout.isatty())
    run = client.bulk(
        operation,
        given,
        form=form,
        values=common,
        journal=place,
        on_bad_row=on_bad_row,
        concurrency=concurrency,
        confirm=plan.confirmation,
        max_failures=max_failures,
        on_event=reporter.event,
    )
    for line in [*str(plan).splitlines(), f"the rate limits make that take at least {span(run.forecast())}"]:
        stderr().print(printable(line), markup=False)
    if dry_run:
        stderr().print("nothing was sent", markup=False)
        return
    if plan.confirmation is not None and not yes:
        _confirm(plan.confirmation, client.base_url)
    stages = [*([RowStage.FAILED] if retry_failed else []), *([RowStage.UNKNOWN] if retry_unknown else [])]
    if stages and place.exists():
        with BulkJournal.open(place) as book:
            book.retry(*stages)
    reporter.begin(count)
    try:
        code = anyio.run(_run, client, run, reporter)
    finally:
        reporter.close()
        if report is not None and place.exists():
            with BulkJournal.open(place, create=False) as book:
                written = write_bulk_report(report, book.entries())
            stderr().print(f"{counted(written, 'row')} in {printable(str(report))}", markup=False)
    if code or plan.problems:
        raise typer.Exit(code or FAILED)


def bulk_status(
    journal: Annotated[Path, typer.Argument(help=f"The journal: a file that ends with {SUFFIX}.", show_default=False)],
    report: Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the progress of a bulk change from its journal, during the run or later, and write its report. Sends nothing.

    Exit code: 0 if every row is done, 1 if not.
    """
    with BulkJournal.open(journal, create=False) as book:
        counts = book.counts()
        open_rows = [row for row in book.entries() if row.stage in {RowStage.FAILED, RowStage.UNKNOWN}]
        if report is not None:
            write_bulk_report(report, book.entries())
    if as_json:
        typer.echo(json.dumps({"rows": sum(counts.values()), **{str(stage): counts.get(stage, 0) for stage in RowStage}}))
    else:
        console = stdout()
        stages = ", ".join(f"{counts[stage]} {stage}" for stage in RowStage if counts.get(stage))
        console.print(f"{counted(sum(counts.values()), 'row')}: {stages or 'none'}", markup=False)
        for row in open_rows[:MOST_LINES]:
            console.print(f"{row.stage} {printable(row.label)}: {printable(row.error or '')}", markup=False)
        if len(open_rows) > MOST_LINES:
            console.print(f"and {len(open_rows) - MOST_LINES} more; --report FILE has them", markup=False)
    if counts.get(RowStage.DONE, 0) < sum(counts.values()):
        raise typer.Exit(FAILED)


def _common_values(given: Sequence[str]) -> dict[str, object]:
    from mux_async.bulk._rows import Cell

    values: dict[str, object] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"--set takes NAME=VALUE, and {each!r} is not of that form")
        values[name] = Cell(value)
    return values


def _confirm(text: str, base_url: str) -> None:
    """Ask for *text*.

    Raises:
        typer.BadParameter: Nobody can be asked, or something else was typed.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "this cannot be undone, and there is no terminal to ask at: use --yes and --max; nothing was sent"
        )
    typer.echo(f"on {base_url}. To go on, type: {text}", err=True)
    if input().strip() != text:
        raise typer.BadParameter("that is something else; nothing was sent")


class _Reporter:
    """Shows the progress: JSON lines for programs, a bar with the time left on a terminal."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._progress: Progress | None = None
        self._bar: TaskID | None = None

    def begin(self, rows: int) -> None:
        """Begin with the number of rows."""
        if self._as_json:
            _print_json(event="begin", rows=rows)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[failed]} failed"))
        self._progress = Progress(*columns, console=stdout(), speed_estimate_period=120)
        self._progress.start()
        self._bar = self._progress.add_task("rows", total=rows, failed=0)

    def end(self, summary: BulkSummary) -> None:
        """Show the end of the run."""
        if self._as_json:
            _print_json(
                event="end",
                done=summary.done,
                done_before=summary.done_before,
                failed=summary.failed,
                unknown=summary.unknown,
                not_started=summary.not_started,
                reason=summary.reason,
                errors=dict(summary.errors),
            )
        self.close()
        line = ", ".join(
            f"{count} {what}"
            for count, what in (
                (summary.done, "done"),
                (summary.done_before, "done before"),
                (summary.failed, "failed"),
                (summary.unknown, "unknown"),
                (summary.not_started, "not started"),
            )
            if count
        )
        stderr().print(f"{line or 'nothing to do'}, in {span(summary.elapsed)}", markup=False)
        if summary.reason:
            complain(printable(summary.reason))

    def event(self, event: RowFinished) -> None:
        """Show a finished row."""
        error = event.error
        if self._as_json:
            members: dict[str, object] = {"row": event.call.row, "label": event.call.label, "stage": str(event.stage)}
            if event.result is not None:
                members["id"] = event.result
            if error is not None:
                members["error"] = {"type": type(error).__name__, "message": str(error)}
            _print_json(event="row", **members)
        elif self._progress is not None and self._bar is not None:
            if error is not None:
                failed = self._progress.tasks[0].fields["failed"] + 1
                self._progress.update(self._bar, failed=failed)
                text = f"{event.stage} row {event.call.row} ({event.call.label}): {error}"
                self._progress.console.print(printable(text), markup=False)
            self._progress.advance(self._bar)

    def note(self, text: str) -> None:
        """Print to standard error."""
        stderr().print(text, markup=False)

    def close(self) -> None:
        """Remove the display."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _print_json(**members: object) -> None:
    typer.echo(json.dumps(members))


async def _run(client: Mux, run: Bulk, reporter: _Reporter) -> int:
    """Run until the end or an interrupt; return the exit code."""
    summary: BulkSummary | None = None
    interrupts = 0

    async def watch(signals: AsyncIterator[signal.Signals]) -> None:
        nonlocal interrupts
        async for _ in signals:
            interrupts += 1
            if interrupts > 1:
                tasks.cancel_scope.cancel()
            else:
                run.stop()
                reporter.note("finishing the rows that were begun; press Ctrl-C again to stop at once")

    with open_interrupts() as signals:
        async with client, anyio.create_task_group() as tasks:
            tasks.start_soon(watch, signals)
            summary = await run.run()
            reporter.end(summary)
            tasks.cancel_scope.cancel()
    if interrupts:
        return STOPPED
    return 0 if summary is not None and summary.is_complete else FAILED
