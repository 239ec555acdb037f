"""The limits of an account and the gate of one bucket, without a client around them."""

from __future__ import annotations

import anyio.lowlevel

from mux_async.limits import Bucket
from mux_async.limits._account import AccountLimits
from mux_async.limits._gate import Gate
from mux_async.limits._limiter import Grant, MemoryLimiter

__all__ = ["AccountLimits", "Gate", "Grant", "MemoryLimiter", "gate_of"]


def gate_of(limits: AccountLimits) -> Gate:
    """Return the gate of POST requests in the running event loop."""
    return limits.gate(anyio.lowlevel.current_token().native_token, Bucket.POST)
