"""Reports: every item, in two forms, whole or not at all."""

from __future__ import annotations

import csv
import json
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mux_async.emulator import Fault
from mux_async.errors import InvalidRequestError
from mux_async.ingest import (
    Ingest,
    ItemError,
    Journal,
    JournalEntry,
    Problem,
    ReportError,
    Stage,
    make_plan,
    url_item,
    write_report,
)
from tests.ingest.emulation import client_of, emulate

API = "https://api.mux.com"


def entry(key: str, stage: Stage, *, source: str = "films/a.mp4", error: ItemError | None = None) -> JournalEntry:
    is_done = stage is Stage.DONE
    return JournalEntry(
        key=key,
        source=source,
        stage=stage,
        size=1000,
        upload_id="u",
        asset_id="a" if is_done else None,
        former=(),
        playback_ids={"p1": "public", "p2": "signed"} if is_done else {},
        duration=2.5 if is_done else None,
        seconds=3.25 if is_done else None,
        changed_at=1.7e9,
        error=error,
    )


ENTRIES = [
    entry("k1", Stage.DONE, source='films/"a", b\n.mp4'),
    entry("k2", Stage.DEAD, error=ItemError("AssetErroredError", "no film")),
    entry("k3", Stage.WAITING),
    entry("k4", Stage.PLANNED),
]
PROBLEMS = [Problem("it is wrong", "list.csv", 7, "title")]


def test_json_lines(tmp_path: Path) -> None:
    """A JSON lines report has an object for each item, with any result, and for each refused line."""
    path = tmp_path / "r.jsonl"

    assert write_report(path, ENTRIES, base_url=API, problems=PROBLEMS) == 5
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ready", "failed", "unfinished", "not_started", "refused"]
    assert rows[0] == {
        "source": 'films/"a", b\n.mp4',
        "status": "ready",
        "key": "k1",
        "asset_id": "a",
        "upload_id": "u",
        "playback_ids": {"p1": "public", "p2": "signed"},
        "playback_urls": ["https://stream.mux.com/p1.m3u8"],
        "bytes": 1000,
        "duration": 2.5,
        "seconds": 3.25,
        "error": None,
    }
    assert rows[1]["error"] == "AssetErroredError: no film"
    assert (rows[4]["source"], rows[4]["error"]) == ("list.csv:7", "list.csv, line 7, column 'title': it is wrong")


def test_csv(tmp_path: Path) -> None:
    """A CSV report has the same in columns, and CSV readers can parse it with any names."""
    path = tmp_path / "r.csv"

    assert write_report(path, ENTRIES, base_url=API) == 4
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == ["k1", "k2", "k3", "k4"]
    assert rows[0]["source"] == 'films/"a", b\n.mp4'
    assert rows[0]["playback_ids"] == "public:p1 signed:p2"
    assert (rows[3]["asset_id"], rows[3]["duration"]) == ("", "")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Names with undecodable bytes, and names that a spreadsheet would run as a formula, can be in a report."""
    path = tmp_path / "r.csv"
    write_report(path, [entry("k", Stage.DONE, source="=1+1\udcff")], base_url=API)

    assert path.read_text().splitlines()[1].startswith("'=1+1\\udcff,ready")


@contextmanager
def files_no_longer_than(size: int) -> Generator[None]:
    """Limit the size of files, so that writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_full_disk(tmp_path: Path, suffix: str) -> None:
    """If the disk is full, the old report stays, no other file is left, and the message says what to do."""
    path = tmp_path / f"r{suffix}"
    write_report(path, ENTRIES, base_url=API)
    before = path.read_bytes()
    with (
        files_no_longer_than(8192),
        pytest.raises(ReportError, match=r"could not be written \(File too large\).*free some space"),
    ):
        write_report(path, ENTRIES * 500, base_url=API)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_where_it_cannot_be(tmp_path: Path) -> None:
    """A report that could not be written, or has an unknown suffix, is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match=r"\.csv or a \.jsonl"):
        write_report(tmp_path / "r.txt", [], base_url=API)
    with pytest.raises(InvalidRequestError, match="in an existing, writable folder"):
        write_report(tmp_path / "no" / "r.csv", [], base_url=API)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InvalidRequestError, match="name a file"):
        write_report(tmp_path / "folder.csv", [], base_url=API)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_later_success(tmp_path: Path) -> None:
    """A file that failed, was fixed and became an asset has one row and counts once; two files with the same name have two rows."""
    emulator, film = emulate(), tmp_path / "film.mp4"
    film.write_bytes(b"wrong")
    listed = [url_item("https://e.com/play.mp4?id=1"), url_item("https://e.com/play.mp4?id=2")]
    emulator.faults.add(Fault(method="POST", path="/video/v1/.*", nth=1, status=400))
    with Journal.open(tmp_path / "j") as journal:
        for content in (b"wrong", b"right!"):
            film.write_bytes(content)
            async with client_of(emulator) as mux:
                await Ingest(mux, [*make_plan(film).items, *listed], journal=journal, concurrency=1).run()
        write_report(tmp_path / "r.jsonl", journal.entries(), base_url=API)
        summary = journal.summary()

        assert len(list(journal.entries(superseded=True))) == 4
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert sorted(row["status"] for row in rows) == ["ready", "ready", "ready"]
    assert (summary.total, summary.done, summary.dead, summary.size, summary.size_done) == (3, 3, 0, 6, 6)
