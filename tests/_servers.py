"""Servers that are not ours, for tests that talk to the real thing: found, started on a free port, and stopped by their process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest


def require(program: str) -> str:
    """Return the path of *program*, which a Debian package of (nearly) the same name brings.

    Where it is missing the test is skipped; in CI, where nothing may be skipped unseen, it fails.
    """
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        reason = f"{program} is not installed: apt-get install {program}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], port: int, log: Path, patience: float = 10.0) -> Generator[subprocess.Popen[bytes]]:
    """Run *command*, which stays in the foreground and listens on *port* of 127.0.0.1, while the block runs.

    Raises:
        AssertionError: It ended, or did not listen within *patience* seconds; the message holds what it wrote.
    """
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            give_up = time.monotonic() + patience
            while not _is_open(port):
                assert process.poll() is None, f"{command[0]} ended: {log.read_text()}"
                assert time.monotonic() < give_up, f"{command[0]} does not listen: {log.read_text()}"
                time.sleep(0.02)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
