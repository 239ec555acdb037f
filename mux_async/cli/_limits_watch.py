"""The live view of ``mux-async limits --watch``: a table on a terminal, JSON lines in a pipe.

The buckets are read from the store that processes share, which takes no grant. What is only in the processes (how many of their requests
wait, what they sent) is not in the store: there it is how many event loops wait, by priority.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final

import anyio
import attrs
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from mux_async import Mux
from mux_async.cli._interrupts import open_interrupts
from mux_async.cli._output import span, stdout, write
from mux_async.cli._webhook_delivery import until
from mux_async.limits import BucketSnapshot, Forecast, Limits, LimitsSnapshot, StoreLost, StoreRestored

_BUCKETS: Final = tuple(field.name for field in attrs.fields(LimitsSnapshot))


class ThrottleCount:
    """Counts the 429s that close a bucket, from how long ago the last one was."""

    def __init__(self) -> None:
        self._last: float | None = None
        self.count = 0

    def see(self, since: float | None, now: float) -> None:
        """Take the time *since* the last one. The first look counts nothing: what was before is not of this view."""
        at = None if since is None else now - since
        if at is not None and self._last is not None and at > self._last + 0.05:  # the same one, but for rounding
            self.count += 1
        self._last = float("-inf") if at is None else at


@attrs.define(eq=False)
class LimitsWatch:
    """Shows limits until it is interrupted.

    Attributes:
        client: Whose limits.
        interval: Seconds between two views.
        as_lines: Whether to print JSON lines.
        forecast: Returns the forecast to show, if any.
        members: Returns all that is known, as JSON members.
    """

    client: Mux
    interval: float
    as_lines: bool
    forecast: Callable[[], Forecast | None]
    members: Callable[[], dict[str, Any]]
    clock: Callable[[], float] = time.monotonic
    _throttles: dict[tuple[str, str], ThrottleCount] = attrs.field(init=False, factory=dict[tuple[str, str], ThrottleCount])
    _problem: str | None = attrs.field(init=False, default=None)

    async def run(self) -> None:
        """Show the limits until Ctrl-C, or until the reader of the pipe has ended."""
        logging.getLogger("mux_async.limits").addHandler(logging.NullHandler())  # the view says what is wrong with the store
        ended = anyio.Event()
        with open_interrupts() as signals, self.client.limits.listen(self._on_event):
            async with anyio.create_task_group() as tasks, self.client:
                tasks.start_soon(until, signals, ended)
                tasks.start_soon(self._show, ended)
                await ended.wait()
                tasks.cancel_scope.cancel()

    def _on_event(self, event: object) -> None:
        if isinstance(event, StoreLost):
            self._problem = event.problem
        elif isinstance(event, StoreRestored):
            self._problem = None

    async def _show(self, ended: anyio.Event) -> None:
        live = Live(console=stdout(), auto_refresh=False)
        with nullcontext() if self.as_lines else live:
            while True:
                await self.client.limits.refresh()
                self._count()
                if not self.as_lines:
                    live.update(self.render(), refresh=True)
                else:
                    try:
                        await write(json.dumps(self.line()).encode() + b"\n")
                    except BrokenPipeError:  # its reader has ended, as `head` does
                        break
                await anyio.sleep(self.interval)
        ended.set()

    def _parts(self) -> list[tuple[str, Limits]]:
        limits = self.client.limits
        return [("", limits)] + ([] if limits.low_priority is None else [("of low priority", limits.low_priority)])

    def _count(self) -> None:
        now = self.clock()
        for part, limits in self._parts():
            snapshot = limits.snapshot()
            for name in _BUCKETS:
                bucket: BucketSnapshot = getattr(snapshot, name)
                self._throttles.setdefault((part, name), ThrottleCount()).see(bucket.since_throttled, now)

    def line(self) -> dict[str, object]:
        """Return the view as JSON members."""
        throttled = {name: count.count for (part, name), count in self._throttles.items() if not part}
        found: dict[str, object] = {"at": round(time.time(), 3), **self.members()}
        found["throttled_while_watching"] = throttled
        if self._problem is not None:
            found["store_problem"] = self._problem
        return found

    def render(self) -> RenderableType:
        """Return the view for a terminal."""
        tables = [self._table(part, limits) for part, limits in self._parts()]
        tables[-1].caption = self._caption()
        forecast = self.forecast()
        lines = [] if forecast is None else [f"all sent in {span(forecast.default)}, as batch calls in {span(forecast.batch)}"]
        return Group(*tables, *lines)

    def _caption(self) -> str:
        server = escape(self.client.base_url)
        if self._problem is not None:
            return f"[red]the store does not answer: {escape(self._problem)}; this is what one process may use without it[/red]"
        if self.client.limits.settings.url:
            return f"{server}; all processes that share MUX_LIMITS_URL; Ctrl-C ends"
        return f"{server}; [yellow]no other process can be seen: set MUX_LIMITS_URL to share the limits[/yellow]; Ctrl-C ends"

    def _table(self, part: str, limits: Limits) -> Table:
        table = Table(title=f"Rate limits {part}".strip(), title_justify="left", caption_justify="left", expand=True)
        table.box, table.pad_edge, table.padding = SIMPLE_HEAD, False, (0, 1, 0, 0)
        table.add_column("bucket", no_wrap=True)
        table.add_column("level", ratio=1, min_width=4)
        for column in ("", "a second", "queue i/d/b", "wait", "429s"):
            table.add_column(column, justify="right", no_wrap=True)
        snapshot = limits.snapshot()
        for name in _BUCKETS:
            bucket: BucketSnapshot = getattr(snapshot, name)
            waiting = [queued + bucket.others_waiting.get(key, 0) for key, queued in bucket.queued_by_priority.items()]
            throttled = str(self._throttles[part, name].count)
            if bucket.since_throttled is not None:
                throttled += f", {span(bucket.since_throttled)} ago"
            table.add_row(
                name.replace("_", "-"),
                ProgressBar(total=max(1, bucket.burst), completed=bucket.level),
                f"{bucket.level:.1f}/{bucket.burst}",
                f"{bucket.rate:.3g}/{bucket.ceiling:.3g}",
                "/".join(map(str, waiting)),
                f"[red]closed {span(bucket.closed_for)}[/red]" if bucket.closed_for > 0 else span(bucket.eta),
                throttled,
            )
        return table
