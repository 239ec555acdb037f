"""Whether to retry a request: a pure function of the operation and the outcome of the attempt.

===========================  =======================  =========================
outcome                      reads, idempotent or     other writes
                             harmless writes          (most POSTs)
===========================  =======================  =========================
nothing was sent             retry                    retry
nothing can be sent          raise the failure        raise the failure
429                          retry                    retry
408                          retry                    raise the status error
5xx                          retry                    ambiguous
no answer, bytes were sent   retry                    ambiguous
2xx whose body broke off     retry                    ambiguous
2xx that cannot be read      raise the error          ambiguous
any other answer             raise the status error   raise the status error
===========================  =======================  =========================

After an ambiguous outcome of a call with an idempotency key, the engine searches for the object (`_idempotency`), and retries if there is
none. Without a key, a success that cannot be read has its own error, which says that the request was processed. Every retry is charged to
the account's retry budget, except after a 429 or if nothing was sent.

Nothing can be sent if the host name does not exist, the certificate is not trusted, or the transport was closed
(`TransportError.is_permanent`). The caller then allows one attempt.

A 409 is final: for Robots it means that the job exists, and a retry cannot change that.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import attrs

from mux_async._checks import check_seconds, explains_arguments
from mux_async._models.times import parse_http_date
from mux_async._operation import Replay
from mux_async.errors import Delivery


class ErrorStatus(NamedTuple):
    """An answer with a status other than 2xx; its body may be lost.

    Attributes:
        status: HTTP status.
        retry_after: Seconds that the server asked for; ``None`` if it did not.
    """

    status: int
    retry_after: float | None = None


class ExchangeFailed(NamedTuple):
    """No answer, or a success whose body broke off.

    Attributes:
        delivery: What may have reached the server.
    """

    delivery: Delivery


class UnreadableSuccess(NamedTuple):
    """A success whose body arrived and cannot be used: broken compression, too long, or not the expected JSON."""


Outcome: TypeAlias = ErrorStatus | ExchangeFailed | UnreadableSuccess


class RetryAfter(NamedTuple):
    """Retry after *delay* seconds, plus the wait for a grant."""

    delay: float


@attrs.frozen
class GiveUp:
    """Raise the error: nothing was processed, or repeating the call later is safe."""


@attrs.frozen
class Ambiguous:
    """The outcome is unknown."""


Decision: TypeAlias = RetryAfter | GiveUp | Ambiguous


@explains_arguments
@attrs.frozen
class RetryPolicy:
    """How long to wait between attempts, in seconds.

    Full jitter: a random share of a ceiling that doubles with each attempt, so that clients that failed together do not retry together.
    """

    first: float = 0.5
    """Ceiling of the wait after the first attempt; 0 repeats at once."""
    longest: float = 8.0
    """The ceiling does not grow beyond this."""
    longest_retry_after: float = 60.0
    """A server's ``Retry-After`` above this counts as this."""

    def __attrs_post_init__(self) -> None:
        for name in ("first", "longest", "longest_retry_after"):
            check_seconds(f"the retry policy's {name}", getattr(self, name))

    def backoff(self, attempt: int, jitter: float) -> float:
        """Return the wait after attempt number *attempt* (from 1), given *jitter* in [0, 1)."""
        return jitter * min(self.longest, self.first * 2.0 ** min(attempt - 1, 30))


def decide(
    outcome: Outcome, *, replay: Replay, attempt: int, max_attempts: int, jitter: float, policy: RetryPolicy, is_limited: bool
) -> Decision:
    """Decide what follows a failed attempt.

    Args:
        outcome: Of the attempt.
        replay: Whether the operation may be repeated after an unknown outcome.
        attempt: Number of the attempt, from 1.
        max_attempts: Attempts allowed in all.
        jitter: Random number in [0, 1).
        policy: How long to wait.
        is_limited: Whether the operation has a rate-limit bucket: then a 429 closes the bucket, and the wait happens there.
    """
    may_repeat = replay is not Replay.NEVER
    retry_after: float | None = None
    match outcome:
        case UnreadableSuccess():
            return GiveUp() if may_repeat else Ambiguous()
        case ErrorStatus(status=429):
            if is_limited and attempt < max_attempts:
                return RetryAfter(0.0)
            retry_after = outcome.retry_after
        case ErrorStatus(status=status) if status == 408 or status >= 500:
            if not may_repeat:
                return GiveUp() if status == 408 else Ambiguous()
            retry_after = outcome.retry_after
        case ErrorStatus():
            return GiveUp()
        case ExchangeFailed(delivery=delivery):
            if not may_repeat and delivery is not Delivery.NEVER_SENT:
                return Ambiguous()
    if attempt >= max_attempts:
        return GiveUp()
    # Back-off applies even if the server asks for no wait (0, a date that has passed).
    return RetryAfter(max(policy.backoff(attempt, jitter), min(retry_after or 0.0, policy.longest_retry_after)))


def parse_retry_after(value: str | None, now_epoch: float) -> float | None:
    """Read a ``Retry-After`` header: seconds, or an HTTP date (RFC 9110, section 10.2.3).

    Returns seconds from now, at least 0; ``None`` if absent, negative or unparsable.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    moment = parse_http_date(text)
    return None if moment is None else max(0.0, moment - now_epoch)
