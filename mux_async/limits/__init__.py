"""The account's allowance: how much there is, who is next, and where it is kept."""

from typing import TYPE_CHECKING

from mux_async._lazy_exports import lazy_exports

if TYPE_CHECKING:
    from mux_async._operation import Bucket
    from mux_async.limits._account import AccountLimits
    from mux_async.limits._backend import Grant, LimitBackend, MemoryBackend
    from mux_async.limits._bucket import Lessons, PacedBucket
    from mux_async.limits._events import BackendBack, BackendLost, LimitEvent, LimitListener, Refused, Waited
    from mux_async.limits._line import PRIORITIES, Priority
    from mux_async.limits._retries import RetryBudget, RetrySettings
    from mux_async.limits._settings import BucketSettings, LimitSettings
    from mux_async.limits._snapshots import BucketSnapshot, BucketState, Forecast, LimitsSnapshot

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

if not TYPE_CHECKING:  # a type checker would believe in every misspelt name
    __getattr__ = lazy_exports(
        __name__,
        {
            "_account": ["AccountLimits"],
            "_backend": ["Bucket", "Grant", "LimitBackend", "MemoryBackend"],
            "_bucket": ["Lessons", "PacedBucket"],
            "_events": ["BackendBack", "BackendLost", "LimitEvent", "LimitListener", "Refused", "Waited"],
            "_line": ["PRIORITIES", "Priority"],
            "_retries": ["RetryBudget", "RetrySettings"],
            "_settings": ["BucketSettings", "LimitSettings"],
            "_snapshots": ["BucketSnapshot", "BucketState", "Forecast", "LimitsSnapshot"],
        },
    )
