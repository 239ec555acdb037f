"""Bodies of answers: read within a bound, and decompressed within it too.

A few kilobytes of gzip can unfold to gigabytes, and gigabytes of it to nothing. So the bound counts what goes into the decompressor as
well as what comes out, which is never asked for more than is still allowed. What lies between the pieces of a body (heads, chunk sizes,
trailers) is the transport's to bound (`mux_async.transport.FRAMING_ALLOWANCE`).
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterator
from io import BytesIO
from typing import TYPE_CHECKING

from anyio import CancelScope
from multidict import istr

from mux_async.errors import ResponseTooLargeError, UndecodableResponseError

if TYPE_CHECKING:
    from mux_async.transport import HttpResponse

ACCEPT_ENCODING = "gzip, deflate"
ENCODING = istr("Content-Encoding")

_PIECE = 256 * 1024
_SLICE = 16 * 1024
"""Bytes handed to zlib at a time: it copies what it has not used, once for each piece and for each member of gzip."""
_WASTE = 8
"""Bytes that a compression may take for each byte of content: a server that flushes after every byte needs that many."""
_WASTE_ALLOWANCE = 256 * 1024
"""Bytes that it may take beyond that."""
_HEADS = 256 * 1024
"""Bytes that a compressed body may be longer than its bound: gzip cannot shrink what is random, and has a head and a checksum."""
_HELD = 8 * 1024 * 1024
"""Bytes of decompressed content that are held before it is known that the whole is within the bound."""


class _Decoder:
    """Undoes the compression of one body, a bounded piece at a time. What is broken, or was not asked for, is an error."""

    def __init__(self, response: HttpResponse, encoding: str) -> None:
        self._response = response
        self._encoding = encoding
        # Some servers send "deflate" without the zlib header it should have; the first two bytes tell.
        self._is_undecided = encoding == "deflate"
        self._head = b""
        self._wbits = zlib.MAX_WBITS | 16  # 16: gzip's framing
        self._inner = zlib.decompressobj(self._wbits)
        self.taken = 0
        """Bytes fed so far."""
        self._allowed = _WASTE_ALLOWANCE

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what *data* unfolds to, in pieces of at most 256 KiB."""
        if data and self._encoding not in {"gzip", "x-gzip", "deflate"}:
            raise _undecodable(self._response, f"the answer is compressed as {self._encoding!r:.40}, which was not asked for")
        self.taken += len(data)
        if self._is_undecided:
            self._head += data
            if len(self._head) < 2:
                return
            data, self._is_undecided = self._head, False
            has_header = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0  # RFC 1950, section 2.2
            self._wbits = zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
            self._inner = zlib.decompressobj(self._wbits)
        for start in range(0, len(data), _SLICE):
            part = data[start : start + _SLICE]
            self._allowed -= len(part)
            while part:
                if self._inner.eof:  # another gzip member follows
                    self._inner = zlib.decompressobj(self._wbits)
                try:
                    piece = self._inner.decompress(part, _PIECE)
                except zlib.error as error:
                    raise _undecodable(self._response, f"the answer's {self._encoding} compression is broken") from error
                if piece:
                    self._allowed += _WASTE * len(piece)
                    yield piece
                part = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
            if self._allowed < 0:
                raise _too_large(
                    self._response, f"the answer's {self._encoding} compression is longer than what it holds by far"
                )

    def finish(self) -> None:
        """Make sure that nothing is missing at the end."""
        if self.taken and not self._inner.eof:
            raise _undecodable(self._response, f"the answer's {self._encoding} compression ends too early")


def _decoder(response: HttpResponse) -> _Decoder | None:
    encoding = response.headers.get(ENCODING)
    if encoding is None:
        return None
    encoding = encoding.strip().lower()
    return None if encoding in {"", "identity"} else _Decoder(response, encoding)


async def iter_content(response: HttpResponse) -> AsyncGenerator[bytes]:
    """Yield the body of *response*, decompressed, in pieces of at most 256 KiB when it was compressed, and close it.

    Raises:
        UndecodableResponseError: The compression is unknown or broken.
        ResponseTooLargeError: There is more than is allowed, or it takes more bytes than can be for what it holds.
        TransportError: The body broke off.
    """
    try:
        decoder = _decoder(response)
        async for chunk in response.body:
            if decoder is None:
                yield chunk
            else:
                for piece in decoder.feed(chunk):
                    yield piece
        if decoder is not None:
            decoder.finish()
    finally:
        await response.body.aclose()


async def read_content(response: HttpResponse, limit: int, whole: bytes | None = None) -> bytes:
    """Read the whole body of *response*, decompressed, and close it. It raises what `iter_content` does.

    Args:
        response: Whose body was not read yet.
        limit: Bytes at most, counted before decompression (with a little more for its framing) and after it.
        whole: The body, if it was taken already (`mux_async.transport.WholeBody`).
    """
    content = _Content(response, limit)
    if whole is not None:
        content.add(whole)
        return content.end()
    try:
        async for chunk in response.body:
            content.add(chunk)
        return content.end()
    finally:
        with CancelScope(shield=True):  # closing is short, and by now the answer is there
            await response.body.aclose()


class _Buffer:
    """Bytes that are put together. Pieces of any size take no more memory than their bytes do, and the whole is not copied at the end."""

    __slots__ = ("_first", "_rest")

    def __init__(self) -> None:
        self._first = b""
        self._rest: BytesIO | None = None

    def add(self, piece: bytes) -> None:
        if self._rest is not None:
            self._rest.write(piece)
        elif self._first:
            self._rest = BytesIO()
            self._rest.write(self._first)
            self._rest.write(piece)
        else:
            self._first = piece  # most bodies are one piece

    def take(self) -> bytes:
        """Return everything."""
        return self._first if self._rest is None else self._rest.getvalue()


class _Content:
    """A body that is put together, and decompressed, as far as its bound allows.

    Only `_HELD` bytes of what a compression unfolds to are held before its end. Where there are more, they are counted and given up, and
    made anew once it is known that all of them are within the bound: what is compressed is the smaller by far where it matters.
    """

    def __init__(self, response: HttpResponse, limit: int) -> None:
        self._response = response
        self._limit = limit
        self._decoder = _decoder(response)
        self._whole: _Buffer | None = _Buffer()
        """What came out; ``None`` from the moment that it is only counted."""
        self._compressed = _Buffer()
        self._total = 0

    def add(self, chunk: bytes) -> None:
        if self._decoder is None:
            self._count(chunk)
            return
        if self._decoder.taken + len(chunk) > self._limit + _HEADS:
            raise self._too_large("before decompression")
        if self._limit > _HELD:
            self._compressed.add(chunk)
        for piece in self._decoder.feed(chunk):
            self._count(piece)
            if self._limit > _HELD and self._total > _HELD:
                self._whole = None

    def _count(self, piece: bytes) -> None:
        self._total += len(piece)
        if self._total > self._limit:
            raise self._too_large()
        if self._whole is not None:
            self._whole.add(piece)

    def _too_large(self, where: str = "") -> ResponseTooLargeError:
        self._whole, self._compressed = None, _Buffer()  # a traceback keeps this object
        bound = f"{self._limit} bytes{where and ' ' + where}"
        return _too_large(self._response, f"the answer is larger than {bound}; raise max_response_bytes if it should be")

    def end(self) -> bytes:
        if self._decoder is not None:
            self._decoder.finish()
        if self._whole is not None:
            return self._whole.take()
        whole, decoder = _Buffer(), _decoder(self._response)
        assert decoder is not None  # noqa: S101 - there was one a moment ago
        for piece in decoder.feed(self._compressed.take()):
            whole.add(piece)
        return whole.take()


def _too_large(response: HttpResponse, message: str) -> ResponseTooLargeError:
    return ResponseTooLargeError(message, status=response.status, request_id=response.headers.get("X-Request-Id"))


def _undecodable(response: HttpResponse, message: str) -> UndecodableResponseError:
    return UndecodableResponseError(message, status=response.status, request_id=response.headers.get("X-Request-Id"))
