"""Sources that can be read only once: async iterators, iterators, pipes.

Only the current chunk is kept, so that it can be sent again.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from mux_async.errors import InvalidRequestError, MuxError, UploadError
from mux_async.uploads._reader import Reader, empty_source_error, source_error

_CLOSE_TIMEOUT = 5.0


class NotBytesError(TypeError):
    """A source gave something other than bytes; the message says what to do."""


def as_bytes(found: object) -> bytes:
    """Return bytes as they are, and a copy of any other buffer, which may be reused; raise `NotBytesError` for anything else."""
    if isinstance(found, bytes):
        return found
    if isinstance(found, str):
        raise NotBytesError("the source is text, and an upload is made of bytes: open the file with mode 'rb'")
    try:
        return memoryview(found).tobytes()  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - checked by this call
    except (TypeError, ValueError, BufferError):
        raise NotBytesError(f"the source gives {type(found).__name__}, and an upload is made of bytes") from None


def not_readable_error(label: str, error: Exception) -> InvalidRequestError:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return InvalidRequestError(f"the {label} cannot be read ({reason}): open it for reading, and keep it open")


async def iterate_async(source: object) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of an async iterable; close it at the end, if it has ``aclose``. Raises `NotBytesError`."""
    begin: Any = getattr(source, "__aiter__", None)
    pieces: Any = begin()
    if not isinstance(cast("object", pieces), AsyncIterator):
        if inspect.iscoroutine(pieces):
            pieces.close()
        raise TypeError(f"__aiter__ returned {type(pieces).__name__}, which is not an async iterator")
    try:
        async for piece in pieces:
            yield as_bytes(piece)
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


async def iterate(source: Iterator[object]) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of an iterator, which runs in worker threads. Raises `NotBytesError`."""
    end = object()
    while (piece := await anyio.to_thread.run_sync(next, source, end, abandon_on_cancel=True)) is not end:
        yield as_bytes(piece)


class StreamReader(Reader):
    """A stream of bytes that can be read once.

    With a known length, the current chunk is kept until the server has it, so that it can be sent again. Without one, the bytes are sent
    in one request as they arrive; nothing is kept, and nothing can be sent again. *label* names it in messages.
    """

    is_in_memory = True
    is_read_once = True

    def __init__(self, pieces: AsyncIterator[bytes], length: int | None, *, label: str = "the stream") -> None:
        self.label = label
        self.size = length
        if length is not None and length < 1:
            raise empty_source_error(label)
        self._pieces = pieces
        self._start = 0
        self._window = bytearray()
        self._is_begun = False

    async def prepare(self, offset: int, length: int) -> None:
        """Read until the chunk is in memory, and drop the bytes before it. The first call waits for the first piece."""
        if not self._is_begun:
            await self._begin()
        if offset < self._start:
            message = f"the server lost bytes that it had confirmed, and {self.label} cannot be read again from byte {offset}"
            raise source_error(message, sent=offset)
        wanted = offset + length
        while self._start + len(self._window) < wanted:
            piece = await self._next()
            if piece is None:
                raise self._length_error("ended", self._start + len(self._window))
            self._window += piece
            self._forget(offset)
        self._forget(offset)
        if wanted == self.size:
            await self._expect_end(wanted)

    async def _begin(self) -> None:
        try:
            piece = await next_nonempty(self._pieces)
        except NotBytesError as error:
            raise InvalidRequestError(str(error)) from None
        except MuxError:
            raise
        except Exception as error:
            raise not_readable_error(self.label.removeprefix("the "), error) from error
        if piece is None:
            raise empty_source_error(self.label)
        self._window += piece
        self._is_begun = True

    async def _next(self) -> bytes | None:
        """Return the next piece; ``None`` at the end."""
        try:
            return await next_nonempty(self._pieces)
        except MuxError:
            raise
        except Exception as error:
            raise source_error(
                f"{self.label} could not be read further ({str(error) or type(error).__name__}); start a new upload"
            ) from error

    async def _expect_end(self, wanted: int) -> None:
        if self._start + len(self._window) > wanted:
            raise self._length_error("went on", self._start + len(self._window))
        if more := await self._next():
            raise self._length_error("went on", wanted + len(more))

    def _forget(self, offset: int) -> None:
        if dropped := min(offset - self._start, len(self._window)):
            del self._window[:dropped]
            self._start += dropped

    def _length_error(self, what: str, found: int) -> UploadError:
        return source_error(f"{self.label} should have {self.size} bytes and {what} after {found}; pass its true length")

    def read_nowait(self, offset: int, length: int) -> bytes:
        """Return a copy of a range of the prepared chunk."""
        first = offset - self._start
        with memoryview(self._window) as window, window[first : first + length] as part:
            return bytes(part)

    def read_blocking(self, offset: int, length: int) -> bytes:
        """Return a copy of a range of the prepared chunk."""
        return self.read_nowait(offset, length)

    async def aclose(self) -> None:
        """Close the iterator, if it has ``aclose``."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):  # our cancellation must not cut its clean-up short
                await close()

    async def read_stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces as they arrive."""
        if self._window:
            yield bytes(self._window)
            self._window.clear()
        while piece := await self._next():
            yield piece


async def next_nonempty(pieces: AsyncIterator[bytes]) -> bytes | None:
    """Return the next piece that is not empty; ``None`` at the end."""
    async for piece in pieces:
        if piece:
            return piece
        await anyio.lowlevel.checkpoint()  # a stream of empty pieces must not block the event loop
    return None
