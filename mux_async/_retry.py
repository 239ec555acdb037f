"""Whether to send a request again: a function of what the operation is and what happened. It waits for nothing and sends nothing.

===========================  =======================  =========================
what happened                reads, idempotent or     everything else (most
                             harmless writes          POSTs)
===========================  =======================  =========================
nothing was sent             again                    again
nothing can be sent          the failure              the failure
429                          again                    again
408                          again                    the answer, as an error
5xx                          again                    ambiguous
no answer, bytes were sent   again                    ambiguous
2xx whose body broke off     again                    ambiguous
2xx that cannot be read      the error                ambiguous
any other answer             the answer               the answer
===========================  =======================  =========================

What is ambiguous is looked for when the call has a key (`_once`), and goes again when nothing is there. A success that cannot be read is
an error of its own without one: it says that the request was acted on. All repetitions but those after a 429, or when nothing was sent,
come out of the account's retry budget (`limits.RetryBudget`).

Nothing can be sent when the name of the host does not exist, the certificate is not trusted, or the transport was closed
(`TransportError.is_permanent`): the caller allows one attempt then.

A 409 is final: for Robots it means that the job exists, and sending again cannot change that.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import attrs

from mux_async._checks import check_seconds, explains_arguments
from mux_async._models.times import parse_http_date
from mux_async._operation import Replay
from mux_async.errors import Delivery


class Answered(NamedTuple):
    """An answer with a status that is not a success; its body may be lost.

    Attributes:
        status: HTTP status.
        retry_after: Seconds the server asked for; ``None`` when it did not say.
    """

    status: int
    retry_after: float | None = None


class Failed(NamedTuple):
    """No answer, or a success whose body broke off.

    Attributes:
        delivery: What may have reached the server.
    """

    delivery: Delivery


class Unreadable(NamedTuple):
    """A success whose body arrived and cannot be used: a broken compression, too long, not what belongs there."""


Outcome: TypeAlias = Answered | Failed | Unreadable


class Again(NamedTuple):
    """Send it again after *delay* seconds; the rate limit's own wait comes on top."""

    delay: float


@attrs.frozen
class GiveUp:
    """Report what happened; it is certain that nothing was done, or it is safe to try later."""


@attrs.frozen
class Ambiguous:
    """Report that the outcome is not known."""


Decision: TypeAlias = Again | GiveUp | Ambiguous


@explains_arguments
@attrs.frozen
class RetryPolicy:
    """How long to wait between attempts, in seconds.

    Full jitter: a random share of a ceiling that doubles with each attempt, so that clients that failed together do not come back
    together.
    """

    first: float = 0.5
    longest: float = 8.0
    longest_retry_after: float = 60.0
    """The most that a server's ``Retry-After`` is believed."""

    def __attrs_post_init__(self) -> None:
        for name in ("first", "longest", "longest_retry_after"):
            check_seconds(f"the retry policy's {name}", getattr(self, name))

    def backoff(self, attempt: int, jitter: float) -> float:
        """Return the wait after attempt number *attempt* (from 1), given *jitter* in [0, 1)."""
        return jitter * min(self.longest, self.first * 2.0 ** min(attempt - 1, 30))


def decide(
    outcome: Outcome,
    *,
    replay: Replay,
    attempt: int,
    max_attempts: int,
    jitter: float,
    policy: RetryPolicy,
    is_limited: bool,
) -> Decision:
    """Decide what follows an attempt that did not succeed.

    Args:
        outcome: What happened.
        replay: What may be done when the outcome of the operation is not known.
        attempt: Number of the attempt, from 1.
        max_attempts: Attempts allowed in all.
        jitter: Random number in [0, 1).
        policy: How long to wait.
        is_limited: Whether a rate-limit bucket stands before the operation: then a 429 closes it, and the wait happens there.
    """
    may_repeat = replay is not Replay.NEVER
    retry_after: float | None = None
    match outcome:
        case Unreadable():
            return GiveUp() if may_repeat else Ambiguous()
        case Answered(status=429):
            if is_limited and attempt < max_attempts:
                return Again(0.0)
            retry_after = outcome.retry_after
        case Answered(status=status) if status == 408 or status >= 500:
            if not may_repeat:
                return GiveUp() if status == 408 else Ambiguous()
            retry_after = outcome.retry_after
        case Answered():
            return GiveUp()
        case Failed(delivery=delivery):
            if not may_repeat and delivery is not Delivery.NEVER_SENT:
                return Ambiguous()
    if attempt >= max_attempts:
        return GiveUp()
    # A server that asks for no wait at all (0, a date that has passed) gets the back-off all the same.
    return Again(max(policy.backoff(attempt, jitter), min(retry_after or 0.0, policy.longest_retry_after)))


def parse_retry_after(value: str | None, now_epoch: float) -> float | None:
    """Read a ``Retry-After`` header: seconds, or an HTTP date (RFC 9110, section 10.2.3).

    Returns:
        Seconds from now, at least 0; ``None`` when absent, negative or nonsense.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    moment = parse_http_date(text)
    return None if moment is None else max(0.0, moment - now_epoch)
