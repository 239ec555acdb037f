"""``mux-async limits``: the account's limits, and how long a number of requests would take."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeAlias

import attrs
import typer
from rich.markup import escape
from rich.table import Table

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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the rate limits, and how long a number of requests would take. Nothing is sent.

    With MUX_LIMITS_URL the buckets are those that the processes of the account share.
    """
    client = make_client(base_url, "aiohttp")
    counts = {"post": post, "other": other, "realtime_data": realtime_data, "general_data": general_data}
    snapshot, low_priority = client.limits.snapshot(), client.limits.low_priority
    forecast = client.limits.forecast(**counts) if any(counts.values()) else None
    if as_json:
        output: dict[str, Any] = {"server": client.base_url, "buckets": attrs.asdict(snapshot)}
        if low_priority is not None:
            output["low_priority_buckets"] = attrs.asdict(low_priority.snapshot())
        if forecast is not None:
            output["forecast_seconds"] = attrs.asdict(forecast)
        typer.echo(json.dumps(output))
        return
    table = limits_table(snapshot)
    table.caption = f"{escape(client.base_url)}; kept by every client of this account"
    out = stdout()
    out.print(table)
    if low_priority is not None:
        out.print(limits_table(low_priority.snapshot(), "Rate limits of the token of low priority, for batch calls"))
    if forecast is not None:
        out.print(_forecast_table(forecast, counts))


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


def _forecast_table(forecast: Forecast, counts: dict[str, int]) -> Table:
    asked = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in counts.items() if count)
    table = Table("priority", title=f"Until the last of {asked} is sent", title_justify="left")
    table.add_column("takes", justify="right")
    for field in attrs.fields(Forecast):
        table.add_row(field.name, span(getattr(forecast, field.name)))
    return table
