"""``mux-async upload``: makes a ready asset of one file and prints its URL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import urlsplit

import anyio
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from mux_async import Mux
from mux_async.cli._client import BaseUrl, Policy, Test, TransportName, asset_option, make_client
from mux_async.cli._input import standard_input
from mux_async.cli._output import complain, size, stderr, stdout
from mux_async.cli._upload_state import StartedUpload, StateFile, state_path
from mux_async.errors import NotFoundError, UploadError
from mux_async.ingest import ItemOptions, file_item
from mux_async.ingest._events import playback_url
from mux_async.models import Asset
from mux_async.uploads import Source, UploadProgress, Uploads, UploadSettings

if TYPE_CHECKING:
    from mux_async.params import AssetOptionsParam, PlaybackPolicyParam

_RATE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmg]?i?)(?P<what>bit|b)?(?:/s|ps)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def rate(text: str) -> float:
    """Parse a rate: ``5M`` and ``5MB/s`` are 5 000 000 bytes a second, ``2MiB`` 2 097 152, ``20Mbit`` 2 500 000."""
    found = _RATE.fullmatch(text.strip())
    unit = found["unit"].lower() if found is not None else "i"
    if found is None or unit not in _UNITS or not float(found["number"]):
        raise typer.BadParameter(f"{text!r} is not a rate above 0: write 500k, 5M, 2.5MiB/s or 20Mbit")
    return float(found["number"]) * _UNITS[unit] / (8 if (found["what"] or "").lower() == "bit" else 1)


def upload(
    file: Annotated[
        str,
        typer.Argument(
            help="The file: a path, an address that fsspec reads (s3://...), or - for standard input.", show_default=False
        ),
    ],
    resume: Annotated[bool, typer.Option("--resume", help="Continue an earlier upload of this file, if there is one.")] = False,
    bandwidth: Annotated[
        str | None, typer.Option(help="Bandwidth limit: 500k or 5M bytes a second, 20Mbit.", metavar="RATE", show_default=False)
    ] = None,
    policy: Policy = None,
    test: Test = False,
    title: Annotated[str | None, asset_option(help="Title of the asset. Default: the file's name.")] = None,
    base_url: BaseUrl = None,
    transport: TransportName = "aiohttp",
    timeout: Annotated[
        float, asset_option(min=1, help="Seconds the asset may take from its last byte to being ready.")
    ] = 21_600,
    valid: Annotated[
        int, typer.Option(min=60, max=604_800, help="Seconds the upload may take, its interruptions included.")
    ] = 86_400,
    state: Annotated[
        Path | None, typer.Option(help="Stores the progress. Default: a file in your settings folder.", metavar="FILE")
    ] = None,
) -> None:
    """Make a ready asset of one file and print its URL.

    Continues by itself after a broken connection. If the command is stopped, the same command with --resume continues the upload within
    a day (--valid).
    """
    cap = None if bandwidth is None else rate(bandwidth)
    settings = _settings(file, title)
    client = make_client(base_url, transport)
    kept = None if file == "-" else StateFile(state or state_path(file, client.base_url))
    earlier = kept.load() if kept is not None and resume else None
    view = _View(kept)

    async def run(client: Mux) -> Asset:
        async with client:
            uploads = Uploads(client, UploadSettings(max_bytes_per_second=cap))
            source: Source = standard_input() if file == "-" else file if "://" in file else Path(file)
            if earlier is not None:
                await uploads.resume(earlier.upload_id, source, state=earlier.state, on_progress=view.show)
                return await client.video.assets.wait_for_upload(earlier.upload_id, timeout=timeout)
            return await uploads.send(
                source,
                playback_policies=cast("list[PlaybackPolicyParam]", policy or ["public"]),
                new_asset_settings=cast("AssetOptionsParam", settings),
                timeout=valid,
                test=test,
                wait_timeout=timeout,
                cancel_at_mux=kept is None,
                on_progress=view.show,
            )

    if resume:
        stderr().print("no earlier upload found: starting a new one" if earlier is None else "continuing the earlier upload")
    try:
        with view.bar:
            asset = anyio.run(run, client)
    except (UploadError, NotFoundError, KeyboardInterrupt) as error:
        view.stopped(is_final=isinstance(error, NotFoundError) or (isinstance(error, UploadError) and not error.resumable))
        raise
    finally:
        view.end()
    if kept is not None:
        kept.forget()
    console = stdout()
    console.print(f"asset {asset.id} is ready ({asset.duration or 0:.1f} s)", markup=False)
    playable = [each.id for each in asset.playback_ids or () if each.policy == "public"]
    for each in playable:
        console.print(playback_url(client.base_url, each), markup=False)
    if not playable:
        complain("it has no public playback id; playing it takes a signed token")


def _settings(file: str, title: str | None) -> dict[str, object]:
    """Return the settings of the asset: for a file the same as in an ingest, otherwise its title."""
    if file != "-" and "://" not in file:
        return dict(file_item(Path(file), ItemOptions(meta={} if title is None else {"title": title})).settings)
    name = title or ("" if file == "-" else urlsplit(file).path.rpartition("/")[2])
    return {"meta": {"title": name}} if name else {}


class _View:
    """Updates the progress bar and the state file for ``--resume``."""

    def __init__(self, kept: StateFile | None) -> None:
        self._kept = kept
        self._latest: UploadProgress | None = None
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        self.bar = Progress(*columns, console=stderr())

    def show(self, progress: UploadProgress) -> None:
        if self._latest is None:
            self._task = self.bar.add_task("sending", total=progress.size, completed=progress.sent)
        self._latest = progress
        what = "preparing" if progress.sent == progress.size else "sending"
        self.bar.update(self._task, completed=progress.sent, description=what)
        if self._kept is not None and progress.upload_id is not None and progress.state is not None:
            self._kept.note(StartedUpload(progress.upload_id, progress.state))

    def stopped(self, *, is_final: bool) -> None:
        """Print how to resume, if that is possible."""
        if self._kept is None:
            return
        if is_final:
            self._kept.forget()
        elif self._latest is not None and self._latest.state is not None and self._latest.size is not None:
            held = self._latest.state.offset
            share = held * 100 // self._latest.size
            stderr().print(f"stopped with {size(held)} sent ({share} %); --resume continues from there", markup=False)

    def end(self) -> None:
        if self._kept is not None:
            self._kept.save()
