"""An account's limits at one moment (`Limits.snapshot`, `Limits.forecast`)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from mux_async._operation import Bucket
from mux_async.limits._token_bucket import TokenBucket
from mux_async.limits._wait_queue import Priority


@attrs.frozen
class BucketState:
    """The numbers of a bucket, perhaps from a moment ago. See `BucketSnapshot`."""

    level: float
    rate: float
    ceiling: float
    burst: int
    closed_for: float
    since_throttled: float | None = None
    others: tuple[int, int, int] = (0, 0, 0)
    loops: int = 0


@attrs.frozen
class QueueState:
    """Whether the requests of a bucket move on: how many wait, seconds without a grant for them, seconds until it opens, its rate."""

    bucket: Bucket
    queued: int
    stalled_for: float
    closed_for: float
    rate: float


def state_of(tokens: TokenBucket, now: float) -> BucketState:
    """Return the numbers of *tokens* at *now*."""
    since = None if tokens.closed_at == -math.inf else max(0.0, now - tokens.closed_at)
    return BucketState(tokens.level(now), tokens.rate, tokens.ceiling, tokens.burst, max(0.0, tokens.closed_until - now), since)


@attrs.frozen
class BucketSnapshot:
    """One bucket at one moment.

    Attributes:
        level: Requests that could go out at once, 0 to ``burst``.
        rate: Requests a second, sustained, as learned.
        ceiling: Requests a second that the rate recovers to.
        burst: Requests at once after a quiet time, as learned.
        queued: Requests waiting, in all event loops of this process.
        queued_by_priority: The same, by priority.
        eta: Seconds that a request of the default priority arriving now would wait.
        closed_for: Seconds until a bucket closed by a 429 opens; 0.0 when open.
        granted: Requests granted by this process so far.
        waited: Seconds that they waited, all together.
        throttled: Answers of 429 so far.
        reported_limit: ``X-RateLimit-Limit`` of the last response that had a usable ``X-RateLimit-Remaining``; ``None`` for none.
        reported_remaining: That ``X-RateLimit-Remaining``; ``None`` for none.
        since_throttled: Seconds since the last 429 that closed the bucket, of any process that shares it; ``None`` for none.
        others_waiting: Event loops, of this and other processes, that wait in a shared store, by priority. As of the last command to the
            store (`Limits.refresh`), for 5 seconds.
        loops: Event loops that asked a shared store for a grant within the last minute; 0 if limits are not shared.
    """

    level: float
    rate: float
    ceiling: float
    burst: int
    queued: int
    queued_by_priority: Mapping[Priority, int]
    eta: float
    closed_for: float
    granted: int
    waited: float
    throttled: int
    reported_limit: int | None = None
    reported_remaining: int | None = None
    since_throttled: float | None = None
    others_waiting: Mapping[Priority, int] = attrs.field(factory=dict[Priority, int])
    loops: int = 0


@attrs.frozen
class LimitsSnapshot:
    """All four buckets at one moment."""

    post: BucketSnapshot
    other: BucketSnapshot
    realtime_data: BucketSnapshot
    general_data: BucketSnapshot

    def _repr_html_(self) -> str:
        return limits_html(self)


def limits_html(snapshot: LimitsSnapshot) -> str:
    """Return a table of the buckets, for notebooks."""
    from mux_async._html_table import html_table  # only notebooks ask

    columns = ("level", "rate", "burst", "queued", "eta", "granted", "waited", "throttled")
    rows = [
        [field.name, *(_short(getattr(getattr(snapshot, field.name), column)) for column in columns)]
        for field in attrs.fields(LimitsSnapshot)
    ]
    return html_table(("bucket", *columns), rows)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@attrs.frozen
class Forecast:
    """Seconds until the last of a number of requests is granted, if all were made now, by priority.

    From what this process knows: the queue, the level and the rate as learned.
    """

    interactive: float
    default: float
    batch: float
