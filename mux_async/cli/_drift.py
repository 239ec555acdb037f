"""``mux-async drift``: what Mux sends that this version has no name for."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Final, cast

import anyio
import typer

from mux_async import Mux
from mux_async.cli._client import BaseUrl, make_client
from mux_async.cli._output import FAILED, printable, stderr
from mux_async.drift import DriftReport
from mux_async.drift import drift as counted
from mux_async.errors import AuthenticationError, ConfigurationError, DriftError, MuxError
from mux_async.testing import check_drift

READ: Final = (
    "video.assets.list",
    "video.live_streams.list",
    "video.uploads.list",
    "video.playback_restrictions.list",
    "video.transcription_vocabularies.list",
    "video.drm_configurations.list",
    "video.delivery_usage.list",
    "system.utilities.whoami",
    "system.webhooks.list",
    "system.signing_keys.list",
    "data.video_views.list",
    "data.incidents.list",
    "data.annotations.list",
    "robots.jobs.list",
    "robots.directives.list",
)
"""What is read: the first page of every list that needs no argument."""


def drift(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...", help="Reports that programs saved: json.dumps(mux.drift.report().to_dict()); - for stdin."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="Items to read of each list of the account.")] = 25,
    patch: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write corrections for codegen/overlays/corrections.toml; - for stdout.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if there is drift.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, which can be read again.")] = False,
    base_url: BaseUrl = None,
) -> None:
    """Show what Mux sends that this version has no name for: fields, values, event types, types and statuses.

    With FILEs it merges reports that programs saved. Without, it reads the first page of each list of the account, with GETs only; lists
    that the token may not read are left out.

    No value is shown: fields by the types in them, values of enums if they are plain words.
    """
    if files:
        first, *others = [_read(path) for path in files]
        report = first.merged(*others)
    else:
        anyio.run(_read_account, make_client(base_url, "aiohttp"), limit)
        report = counted.report()
    if patch is not None:
        from mux_async.cli._drift_patch import write_patch

        text = write_patch(report)
        if str(patch) == "-":
            typer.echo(text, nl=False)
        else:
            patch.write_text(text, "utf-8")
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    elif str(patch) != "-":
        typer.echo("\n".join(map(printable, str(report).splitlines())))
    if check and report:
        raise typer.Exit(FAILED)


def _read(path: Path) -> DriftReport:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
        return DriftReport.from_dict(json.loads(text))
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else str(error)
    raise ConfigurationError(f"{path} cannot be read as a report of drift: {problem}")


async def _read_account(mux: Mux, limit: int) -> None:
    async with mux:
        for name in READ:
            call = cast("Callable[..., Awaitable[Any]]", attrgetter(name)(mux))
            try:
                value = await call(**({} if name.endswith("whoami") else {"limit": limit}))
            except AuthenticationError:
                raise
            except MuxError as error:
                stderr().print(f"{name} is left out: {printable(str(error))}", markup=False)
                continue
            _read_whole(value)


def _read_whole(value: object) -> None:
    """Read everything in *value*, so that all drift in it is counted."""
    with suppress(DriftError):  # it is counted as well
        check_drift(value)
