"""Rate limits of a server: a request passes or is refused, and none is queued.

Arithmetic only; time comes in as ``now``. A clock that goes backwards counts as stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Protocol

import attrs

from mux_async.emulator._settings import LimitModel, RateRules, Token
from mux_async.emulator.http._messages import Response, json_response
from mux_async.limits import Bucket, LimitScope

_REALTIME = ("/data/v1/monitoring", "/data/v1/realtime")
TOO_MANY = "Too many requests, retry later."


def bucket_of(method: str, path: str) -> Bucket:
    """Return the bucket that a request to the API takes from (facts/README.md, *Rate-limit buckets*)."""
    if path.startswith("/data/v1"):
        return Bucket.REALTIME_DATA if path.startswith(_REALTIME) else Bucket.GENERAL_DATA
    return Bucket.POST if method == "POST" else Bucket.OTHER


@attrs.frozen
class LimitDecision:
    """Whether a request may pass, how many could pass right after it, and seconds until one could."""

    allowed: bool
    remaining: int
    retry_after: float = 0.0


@attrs.frozen
class Level:
    """How full a bucket is: *left* of *capacity* requests, refilled by *rate* a second. The *scope* of an account's bucket is empty."""

    scope: str
    bucket: Bucket
    left: float
    capacity: int
    rate: float


class Counter(Protocol):
    """One bucket of one account or environment."""

    def take(self, now: float) -> LimitDecision:
        """Let a request pass, or not. A refused one costs nothing."""
        ...

    def left(self, now: float) -> float:
        """Requests that could pass now, at most the capacity. Takes nothing."""
        ...


class TokenBucket:
    """Starts full, refills by *rate* a second up to *capacity*."""

    def __init__(self, rate: float, capacity: int) -> None:
        self._rate = rate
        self._capacity = capacity
        self._level = float(capacity)
        self._at: float | None = None

    def take(self, now: float) -> LimitDecision:
        at = now if self._at is None else max(now, self._at)
        if self._at is not None:
            self._level = min(self._capacity, self._level + (at - self._at) * self._rate)
        self._at = at
        # A caller that waited exactly long enough must not be refused for a rounding error in the refill.
        if self._level < 1.0 - 1e-9:
            return LimitDecision(allowed=False, remaining=0, retry_after=(1.0 - self._level) / self._rate)
        self._level = max(0.0, self._level - 1.0)
        return LimitDecision(allowed=True, remaining=int(self._level + 1e-9))

    def left(self, now: float) -> float:
        waited = 0.0 if self._at is None else max(0.0, now - self._at)
        return min(float(self._capacity), self._level + waited * self._rate)


class FixedWindow:
    """At most *capacity* in each window of ``capacity / rate`` seconds; windows begin at multiples of their length."""

    def __init__(self, rate: float, capacity: int) -> None:
        self._length = capacity / rate
        self._capacity = capacity
        self._window = float("-inf")
        self._used = 0

    def take(self, now: float) -> LimitDecision:
        window = now // self._length
        if window > self._window:
            self._window, self._used = window, 0
        if self._used >= self._capacity:
            return LimitDecision(allowed=False, remaining=0, retry_after=max(0.0, (self._window + 1) * self._length - now))
        self._used += 1
        return LimitDecision(allowed=True, remaining=self._capacity - self._used)

    def left(self, now: float) -> float:
        return self._capacity - (self._used if now // self._length <= self._window else 0)


class SlidingWindow:
    """At most *capacity* in any ``capacity / rate`` seconds, counted exactly."""

    def __init__(self, rate: float, capacity: int) -> None:
        self._length = capacity / rate
        self._capacity = capacity
        self._passed: deque[float] = deque()

    def take(self, now: float) -> LimitDecision:
        now = max(now, self._passed[-1]) if self._passed else now
        while self._passed and self._passed[0] <= now - self._length:
            self._passed.popleft()
        if len(self._passed) >= self._capacity:
            return LimitDecision(allowed=False, remaining=0, retry_after=self._passed[0] + self._length - now)
        self._passed.append(now)
        return LimitDecision(allowed=True, remaining=self._capacity - len(self._passed))

    def left(self, now: float) -> float:
        return self._capacity - sum(at > now - self._length for at in self._passed)


_MODELS: dict[LimitModel, Callable[[float, int], Counter]] = {
    "token-bucket": TokenBucket,
    "fixed-window": FixedWindow,
    "sliding-window": SlidingWindow,
}


_SCOPES: dict[LimitScope, str] = {
    "account": "",
    "environment": "{0.environment}",
    "environment-and-priority": "{0.environment}, {0.priority} priority",
}
"""The part of a bucket's key that comes from the token."""


class RateLimiter:
    """All buckets of all accounts or environments."""

    def __init__(self, rules: RateRules) -> None:
        self._rules = rules
        self._counters: dict[tuple[str, Bucket], Counter] = {}

    def take(self, token: Token, bucket: Bucket, now: float) -> tuple[LimitDecision, dict[str, str]]:
        """Count a request of *token*, and give the headers its answer carries because of it."""
        key = (_SCOPES[self._rules.scope].format(token), bucket)
        if key not in self._counters:
            self._counters[key] = _MODELS[self._rules.model](self._rules.rates[bucket], self._rules.capacity(bucket))
        verdict = self._counters[key].take(now)
        headers: dict[str, str] = {}
        if self._rules.headers:
            headers["X-RateLimit-Limit"] = str(self._rules.capacity(bucket))
            headers["X-RateLimit-Remaining"] = str(verdict.remaining)
        if self._rules.retry_after and not verdict.allowed:
            headers["Retry-After"] = str(max(1, ceil(verdict.retry_after - 1e-9)))
        return verdict, headers

    def levels(self, now: float) -> list[Level]:
        """Return the level of every bucket. An unused one is full."""
        scopes = sorted({scope for scope, _ in self._counters}) or [""]
        return [
            Level(
                scope,
                bucket,
                self._rules.capacity(bucket) if counter is None else counter.left(now),
                self._rules.capacity(bucket),
                self._rules.rates[bucket],
            )
            for scope in scopes
            for bucket in self._rules.rates
            for counter in [self._counters.get((scope, bucket))]
        ]

    def refusal(self) -> Response:
        """The 429, in the shape the rules ask for (facts/BEHAVIOUR.md, section 1.3)."""
        if self._rules.body == "errors":
            return json_response(429, {"errors": [TOO_MANY]})
        return json_response(429, {"error": {"type": "too_many_requests", "messages": [TOO_MANY]}})
