"""``mux-async limits``: the account's limits, and how long a number of requests would take."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, TypeAlias

import anyio
import attrs
import typer
from rich.markup import escape
from rich.table import Table

from mux_async import Mux
from mux_async.cli._client import BaseUrl, make_client
from mux_async.cli._output import span, stdout
from mux_async.limits import BucketSnapshot, Forecast, LimitsSnapshot

_WHAT = {
    "post": "POST, outside the Data API",
    "other": "other verbs, outside the Data API",
    "realtime_data": "monitoring and real-time data",
    "general_data": "the rest of the Data API",
}

Count: TypeAlias = Annotated[int, typer.Option(min=0, metavar="N", help="Forecast this many requests of the bucket.")]


def limits(
    base_url: BaseUrl = None,
    post: Count = 0,
    other: Count = 0,
    realtime_data: Count = 0,
    general_data: Count = 0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show them again and again until Ctrl-C; in a pipe, as JSON lines.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600.0, metavar="SECONDS", help="Time between two views of --watch.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; with --watch, one in each line.")] = False,
) -> None:
    """Print the rate limits, and how long a number of requests would take. Nothing is sent to Mux.

    With MUX_LIMITS_URL the buckets are those that the processes of the account share: their level, rate and 429s, and who waits. Without it
    each process has its own, and no other process can see them.
    """
    client = make_client(base_url, "aiohttp")
    counts = {"post": post, "other": other, "realtime_data": realtime_data, "general_data": general_data}
    if watch:
        from mux_async.cli._limits_watch import LimitsWatch

        as_lines = as_json or not sys.stdout.isatty()
        view = LimitsWatch(
            client, interval, as_lines, lambda: _forecast(client, counts), lambda: _members(client, _forecast(client, counts))
        )
        anyio.run(view.run)
        return
    anyio.run(_refresh, client)
    snapshot, low_priority = client.limits.snapshot(), client.limits.low_priority
    forecast = _forecast(client, counts)
    if as_json:
        typer.echo(json.dumps(_members(client, forecast)))
        return
    table = limits_table(snapshot)
    shared = "shared through MUX_LIMITS_URL" if client.limits.settings.url else "kept by every client of this account"
    table.caption = f"{escape(client.base_url)}; {shared}"
    out = stdout()
    out.print(table)
    if low_priority is not None:
        out.print(limits_table(low_priority.snapshot(), "Rate limits of the token of low priority, for batch calls"))
    if forecast is not None:
        out.print(forecast_table(forecast, counts))


async def _refresh(client: Mux) -> None:
    async with client:
        await client.limits.refresh()


def _forecast(client: Mux, counts: dict[str, int]) -> Forecast | None:
    return client.limits.forecast(**counts) if any(counts.values()) else None


def _members(client: Mux, forecast: Forecast | None) -> dict[str, Any]:
    """Return all that is known of the limits, as JSON members."""
    output: dict[str, Any] = {"server": client.base_url, "buckets": attrs.asdict(client.limits.snapshot())}
    if (low_priority := client.limits.low_priority) is not None:
        output["low_priority_buckets"] = attrs.asdict(low_priority.snapshot())
    if forecast is not None:
        output["forecast_seconds"] = attrs.asdict(forecast)
    return output


def limits_table(snapshot: LimitsSnapshot, title: str = "Rate limits") -> Table:
    """Return the four buckets as a table."""
    table = Table("bucket", "for", title=title, title_justify="left", caption_justify="left")
    for column in ("a second", "burst", "sent", "waited", "429s"):
        table.add_column(column, justify="right")
    for field in attrs.fields(LimitsSnapshot):
        bucket: BucketSnapshot = getattr(snapshot, field.name)
        rate = f"{bucket.rate:g}" if bucket.rate > bucket.ceiling * 0.999 else f"{bucket.rate:.3g} of {bucket.ceiling:g}"
        table.add_row(
            field.name.replace("_", "-"),
            _WHAT[field.name],
            rate,
            str(bucket.burst),
            str(bucket.granted),
            f"{bucket.waited:.1f} s",
            str(bucket.throttled),
        )
    return table


def forecast_table(forecast: Forecast, counts: dict[str, int]) -> Table:
    """Return how long requests would take, by priority."""
    asked = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in counts.items() if count)
    table = Table("priority", title=f"Until the last of {asked} is sent", title_justify="left")
    table.add_column("takes", justify="right")
    for field in attrs.fields(Forecast):
        table.add_row(field.name, span(getattr(forecast, field.name)))
    return table
