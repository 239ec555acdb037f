"""One call: its attempts, what follows from them, and the answer it ends with.

Nothing about a call is remembered beside its attempts: what may have reached the server, what an error says of it and whether a 404 means
that a DELETE went through are computed from the list (`AttemptRecord`). An attempt is on the list from the moment at which it may be
written, so one that was cut off counts as one that may have been processed, unless the transport says that it was still connecting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from mux_async._classify import RANK, delivery_of
from mux_async._idempotency import search
from mux_async._operation import Replay
from mux_async._response import RawResponse
from mux_async.errors import Attempt, DeadlineExceededError, Delivery, MuxError, ResponseError, TransportError, copied

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mux_async._config import Config
    from mux_async._idempotency.search import Lookup
    from mux_async._operation import Operation
    from mux_async._options import EffectiveOptions
    from mux_async.limits import Priority
    from mux_async.limits._account import AccountLimits
    from mux_async.limits._limiter import Grant
    from mux_async.transport import HttpResponse

T = TypeVar("T")

_NEVER_SENT, _MAYBE_PROCESSED = Delivery.NEVER_SENT, Delivery.MAYBE_PROCESSED

_SEARCHED_NOTE = "an earlier attempt has an unknown outcome; what it would have made was looked for twice, and was not there"
_EARLIER_NOTE = "an earlier attempt may have been processed"


@attrs.define(eq=False, repr=False)
class AttemptRecord:
    """One attempt and its outcome. Converted to `Attempt` on demand."""

    queued_at: float
    sent_at: float
    grant: Grant | None
    ended_at: float | None = None
    """``None`` while it is under way, and for ever if it was cut off."""
    response: HttpResponse | None = None
    """Set when the head of an answer arrived."""
    content: bytes = b""
    """The decompressed body; empty if it is left to be streamed, or did not arrive."""
    failure: TransportError | ResponseError | None = None
    problem: MuxError | None = None
    """The error that stands for it, if it was not a success."""
    is_searched: bool = False
    """Whether what it would have made was searched for and not found."""
    is_unsent: bool = False
    """Whether it was cut off before a byte of it was written."""

    @property
    def status(self) -> int | None:
        return None if self.response is None else self.response.status

    @property
    def request_id(self) -> str | None:
        return None if self.response is None else self.response.headers.get("X-Request-Id")

    @property
    def delivery(self) -> Delivery:
        """What the server may have done."""
        if self.ended_at is None:
            return _NEVER_SENT if self.is_unsent else _MAYBE_PROCESSED
        return delivery_of(self.status, self.failure)

    def to_attempt(self, number: int, now: float) -> Attempt:
        """Return what users see of it."""
        ended_at, error = self.ended_at, None if self.failure is None else str(self.failure)
        if ended_at is None:
            ended_at, error = now, "it was cut off while it was connecting" if self.is_unsent else "it was cut off"
        return Attempt(number, self.sent_at - self.queued_at, ended_at - self.sent_at, self.status, self.request_id, error)


def _to_attempts(attempts: list[AttemptRecord], now: float = 0.0) -> tuple[Attempt, ...]:
    return tuple(record.to_attempt(number, now) for number, record in enumerate(attempts, 1))


@attrs.define(eq=False, repr=False)
class Answer:
    """A successful answer.

    Attributes:
        content: The decompressed body; empty when it is left to be streamed from `response`.
        attempts: Every time the request was sent.
        is_reconciled: Whether a search for the call's idempotency key found it; `response` is the search's.
    """

    response: HttpResponse
    content: bytes = attrs.field(repr=False)
    attempts: list[AttemptRecord]
    is_reconciled: bool = False

    def as_raw(self, value: T) -> RawResponse[T]:
        """Return *value* with this answer around it."""
        return RawResponse(
            value=value,
            status=self.response.status,
            headers=self.response.headers,
            request_id=self.response.headers.get("X-Request-Id"),
            attempts=_to_attempts(self.attempts),
            content=self.content,
            is_reconciled=self.is_reconciled,
        )


@attrs.define(eq=False, repr=False)
class Call:
    """One call while it runs."""

    operation: Operation[Any]
    options: EffectiveOptions
    config: Config
    started: float
    priority: Priority
    limits: AccountLimits
    """Of the access token that it is authorised with, however often it is sent."""
    lookup: Lookup | None = None
    attempts: list[AttemptRecord] = attrs.field(factory=list[AttemptRecord])
    """Every time the request was sent; the last attempt may still be under way."""
    before_sending: Callable[[], Awaitable[None]] | None = None
    """Awaited before each attempt; what it raises keeps the request from being sent."""

    def elapsed(self) -> float:
        """Return the seconds since the first attempt."""
        return self.config.clock() - self.attempts[0].sent_at if self.attempts else 0.0

    def epoch(self) -> float:
        """Return the seconds since 1970."""
        return self.config.epoch()

    def remaining(self) -> float | None:
        """Return the seconds until the deadline, 0.0 when it has passed; ``None`` when there is none."""
        deadline = self.options.deadline
        return None if deadline is None else max(0.0, self.started + deadline - self.config.clock())

    @property
    def delivery(self) -> Delivery:
        """What the server may have done: of all attempts, the most."""
        return max((record.delivery for record in self.attempts), key=RANK.__getitem__, default=_NEVER_SENT)

    @property
    def doubtful(self) -> AttemptRecord | None:
        """The last attempt that the server may have acted on."""
        return next((record for record in reversed(self.attempts) if record.delivery is not _NEVER_SENT), None)

    @property
    def problem(self) -> MuxError | None:
        """What the last attempt that has ended came to."""
        return next((record.problem for record in reversed(self.attempts) if record.problem is not None), None)

    def describe(self, error: MuxError) -> MuxError:
        """Fill in what every error of a call carries.

        Returns *error*, or a copy where it would say less than what the server may have done.
        """
        delivery = self.delivery
        if isinstance(error, TransportError | DeadlineExceededError) and RANK[error.delivery] < RANK[delivery]:
            error = copied(error)  # a transport's own may be raised again elsewhere
            error.delivery = delivery
        error.attempts = _to_attempts(self.attempts, self.config.clock())
        error.operation = self.operation.line
        if self.operation.replay is not Replay.SAFE and any(
            record.delivery is not _NEVER_SENT for record in self.attempts[:-1]
        ):
            note = _SEARCHED_NOTE if any(record.is_searched for record in self.attempts) else _EARLIER_NOTE
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        return error

    def failed(self, error: MuxError, cause: BaseException | None = None) -> MuxError:
        """Return what to raise when *error* ends the call, with its cause.

        That is *error*, as `describe` leaves it, or an `AmbiguousOutcomeError` where it would leave open whether an earlier attempt of a
        write that must not happen twice was processed.
        """
        described = self.describe(error)
        described.__cause__ = cause
        doubtful = self.doubtful
        if (
            doubtful is None
            or self.operation.replay is not Replay.NEVER
            or not isinstance(error, TransportError | DeadlineExceededError)
        ):
            return described
        looked = "it was looked for and was not there" if doubtful.is_searched else None
        ambiguous = self.describe(self.ambiguous(doubtful.problem or described, doubtful, looked))
        ambiguous.__cause__ = described
        return ambiguous

    def ambiguous(self, problem: MuxError, record: AttemptRecord, looked: str | None = None) -> MuxError:
        """Return the error for a write whose outcome *record* leaves unknown; see `mux_async._idempotency.search.ambiguous`."""
        return search.ambiguous(
            self.operation, problem, status=record.status, request_id=record.request_id, lookup=self.lookup, looked=looked
        )

    def out_of_time(self, delay: float | None = None) -> MuxError:
        """Return what to raise when the deadline has passed, or would before another attempt *delay* seconds from now."""
        line, deadline, problem = self.operation.line, self.options.deadline or 0.0, self.problem
        number = len(self.attempts)
        attempts = f"{number} attempt{'s' * (number != 1)}"
        if delay is not None:
            left = self.remaining() or 0.0
            text = (
                f"{line} failed in {attempts}, and another one would not fit in its deadline of {deadline:g} s: it would begin "
                f"in {delay:.3g} s, and {left:.3g} s are left"
            )
        else:
            if not number:
                moment = "before the request was sent"
            elif self.attempts[-1].ended_at is None:
                doing = "connecting, before anything of it was sent" if self.attempts[-1].is_unsent else "under way"
                moment = f"while attempt {number} was {doing}"
            else:
                moment = f"after {attempts}"
            text = f"{line} did not end within its deadline of {deadline:g} s; it passed {moment}"
        if problem is not None:
            text += f"; the last problem was: {problem}"
        return self.failed(DeadlineExceededError(text, deadline=deadline, delivery=self.delivery), problem)
