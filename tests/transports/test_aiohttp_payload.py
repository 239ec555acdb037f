"""How the aiohttp adapter cuts a body: into few parts where the network takes them, into small ones where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp.abc import AbstractStreamWriter

from mux_async.transport import Body
from mux_async_aiohttp._payload import RequestPayload

pytestmark = [pytest.mark.anyio, pytest.mark.runtimes("virtual-asyncio")]

KIB = 1024
SIZE = 16 * 1024 * KIB


class _Connection:
    def __init__(self, *, is_encrypted: bool) -> None:
        self._is_encrypted = is_encrypted

    def get_extra_info(self, name: str) -> object:
        assert name == "sslcontext"
        return object() if self._is_encrypted else None


class Writer(AbstractStreamWriter):
    """Takes parts, each in so many seconds, and notes in which turn of the event loop."""

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
    """However fast the network takes a large body, others get their turn after every part of it."""
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
    """A line that takes a quarter of a megabyte in a minute's time is not timed out for taking it slowly, also after it was fast."""

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
