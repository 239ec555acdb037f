"""Bulk changes on many hosts: rows in PostgreSQL, performed by workers in processes of their own, which are killed."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import psycopg
import pytest

from mux_async import AuthenticationError, ConfigurationError, InvalidRequestError, LimitSettings, Mux
from mux_async.bulk import BulkPlan, RowStage
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault
from mux_async.ingest.dbos import bulk_counts, bulk_entries, bulk_reason, retry_bulk, submit_bulk
from mux_async.models import Asset
from tests._servers import Server
from tests.cli.commands import CREDENTIALS, command, environment, run, serve_here
from tests.ingest.hosts.test_database import make_worker, work_until
from tests.ingest.hosts.workers import CHILD, Workers

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

FINISHED = {RowStage.DONE, RowStage.FAILED, RowStage.UNKNOWN}


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


def perform(processes: Workers, database: Server, *names: str, kills: int = 0) -> None:
    """Wait until every row is finished; meanwhile kill *kills* workers, each after a moment, and start others in their places."""
    chance = random.Random(1)
    give_up = time.monotonic() + 300
    processes.start(3)
    while True:
        time.sleep(chance.uniform(0.2, 1.0))
        counts = sum((Counter(bulk_counts(database.url, name)) for name in names), Counter[RowStage]())
        if set(counts) <= FINISHED:
            return
        if kills and counts[RowStage.DONE] > 5:
            kills -= 1
            processes.kill(chance.choice(processes.running))
            processes.renew(3)
        assert time.monotonic() < give_up, counts


async def until(is_done: Callable[[], bool]) -> None:
    while True:
        if await asyncio.to_thread(is_done):
            return
        await asyncio.sleep(0.1)


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

    with serve_here(emulator) as server, Workers(database, limits, server.origin, 100, tmp_path / "workers.log") as processes:
        perform(processes, database, "creates", "deletes", "unkeyed", kills=8)

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


@pytest.mark.timeout(400)
def test_ten_thousand_rows(database: Server, limits: Server, emulator: Emulator, tmp_path: Path) -> None:
    """10,000 rows, faults, kills, a worker that was suspended for longer than the adoption time, PostgreSQL restarted: each row is done
    once, or reported.

    Creates are counted by what exists, updates by what they set. Requests that cannot be recognised are done at most once.
    """
    old = make_assets(emulator, 500)
    updates = plan(
        emulator, "video.assets.update", [{"asset_id": each, "passthrough": f"{n} {each}"} for each in old for n in range(15)]
    )
    creates = plan(
        emulator,
        "video.assets.create",
        [{"inputs": [{"url": "https://example.com/b.mp4"}], "passthrough": f"row {number}"} for number in range(2000)],
    )
    unkeyed = plan(emulator, "video.assets.create_playback_id", [{"asset_id": each, "policy": "public"} for each in old])
    rows = {"updates": updates, "creates": creates, "unkeyed": unkeyed}
    assert sum(len(each.calls) for each in rows.values()) == 10_000
    for name, each in rows.items():
        submit_bulk(database.url, each, name=name)
    for method, count in (("POST", 2500), ("PATCH", 7500)):
        emulator.faults.add(Fault(method=method, nth=range(50, count, 400), cut="after"))
        emulator.faults.add(Fault(method=method, nth=range(150, count, 400), cut="before"))
        emulator.faults.add(Fault(method=method, nth=range(250, count, 400), status=503))

    def counts() -> Counter[RowStage]:
        return sum((Counter(bulk_counts(database.url, name)) for name in rows), Counter[RowStage]())

    with (
        serve_here(emulator) as server,
        Workers(database, limits, server.origin, 10_000, tmp_path / "workers.log", concurrency=16) as processes,
    ):
        processes.start(3)
        suspended, kills, chance, give_up = processes.running[0], 0, random.Random(1), time.monotonic() + 360
        woken = give_up
        while not set(found := counts()) <= FINISHED:
            assert time.monotonic() < give_up, found
            time.sleep(1.0)
            done = sum(found[stage] for stage in FINISHED)
            if done > 800 * (kills + 1):
                kills += 1
                processes.kill(chance.choice([each for each in processes.running if each is not suspended]))
                processes.renew(3)
                match kills:
                    case 2:
                        suspended.send_signal(signal.SIGSTOP)
                        woken = time.monotonic() + 12
                    case 6:
                        database.restart()
                    case _:
                        pass
            if time.monotonic() > woken:
                suspended.send_signal(signal.SIGCONT)
        print(f"{kills} kills, {found}")

    assert kills >= 8
    assert bulk_counts(database.url, "updates") == {RowStage.DONE: 7500}
    assert bulk_counts(database.url, "creates") == {RowStage.DONE: 2000}
    everything = assets(emulator)
    made = Counter(asset.passthrough for asset in everything if (asset.passthrough or "").startswith("row "))
    assert made == Counter(f"row {each}" for each in range(2000))
    ids = {str(asset.id): asset for asset in everything}
    assert all((ids[each].passthrough or "").endswith(each) for each in old)
    reported = {row.label.removeprefix("asset_id="): row.stage for row in bulk_entries(database.url, "unkeyed")}
    given = {each: len(ids[each].playback_ids or ()) for each in old}
    assert {given[each] for each, stage in reported.items() if stage is RowStage.DONE} == {1}
    assert {given[each] for each, stage in reported.items() if stage is RowStage.UNKNOWN} <= {0, 1}
    assert {reported[each] for each in old} <= {RowStage.DONE, RowStage.UNKNOWN}


def test_wrong_credentials_fail_no_row(database: Server, limits: Server, emulator: Emulator, tmp_path: Path) -> None:
    """A worker whose credentials are refused ends, and another one performs its rows."""
    first, second = make_assets(emulator, 2)
    rows = [{"asset_id": each, "passthrough": "done"} for each in (first, second)]
    submit_bulk(database.url, plan(emulator, "video.assets.update", rows), name="x")
    emulator.faults.add(Fault(method="PATCH", nth=[1], status=401))
    log = tmp_path / "worker.log"
    with serve_here(emulator) as server, log.open("wb") as output:
        arguments = [sys.executable, str(CHILD), database.url, server.origin, limits.url, "100"]
        done = subprocess.run(arguments, check=False, stdout=output, stderr=subprocess.STDOUT, env=environment(), timeout=60)
        assert (done.returncode, "AuthenticationError" in log.read_text()) == (1, True), log.read_text()
        assert bulk_counts(database.url, "x").get(RowStage.FAILED, 0) == 0
        with Workers(database, limits, server.origin, 100, tmp_path / "workers.log") as processes:
            perform(processes, database, "x")
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


def test_refused_credentials_end_a_worker_at_once(database: Server, emulator: Emulator) -> None:
    """A worker whose credentials are refused does not wait for all of its ``drain``, and raises the error. The rows stay."""
    old = make_assets(emulator, 30)
    submit_bulk(database.url, plan(emulator, "video.assets.update", [{"asset_id": each} for each in old]), name="x")
    emulator.faults.add(Fault(method="PATCH", status=401))
    began = time.monotonic()
    with pytest.raises(AuthenticationError):
        anyio.run(make_worker(database.url, emulator, drain=300.0).run)
    assert time.monotonic() - began < 60
    assert bulk_counts(database.url, "x") == {RowStage.PLANNED: 30}


def test_many_failures_end_the_change(database: Server, emulator: Emulator) -> None:
    """After ``max_failures`` failed rows in a row nothing more is sent, with the reason; submitting the list again continues."""
    old = make_assets(emulator, 60)
    updates = plan(emulator, "video.assets.update", [{"asset_id": each, "passthrough": "x"} for each in old])
    submit_bulk(database.url, updates, name="x", max_failures=5)
    emulator.faults.add(Fault(method="PATCH", status=400, nth=range(10, 1000)))

    assert asyncio.run(
        work_until(make_worker(database.url, emulator), partial(until, lambda: bulk_reason(database.url, "x") is not None))
    )
    counts = bulk_counts(database.url, "x")
    assert counts[RowStage.DONE] == 9
    assert 5 <= counts[RowStage.FAILED] <= 20
    assert counts[RowStage.PLANNED] == 51 - counts[RowStage.FAILED]
    assert "5 rows failed one after the other, the last with: BadRequestError" in (bulk_reason(database.url, "x") or "")
    emulator.faults.clear()
    assert submit_bulk(database.url, updates, name="x", max_failures=5) == (0, 60)
    assert retry_bulk(database.url, updates, name="x") == counts[RowStage.FAILED]
    assert bulk_reason(database.url, "x") is None

    assert asyncio.run(
        work_until(
            make_worker(database.url, emulator), partial(until, lambda: bulk_counts(database.url, "x") == {RowStage.DONE: 60})
        )
    )
    assert {asset.passthrough for asset in assets(emulator)} == {"x"}


def test_retries_are_as_safe_as_the_first_time(database: Server, emulator: Emulator) -> None:
    """A retry of deletes needs the confirmation, and sends no rows again that are not in the list; two at once are one."""
    missing = [f"missing{number}" for number in range(4)]
    everything, two = (plan(emulator, "video.assets.delete", names) for names in (missing, missing[:2]))
    submit_bulk(database.url, everything, name="x", confirm=everything.confirmation)

    assert asyncio.run(
        work_until(
            make_worker(database.url, emulator), partial(until, lambda: bulk_counts(database.url, "x") == {RowStage.FAILED: 4})
        )
    )
    for wrong in (None, everything.confirmation):
        with pytest.raises(ConfigurationError, match="nothing was sent"):
            retry_bulk(database.url, two, name="x", confirm=wrong)

    async def both() -> list[int]:
        retry = partial(retry_bulk, database.url, two, name="x", confirm=two.confirmation)
        return await asyncio.gather(*(asyncio.to_thread(retry) for _ in range(3)))

    assert sum(asyncio.run(both())) == 2
    assert bulk_counts(database.url, "x") == {RowStage.FAILED: 2, RowStage.PLANNED: 2}


def test_another_environment(database: Server, emulator: Emulator) -> None:
    """Rows for another environment than the workers' are not stored."""
    updates = plan(emulator, "video.assets.update", make_assets(emulator, 1))
    submit_bulk(database.url, updates, name="x", environment="first")
    with pytest.raises(ConfigurationError, match="belong to the environment 'first', and these credentials are for 'second'"):
        submit_bulk(database.url, updates, name="y", environment="second")
    with pytest.raises(ConfigurationError, match="there are: 'x'"):
        bulk_counts(database.url, "y")
    with pytest.raises(ConfigurationError, match="belong to the environment 'first'"):
        asyncio.run(make_worker(database.url, emulator).run())


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
