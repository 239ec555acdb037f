"""The main job at its real size: fifty media files through the command line into an emulated Mux in another process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mux_async.cli._media import Recipe, make_media
from tests.cli.commands import CREDENTIALS, command, emulate, environment

pytestmark = [pytest.mark.proof, pytest.mark.timeout(240)]

FRAME = 640 * 360 * 3 // 2
RAW = ("-c:v", "rawvideo", "-pix_fmt", "yuv420p")
MOST_MEMORY = 120 * 1000 * 1000


def recipes() -> list[Recipe]:
    """Return fifty files: two of nearly 64 MB, eight of 17, twenty of about 1.8, and twenty from 1 to 60 KB."""
    random = Random(50)
    huge = [Recipe(f"huge-{number}.avi", 184 / 25, 640, 360, options=RAW) for number in range(2)]
    large = [Recipe(f"large-{number}.avi", 50 / 25, 640, 360, options=RAW) for number in range(8)]
    medium = [
        Recipe(f"medium-{number:02}.wav", random.uniform(8, 13), tone=200 + number, options=("-ar", "44100", "-ac", "2"))
        for number in range(20)
    ]
    tiny = [
        Recipe(f"tiny-{number:02}.wav", 0.06 + number * 0.2, tone=300 + number, options=("-ar", "8000", "-ac", "1"))
        for number in range(14)
    ]
    pictures = [Recipe(f"tiny-{number:02}.gif", 0.2 + number * 0.1, 64, 48, 10) for number in range(6)]
    return [*huge, *large, *medium, *tiny, *pictures]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(make_media, recipes(), repeat(folder)))
    return folder


def most_in_any_window(times: Sequence[float], rate: float) -> float:
    """Return the burst that the arrivals used: the most that came in any window beyond *rate* times its length."""
    return max(
        last - first + 1 - rate * (times[last] - times[first])
        for first in range(len(times))
        for last in range(first, len(times))
    )


def peak_memory(process: subprocess.Popen[bytes]) -> int:
    """Wait for *process* and return the most memory it had, in bytes.

    Not from `os.wait4`: Linux counts what the parent had when it forked as the child's own.
    """
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            status = ""
        peak = max(peak, *(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    return peak


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_fifty_files(media: Path, tmp_path: Path) -> None:
    """Fifty real files of 1 KB to 64 MB, 300 MB in all, become fifty ready assets with the same bytes; Mux never says 429, requests stay
    within rate and burst in every window, and the client stays under 120 MB of memory.
    """
    files = {path.name: path.stat().st_size for path in media.iterdir()}
    assert len(files) == 50
    assert min(files.values()) < 1100
    assert 60e6 < max(files.values()) < 64e6
    assert 290e6 < sum(files.values()) < 320e6

    results = tmp_path / "results.jsonl"
    with emulate("--time-to-ready", "2") as emulator, (tmp_path / "output.txt").open("w+") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command("ingest", str(media), "--plain", "--report", str(results), "--base-url", emulator.origin),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(CREDENTIALS),
            cwd=tmp_path,
        )
        memory = peak_memory(process)
        elapsed = time.monotonic() - started
        output.seek(0)
        said = output.read()
        arrivals = emulator.arrivals()
        uploads: dict[str, Any] = {each["id"]: each for each in emulator.ask("uploads")["uploads"]}

    assert process.returncode == 0, said
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert sorted(Path(line["source"]).name for line in lines) == sorted(files)
    assert [line["status"] for line in lines] == ["ready"] * 50
    assert len({line["asset_id"] for line in lines}) == 50
    for line in lines:
        path = Path(line["source"])
        upload = uploads[line["upload_id"]]
        assert (upload["size"], upload["crc32"], upload["is_complete"]) == (
            files[path.name],
            f"{zlib.crc32(path.read_bytes()):08x}",
            True,
        )

    assert [each for each in arrivals if each["status"] == 429] == []
    by_bucket = {bucket: sorted(each["at"] for each in arrivals if each["bucket"] == bucket) for bucket in ("post", "other")}
    assert len(by_bucket["post"]) == 50
    assert most_in_any_window(by_bucket["post"], 1.0) <= 5
    assert most_in_any_window(by_bucket["other"], 5.0) <= 25
    # An ingest is paced, so it leaves the burst alone; a little jitter between two processes aside.
    assert most_in_any_window(by_bucket["post"], 1.0) < 1.5

    print(f"{elapsed:.1f} s, {memory / 1e6:.1f} MB, {len(by_bucket['other'])} reads, {len(arrivals)} requests")
    assert 0 < memory < MOST_MEMORY
