"""The interface of all sources of bytes, and reading a range of a seekable file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Protocol

from mux_async.errors import InvalidRequestError, UploadError


class Reader(ABC):
    """Reads any range of a source, repeatedly if needed.

    Attributes:
        size: Size in bytes; ``None`` before the first `prepare`, and for a stream of unknown length, where only `read_stream` works.
        label: Names the source in messages.
        version: Changes when the source changes, as far as that is visible without reading it; ``None`` if it is not visible.
        is_in_memory: Whether `read_nowait` is likely to return data.
        is_async: Whether `read` runs in the event loop; if not, `read_blocking` runs in a worker thread.
        is_remote: Whether `read_blocking` waits for another machine.
        is_read_once: Whether only the chunk that was prepared last can be read again.
    """

    size: int | None
    label: str
    version: str | None = None
    is_in_memory: bool = False
    is_async: bool = False
    is_remote: bool = False
    is_read_once: bool = False

    @abstractmethod
    def read_blocking(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset*; the range lies within the source. Blocks; never called by two threads at once.

        Raises:
            UploadError: The source has changed since it was opened, or cannot seek back that far.
        """

    async def read(self, offset: int, length: int) -> bytes:
        """Same as `read_blocking`, for sources with an asynchronous interface. Never called concurrently."""
        raise NotImplementedError

    def read_nowait(self, offset: int, length: int) -> bytes | memoryview | None:  # noqa: ARG002 - most have to wait
        """Same as `read_blocking` without waiting: return the bytes that are in memory, ``None`` if there are none.

        Never called while a thread is in `read_blocking`. The result does not change as long as it, or a view of it, is kept.

        Raises:
            UploadError: The source has changed since it was opened.
        """
        return None

    async def prepare(self, offset: int, length: int) -> None:  # noqa: B027 - most need no preparing
        """Get ready to read *length* bytes from *offset*, possibly more than once.

        The first call, with 0 and 0, opens the source and checks that it gives bytes, before an upload is created.

        Raises:
            InvalidRequestError: It cannot be read, is empty, or gives something other than bytes.
        """

    async def verify(self) -> None:  # noqa: B027 - most check it as they read
        """Check that the source has not changed since it was opened.

        Called after a chunk was read and before its last piece is sent, so that a chunk of two versions is never completed.

        Raises:
            UploadError: It has changed.
        """

    def read_stream(self) -> AsyncGenerator[bytes, None]:
        """Yield everything, once, for sources of unknown size."""
        raise NotImplementedError

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        """Close what this reader opened."""


class Seekable(Protocol):
    """A file that can seek. `read` may return fewer bytes than requested, but none only at the end."""

    def seek(self, position: int, /) -> object:
        """Go to *position*."""
        ...

    def read(self, size: int, /) -> bytes | None:
        """Return up to *size* bytes."""
        ...


def empty_source_error(label: str) -> InvalidRequestError:
    return InvalidRequestError(f"{label} is empty, so no asset can be made of it: check whether it was written to the end")


def read_at(file: Seekable, position: int, length: int, label: str) -> bytes:
    """Read *length* bytes from *position*, or up to the end. Raises `UploadError` if that fails."""
    try:
        file.seek(position)
        return _read_fully(file, length)
    except UploadError:
        raise
    except Exception as error:
        raise read_error(label, position, error) from error


def read_error(label: str, position: int, error: Exception) -> UploadError:
    return source_error(
        f"{label} could not be read at byte {position} ({error}); fix that, then upload it again", resumable=True
    )


def changed_error(label: str) -> UploadError:
    return source_error(
        f"{label} was changed while it was being uploaded, so parts of two versions would be mixed; upload it again"
    )


def source_error(message: str, *, sent: int = 0, resumable: bool = False) -> UploadError:
    """Return an error of a source, which does not know the upload that it is read for; `UploadRun` adds its id."""
    return UploadError(message, upload_id=None, sent=sent, resumable=resumable)


def _read_fully(file: Seekable, length: int) -> bytes:
    """Read *length* bytes, or up to the end. Raw files may return fewer bytes than requested, and unusual ones more."""
    data = file.read(length) or b""
    if len(data) == length:
        return data
    pieces = [data]
    missing = length - len(data)
    while missing > 0 and (more := file.read(missing)):
        pieces.append(more)
        missing -= len(more)
    return b"".join(pieces)[:length]
