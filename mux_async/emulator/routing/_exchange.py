"""Requests whose bodies arrive in pieces, and the sinks that take the bodies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from mux_async.emulator.faults._faults import Fault
from mux_async.emulator.http._messages import ApiError, Request, Response
from mux_async.limits import Bucket


@attrs.frozen
class Arrival:
    """One request that arrived.

    Attributes:
        at: Epoch seconds of its arrival.
        method: HTTP verb.
        path: Without the query, which may hold signatures.
        bucket: What it was counted against; ``None`` for uploads, playback, and requests without a valid token.
        status: Of the answer; ``None`` when the connection broke first.
        environment: Name of the token's environment; ``None`` when there was no valid token.
    """

    at: float
    method: str
    path: str
    bucket: Bucket | None
    status: int | None
    environment: str | None


class ConnectionCutError(Exception):
    """A fault broke the connection, so there is no answer. Raised by `Emulator.handle` only."""


class Sink(Protocol):
    """What takes the body of a request."""

    def feed(self, data: bytes, /) -> None:
        """Take bytes of the body."""
        ...

    def finish(self) -> Response:
        """Return the response after the end of the body, or raise it as `ApiError`."""
        ...

    def cut(self) -> None:
        """The connection broke before the body ended."""
        ...


class BodyCollector:
    """Collects a body up to a limit, and responds with a function of it."""

    def __init__(self, limit: int, answer: Callable[[bytes], Response]) -> None:
        self._body = bytearray()
        self._limit = limit
        self._answer = answer

    def feed(self, data: bytes) -> None:
        if len(self._body) <= self._limit:
            self._body += data

    def finish(self) -> Response:
        if len(self._body) > self._limit:
            raise ApiError(413, "invalid_parameters", f"The request body is larger than {self._limit} bytes")
        return self._answer(bytes(self._body))

    def cut(self) -> None:
        self._body.clear()


class BodyDiscarder:
    """Ignores a body, and returns the response that the head determined."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def feed(self, data: bytes) -> None:
        del data

    def finish(self) -> Response:
        return self._response

    def cut(self) -> None:
        pass


@attrs.frozen
class Reply:
    """What a frontend sends at the end of a request.

    Attributes:
        response: The response; ``None`` closes the connection instead.
        delay: Seconds to wait before either.
        truncate: Bytes of the body to send before breaking the connection; ``None`` sends all and keeps it.
    """

    response: Response | None
    delay: float = 0.0
    truncate: int | None = None


class ExchangeOwner(Protocol):
    """The part of an `Emulator` that an exchange needs."""

    def settle(self, request: Request, sink: Sink, headers: dict[str, str], /) -> Response:
        """Return the response of *sink* to *request*."""
        ...

    def record(self, request: Request, arrival: Arrival, /) -> None:
        """Log a request that ended."""
        ...


@attrs.define(eq=False)
class Exchange:
    """One request being received. Ends with `finish` or `cut`, whichever is first; the other has no effect then."""

    _emulator: ExchangeOwner
    _request: Request
    _sink: Sink
    _fault: Fault | None
    _arrival: Arrival
    _headers: dict[str, str]
    _fed: int = 0
    _ended: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether a fault asks that the connection is not even made."""
        return self._fault is not None and self._fault.cut == "refuse"

    def feed(self, data: bytes) -> bool:
        """Take bytes of the body, in order.

        Returns:
            ``False`` if a fault breaks the connection here: call `finish` next.
        """
        fault = self._fault
        if fault is None or fault.cut != "before" or fault.after_bytes is None:
            self._sink.feed(data)
            return True
        self._sink.feed(data[: max(0, fault.after_bytes - self._fed)])
        self._fed += len(data)
        return self._fed < fault.after_bytes

    def finish(self) -> Reply:
        """Process the request after its body ended, unless a fault prevents that, and return what to send."""
        fault = self._fault
        if fault is not None and fault.cut in {"refuse", "before"}:
            self.cut()
            return Reply(None, fault.delay)
        answer = None if fault is None else fault.response()
        if fault is None or answer is None or fault.acts:
            own = self._emulator.settle(self._request, self._sink, self._headers)
            answer = own if answer is None else answer
        else:
            self._sink.cut()
        if fault is None:
            self._end(answer.status)
            return Reply(answer)
        self._end(None if fault.cut == "after" else answer.status)
        return Reply(None if fault.cut == "after" else answer, fault.delay, fault.truncate)

    def cut(self) -> None:
        """End the exchange because the connection broke: an incomplete body is not processed."""
        if not self._ended:
            self._sink.cut()
            self._end(None)

    def _end(self, status: int | None) -> None:
        if not self._ended:
            self._ended = True
            self._emulator.record(self._request, attrs.evolve(self._arrival, status=status))
