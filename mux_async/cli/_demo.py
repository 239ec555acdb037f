"""``mux-async demo``: the main job from end to end, without an account: real files, real sockets, an emulated Mux."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from urllib.request import urlopen

import anyio
import anyio.to_thread
import attrs
import typer
from rich.table import Table

from mux_async import Mux, Timeouts
from mux_async._operation import Bucket
from mux_async.cli._interrupts import open_interrupts
from mux_async.cli._limits import limits_table
from mux_async.cli._media import DEMO, ffmpeg, make_media, probe_media
from mux_async.cli._output import FAILED, counted, size, span, stdout
from mux_async.cli.emulate import banner
from mux_async.emulator import DEFAULT_TOKEN, Arrival, Emulator, EmulatorSettings
from mux_async.emulator.media import MediaWorker, has_media
from mux_async.emulator.server import serve
from mux_async.errors import MuxError
from mux_async.ingest import Ingest, IngestEvent, IngestSummary, ItemFinished, ItemMoved, ItemResult, Stage, make_plan

_WIDTH = 176


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the emulator running at the end, to play the media, until interrupted.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the emulated Mux; 0 picks a free one.")] = 0,
) -> None:
    """See the main job done, without an account.

    Makes a few media files, ingests them into an emulated Mux over real sockets, and shows the results. Takes about 20 s.

    The media can be played at the printed URLs while it runs; --keep extends that. The emulator's address shows a page.
    """
    ffmpeg()  # before anything is started
    anyio.run(_demo, keep, port, backend="asyncio")


@attrs.define
class _Watch:
    """The result of each file, and the seconds that its upload took."""

    results: list[ItemResult] = attrs.field(factory=list[ItemResult])
    began: dict[str, float] = attrs.field(factory=dict[str, float])
    took: dict[str, float] = attrs.field(factory=dict[str, float])

    def event(self, event: IngestEvent) -> None:
        if isinstance(event, ItemMoved) and event.state.stage is Stage.SENDING:
            self.began.setdefault(event.item.key, time.monotonic())
        elif isinstance(event, ItemMoved) and event.state.stage is Stage.SENT:
            self.took[event.item.key] = time.monotonic() - self.began[event.item.key]
        elif isinstance(event, ItemFinished):
            self.results.append(event.result)
            state = "ready" if event.result.error is None else f"failed: {event.result.error.message}"
            stdout().print(f"  {Path(event.result.source).name}: {state} after {span(event.result.seconds)}", markup=False)


async def _demo(keep: bool, port: int) -> None:
    console = stdout()
    if not console.is_terminal:
        console.width = _WIDTH
    with TemporaryDirectory(prefix="mux-async-demo-") as name:
        folder = Path(name, "media")
        await anyio.Path(folder).mkdir()
        console.print(f"making {counted(len(DEMO), 'media file')}", markup=False)
        async with anyio.create_task_group() as tasks:
            for recipe in DEMO:
                tasks.start_soon(anyio.to_thread.run_sync, make_media, recipe, folder)
        with MediaWorker(Path(name, "films")) if has_media() else nullcontext() as films, open_interrupts() as signals:
            settings = EmulatorSettings(time_to_ready=1.5, probe=probe_media, store=Path(name, "store"), media=films)
            emulator = Emulator(settings)
            async with serve(emulator, port=port) as origin:
                summary = await _ingest(emulator, folder, origin)
                if keep:
                    for line in banner(settings, origin):
                        console.print(line, markup=False, soft_wrap=True)
                    console.print("running until interrupted (Ctrl-C)", markup=False)
                    async for _ in signals:
                        break
    if not summary.is_complete:
        raise SystemExit(FAILED)


async def _ingest(emulator: Emulator, folder: Path, origin: str) -> IngestSummary:
    """Ingest *folder* into the emulator at *origin*, and show the results."""
    console = stdout()
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(f"ingesting them into an emulated Mux on {origin}", markup=False)
    watch = _Watch()
    async with Mux(
        token_id=DEFAULT_TOKEN.id, token_secret=DEFAULT_TOKEN.secret, base_url=origin, timeouts=Timeouts(connect=5.0)
    ) as mux:
        plan = await anyio.to_thread.run_sync(make_plan, [folder])
        summary = await Ingest(mux, plan.items, on_event=watch.event).run()
        await _check_playback(watch.results)
        console.print(_assets(watch))
        for line in _addresses(watch.results):
            console.print(line, markup=False, soft_wrap=True)
        console.print(limits_table(mux.limits.snapshot()))
    for line in _arrivals(emulator.arrivals):
        console.print(line, markup=False)
    console.print(f"{summary.ready} of {counted(len(plan.items), 'file')} ready in {span(summary.elapsed)}", markup=False)
    return summary


async def _check_playback(results: list[ItemResult]) -> None:
    """Fetch every playlist, as a player would. Raises `MuxError`: one cannot be fetched."""
    for result in results:
        for url in result.playback_urls:
            try:
                await anyio.to_thread.run_sync(_fetch, url)
            except OSError as error:
                raise MuxError(f"the playlist of {Path(result.source).name!r} cannot be fetched: {error}") from error


def _fetch(url: str) -> None:
    with urlopen(url, timeout=30) as response:  # noqa: S310 - of the emulator
        response.read()


def _assets(watch: _Watch) -> Table:
    table = Table(title="Assets", title_justify="left")
    for column in ("file", "size", "upload", "duration"):
        table.add_column(column, justify="left" if column == "file" else "right", no_wrap=True)
    for result in sorted(watch.results, key=lambda each: each.source):
        took = watch.took.get(result.key)
        table.add_row(
            Path(result.source).name,
            size(result.bytes or 0),
            f"{took:.2f} s" if took is not None else "-",
            f"{result.duration:.1f} s" if result.duration is not None else "-",
        )
    return table


def _addresses(results: Sequence[ItemResult]) -> Iterator[str]:
    """Yield lines with ids and URLs, which are too long for columns and are copied whole."""
    for result in sorted(results, key=lambda each: each.source):
        yield f"{Path(result.source).name}: asset {result.asset_id or '-'}"
        yield from (f"  {url}" for url in result.playback_urls)


def _arrivals(arrivals: Sequence[Arrival]) -> list[str]:
    """Return lines about the requests that the emulator received."""
    buckets = Counter(arrival.bucket for arrival in arrivals if arrival.bucket is not None)
    refused = sum(arrival.status == 429 for arrival in arrivals)
    posts = sorted(arrival.at for arrival in arrivals if arrival.bucket is Bucket.POST)
    gaps = [after - before for before, after in pairwise(posts)]
    per_bucket = ", ".join(f"{count} {bucket}" for bucket, count in sorted(buckets.items()))
    uploads = sum("/_upload/" in arrival.path for arrival in arrivals)
    return [
        f"seen by the emulator: {per_bucket} and {counted(uploads, 'upload request')}; {counted(refused, 'answer')} of 429",
        f"POSTs arrived at least {min(gaps, default=0.0):.2f} s apart; Mux allows 1 a second",
    ]
