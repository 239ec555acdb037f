"""How files are read: cached parts in the event loop, into reused buffers, and all others in threads."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from random import Random
from zlib import crc32

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async import Secret
from mux_async.errors import UploadError
from mux_async.testing import FakeTransport
from mux_async.uploads._buffer_pool import BufferPool
from mux_async.uploads._read_ahead import Checksums, ReadAhead
from mux_async.uploads._runner import UploadRun
from mux_async.uploads._scheduler import MAX_PIECE_SIZE, MIN_PIECE_SIZE, UploadScheduler, UploadSettings
from mux_async.uploads._source import BytesReader, FileReader
from mux_async.uploads.machine import GRANULE
from tests._examples import examples
from tests.uploads.fake_session import URL, Session

DATA = Random(3).randbytes(5 * GRANULE + 7)
asks = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux can be asked what it has in memory")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    return path


class Observed(FileReader):
    """A file with a scripted page cache: each read finds the next number of bytes in *cached*, at last all or none."""

    def __init__(self, path: Path, cached: list[int] | None = None) -> None:
        super().__init__(path)
        self._cached = cached
        self.at_once: list[int] = []
        self.in_threads: list[int] = []
        self.threads: set[int] = set()

    def _copy_cached(self, into: memoryview, offset: int) -> int:
        if self._cached is None:
            return super()._copy_cached(into, offset)
        count = min(len(into), self._cached.pop(0) if self._cached else 0)
        into[:count] = super().read_blocking(offset, count)
        return count

    def read_nowait(self, offset: int, length: int) -> memoryview | None:
        self.at_once.append(offset)
        self.threads.add(threading.get_ident())
        return super().read_nowait(offset, length)

    def read_blocking(self, offset: int, length: int) -> bytes:
        self.in_threads.append(offset)
        self.threads.add(threading.get_ident())
        return super().read_blocking(offset, length)


async def read(reader: FileReader, checksums: Checksums | None = None) -> list[bytes | memoryview]:
    """Read the file as an upload does, and return its pieces."""
    kept: list[bytes | memoryview] = []
    await reader.prepare(0, 0)
    async with anyio.create_task_group() as tasks:
        ahead = ReadAhead(reader, UploadScheduler(UploadSettings(memory=2 * MIN_PIECE_SIZE)), tasks, checksums)
        async with aclosing(ahead.pieces(0, len(DATA))) as pieces:
            kept += [piece async for piece in pieces]
    await reader.aclose()
    return kept


@asks
@pytest.mark.anyio
async def test_what_is_in_memory_is_read_at_once(film: Path) -> None:
    """A file in the page cache is read in the event loop: threads only open it."""
    reader = Observed(film)
    pieces = await read(reader)

    assert b"".join(pieces) == DATA
    assert reader.threads == {threading.get_ident()}
    assert not reader.in_threads


@pytest.mark.anyio
async def test_anything_else_is_read_by_threads(film: Path) -> None:
    """A file that is not in the page cache is read only in threads."""
    reader = Observed(film, cached=[])
    pieces = await read(reader)

    assert b"".join(pieces) == DATA
    assert not reader.at_once
    assert threading.get_ident() not in reader.threads


@asks
@pytest.mark.anyio
async def test_the_loop_is_held_up_once(film: Path) -> None:
    """If a part is not in the page cache, threads read the rest of the file, in later chunks too."""
    reader = Observed(film, cached=[MIN_PIECE_SIZE, MIN_PIECE_SIZE, 4096, MIN_PIECE_SIZE])
    pieces = await read(reader)

    assert b"".join(pieces) == DATA
    assert reader.at_once == [0, MIN_PIECE_SIZE]
    assert reader.in_threads[0] == MIN_PIECE_SIZE + 4096


@asks
@given(st.lists(st.integers(0, 2 * MIN_PIECE_SIZE), max_size=24))
@settings(max_examples=examples(60), deadline=None)
def test_the_bytes_are_the_same(tmp_path_factory: pytest.TempPathFactory, cached: list[int]) -> None:
    """For any content of the page cache, the same bytes are read and checksummed."""
    path = tmp_path_factory.getbasetemp() / "film.mp4"
    if not path.exists():
        path.write_bytes(DATA)
    checksums = Checksums()
    pieces = anyio.run(lambda: read(Observed(path, [MIN_PIECE_SIZE, *cached]), checksums))

    assert b"".join(pieces) == DATA
    assert checksums.at(len(DATA)) == crc32(DATA)


@asks
@pytest.mark.anyio
async def test_upload_of_a_file_that_leaves_the_memory(film: Path) -> None:
    """A file that is partly in the page cache arrives whole."""
    session = Session()
    reader = Observed(film, cached=[MIN_PIECE_SIZE, GRANULE, 3 * 4096])
    run = UploadRun(
        transport=FakeTransport(session), url=Secret(URL), reader=reader, random=Random(1), on_progress=lambda _: None
    )
    await run.run()
    await reader.aclose()

    assert bytes(session.held) == DATA


@asks
@pytest.mark.anyio
@pytest.mark.parametrize("length", [len(DATA), GRANULE], ids=["written to", "cut short"])
async def test_changed_while_it_is_read_at_once(film: Path, length: int) -> None:
    """A read in the event loop detects changes of the file like a read in a thread."""
    reader = FileReader(film)
    await reader.prepare(0, 0)
    assert reader.is_in_memory
    assert bytes(reader.read_nowait(0, GRANULE) or b"") == DATA[:GRANULE]
    os.truncate(film, length)
    os.utime(film, ns=(1, 1))
    with pytest.raises(UploadError, match="changed while"):
        reader.read_nowait(GRANULE // 2, GRANULE)

    await reader.aclose()


@asks
@pytest.mark.anyio
async def test_cut_short_before_what_is_read(film: Path) -> None:
    """If a file ends before the requested range, a read in a thread reports it."""
    reader = FileReader(film)
    await reader.prepare(0, 0)
    os.truncate(film, GRANULE)

    assert reader.read_nowait(GRANULE, GRANULE) is None
    assert not reader.is_in_memory
    with pytest.raises(UploadError, match="changed while"):
        reader.read_blocking(GRANULE, GRANULE)
    await reader.aclose()


@asks
def test_memory_is_used_again() -> None:
    """A buffer without views is reused; a view, or a part of one, keeps its bytes."""
    buffers = BufferPool()
    first = buffers.take(1000)
    first[:] = b"a" * 1000
    owner, kept = id(first.obj), first[10:20]
    first.release()
    second = buffers.take(1000)
    second[:] = b"b" * 1000

    assert id(second.obj) != owner
    assert kept == b"a" * 10
    kept.release()
    assert id(buffers.take(900).obj) == owner


@asks
def test_memory_is_bounded() -> None:
    """Buffers that are too large are dropped, and few are kept, for any number of views."""
    buffers = BufferPool()
    views = [buffers.take(MAX_PIECE_SIZE) for _ in range(9)]
    first = id(views[-1].obj)
    views.clear()
    views = [buffers.take(MAX_PIECE_SIZE) for _ in range(9)]

    assert sum(id(view.obj) == first for view in views) == 1
    buffers.take(MIN_PIECE_SIZE)
    assert len(buffers.take(MAX_PIECE_SIZE)) == MAX_PIECE_SIZE
    assert buffers.held <= 2 * MAX_PIECE_SIZE


@asks
@pytest.mark.anyio
async def test_memory_of_one_upload(film: Path) -> None:
    """While pieces are sent one by one, a file of any size is read into two alternating buffers."""
    reader = FileReader(film)
    owners: list[int] = []

    async def send(pieces: AsyncIterator[bytes | memoryview]) -> None:
        async for piece in pieces:
            assert isinstance(piece, memoryview)
            owners.append(id(piece.obj))

    await reader.prepare(0, 0)
    async with anyio.create_task_group() as tasks:
        ahead = ReadAhead(reader, UploadScheduler(UploadSettings(memory=2 * MIN_PIECE_SIZE)), tasks, None)
        async with aclosing(ahead.pieces(0, len(DATA) - 7)) as pieces:
            await send(pieces)
    await reader.aclose()

    assert len(owners) == 20
    assert len(set(owners)) == 2


@pytest.mark.anyio
async def test_few_read_in_one_turn() -> None:
    """If many uploads have their bytes in memory, few of them read in one iteration of the event loop, and all of them finish."""
    turns: list[int] = [0]
    is_over = anyio.Event()

    class Counting(BytesReader):
        def read_nowait(self, offset: int, length: int) -> memoryview:
            turns[-1] += 1
            return super().read_nowait(offset, length)

    async def count() -> None:
        while not is_over.is_set():
            await anyio.lowlevel.checkpoint()
            turns.append(0)

    async def take(scheduler: UploadScheduler) -> None:
        async with (
            scheduler.slot(),
            aclosing(ReadAhead(Counting(memoryview(DATA)), scheduler, tasks, None).pieces(0, len(DATA))) as pieces,
        ):
            assert b"".join([piece async for piece in pieces]) == DATA

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        scheduler = UploadScheduler()
        async with anyio.create_task_group() as uploads:
            for _ in range(64):
                uploads.start_soon(take, scheduler)
        is_over.set()

    assert sum(turns) >= 64 * len(DATA) // (512 * 1024)
    assert max(turns) <= 8  # four, and as many whose turn has ended since


@given(cuts=st.lists(st.integers(1, len(DATA) - 1), max_size=6, unique=True))
@settings(max_examples=examples(50), deadline=None)
def test_checksums(cuts: list[int]) -> None:
    """For any division into pieces, the checksum is known at every multiple of 256 KiB that was passed, and at the end."""
    checksums = Checksums()
    edges = [0, *sorted(cuts), len(DATA)]
    for first, end in pairwise(edges):
        checksums.update(first, DATA[first:end])

    places = [*range(0, len(DATA), GRANULE), len(DATA)]
    assert [checksums.at(place) for place in places] == [crc32(DATA[:place]) for place in places]
    checksums.forget_before(2 * GRANULE)
    assert checksums.at(GRANULE) is None
    checksums.update(GRANULE, DATA[GRANULE : 2 * GRANULE])
    assert checksums.at(2 * GRANULE) == crc32(DATA[: 2 * GRANULE])
