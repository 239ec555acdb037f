"""The account's allowance: how much there is, who is next, and where it is kept."""

from mux_async._operation import Bucket
from mux_async.limits._account import AccountLimits, BucketSnapshot, LimitsSnapshot
from mux_async.limits._backend import Grant, LimitBackend, MemoryBackend
from mux_async.limits._bucket import PacedBucket
from mux_async.limits._settings import BucketSettings, LimitSettings

__all__ = [
    "AccountLimits",
    "Bucket",
    "BucketSettings",
    "BucketSnapshot",
    "Grant",
    "LimitBackend",
    "LimitSettings",
    "LimitsSnapshot",
    "MemoryBackend",
    "PacedBucket",
]
