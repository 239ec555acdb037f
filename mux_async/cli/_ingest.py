"""``mux-async ingest``: makes ready assets of files, folders, lists and URLs; and ``mux-async ingest-status``: shows the progress."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, cast

import anyio
import attrs
import typer

from mux_async import Mux
from mux_async._operation import Bucket
from mux_async.cli._client import BaseUrl, Policy, Test, TransportName, asset_option, make_client
from mux_async.cli._ingest_progress import Form, IngestJob, JsonReporter, PlainReporter, RateBudget, Reporter
from mux_async.cli._ingest_sources import SUFFIX, EarlierRuns, SavedOptions, Sources, journal_keys, summarize
from mux_async.cli._interrupts import run_to_end
from mux_async.cli._output import FAILED, MOST_LINES, counted, printable, size, span, stderr, stdout
from mux_async.errors import ConfigurationError
from mux_async.ingest import Ingest, Journal, Plan, Stage, write_report
from mux_async.ingest._report import check_report_path
from mux_async.limits import LimitSettings
from mux_async.limits._account import AccountLimits

if TYPE_CHECKING:
    from mux_async.params import PlaybackPolicyParam

_list, _run, _shown = (
    partial(typer.Option, rich_help_panel=heading) for heading in ("What is ingested", "The run", "What is shown")
)
"""Options, by their headings in ``--help``."""

Report: TypeAlias = Annotated[
    Path | None,
    _run(help="Write every item to FILE at the end, including those of earlier runs: .csv or .jsonl.", metavar="FILE"),
]


def ingest(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, patterns ('films/**/*.mov'), URLs, lists (.csv, .tsv, .json, .jsonl, .txt), s3:// and other addresses "
            "that fsspec reads; - reads a list from standard input.",
            show_default=False,
        ),
    ] = None,
    manifest: Annotated[
        list[Path] | None,
        _list(
            help="A list with any name: one URL or path per line, .jsonl, or .csv with a header. May be repeated.",
            metavar="FILE",
        ),
    ] = None,
    form: Annotated[Literal["lines", "jsonl", "json", "csv"], _list("--format", help="Of a list on standard input.")] = "lines",
    null: Annotated[
        bool, _list("--null", "-z", help="Names in plain lists end with NUL, as 'find -print0' writes them.")
    ] = False,
    encoding: Annotated[
        str | None,
        _list(
            help="Of lists that are not UTF-8 and have no byte order mark: cp1252, latin-1.", metavar="NAME", show_default=False
        ),
    ] = None,
    allow_private: Annotated[
        bool, _list("--allow-private", help="Allow file:// and addresses of private networks in lists too.")
    ] = False,
    glob: Annotated[str | None, _list(help="Pattern for names of files in folders, instead of media suffixes.")] = None,
    dedup: Annotated[
        Literal["key", "content", "none"],
        _list(help="What is ingested once: sources that are named twice; files with the same bytes (reads all); nothing."),
    ] = "key",
    on_bad_line: Annotated[
        Literal["stop", "skip"], _list(help="If a line or file is bad: start nothing, or skip it.")
    ] = "stop",
    policy: Policy = None,
    test: Test = False,
    timeout: Annotated[
        float, asset_option(min=1, help="Seconds an asset may take from its last byte to being ready.")
    ] = 21_600,
    journal: Annotated[
        Path | None,
        _run(
            help="Stores the progress, so that the same command continues it. Default: named after the sources, here.",
            metavar="FILE",
        ),
    ] = None,
    retry_failed: Annotated[bool, _run("--retry-failed", help="Retry items that failed in an earlier run.")] = False,
    report: Report = None,
    concurrency: Annotated[int, _run(min=1, max=100, help="Files that are sent at the same time.")] = 4,
    dry_run: Annotated[bool, _run("--dry-run", help="Show what would be done, what it costs, and how long it takes.")] = False,
    as_json: Annotated[bool, _shown("--json", help="JSON lines, the default if the output is not a terminal.")] = False,
    plain: Annotated[bool, _shown("--plain", help="A line for each item.")] = False,
    base_url: BaseUrl = None,
    transport: TransportName = "aiohttp",
) -> None:
    """Make ready assets of files, folders, lists and URLs.

    Creates one asset a second, as Mux allows, and waits until the assets can be played. Everything is checked before anything is sent.
    Every step is in a journal: after any interruption the same command continues and creates nothing twice.

    Ctrl-C finishes the items that were begun; a second one stops at once. Exit code: 0 if every item is ready, 1 if not, 2 if the
    arguments were wrong, 130 if interrupted.
    """
    named = Sources(sources or (), manifest or (), "null" if null else form, glob, dedup, on_bad_line, encoding, allow_private)
    plan = named.plan()
    place = journal or named.journal()
    if report is not None:
        check_report_path(report)
    if dry_run:
        _show_plan(plan, place, base_url, transport, retry_failed=retry_failed)
        return
    client = make_client(base_url, transport)
    with Journal.open(place) as book:
        options = SavedOptions.merge(book.options, base_url=client.base_url, policies=policy, test=test, journal=place)
        book.save_options(options.to_dict())
        if retry_failed:
            book.retry(journal_keys(book, plan))
        job = IngestJob(plan, place, report=report, **attrs.asdict(EarlierRuns.of(book, plan), recurse=False))
        reporter = make_reporter(_form(as_json=as_json, plain=plain), job, _budget(client))
        _say([*_skipped(plan), *job.describe()])
        run = Ingest(
            client,
            plan.items,
            journal=book,
            concurrency=concurrency,
            playback_policies=cast("tuple[PlaybackPolicyParam, ...]", options.policies),
            test=options.test,
            wait_timeout=timeout,
            on_event=reporter.event,
        )
        try:
            code = anyio.run(run_to_end, client, run, reporter)
        finally:
            if report is not None:
                count = write_report(report, book.entries(), base_url=client.base_url, problems=plan.problems)
                verb = "is" if count == 1 else "are"
                _say([f"{counted(count, 'item')} {verb} in {printable(str(report))}"])
    if code or plan.problems:
        raise typer.Exit(code or FAILED)


def _form(*, as_json: bool, plain: bool) -> Form:
    if plain:
        return "plain"
    return "json" if as_json or not sys.stdout.isatty() else "live"


def make_reporter(form: Form, job: IngestJob, budget: RateBudget) -> Reporter:
    """Return the reporter that was chosen."""
    if form == "live":
        from mux_async.cli._ingest_display import LiveDisplay  # rich's live displays take a while to import

        return LiveDisplay(job, budget)
    return PlainReporter(job) if form == "plain" else JsonReporter(job)


def _budget(client: Mux) -> RateBudget:
    limits = client.limits.low_priority or client.limits  # the calls of an ingest are batch calls
    return RateBudget(limits.snapshot, lambda posts: client.limits.forecast(post=posts).batch)


def _say(lines: list[str]) -> None:
    for line in lines:
        stderr().print(line, markup=False)


def _skipped(plan: Plan) -> list[str]:
    lines = [f"left out: {printable(str(problem))}" for problem in plan.problems[:MOST_LINES]]
    if len(plan.problems) > MOST_LINES:
        lines.append(f"left out: {len(plan.problems) - MOST_LINES} more; --report has them")
    return lines


def _show_plan(plan: Plan, place: Path, base_url: str | None, transport: str, *, retry_failed: bool) -> None:
    """Show what a run would do. Writes nothing and needs no credentials."""
    before = EarlierRuns()
    if place.exists():
        with Journal.open(place, create=False) as book:
            before = EarlierRuns.of(book, plan)
    job = IngestJob(plan, place, done=before.done, failed=() if retry_failed else before.failed, begun=before.begun)
    try:
        seconds = _budget(make_client(base_url, transport)).forecast(job.posts)
    except ConfigurationError:  # no credentials: the published limits
        seconds = AccountLimits(LimitSettings()).forecast({Bucket.POST: job.posts}).batch
    console = stdout()
    verb = "takes" if job.posts == 1 else "take"
    for line in [
        *_skipped(plan),
        *job.describe(),
        f"{counted(job.posts, 'POST request')}, one for each item that is not created, {verb} at least {span(seconds)}",
        f"{size(job.size_left)} to send; that may take longer",
        "nothing was sent",
    ]:
        console.print(line, markup=False)


def ingest_status(
    journal: Annotated[Path, typer.Argument(help=f"The journal: a file that ends with {SUFFIX}.", show_default=False)],
    report: Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the progress of an ingest from its journal, during the run or later, and write its report. Sends nothing.

    Exit code: 0 if every item is ready, 1 if not.
    """
    with Journal.open(journal, create=False) as book:
        summary = book.summary()
        base_url = str(book.options.get("base_url", ""))
        dead = [entry for entry in book.entries() if entry.stage is Stage.DEAD]
        if report is not None:
            write_report(report, book.entries(), base_url=base_url)
    if as_json:
        counts = {name.replace(" ", "_"): count for name, count in summarize(summary)}
        members = {"server": base_url, "runs": summary.runs, "items": summary.total, **counts}
        typer.echo(json.dumps(members | {"bytes": summary.size, "bytes_ready": summary.size_done}))
    else:
        console = stdout()
        stages = ", ".join(f"{count} {name}" for name, count in summarize(summary) if count)
        console.print(
            f"{counted(summary.total, 'item')}: {stages or 'none'}; {size(summary.size_done)} of {size(summary.size)}",
            markup=False,
        )
        console.print(f"{counted(summary.runs, 'active run')}", markup=False)
        for entry in dead[:MOST_LINES]:
            why = entry.error.message if entry.error is not None else ""
            console.print(f"failed {printable(entry.source)}: {printable(why)}", markup=False)
        if len(dead) > MOST_LINES:
            console.print(f"and {len(dead) - MOST_LINES} more; --report FILE has them", markup=False)
    if summary.done < summary.total:
        raise typer.Exit(FAILED)
