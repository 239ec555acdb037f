"""Sources that can be read only once: async iterators, iterators, pipes.

The current chunk is kept, so that it can be sent again; nothing keeps more.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from mux_async.errors import InvalidRequestError, MuxError, UploadError
from mux_async.uploads._reader import Reader, refuse_empty

_CLOSING_TIME = 5.0


class NotBytesError(TypeError):
    """A source gave something that is not bytes; the text says what to do."""


def as_bytes(found: object) -> bytes:
    """Return a copy of what a source gave; bytes as they are. A source may use other memory again for what comes next.

    Raises:
        NotBytesError: It is text, a number, or anything else without bytes.
    """
    if isinstance(found, bytes):
        return found
    if isinstance(found, str):
        raise NotBytesError("the source is text, and an upload is made of bytes: open the file with mode 'rb'")
    try:
        return memoryview(found).tobytes()  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - what is found out here
    except (TypeError, ValueError, BufferError):
        raise NotBytesError(f"the source gives {type(found).__name__}, and an upload is made of bytes") from None


def unreadable(label: str, error: Exception) -> InvalidRequestError:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return InvalidRequestError(f"the {label} cannot be read ({reason}): open it for reading, and keep it open")


async def iterate_async(source: object) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of an async iterable; close it at the end, if it can be.

    Raises:
        NotBytesError: A piece is not made of bytes.
        TypeError: It is no async iterable after all.
    """
    begin: Any = getattr(source, "__aiter__", None)
    pieces: Any = begin()
    if not isinstance(cast("object", pieces), AsyncIterator):
        if inspect.iscoroutine(pieces):
            pieces.close()
        raise TypeError(f"__aiter__ returned {type(pieces).__name__}, which is no async iterator")
    try:
        async for piece in pieces:
            yield as_bytes(piece)
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


async def iterate(source: Iterator[object]) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of an iterator, which is called in worker threads.

    Raises:
        NotBytesError: A piece is not made of bytes.
    """
    end = object()
    while (piece := await anyio.to_thread.run_sync(next, source, end, abandon_on_cancel=True)) is not end:
        yield as_bytes(piece)


class StreamReader(Reader):
    """Bytes that come piece by piece, once.

    With a known length, the current chunk is kept until the server has it, so it can be sent again. Without one, the end shows
    only when it is there: the bytes go out in one request as they come, nothing is kept, and nothing can be sent again.

    Args:
        pieces: Closed at the end, if it is a generator.
        length: Bytes in all, if known.
        label: Names it in messages.
    """

    is_at_hand = True
    is_read_once = True

    def __init__(self, pieces: AsyncIterator[bytes], length: int | None, *, label: str = "the stream") -> None:
        self.label = label
        self.size = length
        if length is not None and length < 1:
            raise refuse_empty(label)
        self._pieces = pieces
        self._start = 0
        self._window = bytearray()
        self._is_begun = False

    async def prepare(self, offset: int, length: int) -> None:
        """Read on until the chunk is in memory, and forget what lies before it. Waits for a first piece at the first call."""
        if not self._is_begun:
            await self._begin()
        if offset < self._start:
            raise UploadError(
                f"the server holds less than it did, and {self.label} cannot be read again from byte {offset}",
                upload_id=None,
                sent=offset,
                resumable=False,
            )
        wanted = offset + length
        while self._start + len(self._window) < wanted:
            piece = await self._next()
            if piece is None:
                raise self._wrong_length("ended", self._start + len(self._window))
            self._window += piece
            self._forget(offset)
        self._forget(offset)
        if wanted == self.size:
            await self._expect_end(wanted)

    async def _begin(self) -> None:
        try:
            piece = await anext_filled(self._pieces)
        except NotBytesError as error:
            raise InvalidRequestError(str(error)) from None
        except MuxError:
            raise
        except Exception as error:
            raise unreadable(self.label.removeprefix("the "), error) from error
        if piece is None:
            raise refuse_empty(self.label)
        self._window += piece
        self._is_begun = True

    async def _next(self) -> bytes | None:
        """Return the next piece; ``None`` at the end."""
        try:
            return await anext_filled(self._pieces)
        except MuxError:
            raise
        except Exception as error:
            raise UploadError(
                f"{self.label} could not be read on ({str(error) or type(error).__name__}); upload it anew",
                upload_id=None,
                sent=0,
                resumable=False,
            ) from error

    async def _expect_end(self, wanted: int) -> None:
        if self._start + len(self._window) > wanted:
            raise self._wrong_length("went on", self._start + len(self._window))
        if more := await self._next():
            raise self._wrong_length("went on", wanted + len(more))

    def _forget(self, offset: int) -> None:
        if dropped := min(offset - self._start, len(self._window)):
            del self._window[:dropped]
            self._start += dropped

    def _wrong_length(self, what: str, found: int) -> UploadError:
        return UploadError(
            f"{self.label} was said to have {self.size} bytes and {what} after {found}; pass its true length",
            upload_id=None,
            sent=0,
            resumable=False,
        )

    def read_at_once(self, offset: int, length: int) -> bytes:
        """Return a copy of a part of what `prepare` got ready."""
        first = offset - self._start
        with memoryview(self._window) as window, window[first : first + length] as part:
            return bytes(part)

    def read_now(self, offset: int, length: int) -> bytes:
        """Return a copy of a part of what `prepare` got ready."""
        return self.read_at_once(offset, length)

    async def aclose(self) -> None:
        """Close the iterator, if it can be: nothing else will read it to its end."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            with anyio.move_on_after(_CLOSING_TIME, shield=True):  # so that its clean-up is not cut short by our cancellation
                await close()

    async def drain(self) -> AsyncIterator[bytes]:
        """Yield the pieces as they come."""
        if self._window:
            yield bytes(self._window)
            self._window.clear()
        while piece := await self._next():
            yield piece


async def anext_filled(pieces: AsyncIterator[bytes]) -> bytes | None:
    """Return the next piece with anything in it; ``None`` at the end."""
    async for piece in pieces:
        if piece:
            return piece
        await anyio.lowlevel.checkpoint()  # a stream of nothing must not hold up the event loop
    return None
