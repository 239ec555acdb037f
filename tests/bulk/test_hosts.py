"""Bulk changes on many hosts: rows in PostgreSQL, performed by workers in processes of their own, which are killed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Self, cast

import anyio
import psycopg
import pytest

from mux_async import ConfigurationError, InvalidRequestError, LimitSettings, Mux
from mux_async.bulk import BulkPlan, RowStage
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault
from mux_async.ingest.dbos import bulk_counts, bulk_entries, submit_bulk
from mux_async.models import Asset
from tests._servers import Server, postgres_server, redis_server
from tests.cli.commands import CREDENTIALS, command, environment, run, serve_here

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

WORKER = Path(__file__).parents[1] / "ingest" / "hosts" / "child.py"
FINISHED = {RowStage.DONE, RowStage.FAILED, RowStage.UNKNOWN}


@pytest.fixture
def database(tmp_path: Path) -> Generator[Server]:
    with postgres_server(tmp_path / "postgres.log") as server:
        yield server


@pytest.fixture
def limits(tmp_path: Path) -> Generator[Server]:
    with redis_server(tmp_path / "redis.log") as server:
        yield server


@pytest.fixture
def emulator() -> Generator[Emulator]:
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.0, instant=True, max_arrivals=1_000_000))
    yield emulator
    emulator.close()


def connect(emulator: Emulator) -> Mux:
    return Mux(
        token_id="test-token",
        token_secret="test-secret",
        transport=EmulatorTransport(emulator),
        limits=LimitSettings(enabled=False),
    )


def make_assets(emulator: Emulator, count: int) -> list[str]:
    async def make() -> list[str]:
        async with connect(emulator) as mux:
            return [(await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])).id for _ in range(count)]

    return anyio.run(make)


def assets(emulator: Emulator) -> list[Asset]:
    async def read() -> list[Asset]:
        async with connect(emulator) as mux:
            return [asset async for asset in mux.video.assets.list(limit=100)]

    return anyio.run(read)


def plan(emulator: Emulator, operation: str, rows: Sequence[str] | Sequence[Mapping[str, object]]) -> BulkPlan:
    return connect(emulator).bulk(operation, rows).plan


class Workers:
    """Three worker processes. Use as a context manager; what it leaves running is killed."""

    def __init__(self, database: Server, limits: Server, origin: str, log: Path) -> None:
        self._command = [sys.executable, str(WORKER), database.url, origin, limits.url, "100"]
        self._database = database.url
        self._output = log.open("wb")
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for _ in range(3):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in list(self._running):
            self._kill(process)
        self._output.close()

    def _start(self) -> None:
        self._running.append(subprocess.Popen(self._command, stdout=self._output, stderr=subprocess.STDOUT, env=environment()))

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self._running.remove(process)

    def perform(self, *names: str, kills: int = 0) -> None:
        """Wait until every row is finished; meanwhile kill *kills* workers, each after a moment, and start others in their places."""
        chance = random.Random(1)
        give_up = time.monotonic() + 300
        while True:
            time.sleep(chance.uniform(0.2, 1.0))
            counts = sum((Counter(bulk_counts(self._database, name)) for name in names), Counter[RowStage]())
            if set(counts) <= FINISHED:
                return
            if kills and counts[RowStage.DONE] > 5:
                kills -= 1
                self._kill(chance.choice(self._running))
                self._start()
            assert time.monotonic() < give_up, counts


def test_every_row_once(database: Server, limits: Server, emulator: Emulator, tmp_path: Path) -> None:
    """500 rows of creates, deletes and requests that cannot be recognised, faults, eight kills: each is done once, or reported."""
    old = make_assets(emulator, 300)
    doomed, kept = old[:100], old[100:]
    creates = plan(
        emulator,
        "video.assets.create",
        [{"inputs": [{"url": "https://example.com/b.mp4"}], "passthrough": f"row {number}"} for number in range(200)],
    )
    deletes = plan(emulator, "video.assets.delete", doomed)
    unkeyed = plan(emulator, "video.assets.create_playback_id", [{"asset_id": each, "policy": "public"} for each in kept])
    assert submit_bulk(database.url, creates, name="creates") == (200, 0)
    assert submit_bulk(database.url, creates, name="creates") == (0, 200)
    submit_bulk(database.url, deletes, name="deletes", confirm=deletes.confirmation)
    submit_bulk(database.url, unkeyed, name="unkeyed")
    for method in ("POST", "DELETE"):
        emulator.faults.add(Fault(method=method, nth=range(10, 400, 40), cut="after"))
        emulator.faults.add(Fault(method=method, nth=range(20, 400, 40), cut="before"))
        emulator.faults.add(Fault(method=method, nth=range(30, 400, 40), status=503))

    with serve_here(emulator) as server, Workers(database, limits, server.origin, tmp_path / "workers.log") as processes:
        processes.perform("creates", "deletes", "unkeyed", kills=8)

    assert bulk_counts(database.url, "creates") == {RowStage.DONE: 200}
    assert bulk_counts(database.url, "deletes") == {RowStage.DONE: 100}
    found = assets(emulator)
    assert Counter(asset.passthrough for asset in found if asset.passthrough) == Counter(f"row {each}" for each in range(200))
    assert not {asset.id for asset in found} & set(doomed)
    ids = {str(asset.id): len(asset.playback_ids or ()) for asset in found}
    stages = {row.label.removeprefix("asset_id="): row.stage for row in bulk_entries(database.url, "unkeyed")}
    assert set(stages) == set(kept)
    assert {ids[each] for each, stage in stages.items() if stage is RowStage.DONE} == {1}
    assert {ids[each] for each, stage in stages.items() if stage is RowStage.UNKNOWN} <= {0, 1}
    assert set(stages.values()) <= {RowStage.DONE, RowStage.UNKNOWN}
    print(Counter(stages.values()))


def test_wrong_credentials_fail_no_row(database: Server, limits: Server, emulator: Emulator, tmp_path: Path) -> None:
    """A worker whose credentials are refused ends, and another one performs its rows."""
    first, second = make_assets(emulator, 2)
    rows = [{"asset_id": each, "passthrough": "done"} for each in (first, second)]
    submit_bulk(database.url, plan(emulator, "video.assets.update", rows), name="x")
    emulator.faults.add(Fault(method="PATCH", nth=[1], status=401))
    log = tmp_path / "worker.log"
    with serve_here(emulator) as server, log.open("wb") as output:
        arguments = [sys.executable, str(WORKER), database.url, server.origin, limits.url, "100"]
        done = subprocess.run(arguments, check=False, stdout=output, stderr=subprocess.STDOUT, env=environment(), timeout=60)
        assert done.returncode == 0, log.read_text()
        assert bulk_counts(database.url, "x").get(RowStage.FAILED, 0) == 0
        with Workers(database, limits, server.origin, tmp_path / "workers.log") as processes:
            processes.perform("x")
    assert bulk_counts(database.url, "x") == {RowStage.DONE: 2}
    assert [asset.passthrough for asset in assets(emulator)] == ["done", "done"]


def test_what_is_refused(database: Server, emulator: Emulator, tmp_path: Path) -> None:
    """A delete without its confirmation, and rows that cannot be stored, store nothing and send nothing."""
    old = make_assets(emulator, 2)
    before = len(emulator.arrivals)
    for confirm in (None, "video.assets.delete 1"):
        with pytest.raises(ConfigurationError, match="nothing was sent"):
            submit_bulk(database.url, plan(emulator, "video.assets.delete", old), name="x", confirm=confirm)
    signed = plan(emulator, "video.assets.create", [{"inputs": [{"url": "https://example.com/a.mp4?signature=canary"}]}])
    with pytest.raises(InvalidRequestError, match="MUX_INGEST_KEY") as caught:
        submit_bulk(database.url, signed, name="x")
    assert "canary" not in str(caught.value)
    (tmp_path / "old.txt").write_text("\n".join(old))
    with serve_here(emulator) as server:
        done = run(
            "bulk",
            "video.assets.delete",
            "old.txt",
            "--on",
            database.url,
            cwd=tmp_path,
            env={**CREDENTIALS, "MUX_BASE_URL": server.origin},
        )
    assert (done.returncode, "nothing was sent" in done.stderr.replace("\n", " ")) == (2, True), done.stderr
    with pytest.raises(ConfigurationError, match="no bulk change 'x' in the database; there are: none"):
        bulk_counts(database.url, "x")
    assert len(emulator.arrivals) == before
    submit_bulk(database.url, plan(emulator, "video.assets.delete", old), name="x", confirm="video.assets.delete 2")
    with pytest.raises(ConfigurationError, match=r"is of video\.assets\.delete"):
        submit_bulk(database.url, plan(emulator, "video.assets.update", [{"asset_id": "a"}]), name="x")


def test_on_the_command_line(database: Server, limits: Server, emulator: Emulator, tmp_path: Path) -> None:
    """Submitted, performed by workers, reported; a failed row is sent again; rows are encrypted where there is a key."""
    first, second = make_assets(emulator, 2)
    (tmp_path / "titles.csv").write_text(f"asset_id,passthrough\n{first},one canary\n{second},two\n")
    emulator.faults.add(Fault(method="PATCH", nth=[1], status=422))
    key = run("ingest", "new-key").stdout.strip()
    name = "titles.csv.video.assets.update.mux-bulk"

    with serve_here(emulator) as server:
        env = {
            **CREDENTIALS,
            "MUX_BASE_URL": server.origin,
            "MUX_LIMITS_URL": limits.url,
            "MUX_INGEST_KEY": key,
            "MUX_INGEST_DATABASE": database.url,
        }

        def submit(*options: str) -> str:
            done = run("bulk", "video.assets.update", "titles.csv", "--on", database.url, *options, env=env, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            return done.stdout

        def status(*options: str) -> dict[str, int]:
            shown = run("bulk-status", name, "--on", database.url, "--json", *options, env=env, cwd=tmp_path)
            return cast("dict[str, int]", json.loads(shown.stdout))

        def wait(done: int, failed: int) -> None:
            give_up = time.monotonic() + 60
            while (found := status()) != {"rows": 2, "planned": 0, "begun": 0, "done": done, "failed": failed, "unknown": 0}:
                assert time.monotonic() < give_up, (found, (tmp_path / "worker.log").read_text())

        assert submit() == f"2 rows submitted, 0 known before; the journal is {name}\n"
        with (tmp_path / "worker.log").open("wb") as log:
            worker = subprocess.Popen(command("ingest", "work"), env=environment(env), stdout=log, stderr=log)
            try:
                wait(1, 1)
                assert submit() == f"0 rows submitted, 2 known before; the journal is {name}\n"
                assert submit("--retry-failed") == f"0 rows submitted, 2 known before, 1 row to retry; the journal is {name}\n"
                wait(2, 0)
                worker.terminate()
                assert worker.wait(30) == 0, (tmp_path / "worker.log").read_text()
            finally:
                worker.kill()
                worker.wait()
        status("--report", "done.csv")
    assert (tmp_path / "done.csv").read_text("utf-8-sig").count(",done,") == 2
    assert {asset.passthrough for asset in assets(emulator)} == {"one canary", "two"}
    assert not list(tmp_path.glob("*.mux-bulk"))
    with psycopg.connect(database.url) as sql:
        (stored,) = sql.execute("SELECT schema_to_xml('dbos', false, false, '')::text").fetchone() or ("",)
    assert f"asset_id={first}" in stored
    assert "canary" not in stored
