"""The attempts of a call and its answer, and what it can give back besides the value itself: the answer around it, or its bytes as they
come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from mux_async._classify import delivery_of
from mux_async.errors import Attempt, Delivery, MuxError, Phase, ResponseError, TransportError

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from mux_async.limits._limiter import Grant
    from mux_async.transport import HttpResponse

T = TypeVar("T", covariant=True)
V = TypeVar("V")

_NEVER_SENT, _MAYBE_PROCESSED = Delivery.NEVER_SENT, Delivery.MAYBE_PROCESSED


@attrs.frozen(repr=False, eq=False)
class RawResponse(Generic[T]):
    """A decoded value together with the answer it came in.

    Attributes:
        value: What the plain method would have returned.
        status: HTTP status.
        headers: Of the answer; case-insensitive.
        request_id: ``X-Request-Id``: what Mux's support asks for; ``None`` when the answer had none.
        attempts: Every time the request was sent; the last attempt got this answer.
        content: The body, decompressed.
        is_reconciled: Whether *value* was found by its ``once`` key, because the request's own answer got lost or another call had made
            it: then status, headers and request id are those of the answer that showed it, and *content* is what an answer of this
            call's own would have held.
    """

    value: T = attrs.field(repr=False)
    status: int
    headers: CIMultiDictProxy[str] = attrs.field(repr=False)
    request_id: str | None
    attempts: Sequence[Attempt]
    content: bytes = attrs.field(repr=False)
    is_reconciled: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        # A proxy of headers cannot be pickled; the pairs in it can.
        values = {field.name: getattr(self, field.name) for field in attrs.fields(RawResponse)}
        return _raw_response, ({**values, "headers": list(self.headers.items())},)

    def __repr__(self) -> str:
        attempts = len(self.attempts)
        # Of the value its type alone: a plain object shows all it holds, stream keys and signed URLs included.
        return f"<RawResponse {self.status} request_id={self.request_id!r} attempts={attempts} value=<{type(self.value).__name__}>>"


def _raw_response(values: dict[str, Any]) -> RawResponse[Any]:
    from multidict import CIMultiDict, CIMultiDictProxy

    headers: Any = CIMultiDictProxy(CIMultiDict(values.pop("headers")))
    return RawResponse(headers=headers, **values)


class ByteStream:
    """The body of an answer, read as it comes: ``async for chunk in stream``. Closed by the ``async with`` it came from."""

    def __init__(self, status: int, headers: CIMultiDictProxy[str], chunks: AsyncIterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


class Download:
    """Bytes to fetch: ``await`` it for all of them (bounded by ``max_response_bytes``), or ``stream()`` them.

    Nothing is sent before either.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[bytes]], open_stream: Callable[[], AbstractAsyncContextManager[ByteStream]]
    ) -> None:
        self._fetch = fetch
        self._open_stream = open_stream

    def __await__(self) -> Generator[Any, Any, bytes]:
        return self._fetch().__await__()

    def stream(self) -> AbstractAsyncContextManager[ByteStream]:
        """Open the answer and read it piece by piece.

        Returns:
            An ``async with`` whose value is a `ByteStream`. Leaving it early cuts the connection.
        """
        return self._open_stream()


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

    head_at: float = attrs.field(init=False)
    """When the head of an answer with an error status arrived. Not set for others: every call would pay for it."""

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

    def to_attempt(self, number: int, now: float, before: AttemptRecord | None) -> Attempt:
        """Return what users see of it; *before* is the attempt before it."""
        ended_at, error = self.ended_at, None if self.failure is None else str(self.failure)
        if ended_at is None:
            ended_at, error = now, "it was cut off while it was connecting" if self.is_unsent else "it was cut off"
        head_at: float | None = getattr(self, "head_at", None)
        phase = self.failure.phase if isinstance(self.failure, TransportError) else None
        if self.ended_at is None:
            phase = Phase.CONNECT if self.is_unsent else Phase.READ_HEAD if self.response is None else Phase.READ_BODY
        slept = 0.0 if before is None or before.ended_at is None else self.queued_at - before.ended_at
        head = None if head_at is None else head_at - self.sent_at
        queued, elapsed = self.sent_at - self.queued_at, ended_at - self.sent_at
        return Attempt(number, queued, elapsed, self.status, self.request_id, error, slept, head, phase, self.delivery)


def to_attempts(attempts: list[AttemptRecord], now: float = 0.0) -> tuple[Attempt, ...]:
    """Return what users see of the attempts of a call, at *now*."""
    before = [None, *attempts]
    return tuple(record.to_attempt(number, now, before[number - 1]) for number, record in enumerate(attempts, 1))


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

    def as_raw(self, value: V) -> RawResponse[V]:
        """Return *value* with this answer around it."""
        return RawResponse(
            value=value,
            status=self.response.status,
            headers=self.response.headers,
            request_id=self.response.headers.get("X-Request-Id"),
            attempts=to_attempts(self.attempts),
            content=self.content,
            is_reconciled=self.is_reconciled,
        )
