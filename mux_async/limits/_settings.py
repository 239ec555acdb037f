"""What an account is allowed, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import attrs

from mux_async._checks import (
    check_choice,
    check_flag,
    check_instance,
    check_number,
    check_period,
    check_seconds,
    check_secret,
    check_whole,
    explains_arguments,
)
from mux_async._operation import Bucket
from mux_async._tracebacks import hides_arguments
from mux_async._types import Secret
from mux_async.errors import ConfigurationError
from mux_async.limits._retry_budget import RetrySettings
from mux_async.limits._token_bucket import AdaptiveSettings, TokenBucket
from mux_async.limits._wait_queue import Priority

LimitScope: TypeAlias = Literal["account", "environment", "environment-and-priority"]
"""Which requests the server counts together: those of an account, of an environment, or of an environment's tokens of one priority.

Mux's documentation says that it counts by account. Since June 2026 it counts by environment, and each environment has two sets of buckets:
for access tokens of high and of low priority (facts/NEWER.md, section 6).
"""

KEY_PARTS: Final[Mapping[LimitScope, frozenset[Literal["environment", "priority"]]]] = {
    "account": frozenset(),
    "environment": frozenset({"environment"}),
    "environment-and-priority": frozenset({"environment", "priority"}),
}
"""What the key of a bucket has besides the account."""


@explains_arguments
@attrs.frozen
class BucketSettings:
    """One allowance: in every *w* seconds at most ``burst + rate * w`` requests go out.

    For a server with a token bucket, use its rate and capacity. For one that counts in windows, see `for_window`.

    Attributes:
        rate: Requests a second, sustained. Above 0.
        burst: Requests that may go out at once after a quiet time. At least 1.
    """

    rate: float
    burst: int

    def __attrs_post_init__(self) -> None:
        check_number("a bucket's rate", self.rate, "it must be above 0 requests a second", above=0)
        check_whole("a bucket's burst", self.burst, 1, "it must be at least 1 request, and whole")

    @classmethod
    def for_window(cls, requests: int, seconds: float, *, burst: int = 1, jitter: float = 0.075) -> BucketSettings:
        """Return the fastest settings that never send more than *requests* in any *seconds*, for fixed windows and sliding ones.

        What goes out in a burst is missing from the rest of its window, so every request of *burst* beyond the first costs its share of
        the rate.

        Args:
            requests: Allowed in a window.
            seconds: Length of a window.
            burst: Requests that may go out at once, at most *requests*.
            jitter: Seconds by which requests may bunch up on their way; the window counts as that much longer.

        Raises:
            ConfigurationError: The burst does not fit into the window.
        """
        check_whole("a window's requests", requests, 1, "it must be at least 1, and whole")
        check_period("a window's seconds", seconds)
        check_seconds("a window's jitter", jitter)
        check_whole("a bucket's burst", burst, 1, "it must be at least 1 request, and whole")
        if burst > requests:
            raise ConfigurationError(f"a burst of {burst!r} does not fit into a window of {requests!r} requests")
        return cls(rate=(requests - burst + 1) / (seconds + jitter), burst=burst)


_TIMER_DELAY: Final = 0.003
"""Seconds by which timers may be late. Evenly spaced calls may start so much early, if there is a burst: they could not make up for it."""


def _to_url(value: str | Secret | None) -> Secret | None:
    check_secret("url", value, allow_none=True)
    return None if value is None else Secret(value)


@explains_arguments
@hides_arguments
@attrs.frozen
class LimitSettings:
    """What an account is allowed, how it is divided, and what to do when Mux answers 429 all the same.

    The sustained rates are the published ones (facts/BEHAVIOUR.md, section 2.1) less 1.5 %: if the server counts in windows, requests that
    bunch up on their way still fit. Bursts are allowed "for short periods" and not published, so the defaults are small: two seconds'
    worth.

    Attributes:
        post: POST outside the Data API.
        other: Other verbs outside the Data API.
        realtime_data: Monitoring and real-time data.
        general_data: The rest of the Data API.
        adaptive: How the buckets adapt to 429s.
        jitter: Seconds by which requests may bunch up on their way to the server: the time a new connection takes, or a busy event
            loop. A bucket whose burst is used up keeps this much of it unused, half at most.
        reserve: Share of a burst that is reserved for ``interactive`` calls, 0 to 1.
        guaranteed_share: Share of the rate that ``default`` and ``batch`` calls get each while they wait, however many go before them;
            0 for none, at most a third.
        retries: How much of what is sent may be retries.
        url: Where the buckets are kept, and so which processes share them: ``memory://`` (this process), ``sqlite:///path`` (the
            processes of one host) or ``redis://[user[:password]@]host[:port][/db]`` (many hosts; ``rediss://`` for TLS). Hidden in
            ``repr``. ``None`` for ``MUX_LIMITS_URL``, else this process.
        enabled: False grants every request at once. For servers without limits, and for limits kept elsewhere.
        scope: Which requests Mux counts together. ``None`` for ``"environment-and-priority"`` if the client has a token of low priority,
            else ``"environment"`` if the client has the name of one, else ``"account"``.
        low_priority: What the token of low priority is allowed; ``None`` for the same as the other one.
    """

    post: BucketSettings = BucketSettings(rate=0.985, burst=2)
    other: BucketSettings = BucketSettings(rate=4.925, burst=10)
    realtime_data: BucketSettings = BucketSettings(rate=0.985, burst=2)
    general_data: BucketSettings = BucketSettings(rate=4.925, burst=10)
    adaptive: AdaptiveSettings = attrs.field(factory=AdaptiveSettings)
    jitter: float = 0.25
    reserve: float = 0.2
    guaranteed_share: float = 0.1
    retries: RetrySettings = attrs.field(factory=RetrySettings)
    url: Secret | None = attrs.field(default=None, converter=_to_url)
    enabled: bool = True
    scope: LimitScope | None = None
    low_priority: LimitSettings | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("post", "other", "realtime_data", "general_data"):
            check_instance(name, getattr(self, name), BucketSettings, "it must be a BucketSettings(rate=..., burst=...)")
        check_instance("adaptive", self.adaptive, AdaptiveSettings, "it must be an AdaptiveSettings")
        check_seconds("jitter", self.jitter)
        check_number("reserve", self.reserve, "it is a share of the burst, 0 to 1", least=0, most=1)
        check_number("guaranteed_share", self.guaranteed_share, "it is a share of the rate, 0 to a third", least=0, most=1 / 3)
        check_instance("retries", self.retries, RetrySettings, "it must be a RetrySettings")
        check_flag("enabled", self.enabled)
        if self.scope is not None:
            check_choice("scope", self.scope, tuple(KEY_PARTS))
        check_instance("low_priority", self.low_priority, LimitSettings, "it must be a LimitSettings", allow_none=True)
        if self.low_priority is not None and "priority" not in KEY_PARTS[self.scope or "environment-and-priority"]:
            raise ConfigurationError(
                f"low_priority is given, and the scope {self.scope!r} does not tell priorities apart; leave one of them out"
            )

        if self.low_priority is not None and self.low_priority.low_priority is not None:
            raise ConfigurationError("low_priority has a low_priority of its own; what is allowed goes directly into the first")

    def for_low_priority(self) -> LimitSettings:
        """Return what the token of low priority is allowed."""
        settings = self.low_priority or self
        return attrs.evolve(settings, url=settings.url or self.url)

    def held_back(self, priority: Priority, allowance: BucketSettings) -> float:
        """Return how many grants of the burst of *allowance* a call of *priority* leaves to others."""
        burst = allowance.burst
        match priority:
            case "interactive":
                return 0
            case "default":
                return min(int(burst * self.reserve), burst - 1)
            case "batch":
                return max(0.0, burst - 1 - min(0.1, _TIMER_DELAY * allowance.rate))

    def bucket(self, bucket: Bucket) -> BucketSettings:
        """Return the settings of one bucket."""
        match bucket:
            case Bucket.POST:
                return self.post
            case Bucket.OTHER:
                return self.other
            case Bucket.REALTIME_DATA:
                return self.realtime_data
            case Bucket.GENERAL_DATA:
                return self.general_data

    def new_bucket(self, bucket: Bucket) -> TokenBucket:
        """Return a full bucket."""
        allowance = self.bucket(bucket)
        return TokenBucket(allowance.rate, allowance.burst, self.adaptive, self.jitter)


def limit_keys(
    scope: LimitScope, *, account: str | None, environment: str | None, token: str, low_priority: str
) -> tuple[str, str]:
    """Return the keys of a client's buckets: for its access token, and for the one of low priority. They may be the same.

    Args:
        scope: What the server counts together.
        account: Name of the account; ``None`` makes a token stand for its account, so that clients of one token share.
        environment: Name of the environment of both tokens; ``None`` if it has none.
        token: Id of the access token.
        low_priority: Id of the one of low priority.
    """
    parts = KEY_PARTS[scope]
    rest = f"/{environment}" if environment and "environment" in parts else ""
    key = (account or token) + rest
    if "priority" not in parts:
        return key, key
    return key, f"{account}{rest} low-priority" if account else low_priority + rest
