"""One call: what is known of it while it runs, and the answer it ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from mux_async._response import RawResponse
from mux_async.errors import Attempt, Delivery, MuxError

if TYPE_CHECKING:
    from mux_async._config import CallOptions, Config
    from mux_async._once import Sought
    from mux_async._operation import Operation
    from mux_async.limits import Priority
    from mux_async.transport import HttpResponse

T = TypeVar("T")

_DOUBT_NOTE = "an earlier attempt has an unknown outcome; what it would have made was looked for twice, and was not there"


@attrs.frozen(eq=False, repr=False)
class Answer:
    """A successful answer.

    Attributes:
        content: The decompressed body; empty when it is left to be streamed from `response`.
        attempts: Every time the request was put on the wire.
        is_reconciled: Whether it was put together of what a search for the call's ``once`` key found; `response` is the search's.
    """

    response: HttpResponse
    content: bytes
    attempts: tuple[Attempt, ...]
    is_reconciled: bool = False

    @property
    def request_id(self) -> str | None:
        return self.response.headers.get("X-Request-Id")

    def as_raw(self, value: T) -> RawResponse[T]:
        """Return *value* with this answer around it."""
        return RawResponse(
            value=value,
            status=self.response.status,
            headers=self.response.headers,
            request_id=self.request_id,
            attempts=self.attempts,
            content=self.content,
            is_reconciled=self.is_reconciled,
        )


@attrs.define(eq=False, repr=False)
class Call:
    """One call while it runs: what has happened so far, for whoever has to report it."""

    operation: Operation[Any]
    options: CallOptions
    config: Config
    started: float
    priority: Priority
    sought: Sought | None = None
    attempts: list[Attempt] = attrs.field(factory=list[Attempt])
    in_flight: Delivery = Delivery.NEVER_SENT
    first_sent: float | None = None
    doubt: MuxError | None = None
    """What left the outcome of an attempt unknown, until it is known."""
    was_in_doubt: bool = False
    """Whether there was such an attempt, and what it would have made was not found."""

    def elapsed(self) -> float:
        """Return the seconds since the first attempt."""
        return 0.0 if self.first_sent is None else self.config.clock() - self.first_sent

    def epoch(self) -> float:
        """Return the seconds since 1970."""
        return self.config.epoch()

    def describe(self, error: MuxError) -> MuxError:
        """Fill in what every error of a call carries."""
        error.attempts = tuple(self.attempts)
        error.operation = self.operation.line
        if self.was_in_doubt and _DOUBT_NOTE not in getattr(error, "__notes__", ()):
            error.add_note(_DOUBT_NOTE)
        return error
