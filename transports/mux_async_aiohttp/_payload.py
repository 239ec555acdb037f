"""A request body on its way out: knows whether a byte was written, and sees that the caller's generator is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import aiohttp
import anyio
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler

from mux_async.transport import Body
from mux_async_aiohttp._connection import UnusableConnectionError, check

_FIRST_PIECE = 32 * 1024
"""Small enough that aiohttp does not wait for the socket after it: when this write fails, nothing was written."""
_SMALLEST_PART = 256 * 1024
_LARGEST_PART = 2 * 1024 * 1024
_LARGEST_PART_TLS = 512 * 1024
"""Bytes written in one turn of the event loop: the fewer turns the better, as long as nobody else is kept waiting for more than about a
millisecond. Encryption takes most of the time where there is any."""
_QUICK = 0.01
"""Seconds that writing a part may take for the next to be larger; else it is small, so that no part of a slow line's runs out of time."""


class RequestPayload(aiohttp.Payload):
    """What aiohttp writes instead of the bytes or the generator themselves.

    aiohttp holds the head of a request back until the first piece of its body, so as long as `wrote` is false, nothing left.
    """

    def __init__(self, body: bytes | Body, timeout: float | None) -> None:
        super().__init__(body)
        self._body = body
        self._timeout = timeout
        self._part_size = _SMALLEST_PART
        self._settled: asyncio.Event | None = None
        self.wrote = False
        """Whether bytes of the request may have left."""
        self.is_complete = False
        """Whether all of the body was handed to the network."""
        self.error: Exception | None = None
        """What the caller's generator raised, or that it gave another number of bytes than it declares."""
        self.refusal: UnusableConnectionError | None = None
        """Why nothing may be written."""

    @property
    def is_begun(self) -> bool:
        """Whether aiohttp has begun to take the body."""
        return self._settled is not None

    @property
    def size(self) -> int | None:
        """Bytes in all; ``None`` when not known before."""
        return len(self._body) if isinstance(self._body, bytes) else self._body.length

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text, where it is there as a whole."""
        if isinstance(self._body, bytes):
            return self._body.decode(encoding, errors)
        raise TypeError("a streamed body cannot be decoded before it is sent")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body; older form of `write_with_length`."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002 - known
        """Write the body, and close the generator in every outcome. Runs in a task of aiohttp's."""
        self._settled = asyncio.Event()
        try:
            if isinstance(self._body, bytes):
                await self._put(writer, self._body)
            else:
                async with aclosing(self._body.pieces()) as pieces:
                    while (piece := await self._next(pieces)) is not None:
                        await self._put(writer, piece)
            if not self.wrote:
                self._check(writer)  # aiohttp is about to write the head alone
            self.wrote = self.is_complete = True
        finally:
            self._settled.set()

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        """Yield the body: how aioresponses, which writes nothing, gets at it."""
        if isinstance(self._body, bytes):
            yield self._body
        else:
            async with aclosing(self._body.pieces()) as pieces:
                while (piece := await self._next(pieces)) is not None:
                    yield piece
        self.wrote = self.is_complete = True

    async def _next(self, pieces: AsyncIterator[bytes | memoryview]) -> bytes | memoryview | None:
        try:
            return await anext(pieces, None)
        except Exception as error:
            self.error = error
            raise

    async def _put(self, writer: AbstractStreamWriter, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk)
        if not self.wrote:
            self._check(writer)
            try:
                await writer.write(view[:_FIRST_PIECE])
            except asyncio.CancelledError:
                self.wrote = True  # it did wait for the socket, because the head is long
                raise
            self.wrote = True
            view = view[_FIRST_PIECE:]
        loop = asyncio.get_running_loop()
        is_encrypted = writer.transport is not None and writer.transport.get_extra_info("sslcontext") is not None
        largest = _LARGEST_PART_TLS if is_encrypted else _LARGEST_PART
        while view:
            part, view = view[: self._part_size], view[self._part_size :]
            started = loop.time()
            async with asyncio.timeout(self._timeout):
                await writer.write(part)
                await writer.drain()
            if loop.time() - started < _QUICK:
                self._part_size = min(4 * self._part_size, largest)
            else:
                self._part_size = _SMALLEST_PART
            if view:
                await asyncio.sleep(0)

    def _check(self, writer: AbstractStreamWriter) -> None:
        """Check the connection once more: since it was chosen, the body was waited for."""
        protocol = getattr(writer, "protocol", None)
        try:
            if isinstance(protocol, ResponseHandler):
                check(protocol, begins=True)
        except UnusableConnectionError as error:
            self.refusal = error
            raise

    async def settle(self) -> None:
        """Wait until the generator is closed, if it was ever started; aiohttp has told its task to stop by then."""
        if self._settled is not None and not self._settled.is_set():
            with anyio.CancelScope(shield=True):
                await self._settled.wait()
