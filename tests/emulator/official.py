"""What the tests with Mux's own clients share: the emulator as a process, and the installation of the clients.

If a client cannot be installed, its tests are skipped; if the environment variable ``CI`` is set, they fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from platform import machine
from shutil import which
from tempfile import gettempdir
from typing import Any, NoReturn

import pytest

from tests.emulator.clients.pins import NPM

ROOT = Path(__file__).parents[2]
NODE_PACKAGES = tuple(f"{name}@{NPM[name]}" for name in ("@mux/mux-node", "@mux/upchunk", "@mux/mux-player"))
"""Packages from npm, in the versions of `tests.emulator.clients.pins`. They are installed together, because npm removes all others."""
MUX_CLI = f"@mux/cli-linux-x64@{NPM['@mux/cli-linux-x64']}"
"""Mux's command line: one program, without Node.js in it. Installed in a folder of its own, because it is large and rarely needed."""


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it if ``CI`` is set."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def mux_python() -> Any:
    """Return the official Python client."""
    try:
        return import_module("mux_python")
    except ImportError:
        missing("the official Python client is not installed: pip install mux_python")


def node_modules(packages: Sequence[str] = NODE_PACKAGES) -> Path:
    """Return a folder whose ``node_modules`` hold *packages*, installed from npm once and kept for the next run.

    The folder is ``MUX_ASYNC_NODE_CACHE``, or one below the machine's folder for temporary files. No script of a package is run.
    """
    node, npm = which("node"), which("npm")
    if node is None or npm is None:
        missing("Node.js and npm are not installed")
    folder = Path(os.environ.get("MUX_ASYNC_NODE_CACHE") or Path(gettempdir()) / "mux-async-node")
    name = "-".join(packages).replace("/", "_")
    if packages != NODE_PACKAGES:
        folder /= name
    done = folder / f"installed-{name}"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", *packages]
        try:
            installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)
        except subprocess.TimeoutExpired:
            missing(f"npm did not install {', '.join(packages)} in time")
        if installed.returncode:
            missing(f"npm cannot install {', '.join(packages)}: {installed.stderr[-500:]}")
        done.touch()
    return folder


def mux_cli() -> Path:
    """Return Mux's command line."""
    if sys.platform != "linux" or machine() != "x86_64":
        missing("Mux's command line is tested on Linux on x86-64")
    return node_modules((MUX_CLI,)) / "node_modules" / "@mux" / "cli-linux-x64" / "mux"


def run_node(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of ``tests/emulator/node`` next to the packages, with only the given variables."""
    folder = node_modules()
    copy = folder / script
    copy.write_text((Path(__file__).parent / "node" / script).read_text())
    given = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
    return subprocess.run(["node", str(copy)], cwd=folder, env=given, capture_output=True, text=True, timeout=55, check=False)


@contextmanager
def emulate(*arguments: str) -> Generator[str, None, None]:
    """Run ``mux-async emulate`` on a free port, with generated media by default. Yields the origin that it prints."""
    with emulate_lines(*arguments) as lines:
        yield lines[0].split()[-1]


@contextmanager
def emulate_lines(*arguments: str) -> Generator[list[str], None, None]:
    """Do as `emulate` does, and yield all lines that it prints before it is ready."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "transports")])}
    command = [sys.executable, "-m", "mux_async.cli", "emulate", "--port", "0", "--media", "off", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or "rate limits" not in lines[-1]:
                line = process.stdout.readline()
                assert line, lines
                lines.append(line)
            yield lines
        finally:
            process.terminate()
            process.communicate(timeout=20)
