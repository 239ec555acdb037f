"""The worker process for FFmpeg: it reads jobs from standard input, one line of JSON each, and writes one line with the result.

A result holds ``value``, or ``problem`` (why an input cannot be used), or ``error`` (what failed). The process ends when its standard
input is closed, so that it never outlives the emulator.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import av.logging
from av.error import FFmpegError

from mux_async.emulator.media._fetching import FetchError, fetch
from mux_async.emulator.media._images import animation, still, storyboard
from mux_async.emulator.media._inspection import NotMediaError
from mux_async.emulator.media._packaging import join, package, remake

NICENESS = 5
"""How far behind everything else the work stands; the emulator has others to answer."""


def ingest(job: Mapping[str, Any]) -> dict[str, Any]:
    """Fetch, examine and package one input."""
    source = job["path"]
    if source is None:
        source = str(Path(job["folder"]) / "source")
        try:
            fetch(job["url"], source, job["most"])
        except FetchError as error:
            return {"unreachable": str(error), "status": error.status}
    try:
        found = package(source, job["folder"], job["start"], job["end"], job["tallest"], is_test=job["is_test"])
    except NotMediaError as error:
        return {"problem": str(error)}
    finally:
        if job["path"] is None:
            Path(source).unlink(missing_ok=True)
    return {"value": found}


def make(job: Mapping[str, Any]) -> dict[str, Any]:
    """Make an image or a download of a media file."""
    works: Mapping[str, Callable[[str, str, Mapping[str, Any]], None]] = {
        "Still": still,
        "Storyboard": storyboard,
        "Animation": animation,
        "Download": remake,
        "Join": join,
    }
    works[job["kind"]](job["media_file"], job["out"], job["order"])
    return {"value": None}


def work(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """Do jobs until there are no more."""
    for line in jobs:
        job = json.loads(line)
        try:
            answer = ingest(job) if job["job"] == "ingest" else make(job)
        except (FFmpegError, ArithmeticError, LookupError, MemoryError, OSError, TypeError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def bind(memory: int, niceness: int = NICENESS) -> None:
    """Prepare a worker process: it stands back, may use *memory* bytes, and leaves Ctrl-C to the emulator."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes of the terminal; the emulator ends this one itself
    if hasattr(os, "nice"):
        os.nice(niceness)
    if sys.platform == "linux":
        import resource  # elsewhere it is missing, or not kept to

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    bind(int(sys.argv[1]))
    # At any other level, FFmpeg's threads take the interpreter lock to log, also while PyAV holds it and waits for them (PyAV #751).
    av.logging.set_level(None)
    work(sys.stdin.buffer, sys.stdout.buffer)
