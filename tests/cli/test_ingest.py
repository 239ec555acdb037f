"""``mux-async ingest`` from sources to a report.

In this process, against an emulator in it, without waiting; as a process of its own where sockets and signals matter.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

import anyio
import attrs
import pytest

from mux_async import LimitSettings, Mux
from mux_async.cli import main
from mux_async.emulator import (
    Arrival,
    Emulator,
    EmulatorSettings,
    EmulatorTransport,
    Fault,
    InputProblem,
    MediaInfo,
    MediaSource,
)
from mux_async.ingest import Journal
from mux_async.models import Asset
from mux_async.testing import VirtualTimeLoop
from tests.cli.commands import CREDENTIALS, Emulate, command, emulate_here, environment, run_here
from tests.ingest.test_report import files_no_longer_than

RATE = LimitSettings().post.rate
"""POST requests a second that are let out."""
BASE = "https://api.mux.com"

_accounts = count()


def probe(source: MediaSource) -> MediaInfo | InputProblem:
    """Refuse files of 13 bytes as invalid media."""
    return InputProblem("invalid_input", "not a film") if source.size == 13 else MediaInfo(10.0)


def _ignore(_: Arrival) -> None:
    """Do nothing with a request."""


@attrs.define
class Line:
    """The command line in this process, with Mux in this process, and without waiting."""

    emulator: Emulator
    capsys: pytest.CaptureFixture[str]
    on_arrival: Callable[[Arrival], None] = attrs.field(default=_ignore, kw_only=True)
    """Called for every request that the emulator gets."""
    account: str = attrs.field(factory=lambda: f"cli-{next(_accounts)}")
    """One of its own: limits are shared by all clients of an account."""

    def __call__(self, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        """Run ``ingest``; return its exit code, the objects on standard output, and standard error."""
        code, out, err = self.text("ingest", *arguments)
        return code, [json.loads(line) for line in out.splitlines()], err

    def text(self, *arguments: str) -> tuple[int, str, str]:
        """Run any command; return its exit code and what it printed."""
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        said = self.capsys.readouterr()
        return cast("int", caught.value.code), said.out, " ".join(said.err.split())

    def connect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let every `Mux` send to the emulator, with the test's credentials and without limits."""
        make = Mux.__init__

        def make_here(mux: Mux, **options: Any) -> None:
            transport, limits = EmulatorTransport(self.emulator), LimitSettings(enabled=False)
            given: dict[str, Any] = {"base_url": options.get("base_url") or BASE, "account": self.account}
            make(mux, token_id="test-token", token_secret="test-secret", transport=transport, limits=limits, **given)

        monkeypatch.setattr(Mux, "__init__", make_here)

    def assets(self) -> list[Asset]:
        async def look() -> list[Asset]:
            async with Mux() as mux:
                return (await mux.video.assets.list()).data

        return anyio.run(look)

    @property
    def posts(self) -> int:
        return sum(each.bucket == "post" for each in self.emulator.arrivals)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Line:
    settings = EmulatorSettings(limits=None, time_to_ready=0.0, probe=probe)
    made = Line(Emulator(settings, on_arrival=lambda arrival: made.on_arrival(arrival)), capsys)  # noqa: PLW0108 - it may change
    monkeypatch.chdir(tmp_path)
    # Time jumps to the next timer: between two looks at the assets there is otherwise a second of nothing.
    monkeypatch.setattr(anyio, "run", functools.partial(anyio.run, backend_options={"loop_factory": VirtualTimeLoop}))
    made.connect(monkeypatch)
    for name in ("MUX_TOKEN_ID", "MUX_TOKEN_SECRET", "MUX_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(bytes([number]) * (1000 + number))
    return folder


@pytest.mark.usefixtures("films")
def test_from_a_folder_to_a_report(line: Line, tmp_path: Path) -> None:
    """Without a terminal, standard output has JSON lines and standard error messages for people; the report has every item."""
    code, lines, err = line("films", "--report", "report.csv")

    assert code == 0
    assert [each["event"] for each in lines] == ["begin", "item", "item", "item", "end"]
    assert lines[0]["posts"] == 3
    assert "3 items: 3 files and 0 URLs; the journal is films.mux-journal" in err
    assert "3 ready (3.0 kB) in" in err
    assert "3 items are in report.csv" in err
    with (tmp_path / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ready"] * 3
    assets: dict[str, Asset] = {asset.id: asset for asset in line.assets()}
    assert {row["asset_id"] for row in rows} == assets.keys()
    for row in rows:
        meta = assets[row["asset_id"]].meta
        assert meta is not None
        assert (meta.title, meta.external_id) == (Path(row["source"]).name, row["key"])


def test_the_same_command_again(line: Line, films: Path) -> None:
    """A second run creates only new items, says how many were done before, and its report has all of them."""
    line("films")
    (films / "more.mp4").write_bytes(b"more")
    code, lines, err = line("films", "--report", "report.jsonl")

    assert code == 0
    assert "3 of 4 done before" in err
    assert "1 ready, 3 ready before" in err
    assert [each["source"] for each in lines[1:-1]] == ["films/more.mp4"]
    assert line.posts == len(line.assets()) == 4
    assert len(Path("report.jsonl").read_text().splitlines()) == 4


def test_retry_failed(line: Line, films: Path) -> None:
    """Failed items stay failed, with their reason, until ``--retry-failed``."""
    line.emulator.faults.add(Fault(method="POST", path="/video/v1/uploads", nth=1, status=422))
    code, lines, err = line("films", "--concurrency", "1")
    assert code == 1
    assert "2 ready, 1 failed" in err
    assert "--retry-failed retries the failed items" in err
    assert [each["error"]["message"] for each in lines if each.get("status") == "failed"] == [
        "POST /video/v1/uploads was answered 422 emulated_fault: A fault of the emulator answers 422"
    ]

    code, lines, err = line("films")
    assert (code, lines[0]["failed_before"], len(lines)) == (1, 1, 2)
    assert "1 failed before and is not retried without --retry-failed" in err

    code, lines, err = line("films", "--retry-failed")
    assert (code, [each["status"] for each in lines[1:-1]]) == (0, ["ready"])
    assert len(line.assets()) == len(list(films.iterdir()))


@pytest.mark.usefixtures("films")
def test_status(line: Line, films: Path) -> None:
    """``ingest-status`` shows the progress and the failed items with their reasons, and writes the report at any time."""
    (films / "bad.mp4").write_bytes(b"thirteen byte")
    line("films")
    code, out, _ = line.text("ingest-status", "films.mux-journal", "--report", "later.csv")

    assert code == 1
    assert "4 items: 3 ready, 1 failed; 3.0 kB of 3.0 kB" in out
    assert "0 active runs" in out
    assert "failed films/bad.mp4: " in out
    assert "not a film" in out
    assert "https://stream.mux.com/" in Path("later.csv").read_text()

    told = json.loads(line.text("ingest-status", "films.mux-journal", "--json")[1])
    assert told == {
        "server": BASE,
        "runs": 0,
        "items": 4,
        "ready": 3,
        "failed": 1,
        "unfinished": 0,
        "not_started": 0,
        "bytes": 3016,
        "bytes_ready": 3003,
    }
    code, _, err = line.text("ingest-status", "no.mux-journal")
    assert code != 0
    assert "there is no journal 'no.mux-journal'" in err
    assert not Path("no.mux-journal").exists()


@pytest.mark.usefixtures("films")
def test_dry_run(line: Line, tmp_path: Path) -> None:
    """A dry run shows the items, the requests, the shortest duration and what is done already; it writes no file."""
    code, out, _ = line.text("ingest", "films", "films/0.mp4", "--dry-run")

    assert code == 0
    assert "3 items: 3 files and 0 URLs" in out
    assert "1 named more than once" in out
    assert "3 POST requests, one for each item that is not created, take at least 0.0 s" in out  # there are no limits here
    assert "3.0 kB to send" in out
    assert not line.emulator.arrivals
    assert sorted(path.name for path in tmp_path.iterdir()) == ["films"]

    line("films/0.mp4", "--journal", "j")
    out = line.text("ingest", "films", "--journal", "j", "--dry-run")[1]
    assert "1 of 3 done before" in out
    assert "2 POST requests" in out
    assert "2.0 kB to send" in out


def test_dry_run_without_credentials(films: Path, tmp_path: Path) -> None:
    """A dry run needs no credentials, and forecasts by the default limits."""
    done = run_here("ingest", str(films), "--dry-run", env={}, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert f"3 POST requests, one for each item that is not created, take at least {2 / RATE:.1f} s" in done.stdout


@pytest.mark.usefixtures("films")
def test_bad_lines_stop(line: Line) -> None:
    """With bad lines nothing is sent: each is named with its line and column, and the message says how to correct it."""
    Path("list.csv").write_text(
        "path,video_quality,test\nfilms/0.mp4,plus,\nfilms/1.mp4,plsu,\nfilms/9.mp4,,\nfilms/2.mp4,,si\n"
    )
    code, lines, err = line("list.csv")

    assert (code, lines, line.posts) == (2, [], 0)
    assert "list.csv, line 3, column 'video_quality': 'plsu' is not one of basic, plus, premium; did you mean 'plus'?" in err
    assert "list.csv, line 4: 'films/9.mp4' cannot be read" in err
    assert "list.csv, line 5, column 'test': 'si' is neither true nor false" in err
    assert not Path("list.csv.mux-journal").exists()


@pytest.mark.usefixtures("films")
def test_the_good_ones_go_on(line: Line) -> None:
    """With ``--on-bad-line skip`` the good lines become assets; the report has the others, and the exit code is 1."""
    Path("list.csv").write_text("path,video_quality\nfilms/0.mp4,plus\nfilms/1.mp4,plsu\n")
    code, lines, err = line("list.csv", "--on-bad-line", "skip", "--report", "r.jsonl")

    assert code == 1
    assert lines[-1]["summary"]["ready"] == 1
    assert "left out: list.csv, line 3, column 'video_quality'" in err
    rows = [json.loads(each) for each in Path("r.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ready", "refused"]
    assert rows[1]["source"] == "list.csv:3"
    assert [asset.video_quality for asset in line.assets()] == ["plus"]


def test_many_bad_lines(line: Line) -> None:
    """Of many bad lines the first 20 are printed, and the others counted."""
    Path("list.txt").write_text("".join(f"missing-{number}.mp4\n" for number in range(500)))
    code, _, err = line("--manifest", "list.txt")

    assert code == 2
    assert err.count("error: ") == 21
    assert "and 480 more of that kind" in err


def test_settings_in_one_create(line: Line) -> None:
    """All settings of an item in a manifest are sent in one POST, and the asset has them."""
    Path("list.jsonl").write_text(
        json.dumps(
            {
                "url": "https://example.com/film.mp4",
                "title": "A film",
                "passthrough": "p",
                "playback_policies": ["signed", "public"],
                "static_renditions": "highest",
                "tracks": [
                    {"url": "https://example.com/film.vtt", "type": "text", "text_type": "subtitles", "language_code": "en"}
                ],
            }
        )
    )
    code, _, err = line("list.jsonl")
    (asset,) = line.assets()

    assert code == 0, err
    assert line.posts == 1
    assert asset.meta is not None
    assert (asset.meta.title, asset.passthrough) == ("A film", "p")
    assert sorted(each.policy for each in asset.playback_ids or ()) == ["public", "signed"]
    assert [track.language_code for track in asset.tracks or () if track.type == "text"] == ["en"]
    assert asset.static_renditions is not None


def test_a_list_on_standard_input(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list can be read from standard input, in any of the forms."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"url,title\nhttps://example.com/a.mp4,One\n")))
    code, lines, err = line("-", "--format", "csv", "https://example.com/b.mp4")

    assert code == 0, err
    assert lines[0]["journal"].startswith("stdin-and-1-more-")
    assert sorted(asset.meta.title or "" for asset in line.assets() if asset.meta) == ["One", "b.mp4"]

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe")))
    assert "standard input is not UTF-8" in line("-")[2]


@pytest.mark.usefixtures("films")
def test_options_are_kept(line: Line) -> None:
    """A later run with the same journal uses the options of the first one."""
    line("films/0.mp4", "--policy", "signed", "--test", "--journal", "j")
    line("films", "--journal", "j")

    assets = line.assets()
    assert [[each.policy for each in asset.playback_ids or ()] for asset in assets] == [["signed"]] * 3
    assert all(asset.test for asset in assets)


@pytest.mark.usefixtures("films")
def test_another_server(line: Line) -> None:
    """A journal of one server is refused for another one."""
    line("films/0.mp4", "--journal", "j")
    code, lines, err = line("films/0.mp4", "--journal", "j", "--base-url", "http://127.0.0.1:1")

    assert (code, lines) == (2, [])
    assert "the journal 'j' belongs to https://api.mux.com, and this run is for http://127.0.0.1:1: name another one" in err


def test_a_full_disk_at_the_end(line: Line) -> None:
    """If the disk is full when the report is written, assets and journal are complete, and the report can be written later."""
    names = [f"https://example.com/{number}{'x' * 9000}.mp4" for number in range(12)]
    line(*names, "--journal", "films.mux-journal")
    Path("r.csv").write_text("the one before")
    before = Path("r.csv").read_bytes()
    with files_no_longer_than(65_536):  # enough for what SQLite keeps beside a journal that is open
        code, _, err = line.text("ingest-status", "films.mux-journal", "--report", "r.csv")

    assert code == 1
    assert len(line.assets()) == 12
    assert "the report 'r.csv' could not be written (File too large); the journal has all its content" in err
    assert Path("r.csv").read_bytes() == before
    assert line.text("ingest-status", "films.mux-journal", "--report", "r.csv")[0] == 0


def shrink(path: Path) -> None:
    path.write_bytes(b"less")


@pytest.mark.parametrize(("change", "expected"), [(shrink, "was changed"), (Path.unlink, "can no longer be read")])
def test_files_that_change_meanwhile(line: Line, films: Path, change: Callable[[Path], object], expected: str) -> None:
    """A file that shrinks or is deleted after it was listed makes no asset, with the reason, and the others are ingested."""

    def change_once(_: Arrival) -> None:
        if len(line.emulator.arrivals) == 1:  # the first request comes after the plan, and before any file is opened
            change(films / "1.mp4")

    line.on_arrival = change_once
    code, lines, err = line("films")

    failed = [each for each in lines if each.get("status") == "failed"]
    assert code == 1
    assert [each["source"] for each in failed] == ["films/1.mp4"]
    assert expected in failed[0]["error"]["message"]
    assert "2 ready, 1 failed" in err
    assert len(line.assets()) == 2


# Over sockets


@pytest.fixture(scope="module")
def server() -> Iterator[Emulate]:
    with emulate_here(EmulatorSettings(limits=None, instant=True)) as running:
        yield running


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
def test_over_sockets(server: Emulate, films: Path, tmp_path: Path, transport: str) -> None:
    """The command works over sockets with every transport, and ``--plain`` prints a line for each item with its address."""
    done = run_here(
        "ingest", str(films / "0.mp4"), "--plain", "--transport", transport, "--base-url", server.origin, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    first, item, end = done.stdout.splitlines()
    assert first == "ingesting 1 item, 1.0 kB to send"
    assert item.startswith(f"[1/1] ready   {films / '0.mp4'} -> {server.origin}/")
    assert end.startswith("1 ready (1.0 kB) in")


def test_wrong_credentials(server: Emulate, films: Path, tmp_path: Path) -> None:
    """Wrong credentials end the run with exit code 1, the reason, and the number of items not begun; no secret is shown or stored."""
    done = run_here(
        *("ingest", str(films), "--concurrency", "1", "--base-url", server.origin, "--report", "r.csv"),
        env={"MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "canary-wrong"},
        cwd=tmp_path,
    )

    assert done.returncode == 1
    assert "the run ended early" in done.stderr
    assert "not started" in done.stderr
    assert "canary" not in done.stdout + done.stderr
    assert all(b"canary" not in path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


def start(emulator: Emulate, folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("ingest", "films", "--plain", "--base-url", emulator.origin, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(CREDENTIALS),
        cwd=folder,
    )


def test_interrupted(films: Path, tmp_path: Path) -> None:
    """Ctrl-C finishes the items that were begun, begins no other, writes the report and exits with 130; the next run does the rest."""
    (films / "3.mp4").write_bytes(b"film")
    with emulate_here(EmulatorSettings(time_to_ready=0.3)) as emulator:
        process = start(emulator, tmp_path, "--concurrency", "1", "--report", "r.jsonl")
        assert process.stdout is not None
        for line in process.stdout:
            if "[1/4]" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        created = sum(each["bucket"] == "post" for each in emulator.arrivals())
        again = run_here("ingest", "films", "--plain", "--base-url", emulator.origin, cwd=tmp_path)
        uploads = emulator.ask("uploads")["uploads"]

    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert process.returncode == 130, err
    assert "finishing what was begun" in err
    assert 1 <= created < 4
    assert [line["status"] for line in lines] == ["ready"] * created + ["not_started"] * (4 - created)
    assert again.returncode == 0, again.stderr
    assert f"{created} of 4 done before" in again.stderr
    assert len(uploads) == 4


@pytest.mark.usefixtures("films")
def test_interrupted_twice(tmp_path: Path) -> None:
    """A second Ctrl-C stops at once; the journal has the progress of every item."""
    with emulate_here(EmulatorSettings(time_to_ready=600.0)) as emulator:
        process = start(emulator, tmp_path)
        assert process.stdout is not None
        assert process.stderr is not None
        assert "ingesting" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        while "finishing" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        created = sum(each["bucket"] == "post" for each in emulator.arrivals())

    assert process.returncode == 130, err
    assert "stopped at once: run the same command again" in out
    assert "finishing" not in err  # said once, and read above
    assert "Traceback" not in err
    with Journal.open(tmp_path / "films.mux-journal", create=False) as journal:
        assert journal.summary().done == 0
        assert journal.summary().begun >= created


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are no text")
def test_names_that_are_not_utf8(server: Emulate, tmp_path: Path) -> None:
    """Names that are not UTF-8 are ingested once, without a locale too, from a folder and from the output of ``find -print0``."""
    films = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    films.mkdir()
    (films / os.fsdecode(b"a\xff\n.mp4")).write_bytes(b"one")
    (films / "b.mp4").write_bytes(b"two")
    (films / "link.mp4").symlink_to("b.mp4")
    (films / "é.mp4").write_bytes(b"three")
    listed = b"".join(os.fsencode(path) + b"\0" for path in sorted(films.iterdir()))
    env = environment({**CREDENTIALS, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    options = ("--journal", "j", "--report", "r.jsonl", "--base-url", server.origin)
    folder, again = (
        subprocess.run(
            command("ingest", *what, *options, *form),
            input=listed,
            capture_output=True,
            timeout=50,
            check=False,
            env=env,
            cwd=tmp_path,
        )
        for what, form in [((os.fsdecode(b"caf\xe9"),), ("--plain",)), (("-z", "-"), ("--json",))]
    )
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()]

    assert folder.returncode == 0, folder.stderr
    assert rb"caf\xe9/a\xff\n.mp4 -> " in folder.stdout
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["event"] for line in again.stdout.splitlines()] == ["begin", "end"]
    assert sorted(row["source"] for row in rows) == ["caf\\xe9/a\\xff\n.mp4", "caf\\xe9/b.mp4", "caf\\xe9/é.mp4"]
