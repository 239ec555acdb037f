"""What happens to an account's limits, for listeners (`Limits.listen`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from mux_async._operation import Bucket
from mux_async.limits._wait_queue import Priority


@attrs.frozen
class RequestDelayed:
    """A request waited for its grant.

    Attributes:
        bucket: It was counted against.
        priority: Of the call.
        seconds: How long it waited.
    """

    bucket: Bucket
    priority: Priority
    seconds: float


@attrs.frozen
class RequestThrottled:
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
class StoreLost:
    """The store that several processes share does not answer: this process goes on alone.

    Attributes:
        store: Its address, without secrets.
        problem: What failed, in words.
        share: This process uses one part in so many of the rate.
    """

    store: str
    problem: str
    share: int


@attrs.frozen
class StoreRestored:
    """The shared store answers again, and is used again.

    Attributes:
        store: Its address, without secrets.
        seconds: How long this process went on alone.
    """

    store: str
    seconds: float


StoreEvent: TypeAlias = StoreLost | StoreRestored
LimitEvent: TypeAlias = RequestDelayed | RequestThrottled | StoreLost | StoreRestored
"""Any event of the rate limits."""
LimitListener: TypeAlias = Callable[[LimitEvent], object]
"""Called with every wait and every 429, and when a shared store is lost or restored; must return at once."""
