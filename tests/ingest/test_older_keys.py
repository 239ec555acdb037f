"""Journals of earlier versions, whose keys of URLs left out every parameter that may be part of a signature (``?se=1``)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from mux_async.emulator import Emulator, Request
from mux_async.ingest import Ingest, IngestSummary, Item, Journal, Stage, make_plan, url_item
from tests.ingest.emulation import client_of, emulate, make_asset, posts

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

APPLICATION_ID = 0x4D757849
"""``MuxI``, in every journal of every version."""
FILM = "https://example.com/play.mp4"
FIRST, SECOND = f"{FILM}?se=1", f"{FILM}?se=2"


def older_key(url: str) -> str:
    """Return the key that was made of *url*, written without what counted as its signature."""
    return f"u-{hashlib.blake2b(url.encode(), digest_size=16).hexdigest()}"


def write_journal(path: Path, rows: Sequence[tuple[str, str, Mapping[str, object]]]) -> None:
    """Write a journal as the code of version 2 did: of keys, stages and the rest of each state."""
    sql = sqlite3.connect(path)
    for statement in (
        """CREATE TABLE items (position INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, source TEXT NOT NULL, size INTEGER, fingerprint TEXT,
            stage TEXT NOT NULL, state TEXT NOT NULL, outcome TEXT, seconds REAL, changed_at REAL NOT NULL, runner TEXT)""",
        "CREATE TABLE runners (id TEXT PRIMARY KEY, process INTEGER NOT NULL, host TEXT NOT NULL, started_at REAL NOT NULL)",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE INDEX unknown ON items (stage) WHERE stage = 'creating'",
        "CREATE INDEX held ON items (runner) WHERE runner IS NOT NULL",
        f"PRAGMA application_id = {APPLICATION_ID}",
        "PRAGMA user_version = 2",
    ):
        sql.execute(statement)
    sql.executemany(
        "INSERT INTO items (key, source, stage, state, changed_at) VALUES (?, ?, ?, ?, 1.0)",
        [
            (key, f"{FILM}?...", stage, json.dumps({"is_fetched": True, "uploads": 0, **state}, separators=(",", ":")))
            for key, stage, state in rows
        ],
    )
    sql.commit()
    sql.close()


async def ingest(emulator: Emulator, journal: Path, urls: Sequence[str]) -> IngestSummary:
    async with client_of(emulator) as mux:
        return await Ingest(mux, make_plan(urls).items, journal=journal).run()


def created(emulator: Emulator) -> list[str]:
    """Return which of the URLs assets were made of, the oldest first."""
    headers = {"Authorization": "Basic dGVzdC10b2tlbjp0ZXN0LXNlY3JldA=="}
    body = json.loads(emulator.handle(Request("GET", "/video/v1/assets", headers, b"")).body)
    urls = {url_item(url).key: url for url in (FILM, FIRST, SECOND)}
    return [urls[asset["meta"]["external_id"].removesuffix("-new")] for asset in reversed(body["data"])]


DONE = (older_key(FILM), "done", {"asset_id": "a1"})


async def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    """The first URL of an older journal's key is its item, now and later on; the others, of which nothing was made, are new."""
    journal = tmp_path / "j"
    write_journal(journal, [DONE])
    emulator = emulate()

    first = await ingest(emulator, journal, [FIRST, SECOND])
    again = await ingest(emulator, journal, [FIRST, SECOND])
    turned = await ingest(emulator, journal, [SECOND, FIRST])

    assert created(emulator) == [SECOND]
    assert (first.ready, first.ready_before) == (1, 1)
    assert (again.ready_before, turned.ready_before) == (2, 2)


async def test_a_later_url_is_not_the_first(tmp_path: Path) -> None:
    """An item that one URL has taken is not taken by another URL in a later run, which becomes an item of its own."""
    journal = tmp_path / "j"
    write_journal(journal, [DONE])
    emulator = emulate()
    await ingest(emulator, journal, [FIRST])
    assert not created(emulator)

    await ingest(emulator, journal, [SECOND])
    await ingest(emulator, journal, [FILM])
    await ingest(emulator, journal, [FILM, SECOND, FIRST])

    assert created(emulator) == [SECOND, FILM]


async def test_the_url_itself_first(tmp_path: Path) -> None:
    """A URL without any parameter keeps its key and its item; those with half a signature, which had the same one, are new."""
    journal = tmp_path / "j"
    write_journal(journal, [DONE])
    emulator = emulate()

    await ingest(emulator, journal, [FILM, FIRST, SECOND])
    await ingest(emulator, journal, [FILM, FIRST, SECOND])

    assert sorted(created(emulator)) == [FIRST, SECOND]  # trio runs them in any order


async def test_an_unknown_create(tmp_path: Path) -> None:
    """A create that an older run left unknown is looked for at Mux by the key that it was sent with."""
    journal = tmp_path / "j"
    key = older_key(FILM)
    write_journal(journal, [(key, "creating", {"intended_at": 1.6e9})])
    emulator = emulate()
    make_asset(emulator, key)
    made = len(posts(emulator))

    summary = await ingest(emulator, journal, [FIRST])

    assert summary.ready == 1
    assert len(posts(emulator)) == made


async def test_a_failed_item(tmp_path: Path) -> None:
    """A failed item of an older journal is tried again when its URL's key of today is named, under the key that it has."""
    journal = tmp_path / "j"
    error = {"type": "BadRequestError", "message": "no"}
    write_journal(journal, [(older_key(FILM), "dead", {"error": error, "died_in": "creating"})])
    emulator = emulate()
    await ingest(emulator, journal, [FIRST])
    (item,) = make_plan([FIRST]).items
    with Journal.open(journal) as book:
        assert book.retry([item.key]) == 1

    summary = await ingest(emulator, journal, [FIRST])

    assert summary.ready == 1
    with Journal.open(journal) as book:
        assert [(entry.key, entry.stage) for entry in book.entries()] == [(older_key(FILM), Stage.DONE)]


@pytest.mark.parametrize(
    ("url", "was"),
    [
        ("https://example.com/a.mp4?v=1&sig=2&st=3", "https://example.com/a.mp4?v=1"),
        ("https://example.com/a.mp4?policy=p", "https://example.com/a.mp4"),
        ("https://EXAMPLE.com/a.mp4", "https://EXAMPLE.com/a.mp4"),
        ("https://example.com/a.mp4?auth_key=1", "https://example.com/a.mp4?auth_key=1"),
        ("https://example.com/a.mp4?X-Amz-Date=1", "https://example.com/a.mp4"),
        ("https://example.com/a.mp4?v=1", "https://example.com/a.mp4?v=1"),
    ],
)
async def test_keys(url: str, was: str) -> None:
    """An item has the key that earlier versions made of its URL; a given key is unchanged."""
    item = url_item(url)

    assert older_key(was) == (item.older_key or item.key)


async def test_a_journal_of_today(tmp_path: Path) -> None:
    """In a journal that this version made, URLs that once had one key never stand for each other, in any order."""
    journal = tmp_path / "j"
    emulator = emulate()

    for urls in ([FILM], [FIRST], [FIRST, FILM, SECOND]):
        await ingest(emulator, journal, urls)

    assert created(emulator) == [FILM, FIRST, SECOND]


async def test_any_iterable(tmp_path: Path) -> None:
    """Items that come one after the other, and not as a sequence, are known again as well."""
    journal = tmp_path / "j"
    write_journal(journal, [DONE])
    emulator = emulate()
    items: list[Item] = [url_item(FIRST), url_item(SECOND)]

    async with client_of(emulator) as mux:
        summary = await Ingest(mux, iter(items), journal=journal).run()

    assert (summary.ready, summary.ready_before) == (1, 1)
    assert created(emulator) == [SECOND]
