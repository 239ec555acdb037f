"""Runs with a journal: shared journals, priorities, and failures of the disk, of Mux, or by request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import anyio
import attrs
import pytest

from mux_async.emulator import (
    DEFAULT_TOKEN,
    EmulatorSettings,
    Fault,
)
from mux_async.ingest import (
    Ingest,
    IngestEvent,
    IngestSummary,
    Item,
    ItemMoved,
    Journal,
    Stage,
    file_item,
    make_plan,
    url_item,
)
from mux_async.ingest._journal_store import Change, JournalStore
from mux_async.ingest._reconcile import ServerClock
from tests.ingest.emulation import client_of, emulate, left_unknown, posts, urls

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


async def test_another_environment(path: Path) -> None:
    """A journal is refused in another environment: its assets are not there."""
    token = attrs.evolve(DEFAULT_TOKEN, environment="other")
    emulator = emulate(EmulatorSettings(tokens=(DEFAULT_TOKEN, attrs.evolve(token, id="other-token"))))
    first = await Ingest(client_of(emulator), urls(1), journal=path).run()
    second = await Ingest(client_of(emulator, token_id="other-token"), urls(2), journal=path).run()

    assert first.is_complete
    assert second.reason is not None
    assert "belongs to the environment" in second.reason
    assert (second.ready, second.not_started) == (0, 2)
    assert len(posts(emulator)) == 1
    with Journal.open(path) as journal:
        assert journal.summary().total == 1


@pytest.mark.parametrize(("status", "is_run"), [(404, True), (500, False), (403, False)])
async def test_a_server_without_whoami(path: Path, status: int, is_run: bool) -> None:
    """A server without ``whoami`` is accepted; one that fails or refuses it ends the run before it begins."""
    emulator = emulate()
    emulator.faults.add(Fault(path="/system/v1/whoami", status=status))
    summary = await Ingest(client_of(emulator), urls(2), journal=path).run()

    assert (summary.ready, summary.not_started) == ((2, 0) if is_run else (0, 2))
    assert (summary.reason is None) == is_run
    assert len(posts(emulator)) == summary.ready


async def test_the_servers_time() -> None:
    """The server's clock comes from its responses; otherwise this machine's clock is used, with a larger tolerance."""
    told = ServerClock.read({"Date": "Tue, 14 Nov 2023 22:13:20 GMT"}, lambda: 5.0)
    guessed = [ServerClock.read(headers, lambda: 5.0) for headers in ({}, {"Date": "yesterday"})]

    assert (told.now(), told.slack) == (1.7e9, 10.0)
    assert [(clock.now(), clock.slack) for clock in guessed] == [(5.0, 300.0)] * 2


async def test_an_iterator(path: Path) -> None:
    """Items may come from an iterator: it is read on demand, and the items read ahead are begun by priority."""
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
    """In a list, items with a higher priority come first; equal ones keep their order."""
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
    """Two items with the same key become one asset."""
    emulator = emulate()
    summary = await Ingest(client_of(emulator), [*urls(2), *urls(2)], journal=path).run()

    assert (summary.ready, summary.ready_before, summary.is_complete) == (2, 2, True)
    assert len(posts(emulator)) == 2


async def test_a_key_of_something_else(films: Path, path: Path) -> None:
    """The key of a file may become the key of a URL if nothing was begun; otherwise the item is dead, with a reason."""
    emulator = emulate()
    named = [attrs.evolve(item, key=f"k{number}", settings={}) for number, item in enumerate(urls(2))]
    files = [attrs.evolve(file_item(films / f"{number}.mp4"), key=f"k{number}", settings={}) for number in range(2)]
    await left_unknown(emulator, path, files[:1], planned=files[1:])
    await client_of(emulator).video.uploads.create(once="k0")
    summary = await Ingest(client_of(emulator), named, journal=path).run()
    with Journal.open(path) as journal:
        first, second = journal.entries()

    assert (summary.ready, summary.failed) == (1, 1)
    assert second.stage is Stage.DONE
    assert first.error is not None
    assert "give it another key" in first.error.message


async def test_an_outage(films: Path, path: Path) -> None:
    """Minutes in which Mux refuses or fails everything do not fail an item."""
    emulator = emulate(EmulatorSettings(limits=None))
    emulator.faults.add(
        Fault(method="POST", nth=range(3, 40), status=503),
        Fault(method="GET", path="/video/.*", nth=range(2, 30), cut="refuse"),
    )
    summary = await Ingest(client_of(emulator), [*make_plan([films]).items, *urls(3)], journal=path).run()

    assert summary.is_complete
    assert len(await client_of(emulator).video.assets.list()) == 9


async def test_stopped_in_an_outage(path: Path) -> None:
    """A run that is stopped during an outage does not wait for its end; the next run continues the items that were begun."""
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
    """Two runs with one journal share the work; both end when all of it is done, and nothing is created twice."""
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
    """An error of the iterator of items ends the run unchanged, and the journal is consistent."""

    def broken() -> Iterator[Item]:
        yield from urls(2)
        raise OSError("the disk with the manifest is gone")

    emulator = emulate()
    with pytest.raises(OSError, match="the manifest is gone"):
        await Ingest(client_of(emulator), broken(), journal=path).run()
    summary = await Ingest(client_of(emulator), urls(2), journal=path).run()

    assert summary.is_complete


async def test_no_secret_is_kept(films: Path, path: Path) -> None:
    """The journal contains no upload URL, no URL of an item, which may be signed, and no token."""
    emulator = emulate()
    await Ingest(client_of(emulator), [*make_plan([films]).items, *urls(3)], journal=path).run()
    kept = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))

    assert b"example.com/0.mp4" in kept
    for secret in (b"canary", b"_upload", b"test-secret", b"test-token"):
        assert secret not in kept


async def test_a_full_disk(films: Path, path: Path) -> None:
    """If the journal can no longer be written, nothing more is created, the run has a reason, and the next one continues."""
    emulator = emulate()
    items = [*make_plan([films]).items, *urls(20)]
    with Journal.open(path) as journal:
        with Journal(FullStore(path)) as full:
            summary = await Ingest(client_of(emulator), items, journal=full).run()
        created = len(posts(emulator))
        known = sum(entry.stage is not Stage.PLANNED for entry in journal.entries())
    again = await Ingest(client_of(emulator), items, journal=path).run()

    assert summary.reason is not None
    assert "the disk is full: make room" in summary.reason
    assert 0 < created <= known < 26
    assert again.is_complete
    assert len(await client_of(emulator).video.assets.list(limit=100)) == 26


class FullStore(JournalStore):
    """Simulates a full disk by SQLite's own limit of pages."""

    writes = 0

    def write(self, changes: Iterable[Change], runner: str, *, release: bool = False) -> None:
        self.writes += 1
        if self.writes == 12:
            (pages,) = self._sql.execute("PRAGMA page_count").fetchone()
            self._sql.execute(f"PRAGMA max_page_count = {pages}")
        if self.writes >= 12:
            changes = [attrs.evolve(change, outcome={"padding": "x" * 9000}) for change in changes]
        super().write(changes, runner, release=release)
