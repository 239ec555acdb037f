"""``mux-async ingest``: files, folders and URLs into ready assets."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import anyio
import typer

from mux_async import Mux
from mux_async.cli._client import BaseUrl, Policy, Test, TransportName, make_client, policies
from mux_async.cli._interrupts import open_interrupts
from mux_async.cli._output import FAILED, STOPPED, size, span, stdout
from mux_async.cli._progress import Form, Reporter, make_reporter
from mux_async.ingest import Ingest, IngestSummary, Plan, ResultFile, make_plan
from mux_async.limits import LimitSettings

_FRAME = 0.2
"""Seconds between two drawings of the live view."""


def ingest(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders. Folders are searched for media files.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="List of URLs and files: one a line, .jsonl, or .csv with a header.", metavar="FILE")
    ] = None,
    glob: Annotated[str | None, typer.Option(help="Names of files to take from folders, instead of media suffixes.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="Files that are sent at the same time.")] = 4,
    policy: Policy = None,
    test: Test = False,
    result: Annotated[
        Path | None,
        typer.Option(help="File to add a JSON line to for every item. Default: mux-ingest-<time>.jsonl.", metavar="FILE"),
    ] = None,
    base_url: BaseUrl = None,
    transport: TransportName = "aiohttp",
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds an asset may take from its last byte to being ready.")
    ] = 21_600,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON lines.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines instead of moving bars.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and how long it would take.")] = False,
) -> None:
    """Make ready assets of files, folders and URLs.

    They are created at the pace that Mux allows, one a second, and waited for until they can be played. Everything is checked before
    anything is sent, and connections that break are taken up where they stopped. Ctrl-C finishes what was begun; a second one stops
    at once. Exit code: 0 when every item became ready, 1 when not, 2 when the arguments were wrong, 130 when interrupted.
    """
    chosen = policies(policy)
    plan = make_plan(paths or (), manifest=manifest or (), glob=glob)
    if dry_run:
        _show_plan(plan)
        return
    client = make_client(base_url, transport)
    path = result or Path(time.strftime("mux-ingest-%Y%m%d-%H%M%S.jsonl"))
    form: Form = "json" if as_json else "plain" if plain or not sys.stdout.isatty() else "live"
    reporter = make_reporter(form, plan, client.limits.snapshot)
    with ResultFile(path) as results:
        run = Ingest(
            client,
            plan.items,
            concurrency=concurrency,
            playback_policies=chosen,
            test=test,
            wait_timeout=timeout,
            results=results,
            on_event=reporter.event,
        )
        code = anyio.run(_run, client, run, reporter, path)
    if code:
        raise typer.Exit(code)


async def _run(client: Mux, run: Ingest, reporter: Reporter, path: Path) -> int:
    """Run to the end, or to the user's; return the exit code."""
    summary: IngestSummary | None = None
    interrupts = 0

    async def watch(signals: AsyncIterator[signal.Signals]) -> None:
        nonlocal interrupts
        async for _ in signals:
            interrupts += 1
            if interrupts > 1:
                tasks.cancel_scope.cancel()
            run.stop()
            reporter.note("finishing what was begun; press Ctrl-C again to stop at once")

    async def draw() -> None:
        while True:
            await anyio.sleep(_FRAME)
            reporter.tick()

    with open_interrupts() as signals:
        reporter.begin()
        try:
            async with client, anyio.create_task_group() as tasks:
                tasks.start_soon(watch, signals)
                tasks.start_soon(draw)
                summary = await run.run()
                tasks.cancel_scope.cancel()
        finally:
            reporter.end(summary, path)
    if interrupts:
        return STOPPED
    return 0 if summary is not None and summary.is_complete else FAILED


def _show_plan(plan: Plan) -> None:
    rate = LimitSettings().post.rate
    count = len(plan.items)
    urls = sum(item.url is not None for item in plan.items)
    console = stdout()
    console.print(f"{count} items: {count - urls} files ({size(plan.size)} to send) and {urls} URLs", markup=False)
    console.print(
        f"{count} POST requests at {rate:g} a second take at least {span((count - 1) / rate)}; sending may take longer",
        markup=False,
    )
