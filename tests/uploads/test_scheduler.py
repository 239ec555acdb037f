"""What uploads of one client share: the rate limit, the slots and the memory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from random import Random

import anyio
import anyio.lowlevel
import pytest

from mux_async import Secret
from mux_async.errors import ConfigurationError
from mux_async.testing import FakeTransport, respond
from mux_async.transport import Body, HttpRequest, HttpResponse
from mux_async.uploads import UploadProgress, UploadSettings
from mux_async.uploads._read_ahead import FIRST_PIECE_SIZE
from mux_async.uploads._runner import UploadRun
from mux_async.uploads._scheduler import MAX_PIECE_SIZE, MIN_PIECE_SIZE, UploadScheduler
from mux_async.uploads._source import Source, open_source
from mux_async.uploads.machine import MAX_CHUNK_SIZE, UploadState
from tests.uploads.fake_session import URL

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

KIB = 1024
DATA = Random(2).randbytes(1024 * KIB)


class Swallowing(FakeTransport):
    """Takes bodies piece by piece, with an iteration of the event loop for each, and counts concurrent bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        assert isinstance(request.body, Body)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            async for _ in request.body.pieces():
                await anyio.lowlevel.checkpoint()
        finally:
            self.now -= 1
        return respond(200)


class Uploading:
    """A number of uploads that share a scheduler."""

    def __init__(self, settings: UploadSettings, count: int) -> None:
        self.scheduler = UploadScheduler(settings)
        self.transport = Swallowing()
        self.sent = [0] * count
        self.ended: dict[int, float] = {}
        self.spread = 0

    async def send(self, number: int, source: Source = DATA) -> None:
        def note(progress: UploadProgress) -> None:
            self.sent[number] = progress.sent
            self.spread = max(self.spread, max(self.sent) - min(self.sent))

        reader = open_source(source)
        run = UploadRun(
            transport=self.transport,
            url=Secret(URL),
            reader=reader,
            random=Random(1),
            on_progress=note,
            scheduler=self.scheduler,
        )
        try:
            async with self.scheduler.slot():
                await run.run()
        finally:
            await reader.aclose()
        self.ended[number] = anyio.current_time()

    async def send_all(self, source: Source = DATA) -> float:
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for number in range(len(self.sent)):
                tasks.start_soon(self.send, number, source)
        return anyio.current_time() - start


async def test_cap_is_kept_and_even() -> None:
    """Four uploads of 1 MiB at 1 MiB a second take 4 s together, and none is ever more than two shares ahead."""
    uploads = Uploading(UploadSettings(max_bytes_per_second=1024 * KIB), 4)
    elapsed = await uploads.send_all()

    assert elapsed == pytest.approx(4.0, abs=0.1)
    assert uploads.spread <= 2 * 1024 * KIB * 0.05


async def test_cap_is_never_exceeded_in_any_window() -> None:
    """In any window of time no more bytes are sent than the limit allows, plus one share."""
    cap, share = 1000 * KIB, 50 * KIB
    scheduler = UploadScheduler(UploadSettings(max_bytes_per_second=cap))
    left: list[tuple[float, int]] = []

    async def take(pause: float) -> None:
        for _ in range(20):
            await scheduler.throttle(share)
            left.append((anyio.current_time(), share))
            await anyio.sleep(pause)

    async with anyio.create_task_group() as tasks:
        for pause in (0.0, 0.3, 1.1):
            tasks.start_soon(take, pause)

    for index, (start, _) in enumerate(left):
        total = 0
        for moment, size in left[index:]:
            total += size
            assert total <= cap * (moment - start) + share + 1


async def test_late_comer_gets_its_share() -> None:
    """An upload that starts when another is half done gets the same share from then on."""
    uploads = Uploading(UploadSettings(max_bytes_per_second=1024 * KIB), 2)
    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(uploads.send, 0)
        await anyio.sleep(0.5)
        tasks.start_soon(uploads.send, 1)

    assert uploads.ended[0] - start == pytest.approx(1.5, abs=0.11)
    assert uploads.ended[1] - start == pytest.approx(2.0, abs=0.11)


async def test_cancelled_in_line() -> None:
    """Uploads that are cancelled while they wait for their share cost the others no time."""
    uploads = Uploading(UploadSettings(max_bytes_per_second=1024 * KIB), 41)
    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(uploads.send, 40)
        await anyio.sleep(0.2)
        with anyio.move_on_after(0.3):
            async with anyio.create_task_group() as others:
                for number in range(40):
                    others.start_soon(uploads.send, number)
                await anyio.sleep_forever()

    taken = sum(uploads.sent[:40])
    assert taken > 0
    assert uploads.ended[40] - start == pytest.approx((len(DATA) + taken) / (1024 * KIB), abs=0.11)


async def test_places_are_given_in_order() -> None:
    """No more than `max_concurrent` send at once; the others follow in order of arrival, also if some are cancelled."""
    uploads = Uploading(UploadSettings(max_concurrent=3, max_bytes_per_second=1024 * KIB), 9)
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(uploads.send, number)
            await anyio.sleep(0.001)
        with anyio.move_on_after(0.1):
            await uploads.send(8)

    assert uploads.transport.most == 3
    assert list(uploads.ended) == sorted(uploads.ended)
    assert 8 not in uploads.ended


@pytest.mark.parametrize(("where", "most"), [("in memory", FIRST_PIECE_SIZE + MIN_PIECE_SIZE), ("on disk", 4 * MIN_PIECE_SIZE)])
async def test_sixty_four_sources_make_even_progress(
    tmp_path: Path, where: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty-four uploads at once, without a cap, are never further apart than a few pieces, be they read in the loop or by threads.

    What is in memory is read as soon as it is asked for: the first upload has one large piece, because it is alone at that moment. One run
    of three is enough, because a busy machine may stop a thread while the others continue.
    """
    source: Source = DATA
    if where == "on disk":  # a file in the page cache is in memory too, but those that are opened first have a start
        monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
        source = tmp_path / "film.mp4"
        source.write_bytes(DATA)
    spreads: list[int] = []
    while not spreads or (spreads[-1] > most and len(spreads) < 3):
        uploads = Uploading(UploadSettings(memory=64 * 2 * MIN_PIECE_SIZE), 64)
        await uploads.send_all(source)
        assert len(uploads.ended) == 64
        spreads.append(uploads.spread)

    assert spreads[-1] <= most, spreads


@pytest.mark.parametrize("active", [1, 2, 7, 64])
async def test_memory_is_shared(active: int) -> None:
    """The pieces of all uploads together stay within the memory limit, down to a minimum size."""
    settings = UploadSettings()
    scheduler = UploadScheduler(settings)
    sizes: list[int] = []

    async def hold() -> None:
        async with scheduler.slot():
            await anyio.sleep(1)
            sizes.append(scheduler.piece_size)
            assert scheduler.window_size % (256 * KIB) == 0
            await anyio.sleep(1)

    async with anyio.create_task_group() as tasks:
        for _ in range(active):
            tasks.start_soon(hold)

    assert 2 * sum(sizes) <= settings.memory
    assert all(MIN_PIECE_SIZE <= size <= MAX_PIECE_SIZE for size in sizes)
    assert scheduler.piece_size == MAX_PIECE_SIZE


async def test_streams_share_memory_too() -> None:
    """What streams keep for sending again shrinks with their number."""
    uploads = Uploading(UploadSettings(memory=1024 * KIB), 4)
    lengths: list[int] = []

    class Measuring(Swallowing):
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            line = request.headers["Content-Range"]
            first, last = line.removeprefix("bytes ").partition("/")[0].split("-")
            lengths.append(int(last) + 1 - int(first))
            await super().send(request)
            return respond(200) if int(last) + 1 == len(DATA) else respond(308, headers={"Range": f"bytes=0-{last}"})

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 10_000):
            yield DATA[start : start + 10_000]

    uploads.transport = Measuring()

    async def send(number: int) -> None:
        reader = open_source(stream(), length=len(DATA))
        run = UploadRun(
            transport=uploads.transport, url=Secret(URL), reader=reader, random=Random(number), scheduler=uploads.scheduler
        )
        async with uploads.scheduler.slot():
            await run.run()
        await reader.aclose()

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(send, number)

    assert lengths[3] == 256 * KIB


async def test_progress_on_a_slow_line() -> None:
    """If a piece takes long, pieces get smaller, so that progress is reported at least once a second; if it is quick, they get larger."""
    seen: list[tuple[float, int]] = []
    speed = 100.0 * KIB

    class Slow(FakeTransport):
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            assert isinstance(request.body, Body)
            async for piece in request.body.pieces():
                await anyio.sleep(len(piece) / speed)
            return respond(200)

    async def send(data: bytes) -> list[int]:
        seen.clear()
        run = UploadRun(
            transport=Slow(),
            url=Secret(URL),
            reader=open_source(data),
            random=Random(1),
            on_progress=lambda progress: seen.append((anyio.current_time(), progress.sent)),
        )
        await run.run(UploadState(len(data), chunk_size=MAX_CHUNK_SIZE))
        return [after - before for (_, before), (_, after) in pairwise(seen)]

    await send(DATA * 4)
    pauses = [after - before for (before, _), (after, _) in pairwise(seen)]
    speed = 1e9
    steps = await send(DATA * 16)

    assert max(pauses[6:]) <= 1.0
    assert max(steps) == MAX_PIECE_SIZE


def test_settings_are_checked() -> None:
    """Unusable settings are refused by name."""
    with pytest.raises(ConfigurationError, match="max_concurrent is 0"):
        UploadSettings(max_concurrent=0)
    for cap in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ConfigurationError, match="max_bytes_per_second"):
            UploadSettings(max_bytes_per_second=cap)
    with pytest.raises(ConfigurationError, match="memory is 1000"):
        UploadSettings(memory=1000)
