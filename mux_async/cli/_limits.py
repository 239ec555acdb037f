"""``mux-async limits``: what the account may do."""

from __future__ import annotations

import attrs
from rich.markup import escape
from rich.table import Table

from mux_async.cli._client import BaseUrl, make_client
from mux_async.cli._output import stdout
from mux_async.limits import BucketSnapshot, LimitsSnapshot

_WHAT = {
    "post": "POST, outside the Data API",
    "other": "other verbs, outside the Data API",
    "realtime_data": "monitoring and real-time data",
    "general_data": "the rest of the Data API",
}


def limits(base_url: BaseUrl = None) -> None:
    """Print the rate limits that are kept. Nothing is sent."""
    client = make_client(base_url, "aiohttp")
    table = limits_table(client.limits.snapshot())
    table.caption = f"{escape(client.base_url)}; kept by every client of this account in one process"
    stdout().print(table)


def limits_table(snapshot: LimitsSnapshot) -> Table:
    """Return the four buckets as a table."""
    table = Table("bucket", "for", title="Rate limits", title_justify="left", caption_justify="left")
    for column in ("a second", "burst", "sent", "waited", "429s"):
        table.add_column(column, justify="right")
    for field in attrs.fields(LimitsSnapshot):
        bucket: BucketSnapshot = getattr(snapshot, field.name)
        table.add_row(
            field.name.replace("_", "-"),
            _WHAT[field.name],
            f"{bucket.rate:g}",
            str(bucket.burst),
            str(bucket.granted),
            f"{bucket.waited:.1f} s",
            str(bucket.refused),
        )
    return table
