"""The parent's half of a process that does FFmpeg's work: starts it, hands it one job after the other, and ends it.

A process serves many jobs, because starting one costs more than most pictures do. One that takes too long, or breaks over a job, is
replaced; only that job is lost.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock, Timer
from typing import Any

from mux_async.emulator.media._backend import StudioError


class Press:
    """A process for jobs, one at a time. To be used by one thread; `close` may be called by any.

    Args:
        memory: Bytes that the process may have, where the system can keep it to that.
    """

    def __init__(self, memory: int) -> None:
        self._command = [sys.executable, "-m", "mux_async.emulator.media._child", str(memory)]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        self._is_closed = False

    def ask(self, job: Mapping[str, Any], limit: float) -> dict[str, Any]:
        """Have a job done, and wait for it.

        Args:
            job: As `mux_async.emulator.media._child` takes it.
            limit: Seconds it may take.

        Raises:
            StudioError: It failed, took too long, or the press was closed.
        """
        process = self._start()
        assert process.stdin is not None  # noqa: S101 - asked for in `_start`
        assert process.stdout is not None  # noqa: S101
        timer = Timer(limit, process.kill)
        timer.daemon = True
        began = time.monotonic()
        timer.start()
        try:
            with suppress(OSError):
                process.stdin.write(json.dumps(job).encode() + b"\n")
                process.stdin.flush()
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            self._end()
            if time.monotonic() - began >= limit:
                raise StudioError(f"it took longer than {limit:g} s")
            raise StudioError("the process that worked on it ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self._end()  # what broke one job is not to be left to the next
            raise StudioError(answer["error"])
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:  # it ended while it had nothing to do
            self._end()
        with self._lock:
            if self._is_closed:
                raise StudioError("the studio is closed")
            if self._process is None:
                pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
                self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=nowhere)  # noqa: S603 - our own module
            return self._process

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what it did not read any more
                    if pipe is not None:
                        pipe.close()
            process.wait()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()

    def settle(self) -> None:
        """Let go of a process that `close` ended. For the thread that uses it, or when there is none any more."""
        self._end()
