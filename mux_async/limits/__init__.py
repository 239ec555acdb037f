"""The account's allowance: how much there is, who is next, and where it is kept."""

from mux_async._operation import Bucket
from mux_async.limits._account import (
    AccountLimits,
    BucketSnapshot,
    Forecast,
    LimitEvent,
    LimitListener,
    LimitsSnapshot,
    Refused,
    Waited,
)
from mux_async.limits._backend import BackendBack, BackendLost, BucketState, Grant, LimitBackend, MemoryBackend
from mux_async.limits._bucket import Lessons, PacedBucket
from mux_async.limits._line import PRIORITIES, Priority
from mux_async.limits._retries import RetryBudget, RetrySettings
from mux_async.limits._settings import BucketSettings, LimitSettings

__all__ = [
    "PRIORITIES",
    "AccountLimits",
    "BackendBack",
    "BackendLost",
    "Bucket",
    "BucketSettings",
    "BucketSnapshot",
    "BucketState",
    "Forecast",
    "Grant",
    "Lessons",
    "LimitBackend",
    "LimitEvent",
    "LimitListener",
    "LimitSettings",
    "LimitsSnapshot",
    "MemoryBackend",
    "PacedBucket",
    "Priority",
    "Refused",
    "RetryBudget",
    "RetrySettings",
    "Waited",
]
