"""What every source of bytes looks like to an upload, and reading a part of a file that can seek."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Protocol

from mux_async.errors import InvalidRequestError, UploadError


class Reader(ABC):
    """Gives out any part of a source, again if need be.

    Attributes:
        size: Bytes in all; ``None`` before the first `prepare`, and where it shows only at the end: then nothing but `drain` works.
        label: Names the source in messages.
        version: Changes when the source does, as far as that shows without reading it; ``None`` where nothing shows it.
        is_at_hand: Whether bytes are likely to be had without waiting, by `read_at_once`.
        is_async: Whether `read` runs in the event loop; if not, `read_now` runs in a worker thread.
        is_remote: Whether `read_now` waits for another machine.
        is_read_once: Whether only the chunk that was prepared last can be read again.
    """

    size: int | None
    label: str
    version: str | None = None
    is_at_hand: bool = False
    is_async: bool = False
    is_remote: bool = False
    is_read_once: bool = False

    @abstractmethod
    def read_now(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset*, which lie within the source. Blocks; never called by two threads at once.

        Raises:
            UploadError: The source is not what it was when it was opened, or cannot go back that far.
        """

    async def read(self, offset: int, length: int) -> bytes:
        """Do as `read_now`, for sources whose own reading is asynchronous. Never called twice at once."""
        raise NotImplementedError

    def read_at_once(self, offset: int, length: int) -> bytes | memoryview | None:  # noqa: ARG002 - most have to wait
        """Do as `read_now` without waiting: return as many of the bytes as can be had like that, ``None`` when there are none.

        Never called while a thread is in `read_now`. What is returned does not change as long as it, or a view of it, is kept.

        Raises:
            UploadError: The source is not what it was when it was opened.
        """
        return None

    async def prepare(self, offset: int, length: int) -> None:  # noqa: B027 - most need no preparing
        """Get ready to read *length* bytes from *offset*, and possibly again.

        The first call, with 0 and 0, opens the source and sees that bytes come out of it, before an upload is created.

        Raises:
            InvalidRequestError: It cannot be read, is empty, or gives something else than bytes.
        """

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


class Seekable(Protocol):
    """A file of which any part can be read. `read` may give fewer bytes than asked for, but none only at the end."""

    def seek(self, position: int, /) -> object:
        """Go to *position*."""
        ...

    def read(self, size: int, /) -> bytes | None:
        """Return up to *size* bytes."""
        ...


def refuse_empty(label: str) -> InvalidRequestError:
    return InvalidRequestError(f"{label} is empty, and nothing can be made of it: check whether it was written to the end")


def read_at(file: Seekable, position: int, length: int, label: str) -> bytes:
    """Read *length* bytes from *position*, or up to the end.

    Raises:
        UploadError: The disk fails, or somebody has closed the file.
    """
    try:
        file.seek(position)
        return _read_fully(file, length)
    except UploadError:
        raise
    except Exception as error:
        raise unreadable_at(label, position, error) from error


def unreadable_at(label: str, position: int, error: Exception) -> UploadError:
    return UploadError(
        f"{label} could not be read at byte {position} ({error}); look after it, then upload it again",
        upload_id=None,
        sent=0,
        resumable=True,
    )


def _read_fully(file: Seekable, length: int) -> bytes:
    """Read *length* bytes, or up to the end. A raw file may give fewer than asked for, and odd ones give more."""
    data = file.read(length) or b""
    if len(data) == length:
        return data
    pieces = [data]
    missing = length - len(data)
    while missing > 0 and (more := file.read(missing)):
        pieces.append(more)
        missing -= len(more)
    return b"".join(pieces)[:length]
