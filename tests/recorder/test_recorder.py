"""The failure recorder: what is in its file, when it is written, and what ``mux-async replay`` makes of it."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from mux_async import AmbiguousOutcomeError, BadRequestError, ConfigurationError, LimitSettings, Mux, NotFoundError
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault
from mux_async.recorder import Recorder
from tests.cli.commands import environment, run_here, serve_here
from tests.emulator.harness import well_formed_id

SECRET = "CANARYsecret4711"
_accounts = count()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    made = Emulator(EmulatorSettings(limits=None))
    yield made
    made.close()


def client(emulator: Emulator, recorder: Recorder) -> Mux:
    return Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"recorder-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        limits=LimitSettings(enabled=False),
        recorder=recorder,
    )


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


async def some_calls(mux: Mux) -> None:
    asset = await mux.video.assets.create(
        inputs=[{"url": f"https://example.com/{SECRET}.mp4?signature={SECRET}"}],
        playback_policies=["public"],
        passthrough=SECRET,
        meta={"title": "A film"},
    )
    await mux.video.assets.retrieve(asset.id)
    await mux.video.assets.list(limit=5)
    with pytest.raises(NotFoundError):
        await mux.video.live_streams.retrieve(well_formed_id())


def record(emulator: Emulator, path: Path) -> None:
    async def run() -> None:
        recorder = Recorder(path)
        async with client(emulator, recorder) as mux:
            await some_calls(mux)
        recorder.write()

    anyio.run(run)


@pytest.mark.anyio
async def test_what_is_recorded(tmp_path: Path, emulator: Emulator) -> None:
    """A call is recorded with its request, its attempts and the shape of its answer. No text of the program or of Mux is in the file, which
    only its owner may read."""
    recorder = Recorder(tmp_path / "calls.json")
    async with client(emulator, recorder) as mux:
        await some_calls(mux)
    assert not (tmp_path / "calls.json").exists()
    recorder.write("a test")

    assert stat.S_IMODE((tmp_path / "calls.json").stat().st_mode) == 0o600
    report = read(tmp_path / "calls.json")
    create, retrieve, listed, missing = report["calls"]
    assert report["reason"] == "a test"
    assert create["body"] == {
        "inputs": [{"url": "https://redacted.example/file"}],
        "playback_policies": ["public"],
        "passthrough": "redacted",
        "meta": {"title": "redacted"},
    }
    assert (create["status"], create["outcome"], create["answer"]["data"]["status"]) == (201, "ok", "string")
    assert (retrieve["method"], retrieve["path"]) == ("GET", f"/video/v1/assets/{create['id']}")
    assert listed["query"] == [["limit", "5"]]
    assert (missing["status"], missing["error"], missing["attempts"][0]["status"]) == (404, "NotFoundError", 404)
    text = (tmp_path / "calls.json").read_text()
    for secret in (SECRET, "test-secret", "A film", "Basic", well_formed_id()):
        assert secret not in text


@pytest.mark.anyio
async def test_ring(tmp_path: Path, emulator: Emulator) -> None:
    """Only the last calls are kept."""
    recorder = Recorder(tmp_path / "calls.json", calls=3)
    async with client(emulator, recorder) as mux:
        for _ in range(5):
            await mux.video.assets.list()
        await mux.system.utilities.whoami()
    recorder.write()

    assert [call["operation"] for call in read(tmp_path / "calls.json")["calls"]] == [
        "video.assets.list",
        "video.assets.list",
        "system.utilities.whoami",
    ]


@pytest.mark.anyio
async def test_ambiguous(tmp_path: Path, emulator: Emulator) -> None:
    """An ambiguous outcome writes the file, with the call that it is about."""
    emulator.faults.add(Fault(method="POST", path="/video/v1/assets", cut="after"))
    async with client(emulator, Recorder(tmp_path / "calls.json")) as mux:
        with pytest.raises(AmbiguousOutcomeError):
            await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])

    report = read(tmp_path / "calls.json")
    assert report["reason"] == "the outcome of a call is ambiguous"
    assert (report["calls"][0]["error"], report["calls"][0]["status"]) == ("AmbiguousOutcomeError", None)


@pytest.mark.anyio
async def test_disk_is_full(tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be written is logged, and breaks nothing."""
    recorder = Recorder(tmp_path / "gone" / "calls.json")
    async with client(emulator, recorder) as mux:
        await mux.video.assets.list()
    recorder.write()

    assert "cannot be written to calls.json" in caplog.text


PROGRAM = """
import sys, anyio
from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorTransport
from mux_async.recorder import Recorder

async def main():
    recorder = Recorder(sys.argv[1], at_exit=sys.argv[2] == "exit")
    async with Mux(token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(Emulator()), recorder=recorder) as mux:
        await mux.video.assets.list()
        if sys.argv[2] == "error":
            raise LookupError("SECRET")

anyio.run(main)
"""


@pytest.mark.proof
@pytest.mark.parametrize(("end", "reason"), [("error", "an unhandled LookupError"), ("exit", "the process ended")])
def test_end_of_a_process(tmp_path: Path, end: str, reason: str) -> None:
    """A process that dies of an exception writes the file, and reports the exception as usual; at its end only if asked."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "calls.json"), end]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)

    assert ("LookupError" in done.stderr) == (end == "error"), done.stderr
    report = read(tmp_path / "calls.json")
    assert (report["reason"], len(report["calls"])) == (reason, 1)


def test_replay(tmp_path: Path, emulator: Emulator) -> None:
    """Recorded calls of an emulator get the same answers from another one, whose ids are others; a changed record is a difference."""
    record(emulator, tmp_path / "calls.json")

    same = run_here("replay", str(tmp_path / "calls.json"), env={})
    assert (same.returncode, same.stdout) == (0, "4 calls sent, 0 differences\n")

    report = read(tmp_path / "calls.json")
    report["calls"][1]["status"] = 500
    report["calls"][0]["answer"]["data"]["novelty"] = "string"
    (tmp_path / "other.json").write_text(json.dumps(report))
    other = run_here("replay", str(tmp_path / "other.json"), env={})
    assert other.returncode == 1
    assert "1 POST /video/v1/assets: the answer.data.novelty is not in the emulator's answer" in other.stdout
    assert "recorded 500, the emulator answers 200" in other.stdout


def test_replay_against_a_server(tmp_path: Path, emulator: Emulator) -> None:
    """A running emulator can be named; Mux itself, and whatever is no emulator, is refused before anything is sent to it."""
    record(emulator, tmp_path / "calls.json")
    target = Emulator(EmulatorSettings(limits=None))
    with serve_here(target) as server:
        done = run_here("replay", str(tmp_path / "calls.json"), "--base-url", server.origin)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/video/v1/assets" in [arrival.path for arrival in target.arrivals]

    for url in ("https://api.mux.com", "https://API.MUX.COM./", "https://stream.mux.com"):
        refused = run_here("replay", str(tmp_path / "calls.json"), "--base-url", url)
        assert (refused.returncode, "is Mux itself" in refused.stderr) == (2, True)
    refused = run_here("replay", str(tmp_path / "calls.json"), "--base-url", "http://127.0.0.1:9")
    assert (refused.returncode, "is no emulator" in refused.stderr) == (2, True)
    assert run_here("replay", __file__).returncode == 2


def test_words_in_queries_and_paths(tmp_path: Path, emulator: Emulator) -> None:
    """Repeated parameters are recorded and replayed as such, and a word in a path that is in no operation's is hidden."""
    recorder = Recorder(tmp_path / "calls.json")

    async def calls() -> None:
        async with client(emulator, recorder) as mux:
            await mux.data.video_views.list(filters=["country:US", "browser:Chrome"], limit=5)
            await mux.request("GET", "/video/v1/assets", query={"limit": ["2", "5"]})
            with pytest.raises(BadRequestError):
                await mux.request("GET", "/video/v1/assets/opensesame")

    anyio.run(calls)
    recorder.write()

    views, assets, unknown = read(tmp_path / "calls.json")["calls"]
    assert sorted(views["query"]) == [["filters[]", "redacted"], ["filters[]", "redacted"], ["limit", "5"]]
    assert assets["query"] == [["limit", "2"], ["limit", "5"]]
    assert unknown["path"].startswith("/video/v1/assets/id")
    replayed = run_here("replay", str(tmp_path / "calls.json"))
    assert "3 calls sent" in replayed.stdout
    # Views are generated for the hour, so that a member may be null in one answer and not in another; a wrong query would be a 400.
    assert "recorded 200" not in replayed.stdout
    assert "2 GET" not in replayed.stdout


@pytest.mark.parametrize("query", [5, None, [[1]], [["a", 1, 2]], "ab"])
def test_a_file_edited_by_hand(tmp_path: Path, query: object) -> None:
    """A file with members of the wrong type is refused, and nothing of it is sent."""
    (tmp_path / "calls.json").write_text(json.dumps({"calls": [{"method": "GET", "path": "/video/v1/assets", "query": query}]}))
    refused = run_here("replay", str(tmp_path / "calls.json"))
    assert (refused.returncode, "cannot be read" in refused.stderr) == (2, True)


def test_misuse(tmp_path: Path) -> None:
    """Wrong arguments are refused."""
    for wrong in ({"calls": 0}, {"at_exit": "yes"}):
        arguments: dict[str, Any] = {**wrong}
        with pytest.raises(ConfigurationError):
            Recorder(tmp_path / "x", **arguments)
    for path in ("/dev/null", tmp_path, "a\0b"):
        with pytest.raises(ConfigurationError, match="name a file"):
            Recorder(path)
    with pytest.raises(ConfigurationError, match="recorder"):
        Mux(token_id="i", token_secret="s", recorder="calls.json")  # type: ignore[arg-type]
