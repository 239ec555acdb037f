"""The outcome of an attempt: from the status first, then headers and body, or from the transport's error. Pure.

The status says what the server did; the body only explains it. So an error answer whose body broke off, is too long or cannot be
decompressed keeps the meaning of its status. Only for a success the body matters: the request was processed, and its result is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mux_async._retry import ErrorStatus, ExchangeFailed, Outcome, UnreadableSuccess, parse_retry_after
from mux_async.errors import Delivery, ResponseError, TransportError

if TYPE_CHECKING:
    from mux_async.transport import Headers

# Looking a member up in its enum is a call, up to Python 3.11.
_NEVER_SENT, _MAYBE_PROCESSED, _ANSWERED = Delivery.NEVER_SENT, Delivery.MAYBE_PROCESSED, Delivery.ANSWERED

RANK: Final = {_NEVER_SENT: 0, _MAYBE_PROCESSED: 1, _ANSWERED: 2}
"""Orders deliveries by what the server may have done; of several attempts the highest counts."""


def is_success(status: int) -> bool:
    """Whether *status* is a 2xx. A 101, which ends the exchange too, is not."""
    return 199 < status < 300


def classify(
    status: int | None, headers: Headers | None, failure: TransportError | ResponseError | None, now_epoch: float
) -> Outcome | None:
    """Return the outcome of an attempt; ``None`` for a success whose body arrived.

    Args:
        status: Of the answer; ``None`` if its head did not arrive.
        headers: Of the answer.
        failure: What went wrong with the exchange, or with the body.
        now_epoch: Seconds since 1970, for a ``Retry-After`` that is a date.
    """
    if status is None or headers is None:
        return ExchangeFailed(delivery_of(status, failure))
    if not is_success(status):
        return ErrorStatus(status, parse_retry_after(headers.get("Retry-After"), now_epoch))
    if failure is None:
        return None
    return UnreadableSuccess() if isinstance(failure, ResponseError) else ExchangeFailed(_ANSWERED)


def delivery_of(status: int | None, failure: TransportError | ResponseError | None) -> Delivery:
    """Return what the server may have done in an attempt that has ended.

    An answer that says that nothing was processed (a redirect, a 429 or another 4xx) counts as `Delivery.NEVER_SENT`.
    """
    if status is None:
        return failure.delivery if isinstance(failure, TransportError) else _MAYBE_PROCESSED
    if is_success(status):
        return _ANSWERED
    return _NEVER_SENT if 300 <= status < 500 and status != 408 else _MAYBE_PROCESSED
