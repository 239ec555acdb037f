"""A second run with the same journal: finished items are skipped, begun ones continue, unknown ones are looked up."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from random import Random

import anyio
import attrs
import pytest

from mux_async.emulator import (
    EmulatorSettings,
    Fault,
    InputProblem,
    MediaInfo,
    MediaSource,
)
from mux_async.ingest import (
    Ingest,
    IngestEvent,
    Item,
    ItemFinished,
    ItemMoved,
    ItemProgress,
    ItemSkipped,
    Journal,
    Stage,
    file_item,
    make_plan,
)
from tests.ingest.emulation import client_of, emulate, left_unknown, make_asset, posts, urls

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


async def test_run_again(films: Path, path: Path) -> None:
    """A second run of a finished ingest calls ``whoami``, creates nothing, and reports that all items were ready before."""
    emulator = emulate()
    items = make_plan([films]).items
    first = await Ingest(client_of(emulator), items, journal=path).run()
    arrivals = len(emulator.arrivals)
    events: list[IngestEvent] = []
    second = await Ingest(client_of(emulator), items, journal=path, on_event=events.append).run()

    assert (first.ready, first.ready_before) == (6, 0)
    assert (second.ready, second.ready_before, second.is_complete) == (0, 6, True)
    assert len(emulator.arrivals) == arrivals + 1
    assert all(isinstance(event, ItemSkipped) for event in events)


async def test_stopped_and_continued(films: Path, path: Path) -> None:
    """The next run begins the items that a stopped run did not begin, and creates nothing twice."""
    emulator = emulate()
    items = [*make_plan([films]).items, *urls(4)]

    def stop(event: IngestEvent) -> None:
        if isinstance(event, ItemFinished):
            first.stop()

    first = Ingest(client_of(emulator), items, journal=path, concurrency=2, on_event=stop)
    stopped = await first.run()
    second = await Ingest(client_of(emulator), items, journal=path).run()

    assert stopped.unfinished == 0
    assert stopped.not_started > 0
    assert (second.ready_before, second.ready) == (stopped.ready, 10 - stopped.ready)
    assert len(posts(emulator)) == len(await client_of(emulator).video.assets.list()) == 10


async def test_cancelled_anywhere(films: Path, path: Path) -> None:
    """A run that is cancelled repeatedly at any moment ends with one asset for each item."""
    emulator = emulate()
    items = [*make_plan([films]).items, *urls(3)]
    for moment in range(14):
        with anyio.move_on_after(0.3 + moment * 0.37):
            await Ingest(client_of(emulator), items, journal=path).run()
    last = await Ingest(client_of(emulator), items, journal=path).run()
    keys = [asset.meta.external_id if asset.meta else None async for asset in client_of(emulator).video.assets.list()]

    assert last.is_complete
    assert sorted(map(str, keys)) == sorted(item.key for item in items)


async def test_resumed_within_a_file(films: Path, path: Path) -> None:
    """An upload that was cut off continues from the offset that the server reports."""
    emulator = emulate()
    items = [file_item(films / "5.mp4")]
    scope = anyio.CancelScope()

    def stop(event: IngestEvent) -> None:
        if isinstance(event, ItemProgress) and event.sent > 600_000:
            scope.cancel()

    chunk = 256 * 1024
    with scope:
        await Ingest(client_of(emulator), items, journal=path, chunk_size=chunk, on_event=stop).run()
    with Journal.open(path) as journal:
        (entry,) = journal.entries()
    summary = await Ingest(client_of(emulator), items, journal=path, chunk_size=chunk).run()

    assert entry.stage is Stage.SENDING
    assert summary.is_complete
    assert len(posts(emulator)) == 1
    stored = emulator.stored_upload(entry.upload_id or "")
    assert stored is not None
    assert stored.crc32 == zlib.crc32((films / "5.mp4").read_bytes())


async def test_expired_meanwhile(films: Path, path: Path) -> None:
    """An upload that expired between two runs, or was deleted, is created again; one that was complete is not."""
    emulator = emulate()
    items = [file_item(films / "5.mp4")]
    scope = anyio.CancelScope()

    def stop(event: IngestEvent) -> None:
        if isinstance(event, ItemProgress) and event.sent > 600_000:
            scope.cancel()

    with scope:
        await Ingest(client_of(emulator), items, journal=path, chunk_size=256 * 1024, on_event=stop).run()
    await anyio.sleep(3700)
    summary = await Ingest(client_of(emulator), items, journal=path).run()
    statuses = [upload.status for upload in (await client_of(emulator).video.uploads.list()).data]

    assert summary.is_complete
    assert statuses == ["asset_created", "timed_out"]


async def test_the_last_answer_was_lost(films: Path, path: Path) -> None:
    """A file is not sent again if the server had every byte when the run was cancelled."""
    emulator = emulate()
    items = [file_item(films / "0.mp4")]
    emulator.faults.add(Fault(method="PUT", path="/_upload/.*", nth=1, cut="after", delay=30.0))
    with anyio.move_on_after(20):
        await Ingest(client_of(emulator), items, journal=path).run()
    with Journal.open(path) as journal:
        (entry,) = journal.entries()
    summary = await Ingest(client_of(emulator), items, journal=path).run()

    assert entry.stage is Stage.SENDING
    assert summary.is_complete
    assert len([each for each in emulator.arrivals if each.method == "PUT"]) == 1
    assert len(posts(emulator)) == 1


async def test_another_file_meanwhile(films: Path, path: Path) -> None:
    """A file that changed between two runs is sent from its beginning to a new upload, and the old one is cancelled."""
    emulator = emulate()
    film = films / "5.mp4"
    scope = anyio.CancelScope()

    def stop(event: IngestEvent) -> None:
        if isinstance(event, ItemProgress) and event.sent > 600_000:
            scope.cancel()

    def item() -> Item:
        return attrs.evolve(file_item(film), key="film-5", settings={"meta": {"external_id": "film-5"}})

    with scope:
        await Ingest(client_of(emulator), [item()], journal=path, chunk_size=256 * 1024, on_event=stop).run()
    film.write_bytes(Random(9).randbytes(900_000))
    os.utime(film, ns=(1, 1))
    summary = await Ingest(client_of(emulator), [item()], journal=path).run()
    uploads = (await client_of(emulator).video.uploads.list()).data

    assert summary.is_complete
    assert [upload.status for upload in uploads] == ["asset_created", "cancelled"]
    stored = emulator.stored_upload(uploads[0].id)
    assert stored is not None
    assert stored.size == 900_000


@pytest.mark.parametrize("is_there", [True, False])
async def test_an_unknown_create(path: Path, is_there: bool) -> None:
    """A create with an unknown outcome is looked up by its key: an existing asset is adopted; otherwise it is created after ten seconds."""
    emulator = emulate()
    items = urls(3)
    await left_unknown(emulator, path, items[:1])
    if is_there:
        make_asset(emulator, items[0].key)
    summary = await Ingest(client_of(emulator), items, journal=path).run()
    times = [each.at - 1.7e9 for each in posts(emulator)]

    assert summary.is_complete
    assert len(times) == len(await client_of(emulator).video.assets.list()) == 3
    assert (times[-1] < 10) == is_there


async def test_an_old_asset_of_the_same_key(path: Path) -> None:
    """An asset that is older than the create is not its result."""
    emulator = emulate()
    items = urls(1)
    make_asset(emulator, items[0].key)
    await anyio.sleep(60)
    await left_unknown(emulator, path, items)
    summary = await Ingest(client_of(emulator), items, journal=path).run()

    assert summary.is_complete
    assert len(await client_of(emulator).video.assets.list()) == 2


async def test_a_late_asset_of_an_old_intent(path: Path) -> None:
    """A create that was sent long after its intent may show only after the restart: it is not created again."""
    emulator = emulate(EmulatorSettings(limits=None, time_to_ready=0.0))
    items = urls(1)
    await left_unknown(emulator, path, items)
    await anyio.sleep(60)

    async def show() -> None:
        await anyio.sleep(5)
        make_asset(emulator, items[0].key)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(show)
        await Ingest(client_of(emulator), items, journal=path).run()

    (asset,) = (await client_of(emulator).video.assets.list()).data
    assert asset.status == "ready"


async def test_one_sweep_for_all(path: Path) -> None:
    """One listing of the newest pages serves any number of unknown creates; a failed listing is repeated."""
    emulator = emulate(EmulatorSettings(limits=None, time_to_ready=0.0))
    items = urls(130)
    for item in items[:120]:
        make_asset(emulator, item.key)
    await left_unknown(emulator, path, items)
    emulator.faults.add(Fault(method="GET", path="/video/v1/assets", nth=range(1, 9), status=500))
    before = len(posts(emulator))
    looks = [0.0]

    def watch(event: IngestEvent) -> None:
        if isinstance(event, ItemMoved) and event.state.stage is Stage.CREATING and looks == [0.0]:
            looks[0] = sum(each.path == "/video/v1/assets" and each.method == "GET" for each in emulator.arrivals)

    summary = await Ingest(client_of(emulator), items, journal=path, on_event=watch).run()

    assert summary.is_complete
    assert len(posts(emulator)) - before == 10
    assert looks[0] <= 16


async def test_uploads_left_unknown(films: Path, path: Path) -> None:
    """An upload that a killed run may have created is found in the list of uploads, and costs no second create."""
    emulator = emulate()
    client = client_of(emulator)
    items = list(make_plan([films]).items)
    await client.video.uploads.create(once=items[0].key)
    await left_unknown(emulator, path, items[:2])
    summary = await Ingest(client, items, journal=path).run()

    assert summary.is_complete
    assert len(posts(emulator)) == len(await client.video.assets.list()) == 6


async def test_the_dead_are_retried(films: Path, path: Path) -> None:
    """A dead item stays dead until a retry is requested; then it continues where it died, and an errored asset is created again."""
    verdicts = [InputProblem("invalid_input", "not a film")]

    def probe(source: MediaSource) -> MediaInfo | InputProblem:
        return verdicts[0] if verdicts and source.size == 1000 else MediaInfo(10.0)

    emulator = emulate(EmulatorSettings(probe=probe))
    plan = make_plan([films]).items
    changed = attrs.evolve(plan[1], modified_ns=1)
    items = [plan[0], changed, *plan[2:]]
    first = await Ingest(client_of(emulator), items, journal=path).run()
    second = await Ingest(client_of(emulator), items, journal=path).run()
    verdicts.clear()
    with Journal.open(path) as journal:
        dead = {entry.key: entry for entry in journal.entries() if entry.stage is Stage.DEAD}
        retried = journal.retry([items[0].key, "nobody"]), journal.retry()
    third = await Ingest(client_of(emulator), [plan[0], plan[1], *plan[2:]], journal=path).run()
    with Journal.open(path) as journal:
        entries = {entry.key: entry for entry in journal.entries()}

    assert (first.ready, first.failed) == (4, 2)
    assert (second.ready_before, second.failed) == (4, 2)
    assert {error.type for entry in dead.values() if (error := entry.error)} == {"AssetErroredError", "UploadError"}
    assert retried == (1, 1)
    assert (third.ready, third.failed, third.ready_before) == (2, 0, 4)
    assert entries[items[0].key].former == (dead[items[0].key].asset_id,)
    assert entries[items[0].key].asset_id != dead[items[0].key].asset_id
    assert len(await client_of(emulator).video.assets.list()) == 7
