"""One call: what is known of it while it runs, and the answer it ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from mux_async._response import RawResponse
from mux_async.errors import Attempt, Delivery, MuxError, ResponseError, TransportError

if TYPE_CHECKING:
    from mux_async._config import Config
    from mux_async._once import Sought
    from mux_async._operation import Operation
    from mux_async._options import EffectiveOptions
    from mux_async.limits import Priority
    from mux_async.limits._backend import Grant
    from mux_async.transport import HttpResponse

T = TypeVar("T")

_DOUBT_NOTE = "an earlier attempt has an unknown outcome; what it would have made was looked for twice, and was not there"


@attrs.define(eq=False, repr=False)
class Try:
    """One attempt, and what came of it. It becomes an `Attempt` when somebody is told."""

    queued_at: float
    sent_at: float
    ended_at: float
    grant: Grant | None
    response: HttpResponse | None
    content: bytes
    """The decompressed body; empty when it is left to be streamed, or did not arrive."""
    failure: TransportError | ResponseError | None

    @property
    def status(self) -> int | None:
        return None if self.response is None else self.response.status

    @property
    def request_id(self) -> str | None:
        return None if self.response is None else self.response.headers.get("X-Request-Id")

    def told(self, number: int) -> Attempt:
        """Return what users are told of it."""
        error = None if self.failure is None else str(self.failure)
        queued, elapsed = self.sent_at - self.queued_at, self.ended_at - self.sent_at
        return Attempt(number, queued, elapsed, self.status, self.request_id, error)


def _told(tries: list[Try]) -> tuple[Attempt, ...]:
    return tuple(tried.told(number) for number, tried in enumerate(tries, 1))


@attrs.define(eq=False, repr=False)
class Answer:
    """A successful answer.

    Attributes:
        content: The decompressed body; empty when it is left to be streamed from `response`.
        tries: Every time the request was put on the wire.
        is_reconciled: Whether it was put together of what a search for the call's ``once`` key found; `response` is the search's.
    """

    response: HttpResponse
    content: bytes
    tries: list[Try]
    is_reconciled: bool = False

    def as_raw(self, value: T) -> RawResponse[T]:
        """Return *value* with this answer around it."""
        return RawResponse(
            value=value,
            status=self.response.status,
            headers=self.response.headers,
            request_id=self.response.headers.get("X-Request-Id"),
            attempts=_told(self.tries),
            content=self.content,
            is_reconciled=self.is_reconciled,
        )


@attrs.define(eq=False, repr=False)
class Call:
    """One call while it runs: what has happened so far, for whoever has to report it."""

    operation: Operation[Any]
    options: EffectiveOptions
    config: Config
    started: float
    priority: Priority
    sought: Sought | None = None
    tries: list[Try] = attrs.field(factory=list[Try])
    """Those that have ended."""
    in_flight: Delivery = Delivery.NEVER_SENT
    doubt: MuxError | None = None
    """What left the outcome of an attempt unknown, until it is known."""
    was_in_doubt: bool = False
    """Whether there was such an attempt, and what it would have made was not found."""

    def elapsed(self) -> float:
        """Return the seconds since the first attempt."""
        return self.config.clock() - self.tries[0].sent_at if self.tries else 0.0

    def epoch(self) -> float:
        """Return the seconds since 1970."""
        return self.config.epoch()

    def describe(self, error: MuxError) -> MuxError:
        """Fill in what every error of a call carries."""
        error.attempts = _told(self.tries)
        error.operation = self.operation.line
        if self.was_in_doubt and _DOUBT_NOTE not in getattr(error, "__notes__", ()):
            error.add_note(_DOUBT_NOTE)
        return error
