"""What happens to an account's limits, for those who listen (`AccountLimits.listen`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from mux_async._operation import Bucket
from mux_async.limits._line import Priority


@attrs.frozen
class Waited:
    """A request waited for its grant.

    Attributes:
        bucket: Where.
        priority: Its class.
        seconds: How long.
    """

    bucket: Bucket
    priority: Priority
    seconds: float


@attrs.frozen
class Refused:
    """A request was answered 429.

    Attributes:
        bucket: It was counted against.
        closed_for: Seconds for which the bucket is closed now.
        rate: Requests a second from then on, as learned.
    """

    bucket: Bucket
    closed_for: float
    rate: float


@attrs.frozen
class BackendLost:
    """The backend that several processes share does not answer: this one goes on alone.

    Attributes:
        backend: Where it is, without secrets.
        problem: What failed, in words.
        share: This process takes one part in so many of the rate.
    """

    backend: str
    problem: str
    share: int


@attrs.frozen
class BackendBack:
    """The shared backend answers again, and is used again.

    Attributes:
        backend: Where it is, without secrets.
        seconds: How long this process went on alone.
    """

    backend: str
    seconds: float


BackendEvent: TypeAlias = BackendLost | BackendBack
LimitEvent: TypeAlias = Waited | Refused | BackendLost | BackendBack
LimitListener: TypeAlias = Callable[[LimitEvent], object]
"""Told of every wait and every 429, and when a shared backend is lost or back; must return at once."""
