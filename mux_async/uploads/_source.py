"""Where the bytes of an upload come from: paths, files, memory, streams, and what holds one of them.

What can be read again is read by blocking calls, which `_ahead` makes in worker threads. Files that the caller opened are in `_foreign`,
what is read once only is in `_stream`, files elsewhere, by URL, are in `_remote`.
"""

from __future__ import annotations

import inspect
import io
import os
import re
import stat
from collections.abc import AsyncIterable, Awaitable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import anyio
import anyio.to_thread

from mux_async.errors import InvalidRequestError, UploadError
from mux_async.uploads._buffers import Buffers
from mux_async.uploads._flow import SMALLEST_PIECE
from mux_async.uploads._foreign import READ_SIZE, ForeignFile, OpenedReader
from mux_async.uploads._reader import Reader, read_at, refuse_empty
from mux_async.uploads._stream import StreamReader, iterate, iterate_async

_URL = re.compile(r"[A-Za-z][\w+.-]*(::[A-Za-z][\w+.-]*)*://")


class Readable(Protocol):
    """A file whose ``read`` takes a number of bytes: plain or asynchronous, of any library."""

    def read(self, size: int, /) -> bytes | Awaitable[bytes | None] | None:
        """Return up to *size* bytes; ``None`` for nothing yet, an empty result at the end."""
        ...


class FileHolder(Protocol):
    """What a web framework makes of an uploaded file: the file itself is in its ``file``."""

    @property
    def file(self) -> Any:
        """The file, open for reading."""
        ...


Source: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | Readable
    | FileHolder
    | AsyncIterable[bytes]
    | Iterator[bytes]
)
"""A path, the bytes themselves, an open file (plain or asynchronous, of a web framework too), an iterator of bytes (plain or asynchronous),
or a URL that fsspec can open."""

_ITERATORS = ("aiter_bytes", "aiter_content", "iter_bytes", "iter_content")
"""What HTTP clients call the bytes of a response, as they come."""


def open_source(source: Source, *, length: int | None = None) -> Reader:
    """Return a reader for *source*. Nothing is opened or read before the reader's first `Reader.prepare`.

    A string with ``://`` in it is a URL; a `pathlib.Path` never is.

    Args:
        source: See `Source`.
        length: Bytes that a source which is read once will give, when known. Not for others: they know it themselves.

    Raises:
        InvalidRequestError: It is nothing that bytes can be read from, or memory with nothing in it.
    """
    if isinstance(source, str) and _URL.match(source):
        from mux_async.uploads._remote import RemoteReader  # it builds on what is here

        return RemoteReader(source)
    if isinstance(source, str | os.PathLike):
        return FileReader(_path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesReader(memoryview(source))
    _refuse_response(source)
    source = _unwrap(source)
    if isinstance(source, bytes):
        return BytesReader(memoryview(source))
    if isinstance(source, io.TextIOBase):
        raise InvalidRequestError("the file is open as text, and an upload is made of bytes: open it with mode 'rb'")
    if (read := _read_method(source)) is not None:
        return OpenedReader(ForeignFile(source, read), length)
    if hasattr(type(source), "__aiter__"):
        return StreamReader(iterate_async(source), length)
    if isinstance(source, Iterator):
        return StreamReader(iterate(source), length)
    raise InvalidRequestError(
        f"{type(source).__name__} is not a source of bytes; pass a path, bytes, a binary file, an iterator of bytes or a URL"
    )


def _path(source: str | os.PathLike[str]) -> Path:
    try:
        return Path(os.fsdecode(source))
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"{type(source).__name__} does not give the name of a file: {error}") from error


def _read_method(source: object) -> Any:
    """Return the method of *source* that reads a number of bytes; ``None`` when there is none.

    ``read_chunk`` is that of a part of a multipart body in aiohttp, whose ``read`` returns the whole.
    """
    for name in ("read", "read_chunk"):
        method = getattr(source, name, None)
        if callable(method) and _takes_size(method):
            return method
    return None


def _takes_size(method: Any) -> bool:
    try:
        inspect.signature(method).bind(READ_SIZE)
    except TypeError:
        return False
    except ValueError:
        pass  # written in C, without a signature: it shows at the first call
    return True


def _unwrap(source: Any) -> Any:
    """Return the file in what a web framework made of an uploaded file; anything else as it is.

    Starlette, FastAPI and Litestar have asynchronous methods around ``file``, which cannot say where they stand; aiohttp has only ``file``,
    Falcon ``stream``, Sanic and Tornado ``body``.
    """
    read = _read_method(source)
    if read is not None and (not inspect.iscoroutinefunction(read) or hasattr(source, "tell")):
        return source
    for name in ("file", "stream", "body"):
        inner = getattr(source, name, None)
        inner_read = _read_method(inner)
        if inner_read is not None and not (read is not None and inspect.iscoroutinefunction(inner_read)):
            return inner
        if read is None and isinstance(inner, bytes):
            return inner
    return source


def _refuse_response(source: object) -> None:
    """Refuse the response of an HTTP client, or the request of a web framework: their bytes are to be had in more than one way.

    Raises:
        InvalidRequestError: It is one.
    """
    kind = type(source)
    name = next((name for name in _ITERATORS if callable(getattr(kind, name, None))), None)
    advice = None
    if name is not None:
        advice = " or ".join(f".{each}()" for each in _ITERATORS if callable(getattr(kind, each, None)))
    elif _read_method(source) is None:
        if hasattr(getattr(source, "content", None), "iter_chunked"):
            advice = ".content"
        elif callable(getattr(kind, "stream", None)):
            advice = ".stream()"
    if advice is not None:
        raise InvalidRequestError(
            f"{kind.__module__}.{kind.__qualname__} is not itself a source of bytes; pass its bytes as they come: {advice}"
        )


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
