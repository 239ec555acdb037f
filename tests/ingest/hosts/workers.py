"""Worker processes of tests, which are killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests._servers import Server
from tests.cli.commands import ROOT, environment

CHILD = Path(__file__).with_name("child.py")


def environment_of(tree: Path) -> dict[str, str]:
    """Return the environment of a process that runs the `mux_async` of another source tree."""
    return environment({"PYTHONPATH": os.pathsep.join([str(tree), str(ROOT / "transports")])})


class Workers:
    """Worker processes. Use as a context manager, which ends them.

    Args:
        database: PostgreSQL.
        limits: Redis.
        origin: Of the emulator.
        speed: How many times the account's limits are those of Mux.
        log: Gets the output of all.
        concurrency: Items and rows of each at the same time.
        tree: The source tree whose `mux_async` they run; ``None`` for this one.
    """

    def __init__(
        self,
        database: Server,
        limits: Server,
        origin: str,
        speed: float,
        log: Path,
        *,
        concurrency: int = 4,
        tree: Path | None = None,
    ) -> None:
        self._command = [sys.executable, str(CHILD), database.url, origin, limits.url, str(speed), str(concurrency)]
        self._environment = environment() if tree is None else environment_of(tree)
        self._log = log.open("ab")
        self.running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()

    def start(self, count: int) -> None:
        """Start *count* workers."""
        for _ in range(count):
            process = subprocess.Popen(self._command, stdout=self._log, stderr=subprocess.STDOUT, env=self._environment)
            self.running.append(process)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Send SIGKILL."""
        process.kill()
        process.wait()
        self.running.remove(process)

    def renew(self, count: int) -> None:
        """Start workers in the place of those that have ended."""
        self.running = [process for process in self.running if process.poll() is None]
        self.start(count - len(self.running))
