"""One call: its attempts, and what follows from them.

Nothing about a call is remembered beside its attempts: what may have reached the server, what an error says of it and whether a 404 means
that a DELETE went through are computed from the list (`AttemptRecord`). An attempt is on the list from the moment at which it may be
written, so one that was cut off counts as one that may have been processed, unless the transport says that it was still connecting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from mux_async._classify import RANK
from mux_async._idempotency import search
from mux_async._operation import Replay
from mux_async._response import AttemptRecord, to_attempts
from mux_async.errors import DeadlineExceededError, Delivery, MuxError, TransportError, copied

if TYPE_CHECKING:
    from mux_async._config import Config
    from mux_async._idempotency.search import Lookup
    from mux_async._observer import CallObserver
    from mux_async._operation import Operation
    from mux_async._options import EffectiveOptions
    from mux_async.limits import Priority
    from mux_async.limits._account import AccountLimits

_NEVER_SENT = Delivery.NEVER_SENT

_SEARCHED_NOTE = "an earlier attempt has an unknown outcome; what it would have made was looked for twice, and was not there"
_EARLIER_NOTE = "an earlier attempt may have been processed"


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
    observer: CallObserver | None = None
    """Reports it to listeners, and its attempts to the registry of idempotency keys; ``None`` for most calls."""
    attempts: list[AttemptRecord] = attrs.field(factory=list[AttemptRecord])
    """Every time the request was sent; the last attempt may still be under way."""

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
        error.attempts = to_attempts(self.attempts, self.config.clock())
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
