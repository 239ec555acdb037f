"""A worker that is killed at any point of an item, and another that continues: one asset, every time."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.ingest import Item, ItemOptions, file_item, url_item
from mux_async.ingest.dbos import entries, submit
from tests._servers import postgres_server
from tests.cli.commands import environment, serve_here
from tests.ingest.hosts.test_hosts import assets_by_key
from tests.ingest.hosts.workers import environment_of

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

CHILD = Path(__file__).with_name("crash_child.py")
PARALLEL = 6  # they wait for most of the time


def run(database: str, origin: str, kill_at: int, tree: Path | None = None, signal: str = "SIGKILL") -> str:
    """Run a worker, of another source tree if there is one, until it is killed, or has finished the only item; return its last line."""
    command = [sys.executable, str(CHILD), database, origin, str(kill_at), signal]
    env = environment() if tree is None else environment_of(tree)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False)
    lines = done.stdout.split("\n")[:-1]
    assert lines, done.stderr
    return lines[-1]


@pytest.mark.parametrize("kind", ["file", "url"])
def test_every_point(kind: str, tmp_path: Path) -> None:
    """Killed before or after any stored step or response, an item has one asset in the end, and nothing is lost."""
    store = tmp_path / "store"
    store.mkdir()
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film" * 1000)
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.5, store=store, max_arrivals=1_000_000))

    def item(number: int) -> Item:
        options = ItemOptions(key=f"{kind}-{number}")
        return file_item(film, options) if kind == "file" else url_item("https://example.com/a.mp4", options)

    with postgres_server(tmp_path / "postgres.log") as server, serve_here(emulator) as mux:

        def database(number: int) -> str:
            name = f"{kind}_{number}"
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            url = server.url.rpartition("/")[0] + f"/{name}"
            submit(url, [item(number)], shared=[tmp_path])
            return url

        word, count = run(database(0), mux.origin, 0).split()
        assert word == "ended"

        def crash(number: int) -> str:
            url = database(number)
            place = run(url, mux.origin, number)
            assert run(url, mux.origin, 0).startswith("ended"), place
            assert [entry["status"] for entry in entries(url)] == ["ready"], place
            return place

        with ThreadPoolExecutor(PARALLEL) as pool:
            places = list(pool.map(crash, range(1, int(count) + 1)))
    print("\n".join(places))
    assert sum(place.startswith("killed") for place in places) >= 10
    assert assets_by_key(emulator) == Counter({f"{kind}-{number}": 1 for number in range(int(count) + 1)})
