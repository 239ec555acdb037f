"""Where the bytes of an upload come from: paths, files, memory, streams.

What can be read again is read by blocking calls, which `_ahead` makes in worker threads. What is read once only (a stream, a pipe) is
kept for the length of one chunk, so that the chunk can be sent again; nothing keeps more. Files elsewhere, by URL, are in `_remote`.
"""

from __future__ import annotations

import io
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import anyio
import anyio.to_thread

from mux_async.errors import InvalidRequestError, UploadError
from mux_async.uploads._buffers import Buffers
from mux_async.uploads._flow import SMALLEST_PIECE

PIPE_READ_SIZE = 256 * 1024
_CLOSING_TIME = 5.0
_URL = re.compile(r"[A-Za-z][\w+.-]*(::[A-Za-z][\w+.-]*)*://")

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | AsyncIterable[bytes]"
"""A path, the bytes themselves, a binary file, an async iterable of bytes, or a URL that fsspec can open."""


class Reader(ABC):
    """Gives out any part of a source, again if need be.

    Attributes:
        size: Bytes in all; ``None`` when that shows only at the end, and then nothing but `drain` works.
        label: Names the source in messages.
        version: Changes when the source does, as far as that shows without reading it; ``None`` where nothing shows it.
        is_at_hand: Whether bytes are likely to be had without waiting, by `read_at_once`.
        is_remote: Whether `read_now` waits for another machine.
        is_read_once: Whether only the chunk that was prepared last can be read again.
    """

    size: int | None
    label: str
    version: str | None = None
    is_at_hand: bool = False
    is_remote: bool = False
    is_read_once: bool = False

    @abstractmethod
    def read_now(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset*, which lie within the source. Blocks; never called by two threads at once.

        Raises:
            UploadError: The source is not what it was when it was opened, or cannot go back that far.
        """

    def read_at_once(self, offset: int, length: int) -> bytes | memoryview | None:  # noqa: ARG002 - most have to wait
        """Do as `read_now` without waiting: return as many of the bytes as can be had like that, ``None`` when there are none.

        Never called while a thread is in `read_now`. What is returned does not change as long as it, or a view of it, is kept.

        Raises:
            UploadError: The source is not what it was when it was opened.
        """
        return None

    async def prepare(self, offset: int, length: int) -> None:  # noqa: B027 - most need no preparing
        """Get ready to read *length* bytes from *offset*, and possibly again."""

    async def verify(self) -> None:  # noqa: B027 - most see it as they read
        """Find out whether the source has changed since it was opened.

        Called when a chunk was read and before the last piece of it leaves, so that a chunk of two versions is never completed.

        Raises:
            UploadError: It has.
        """

    def drain(self) -> AsyncIterator[bytes]:
        """Yield everything, once, for sources that do not know their size."""
        raise NotImplementedError

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        """Let go of what was opened here."""


def open_source(source: Source, *, length: int | None = None) -> Reader:
    """Return a reader for *source*. Files are opened on first use.

    A string with ``://`` in it is a URL; a `pathlib.Path` never is.

    Args:
        source: See `Source`.
        length: Bytes that a source which is read once will give, when known. Not for others: they know it themselves.

    Raises:
        InvalidRequestError: It is nothing that bytes can be read from, or it is empty.
    """
    if isinstance(source, str) and _URL.match(source):
        from mux_async.uploads._remote import RemoteReader  # it builds on what is here

        return RemoteReader(source)
    if isinstance(source, str | os.PathLike):
        return FileReader(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesReader(memoryview(source))
    if isinstance(source, AsyncIterable):
        return StreamReader(source, length)
    if hasattr(source, "read"):
        return _open_handle(source, length)
    raise InvalidRequestError(
        f"{type(source).__name__} is not a source of bytes; pass a path, bytes, a binary file, an async iterable of bytes or a URL"
    )


def refuse_empty(label: str) -> InvalidRequestError:
    return InvalidRequestError(f"{label} is empty, and nothing can be made of it: check whether it was written to the end")


def open_file(path: Path) -> tuple[io.FileIO, os.stat_result]:
    """Open a file that can be uploaded, and return it with what is known about it.

    Raises:
        InvalidRequestError: It is missing, a folder, a pipe or a device, unreadable or empty.
    """
    shown = repr(str(path))
    try:
        # Looked at before it is opened: opening a named pipe waits for somebody who writes to it.
        mode = os.stat(path).st_mode  # noqa: PTH116 - pathlib adds nothing
        if stat.S_ISDIR(mode):
            raise InvalidRequestError(f"{shown} is a folder: name the files in it")
        if not stat.S_ISREG(mode):
            raise InvalidRequestError(f"{shown} is a pipe or a device and cannot be read twice: copy it into a file first")
        file = io.FileIO(path, "rb")
    except OSError as error:
        raise InvalidRequestError(
            f"{shown} cannot be read ({error.strerror or error}): check the name and its permissions"
        ) from error
    except InvalidRequestError:
        raise
    except ValueError as error:
        raise InvalidRequestError(f"{shown} cannot be the name of a file: {error}") from error
    found = os.fstat(file.fileno())
    if not found.st_size:
        file.close()
        raise refuse_empty(shown)
    return file, found


class BytesReader(Reader):
    """Bytes in memory."""

    is_at_hand = True

    def __init__(self, data: memoryview) -> None:
        self.label = f"<{data.nbytes} bytes>"
        self.size = data.nbytes
        if not data.nbytes:
            raise refuse_empty("the source")
        self._data = data.cast("B") if data.c_contiguous else memoryview(data.tobytes())

    def read_at_once(self, offset: int, length: int) -> memoryview:
        """Return a view of that part."""
        return self._data[offset : offset + length]

    def read_now(self, offset: int, length: int) -> bytes:
        """Return a copy of that part."""
        return bytes(self.read_at_once(offset, length))


class FileReader(Reader):
    """A file by path, opened for reading when `open` is called and watched for changes from then on."""

    def __init__(self, path: Path) -> None:
        self.label = repr(path.name)
        self.size = None
        self._path = path
        self._file: io.FileIO | None = None
        self._buffers = Buffers()
        self._before: tuple[int, int] = (0, 0)

    async def prepare(self, offset: int, length: int) -> None:  # noqa: ARG002 - any part can be read at any time
        """Open the file on first use; find out whether it has changed on every later one."""
        if self._file is None:
            await anyio.to_thread.run_sync(self._open)
        elif self.is_at_hand:
            self._check()
        else:
            await anyio.to_thread.run_sync(self._check)

    async def aclose(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        self._file, found = open_file(self._path)
        self._before = (found.st_size, found.st_mtime_ns)
        self.size = found.st_size
        self.version = f"{found.st_mtime_ns}"
        if hasattr(os, "RWF_NOWAIT"):  # Linux can be asked what it has in memory
            beginning = self._buffers.take(min(self.size, SMALLEST_PIECE))
            self.is_at_hand = self._copy_cached(beginning, 0) == len(beginning)

    def _check(self) -> None:
        if self._file is not None:
            found = os.fstat(self._file.fileno())
            if (found.st_size, found.st_mtime_ns) != self._before:
                raise self._changed()

    def read_now(self, offset: int, length: int) -> bytes:
        """Read that part, and see that the file is still the one that was opened."""
        if self._file is None:
            self._open()
        file = self._file
        assert file is not None  # noqa: S101 - opened above, for the type checkers
        data = read_at(file, offset, length, self.label)
        if len(data) < length:
            raise self._changed()
        # Looked at after the bytes were read and before they are handed on: a chunk is only completed by bytes of the same file.
        self._check()
        return data

    def read_at_once(self, offset: int, length: int) -> memoryview | None:
        """Read what the system holds of that part in memory.

        Where that is not all, the rest of the file is left to threads: what cannot be had is fetched from the disk all the same, and to set
        the disk to work takes milliseconds where much is read ahead.
        """
        piece = self._buffers.take(length)
        count = self._copy_cached(piece, offset)
        if count < length:
            self.is_at_hand = False
        if not count:
            return None
        self._check()
        return piece[:count]

    def _copy_cached(self, into: memoryview, offset: int) -> int:
        """Fill *into* from *offset* on with what the system has in memory, and return how much that was. Linux can be asked for that."""
        assert self._file is not None  # noqa: S101 - what is at hand is open
        try:
            return os.preadv(self._file.fileno(), [into], offset, os.RWF_NOWAIT)
        except (
            OSError,
            ValueError,
            AttributeError,
        ):  # not there, not Linux, or a failure that `read_now` will run into and report
            return 0

    def _changed(self) -> UploadError:
        return UploadError(
            f"{self.label} was changed while it was being uploaded, so parts of two versions would be mixed; upload it again",
            upload_id=None,
            sent=0,
            resumable=False,
        )


def _open_handle(handle: BinaryIO, length: int | None) -> Reader:
    """Return a reader for a file that is open: any part of it if it can seek, else once from front to back."""
    try:
        is_binary = isinstance(cast("object", handle.read(0)), bytes)
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"the file cannot be read ({error}): open it for reading, and keep it open") from error
    if not is_binary:
        raise InvalidRequestError("the file is open as text, and an upload is made of bytes: open it with mode 'rb'")
    try:
        start = handle.tell()
        end = handle.seek(0, io.SEEK_END)
        handle.seek(start)
    except (OSError, ValueError, AttributeError):
        return StreamReader(_read_pipe(handle), length, label="the pipe")
    return HandleReader(handle, start, end)


async def _read_pipe(handle: BinaryIO) -> AsyncIterator[bytes]:
    """Yield what a file gives that can only be read on. A thread that waits for it when we stop is left behind with its last read."""
    while True:
        try:
            data = await anyio.to_thread.run_sync(handle.read, PIPE_READ_SIZE, abandon_on_cancel=True)
        except (OSError, ValueError) as error:
            raise UploadError(
                f"the pipe could not be read on ({error}); upload it anew", upload_id=None, sent=0, resumable=False
            ) from error
        if not data:
            return
        yield data


class HandleReader(Reader):
    """A binary file that somebody else opened, from where it stands to its end. It is left open."""

    def __init__(self, handle: BinaryIO, start: int, end: int) -> None:
        self.label = "the file"
        self._handle = handle
        self._start = start
        self.size = end - start
        if self.size < 1:
            raise refuse_empty("the file, from its current position on,")

    def read_now(self, offset: int, length: int) -> bytes:
        """Read that part."""
        data = read_at(self._handle, self._start + offset, length, self.label)
        if len(data) < length:
            raise UploadError(
                "the file became shorter while it was being uploaded; upload it again", upload_id=None, sent=0, resumable=False
            )
        return data


class StreamReader(Reader):
    """An async iterable of bytes, read once.

    With a known length, the current chunk is kept until the server has it, so it can be sent again. Without one, the end shows
    only when it is there: the bytes go out in one request as they come, nothing is kept, and nothing can be sent again.
    """

    is_at_hand = True
    is_read_once = True

    def __init__(self, chunks: AsyncIterable[bytes], length: int | None, *, label: str = "the stream") -> None:
        self.label = label
        self.size = length
        if length is not None and length < 1:
            raise refuse_empty(label)
        self._chunks = aiter(chunks)
        self._start = 0
        self._window = bytearray()

    async def prepare(self, offset: int, length: int) -> None:
        """Read on until the chunk is in memory, and forget what lies before it."""
        if offset < self._start:
            raise UploadError(
                f"the server holds less than it did, and {self.label} cannot be read again from byte {offset}",
                upload_id=None,
                sent=offset,
                resumable=False,
            )
        wanted = offset + length
        while self._start + len(self._window) < wanted:
            try:
                self._window += await anext(self._chunks)
            except StopAsyncIteration:
                raise self._wrong_length("ended", self._start + len(self._window)) from None
            self._forget(offset)
        self._forget(offset)
        if wanted == self.size:
            await self._expect_end(wanted)

    async def _expect_end(self, wanted: int) -> None:
        if self._start + len(self._window) > wanted:
            raise self._wrong_length("went on", self._start + len(self._window))
        async for more in self._chunks:
            if more:
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
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            with anyio.move_on_after(_CLOSING_TIME, shield=True):  # so that its clean-up is not cut short by our cancellation
                await close()

    async def drain(self) -> AsyncIterator[bytes]:
        """Yield the pieces as they come."""
        async for piece in self._chunks:
            if piece:
                yield piece


def read_at(file: io.FileIO | BinaryIO, position: int, length: int, label: str) -> bytes:
    """Read *length* bytes from *position*, or up to the end.

    Raises:
        UploadError: The disk fails, or somebody has closed the file.
    """
    try:
        file.seek(position)
        return _read_fully(file, length)
    except (OSError, ValueError) as error:
        raise UploadError(
            f"{label} could not be read at byte {position} ({error}); look after it, then upload it again",
            upload_id=None,
            sent=0,
            resumable=True,
        ) from error


def _read_fully(file: io.FileIO | BinaryIO, length: int) -> bytes:
    """Read *length* bytes, or up to the end. A raw file may give less than was asked for in one go."""
    data = file.read(length) or b""
    if len(data) == length:
        return data
    pieces = [data]
    missing = length - len(data)
    while missing and (more := file.read(missing)):
        pieces.append(more)
        missing -= len(more)
    return b"".join(pieces)
