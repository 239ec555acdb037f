"""Bulk changes whose process is killed again and again, over sockets with faults: every row is done once, or reported."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from mux_async import LimitSettings, Mux
from mux_async.bulk import BulkJournal, RowStage
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault
from tests.cli.commands import environment, serve_here

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

FREE = LimitSettings(enabled=False)
CHILD = """
import sys
import anyio
from mux_async import LimitSettings, Mux

async def main(operation, rows, journal):
    async with Mux(limits=LimitSettings(enabled=False)) as mux:
        bulk = mux.bulk(operation, rows, journal=journal, max_failures=0, on_event=lambda event: print(event.call.row, flush=True))
        print("begun", flush=True)
        await bulk.run()
        print("ended", flush=True)

anyio.run(main, *sys.argv[1:])
"""


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(EmulatorSettings(limits=None, time_to_ready=0.0, instant=True, max_arrivals=1_000_000))


@pytest.fixture
def origin(emulator: Emulator) -> Generator[str]:
    with serve_here(emulator) as running:
        yield running.origin


def run_with_kills(origin: str, operation: str, rows: Path, journal: Path, kills: int, chance: random.Random) -> None:
    """Run the change in processes of their own; kill *kills* of them with SIGKILL between two and fifty finished rows."""
    variables = environment({"MUX_BASE_URL": origin, "MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "test-secret"})
    give_up = time.monotonic() + 800
    while True:
        command = [sys.executable, "-c", CHILD, operation, str(rows), str(journal)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
            assert process.stdout is not None
            left = chance.randrange(2, 50)
            last = ""
            for line in process.stdout:
                last = line.strip()
                left -= 1
                if kills and left == 0:
                    time.sleep(chance.random() / 100)
                    os.kill(process.pid, signal.SIGKILL)
                    kills -= 1
                    break
            else:
                assert last == "ended", f"the run ended with {process.wait()} after {last!r}"
                return
        assert time.monotonic() < give_up


def stages(journal: Path) -> dict[RowStage, int]:
    with BulkJournal.open(journal, create=False) as book:
        return dict(book.counts())


def test_ten_thousand_updates(emulator: Emulator, origin: str, tmp_path: Path) -> None:
    """Ten thousand updates, with faults and twelve kills: each asset has its value, and few requests are repeated."""
    count, kills = 10_000, 12

    async def create() -> list[str]:
        async with Mux(
            token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator), limits=FREE
        ) as mux:
            return [(await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])).id for _ in range(count)]

    async def read() -> dict[str, str | None]:
        async with Mux(
            token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator), limits=FREE
        ) as mux:
            return {asset.id: asset.passthrough async for asset in mux.video.assets.list(limit=100)}

    ids = anyio.run(create)
    rows = tmp_path / "rows.csv"
    rows.write_text("asset_id,passthrough\n" + "".join(f"{each},row {number}\n" for number, each in enumerate(ids)))
    faulty = range(20, 20_000, 20)
    emulator.faults.add(Fault(method="PATCH", nth=faulty[0::3], cut="before"))
    emulator.faults.add(Fault(method="PATCH", nth=faulty[1::3], cut="after"))
    emulator.faults.add(Fault(method="PATCH", nth=faulty[2::3], status=503))
    journal = tmp_path / "rows.mux-bulk"
    run_with_kills(origin, "video.assets.update", rows, journal, kills, random.Random(1))

    assert anyio.run(read) == {each: f"row {number}" for number, each in enumerate(ids)}
    assert stages(journal) == {RowStage.DONE: count}
    patches = sum(arrival.method == "PATCH" for arrival in emulator.arrivals)
    assert patches <= count + count // 15 + kills * 8  # repeated: a twentieth, and what was under way at each kill


def test_creates(emulator: Emulator, origin: str, tmp_path: Path) -> None:
    """Creates, with lost responses and kills: every row makes exactly one asset."""
    count = 400
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"inputs": [{"url": f"https://example.com/{each}.mp4"}], "passthrough": str(each)}) + "\n"
            for each in range(count)
        )
    )
    emulator.faults.add(Fault(method="POST", path="/video/v1/assets", nth=range(30, 500, 30), cut="after"))
    emulator.faults.add(Fault(method="POST", path="/video/v1/assets", nth=range(45, 500, 30), cut="before"))
    journal = tmp_path / "rows.mux-bulk"
    run_with_kills(origin, "video.assets.create", rows, journal, 6, random.Random(2))

    async def read() -> list[str]:
        async with Mux(
            token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator), limits=FREE
        ) as mux:
            return sorted([str(asset.passthrough) async for asset in mux.video.assets.list(limit=100)], key=int)

    assert anyio.run(read) == [str(each) for each in range(count)]
    assert stages(journal) == {RowStage.DONE: count}


def test_creates_without_a_key(emulator: Emulator, origin: str, tmp_path: Path) -> None:
    """Creates that have no field for a key are sent once each: those whose outcome is unknown are reported, and no other."""
    count, kills = 400, 6
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n" * count)
    journal = tmp_path / "rows.mux-bulk"
    run_with_kills(origin, "system.signing_keys.create", rows, journal, kills, random.Random(3))

    found = stages(journal)
    posts = sum(arrival.method == "POST" for arrival in emulator.arrivals)
    assert found[RowStage.DONE] + found.get(RowStage.UNKNOWN, 0) == count
    assert found[RowStage.DONE] <= posts <= count
    assert 0 < found.get(RowStage.UNKNOWN, 0) <= kills * 8
