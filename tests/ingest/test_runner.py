"""Ingest runs against the emulator in virtual time."""

from __future__ import annotations

import json
import zlib
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from mux_async import Mux
from mux_async.emulator import (
    Arrival,
    Emulator,
    EmulatorSettings,
    EmulatorTransport,
    Fault,
    InputProblem,
    MediaInfo,
    MediaSource,
)
from mux_async.errors import ConfigurationError
from mux_async.ingest import (
    Ingest,
    IngestEvent,
    IngestSummary,
    Item,
    ItemFinished,
    ItemMoved,
    ItemProgress,
    ItemState,
    Stage,
    make_plan,
)
from mux_async.limits import Bucket

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

_accounts = count()


def emulated(settings: EmulatorSettings | None = None, secret: str = "test-secret") -> tuple[Emulator, Mux]:
    emulator = Emulator(settings, clock=lambda: 1.7e9 + anyio.current_time())
    mux = Mux(
        token_id="test-token",
        token_secret=secret,
        account=f"ingest-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        clock=anyio.current_time,
        random=Random(1),
    )
    return emulator, mux


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.mp4").write_bytes(Random(number).randbytes(1000 + number * 300_000))
    return folder


def posts(emulator: Emulator) -> list[Arrival]:
    return [each for each in emulator.arrivals if each.bucket is Bucket.POST]


def stages(events: list[IngestEvent], item: Item) -> list[Stage]:
    found: list[Stage] = []
    for event in events:
        if isinstance(event, ItemMoved) and event.item is item and found[-1:] != [event.state.stage]:
            found.append(event.state.stage)
    return found


def results(events: list[IngestEvent]) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(event.result.to_dict())) for event in events if isinstance(event, ItemFinished)]


async def test_a_folder(films: Path) -> None:
    """Every file becomes one ready asset with its own bytes and settings, and has one result."""
    emulator, mux = emulated()
    plan = make_plan([films])
    events: list[IngestEvent] = []
    summary = await Ingest(mux, plan.items, on_event=events.append).run()

    assert (summary.ready, summary.failed, summary.not_started, summary.size) == (12, 0, 0, plan.size)
    assert summary.is_complete
    assets = {asset.meta.external_id if asset.meta else "": asset async for asset in mux.video.assets.list()}
    lines = results(events)
    assert len(lines) == len(assets) == 12
    for item in plan.items:
        (line,) = [line for line in lines if line["key"] == item.key]
        asset = assets[item.key]
        assert asset.meta is not None
        assert asset.meta.title == Path(item.source).name
        assert (line["source"], line["status"], line["asset_id"]) == (item.source, "ready", asset.id)
        assert asset.playback_ids is not None
        assert line["playback_urls"] == [f"https://stream.mux.com/{asset.playback_ids[0].id}.m3u8"]
        stored = emulator.stored_upload(line["upload_id"])
        assert stored is not None
        assert item.path is not None
        assert stored.crc32 == zlib.crc32(item.path.read_bytes())
        assert stages(events, item) == ["creating", "created", "sending", "sent", "waiting", "done"]
    assert sum(isinstance(event, ItemFinished) for event in events) == 12
    assert all(isinstance(each, ItemMoved | ItemFinished | ItemProgress) for each in events)


async def test_the_pace(films: Path) -> None:
    """Creates are a second apart from the first on, no burst is taken, and Mux never has to refuse one."""
    emulator, mux = emulated()
    summary = await Ingest(mux, make_plan([films]).items, concurrency=8).run()

    times = [each.at for each in posts(emulator)]
    assert summary.ready == 12
    assert len(times) == 12
    assert all(after - before >= 0.999 for before, after in pairwise(times))
    assert times[-1] - times[0] < 13
    assert not [each for each in emulator.arrivals if each.status == 429]


async def test_urls(tmp_path: Path) -> None:
    """URLs become assets that Mux fetches; their settings and the run's are in the create call."""
    emulator, mux = emulated()
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(
        '{"url": "https://example.com/a.mp4", "passthrough": "p1"}\n'
        '{"url": "https://example.com/b.mp4", "settings": {"playback_policies": ["signed"]}}\n'
    )
    summary = await Ingest(mux, make_plan(manifest=manifest).items, test=True, concurrency=1).run()
    second, first = (await mux.video.assets.list()).data

    assert summary.is_complete
    assert first.passthrough == "p1"
    assert first.test
    assert [each.policy for each in first.playback_ids or ()] == ["public"]
    assert [each.policy for each in second.playback_ids or ()] == ["signed"]
    assert len(posts(emulator)) == 2


@pytest.mark.parametrize(
    "settings",
    [
        '{"advanced_playback_policies": [{"policy": "signed"}]}',
        '{"playback_policy": ["signed"]}',
        '{"playback_policies": ["signed"]}',
    ],
)
@pytest.mark.parametrize("is_file", [False, True])
async def test_private_items_stay_private(tmp_path: Path, settings: str, is_file: bool) -> None:
    """If an item sets its policies by any of their names, the run's own ``public`` is not added: the video would be open to everybody."""
    (tmp_path / "a.mp4").write_bytes(b"film")
    source = '"path": "a.mp4"' if is_file else '"url": "https://example.com/a.mp4"'
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(f'{{{source}, "settings": {settings}}}\n')
    _, mux = emulated()
    async with mux:
        await Ingest(mux, make_plan(manifest=manifest).items).run()
        (asset,) = (await mux.video.assets.list()).data

    assert [each.policy for each in asset.playback_ids or ()] == ["signed"]


async def test_an_unknown_create_is_not_repeated(tmp_path: Path) -> None:
    """If the response to the create of an asset is lost, the asset is found again by its key, and not created twice."""
    emulator, mux = emulated()
    emulator.faults.add(Fault(method="POST", path="/video/v1/assets", nth=1, cut="after"))
    manifest = tmp_path / "list.txt"
    manifest.write_text("https://example.com/a.mp4\nhttps://example.com/b.mp4\n")
    summary = await Ingest(mux, make_plan(manifest=manifest).items, concurrency=1).run()

    assert summary.is_complete
    assert len(posts(emulator)) == len(await mux.video.assets.list()) == 2


async def test_failures_are_alone(films: Path) -> None:
    """An errored asset, a missing file and a changed file fail alone; all other items become ready."""

    def probe(source: MediaSource) -> MediaInfo | InputProblem:
        return InputProblem("invalid_input", "not a film") if source.size == 1000 else MediaInfo(10.0)

    _, mux = emulated(EmulatorSettings(probe=probe))
    plan = make_plan([films])
    (films / "03.mp4").unlink()
    (films / "04.mp4").write_bytes(b"another")
    events: list[IngestEvent] = []
    summary = await Ingest(mux, plan.items, on_event=events.append).run()

    failed = {Path(line["source"]).name: line for line in results(events) if line["status"] == "failed"}
    assert (summary.ready, summary.failed, summary.not_started) == (9, 3, 0)
    assert sorted(failed) == ["00.mp4", "03.mp4", "04.mp4"]
    assert failed["00.mp4"]["error"]["type"] == "AssetErroredError"
    assert failed["00.mp4"]["asset_id"]
    assert "can no longer be read" in failed["03.mp4"]["error"]["message"]
    assert "was changed" in failed["04.mp4"]["error"]["message"]
    assert failed["03.mp4"]["upload_id"] is None


async def test_a_bad_network(films: Path) -> None:
    """Cut uploads, lost responses to creates and failing reads are recovered, and no file becomes two assets."""
    emulator, mux = emulated()
    emulator.faults.add(
        Fault(path="/_upload/.*", nth=range(2, 40, 3), cut="before", after_bytes=300_000),
        Fault(method="POST", path="/video/v1/uploads", nth=(2, 5), cut="after"),
        Fault(method="GET", nth=(2, 3), status=500),
    )
    summary = await Ingest(mux, make_plan([films]).items).run()

    assert summary.is_complete
    assert len(await mux.video.assets.list()) == 12


async def test_minutes_without_a_network(films: Path) -> None:
    """Twenty failed requests in a row do not fail a file: a run of hours may have an outage of minutes."""
    emulator, mux = emulated()
    emulator.faults.add(Fault(path="/_upload/.*", nth=range(1, 21), cut="refuse"))
    summary = await Ingest(mux, make_plan([films]).items[:1]).run()

    assert summary.is_complete
    assert summary.elapsed > 60


async def test_times_of_a_run(films: Path) -> None:
    """Upload URLs are valid for as long as the run wants, and an asset that is not ready in time is reported as failed."""
    _, mux = emulated(EmulatorSettings(time_to_ready=1000.0))
    async with mux:
        summary = await Ingest(mux, make_plan([films]).items[:1], upload_timeout=777, wait_timeout=50.0).run()
        (upload,) = (await mux.video.uploads.list()).data

    assert (summary.ready, summary.failed) == (0, 1)
    assert 50 <= summary.elapsed < 60
    assert upload.timeout == 777


async def test_expired_uploads_are_made_anew(films: Path) -> None:
    """When an upload URL expires before the last byte, the file gets a new one."""
    emulator, mux = emulated()
    emulator.faults.add(Fault(path="/_upload/.*", nth=1, status=410))
    items = make_plan([films]).items[:1]
    events: list[IngestEvent] = []
    summary = await Ingest(mux, items, on_event=events.append).run()

    assert summary.is_complete
    assert len(posts(emulator)) == 2
    assert stages(events, items[0])[:6] == ["creating", "created", "sending", "planned", "creating", "created"]


async def test_wrong_credentials_stop_everything(films: Path) -> None:
    """A failure that every item would get ends the run at the first request with a reason, and fails no item."""
    emulator, mux = emulated(secret="wrong")
    summary = await Ingest(mux, make_plan([films]).items, concurrency=1).run()

    assert (summary.ready, summary.failed, summary.not_started) == (0, 0, 12)
    assert summary.reason is not None
    assert "401" in summary.reason
    assert len(emulator.arrivals) == 1


async def test_stop(films: Path) -> None:
    """Stopping finishes the items that were begun and starts no others."""
    emulator, mux = emulated()
    events: list[IngestEvent] = []

    def on_event(event: IngestEvent) -> None:
        events.append(event)
        if isinstance(event, ItemFinished):
            ingest.stop()

    ingest = Ingest(mux, make_plan([films]).items, concurrency=2, on_event=on_event)
    summary = await ingest.run()

    assert summary.failed == 0
    assert summary.ready == len(posts(emulator)) == len(results(events))
    assert summary.not_started == 12 - summary.ready > 0


async def test_cancelled(films: Path) -> None:
    """A cancelled run has reported all finished items, and leaves nothing running."""
    _, mux = emulated()
    events: list[IngestEvent] = []
    with anyio.move_on_after(6.5) as scope:
        await Ingest(mux, make_plan([films]).items, on_event=events.append).run()

    lines = results(events)
    assert scope.cancelled_caught
    assert 0 < len(lines) < 12
    assert all(line["status"] == "ready" for line in lines)


async def test_events(films: Path) -> None:
    """Events can be read as they happen, to the end or in part."""
    _, mux = emulated()
    items = make_plan([films]).items[:3]
    finished = 0
    async with Ingest(mux, items).events() as events:
        async for event in events:
            finished += isinstance(event, ItemFinished)

    assert finished == 3
    async with Ingest(mux, items).events() as events:
        async for _ in events:
            break


@pytest.mark.parametrize("items", [60, pytest.param(400, marks=pytest.mark.proof)])
async def test_many_items_wait_cheaply(tmp_path: Path, items: int) -> None:
    """Hundreds of assets that take minutes to become ready are awaited together, within the limits, at one create a second."""
    emulator, mux = emulated(EmulatorSettings(time_to_ready=180.0))
    manifest = tmp_path / "list.txt"
    manifest.write_text("\n".join(f"https://example.com/{number}.mp4" for number in range(items)))
    summary: IngestSummary = await Ingest(mux, make_plan(manifest=manifest).items).run()

    assert summary.ready == items
    assert items + 175 <= summary.elapsed < items + 240
    assert not [each for each in emulator.arrivals if each.status == 429]


async def test_one_policy(films: Path) -> None:
    """A policy by itself counts as a list of one."""
    _, mux = emulated()
    async with mux:
        await Ingest(mux, make_plan([films]).items[:1], playback_policies="signed").run()
        (asset,) = (await mux.video.assets.list()).data

    assert [each.policy for each in asset.playback_ids or ()] == ["signed"]


async def test_concurrency_is_checked() -> None:
    """A concurrency of 0 is refused."""
    _, mux = emulated()
    with pytest.raises(ConfigurationError, match="at least 1"):
        Ingest(mux, [], concurrency=0)


async def test_nothing_to_do() -> None:
    """An empty list is done at once."""
    _, mux = emulated()

    assert (await Ingest(mux, []).run()).is_complete
    assert ItemState("k").stage is Stage.PLANNED
