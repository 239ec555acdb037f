"""``mux-async upload``: one file, and its address when it can be played."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from mux_async import Mux
from mux_async.cli._client import BaseUrl, Policy, Test, TransportName, make_client, policies
from mux_async.cli._output import complain, stderr, stdout
from mux_async.ingest import Wishes, file_item
from mux_async.ingest._results import playback_url
from mux_async.models import Asset
from mux_async.uploads import UploadProgress


def upload(
    file: Annotated[Path, typer.Argument(help="The file.", show_default=False)],
    policy: Policy = None,
    test: Test = False,
    title: Annotated[str | None, typer.Option(help="Title of the asset. Default: the file's name.")] = None,
    base_url: BaseUrl = None,
    transport: TransportName = "aiohttp",
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds the asset may take from its last byte to being ready.")
    ] = 21_600,
) -> None:
    """Make a ready asset of one file and print its address."""
    chosen = policies(policy)
    item = file_item(file, Wishes(meta={} if title is None else {"title": title}))
    client = make_client(base_url, transport)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=stderr())

    async def run(client: Mux) -> Asset:
        task = bar.add_task("sending", total=item.size)

        def show(progress: UploadProgress) -> None:
            is_sent = progress.sent == progress.size
            bar.update(task, completed=progress.sent, description="preparing" if is_sent else "sending")

        async with client:
            return await client.uploads.send(
                file,
                playback_policies=chosen,
                new_asset_settings=item.settings,
                test=test,
                wait_timeout=timeout,
                on_progress=show,
            )

    with bar:
        asset = anyio.run(run, client)
    console = stdout()
    console.print(f"asset {asset.id} is ready ({asset.duration or 0:.1f} s)", markup=False)
    playable = [each.id for each in asset.playback_ids or () if each.policy == "public"]
    for each in playable:
        console.print(playback_url(client.base_url, each), markup=False)
    if not playable:
        complain("it has no public playback id; playing it takes a signed token")
