"""``mux-async bulk``: any operation for each row of a list; and ``mux-async bulk-status``: shows the progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import anyio
import typer

from mux_async.bulk import Bulk, BulkJournal, BulkPlan, BulkPlanError, BulkSummary, RowFinished, RowStage, write_bulk_report
from mux_async.bulk._report import check_bulk_report_path
from mux_async.cli._client import BaseUrl, TransportName, make_client
from mux_async.cli._database import database_of_hosts, storage_key
from mux_async.cli._input import read_pairs, read_standard_input
from mux_async.cli._interrupts import run_to_end
from mux_async.cli._output import FAILED, MOST_LINES, WRONG, complain, counted, printable, span, stderr, stdout

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mux_async import Mux

SUFFIX = ".mux-bulk"
_list, _run, _safety, _shown = (
    partial(typer.Option, rich_help_panel=heading)
    for heading in ("The list", "The run", "Operations that destroy", "What is shown")
)
"""Options, by their headings in ``--help``."""


def complete_operation(incomplete: str) -> list[str]:
    """Complete the id of an operation that changes something."""
    from mux_async._operation_index import api_operations

    return sorted(each.id for each in api_operations() if each.method != "GET" and each.id.startswith(incomplete))


Report: TypeAlias = Annotated[
    Path | None, _run("--report", help="Write every row to FILE at the end: .csv or .jsonl.", metavar="FILE")
]
On: TypeAlias = Annotated[
    str | None,
    _run(
        "--on",
        metavar="URL",
        help="Let the workers of many hosts (`ingest work`) do it: their database, postgresql://user@host/name. The journal is in it.",
        show_default=False,
    ),
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
        _list("--format", help="Of the list. Default: by its suffix.", show_default=False),
    ] = None,
    values: Annotated[
        list[str] | None,
        _list("--set", metavar="NAME=VALUE", help="Argument of all rows; those of a row win. May be repeated."),
    ] = None,
    on_bad_row: Annotated[
        Literal["stop", "skip"], _list(help="If a row cannot be sent: start nothing, or leave it out.")
    ] = "stop",
    journal: Annotated[
        Path | None,
        _run(
            help="Stores the progress, so that the same command continues it. Default: named after list and operation, here.",
            metavar="FILE",
        ),
    ] = None,
    retry_failed: Annotated[bool, _run("--retry-failed", help="Send rows that failed again.")] = False,
    retry_unknown: Annotated[
        bool,
        _run("--retry-unknown", help="Send rows again whose outcome is unknown. Check first whether they were performed."),
    ] = False,
    on: On = None,
    report: Report = None,
    concurrency: Annotated[int, _run(min=1, max=100, help="Requests at the same time. With --on, that of the workers.")] = 8,
    max_failures: Annotated[int, _run(min=0, help="End after this many failures in a row; 0 for no bound.")] = 25,
    dry_run: Annotated[bool, _run("--dry-run", help="Show what would be done. Sends nothing.")] = False,
    most: Annotated[
        int | None, _safety("--max", min=0, metavar="N", help="Do nothing if there are more rows. Required by --yes.")
    ] = None,
    yes: Annotated[bool, _safety("--yes", help="Do not ask; needs --max.")] = False,
    as_json: Annotated[bool, _shown("--json", help="JSON lines, the default if the output is not a terminal.")] = False,
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
        if on is not None:
            raise typer.BadParameter(
                "--report is written by a run; with --on, `bulk-status NAME --on URL --report FILE` writes it"
            )
    database = None if on is None else database_of_hosts(on)
    client = make_client(base_url, transport)
    place = journal or Path(f"{Path(rows).name if rows != '-' else 'stdin'}.{operation}{SUFFIX}")
    given = read_standard_input() if rows == "-" else rows
    common = _common_values(values or ())
    reporter = _Reporter(as_json=as_json or not sys.stdout.isatty())
    try:
        run = client.bulk(
            operation,
            given,
            form=form,
            values=common,
            journal=place,
            on_bad_row=on_bad_row,
            concurrency=concurrency,
            max_failures=max_failures,
            on_event=reporter.event,
        )
    except BulkPlanError as error:
        for problem in error.problems[:MOST_LINES]:
            complain(printable(str(problem)))
        if len(error.problems) > MOST_LINES:
            complain(f"and {len(error.problems) - MOST_LINES} more rows")
        raise typer.Exit(WRONG) from None
    plan, reporter.run = run.plan, run
    count = len(plan.calls)
    if most is not None and count > most:
        raise typer.BadParameter(f"there are {counted(count, 'row')}, and --max is {most}; nothing was sent")
    if yes and plan.is_destructive and most is None:
        raise typer.BadParameter(f"--yes for {operation}, which cannot be undone, needs --max: the most rows that you expect")
    for line in [*str(plan).splitlines(), f"the rate limits make that take at least {span(run.forecast())}"]:
        stderr().print(printable(line), markup=False)
    if dry_run:
        stderr().print("nothing was sent", markup=False)
        return
    if plan.confirmation is not None:
        if not yes:
            _confirm(plan.confirmation, client.base_url)
        run.confirm(plan.confirmation)
    stages = [*([RowStage.FAILED] if retry_failed else []), *([RowStage.UNKNOWN] if retry_unknown else [])]
    if database is not None:
        environment = anyio.run(_environment, client, run)
        _submit(database, plan, str(place), stages, max_failures, environment)
        return
    if stages and place.exists():
        with BulkJournal.open(place) as book:
            book.retry(*stages)
    try:
        code = anyio.run(run_to_end, client, run, reporter)
    finally:
        if report is not None and place.exists():
            with BulkJournal.open(place, create=False) as book:
                written = write_bulk_report(report, book.entries())
            stderr().print(f"{counted(written, 'row')} in {printable(str(report))}", markup=False)
    if code or plan.problems:
        raise typer.Exit(code or FAILED)


async def _environment(client: Mux, run: Bulk) -> str | None:
    async with client:
        return await run.environment()


def _submit(
    database: str, plan: BulkPlan, name: str, stages: Sequence[RowStage], max_failures: int, environment: str | None
) -> None:
    """Store the rows for the workers; what makes them unsafe was confirmed."""
    from mux_async.ingest import dbos

    new, known = dbos.submit_bulk(
        database,
        plan,
        name=name,
        confirm=plan.confirmation,
        max_failures=max_failures,
        environment=environment,
        storage_key=storage_key(),
    )
    line = f"{counted(new, 'row')} submitted, {known} known before"
    if stages and known:
        count = dbos.retry_bulk(database, plan, *stages, name=name, confirm=plan.confirmation, storage_key=storage_key())
        line += f", {counted(count, 'row')} to retry"
    stdout().print(f"{line}; the journal is {printable(name)}", markup=False)
    if plan.problems:
        raise typer.Exit(FAILED)


def bulk_status(
    journal: Annotated[
        str,
        typer.Argument(
            help=f"The journal: a file that ends with {SUFFIX}; with --on, its name in the database.", show_default=False
        ),
    ],
    on: On = None,
    report: Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the progress of a bulk change from its journal, during the run or later, and write its report. Sends nothing.

    Exit code: 0 if every row is done, 1 if not.
    """
    if report is not None:
        check_bulk_report_path(report)
    unfinished, reason = {RowStage.FAILED, RowStage.UNKNOWN}, None
    if on is not None:
        from mux_async.ingest import dbos

        database, key = database_of_hosts(on), storage_key()
        counts = dbos.bulk_counts(database, journal, storage_key=key)
        reason = dbos.bulk_reason(database, journal, storage_key=key)
        open_rows = list(dbos.bulk_entries(database, journal, *unfinished, storage_key=key))
        if report is not None:
            write_bulk_report(report, dbos.bulk_entries(database, journal, storage_key=key))
    else:
        with BulkJournal.open(journal, create=False) as book:
            counts = book.counts()
            open_rows = [row for row in book.entries() if row.stage in unfinished]
            if report is not None:
                write_bulk_report(report, book.entries())
    if as_json:
        shown = {"rows": sum(counts.values()), **{str(stage): counts.get(stage, 0) for stage in RowStage}}
        typer.echo(json.dumps(shown if reason is None else {**shown, "reason": reason}))
    else:
        console = stdout()
        stages = ", ".join(f"{counts[stage]} {stage}" for stage in RowStage if counts.get(stage))
        console.print(f"{counted(sum(counts.values()), 'row')}: {stages or 'none'}", markup=False)
        if reason is not None:
            console.print(f"ended early: {printable(reason)}; submit the list again to continue", markup=False)
        for row in open_rows[:MOST_LINES]:
            console.print(f"{row.stage} {printable(row.label)}: {printable(row.error or '')}", markup=False)
        if len(open_rows) > MOST_LINES:
            console.print(f"and {len(open_rows) - MOST_LINES} more; --report FILE has them", markup=False)
    if counts.get(RowStage.DONE, 0) < sum(counts.values()):
        raise typer.Exit(FAILED)


def _common_values(given: Sequence[str]) -> dict[str, object]:
    from mux_async.bulk._rows import Cell

    return {name: Cell(value) for name, value in read_pairs("--set", given)}


def _confirm(text: str, base_url: str) -> None:
    """Ask for *text*; raise `typer.BadParameter` if there is no terminal, or other text was typed."""
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "this cannot be undone, and there is no terminal to ask at: use --yes and --max; nothing was sent"
        )
    typer.echo(f"on {base_url}. To go on, type: {text}", err=True)
    if input().strip() != text:
        raise typer.BadParameter("that is something else; nothing was sent")


class _Reporter:
    """Shows the progress: JSON lines for programs, a bar with the time left on a terminal."""

    run: Bulk

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._progress: Progress | None = None
        self._bar: TaskID | None = None

    def begin(self) -> None:
        if self._as_json:
            _print_json(event="begin", rows=len(self.run.plan.calls))
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[failed]} failed"))
        self._progress = Progress(*columns, console=stdout(), speed_estimate_period=120)
        self._progress.start()
        self._bar = self._progress.add_task("rows", total=len(self.run.plan.calls), failed=0)

    def end(self, summary: BulkSummary | None) -> None:
        if self._progress is not None:
            self._progress.stop()
        summary = summary or self.run.summary  # a second interrupt cancels the run
        counts = {name: getattr(summary, name) for name in ("done", "done_before", "failed", "unknown", "not_started")}
        if self._as_json:
            _print_json(event="end", **counts, reason=summary.reason, errors=dict(summary.errors))
        line = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
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

    def tick(self) -> None: ...

    def note(self, text: str) -> None:
        stderr().print(text, markup=False)


def _print_json(**members: object) -> None:
    typer.echo(json.dumps(members))
