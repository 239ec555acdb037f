"""The progress of an ingest: bars at any width, lines, and JSON for programs."""

from __future__ import annotations

import functools
import io
import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Literal

import anyio
import attrs
import pytest
from rich.cells import cell_len
from rich.console import Console

from mux_async import LimitSettings, Mux
from mux_async.cli._ingest import make_reporter
from mux_async.cli._ingest_display import LiveDisplay, SpeedMeter
from mux_async.cli._ingest_progress import IngestJob, RateBudget, adopted_line, summary_lines
from mux_async.cli._output import counted, size, span
from mux_async.emulator import EmulatorSettings
from mux_async.ingest import (
    IngestSummary,
    Item,
    ItemError,
    ItemFinished,
    ItemMoved,
    ItemProgress,
    ItemResult,
    ItemSkipped,
    ItemState,
    Plan,
    RunsAdopted,
    Stage,
)
from tests.cli.commands import CREDENTIALS, command, emulate_here, environment

_accounts = count()
RATE = LimitSettings().post.rate
"""POST requests a second that are let out."""


def result(item: Item, error: ItemError | None = None) -> ItemResult:
    status: Literal["failed", "ready"] = "failed" if error else "ready"
    return ItemResult(item.source, item.key, status, "a", "u", {}, (), item.size, 1.0, 2.0, error)


def budget() -> RateBudget:
    limits = Mux(token_id="id", token_secret="secret", account=f"progress-{next(_accounts)}").limits
    return RateBudget(limits.snapshot, lambda posts: limits.forecast(post=posts).batch)


def some(count: int) -> tuple[Item, ...]:
    return tuple(Item(f"k{number}", f"films/[b]film-{number:04}.mp4", size=1_000_000) for number in range(count))


@attrs.define
class View:
    """A live display on a console of its own, with a clock that the test sets."""

    reporter: LiveDisplay
    console: Console
    now: list[float]

    @classmethod
    def of(cls, job: IngestJob, width: int, height: int = 30) -> View:
        console = Console(
            file=io.StringIO(), force_terminal=True, color_system=None, highlight=False, width=width, height=height
        )
        now = [100.0]
        return cls(LiveDisplay(job, budget(), console, clock=lambda: now[0]), console, now)

    def shown(self) -> list[str]:
        """Return the lines that are displayed now."""
        self.reporter.tick()
        paper = Console(file=io.StringIO(), width=self.console.width, height=self.console.height, record=True)
        paper.print(self.reporter._render())  # pyright: ignore[reportPrivateUsage]
        return paper.export_text().splitlines()

    def said(self) -> str:
        file = self.console.file
        assert isinstance(file, io.StringIO)
        return file.getvalue()

    def move(self, item: Item, *stages: Stage) -> None:
        for stage in stages:
            self.reporter.event(ItemMoved(item, ItemState(item.key, stage)))


@pytest.mark.parametrize("width", [80, 200])
def test_bars(width: int) -> None:
    """Items, bytes, the budget and each file that is being sent have a bar, as wide as the terminal."""
    items = some(1000)
    view = View.of(IngestJob(Plan(items), Path("j"), done={item.key for item in items[:412]}), width)
    view.reporter.begin()
    for item in items[412:414]:
        view.move(item, Stage.CREATED, Stage.SENDING)
    view.shown()
    view.now[0] += 10
    view.reporter.event(ItemProgress(items[412], 500_000, 1_000_000))
    lines = view.shown()

    assert all(cell_len(line) <= width for line in lines)
    assert max(cell_len(line.rstrip()) for line in lines) > width - 4
    assert [line.split()[0] for line in lines[:5]] == ["items", "bytes", "budget", "[b]film-0412.mp4", "[b]film-0413.mp4"]
    assert "412/1,000" in lines[0]
    assert lines[0].rstrip().endswith("3 h 15 min left")  # 587.5 MB at 50 kB/s; the creates would take less
    assert "0.5/588.0 MB  50.0 kB/s" in lines[1]
    assert f"0 of {RATE * 60:.0f}   POST/min" in lines[2]
    assert lines[3].split()[-6:] == ["0.5/1.0", "MB", "50.0", "kB/s", "10", "s"]
    assert lines[5].strip() == "412 done before"


def test_failures_are_shown() -> None:
    """A failure is printed with its reason as it happens, and counted in the display."""
    items = some(3)
    view = View.of(IngestJob(Plan(items), Path("j"), failed={"k2"}), 100)
    view.reporter.begin()
    view.move(items[0], Stage.CREATED, Stage.SENDING, Stage.SENT, Stage.WAITING)
    assert view.shown()[-1].strip() == "1 being prepared · 1 failed"

    error = ItemError("MuxError", "no [b]luck")
    view.move(items[0], Stage.DEAD)
    view.reporter.event(ItemFinished(items[0], result(items[0], error)))
    lines = view.shown()
    assert "2/3" in lines[0]
    assert lines[-1].strip() == "2 failed"
    assert "failed films/[b]film-0000.mp4: no [b]luck" in view.said()


def test_items_of_other_runs() -> None:
    """Items that another run has finished are counted once, and a message says that a killed run is continued."""
    items = some(2)
    view = View.of(IngestJob(Plan(items), Path("j")), 100)
    view.reporter.begin()
    for _ in range(2):
        view.reporter.event(ItemSkipped(items[0], ItemState("k0", Stage.DONE, asset_id="a")))
    view.reporter.event(RunsAdopted(5))

    assert "1/2" in view.shown()[0]
    assert "1.0/2.0 MB" in view.shown()[1]
    assert "an earlier run was killed; this one continues with its 5 items" in view.said()


def test_an_expired_upload_takes_another_create() -> None:
    """An item whose upload expired needs another POST, so the remaining time grows."""
    items = some(600)  # a second each
    view = View.of(IngestJob(Plan(items), Path("j"), begun={item.key for item in items[1:]}), 100)
    view.reporter.begin()
    view.move(items[0], Stage.CREATED, Stage.SENDING)
    assert "finishing" in view.shown()[0]

    for item in items:
        view.move(item, Stage.PLANNED)
    assert "10 min 8 s left" in view.shown()[0]


def test_many_files() -> None:
    """If there are more files than lines, the rest is counted, so that the display fits the window."""
    items = some(60)
    view = View.of(IngestJob(Plan(items), Path("j")), 80, height=14)
    view.reporter.begin()
    for item in items:
        view.move(item, Stage.CREATED, Stage.SENDING)
    lines = view.shown()

    assert len(lines) < 14
    assert any("and 54 more" in line for line in lines)


def test_the_end() -> None:
    """The last lines have the result, and say how to continue."""
    view = View.of(IngestJob(Plan(some(4)), Path("j")), 80)
    view.reporter.begin()
    view.reporter.note("a note")
    view.reporter.end(IngestSummary(1, 1, 1, 1_000_000, 61.0, None, 0, 1))

    said = " ".join(view.said().split())
    assert "a note" in said
    assert "1 ready, 1 failed, 1 unfinished, 1 not started (1.0 MB) in 1 min 1 s" in said
    assert "run the same command again to continue; j has the progress" in said
    assert "--retry-failed retries the failed items" in said


def test_summary() -> None:
    """The summary says if a run was stopped at once, or ended early."""
    job = IngestJob(Plan(()), Path("j"))
    assert summary_lines(None, job) == ["stopped at once: run the same command again to continue; j has the progress"]
    assert summary_lines(IngestSummary(0, 0, 1, 0, 1.0, "no access"), job)[:2] == [
        "0 ready, 1 not started in 1.0 s",
        "the run ended early: no access",
    ]


def test_pace() -> None:
    """The speed is that of the last seconds, and the number of stored samples is bounded."""
    speed_meter = SpeedMeter(20.0)
    for tick in range(10_000):
        speed_meter.add(tick / 100, tick * 10)  # 1000 a second for 100 s
    assert speed_meter.rate(100.0) == pytest.approx(1000, rel=0.02)
    for tick in range(3000):
        speed_meter.add(100 + tick / 100, 100_000)  # nothing for 30 s
    assert speed_meter.rate(130.0) == 0
    assert len(speed_meter._samples) < 100  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("form", ["plain", "live"])
def test_odd_names(form: Literal["plain", "live"], capsys: pytest.CaptureFixture[str]) -> None:
    """A name with any bytes is shown on one line, without control sequences; the journal's name as well."""
    name = "a\n\x1b[2Jb\u2028\udcff [/b].mp4"
    item = Item("k", name, size=1)
    reporter = make_reporter(form, IngestJob(Plan((item,)), Path(name)), budget())
    reporter.begin()
    reporter.event(ItemMoved(item, ItemState("k", Stage.SENDING)))
    reporter.tick()
    reporter.event(ItemFinished(item, result(item, ItemError("UploadError", f"{name} was changed"))))
    reporter.end(None)
    said = capsys.readouterr().out

    assert "\x1b[2J" not in said
    assert len([line for line in said.splitlines() if ".mp4" in line]) == 2
    assert said.count(r"a\n\x1b[2Jb\u2028\udcff [/b].mp4") == 3


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """With JSON, standard output has JSON lines only, and messages for people go to standard error."""
    (item,) = some(1)
    reporter = make_reporter("json", IngestJob(Plan((item,)), Path("j"), report=Path("r.csv")), budget())
    reporter.begin()
    reporter.tick()
    reporter.event(ItemMoved(item, ItemState("k", Stage.SENDING)))
    reporter.event(RunsAdopted(5))
    reporter.event(ItemFinished(item, result(item)))
    reporter.end(IngestSummary(1, 0, 0, 1_000_000, 2.0, None))
    said = capsys.readouterr()
    begin, one, end = map(json.loads, said.out.splitlines())

    assert begin == {
        "event": "begin",
        "items": 1,
        "ready_before": 0,
        "failed_before": 0,
        "posts": 1,
        "bytes": 1_000_000,
        "journal": "j",
    }
    assert (one["event"], one["status"], one["key"]) == ("item", "ready", "k0")
    assert (end["event"], end["summary"]["ready"], end["report"]) == ("end", 1, "r.csv")
    assert "this one continues with" in said.err
    assert "1 ready (1.0 MB) in 2.0 s" in said.err


def test_closed_pipe() -> None:
    """If the reader of the lines has ended, the ingest continues."""
    code = (
        "from pathlib import Path; from mux_async.cli._ingest_progress import *\n"
        "from mux_async.ingest import *\n"
        "import sys; job = IngestJob(Plan(()), Path('j')); reporter = JsonReporter(job)\n"
        "sys.stdin.read()\n"
        "for _ in range(3): reporter.begin()\n"
        "print('went on', file=sys.stderr)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.close()
    said = process.stderr.read()
    process.stderr.close()

    assert process.wait(timeout=20) == 0
    assert said == "went on\n"


def test_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal the display is updated while the ingest runs, and ends with the summary."""
    (tmp_path / "film.mp4").write_bytes(bytes(1000))
    ours, theirs = pty.openpty()
    with emulate_here(EmulatorSettings(limits=None, time_to_ready=1.0)) as emulator:
        process = subprocess.Popen(
            command("ingest", "film.mp4", "--base-url", emulator.origin),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment({**CREDENTIALS, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}),
            cwd=tmp_path,
        )
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:  # how Linux says that the other end is closed
            pass
        finally:
            os.close(ours)
        code = process.wait(timeout=20)

    text = said.decode()
    assert code == 0, text
    assert "POST/min" in text
    assert "1 being prepared" in text
    assert "1 ready (1.0 kB) in" in text


@pytest.mark.proof
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_in_tmux(tmp_path: Path) -> None:
    """In a real terminal of 80 columns, and after it is resized to 200, each bar fills one line."""
    for number in range(2):
        (tmp_path / f"a-film-with-a-name-that-is-rather-long-{number}.mp4").write_bytes(bytes(1000 + number))
    server = ["tmux", "-S", str(tmp_path / "tmux"), "-f", os.devnull]

    def tmux(*arguments: str, env: dict[str, str] | None = None) -> str:
        return subprocess.run([*server, *arguments], check=True, capture_output=True, text=True, timeout=30, env=env).stdout

    def rows() -> list[str]:
        return [line for line in tmux("capture-pane", "-p").splitlines() if line.strip()]

    with emulate_here(EmulatorSettings(limits=None, time_to_ready=600.0)) as emulator:
        variables = environment({**CREDENTIALS, "MUX_BASE_URL": emulator.origin, "TERM": "screen"})
        shell = shlex.join(command("ingest", str(tmp_path), "--journal", str(tmp_path / "j")))
        tmux("new-session", "-d", "-x", "80", "-y", "24", shell, env=variables)
        try:
            for width in (80, 200):
                tmux("resize-window", "-x", str(width), "-y", "24")
                seen = wait_for(rows, functools.partial(is_view, width))
                assert [line.split()[0] for line in seen[-4:]] == ["items", "bytes", "budget", "2"]
        finally:
            tmux("kill-server")


def is_view(width: int, lines: list[str]) -> bool:
    """Return whether the last lines are a display of two items of exactly the width."""
    view = lines[-4:-1]
    return (
        lines[-1:] == ["2 being prepared"]
        and len(view) == 3
        and cell_len(view[0]) in {width, width - 1}
        and all(cell_len(line) <= width for line in view)
    )


def wait_for(look: Callable[[], list[str]], is_right: Callable[[list[str]], bool]) -> list[str]:
    """Poll until the lines are right, for as long as a busy machine may need."""
    deadline = time.monotonic() + 40
    while not is_right(seen := look()):
        assert time.monotonic() < deadline, "\n".join(seen)
        anyio.run(anyio.sleep, 0.2)
    return seen


def test_why_items_failed() -> None:
    """The summary has the reasons of failures, the most frequent first, and counts the others."""
    errors = {"the plan is used up": 5, "no film": 2, "too long": 2, "x": 1}
    summary = IngestSummary(ready=1, failed=10, not_started=0, size=0, elapsed=1.0, reason=None, errors=errors)

    assert summary_lines(summary, IngestJob(Plan(()), Path("j"))) == [
        "1 ready, 10 failed in 1.0 s",
        "5 failed: the plan is used up",
        "2 failed: no film",
        "2 failed: too long",
        "1 failed for other reasons; --report has them",
        "--retry-failed retries the failed items",
    ]


def test_one_of_a_thing() -> None:
    """One item, one file, one failure are counted in the singular."""
    (item,) = some(1)
    job = IngestJob(Plan((item,)), Path("j"), failed={item.key})

    assert job.describe() == [
        "1 item: 1 file and 0 URLs; the journal is j",
        "1 failed before and is not retried without --retry-failed",
    ]
    assert adopted_line(RunsAdopted(1)) == "an earlier run was killed; this one continues with its 1 item"
    assert [counted(number, "POST request") for number in (0, 1, 2)] == ["0 POST requests", "1 POST request", "2 POST requests"]


def test_units() -> None:
    """Sizes and times have units that suit them."""
    assert [size(each) for each in (0, 999, 1000, 64_000_000, 5e13)] == ["0 B", "999 B", "1.0 kB", "64.0 MB", "50.0 TB"]
    assert [span(each) for each in (0.04, 59.9, 60, 3600, 86_400)] == [
        "0.0 s",
        "59.9 s",
        "1 min 0 s",
        "1 h 0 min",
        "24 h 0 min",
    ]
