"""What the live view of an ingest shows."""

from __future__ import annotations

import io
import os
import pty
import subprocess
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from mux_async import LimitSettings
from mux_async.cli._progress import LiveReporter, make_reporter, summary_lines
from mux_async.ingest import (
    IngestSummary,
    Item,
    ItemError,
    ItemFinished,
    ItemMoved,
    ItemProgress,
    ItemResult,
    ItemState,
    Plan,
    Stage,
)
from mux_async.limits import AccountLimits
from tests.cli.commands import CREDENTIALS, command, emulate, environment

RATE = LimitSettings().post.rate
"""POST requests a second that are let out."""


def result(item: Item, error: ItemError | None = None) -> ItemResult:
    status: Literal["failed", "ready"] = "failed" if error else "ready"
    return ItemResult(item.source, item.key, status, "a", "u", {}, (), item.size, 1.0, 2.0, error)


@pytest.fixture
def items() -> tuple[Item, ...]:
    return tuple(Item(f"k{number}", f"films/[b]film-{number}.mp4", size=1_000_000) for number in range(4))


def test_bars(items: tuple[Item, ...]) -> None:
    """The view counts items and bytes, has a bar for each file on its way, and says what the rate limit does."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, highlight=False, width=120, height=40)
    reporter = LiveReporter(Plan(items), AccountLimits(LimitSettings()).snapshot, console)

    def draw() -> str:
        with console.capture() as captured:
            console.print(reporter._render())  # pyright: ignore[reportPrivateUsage]
        return captured.get()

    reporter.begin()
    for item in items[:2]:
        reporter.event(ItemMoved(item, ItemState(item.key, Stage.CREATED)))
        reporter.event(ItemMoved(item, ItemState(item.key, Stage.SENDING)))
    reporter.event(ItemProgress(items[0], 500_000, 1_000_000))
    reporter.tick()
    seen = draw()
    assert "0/4" in seen
    assert "0.5/4.0 MB" in seen
    assert "film-0.mp4" in seen
    assert "film-1.mp4" in seen
    assert f"POST: {RATE:g} a second" in seen

    reporter.event(ItemProgress(items[0], 1_000_000, 1_000_000))
    for stage in (Stage.SENT, Stage.WAITING):
        reporter.event(ItemMoved(items[0], ItemState(items[0].key, stage)))
    seen = draw()
    assert "film-0.mp4" not in seen
    assert "1 being prepared" in seen

    reporter.event(ItemMoved(items[0], ItemState(items[0].key, Stage.DONE)))
    reporter.event(ItemFinished(items[0], result(items[0])))
    error = ItemError("MuxError", "no such luck")
    reporter.event(ItemMoved(items[1], ItemState(items[1].key, Stage.DEAD, error=error)))
    reporter.event(ItemFinished(items[1], result(items[1], error)))
    reporter.note("a note")
    seen = draw()
    assert "2/4" in seen
    assert "1.0/4.0 MB" in seen
    assert "0 being prepared" in seen
    reporter.end(IngestSummary(1, 1, 2, 1_000_000, 61.0, None), Path("r.jsonl"))
    said = output.getvalue()
    assert "failed films/[b]film-1.mp4: no such luck" in said
    assert "a note" in said
    assert "1 ready, 1 failed, 2 not started (1.0 MB) in 1 min 1 s; results in r.jsonl" in said


def test_summary() -> None:
    """The last lines say how it ended, and why it could not go on."""
    assert summary_lines(None, Path("r")) == ["stopped at once; what was finished is in r"]
    assert summary_lines(IngestSummary(0, 1, 0, 0, 1.0, "no access"), Path("r")) == [
        "0 ready, 1 failed in 1.0 s; results in r",
        "it could not go on: no access",
    ]


@pytest.mark.parametrize("form", ["plain", "live"])
def test_odd_names(form: Literal["plain", "live"], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever bytes a name holds, it is shown on one line, and cannot take the terminal over; the result file's name as well."""
    name = "a\n\x1b[2Jb\u2028\udcff [/b].mp4"
    item = Item("k", name, size=1)
    reporter = make_reporter(form, Plan((item,)), AccountLimits(LimitSettings()).snapshot)
    reporter.begin()
    reporter.event(ItemMoved(item, ItemState("k", Stage.SENDING)))
    reporter.tick()
    reporter.event(ItemFinished(item, result(item, ItemError("UploadError", f"{name} was changed"))))
    reporter.end(None, Path(name))
    said = capsys.readouterr().out

    assert "\x1b[2J" not in said
    assert len([line for line in said.splitlines() if ".mp4" in line]) == 2
    assert said.count(r"a\n\x1b[2Jb\u2028\udcff [/b].mp4") == 3


def test_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal the view moves while the ingest runs, and ends with the summary."""
    (tmp_path / "film.mp4").write_bytes(bytes(1000))
    ours, theirs = pty.openpty()
    with emulate("--no-limits", "--time-to-ready", "1") as emulator:
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
    assert f"POST: {RATE:g} a second" in text
    assert "1 being prepared" in text
    assert "1 ready (1.0 kB) in" in text
