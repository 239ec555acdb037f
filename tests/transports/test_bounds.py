"""``max_response_bytes`` bounds the memory and the bytes of a response, on every adapter, in every kind of call."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Generator, Iterable
from contextlib import contextmanager
from itertools import repeat

import anyio
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async import LimitSettings, Mux, TransportSettings
from mux_async._content import iter_content, read_content
from mux_async.errors import ResponseError, ResponseTooLargeError, UndecodableResponseError
from mux_async.testing.loopback import Conversation, Peer, Reply, Site, always, listen, talk
from mux_async.transport import HttpResponse, TransportFactory
from tests.transports.adapters import over_adapters

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
ALLOWED = 32 * MIB
DEFAULT = 64 * MIB
PIECE = 64 * 1024
NO_LIMITS = LimitSettings(enabled=False)


@contextmanager
def at_most(size: int) -> Generator[None]:
    """Fail when more than *size* bytes are held at any time in the block."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < size, f"{(peak - before) / MIB:.1f} MiB were held"


def zeros(size: int, wbits: int) -> bytes:
    """Compress *size* bytes of zeros, without the checksum at the end: each MiB but the first is the same block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first, block = (packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + block * (size // MIB - 1)


BOMBS = {
    "gzip": zeros(300 * MIB, 31),
    "deflate": zeros(300 * MIB, 15),
    "deflate without its head": zeros(300 * MIB, -15),
}
EMPTY = gzip.compress(b"")


def endless(encoding: str, piece: bytes) -> Conversation:
    """Serve *piece* for ever, in chunks."""

    async def conversation(peer: Peer) -> None:
        while await peer.request() is not None:
            header = f"Content-Encoding: {encoding}\r\n" if encoding else ""
            await peer.send(f"HTTP/1.1 200 OK\r\n{header}Transfer-Encoding: chunked\r\n\r\n".encode())
            chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
            for each in repeat(chunk, 400 * MIB // len(chunk)):
                await peer.send(each)

    return conversation


def client(site: Site, make: TransportFactory, **options: int) -> Mux:
    # One connection, and none is kept: what is open at the end would count.
    return Mux(
        token_id="i",
        token_secret="s",
        base_url=site.origin,
        limits=NO_LIMITS,
        transport=make,
        transport_settings=TransportSettings(max_connections=1, keepalive=0),
        max_attempts=1,
        **options,  # type: ignore[arg-type]
    )


async def call(mux: Mux) -> object:
    return await mux.request("GET", "/x")


async def raw(mux: Mux) -> object:
    return await mux.video.assets.with_raw_response.retrieve("a")


async def create(mux: Mux) -> object:
    return await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])


async def streamed(mux: Mux) -> None:
    async with mux.video.playback.thumbnail("p1", "jpg").stream() as stream:
        async for _ in stream:
            pass


CALLS = {"call": call, "raw": raw, "create": create}


def encoding_of(name: str) -> str:
    return name.split()[0]


@over_adapters()
@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("kind", CALLS)
async def test_bombs(kind: str, name: str, make: TransportFactory) -> None:
    """300 MB that come out of 300 kB cost less than 32 MB at the default bound."""
    bomb = Reply(headers=[("Content-Encoding", encoding_of(name))], body=BOMBS[name])
    async with listen(talk(always(bomb))) as site, client(site, make) as mux:
        with at_most(ALLOWED), pytest.raises(ResponseTooLargeError, match=f"larger than {DEFAULT} bytes"):
            await CALLS[kind](mux)


@over_adapters()
@pytest.mark.parametrize("bound", [1000, DEFAULT])
async def test_endless_empty_members(bound: int, make: TransportFactory) -> None:
    """An endless stream of empty gzip members is refused: compressed bytes count as well as decompressed ones."""
    async with listen(endless("gzip", EMPTY * 3000)) as site:
        async with client(site, make, max_response_bytes=bound) as mux:
            with at_most(ALLOWED), anyio.fail_after(30), pytest.raises(ResponseTooLargeError):
                await call(mux)
        assert site.sent < bound + ALLOWED


@over_adapters()
async def test_endless_empty_members_in_a_stream(make: TransportFactory) -> None:
    """A streamed call that yields nothing does not read for ever."""
    async with listen(endless("gzip", EMPTY * 3000)) as site:
        async with client(site, make) as mux:
            with at_most(ALLOWED), anyio.fail_after(30), pytest.raises(ResponseError):
                await streamed(mux)
        assert site.sent < ALLOWED


@over_adapters()
async def test_endless_content(make: TransportFactory) -> None:
    """A response without an end takes its bound of memory, and little more."""
    bound = 48 * MIB
    async with listen(endless("", b"x" * PIECE)) as site:
        async with client(site, make, max_response_bytes=bound) as mux:
            with at_most(bound + ALLOWED), anyio.fail_after(50), pytest.raises(ResponseTooLargeError):
                await call(mux)
        assert site.sent < bound + ALLOWED


# What the core does with a body, over any transport


# It only waits for the body, which is the same on every event loop.
ON_ONE_LOOP = pytest.mark.runtimes("asyncio")


class Pieces:
    """A body in pieces as they are."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None: ...


def response(pieces: Iterable[bytes], encoding: str = "gzip") -> HttpResponse:
    return HttpResponse(200, CIMultiDictProxy(CIMultiDict({"Content-Encoding": encoding})), Pieces(pieces))


@ON_ONE_LOOP
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_tiny_pieces(encoding: str) -> None:
    """Pieces of two bytes take no more memory than their bytes do."""
    bound = 64 * 1024
    plain = [bytes([number % 256, number // 256 % 256]) for number in range(bound // 2)]
    whole = b"".join(plain)
    packed = gzip.compress(whole) if encoding == "gzip" else whole
    split = [packed[place : place + 2] for place in range(0, len(packed), 2)]
    del plain, packed
    with at_most(4 * bound):
        assert await read_content(response(split, encoding), bound) == whole


@ON_ONE_LOOP
@pytest.mark.parametrize("size", [1000, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_large_and_within_the_bound(encoding: str, size: int) -> None:
    """A body arrives whole up to the last byte that the bound allows; a byte more is refused."""
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    data = {"gzip": gzip.compress(content, 1), "deflate": zlib.compress(content, 1), "identity": content}[encoding]
    split = [data[place : place + 5000] for place in range(0, len(data), 5000)]

    assert await read_content(response(split, encoding), size) == content
    assert await read_content(response(split, encoding), 64 * MIB) == content
    with pytest.raises(ResponseTooLargeError):
        await read_content(response(split, encoding), size - 1)


@ON_ONE_LOOP
async def test_what_is_sensible_is_read() -> None:
    """Many members of gzip, a server that flushes after each byte, and what cannot be compressed are read as they are."""
    members = b"".join(gzip.compress(b"%d," % number) for number in range(2000))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    flushed = [packer.compress(b"x") + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(50_000)] + [packer.flush()]
    noise = bytes((number * number) % 251 for number in range(300_000))

    assert await read_content(response([members]), 20_000) == b"".join(b"%d," % number for number in range(2000))
    assert await read_content(response(flushed), 500_000) == b"x" * 50_000
    assert await read_content(response([gzip.compress(noise, 0)]), 300_000) == noise


@ON_ONE_LOOP
@pytest.mark.parametrize("cut", [1, 10, 1000])
async def test_what_ends_too_early(cut: int) -> None:
    """A large compression that ends too early is an error, whether its content was held or only counted."""
    content = bytes(range(256)) * 4096 * 12
    data = gzip.compress(content)
    with pytest.raises(UndecodableResponseError, match="too early"):
        await read_content(response([data[:-cut]]), 64 * MIB)
    with pytest.raises(UndecodableResponseError, match="too early"):
        _ = [piece async for piece in iter_content(response([data[:-cut]]))]


async def test_a_traceback_holds_nothing() -> None:
    """The part of a too large response that was read is freed, also while the error is kept."""
    with at_most(24 * MIB):
        errors: list[BaseException] = []
        for _ in range(10):
            try:
                await read_content(response([b"x" * PIECE] * 200, "identity"), 8 * MIB)
            except ResponseTooLargeError as error:
                errors.append(error)
        assert len(errors) == 10
