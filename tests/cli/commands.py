"""Runs the ``mux-async`` command as a process of its own, as a shell would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import attrs
import pytest

from mux_async.cli import main

ROOT = Path(__file__).parents[2]

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


def run_here(*arguments: str, env: Mapping[str, str] | None = None) -> Done:
    """Run a command in this process, which starts ten times as fast as one of its own: for tests of what it reads and prints."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        for name in [each for each in os.environ if each.startswith("MUX_")]:
            patch.delenv(name)
        for name, value in (CREDENTIALS if env is None else env).items():
            patch.setenv(name, value)
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            return Done(code, out.getvalue(), err.getvalue())
    raise AssertionError("the command line ends with an exit code")


@attrs.frozen
class Emulate:
    """An emulator in another process."""

    origin: str

    def ask(self, path: str) -> Any:
        """Return the decoded answer to a GET of the emulator's own corner."""
        with urllib.request.urlopen(f"{self.origin}/_emulator/{path}", timeout=10) as answer:
            return json.load(answer)

    def arrivals(self) -> list[dict[str, Any]]:
        return list(self.ask("arrivals")["arrivals"])


@contextmanager
def emulate(*options: str) -> Generator[Emulate]:
    """Run ``mux-async emulate`` on a free port while the block runs."""
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
