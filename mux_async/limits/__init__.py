"""The account's rate limits: settings, and what `Mux.limits` reports."""

from typing import TYPE_CHECKING

from mux_async._lazy_exports import lazy_exports

if TYPE_CHECKING:
    from mux_async._operation import Bucket
    from mux_async.limits._events import LimitEvent, LimitListener, RequestDelayed, RequestThrottled, StoreLost, StoreRestored
    from mux_async.limits._limits import Limits
    from mux_async.limits._retry_budget import RetrySettings
    from mux_async.limits._settings import BucketSettings, LimitScope, LimitSettings
    from mux_async.limits._snapshots import BucketSnapshot, Forecast, LimitsSnapshot
    from mux_async.limits._token_bucket import AdaptiveSettings
    from mux_async.limits._wait_queue import PRIORITIES, Priority

__all__ = [
    "PRIORITIES", "AdaptiveSettings", "Bucket", "BucketSettings", "BucketSnapshot", "Forecast", "LimitEvent",
    "LimitListener", "LimitScope", "LimitSettings", "Limits", "LimitsSnapshot", "Priority", "RequestDelayed",
    "RequestThrottled", "RetrySettings", "StoreLost", "StoreRestored",
]  # fmt: skip

if not TYPE_CHECKING:  # a type checker would accept every misspelt name
    __getattr__ = lazy_exports(
        __name__,
        {
            "_events": ["LimitEvent", "LimitListener", "RequestDelayed", "RequestThrottled", "StoreLost", "StoreRestored"],
            "_limits": ["Limits"],
            "_retry_budget": ["RetrySettings"],
            "_settings": ["Bucket", "BucketSettings", "LimitScope", "LimitSettings"],
            "_snapshots": ["BucketSnapshot", "Forecast", "LimitsSnapshot"],
            "_token_bucket": ["AdaptiveSettings"],
            "_wait_queue": ["PRIORITIES", "Priority"],
        },
    )
