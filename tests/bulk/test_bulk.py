"""Bulk changes: plans, runs, failures, and runs that continue others; against the emulator, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
import pytest

from mux_async import AccessToken, BucketSettings, LimitSettings, Mux
from mux_async.bulk import Bulk, BulkJournal, BulkPlanError, RowFinished, RowStage, write_bulk_report
from mux_async.emulator import Emulator, EmulatorTransport, Fault
from mux_async.errors import ConfigurationError, InvalidRequestError, MuxError
from mux_async.ingest import JournalError
from mux_async.models import Asset

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

UPDATE = "video.assets.update"
CREATE = "video.assets.create"
DELETE = "video.assets.delete"


async def make_assets(mux: Mux, count: int) -> list[str]:
    return [(await mux.video.assets.create(inputs=[{"url": f"https://example.com/{each}.mp4"}])).id for each in range(count)]


def inputs(count: int) -> list[dict[str, object]]:
    return [{"inputs": [{"url": f"https://example.com/{each}.mp4"}], "passthrough": f"{each}"} for each in range(count)]


def sent(emulator: Emulator, method: str) -> int:
    return sum(each.method == method for each in emulator.arrivals)


async def passthroughs(mux: Mux) -> list[str]:
    return sorted([str(asset.passthrough) async for asset in mux.video.assets.list()])


async def test_update_from_a_table(mux: Mux, tmp_path: Path) -> None:
    """A table's columns are arguments and their members; its cells become values of the arguments' types."""
    one, two = await make_assets(mux, 2)
    table = tmp_path / "titles.csv"
    table.write_text(f"asset_id;meta.title;passthrough;thumbnail_time\n{one};007;1;2.5\n{two};Ünïcode;;\n", "utf-8")
    summary = await mux.bulk(UPDATE, table).run()
    assert (summary.done, summary.is_complete) == (2, True)
    first, second = await mux.video.assets.retrieve(one), await mux.video.assets.retrieve(two)
    assert first.meta is not None
    assert second.meta is not None
    assert (first.meta.title, first.passthrough) == ("007", "1")
    assert (second.meta.title, second.passthrough) == ("Ünïcode", None)


async def test_values_of_all_rows(mux: Mux) -> None:
    """``values`` are arguments of all rows, and those of a row win; a plain text is the only required argument that is left."""
    one, two = await make_assets(mux, 2)
    await mux.bulk(UPDATE, [one], values={"passthrough": "all"}).run()
    await mux.bulk(UPDATE, [{"asset_id": two, "passthrough": "own"}], values={"passthrough": "all"}).run()
    assert await passthroughs(mux) == ["all", "own"]


@pytest.mark.parametrize(
    ("operation", "rows", "message"),
    [
        (
            UPDATE,
            [{"asset_id": "a", "pasthrough": "x"}],
            "row 1: video.assets.update has no argument 'pasthrough'; did you mean",
        ),
        (UPDATE, [{"asset_id": "a"}, {"asset_id": ""}], "row 2: asset_id is empty"),
        (UPDATE, [{"passthrough": "x"}], "row 1: asset_id is missing"),
        (UPDATE, [{"asset_id": "a", "meta": {"title": "x"}, "meta.title": "y"}], "row 1: meta.title is given twice"),
        (UPDATE, [7], "row 1: it is of type int"),
        (CREATE, ["https://example.com/a.mp4", 1], "row 2: it is of type int"),
        ("video.assets.delete_track", ["a"], "row 1: it is a text, and video.assets.delete_track needs asset_id, track_id"),
        (UPDATE, b'{"asset_id": "a"', "row 1: it is not JSON"),
        (UPDATE, b"[]", "row 1: it is neither an object"),
        (UPDATE, [{"asset_id": "a", "meta": object()}], "row 1: meta"),
    ],
)
async def test_bad_rows(mux: Mux, mux_emulator: Emulator, operation: str, rows: Any, message: str) -> None:
    """A row that cannot be sent is named with its number and the reason, before anything is sent."""
    with pytest.raises(BulkPlanError) as raised:
        mux.bulk(operation, rows, form="jsonl" if isinstance(rows, bytes) else None)
    assert message in str(raised.value)
    assert not mux_emulator.arrivals


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("asset_id,thumbnail_time\na,soon\n", "row 2: thumbnail_time is 'soon', which is not JSON; it takes a number"),
        ("asset_id,passthrough\na,b,c\n", "row 2: it has more columns than the header"),
        ("asset_id,asset_id\na,b\n", "row 1: the header names 'asset_id' twice"),
        ('asset_id\n"a\n', "look for a quote that is never closed"),
        ("asset_id,\na,b\n", "row 2: it has a value in a column without a name"),
    ],
)
async def test_bad_tables(mux: Mux, tmp_path: Path, cells: str, message: str) -> None:
    """A table that cannot be read is refused with the line and the reason."""
    table = tmp_path / "rows.csv"
    table.write_text(cells)
    with pytest.raises(BulkPlanError) as raised:
        mux.bulk(UPDATE, table)
    assert message in str(raised.value)


async def test_bad_rows_left_out(mux: Mux) -> None:
    """``on_bad_row="skip"`` leaves bad rows out, names them in the plan, and performs the others."""
    (one,) = await make_assets(mux, 1)
    bulk = mux.bulk(UPDATE, [{"passthrough": "x"}, {"asset_id": one, "passthrough": "y"}], on_bad_row="skip")
    assert [each.row for each in bulk.plan.problems] == [1]
    assert (await bulk.run()).done == 1


@pytest.mark.parametrize(
    "operation", ["video.assets.updat", "video.assets", "assets", "", "video.assets.list", "video.assets.with_raw_response"]
)
async def test_unknown_operations(mux: Mux, operation: str) -> None:
    """An operation that does not exist, or reads a list, is refused."""
    with pytest.raises(ConfigurationError, match=r"is not an operation|reads a list"):
        mux.bulk(operation, [])


async def test_a_list_that_is_missing(mux: Mux, tmp_path: Path) -> None:
    """A list that cannot be read is refused by name."""
    with pytest.raises(InvalidRequestError, match="missing"):
        mux.bulk(UPDATE, tmp_path / "missing.csv")


async def test_deleting_needs_a_confirmation(mux: Mux, mux_emulator: Emulator) -> None:
    """What destroys something sends nothing until the operation and the number of rows are confirmed."""
    ids = await make_assets(mux, 3)
    for confirm in (None, "", "yes", f"{DELETE} 2", f"{DELETE} 33"):
        with pytest.raises(ConfigurationError, match=f"{DELETE} 3"):
            await mux.bulk(DELETE, ids, confirm=confirm).run()
    assert sent(mux_emulator, "DELETE") == 0
    bulk = mux.bulk(DELETE, ids[:1], confirm=f"{DELETE} 1")
    assert bulk.plan.is_destructive
    assert (await bulk.run()).done == 1
    bulk = mux.bulk(DELETE, ids[1:])
    bulk.confirm(f"{DELETE} 2")
    assert (await bulk.run()).done == 2
    assert await passthroughs(mux) == []


@pytest.mark.parametrize("operation", ["video.live_streams.reset_stream_key", "video.uploads.cancel", "system.webhooks.delete"])
async def test_what_destroys(mux: Mux, operation: str) -> None:
    """A DELETE destroys, and so does what ends an upload or a stream key."""
    assert mux.bulk(operation, ["a"]).plan.confirmation == f"{operation} 1"


async def test_failed_rows(mux: Mux) -> None:
    """A row that Mux refuses is failed with its error, and the others are performed."""
    (one,) = await make_assets(mux, 1)
    events: list[RowFinished] = []
    summary = await mux.bulk(UPDATE, ["missing", one], values={"passthrough": "x"}, on_event=events.append).run()
    assert (summary.done, summary.failed, summary.errors) == (1, 1, {"BadRequestError": 1})
    assert sorted((each.call.label, str(each.stage)) for each in events) == sorted(
        [("asset_id=missing", "failed"), (f"asset_id={one}", "done")]
    )


async def test_many_failures_end_the_run(mux: Mux, mux_emulator: Emulator) -> None:
    """A run ends when rows fail one after the other; the rest is not sent."""
    bulk = mux.bulk(UPDATE, [f"no{each}" for each in range(50)], concurrency=1, max_failures=5)
    summary = await bulk.run()
    assert (summary.failed, summary.not_started) == (5, 45)
    assert "5 rows failed one after the other" in str(summary.reason)
    assert sent(mux_emulator, "PATCH") == 5


async def test_wrong_credentials_fail_no_row(mux_emulator: Emulator, tmp_path: Path) -> None:
    """Wrong credentials end the run before any row is begun."""
    path = tmp_path / "rows.mux-bulk"
    client = Mux(token_id="a", token_secret="b", transport=EmulatorTransport(mux_emulator))
    with pytest.raises(MuxError, match="401"):
        await client.bulk(UPDATE, ["a"], journal=path).run()
    with BulkJournal.open(path) as journal:
        assert journal.counts() == {}


async def test_resuming(mux: Mux, mux_emulator: Emulator, tmp_path: Path) -> None:
    """The next run with the same journal performs what is left, and nothing twice; failed rows are sent again on request."""
    path = tmp_path / "rows.mux-bulk"
    ids = await make_assets(mux, 6)
    rows = [{"asset_id": each, "passthrough": "x"} for each in [*ids, "missing"]]
    bulk = mux.bulk(UPDATE, rows, journal=path, concurrency=1, on_event=lambda _event: bulk.stop())
    first = await bulk.run()
    assert (first.done, first.not_started) == (1, 6)
    second = await mux.bulk(UPDATE, rows, journal=path).run()
    assert (second.done, second.done_before, second.failed) == (5, 1, 1)
    assert sent(mux_emulator, "PATCH") == 7
    with BulkJournal.open(path) as journal:
        assert journal.retry() == 1
    third = await mux.bulk(UPDATE, rows, journal=path).run()
    assert (third.done, third.done_before, third.failed) == (0, 6, 1)
    assert sent(mux_emulator, "PATCH") == 8


async def test_equal_rows(mux: Mux, tmp_path: Path) -> None:
    """Rows that are equal are calls of their own, and a resumed run performs none of them again."""
    path = tmp_path / "rows.mux-bulk"
    rows = [{"playback_policies": ["public"]}] * 3
    assert (await mux.bulk("video.live_streams.create", rows, journal=path).run()).done == 3
    assert (await mux.bulk("video.live_streams.create", rows, journal=path).run()).done_before == 3
    assert len([each async for each in mux.video.live_streams.list()]) == 3


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_create_whose_response_is_lost(mux: Mux, mux_emulator: Emulator, cut: Any) -> None:
    """Creates whose outcome is unknown are searched for by their keys: every row makes one asset."""
    mux_emulator.faults.add(Fault(method="POST", path="/video/v1/assets", nth=range(1, 30, 2), cut=cut))
    summary = await mux.bulk(CREATE, inputs(12)).run()
    assert summary.done == 12
    assert await passthroughs(mux) == sorted(str(each) for each in range(12))


async def test_an_outcome_that_stays_unknown(mux: Mux, mux_emulator: Emulator) -> None:
    """What must not be repeated and has no key is reported as unknown, and sent once."""
    mux_emulator.faults.add(Fault(method="POST", path="/system/v1/signing-keys", nth=2, cut="after"))
    rows: list[dict[str, object]] = [{} for _ in range(3)]
    bulk = mux.bulk("system.signing_keys.create", rows, concurrency=1)
    assert "reported as unknown" in bulk.plan.on_unknown
    summary = await bulk.run()
    assert (summary.done, summary.unknown) == (2, 1)
    assert sent(mux_emulator, "POST") == 3


async def test_a_row_that_uses_the_field_of_the_key(mux: Mux, mux_emulator: Emulator) -> None:
    """A row whose own value is where the key would go keeps it, and is unknown if its response is lost."""
    mux_emulator.faults.add(Fault(method="POST", path="/video/v1/assets", nth=1, cut="after"))
    row = {"inputs": [{"url": "https://example.com/a.mp4"}], "meta": {"external_id": "mine"}}
    bulk = mux.bulk(CREATE, [row])
    summary = await bulk.run()
    assert (summary.done, summary.unknown) == (0, 1)
    (asset,) = [each async for each in mux.video.assets.list()]
    assert asset.meta is not None
    assert asset.meta.external_id == "mine"


@pytest.mark.parametrize("fault", [{"cut": "before"}, {"cut": "after"}, {"status": 503}, {"status": 500, "acts": True}])
async def test_deletes_under_faults(mux: Mux, mux_emulator: Emulator, fault: Any) -> None:
    """A DELETE is repeated after a failure; that the asset is gone then is a success."""
    ids = await make_assets(mux, 4)
    mux_emulator.faults.add(Fault(method="DELETE", nth=range(1, 12), **fault))
    assert (await mux.bulk(DELETE, ids, confirm=f"{DELETE} 4").run()).done == 4


async def test_a_cancelled_run_continues(mux: Mux, mux_emulator: Emulator, tmp_path: Path) -> None:
    """A run that is cancelled between request and response leaves rows that the next run settles."""
    path = tmp_path / "rows.mux-bulk"
    mux_emulator.faults.add(Fault(method="POST", path="/video/v1/assets", nth=range(3, 7), delay=60.0, acts=True))
    with anyio.move_on_after(5):
        await mux.bulk(CREATE, inputs(6), journal=path, concurrency=3).run()
    with BulkJournal.open(path) as journal:
        assert journal.counts()[RowStage.BEGUN] > 0
    mux_emulator.faults.clear()
    await anyio.sleep(60)
    assert (await mux.bulk(CREATE, inputs(6), journal=path).run()).is_complete
    assert await passthroughs(mux) == [str(each) for each in range(6)]


async def test_journals_of_something_else(mux: Mux, mux_emulator: Emulator, tmp_path: Path) -> None:
    """A journal of another operation, or of another server, is refused, and so is a file that is none."""
    path = tmp_path / "rows.mux-bulk"
    (one,) = await make_assets(mux, 1)
    await mux.bulk(UPDATE, [one], journal=path).run()
    with pytest.raises(JournalError, match=r"is of video\.assets\.update"):
        await mux.bulk("video.assets.retrieve", [one], journal=path).run()
    token = mux_emulator.settings.tokens[0]
    other = Mux(
        token_id=token.id, token_secret=token.secret, base_url="http://127.0.0.1:1", transport=EmulatorTransport(mux_emulator)
    )
    with pytest.raises(JournalError, match="use that server, or another journal"):
        await other.bulk(UPDATE, [one], journal=path).run()
    text = tmp_path / "notes.txt"
    text.write_text("no database " * 100)
    with pytest.raises(JournalError, match="not an SQLite file"):
        await mux.bulk(UPDATE, [one], journal=text).run()


async def test_one_run_at_a_time(mux: Mux, tmp_path: Path) -> None:
    """A journal that a run uses cannot be used by another one until that has ended."""
    path = tmp_path / "rows.mux-bulk"
    (one,) = await make_assets(mux, 1)
    with BulkJournal.open(path) as journal:
        lease = journal.acquire()
        assert lease is not None
        with pytest.raises(JournalError, match="another run uses the journal"):
            await mux.bulk(UPDATE, [one], journal=path).run()
        lease.drop()
    assert (await mux.bulk(UPDATE, [one], journal=path).run()).done == 1
    assert [each.name for each in await anyio.to_thread.run_sync(lambda: list(tmp_path.iterdir()))] == ["rows.mux-bulk"]


async def test_reading(mux: Mux) -> None:
    """Operations that read one thing give their values to the callback."""
    ids = await make_assets(mux, 2)
    values: list[object] = []
    await mux.bulk("video.assets.retrieve", ids, on_event=lambda event: values.append(event.value)).run()
    assert sorted(each.id for each in values if isinstance(each, Asset)) == sorted(ids)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
async def test_report(mux: Mux, tmp_path: Path, suffix: str) -> None:
    """A report has a line for each row, with its outcome and the id of what it made."""
    place = tmp_path / f"report{suffix}"
    with BulkJournal.in_memory() as journal:
        await mux.bulk(CREATE, inputs(2), journal=journal).run()
        assert write_bulk_report(place, journal.entries()) == 2
    text = place.read_text("utf-8-sig")
    ids = [asset.id async for asset in mux.video.assets.list()]
    assert all(each in text for each in ids)
    if suffix == ".jsonl":
        assert [json.loads(line)["stage"] for line in text.splitlines()] == ["done", "done"]


async def test_formulas_in_a_report(mux: Mux, tmp_path: Path) -> None:
    """A cell that a spreadsheet would run as a formula gets an apostrophe."""
    with BulkJournal.in_memory() as journal:
        await mux.bulk(CREATE, inputs(1), journal=journal).run()
        write_bulk_report(tmp_path / "report.csv", [attrs.evolve(row, label="=1+1") for row in journal.entries()])
    assert ",'=1+1," in (tmp_path / "report.csv").read_text("utf-8-sig")


async def test_a_report_that_fails(mux: Mux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that cannot be written to its end leaves the older one as it was, and no other file."""
    place = tmp_path / "report.csv"
    place.write_text("older")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with BulkJournal.in_memory() as journal:
        await mux.bulk(CREATE, inputs(1), journal=journal).run()
        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(InvalidRequestError, match="No space left on device"):
            write_bulk_report(place, journal.entries())
    assert place.read_text() == "older"
    assert [each.name for each in await anyio.to_thread.run_sync(lambda: list(tmp_path.iterdir()))] == ["report.csv"]


async def test_the_plan_as_text(mux: Mux) -> None:
    """A plan as text names the operation, the number of rows, and what follows an unknown outcome; `forecast` knows the limits."""
    bulk = mux.bulk(CREATE, inputs(5))
    assert str(bulk.plan).startswith("video.assets.create (POST /video/v1/assets) for 5 rows")
    assert "meta.external_id" in str(bulk.plan)
    limited = Mux(token_id="a", token_secret="b", limits=LimitSettings(), base_url="http://127.0.0.1:9")
    assert limited.bulk(CREATE, inputs(101)).forecast() > 95
    settings = LimitSettings(low_priority=LimitSettings(post=BucketSettings(rate=10.0, burst=2)))
    token = AccessToken("c", "d")
    limited = Mux(token_id="e", token_secret="f", low_priority=token, limits=settings, base_url="http://127.0.0.1:9")
    assert limited.bulk(CREATE, inputs(101)).forecast() < 15


async def test_running_twice(mux: Mux, mux_emulator: Emulator) -> None:
    """A bulk change runs once: a second run of the same object would perform rows without a journal again."""
    bulk = mux.bulk(CREATE, inputs(2))
    await bulk.run()
    with pytest.raises(ConfigurationError, match="has run"):
        await bulk.run()
    assert sent(mux_emulator, "POST") == 2


async def test_warnings_of_the_plan(mux: Mux) -> None:
    """Rows that change one object, and a list without rows, are probably mistakes; several tracks of one asset are not."""
    rows = [{"asset_id": "a", "passthrough": text} for text in ("x", "y")]
    assert mux.bulk(UPDATE, rows).plan.warnings == ("2 rows are of asset_id=a, and are performed in any order",)
    assert mux.bulk(DELETE, ["a", "b", "a"]).plan.warnings == ("2 rows are of asset_id=a, and are performed in any order",)
    assert mux.bulk(UPDATE, b"asset_id,passthrough\n", form="csv").plan.warnings == (
        "the list has no rows; the first line of a table is its header",
    )
    assert mux.bulk(UPDATE, [{"asset_id": each} for each in "ab"]).plan.warnings == ()
    assert mux.bulk("video.assets.create_playback_id", [{"asset_id": "a", "policy": "public"}] * 2).plan.warnings == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"on_bad_row": "drop"}, "on_bad_row"),
        ({"max_failures": -1}, "max_failures"),
        ({"on_event": 5}, "on_event"),
        ({"confirm": 5}, "confirm"),
        ({"journal": 5}, "journal"),
        ({"values": 5}, "values"),
    ],
)
async def test_wrong_arguments(mux: Mux, arguments: Any, message: str) -> None:
    """A wrong argument is refused by name."""
    with pytest.raises(ConfigurationError, match=message):
        mux.bulk(UPDATE, ["a"], **arguments)


async def test_rows_that_are_no_rows(mux: Mux) -> None:
    """One mapping is not a list of rows, nor is a number; what is not a client is refused."""
    rows: Sequence[Any] = [{"asset_id": "a"}, 5]
    for each in rows:
        with pytest.raises(ConfigurationError, match="iterable of mappings"):
            mux.bulk(UPDATE, each)
    with pytest.raises(ConfigurationError, match="client"):
        Bulk(object(), UPDATE, [])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
