"""A worker process for FFmpeg, seen from the parent: start it, send it one job after the other, and kill it.

A process runs many jobs, because starting one takes longer than making most images. A process that takes too long or crashes is replaced;
only its job fails.
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

from mux_async.emulator.media._backend import MediaBackendError


class WorkerProcess:
    """A process that runs one job at a time and may use *memory* bytes. One thread uses it; any thread may call `close`."""

    def __init__(self, memory: int) -> None:
        self._command = [sys.executable, "-m", "mux_async.emulator.media._child", str(memory)]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        self._is_closed = False

    def run_job(self, job: Mapping[str, Any], limit: float) -> dict[str, Any]:
        """Run a job of `mux_async.emulator.media._child`, for at most *limit* seconds, and return its result.

        Raises `MediaBackendError`: it failed, took too long, or the process was closed.
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
                raise MediaBackendError(f"it took longer than {limit:g} s")
            raise MediaBackendError("the process that worked on it ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self._end()  # a process that failed once does not get another job
            raise MediaBackendError(answer["error"])
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:  # it ended while it was idle
            self._end()
        with self._lock:
            if self._is_closed:
                raise MediaBackendError("the media backend is closed")
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
                with suppress(OSError):  # unread input
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
        """Release a process that `close` killed. Called by the thread that uses it, or after that thread has ended."""
        self._end()
