"""File objects that the caller opened: of the standard library, async libraries, web frameworks, or the caller's own classes.

Their behaviour is tested before an upload is created:

1. No blocking method is called in the event loop. Coroutine functions are called there, everything else in a worker thread.
2. ``None`` from ``read`` means "no data yet" (see `io.RawIOBase.read`), never the end. The end is an empty result.
3. A file can seek if it seeks to its end and back, and gives the same bytes twice. Otherwise it is read once, like a pipe.
"""

from __future__ import annotations

import inspect
import io
import select
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread

from mux_async.errors import InvalidRequestError, UploadError
from mux_async.uploads._reader import Reader, empty_source_error, read_at, read_error, source_error
from mux_async.uploads._stream import NotBytesError, StreamReader, as_bytes, not_readable_error

READ_SIZE = 256 * 1024
NO_DATA_TIMEOUT = 60.0
"""Seconds for which a file without a file descriptor may return ``None`` ("no data yet") in a row."""
_MIN_PAUSE, _MAX_PAUSE = 0.001, 0.25
_POLL_TIMEOUT = 1.0
"""Seconds that a thread waits for a file descriptor at once. A cancelled upload leaves a thread behind for no longer."""


class FileObject:
    """Calls the methods of a file, plain or asynchronous: *read*, which takes a number of bytes, ``seek``, ``tell`` and ``fileno``."""

    def __init__(self, file: object, read: Callable[[int], Any], *, no_data_timeout: float = NO_DATA_TIMEOUT) -> None:
        self._file: Any = file
        self._read = read
        self._no_data_timeout = no_data_timeout
        self.is_async = inspect.iscoroutinefunction(read)
        """Whether *read* must be awaited."""
        self._waited = 0.0
        self._pause = _MIN_PAUSE

    def seek(self, position: int) -> None:
        """Go to *position*. Blocks."""
        self._file.seek(position)

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes (unusual files return more); empty at the end. Blocks until there are any."""
        while (found := self._try_to_read(size)) is None:
            pass
        return self._received(found)

    async def aseek(self, position: int, whence: int = io.SEEK_SET) -> None:
        """Go to *position*. Awaits the method, or calls it in a thread."""
        await self._call(self._file.seek, *((position,) if whence == io.SEEK_SET else (position, whence)))

    async def atell(self) -> int:
        """Return the position. Raises `TypeError` if the file does not return one."""
        position = await self._call(self._file.tell)
        if not isinstance(position, int):
            raise TypeError(f"tell() returned {type(position).__name__}")
        return position

    async def aread(self, size: int, *, may_abandon: bool = False) -> bytes:
        """Same as `read`, awaited or in a thread. With *may_abandon* cancellation leaves a thread that waits in ``read`` behind."""
        while True:
            found: object
            if self.is_async:
                found = await self._read(size)
                if found is None:
                    await anyio.sleep(self._next_pause())
            else:
                found = await _in_thread(self._try_to_read, size, may_abandon=may_abandon)
                if inspect.isawaitable(found):  # `read` is a plain function that returns a coroutine
                    self.is_async = True
                    found = await found
            if found is not None:
                return self._received(found)

    async def can_seek(self) -> bool:
        """Return what the file's ``seekable`` returns; ``True`` for files without that method."""
        try:
            return bool(await self._call(self._file.seekable))
        except AttributeError:
            return True
        except Exception:  # noqa: BLE001 - any error means that it cannot seek
            return False

    async def _call(self, method: Callable[..., Any], *args: object) -> Any:
        if inspect.iscoroutinefunction(method):
            return await method(*args)
        found = await _in_thread(method, *args)
        return await found if inspect.isawaitable(found) else found

    def _try_to_read(self, size: int) -> object:
        """Return what the file's ``read`` returns. If that is ``None``, wait first, for about `_POLL_TIMEOUT` seconds at most."""
        found = self._read(size)
        if found is None and self._is_readable():
            time.sleep(self._next_pause())
        return found

    def _received(self, found: object) -> bytes:
        self._waited, self._pause = 0.0, _MIN_PAUSE
        return as_bytes(found)

    def _is_readable(self) -> bool:
        """Wait for the file descriptor; ``True`` if it is ready, or there is none to wait for."""
        try:
            descriptor = self._file.fileno()
            waiter = select.poll()
            waiter.register(descriptor, select.POLLIN)
            return bool(waiter.poll(_POLL_TIMEOUT * 1000))
        except Exception:  # noqa: BLE001 - no file descriptor, or a system without poll
            return True

    def _next_pause(self) -> float:
        if self._waited >= self._no_data_timeout:
            raise TimeoutError(f"it returned no data and no end for {self._no_data_timeout:g} s")
        pause = self._pause
        self._waited += pause
        self._pause = min(2 * pause, _MAX_PAUSE)
        return pause


async def _in_thread(method: Callable[..., object], *args: object, may_abandon: bool = False) -> Any:
    """Call *method* in a worker thread. The result is wrapped there, since trio accepts no coroutine from a thread."""

    def call() -> tuple[object]:
        return (method(*args),)

    return (await anyio.to_thread.run_sync(call, abandon_on_cancel=may_abandon))[0]


class FileObjectReader(Reader):
    """A file that the caller opened, from its current position to its end. It is not closed.

    The first `prepare` decides whether the file can seek (`SeekableReader`) or is read once (`StreamReader`, with *length*).
    """

    label = "the file"

    def __init__(self, file: FileObject, length: int | None) -> None:
        self.size = None
        self._file = file
        self._length = length
        self._reader: Reader | None = None

    async def prepare(self, offset: int, length: int) -> None:
        """Test on the first call what the file can do."""
        if self._reader is None:
            self._reader = reader = await self._probe()
            await reader.prepare(0, 0)
            self.size, self.label = reader.size, reader.label
            self.is_in_memory, self.is_async, self.is_read_once = reader.is_in_memory, reader.is_async, reader.is_read_once
        await self._reader.prepare(offset, length)

    def read_blocking(self, offset: int, length: int) -> bytes:
        """Read that range."""
        return self._opened.read_blocking(offset, length)

    async def read(self, offset: int, length: int) -> bytes:
        """Read that range."""
        return await self._opened.read(offset, length)

    def read_nowait(self, offset: int, length: int) -> bytes | memoryview | None:
        """Read that range of the prepared chunk."""
        return self._opened.read_nowait(offset, length)

    def read_stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces as they arrive."""
        return self._opened.read_stream()

    async def aclose(self) -> None:
        """Stop reading; the file stays open."""
        if self._reader is not None:
            await self._reader.aclose()

    @property
    def _opened(self) -> Reader:
        if self._reader is None:
            raise RuntimeError("call prepare() first")
        return self._reader

    async def _probe(self) -> Reader:
        file = self._file
        bounds = await self._bounds()
        if bounds is None:
            return StreamReader(_read_forward(file), self._length, label="the pipe")
        start, end = bounds
        beginning = await self._try(file.aread, READ_SIZE)
        if end <= start:
            if not beginning:
                raise empty_source_error("the file, from its current position on,")
            return StreamReader(_read_forward(file, beginning), self._length, label="the pipe")  # its seek() has no effect
        await self._try(file.aseek, start)
        again = await self._try(file.aread, READ_SIZE)
        common = min(len(beginning), len(again))
        if not common or beginning[:common] != again[:common]:
            raise InvalidRequestError(
                "the file gives different bytes after seek(), so it could not be sent again after a broken connection;"
                " pass an async iterator of its bytes"
            )
        return SeekableReader(file, start, end)

    async def _bounds(self) -> tuple[int, int] | None:
        """Return the file's position and its end; ``None`` if it cannot seek. Its position is unchanged then, or an error is raised."""
        file = self._file
        if not await file.can_seek():
            return None
        try:
            start = await file.atell()
        except Exception:  # noqa: BLE001 - any error means that it cannot seek
            return None
        end = None
        with suppress(Exception):  # it cannot seek, unless its position has changed
            await file.aseek(0, io.SEEK_END)
            end = await file.atell()
        try:
            if await file.atell() != start:
                await file.aseek(start)
            if (position := await file.atell()) != start:
                raise OSError(f"seek() led to byte {position}")
        except Exception as error:
            raise InvalidRequestError(
                f"the file cannot seek back to its position, byte {start} ({str(error) or type(error).__name__}):"
                " pass an async iterator of its bytes"
            ) from error
        return None if end is None else (start, end)

    async def _try(self, method: Callable[..., Any], *args: object) -> Any:
        try:
            return await method(*args)
        except NotBytesError as error:
            raise InvalidRequestError(str(error)) from None
        except Exception as error:
            raise not_readable_error("file", error) from error


class SeekableReader(Reader):
    """A file that can seek, from *start* to *end*."""

    label = "the file"

    def __init__(self, file: FileObject, start: int, end: int) -> None:
        self._file = file
        self._start = start
        self.size = end - start
        self.is_async = file.is_async

    def read_blocking(self, offset: int, length: int) -> bytes:
        """Read that range."""
        return self._checked(read_at(self._file, self._start + offset, length, self.label), length)

    async def read(self, offset: int, length: int) -> bytes:
        """Read that range."""
        pieces: list[bytes] = []
        missing = length
        try:
            await self._file.aseek(self._start + offset)
            while missing > 0 and (piece := await self._file.aread(missing)):
                pieces.append(piece)
                missing -= len(piece)
        except UploadError:
            raise
        except Exception as error:
            raise read_error(self.label, self._start + offset, error) from error
        return self._checked(b"".join(pieces)[:length], length)

    def _checked(self, data: bytes, length: int) -> bytes:
        if len(data) < length:
            raise source_error("the file became shorter while it was being uploaded; upload it again")
        return data


async def _read_forward(file: FileObject, beginning: bytes = b"") -> AsyncIterator[bytes]:
    """Yield the pieces of a file that cannot seek. Closing leaves a thread that waits in ``read`` behind."""
    if beginning:
        yield beginning
    while data := await file.aread(READ_SIZE, may_abandon=True):
        yield data
