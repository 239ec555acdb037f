"""Deploys and rollbacks: two releases of the adapter, in processes of their own, continue each other's items.

The other release is a copy of this one with `TREE_CHANGES`. It performs one step more for each item, and stores a member that this release
does not know.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import anyio
import psycopg
import pytest

from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.ingest import Item, ItemOptions, file_item, url_item
from mux_async.ingest.dbos import entries, status, submit
from mux_async.uploads import Uploads
from tests._servers import Server
from tests.cli.commands import ROOT, serve_here
from tests.ingest.hosts.test_crash_points import run
from tests.ingest.hosts.test_database import make_client, work
from tests.ingest.hosts.test_hosts import assets_by_key, check_all, make_items, wait_for_all
from tests.ingest.hosts.workers import Workers

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]

TREE_CHANGES = [
    (
        "mux_async/ingest/machine.py",
        '"former": list(self.former) or None}',
        '"former": list(self.former) or None, "release": "other"}',
    ),
    (
        "mux_async/ingest/dbos/_items.py",
        """found["is_over"]
""",
        """found["is_over"]
            if not is_over:
                found = await dbos.DBOS.run_step_async({"name": STEP}, self._checkpoint, state)
                state, is_over = ItemState.from_dict(found["state"]), found["is_over"]
""",
    ),
    (
        "mux_async/ingest/dbos/_items.py",
        """    async def finish(""",
        """    async def _checkpoint(self, state):
        return {"state": state.to_dict(), "is_over": False, "checkpoint": True}

    async def finish(""",
    ),
]
"""Files of the other release, each with a text of this release and the text in its place."""
RECORDED = json.loads(Path(__file__).with_name("recorded_steps.json").read_text())
"""What releases with this version of the workflows store of a file and of a URL. It only changes together with ``VERSION``."""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the source tree of the other release."""
    tree = tmp_path_factory.mktemp("other")
    shutil.copytree(ROOT / "mux_async", tree / "mux_async", ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, after in TREE_CHANGES:
        text = (tree / name).read_text()
        assert text.count(before) == 1, before
        (tree / name).write_text(text.replace(before, after))
    return tree


@pytest.fixture
def emulator(tmp_path: Path) -> Generator[Emulator]:
    store = tmp_path / "store"
    store.mkdir()
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.3, store=store, max_arrivals=1_000_000))
    yield emulator
    emulator.close()


def stored_by_other(url: str) -> Counter[bool]:
    """Count the stored steps by whether the other release stored them."""
    with psycopg.connect(url) as sql:
        found = sql.execute("SELECT output FROM dbos.operation_outputs WHERE function_name = 'step'").fetchall()
    return Counter("release" in json.loads(row[0])["state"] for row in found)


@pytest.mark.parametrize("is_rollback", [False, True])
def test_takeover(database: Server, limits: Server, emulator: Emulator, other: Path, tmp_path: Path, is_rollback: bool) -> None:
    """A deploy, or a rollback, in the middle of the work: half of the workers get SIGKILL, half SIGTERM; one asset for each item."""
    items = make_items(tmp_path / "films", 40, 20)
    submit(database.url, items, shared=[tmp_path / "films"])
    first, second = (None, other) if is_rollback else (other, None)
    with serve_here(emulator) as server:
        log = tmp_path / "workers.log"
        with (
            Workers(database, limits, server.origin, 20, log, tree=first) as leaving,
            Workers(database, limits, server.origin, 20, log, tree=second) as coming,
        ):
            leaving.start(3)
            give_up = time.monotonic() + 60
            while (found := status(database.url)).ready < 4:
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.1)
            coming.start(1)  # beside the others
            for process in leaving.running[1:]:
                time.sleep(0.7)
                process.terminate()
            leaving.kill(leaving.running[0])
            coming.start(1)
            assert (found := status(database.url)).ready < 60, found
            wait_for_all(database.url, 120)
    check_all(emulator, database.url, items, tmp_path / "store")
    assert min(stored_by_other(database.url).values()) > 20


@pytest.mark.parametrize("is_rollback", [False, True])
def test_every_step(database: Server, emulator: Emulator, other: Path, tmp_path: Path, is_rollback: bool) -> None:
    """An item that a worker of one release left, at any kind of point, is finished by one of the other: one asset, with its bytes."""
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film" * 1000)
    first, second = (None, other) if is_rollback else (other, None)

    def leave(kind: str, point: int) -> str:
        key = f"{kind}_{point}"
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {key}".encode())
        url = database.url.rpartition("/")[0] + f"/{key}"
        submit(url, [make_one(kind, key, film)], shared=[tmp_path])
        left = run(url, mux.origin, point, first, chance.choice(["SIGKILL", "SIGTERM"]))
        assert left.startswith("killed"), left
        assert run(url, mux.origin, 0, second).startswith("ended"), left
        assert [entry["status"] for entry in entries(url)] == ["ready"], left
        return left

    chance = random.Random(1)
    points = [("url", each + is_rollback) for each in range(3, 13, 3)] + [
        ("file", each + is_rollback) for each in range(4, 19, 3)
    ]
    with serve_here(emulator) as mux, ThreadPoolExecutor(4) as pool:
        print(list(pool.map(leave, *zip(*points, strict=True))))
    assert assets_by_key(emulator) == Counter({f"{kind}_{point}": 1 for kind, point in points})


def stored_steps(url: str, key: str) -> list[dict[str, Any]]:
    """Return what is stored of an item, in order, with names in the place of ids and numbers that differ each time."""
    with psycopg.connect(url) as sql:
        found = sql.execute(
            "SELECT workflow_uuid, function_name, output FROM dbos.operation_outputs "
            "WHERE workflow_uuid IN (%s, %s) ORDER BY workflow_uuid, function_id",
            (key, f"{key}/finish"),
        ).fetchall()
    steps = [{"workflow": row[0], "name": row[1], "output": row[2] and json.loads(row[2])} for row in found]
    text = json.dumps(steps).replace(key, "KEY")
    for name in ("upload_id", "asset_id", "version"):
        text = re.sub(rf'"{name}": "[^"]+"', f'"{name}": "{name.upper()}"', text)
    text = re.sub(r'"intended_at": [\d.]+', '"intended_at": "INTENDED_AT"', text)
    text = re.sub(r'"playback_ids": {[^}]*}, "duration": [\d.]+', '"playback_ids": {}, "duration": 1.0', text)
    return cast("list[dict[str, Any]]", json.loads(text))


def make_one(kind: str, key: str, film: Path) -> Item:
    options = ItemOptions(key=key)
    return file_item(film, options) if kind == "file" else url_item("https://example.com/a.mp4", options)


def test_what_is_stored_is_a_format(database: Server, emulator: Emulator, tmp_path: Path) -> None:
    """This release stores what `RECORDED` says, names and members, for a file and for a URL."""
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film" * 1000)
    submit(database.url, [make_one(kind, f"the-{kind}", film) for kind in RECORDED], shared=[tmp_path])
    work(database.url, emulator)
    assert {kind: stored_steps(database.url, f"the-{kind}") for kind in RECORDED} == RECORDED


def test_recorded_steps(database: Server, emulator: Emulator, tmp_path: Path) -> None:
    """This release continues an item after each step of `RECORDED` that a worker of an earlier release has left: one asset."""
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film" * 1000)
    keys = list[str]()
    for kind, steps in RECORDED.items():
        begun = [step for step in steps if step["workflow"] == "KEY" and step["name"] == "step"]
        for count in range(1, len(begun) + 1):
            keys.append(key := f"{kind}-{count}")
            submit(database.url, [make_one(kind, key, film)], shared=[tmp_path])
            ids = anyio.run(create, emulator, kind, key, film if count == 3 else None)
            with psycopg.connect(database.url, autocommit=True) as sql:
                for number, step in enumerate(begun[:count], 1):
                    text = json.dumps(step["output"]).replace("KEY", key).replace('"INTENDED_AT"', str(int(time.time())))
                    for name, value in ids.items():
                        text = text.replace(name.upper(), value)
                    sql.execute(
                        "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output, serialization) "
                        "VALUES (%s, %s, %s, %s, 'mux-ingest-json')",
                        (key, number, step["name"], text),
                    )
                sql.execute(
                    "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = 'gone' WHERE workflow_uuid = %s", (key,)
                )
    assert len(keys) == 5
    work(database.url, emulator)
    assert {str(entry["key"]): entry["status"] for entry in entries(database.url)} == dict.fromkeys(keys, "ready")
    assert assets_by_key(emulator) == Counter(dict.fromkeys(keys, 1))


async def create(emulator: Emulator, kind: str, key: str, film: Path | None) -> dict[str, str]:
    """Make what an earlier release had made: the asset of a URL, or an upload, which has its bytes if there is a *film*."""
    async with make_client(emulator) as mux:
        if kind == "url":
            asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], meta={"external_id": key})
            return {"asset_id": asset.id}
        upload = await mux.video.uploads.create(
            new_asset_settings={"meta": {"external_id": key}, "playback_policies": ["public"]}
        )
        if film is not None:
            await Uploads(mux).deliver(upload, film)
        return {"upload_id": upload.id}
