"""``mux-async ingest submit``, ``work``, ``status``, ``retry-failed`` and ``report`` with ``--on``: ingest on many hosts."""

from __future__ import annotations

import csv
import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, TypeAlias, cast

import anyio
import attrs
import typer

from mux_async import Mux
from mux_async.cli._client import BaseUrl, Policy, Test, TransportName
from mux_async.cli._database import database_of_hosts, storage_key
from mux_async.cli._ingest_sources import Sources
from mux_async.cli._interrupts import open_interrupts
from mux_async.cli._network import current_network
from mux_async.cli._output import FAILED, counted, printable, stderr, stdout
from mux_async.errors import ConfigurationError
from mux_async.ingest._report import check_report_path, csv_cell

On: TypeAlias = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="URL",
        envvar="MUX_INGEST_DATABASE",
        help="The PostgreSQL database that the hosts share: postgresql://user@host/name.",
        show_default=False,
    ),
]


def ingest_submit(
    on: On,
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="URLs, lists, and addresses that fsspec reads (s3://...), as of `ingest`.", show_default=False),
    ] = None,
    manifest: Annotated[list[Path] | None, typer.Option(help="A list with any name. May be repeated.", metavar="FILE")] = None,
    shared: Annotated[
        list[Path] | None,
        typer.Option(help="A folder that every host has mounted at this place: files in it may be ingested.", metavar="FOLDER"),
    ] = None,
    policy: Policy = None,
    test: Test = False,
) -> None:
    """Store items for the workers of many hosts. Sends nothing to Mux.

    Items are recognised by their keys, so that a list may be submitted again. Paths of this host are refused unless --shared names their
    folder. URLs with a query, which may be a signature, are stored encrypted with the key in MUX_INGEST_KEY.
    """
    from mux_async.ingest import dbos

    plan = Sources(sources or (), manifest or (), "lines", None, "key", "stop").plan()
    new, known = dbos.submit(
        database_of_hosts(on),
        plan.items,
        storage_key=storage_key(),
        playback_policies=policy or ("public",),
        test=test,
        shared=shared or (),
    )
    stdout().print(f"{counted(new, 'item')} submitted, {known} known before", markup=False)


def ingest_work(
    on: On,
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="Items that are sent at the same time.")] = 4,
    waiting: Annotated[int, typer.Option(min=1, help="Items that wait for their assets at the same time.")] = 1000,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that items may take to be sent after SIGTERM.")] = 20.0,
    base_url: BaseUrl = None,
    transport: TransportName = "aiohttp",
) -> None:
    """Work on submitted items until SIGTERM or Ctrl-C. One on each host.

    Share the rate limits with the other workers: MUX_LIMITS_URL=redis://... At the end, what is being sent is finished, and what is left
    goes back to the others. Exit code: 1 if this process was suspended for so long that others have taken over; start it again.
    """
    from mux_async.ingest import dbos

    settings = current_network().settings()
    worker = dbos.Worker(
        database_of_hosts(on),
        make_client=lambda factory: Mux(
            base_url=base_url, transport=factory, transport_settings=settings, user_agent_suffix="cli"
        ),
        transport=transport,
        storage_key=storage_key(),
        concurrency=concurrency,
        waiting=waiting,
        drain=drain,
    )
    if not os.environ.get("MUX_LIMITS_URL"):
        stderr().print(
            "MUX_LIMITS_URL is not set: the workers do not share rate limits, and together exceed them", markup=False
        )
    if not logging.getLogger("mux_async").handlers:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    if not anyio.run(_work, worker):
        raise typer.Exit(FAILED)


async def _work(worker: object) -> bool:
    from mux_async.ingest.dbos import Worker

    running = cast("Worker", worker)
    is_own = True
    with open_interrupts() as signals:
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                count = 0
                async for _ in signals:
                    count += 1
                    running.stop()
                    if count > 1:
                        tasks.cancel_scope.cancel()

            tasks.start_soon(stop)
            is_own = await running.run()
            tasks.cancel_scope.cancel()
    return is_own


def ingest_status_on(
    on: On,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, the default if the output is not a terminal.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Print it every 2 seconds, until every item is finished.")] = False,
) -> None:
    """Show the progress over all hosts. Exit code: 0 if every item is ready, 1 if not."""
    import time

    from mux_async.ingest import dbos

    while True:
        found = dbos.status(database_of_hosts(on))
        if as_json or not sys.stdout.isatty():
            typer.echo(json.dumps({**attrs.asdict(found), "total": found.total}))
        else:
            line = ", ".join(
                f"{count} {name}"
                for name, count in attrs.asdict(found, filter=lambda field, _: field.name != "workers").items()
                if count
            )
            console = stdout()
            console.print(f"{counted(found.total, 'item')}: {line or 'none'}", markup=False)
            for name, seconds in found.workers.items():
                console.print(f"worker {printable(name)}, seen {seconds:.0f} s ago", markup=False)
        if not watch or found.ready + found.failed == found.total:
            break
        time.sleep(2)
    if found.ready < found.total:
        raise typer.Exit(FAILED)


def ingest_retry_failed(on: On) -> None:
    """Let the workers retry the items that failed."""
    from mux_async.ingest import dbos

    count = dbos.retry_failed(database_of_hosts(on), storage_key=storage_key())
    stdout().print(f"{counted(count, 'item')} to retry", markup=False)


def ingest_report(
    on: On,
    report: Annotated[Path, typer.Argument(help="The file: .csv or .jsonl.", metavar="FILE", show_default=False)],
) -> None:
    """Write a line for each item: its key, source, status, asset and playback ids, or error."""
    from mux_async.ingest import dbos

    check_report_path(report)
    rows = dbos.entries(database_of_hosts(on), storage_key=storage_key())
    count = 0
    with report.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, _COLUMNS, extrasaction="ignore") if report.suffix.lower() == ".csv" else None
        if table is not None:
            table.writeheader()
        for row in rows:
            count += 1
            if table is not None:
                table.writerow({name: csv_cell(value) for name, value in row.items()})
            else:
                file.write(json.dumps(row) + "\n")
    stdout().print(f"{counted(count, 'item')} in {printable(str(report))}", markup=False)


_COLUMNS = ["key", "source", "status", "asset_id", "playback_ids", "duration", "error"]


def ingest_new_key() -> None:
    """Print a new key for MUX_INGEST_KEY, which encrypts items in the database. Give every host the same."""
    try:
        from cryptography.fernet import Fernet
    except ImportError:
        raise ConfigurationError("this needs the extra dbos: pip install 'mux-async[dbos]'") from None
    typer.echo(Fernet.generate_key().decode())
