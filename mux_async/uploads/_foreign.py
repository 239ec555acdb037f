"""Files that the caller opened: of the standard library, of async libraries, of web frameworks, or of the caller's own making.

How they behave is found out before an upload is created, by using them:

1. No blocking method is called in the event loop. Coroutine functions are called there, everything else in a worker thread.
2. ``None`` from ``read`` means "nothing yet" (see `io.RawIOBase.read`), never the end. The end is an empty result.
3. A file can seek if it goes to its end and comes back, and gives the same bytes twice. Otherwise it is a pipe, read once.
"""

from __future__ import annotations

import inspect
import io
import select
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread

from mux_async.errors import InvalidRequestError, UploadError
from mux_async.uploads._reader import Reader, read_at, refuse_empty, unreadable_at
from mux_async.uploads._stream import NotBytesError, StreamReader, as_bytes, unreadable

READ_SIZE = 256 * 1024
PATIENCE = 60.0
"""Seconds for which a file may answer "nothing yet" without there being a descriptor that could be waited for."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.25
_WAIT = 1.0
"""Seconds that a thread waits for a descriptor in one go. A cancelled upload leaves a thread behind for no longer."""


class ForeignFile:
    """The calls that are made to a file.

    Args:
        file: Has ``read(size)``, and possibly ``seek``, ``tell`` and ``fileno``; plain or asynchronous.
        read: Its method that takes a number of bytes.
        patience: See `PATIENCE`.

    Attributes:
        is_async: Whether its ``read`` has to be awaited.
    """

    def __init__(self, file: object, read: Callable[[int], Any], *, patience: float = PATIENCE) -> None:
        self._file: Any = file
        self._read = read
        self._patience = patience
        self.is_async = inspect.iscoroutinefunction(read)
        self._waited = 0.0
        self._pause = _SHORTEST_PAUSE

    def seek(self, position: int) -> None:
        """Go to *position*. Blocks."""
        self._file.seek(position)

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, as a rule; empty at the end. Blocks until there is one."""
        while (found := self._try_to_read(size)) is None:
            pass
        return self._received(found)

    async def aseek(self, position: int, whence: int = io.SEEK_SET) -> None:
        """Go to *position*, in whatever way the file does that."""
        await self._call(self._file.seek, *((position,) if whence == io.SEEK_SET else (position, whence)))

    async def atell(self) -> int:
        """Return the position.

        Raises:
            TypeError: The file does not know it.
        """
        position = await self._call(self._file.tell)
        if not isinstance(position, int):
            raise TypeError(f"tell() returned {type(position).__name__}")
        return position

    async def aread(self, size: int, *, may_abandon: bool = False) -> bytes:
        """Do as `read`, in whatever way the file reads.

        Args:
            size: As for `read`.
            may_abandon: Whether a thread that waits in ``read`` is left behind when this is cancelled.
        """
        while True:
            found: object
            if self.is_async:
                found = await self._read(size)
                if found is None:
                    await anyio.sleep(self._next_pause())
            else:
                found = await _in_thread(self._try_to_read, size, may_abandon=may_abandon)
                if inspect.isawaitable(found):  # its `read` is no coroutine function, and returns a coroutine all the same
                    self.is_async = True
                    found = await found
            if found is not None:
                return self._received(found)

    async def can_seek(self) -> bool:
        """Return what the file itself says; files that do not say may be able to."""
        try:
            return bool(await self._call(self._file.seekable))
        except AttributeError:
            return True
        except Exception:  # noqa: BLE001 - whatever it raises, it does not seek
            return False

    async def _call(self, method: Callable[..., Any], *args: object) -> Any:
        if inspect.iscoroutinefunction(method):
            return await method(*args)
        found = await _in_thread(method, *args)
        return await found if inspect.isawaitable(found) else found

    def _try_to_read(self, size: int) -> object:
        """Return what `read` returns; when that is ``None``, after waiting for about `_WAIT` seconds at most."""
        found = self._read(size)
        if found is None and self._is_readable():
            time.sleep(self._next_pause())
        return found

    def _received(self, found: object) -> bytes:
        self._waited, self._pause = 0.0, _SHORTEST_PAUSE
        return as_bytes(found)

    def _is_readable(self) -> bool:
        """Wait for the descriptor; ``True`` when it is ready, or cannot be waited for."""
        try:
            descriptor = self._file.fileno()
            waiter = select.poll()
            waiter.register(descriptor, select.POLLIN)
            return bool(waiter.poll(_WAIT * 1000))
        except Exception:  # noqa: BLE001 - it has no descriptor, or the system no poll
            return True

    def _next_pause(self) -> float:
        if self._waited >= self._patience:
            raise TimeoutError(f"it gave neither bytes nor its end for {self._patience:g} s")
        pause = self._pause
        self._waited += pause
        self._pause = min(2 * pause, _LONGEST_PAUSE)
        return pause


async def _in_thread(method: Callable[..., object], *args: object, may_abandon: bool = False) -> Any:
    """Call *method* in a worker thread. What it returns may be a coroutine, which trio refuses to take from a thread."""

    def call() -> tuple[object]:
        return (method(*args),)

    return (await anyio.to_thread.run_sync(call, abandon_on_cancel=may_abandon))[0]


class OpenedReader(Reader):
    """A file that the caller opened, from where it stands to its end. It is left open.

    `prepare` decides at its first call whether any part of it can be read at any time (`SeekingReader`) or only the next one.

    Args:
        file: The file.
        length: Bytes it will give, if it can only be read on.
    """

    label = "the file"

    def __init__(self, file: ForeignFile, length: int | None) -> None:
        self.size = None
        self._file = file
        self._length = length
        self._reader: Reader | None = None

    async def prepare(self, offset: int, length: int) -> None:
        """Find out what the file can do, on first use."""
        if self._reader is None:
            self._reader = reader = await self._probe()
            await reader.prepare(0, 0)
            self.size, self.label = reader.size, reader.label
            self.is_at_hand, self.is_async, self.is_read_once = reader.is_at_hand, reader.is_async, reader.is_read_once
        await self._reader.prepare(offset, length)

    def read_now(self, offset: int, length: int) -> bytes:
        """Read that part."""
        return self._opened.read_now(offset, length)

    async def read(self, offset: int, length: int) -> bytes:
        """Read that part."""
        return await self._opened.read(offset, length)

    def read_at_once(self, offset: int, length: int) -> bytes | memoryview | None:
        """Read that part of what was prepared."""
        return self._opened.read_at_once(offset, length)

    def drain(self) -> AsyncIterator[bytes]:
        """Yield the pieces as they come."""
        return self._opened.drain()

    async def aclose(self) -> None:
        """Stop reading; the file stays open."""
        if self._reader is not None:
            await self._reader.aclose()

    @property
    def _opened(self) -> Reader:
        if self._reader is None:
            raise RuntimeError("prepare() comes first")
        return self._reader

    async def _probe(self) -> Reader:
        file = self._file
        bounds = await self._bounds()
        if bounds is None:
            return StreamReader(_read_on(file), self._length, label="the pipe")
        start, end = bounds
        beginning = await self._try(file.aread, READ_SIZE)
        if end <= start:
            if not beginning:
                raise refuse_empty("the file, from its current position on,")
            return StreamReader(_read_on(file, beginning), self._length, label="the pipe")  # its seek() goes nowhere
        await self._try(file.aseek, start)
        again = await self._try(file.aread, READ_SIZE)
        common = min(len(beginning), len(again))
        if not common or beginning[:common] != again[:common]:
            raise InvalidRequestError(
                "the file gives other bytes after seek() than before, so it cannot be sent again where a connection breaks;"
                " pass an async iterator of its bytes"
            )
        return SeekingReader(file, start, end)

    async def _bounds(self) -> tuple[int, int] | None:
        """Return where the file stands and where it ends; ``None`` when it can only be read on. It stands where it stood then.

        Raises:
            InvalidRequestError: It went to its end and does not come back.
        """
        file = self._file
        if not await file.can_seek():
            return None
        try:
            start = await file.atell()
        except Exception:  # noqa: BLE001 - whatever it raises, it has not moved
            return None
        end = None
        with suppress(Exception):  # whatever it raises, it is a pipe if it still stands at its beginning
            await file.aseek(0, io.SEEK_END)
            end = await file.atell()
        try:
            if await file.atell() != start:
                await file.aseek(start)
            if (position := await file.atell()) != start:
                raise OSError(f"seek() led to byte {position}")
        except Exception as error:
            raise InvalidRequestError(
                f"the file does not go back to byte {start}, where it stood ({str(error) or type(error).__name__}):"
                " pass an async iterator of its bytes"
            ) from error
        return None if end is None else (start, end)

    async def _try(self, method: Callable[..., Any], *args: object) -> Any:
        try:
            return await method(*args)
        except NotBytesError as error:
            raise InvalidRequestError(str(error)) from None
        except Exception as error:
            raise unreadable("file", error) from error


class SeekingReader(Reader):
    """A file of which any part can be read at any time, from *start* to *end*."""

    label = "the file"

    def __init__(self, file: ForeignFile, start: int, end: int) -> None:
        self._file = file
        self._start = start
        self.size = end - start
        self.is_async = file.is_async

    def read_now(self, offset: int, length: int) -> bytes:
        """Read that part."""
        return self._checked(read_at(self._file, self._start + offset, length, self.label), length)

    async def read(self, offset: int, length: int) -> bytes:
        """Read that part."""
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
            raise unreadable_at(self.label, self._start + offset, error) from error
        return self._checked(b"".join(pieces)[:length], length)

    def _checked(self, data: bytes, length: int) -> bytes:
        if len(data) < length:
            raise UploadError(
                "the file became shorter while it was being uploaded; upload it again", upload_id=None, sent=0, resumable=False
            )
        return data


async def _read_on(file: ForeignFile, beginning: bytes = b"") -> AsyncIterator[bytes]:
    """Yield what a file gives that can only be read on. A thread that waits for it when we stop is left behind with its last read."""
    if beginning:
        yield beginning
    while data := await file.aread(READ_SIZE, may_abandon=True):
        yield data
