"""What a call can give back besides the value itself: the answer around it, or its bytes as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from mux_async.errors import Attempt

T = TypeVar("T", covariant=True)


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
