"""Bodies of answers: read within a bound, and decompressed within it too.

A few kilobytes of gzip can unfold to gigabytes, so the bound counts what comes out, and the decompressor is never asked for more than
is still allowed.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING

from anyio import CancelScope
from multidict import istr

from mux_async.errors import ResponseTooLargeError, UndecodableResponseError

if TYPE_CHECKING:
    from mux_async.transport import HttpResponse

ACCEPT_ENCODING = "gzip, deflate"
_ENCODING = istr("Content-Encoding")

_PIECE = 256 * 1024


class _Decoder:
    """Undoes the compression of one body, a bounded piece at a time.

    Raises:
        UndecodableResponseError: From `feed`: the compression is none that was asked for (an empty body has none), or is broken. From
            `finish`: it ends too early.
    """

    def __init__(self, response: HttpResponse, encoding: str) -> None:
        self._response = response
        self._encoding = encoding
        # Some servers send "deflate" without the zlib header it should have; the first two bytes tell.
        self._is_undecided = encoding == "deflate"
        self._held = b""
        self._wbits = zlib.MAX_WBITS | 16  # 16: gzip's framing
        self._inner = zlib.decompressobj(self._wbits)
        self._has_input = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what *data* unfolds to, in pieces of at most 256 KiB."""
        if data and self._encoding not in {"gzip", "x-gzip", "deflate"}:
            raise _undecodable(self._response, f"the answer is compressed as {self._encoding!r:.40}, which was not asked for")
        self._has_input = self._has_input or bool(data)
        if self._is_undecided:
            self._held += data
            if len(self._held) < 2:
                return
            data, self._is_undecided = self._held, False
            has_header = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0  # RFC 1950, section 2.2
            self._wbits = zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
            self._inner = zlib.decompressobj(self._wbits)
        while data:
            try:
                piece = self._inner.decompress(data, _PIECE)
            except zlib.error as error:
                raise _undecodable(self._response, f"the answer's {self._encoding} compression is broken") from error
            if piece:
                yield piece
            if not self._inner.eof:
                data = self._inner.unconsumed_tail
            elif data := self._inner.unused_data:  # another gzip member follows
                self._inner = zlib.decompressobj(self._wbits)

    def finish(self) -> None:
        """Make sure that nothing is missing at the end."""
        if self._has_input and not self._inner.eof:
            raise _undecodable(self._response, f"the answer's {self._encoding} compression ends too early")


def _decoder(response: HttpResponse) -> _Decoder | None:
    encoding = response.headers.get(_ENCODING)
    if encoding is None:
        return None
    encoding = encoding.strip().lower()
    return None if encoding in {"", "identity"} else _Decoder(response, encoding)


async def iter_content(response: HttpResponse) -> AsyncGenerator[bytes]:
    """Yield the body of *response*, decompressed, in pieces of at most 256 KiB when it was compressed, and close it.

    Raises:
        UndecodableResponseError: The compression is unknown or broken.
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


def take_content(response: HttpResponse, limit: int) -> bytes | None:
    """Return the whole body of *response*, decompressed, if it is there already; ``None`` when it has to be awaited (`read_content`).

    Args:
        response: Whose body was not read yet.
        limit: Bytes at most, counted after decompression.

    Raises:
        ResponseTooLargeError: There are more.
        UndecodableResponseError: The compression is unknown or broken.
    """
    take = getattr(response.body, "take_whole", None)
    whole: bytes | None = take() if take is not None else None
    if whole is None or (len(whole) <= limit and _ENCODING not in response.headers):
        return whole
    content = _Content(response, limit)
    content.add(whole)
    return content.end()


async def read_content(response: HttpResponse, limit: int) -> bytes:
    """Read the whole body of *response*, decompressed, and close it. Arguments and errors as for `take_content`, and:

    Raises:
        TransportError: The body broke off.
    """
    content = _Content(response, limit)
    try:
        async for chunk in response.body:
            content.add(chunk)
        return content.end()
    finally:
        with CancelScope(shield=True):  # closing is short, and by now the answer is there
            await response.body.aclose()


class _Content:
    """A body that is put together, and decompressed, as far as its bound allows."""

    def __init__(self, response: HttpResponse, limit: int) -> None:
        self._response = response
        self._limit = limit
        self._decoder = _decoder(response)
        self._chunks: list[bytes] = []
        self._total = 0

    def add(self, chunk: bytes) -> None:
        for piece in [chunk] if self._decoder is None else self._decoder.feed(chunk):
            self._chunks.append(piece)
            self._total += len(piece)
            if self._total > self._limit:
                raise ResponseTooLargeError(
                    f"the answer is larger than {self._limit} bytes; raise max_response_bytes if it should be",
                    status=self._response.status,
                    request_id=self._response.headers.get("X-Request-Id"),
                )

    def end(self) -> bytes:
        if self._decoder is not None:
            self._decoder.finish()
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


def _undecodable(response: HttpResponse, message: str) -> UndecodableResponseError:
    return UndecodableResponseError(message, status=response.status, request_id=response.headers.get("X-Request-Id"))
