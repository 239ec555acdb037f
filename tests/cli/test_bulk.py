"""``mux-async bulk`` and ``bulk-status``, against an emulator over a socket."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
import urllib.request
from collections.abc import Generator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from mux_async.emulator import Emulator, EmulatorSettings, Fault
from tests.cli.commands import CREDENTIALS, Done, Emulate, command, emulate_here, environment, run_here, serve_here


@pytest.fixture(scope="module")
def emulator() -> Generator[Emulate]:
    with emulate_here(EmulatorSettings(limits=None, instant=True)) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bulk(emulator: Emulate, *arguments: str) -> Done:
    return run_here("bulk", *arguments, env={**CREDENTIALS, "MUX_BASE_URL": emulator.origin})


def events(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def create(emulator: Emulate, folder: Path, count: int) -> list[str]:
    rows = "".join(json.dumps({"inputs": [{"url": f"https://example.com/{each}.mp4"}]}) + "\n" for each in range(count))
    (folder / "inputs.jsonl").write_text(rows)
    done = bulk(emulator, "video.assets.create", "inputs.jsonl", "--journal", f"{time.monotonic_ns()}.mux-bulk")
    assert done.returncode == 0, done.stderr
    return [each["id"] for each in events(done) if each["event"] == "row"]


def deletes(emulator: Emulate) -> int:
    return sum(each["method"] == "DELETE" for each in emulator.arrivals())


def test_a_table(emulator: Emulate, folder: Path) -> None:
    """A table is performed row by row; the second run has nothing to do; the report and the status say the same."""
    ids = create(emulator, folder, 3)
    (folder / "titles.csv").write_text("asset_id,meta.title\n" + "".join(f"{each},Title\n" for each in ids))
    done = bulk(emulator, "video.assets.update", "titles.csv", "--report", "report.jsonl")
    assert done.returncode == 0, done.stderr
    assert events(done)[-1]["done"] == 3
    assert "video.assets.update (PATCH /video/v1/assets/{ASSET_ID}) for 3 rows" in done.stderr
    again = bulk(emulator, "video.assets.update", "titles.csv")
    assert (again.returncode, events(again)[-1]["done_before"]) == (0, 3)
    report = [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()]
    assert [(each["stage"], each["label"]) for each in report] == [("done", f"asset_id={each}") for each in ids]
    status = run_here("bulk-status", "titles.csv.video.assets.update.mux-bulk", "--json")
    assert (status.returncode, json.loads(status.stdout)["done"]) == (0, 3)


def test_two_interrupts(folder: Path) -> None:
    """A second Ctrl-C ends at once, and standard output ends with the ``end`` line as after the first one."""
    (folder / "ids.txt").write_text("a\n" * 3)
    slow_emulator = Emulator(EmulatorSettings(limits=None))
    slow_emulator.faults.add(Fault(method="DELETE", delay=60.0))
    with serve_here(slow_emulator) as slow:
        env = environment({**CREDENTIALS, "MUX_BASE_URL": slow.origin})
        arguments = command("bulk", "video.assets.delete", "ids.txt", "--yes", "--max", "3")
        with subprocess.Popen(arguments, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert json.loads(process.stdout.readline())["event"] == "begin"
            process.send_signal(signal.SIGINT)
            assert any(b"Ctrl-C" in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(output.splitlines()[-1])["event"] == "end"


def test_failed_rows(emulator: Emulate, folder: Path) -> None:
    """Failed rows are printed with their errors, the exit code is 1, and ``--retry-failed`` sends them again."""
    (one,) = create(emulator, folder, 1)
    (folder / "ids.txt").write_text(f"# two\n{one}\nmissing\n")
    arguments = ("video.assets.update", "ids.txt", "--set", "passthrough=x")
    done = bulk(emulator, *arguments)
    assert done.returncode == 1
    (failed,) = [each for each in events(done) if each.get("stage") == "failed"]
    assert (failed["row"], failed["error"]["type"]) == (3, "BadRequestError")
    status = run_here("bulk-status", "ids.txt.video.assets.update.mux-bulk")
    assert status.returncode == 1
    assert "2 rows: 1 done, 1 failed\nfailed asset_id=missing: PATCH" in status.stdout
    assert events(bulk(emulator, *arguments))[-1]["failed"] == 1
    assert [each["event"] for each in events(bulk(emulator, *arguments, "--retry-failed"))] == ["begin", "row", "end"]


def test_a_dry_run(emulator: Emulate, folder: Path) -> None:
    """``--dry-run`` shows the plan and the time, and sends and writes nothing."""
    (folder / "ids.txt").write_text("a\nb\n")
    done = bulk(emulator, "video.assets.delete", "ids.txt", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "")
    assert "for 2 rows" in done.stderr
    assert "this cannot be undone" in done.stderr
    assert "the rate limits make that take at least" in done.stderr
    assert [each.name for each in folder.iterdir()] == ["ids.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "there is no terminal to ask at: use --yes and --max; nothing was sent"),
        (("--yes",), "--yes for video.assets.delete, which cannot be undone, needs --max"),
        (("--yes", "--max", "1"), "there are 2 rows, and --max is 1; nothing was sent"),
        (("--max", "5"), "there is no terminal to ask at"),
    ],
)
def test_deleting_without_confirmation(
    emulator: Emulate, folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    """A destructive operation that is not confirmed sends nothing; the exit code is 2."""
    monkeypatch.setattr("sys.stdin", StringIO())
    (folder / "ids.txt").write_text("".join(f"{each}\n" for each in create(emulator, folder, 2)))
    before = deletes(emulator)
    done = bulk(emulator, "video.assets.delete", "ids.txt", *options)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert deletes(emulator) == before


def test_deleting_with_yes(emulator: Emulate, folder: Path) -> None:
    """``--yes`` with a sufficient ``--max`` deletes."""
    (folder / "ids.txt").write_text("".join(f"{each}\n" for each in create(emulator, folder, 2)))
    assert bulk(emulator, "video.assets.delete", "ids.txt", "--yes", "--max", "2").returncode == 0


@pytest.mark.parametrize(("answer", "code"), [("video.assets.delete 1", 0), ("yes", 2)])
def test_typing_the_confirmation(emulator: Emulate, folder: Path, answer: str, code: int) -> None:
    """On a terminal, the operation and the number of rows have to be typed; anything else sends nothing."""
    (one,) = create(emulator, folder, 1)
    (folder / "ids.txt").write_text(f"{one}\n")
    before = deletes(emulator)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("bulk", "video.assets.delete", "ids.txt", "--json"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment({**CREDENTIALS, "MUX_BASE_URL": emulator.origin}),
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    try:
        _, err = process.communicate(timeout=60)
    finally:
        os.close(ours)
    assert process.returncode == code, err
    assert "To go on, type: video.assets.delete 1" in err
    assert deletes(emulator) - before == (code == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("video.assets.updat", "ids.txt"), "did you mean 'video.assets.update'?"),
        (("video.assets.update", "missing.csv"), "the list 'missing.csv' cannot be read"),
        (("video.assets.update", "ids.txt", "--set", "x"), "--set takes NAME=VALUE"),
        (("video.assets.update", "ids.txt", "--set", "pass=x"), "row 1: video.assets.update has no argument 'pass'"),
        (("video.assets.update", "ids.txt", "--report", "r.xlsx"), "must end with .csv or .jsonl"),
        (("video.assets.delete_track", "ids.txt"), "row 1: it is a text"),
        (("video.assets.update", "ids.txt", "--on", "sqlite:///a.db"), "--on takes postgresql://user@host/name"),
        (
            ("video.assets.update", "ids.txt", "--on", "postgresql://db", "--report", "r.csv"),
            "`bulk-status NAME --on URL --report FILE`",
        ),
    ],
)
def test_wrong_arguments(emulator: Emulate, folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """What cannot be done is refused with exit code 2 before anything is sent."""
    (folder / "ids.txt").write_text("a\n")
    with urllib.request.urlopen(f"{emulator.origin}/_emulator/arrivals") as response:
        before = len(json.load(response)["arrivals"])
    done = bulk(emulator, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert len(emulator.arrivals()) == before
