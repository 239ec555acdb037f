"""An account's limits at one moment, for those who look (`AccountLimits.snapshot`, `AccountLimits.forecast`)."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mux_async.limits._line import Priority


@attrs.frozen
class BucketState:
    """A bucket as it stands, perhaps a moment ago.

    Attributes:
        level: Grants that could be taken at once, 0 to ``burst``.
        rate: Grants a second, sustained, as learned.
        ceiling: Grants a second that the rate recovers to.
        burst: Grants at once after a quiet time, as learned.
        closed_for: Seconds until a bucket that a 429 closed opens; 0.0 when it is open.
    """

    level: float
    rate: float
    ceiling: float
    burst: int
    closed_for: float


@attrs.frozen
class BucketSnapshot:
    """One bucket at one moment.

    Attributes:
        level: Requests that could go out at once, 0 to ``burst``.
        rate: Requests a second, sustained, as learned.
        ceiling: Requests a second that the rate recovers to.
        burst: Requests at once after a quiet time, as learned.
        queued: Requests waiting, in all event loops of this process.
        queued_by_priority: The same, by class of service.
        eta: Seconds that a request of the default class arriving now would wait.
        closed_for: Seconds until a bucket closed by a 429 opens; 0.0 when open.
        granted: Requests let out by this process so far.
        waited: Seconds that they waited, all together.
        refused: Answers of 429 so far.
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
    refused: int


@attrs.frozen
class LimitsSnapshot:
    """All four buckets at one moment."""

    post: BucketSnapshot
    other: BucketSnapshot
    realtime_data: BucketSnapshot
    general_data: BucketSnapshot


@attrs.frozen
class Forecast:
    """How long a number of requests would take if they were all made now: seconds until the last one is let out, by class.

    From what is known in this process: the queue, the level and the rate as learned.
    """

    interactive: float
    default: float
    batch: float
