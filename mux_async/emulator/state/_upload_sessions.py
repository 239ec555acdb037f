"""The resumable session behind an upload URL: which bytes are stored, and when the file is complete.

The protocol is Google Cloud Storage's, which Mux's clients rely on (facts/BEHAVIOUR.md, section 5.2). The bytes are counted and
checksummed; they are written only if there is a folder for them. Rules:

1. Bytes below the stored offset are ignored; a gap is an error (503, as the real service answers).
2. Of a chunk that is not the last, or that was cut off, only whole multiples of 256 KiB of the file are stored.
3. A newer request takes the session over from one that is still being read.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from io import BufferedRandom
from pathlib import Path
from typing import Any
from zlib import crc32

import attrs

GRANULE = 256 * 1024
"""Bytes that are kept or lost together."""
HEAD_SIZE = 16 * 1024
"""Bytes kept for the probe."""

_RANGE = re.compile(r"bytes (?:(?P<first>\d{1,18})-(?P<last>\d{1,18})|(?P<query>\*))/(?:(?P<total>\d{1,18})|\*)")


class SessionError(Exception):
    """A request that the session refuses, with an HTTP status and a message as text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@attrs.frozen
class ContentRange:
    """A parsed ``Content-Range``. ``first`` and ``last`` are ``None`` for a query; ``total`` for a size that is not known yet."""

    first: int | None
    last: int | None
    total: int | None

    @classmethod
    def parse(cls, header: str) -> ContentRange:
        """Read the header. Raises `SessionError` (400): it makes no sense."""
        match = _RANGE.fullmatch(header.strip())
        if match is None:
            raise SessionError(400, f"Failed to parse the Content-Range header {header!r}")
        first, last, total = (None if match[name] is None else int(match[name]) for name in ("first", "last", "total"))
        if first is not None and last is not None and (first > last or (total is not None and last >= total)):
            raise SessionError(400, f"The Content-Range header {header!r} contradicts itself")
        return cls(first, last, total)


class UploadSession:
    """One file in transfer: how much of it is stored, and what.

    *total* is ``None`` until a request gives it. *head* holds the first bytes, at most `HEAD_SIZE`. *is_gone* means that the session was
    given up. Without a *path* the bytes are dropped.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.size: int = 0
        self.crc: int = 0
        self.total: int | None = None
        self.is_complete: bool = False
        self.is_gone: bool = False
        self.head: bytes = b""
        self.path = path
        self._kept_size = 0
        self._kept_crc: int = 0
        self._writer: SessionWriter | None = None
        self._file: BufferedRandom | None = None

    def begin(self, content_range: str | None, content_length: int | None) -> SessionWriter:
        """Start a request that carries bytes, or asks how many are stored. Raises `SessionError`: it is refused, and nothing changes.

        *content_range* is the header, or ``None`` for the whole file in one piece; *content_length* is ``None`` if it is not known.
        """
        given = ContentRange.parse(content_range) if content_range is not None else ContentRange(0, None, content_length)
        if self._writer is not None:
            self._writer.cut()
        if not self.is_complete:
            self._check(given, content_length)
            self.total = given.total if given.total is not None else self.total
        self._writer = SessionWriter(self, given, content_length, is_whole=content_range is None)
        return self._writer

    def _check(self, given: ContentRange, content_length: int | None) -> None:
        if given.total is not None:
            if self.total is not None and given.total != self.total:
                raise SessionError(400, f"The file was declared with {self.total} bytes, and now with {given.total}")
            if given.total < self.size:
                raise SessionError(400, f"The file is declared with {given.total} bytes, and {self.size} are stored")
        if given.first is None:
            if content_length:
                raise SessionError(400, "A query for the offset has no body")
            return
        if given.last is not None and content_length is not None and content_length != given.last - given.first + 1:
            raise SessionError(400, "The Content-Range header and the length of the body contradict each other")
        if given.first > self.size:
            raise SessionError(503, f"The upload offset {given.first} exceeds the {self.size} bytes that are stored")

    def is_written_by(self, writer: SessionWriter) -> bool:
        """Whether *writer* is the request that holds the session."""
        return self._writer is writer

    def append(self, data: memoryview) -> None:
        """Add bytes at the end."""
        if self.size < HEAD_SIZE:
            self.head += bytes(data[: HEAD_SIZE - self.size])
        if self.path is not None:
            if self._file is None:
                self.path.touch()
                self._file = self.path.open("r+b")
                self._file.seek(self.size)
            self._file.write(data)
        while data:
            room = GRANULE - self.size % GRANULE
            piece, data = data[:room], data[room:]
            self.crc = crc32(piece, self.crc)
            self.size += len(piece)
            if self.size % GRANULE == 0:
                self._kept_size, self._kept_crc = self.size, self.crc

    def settle(self, *, is_last: bool) -> None:
        """End the request that holds the session; unless it brought the end, fall back to a multiple of 256 KiB."""
        if is_last:
            self.is_complete, self.total = True, self.size
        elif self.size != self._kept_size:
            self.size, self.crc = self._kept_size, self._kept_crc
            self.head = self.head[: self.size]
            if self._file is not None:
                self._file.truncate(self.size)
        if self._file is not None:
            self._file.close()
            self._file = None
        self._writer = None

    def dump(self) -> dict[str, Any]:
        """Return what would survive a crash now, as JSON; of a request that is being read, only whole granules.

        Bytes in a file are on the disk when this returns.
        """
        if self._file is not None:
            self._file.flush()
        if self.path is not None and self.path.exists():
            with self.path.open("rb") as stored:
                os.fsync(stored.fileno())
        being_written = self._writer is not None and not self.is_complete
        size, crc = (self._kept_size, self._kept_crc) if being_written else (self.size, self.crc)
        return {
            "size": size,
            "crc": crc,
            "total": self.total,
            "is_complete": self.is_complete,
            "is_gone": self.is_gone,
            "head": b64encode(self.head[:size]).decode(),
            "path": None if self.path is None else str(self.path),
        }

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> UploadSession:
        """Return the session that `dump` was called of; bytes in its file that came later are cut off."""
        session = cls(None if dumped["path"] is None else Path(dumped["path"]))
        session.size = session._kept_size = dumped["size"]
        session.crc = session._kept_crc = dumped["crc"]
        session.total = dumped["total"]
        session.is_complete, session.is_gone = dumped["is_complete"], dumped["is_gone"]
        session.head = b64decode(dumped["head"])
        if session.path is not None and session.path.exists() and session.path.stat().st_size > session.size:
            os.truncate(session.path, session.size)
        return session

    def discard(self) -> None:
        """Forget the bytes of a session that will not be completed; a request still being read loses it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self._writer = None
        self.is_gone = True

    @property
    def range_header(self) -> str | None:
        """Value of ``Range`` in a 308; ``None`` when nothing is stored."""
        return f"bytes=0-{self.size - 1}" if self.size else None


class SessionWriter:
    """One request on a session. Feed it, then `finish` it or `cut` it; both may be called again, to no effect."""

    def __init__(self, session: UploadSession, given: ContentRange, content_length: int | None, *, is_whole: bool) -> None:
        self._session = session
        self._given = given
        self._is_whole = is_whole
        first = given.first
        self._expected = content_length if given.last is None or first is None else given.last - first + 1
        self._skip = 0 if first is None else session.size - first
        self._count = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes of the body, in order. Bytes beyond the announced range, or of a request that lost the session, are dropped."""
        if not data or self._session.is_complete or not self._session.is_written_by(self):
            return
        view = memoryview(data)
        if self._given.first is None:
            return
        if self._expected is not None:
            view = view[: self._expected - self._count]
        self._count += len(view)
        skipped = min(self._skip, len(view))
        self._skip -= skipped
        self._session.append(view[skipped:])

    def finish(self) -> bool:
        """The body ended as it should. Return whether the file is whole now.

        Raises:
            SessionError: The body was shorter than announced (400), or another request took the session over (503).
        """
        session = self._session
        if session.is_complete:
            return True
        if not session.is_written_by(self):
            raise SessionError(503, "Another request took this session over")
        if self._expected is not None and self._given.first is not None and self._count < self._expected:
            session.settle(is_last=False)
            raise SessionError(400, f"The body ended after {self._count} of {self._expected} bytes")
        session.settle(is_last=self._is_last())
        return session.is_complete

    def _is_last(self) -> bool:
        if self._is_whole:
            return not self._skip  # a file shorter than the stored bytes is not whole
        return self._session.total is not None and self._session.size == self._session.total

    def cut(self) -> None:
        """The connection broke: keep what may be kept."""
        if not self._session.is_complete and self._session.is_written_by(self):
            self._session.settle(is_last=False)
