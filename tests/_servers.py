"""Servers that are not ours, for tests that talk to the real thing: found, started on a free port, and stopped by their process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import pytest


def require(program: str, package: str | None = None) -> str:
    """Return the path of *program*, which a Debian *package*, by default of (nearly) the same name, brings.

    Where it is missing the test is skipped; in CI, where nothing may be skipped unseen, it fails.
    """
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        reason = f"{program} is not installed: apt-get install {package or program}"
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
def running(
    command: Sequence[str], port: int, log: Path, patience: float = 10.0, stop: signal.Signals = signal.SIGTERM
) -> Generator[subprocess.Popen[bytes]]:
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
            process.send_signal(stop)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """A server that tests can restart. Use as a context manager."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        url: str,
        *,
        stop: signal.Signals = signal.SIGTERM,
        is_ready: Sequence[str] = (),
    ) -> None:
        self.url = url
        self._is_ready = is_ready
        self._parts = (command, port, log, 10.0, stop)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.pid = self._stack.enter_context(running(*self._parts)).pid
        give_up = time.monotonic() + 30
        while self._is_ready and subprocess.run(self._is_ready, check=False).returncode:
            assert time.monotonic() < give_up, f"{self.url} does not get ready"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def restart(self) -> None:
        """Stop the server and start it again, on the same port. What it keeps in memory is lost."""
        self._stack.close()
        self.__enter__()


def redis_server(log: Path) -> Server:
    """Return a Redis server that keeps nothing on disk."""
    port = free_port()
    command = [require("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return Server(command, port, log, f"redis://127.0.0.1:{port}/0")


@contextmanager
def postgres_server(log: Path) -> Generator[Server]:
    """Run a PostgreSQL server with an empty database while the block runs.

    It refuses to run as root, so that root gives its folder to the user that the package has made. pytest closes its folders to others.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    program = programs[-1] if programs else Path(require("postgres")).parent
    with TemporaryDirectory(prefix="mux-postgres-") as folder:
        as_owner: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        data, port = Path(folder) / "data", free_port()
        setup = [*as_owner, str(program / "initdb"), "-D", str(data), "-A", "trust", "-U", "mux", "--no-sync", "-E", "UTF8"]
        subprocess.run(setup, check=True, capture_output=True)
        options = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", "max_connections=200"]
        command = [*as_owner, str(program / "postgres"), *options]
        url = f"postgresql://mux@127.0.0.1:{port}/postgres"
        is_ready = [str(program / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        # SIGINT: it does not wait for its clients.
        with Server(command, port, log, url, stop=signal.SIGINT, is_ready=is_ready) as server:
            yield server


@pytest.fixture
def database(tmp_path: Path) -> Generator[Server]:
    """PostgreSQL with an empty database, for one test."""
    with postgres_server(tmp_path / "postgres.log") as server:
        yield server


@pytest.fixture
def limits(tmp_path: Path) -> Generator[Server]:
    """Redis, for one test."""
    with redis_server(tmp_path / "redis.log") as server:
        yield server
