"""Parts of the aiohttp adapter by themselves: the size of the pieces that it writes, and the timer that ends waits that last too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter

from mux_async.transport import Body, WholeBody
from mux_async_aiohttp._connection import InactivityTimer
from mux_async_aiohttp._fast_path import FastPathBody
from mux_async_aiohttp._payload import RequestPayload

pytestmark = [pytest.mark.anyio, pytest.mark.runtimes("virtual-asyncio")]

_fits: type[WholeBody] = FastPathBody

KIB = 1024
SIZE = 16 * 1024 * KIB


class _Connection:
    def __init__(self, *, is_encrypted: bool) -> None:
        self._is_encrypted = is_encrypted

    def get_extra_info(self, name: str) -> object:
        assert name == "sslcontext"
        return object() if self._is_encrypted else None


class Writer(AbstractStreamWriter):
    """Takes parts, each in *delay* seconds, and records in which iteration of the event loop."""

    def __init__(self, *, is_encrypted: bool = False) -> None:
        self._connection = cast("Any", _Connection(is_encrypted=is_encrypted))
        self.delay = 0.0
        self.turns = 0
        self.parts: list[int] = []
        self.written_in: list[int] = []

    @property
    def transport(self) -> asyncio.WriteTransport:
        return cast("asyncio.WriteTransport", self._connection)

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.parts.append(len(chunk))
        self.written_in.append(self.turns)

    async def drain(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)

    async def write_eof(self, chunk: bytes = b"") -> None:
        raise NotImplementedError

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        raise NotImplementedError

    def enable_chunking(self) -> None:
        raise NotImplementedError

    async def write_headers(self, status_line: str, headers: Any) -> None:
        raise NotImplementedError


async def test_a_turn_for_each_part() -> None:
    """However fast the network takes a large body, other tasks run after every part of it."""
    writer = Writer()

    async def count() -> None:
        while True:
            writer.turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await RequestPayload(bytes(SIZE), 60.0).write(writer)
    counting.cancel()

    assert sum(writer.parts) == SIZE
    assert len(set(writer.written_in[1:])) == len(writer.parts) - 1  # the first, small one goes with the one after it


@pytest.mark.parametrize(("is_encrypted", "largest"), [(False, 2048 * KIB), (True, 512 * KIB)])
async def test_large_parts_on_a_fast_line(largest: int, *, is_encrypted: bool) -> None:
    """Parts grow while they are taken at once, and less far where they are encrypted, which takes longer."""
    writer = Writer(is_encrypted=is_encrypted)
    await RequestPayload(bytes(SIZE), 60.0).write(writer)

    assert max(writer.parts) == largest
    assert len(writer.parts) <= SIZE // largest + 5


async def test_small_parts_on_a_slow_line() -> None:
    """A connection that takes 256 KiB in each minute does not time out, also if it was faster before."""

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(4096 * KIB)
        writer.delay = 50.0
        yield bytes(4096 * KIB)
        yield bytes(4096 * KIB)

    writer = Writer()
    payload = RequestPayload(Body(pieces, 3 * 4096 * KIB), 60.0)
    await payload.write(writer)

    assert payload.is_complete
    assert writer.parts[-16:] == [256 * KIB] * 16


async def test_a_line_that_takes_nothing() -> None:
    """A part that is not taken in time ends the body."""
    writer = Writer()
    writer.delay = 61.0
    with pytest.raises(TimeoutError):
        await RequestPayload(bytes(SIZE), 60.0).write(writer)

    assert sum(writer.parts) == (32 + 256) * KIB


async def test_payload_is_opaque() -> None:
    """A streamed payload refuses to be decoded before it is sent, and knows its size only when it was declared."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    assert RequestPayload(Body(chunks), None).size is None
    assert RequestPayload(Body(chunks, 1), None).size == 1
    assert RequestPayload(b"abc", None).decode() == "abc"
    with pytest.raises(TypeError):
        RequestPayload(Body(chunks), None).decode()


class _Wait:
    def __init__(self) -> None:
        self.ended: tuple[float, BaseException] | None = None

    def set_exception(self, exc: BaseException, /) -> None:
        self.ended = asyncio.get_running_loop().time(), exc


async def test_inactivity_timer() -> None:
    """A wait ends when its time is over, to the moment, unless it was stopped; one that begins later ends later; closing ends none."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    timer = InactivityTimer(10.0)
    first, stopped, second, third = _Wait(), _Wait(), _Wait(), _Wait()
    timer.start(first)
    timer.start(stopped)
    await asyncio.sleep(4.0)
    timer.start(second)
    timer.stop(stopped)
    timer.stop(stopped)
    await asyncio.sleep(20.0)
    timer.start(third)
    timer.close()
    await asyncio.sleep(60.0)

    assert stopped.ended is None
    assert third.ended is None
    for wait, due in ((first, 10.0), (second, 14.0)):
        assert wait.ended is not None
        assert wait.ended[0] - began == pytest.approx(due)
        assert isinstance(wait.ended[1], aiohttp.SocketTimeoutError)
