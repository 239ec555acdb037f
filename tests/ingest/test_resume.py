"""The same ingest, run again: what was done stays, what was begun goes on, what was lost is found."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import anyio
import attrs
import pytest

from mux_async.emulator import (
    DEFAULT_TOKEN,
    Emulator,
    EmulatorSettings,
    Fault,
    InputProblem,
    MediaInfo,
    MediaSource,
    Request,
)
from mux_async.ingest import (
    Ingest,
    IngestEvent,
    IngestSummary,
    Item,
    ItemFinished,
    ItemMoved,
    ItemProgress,
    ItemSkipped,
    ItemState,
    Journal,
    Stage,
    file_item,
    make_plan,
    url_item,
)
from mux_async.ingest._journal import store_of
from mux_async.ingest._reconcile import ServerClock
from mux_async.ingest._runs import begin_run, end_run
from mux_async.ingest._store import Change, Enrolment, Store
from mux_async.ingest.machine import Began, advance
from tests.ingest.emulation import client_of, emulate, posts

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.mp4").write_bytes(Random(number).randbytes(1000 + number * 300_000))
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "films.journal"


def urls(number: int) -> list[Item]:
    return [url_item(f"https://example.com/{each}.mp4?signature=canary") for each in range(number)]


async def test_run_again(films: Path, path: Path) -> None:
    """A finished ingest that is run again asks who it is, creates nothing, and says that all was done before."""
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


async def test_stopped_and_gone_on_with(films: Path, path: Path) -> None:
    """What a stopped run did not begin, the next one does, and nothing twice."""
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
    """A run that is cancelled again and again, at any moment, comes to an end with one asset for each item."""
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
    """An upload that was cut off goes on where the server stands."""
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
    """An upload that expired between two runs, or was deleted, is made anew; one that was complete is not."""
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
    """A file of which the server had every byte when the run was broken off is not sent again."""
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
    """A file that was changed between two runs is sent from its beginning to a new upload, and the old one is cancelled."""
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


def left_unknown(journal: Journal, items: list[Item], at: float) -> None:
    """Leave *items* as a run does that died while their creates were on the way."""
    runner, lease = begin_run(store_of(journal))
    store_of(journal).enrol([Enrolment(item.key, item.source, is_fetched=item.url is not None) for item in items])
    store_of(journal).claim([item.key for item in items], runner)
    states = [ItemState(item.key, is_fetched=item.url is not None) for item in items]
    store_of(journal).write([Change(advance(state, Began(at))) for state in states], runner)
    end_run(store_of(journal), runner, lease)


def make_asset(emulator: Emulator, key: str) -> None:
    """Make what a create with *key* would have made."""
    body = json.dumps({"inputs": [{"url": "https://example.com/x.mp4"}], "meta": {"external_id": key}}).encode()
    headers = {"Authorization": "Basic dGVzdC10b2tlbjp0ZXN0LXNlY3JldA==", "Content-Type": "application/json"}
    assert emulator.handle(Request("POST", "/video/v1/assets", headers, body)).status == 201


@pytest.mark.parametrize("is_there", [True, False])
async def test_an_unknown_create(path: Path, is_there: bool) -> None:
    """A create that a dead run left unknown is looked for by its key: adopted when it is there; when it is not, done after ten seconds."""
    emulator = emulate()
    items = urls(3)
    with Journal.open(path) as journal:
        left_unknown(journal, items[:1], 1.7e9 + anyio.current_time())
    if is_there:
        make_asset(emulator, items[0].key)
    summary = await Ingest(client_of(emulator), items, journal=path).run()
    times = [each.at - 1.7e9 for each in posts(emulator)]

    assert summary.is_complete
    assert len(times) == len(await client_of(emulator).video.assets.list()) == 3
    assert (times[-1] < 10) == is_there


async def test_an_old_asset_of_the_same_key(path: Path) -> None:
    """An asset that was there before the create was begun is not what it made."""
    emulator = emulate()
    items = urls(1)
    make_asset(emulator, items[0].key)
    await anyio.sleep(60)
    with Journal.open(path) as journal:
        left_unknown(journal, items, 1.7e9 + anyio.current_time())
    summary = await Ingest(client_of(emulator), items, journal=path).run()

    assert summary.is_complete
    assert len(await client_of(emulator).video.assets.list()) == 2


async def test_one_sweep_for_all(path: Path) -> None:
    """However many creates a dead run left unknown, one look at the newest pages serves them all; a look that fails is repeated."""
    emulator = emulate(EmulatorSettings(limits=None, time_to_ready=0.0))
    items = urls(130)
    for item in items[:120]:
        make_asset(emulator, item.key)
    with Journal.open(path) as journal:
        left_unknown(journal, items, 1.7e9)
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
    """An upload that a dead run may have created is found on the list of uploads, and costs no second create."""
    emulator = emulate()
    client = client_of(emulator)
    items = list(make_plan([films]).items)
    await client.video.uploads.create(once=items[0].key)
    with Journal.open(path) as journal:
        left_unknown(journal, items[:2], 1.7e9)
    summary = await Ingest(client, items, journal=path).run()

    assert summary.is_complete
    assert len(posts(emulator)) == len(await client.video.assets.list()) == 6


async def test_the_dead_are_retried(films: Path, path: Path) -> None:
    """A dead item stays so until somebody retries it; then it goes on where it died, and an errored asset is made anew."""
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


async def test_another_environment(path: Path) -> None:
    """A journal is not gone on with in another environment than its own: nothing of it is there."""
    token = attrs.evolve(DEFAULT_TOKEN, environment="other")
    emulator = emulate(EmulatorSettings(tokens=(DEFAULT_TOKEN, attrs.evolve(token, id="other-token"))))
    first = await Ingest(client_of(emulator), urls(1), journal=path).run()
    second = await Ingest(client_of(emulator, token_id="other-token"), urls(2), journal=path).run()

    assert first.is_complete
    assert second.reason is not None
    assert "is about the environment" in second.reason
    assert (second.ready, second.not_started) == (0, 2)
    assert len(posts(emulator)) == 1
    with Journal.open(path) as journal:
        assert journal.summary().total == 1


@pytest.mark.parametrize(("status", "is_run"), [(404, True), (500, False), (403, False)])
async def test_nobody_says_who_we_are(path: Path, status: int, is_run: bool) -> None:
    """A server that does not know the question is taken for Mux; one that fails or refuses to answer it ends the run before it began."""
    emulator = emulate()
    emulator.faults.add(Fault(path="/system/v1/whoami", status=status))
    summary = await Ingest(client_of(emulator), urls(2), journal=path).run()

    assert (summary.ready, summary.not_started) == ((2, 0) if is_run else (0, 2))
    assert (summary.reason is None) == is_run
    assert len(posts(emulator)) == summary.ready


async def test_the_servers_time() -> None:
    """The server's time is its own word; without that, this machine's clock has to do, with room for its being wrong."""
    told = ServerClock.read({"Date": "Tue, 14 Nov 2023 22:13:20 GMT"}, lambda: 5.0)
    guessed = [ServerClock.read(headers, lambda: 5.0) for headers in ({}, {"Date": "yesterday"})]

    assert (told.now(), told.slack) == (1.7e9, 10.0)
    assert [(clock.now(), clock.slack) for clock in guessed] == [(5.0, 300.0)] * 2


async def test_an_iterator(path: Path) -> None:
    """Items may come from an iterator: it is read as items are needed, and the better of those that were read go first."""
    emulator = emulate(EmulatorSettings(limits=None))
    read = 0

    def endless() -> Iterator[Item]:
        nonlocal read
        for number in range(1_000_000):
            read += 1
            yield attrs.evolve(url_item(f"https://example.com/{number}.mp4"), priority=number == 700)

    begun: list[str] = []

    def watch(event: IngestEvent) -> None:
        if isinstance(event, ItemMoved) and event.state.stage is Stage.CREATING:
            begun.append(event.item.source)
        if len(begun) == 3:
            ingest.stop()

    ingest = Ingest(client_of(emulator), endless(), journal=path, concurrency=1, on_event=watch)
    summary = await ingest.run()

    assert begun == [f"https://example.com/{number}.mp4" for number in (700, 0, 1)]
    assert (summary.ready, summary.not_started) == (3, read - 3)
    assert read <= 1000


async def test_priorities(path: Path) -> None:
    """Of a list, those with a higher priority go first, however far down they are; among equals the order is that of the list."""
    emulator = emulate(EmulatorSettings(limits=None))
    items = [attrs.evolve(item, priority=number % 3) for number, item in enumerate(urls(1500))]
    begun: list[Item] = []

    def watch(event: IngestEvent) -> None:
        if isinstance(event, ItemMoved) and event.state.stage is Stage.CREATING:
            begun.append(event.item)
        if len(begun) == 5:
            ingest.stop()

    ingest = Ingest(client_of(emulator), items, journal=path, concurrency=1, on_event=watch)
    await ingest.run()

    assert begun == items[2:15:3]


async def test_one_key_twice(path: Path) -> None:
    """Two items of one key become one asset."""
    emulator = emulate()
    summary = await Ingest(client_of(emulator), [*urls(2), *urls(2)], journal=path).run()

    assert (summary.ready, summary.ready_before, summary.is_complete) == (2, 2, True)
    assert len(posts(emulator)) == 2


async def test_a_key_of_something_else(films: Path, path: Path) -> None:
    """A key that meant a file may mean a URL when nothing was begun; else the item is dead and says why."""
    emulator = emulate()
    named = [attrs.evolve(item, key=f"k{number}", settings={}) for number, item in enumerate(urls(2))]
    files = [attrs.evolve(file_item(films / f"{number}.mp4"), key=f"k{number}", settings={}) for number in range(2)]
    with Journal.open(path) as journal:
        left_unknown(journal, files[:1], 1.7e9 + anyio.current_time())
        store_of(journal).enrol([Enrolment("k1", "1.mp4", is_fetched=False)])
    await client_of(emulator).video.uploads.create(once="k0")
    summary = await Ingest(client_of(emulator), named, journal=path).run()
    with Journal.open(path) as journal:
        first, second = journal.entries()

    assert (summary.ready, summary.failed) == (1, 1)
    assert second.stage is Stage.DONE
    assert first.error is not None
    assert "give it another key" in first.error.message


async def test_an_outage(films: Path, path: Path) -> None:
    """Minutes in which Mux refuses or fails everything are sat out, and no item dies of them."""
    emulator = emulate(EmulatorSettings(limits=None))
    emulator.faults.add(
        Fault(method="POST", nth=range(3, 40), status=503),
        Fault(method="GET", path="/video/.*", nth=range(2, 30), cut="refuse"),
    )
    summary = await Ingest(client_of(emulator), [*make_plan([films]).items, *urls(3)], journal=path).run()

    assert summary.is_complete
    assert len(await client_of(emulator).video.assets.list()) == 9


async def test_stopped_in_an_outage(path: Path) -> None:
    """Whoever stops a run while Mux is away does not wait for it to come back; what was begun is gone on with by the next run."""
    emulator = emulate()
    emulator.faults.add(Fault(method="POST", cut="refuse"))

    async def stop() -> None:
        await anyio.sleep(100)
        ingest.stop()

    summaries: list[IngestSummary] = []
    ingest = Ingest(client_of(emulator), urls(5), journal=path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        summaries.append(await ingest.run())
    (summary,) = summaries
    emulator.faults.clear()
    again = await Ingest(client_of(emulator), urls(5), journal=path).run()

    assert summary.elapsed < 400
    assert (summary.ready, summary.failed, summary.not_started) == (0, 0, 5)
    assert again.is_complete


async def test_two_runs_at_once(films: Path, path: Path) -> None:
    """Two runs on one journal share the work; both end when all of it is done, and nothing is made twice."""
    emulator = emulate(EmulatorSettings(time_to_ready=20.0))
    items = [*make_plan([films]).items, *urls(30)]
    client = client_of(emulator)
    summaries: list[IngestSummary] = []

    async def run() -> None:
        summaries.append(await Ingest(client, items, journal=path).run())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        tasks.start_soon(run)

    assert all(summary.is_complete for summary in summaries)
    assert summaries[0].ready + summaries[1].ready == 36
    assert min(summary.ready for summary in summaries) > 5
    assert len(posts(emulator)) == len(await client.video.assets.list(limit=100)) == 36


async def test_items_that_cannot_be_had(path: Path) -> None:
    """What the iterator of items raises ends the run as it is, and the journal is in order."""

    def broken() -> Iterator[Item]:
        yield from urls(2)
        raise OSError("the disk with the manifest is gone")

    emulator = emulate()
    with pytest.raises(OSError, match="the manifest is gone"):
        await Ingest(client_of(emulator), broken(), journal=path).run()
    summary = await Ingest(client_of(emulator), urls(2), journal=path).run()

    assert summary.is_complete


async def test_no_secret_is_kept(films: Path, path: Path) -> None:
    """Neither upload URLs nor those of items, which may be signed, nor tokens are in the journal."""
    emulator = emulate()
    await Ingest(client_of(emulator), [*make_plan([films]).items, *urls(3)], journal=path).run()
    kept = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))

    assert b"example.com/0.mp4" in kept
    for secret in (b"canary", b"_upload", b"test-secret", b"test-token"):
        assert secret not in kept


async def test_a_full_disk(films: Path, path: Path) -> None:
    """When the journal can no longer be written, nothing more is created, the run says why, and the next one goes on."""
    emulator = emulate()
    items = [*make_plan([films]).items, *urls(20)]
    with Journal.open(path) as journal:
        store = FullStore(path)
        summary = await Ingest(client_of(emulator), items, journal=Journal(store)).run()
        created = len(posts(emulator))
        known = sum(entry.stage is not Stage.PLANNED for entry in journal.entries())
    again = await Ingest(client_of(emulator), items, journal=path).run()

    assert summary.reason is not None
    assert "the disk is full: make room" in summary.reason
    assert 0 < created <= known < 26
    assert again.is_complete
    assert len(await client_of(emulator).video.assets.list(limit=100)) == 26


class FullStore(Store):
    """Finds the disk full after a while: SQLite's own limit of pages stands for it."""

    writes = 0

    def write(self, changes: Iterable[Change], runner: str, *, release: bool = False) -> None:
        self.writes += 1
        if self.writes == 12:
            (pages,) = self._sql.execute("PRAGMA page_count").fetchone()
            self._sql.execute(f"PRAGMA max_page_count = {pages}")
        if self.writes >= 12:
            changes = [attrs.evolve(change, outcome={"padding": "x" * 9000}) for change in changes]
        super().write(changes, runner, release=release)
