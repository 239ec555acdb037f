"""Ingests that are killed at every point at which a process can die, against an emulator that continues to run.

A mixed lot (a file of one chunk, one of several, two URLs, a file that was changed, one that Mux can make nothing of) is ingested, and the
process is killed with SIGKILL at the first place; the same is run again, to the end. Then the second place, and so on: the points are
counted in a run that nobody kills. See `crash_child` for what they are.

All of them are tried with ``MUX_TEST_CRASHES=all``; without it, every kind of place once, and others drawn at random.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any, cast

import attrs
import pytest

from mux_async.emulator import Emulator, EmulatorSettings, InputProblem, MediaInfo, MediaSource, Request
from mux_async.ingest import Journal, Stage

pytestmark = pytest.mark.proof

EVERY_PLACE = os.environ.get("MUX_TEST_CRASHES") == "all"
SEED = int(os.environ.get("MUX_TEST_SEED", "1"))
CHUNK = 256 * 1024
LARGEST_CHUNK = 2 * CHUNK + 17
"""Of those in which the larger file is sent: they begin with `CHUNK` and double, and the last is the rest."""
SIZES = {"small.mp4": 1000, "large.mp4": 5 * CHUNK + 17, "errored.mp4": 666, "changed.mp4": 300}
NOW_HEADER = "X-Test-Now"


def probe(source: MediaSource) -> MediaInfo | InputProblem:
    return InputProblem("invalid_input", "not a film") if source.size == SIZES["errored.mp4"] else MediaInfo(10.0)


class EmulatedServer:
    """A Mux, its time as its clients tell it, and what it was sent."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.fresh()

    def fresh(self) -> None:
        self.now = 1.7e9
        self.received: Counter[str] = Counter()
        self.emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=2.0, probe=probe), clock=lambda: self.now)

    def ask(self, method: str, target: str) -> Any:
        authorization = {"Authorization": "Basic dGVzdC10b2tlbjp0ZXN0LXNlY3JldA=="}
        with self.lock:
            response = self.emulator.handle(Request(method, target, authorization))
        return json.loads(response.body)


class RequestHandler(BaseHTTPRequestHandler):
    """Hands requests to the emulator piece by piece, so that one that breaks off has been received as far as it came."""

    emulated: EmulatedServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle_any(self) -> None:
        emulated = self.emulated
        with emulated.lock:
            emulated.now = max(emulated.now, float(self.headers.get(NOW_HEADER, "0")))
            exchange = emulated.emulator.begin(
                Request(self.command, self.path, tuple(self.headers.items()), origin=f"http://{self.headers['Host']}")
            )
        left = int(self.headers.get("Content-Length", "0"))
        try:
            while left:
                piece = cast("io.BufferedReader", self.rfile).read1(min(left, 65536))
                if not piece:
                    self.close_connection = True
                    return
                left -= len(piece)
                with emulated.lock:
                    emulated.received[self.path] += len(piece)
                    exchange.feed(piece)
            with emulated.lock:
                response = exchange.finish().response
        except OSError:
            self.close_connection = True
            return
        finally:
            with emulated.lock:
                exchange.cut()
        assert response is not None
        try:
            self.send_response_only(response.status)
            for name, value in response.headers.items():
                if name.lower() not in {"content-length", "connection"}:
                    self.send_header(name, value)
            if response.status != 204:
                self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)
            self.wfile.flush()
        except OSError:
            self.close_connection = True  # whoever asked is dead

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked is dead
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@attrs.define
class Harness:
    """The Mux, the files, and the program that runs and kills."""

    emulated: EmulatedServer
    folder: Path
    journals: Path
    program: subprocess.Popen[str]

    def run(self, journal: Path, *kill_at: int) -> list[dict[str, Any]]:
        """Run ingests at the same time, each killed at its place; 0 is for one that is not killed."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        orders = [{"journal": str(journal), "kill_at": place, "base": self.emulated.now} for place in kill_at]
        self.program.stdin.write(json.dumps(orders) + "\n")
        self.program.stdin.flush()
        answers: list[dict[str, Any]] = json.loads(self.program.stdout.readline())
        return answers


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Generator[Harness]:
    folder = tmp_path_factory.mktemp("crashes")
    for number, (name, size) in enumerate(SIZES.items()):
        (folder / name).write_bytes(Random(number).randbytes(size))
    emulated = EmulatedServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("EmulatedHandler", (RequestHandler,), {"emulated": emulated}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    origin = f"http://127.0.0.1:{server.server_address[1]}"
    root = Path(__file__).parents[2]
    # A killed process loses nothing that it had written: only a machine that stops would, so the journals need no real disk.
    memory = Path("/dev/shm")
    command = [sys.executable, str(Path(__file__).with_name("crash_child.py")), origin, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "transports")])}
    try:
        with (
            tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as journals,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as program,
        ):
            yield Harness(emulated, folder, Path(journals), program)
            assert program.stdin is not None
            program.stdin.close()
            assert program.wait(10) == 0
    finally:
        server.shutdown()
        server.server_close()


def check(harness: Harness, journal: Path) -> None:
    """Assert that every item has the expected asset, once."""
    emulated = harness.emulated
    assets = emulated.ask("GET", "/video/v1/assets?limit=100")["data"]
    with closing(Journal.open(journal)) as opened:
        entries = {entry.source: entry for entry in opened.entries()}
    assert len(entries) == 6
    made = Counter(asset["meta"]["external_id"] for asset in assets)
    wanted = Counter(entry.key for source, entry in entries.items() if not source.endswith("changed.mp4"))
    assert made == wanted, "an asset is missing, or there are two"
    status = {asset["id"]: asset["status"] for asset in assets}
    for source, entry in entries.items():
        name = source.rpartition("/")[2]
        assert entry.stage is (Stage.DEAD if name in {"changed.mp4", "errored.mp4"} else Stage.DONE), entry
        if name == "changed.mp4":
            assert entry.asset_id is entry.upload_id is None
            continue
        assert status[entry.asset_id or ""] == ("errored" if name == "errored.mp4" else "ready")
        if entry.upload_id is None:
            continue
        stored = emulated.emulator.stored_upload(entry.upload_id)
        assert stored is not None
        assert stored.crc32 == zlib.crc32((harness.folder / name).read_bytes())


def sent(harness: Harness) -> int:
    return sum(number for path, number in harness.emulated.received.items() if "_upload" in path)


def killed_once(harness: Harness, place: int, whole: int) -> str | None:
    """Kill a run at *place* and run it again. Returns the name of the place; ``None`` if the run ended before it."""
    harness.emulated.fresh()
    journal = harness.journals / f"{place}.journal"
    (killed,) = harness.run(journal, place)
    if killed["status"] == 0:  # threads are not always as fast as each other: this time there were fewer points
        return None
    assert killed["status"] == signal.SIGKILL
    (again,) = harness.run(journal, 0)
    try:
        assert again["status"] == 0
        assert again["summary"]["reason"] is None
        check(harness, journal)
        assert sent(harness) <= whole + LARGEST_CHUNK
    except AssertionError as error:
        error.add_note(f"killed at place {place}: {killed['killed']}")
        raise
    return str(killed["killed"])


def test_killed_anywhere(harness: Harness) -> None:
    """Killed at any point: after the next run there is exactly one asset for each item, and at most one chunk was sent twice."""
    (whole,) = harness.run(harness.journals / "whole.journal", 0)
    assert whole["status"] == 0
    check(harness, harness.journals / "whole.journal")
    once = sent(harness)
    points = range(1, whole["points"] + 1)
    assert len(points) > 90
    chosen = points if EVERY_PLACE else sorted(Random(SEED).sample(points, 30))
    died = Counter(killed_once(harness, place, once) for place in chosen)

    assert died.total() - died[None] > 0.8 * len(chosen)
    print(f"{len(points)} points, {died.total() - died[None]} deaths: {dict(died)}")


def test_killed_again_and_again(harness: Harness) -> None:
    """A run that is killed, and whose successors are killed as well, ends with the same result."""
    random = Random(SEED)
    for number in range(20 if EVERY_PLACE else 3):
        harness.emulated.fresh()
        journal = harness.journals / f"chain-{number}.journal"
        points = [random.randrange(5, 60) for _ in range(5)]
        deaths = [harness.run(journal, place)[0]["status"] for place in points]
        assert harness.run(journal, 0)[0]["summary"]["reason"] is None
        check(harness, journal)

        assert deaths[0] == signal.SIGKILL


def test_killed_beside_another(harness: Harness) -> None:
    """If one of two processes with one journal is killed, the other continues its items, and nothing is created twice."""
    random = Random(SEED)
    deaths = 0
    for number in range(20 if EVERY_PLACE else 4):
        harness.emulated.fresh()
        journal = harness.journals / f"pair-{number}.journal"
        killed, other = harness.run(journal, random.randrange(5, 30), 0)
        deaths += killed["status"] == signal.SIGKILL  # or the other was so fast that there was little to do
        assert other["status"] == 0
        assert other["summary"]["reason"] is None
        check(harness, journal)
        with closing(Journal.open(journal)) as opened:
            assert opened.summary().runs == 0

    assert deaths
