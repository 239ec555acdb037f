"""Ingest on many hosts: workers in processes of their own, with PostgreSQL and Redis, against an emulator with its limits."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

import anyio
import pytest

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, RateRules
from mux_async.ingest import Item, ItemOptions, file_item, url_item
from mux_async.ingest.dbos import entries, status, submit
from tests._servers import Server
from tests.cli.commands import serve_here
from tests.ingest.hosts.workers import Workers

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

SPEED = 10.0
"""How many times the account's limits are those of Mux."""


@pytest.fixture
def emulator(tmp_path: Path) -> Generator[Emulator]:
    store = tmp_path / "store"
    store.mkdir()
    rules = RateRules(rates={bucket: SPEED * rate for bucket, rate in RateRules().rates.items()})
    emulator = Emulator(EmulatorSettings(limits=rules, time_to_ready=0.5, store=store, max_arrivals=1_000_000))
    yield emulator
    emulator.close()


def wait_for_all(database: str, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while True:
        found = status(database)
        if found.ready + found.failed == found.total:
            return
        assert time.monotonic() < give_up, found
        time.sleep(0.5)


def make_items(folder: Path, files: int, urls: int) -> list[Item]:
    folder.mkdir()
    items: list[Item] = []
    for number in range(files):
        path = folder / f"{number}.mp4"
        path.write_bytes(random.Random(number).randbytes(2000 + number * 1000))
        items.append(file_item(path, ItemOptions(key=f"file-{number}")))
    return [
        *items,
        *(url_item(f"https://example.com/{number}.mp4", ItemOptions(key=f"url-{number}")) for number in range(urls)),
    ]


def assets_by_key(emulator: Emulator) -> Counter[str]:
    async def read() -> Counter[str]:
        client = Mux(
            token_id="test-token",
            token_secret="test-secret",
            transport=EmulatorTransport(emulator),
            limits=LimitSettings(enabled=False),
            max_attempts=50,
        )
        async with client as mux:
            return Counter([str(asset.meta and asset.meta.external_id) async for asset in mux.video.assets.list(limit=100)])

    return anyio.run(read)


def check_all(emulator: Emulator, database: str, items: Sequence[Item], store: Path) -> None:
    """Check that each item has exactly one asset, and that each file arrived with its bytes."""
    assert assets_by_key(emulator) == Counter([item.key for item in items])
    assert {str(entry["key"]): entry["status"] for entry in entries(database)} == {item.key: "ready" for item in items}
    sent = Counter(path.read_bytes() for item in items if (path := item.path) is not None)
    received = Counter(path.read_bytes() for path in store.iterdir())
    assert sent - received == Counter()


def test_one_worker(database: Server, limits: Server, emulator: Emulator, tmp_path: Path) -> None:
    """A worker makes one ready asset of each item, and ends on SIGTERM."""
    items = make_items(tmp_path / "films", 6, 6)
    assert submit(database.url, items, shared=[tmp_path / "films"]) == (12, 0)
    assert submit(database.url, items, shared=[tmp_path / "films"]) == (0, 12)
    with (
        serve_here(emulator) as server,
        Workers(database, limits, server.origin, SPEED, tmp_path / "workers.log") as processes,
    ):
        processes.start(1)
        wait_for_all(database.url, 60)
        (process,) = processes.running
        process.terminate()
        assert process.wait(30) == 0, (tmp_path / "workers.log").read_text()
    check_all(emulator, database.url, items, tmp_path / "store")
    assert not status(database.url).workers


def test_storm(database: Server, limits: Server, emulator: Emulator, tmp_path: Path) -> None:
    """Three workers, thirty kills, a suspended worker, PostgreSQL and Redis restarted: every item has one asset, with its bytes.

    The rate of POSTs stays within the account's bound. A few 429s follow the restart of Redis: it has forgotten what was sent just before,
    so that each bucket is full again.
    """
    items = make_items(tmp_path / "films", 200, 100)
    chance = random.Random(1)
    submit(database.url, items, shared=[tmp_path / "films"])
    with (
        serve_here(emulator) as server,
        Workers(database, limits, server.origin, SPEED, tmp_path / "workers.log") as processes,
    ):
        processes.start(3)
        time.sleep(6)
        suspended = processes.running[0]
        for kill in range(30):
            time.sleep(chance.uniform(0.5, 2.5))
            if kill == 5:
                suspended.send_signal(signal.SIGSTOP)
            if kill == 15:
                suspended.send_signal(signal.SIGCONT)
            if kill == 18:
                database.restart()
            if kill == 22:
                limits.restart()
            processes.kill(chance.choice([each for each in processes.running if each is not suspended]))
            processes.renew(3)
        wait_for_all(database.url, 300)
        found = status(database.url)
    assert (found.ready, found.failed) == (300, 0)
    check_all(emulator, database.url, items, tmp_path / "store")
    posts = [arrival.at for arrival in emulator.arrivals if arrival.method == "POST"]
    refused = sum(arrival.status == 429 for arrival in emulator.arrivals)
    print(f"{len(posts)} POSTs in {posts[-1] - posts[0]:.0f} s, {refused} of all answers are 429")
    assert refused <= 10
    assert (len(posts) - refused) / (posts[-1] - posts[0]) <= SPEED * 1.1
