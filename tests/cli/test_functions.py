"""Functions of the command line that are tested by themselves: their results show in a whole command only in part.

Errors as sentences, rates, names of journals and state files, the demo's media files, interrupts, and the examples of ``--help``.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from mux_async import ConfigurationError, MuxError
from mux_async.cli._examples import EXAMPLES
from mux_async.cli._ingest_sources import Sources
from mux_async.cli._interrupts import open_interrupts
from mux_async.cli._media import DEMO, make_media, probe_media
from mux_async.cli._output import explain
from mux_async.cli._upload import rate
from mux_async.cli._upload_state import state_path
from mux_async.emulator import InputProblem, MediaInfo, MediaSource
from tests.cli.commands import PROGRAM, check_options, run_here


def test_errors_become_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors of the SDK are printed as messages, also in groups; other errors keep their traceback."""
    assert explain(BaseExceptionGroup("", [MuxError("one"), ConfigurationError("two")])) == 2
    assert capsys.readouterr().err == "error: one\nerror: two\n"
    assert explain(BaseExceptionGroup("", [MuxError("one"), ZeroDivisionError()])) is None
    assert explain(KeyboardInterrupt()) == 130


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5M", 5e6),
        ("500k", 5e5),
        ("5MB/s", 5e6),
        ("2MiB", 2 << 20),
        ("20Mbit", 2.5e6),
        ("1.5 G", 1.5e9),
        ("100", 100),
        ("8Kibit/s", 1024),
    ],
)
def test_rates(text: str, expected: float) -> None:
    """A rate is in bytes a second unless it says bits, and in thousands unless it says Ki, Mi or Gi."""
    assert rate(text) == expected


@pytest.mark.parametrize("text", ["", "fast", "-5M", "0", "0M", "5i", "5X", "M"])
def test_invalid_rates(text: str) -> None:
    """Anything else is refused with examples."""
    with pytest.raises(typer.BadParameter, match="500k"):
        rate(text)


def test_state_files() -> None:
    """Two servers, and two files, have different state files."""
    places = {
        state_path("a.mp4", "http://a"),
        state_path("a.mp4", "http://b"),
        state_path("b.mp4", "http://a"),
        state_path("s3://a", "x"),
    }

    assert len(places) == 4
    assert state_path("a.mp4", "http://a") == state_path(str(Path("a.mp4").absolute()), "http://a")


def test_names_of_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal is named after its sources: the same in every run, independent of their order, and always a valid file name."""
    monkeypatch.chdir(tmp_path)

    def name(*names: str) -> str:
        return str(Sources(names, (), "lines", None, "key", "stop").journal())

    assert name("films/") == name("films") == "films.mux-journal"
    assert name(".") == f"{tmp_path.name}.mux-journal"
    assert name("https://e.com/a%20b.mp4?sig=canary") == "a-20b.mp4.mux-journal"
    assert name("films/*.mov") == "mov.mux-journal"
    assert name("/") == "ingest.mux-journal"
    assert name("films", "b", "c") == name("films", "c", "b") != name("films", "b")
    assert len(name("x" * 300)) < 150


def test_media_is_real(tmp_path: Path) -> None:
    """The demo's media files have the duration and size of their recipe, and a file without media is detected."""
    recipe = DEMO[1]
    made = probe_media(MediaSource(size=1, path=make_media(recipe, tmp_path)))
    (tmp_path / "text.mp4").write_text("not a film")

    assert isinstance(made, MediaInfo)
    assert (made.width, made.height, made.frame_rate) == (recipe.width, recipe.height, recipe.rate)
    assert made.duration == pytest.approx(recipe.duration, abs=0.3)
    assert isinstance(probe_media(MediaSource(size=10, path=tmp_path / "text.mp4")), InputProblem)
    assert isinstance(probe_media(MediaSource(url="https://example.com/a.mp4")), MediaInfo)
    with pytest.raises(ConfigurationError, match="could not make"):
        make_media(type(recipe)("film.unknown", 1.0, 10, 10), tmp_path)


# Interrupts


def refuse(*_: object) -> None:
    raise NotImplementedError


@pytest.mark.asyncio
async def test_without_help_from_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupts arrive in order on a loop without signal handlers, as on Windows, and the previous handlers are restored."""
    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse, raising=False)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with open_interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        first = await anext(interrupts)
        os.kill(os.getpid(), signal.SIGTERM)
        second = await anext(interrupts)

    assert (first, second) == (signal.SIGINT, signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.asyncio
async def test_a_loop_that_waits() -> None:
    """An interrupt wakes a loop that has nothing else to do."""
    with open_interrupts() as interrupts:
        asyncio.get_running_loop().run_in_executor(None, os.kill, os.getpid(), signal.SIGINT)

        assert await anext(interrupts) is signal.SIGINT


@pytest.mark.asyncio
async def test_what_was_ignored_stays_ignored() -> None:
    """If SIGINT was ignored at the start, as in the background of a script, it stays ignored; SIGTERM still arrives."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with open_interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert await anext(interrupts) is signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# Examples of --help


def commands(found: object, path: str = "") -> Iterator[str]:
    assert isinstance(found, TyperGroup | TyperCommand)
    yield path
    if isinstance(found, TyperGroup):
        for name, each in found.commands.items():
            yield from commands(each, f"{path} {name}".strip())


NAMES = sorted(commands(PROGRAM))


@pytest.mark.parametrize("name", NAMES)
def test_shown(name: str) -> None:
    """The help of every command ends with its examples."""
    shown = run_here(*name.split(), "--help", env={"COLUMNS": "200"}).stdout
    _, found, examples = shown.partition("Examples")

    assert found
    for example in EXAMPLES[name]:
        assert f"$ {example}" in examples


@pytest.mark.parametrize("example", [each for examples in EXAMPLES.values() for each in examples])
def test_options(example: str) -> None:
    """Each example names an existing command, and options that it has."""
    words = shlex.split(next(part for part in example.split("| ") if part.startswith("mux-async")))[1:]
    check_options(words[: words.index("|")] if "|" in words else words)
