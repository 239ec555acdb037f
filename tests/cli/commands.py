"""Runs the ``mux-async`` command: in this process, or as a process of its own, as a shell would."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import attrs
import pytest
import typer
from anyio.from_thread import start_blocking_portal
from typer.core import TyperCommand, TyperGroup

from mux_async.cli import main
from mux_async.cli._app import make_app
from mux_async.emulator import Arrival, Emulator, EmulatorSettings
from mux_async.emulator.server import serve

ROOT = Path(__file__).parents[2]

PROGRAM = typer.main.get_command(make_app())
CREDENTIALS = {"MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "test-secret"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mux_async.cli", *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without any of the user's own Mux settings, in which the sources are found.

    A terminal is as wide as it is: pytest-xdist says otherwise to its workers.
    """
    left_out = {"COLUMNS", "LINES"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUX_") and name not in left_out}
    path = os.pathsep.join([str(ROOT), str(ROOT / "transports")])
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(extra or {})}


def check_options(words: Sequence[str]) -> None:
    """Check that *words*, the arguments of ``mux-async``, name an existing command and options that it has."""
    found: object = PROGRAM
    context = None
    rest = list(words)
    while isinstance(found, TyperGroup):
        parser = found.make_parser(found.context_class(found, parent=context))
        parser.allow_interspersed_args = False
        _, rest, _ = parser.parse_args(rest)
        context = found.context_class(found, parent=context)
        _, found, rest = found.resolve_command(context, rest)
    assert isinstance(found, TyperCommand), words
    found.make_parser(found.context_class(found, parent=context)).parse_args(rest)


def run(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        env=environment(CREDENTIALS if env is None else env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )


@attrs.frozen
class Done:
    """What a command printed, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def _read_line(_prompt: str = "", _stream: object = None) -> str:
    return sys.stdin.readline().rstrip("\n")


def run_here(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: bytes | None = None
) -> Done:
    """Run a command in this process, which starts ten times as fast as one of its own: for tests of what it reads and prints.

    Args:
        arguments: Of the command.
        env: Variables; those of the user that begin with ``MUX_`` are removed. The credentials of the emulator by default.
        cwd: The working directory.
        stdin: Standard input, from which passwords are read too.
    """
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        for name in [each for each in os.environ if each.startswith("MUX_")]:
            patch.delenv(name)
        for name, value in (CREDENTIALS if env is None else env).items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        if stdin is not None:
            patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin), encoding="utf-8"))
            patch.setattr(getpass, "getpass", _read_line)
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            return Done(code, out.getvalue(), err.getvalue())
    raise AssertionError("the command line ends with an exit code")


@attrs.frozen
class Emulate:
    """An emulator behind a socket."""

    origin: str

    def ask(self, path: str) -> Any:
        """Return the decoded response to a GET of the emulator's control API."""
        with urllib.request.urlopen(f"{self.origin}/_emulator/{path}", timeout=10) as answer:
            return json.load(answer)

    def arrivals(self) -> list[dict[str, Any]]:
        return list(self.ask("arrivals")["arrivals"])


@contextmanager
def emulate(*options: str) -> Generator[Emulate]:
    """Run ``mux-async emulate`` in a process of its own on a free port while the block runs."""
    process = subprocess.Popen(
        command("emulate", "--port", "0", "--media", "off", *options),  # what the tests send is no film
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"http://\S+", first)
        if found is None:
            raise RuntimeError(f"the emulator did not start: {first!r}, exit code {process.poll()}")
        yield Emulate(found[0])
    finally:
        process.terminate()
        process.communicate(timeout=20)


@contextmanager
def emulate_here(
    settings: EmulatorSettings | None = None, *, on_arrival: Callable[[Arrival], None] | None = None
) -> Generator[Emulate]:
    """Serve an emulator from a thread of this process while the block runs. *on_arrival* is called in that thread."""
    with serve_here(Emulator(settings, on_arrival=on_arrival)) as emulator:
        yield emulator


@contextmanager
def serve_here(emulator: Emulator) -> Generator[Emulate]:
    """Serve *emulator* from a thread of this process while the block runs."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(emulator)) as origin:
        yield Emulate(origin)
