"""Sources of bytes: chooses the reader of a source, and reads paths and memory.

Files that the caller opened are read in `_file_objects`, streams that can be read once in `_stream`, remote files in `_remote`.
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

from mux_async.errors import InvalidRequestError
from mux_async.uploads._buffer_pool import BufferPool
from mux_async.uploads._file_objects import READ_SIZE, FileObject, FileObjectReader
from mux_async.uploads._reader import Reader, changed_error, empty_source_error, read_at
from mux_async.uploads._remote import RemoteReader
from mux_async.uploads._scheduler import MIN_PIECE_SIZE
from mux_async.uploads._stream import StreamReader, iterate, iterate_async

_URL = re.compile(r"[A-Za-z][\w+.-]*(::[A-Za-z][\w+.-]*)*://")


class Readable(Protocol):
    """A file whose ``read`` takes a number of bytes, plain or asynchronous."""

    def read(self, size: int, /) -> bytes | Awaitable[bytes | None] | None:
        """Return up to *size* bytes; ``None`` if none are available yet, an empty result at the end."""
        ...


class FileHolder(Protocol):
    """The upload object of a web framework; the file itself is its ``file``."""

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
"""A path, bytes, an open file (plain or asynchronous), the upload object of a web framework, an iterator of bytes (plain or asynchronous),
or a URL that fsspec can open."""

_ITERATORS = ("aiter_bytes", "aiter_content", "iter_bytes", "iter_content")
"""Methods of HTTP clients that iterate over the body of a response."""


def open_source(source: Source, *, length: int | None = None) -> Reader:
    """Return a reader for *source*. Nothing is opened or read before the reader's first `Reader.prepare`.

    A string with ``://`` in it is a URL; a `pathlib.Path` never is. *length* is only for sources that are read once. Raises
    `InvalidRequestError` if it is not a source of bytes, or empty memory.
    """
    if isinstance(source, str) and _URL.match(source):
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
        raise InvalidRequestError("the file is open as text, and an upload needs bytes: open it with mode 'rb'")
    if (read := _read_method(source)) is not None:
        return FileObjectReader(FileObject(source, read), length)
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
    """Return the method of *source* that reads a number of bytes; ``None`` if there is none."""
    # A part of a multipart body in aiohttp has `read_chunk`; its `read` returns the whole part.
    methods = [getattr(source, name, None) for name in ("read", "read_chunk")]
    return next((method for method in methods if callable(method) and _takes_size(method)), None)


def _takes_size(method: Any) -> bool:
    try:
        inspect.signature(method).bind(READ_SIZE)
    except TypeError:
        return False
    except ValueError:
        pass  # written in C, without a signature: the first call will tell
    return True


def _unwrap(source: Any) -> Any:
    """Return the file inside the upload object of a web framework; anything else unchanged.

    Starlette, FastAPI and Litestar have asynchronous methods around ``file``, without ``tell``; aiohttp has only ``file``, Falcon
    ``stream``, Sanic and Tornado ``body``.
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
    """Refuse the response of an HTTP client or the request of a web framework, whose bytes can be read in more than one way."""
    kind = type(source)
    advice = " or ".join(f".{each}()" for each in _ITERATORS if callable(getattr(kind, each, None)))
    if not advice and _read_method(source) is None:
        if hasattr(getattr(source, "content", None), "iter_chunked"):
            advice = ".content"
        elif callable(getattr(kind, "stream", None)):
            advice = ".stream()"
    if advice:
        raise InvalidRequestError(
            f"{kind.__module__}.{kind.__qualname__} is not itself a source of bytes; pass the iterator of its bytes: {advice}"
        )


def open_file(path: Path) -> tuple[io.FileIO, os.stat_result]:
    """Open a file to be uploaded, and return it with its status; raise `InvalidRequestError` if that is impossible."""
    shown = repr(str(path))
    try:
        # Checked before it is opened: opening a named pipe blocks until it has a writer.
        mode = os.stat(path).st_mode  # noqa: PTH116 - pathlib adds nothing
        if stat.S_ISDIR(mode):
            raise InvalidRequestError(f"{shown} is a folder: name the files in it")
        if not stat.S_ISREG(mode):
            raise InvalidRequestError(f"{shown} is a pipe or a device, which cannot be read twice: copy it into a file first")
        file = io.FileIO(path, "rb")
    except OSError as error:
        message = f"{shown} cannot be read ({error.strerror or error}): check the name and its permissions"
        raise InvalidRequestError(message) from error
    except InvalidRequestError:
        raise
    except ValueError as error:
        raise InvalidRequestError(f"{shown} cannot be the name of a file: {error}") from error
    found = os.fstat(file.fileno())
    if not found.st_size:
        file.close()
        raise empty_source_error(shown)
    return file, found


class BytesReader(Reader):
    """Bytes in memory."""

    is_in_memory = True

    def __init__(self, data: memoryview) -> None:
        self.label = f"<{data.nbytes} bytes>"
        self.size = data.nbytes
        if not data.nbytes:
            raise empty_source_error("the source")
        self._data = data.cast("B") if data.c_contiguous else memoryview(data.tobytes())

    def read_nowait(self, offset: int, length: int) -> memoryview:
        """Return a view of that range."""
        return self._data[offset : offset + length]

    def read_blocking(self, offset: int, length: int) -> bytes:
        """Return a copy of that range."""
        return bytes(self.read_nowait(offset, length))


class FileReader(Reader):
    """A file by path, opened by the first `prepare` and checked for changes from then on."""

    def __init__(self, path: Path) -> None:
        self.label = repr(path.name)
        self.size = None
        self._path = path
        self._file: io.FileIO | None = None
        self._buffers = BufferPool()
        self._before: tuple[int, int] = (0, 0)

    async def prepare(self, offset: int, length: int) -> None:  # noqa: ARG002 - any part can be read at any time
        """Open the file on the first call; check for changes on later ones."""
        if self._file is None:
            await anyio.to_thread.run_sync(self._open)
        elif self.is_in_memory:
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
        if hasattr(os, "RWF_NOWAIT"):  # Linux can report what its page cache holds
            beginning = self._buffers.take(min(self.size, MIN_PIECE_SIZE))
            self.is_in_memory = self._copy_cached(beginning, 0) == len(beginning)

    def _check(self) -> None:
        if self._file is not None:
            found = os.fstat(self._file.fileno())
            if (found.st_size, found.st_mtime_ns) != self._before:
                raise changed_error(self.label)

    def read_blocking(self, offset: int, length: int) -> bytes:
        """Read that range, and check that the file has not changed."""
        if self._file is None:
            self._open()
        file = self._file
        assert file is not None  # noqa: S101 - opened above, for the type checkers
        data = read_at(file, offset, length, self.label)
        if len(data) < length:
            raise changed_error(self.label)
        # Checked after the bytes were read and before they are returned: a chunk is completed only by bytes of the same file.
        self._check()
        return data

    def read_nowait(self, offset: int, length: int) -> memoryview | None:
        """Read the part of that range that is in the page cache.

        If that is not all of it, threads read the rest of the file: the kernel starts to read missing pages, which takes milliseconds.
        """
        piece = self._buffers.take(length)
        count = self._copy_cached(piece, offset)
        if count < length:
            self.is_in_memory = False
        if not count:
            return None
        self._check()
        return piece[:count]

    def _copy_cached(self, into: memoryview, offset: int) -> int:
        """Fill *into* with bytes from *offset* on that are in the page cache, and return how many there were. 0 except on Linux."""
        assert self._file is not None  # noqa: S101 - `_open` was called
        try:
            return os.preadv(self._file.fileno(), [into], offset, os.RWF_NOWAIT)
        except (OSError, ValueError, AttributeError):  # not cached, not Linux, or a failure that `read_blocking` will report
            return 0
