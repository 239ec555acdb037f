"""Runs contenders, each in a process of its own, in turn, against one server on another core."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions, version
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import attrs
import psutil

from benchmarks._contenders import CONTENDERS, NODE

WORK = (
    "get/1",
    "get/100",
    "list/1",
    "list/100",
    "list_ascii/1",
    "list_ascii/100",
    "create/1",
    "create/100",
    "first",
    "memory",
)
NODE_PACKAGE = "@mux/mux-node@15.3.0"


@attrs.frozen
class Sample:
    """What one process measured.

    Attributes:
        work: One of `WORK`.
        contender: Its name.
        values: ``cpu_us`` per call of the client's process, ``p50_us`` of wall time, ``rate`` per second of wall time; ``ms`` and
            ``cpu_ms`` to the first answer; ``idle_mb`` and ``per_asset_kb``; ``calls`` in all, and the server's CPU for them.
    """

    work: str
    contender: str
    values: dict[str, float]


@attrs.frozen
class Server:
    """The server's process."""

    origin: str
    process: psutil.Process

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def answered(self) -> int:
        """Requests so far."""
        with build_opener(ProxyHandler({})).open(f"{self.origin}/answered", timeout=10) as response:
            return int(response.read())


@contextmanager
def serve() -> Generator[Server]:
    """Run the server on the last core that this process may use, and confine this process, and so the contenders, to the first."""
    before: set[int] = set()
    cores = list(range(os.cpu_count() or 1))
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        cores = sorted(before)
    command = [sys.executable, "-m", "benchmarks._server", str(cores[-1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            server = Server(f"http://127.0.0.1:{int(process.stdout.readline())}", psutil.Process(process.pid))
            if before:
                os.sched_setaffinity(0, {cores[0]})
            yield server
        finally:
            process.stdin.close()
            process.wait(timeout=10)
            if before:
                os.sched_setaffinity(0, before)


def node_modules() -> tuple[Path | None, str]:
    """Return the folder with Mux's Node client, installed from npm once and kept, or why there is none. No script of it is run."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None, "Node.js and npm are not installed"
    folder = Path(os.environ.get("MUX_ASYNC_NODE_CACHE") or Path(tempfile.gettempdir()) / "mux-async-node")
    if not (folder / "node_modules" / "@mux" / "mux-node").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", NODE_PACKAGE]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            return None, f"npm cannot install {NODE_PACKAGE}"
    return folder, ""


def contenders() -> tuple[list[str], dict[str, str]]:
    """Return the names of those that can run here, and of the others why they cannot."""
    present = [one.name for one in CONTENDERS if not one.missing]
    absent = {one.name: f"not installed: {', '.join(one.missing)}" for one in CONTENDERS if one.missing}
    folder, reason = node_modules()
    if folder is None:
        absent[NODE] = reason
    else:
        present.insert(-1, NODE)
    return present, absent


def versions() -> dict[str, str]:
    """Return the versions of what is measured."""
    owners = packages_distributions()
    modules = {module for one in CONTENDERS if not one.missing for module in one.needs} | {"uvloop", "anyio", "attrs"}
    found = {name: version(name) for module in modules for name in owners.get(module, [])[:1]}
    folder, _ = node_modules()
    if folder is not None:
        found[NODE] = json.loads((folder / "node_modules/@mux/mux-node/package.json").read_text())["version"]
        found["node"] = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return dict(sorted(found.items()))


def environment() -> dict[str, str]:
    """Return the environment of a contender: with bytecode, which an installed program has too, whatever this one was told."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def measure(work: str, contender: str, server: Server, seconds: float) -> Sample:
    """Let *contender* do *work* for about so many *seconds* of its own CPU time.

    Raises:
        RuntimeError: It failed, and the message holds the end of what it said; or it did not send a request for every call, so that what
            it measured is not what the others did.
    """
    if contender == NODE:
        folder, _ = node_modules()
        assert folder is not None
        script = shutil.copy(Path(__file__).parent / "_node.cjs", folder / "benchmark.cjs")
        command = ["node", str(script), work, server.origin, str(seconds)]
    else:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks._child", contender, work, server.origin, str(seconds)]
    begun, answered = server.cpu(), server.answered()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment())
    if done.returncode:
        raise RuntimeError(f"{contender} failed at {work}:\n{done.stderr[-2000:]}")
    values: dict[str, float] = json.loads(done.stdout)
    values["server_cpu_s"] = server.cpu() - begun
    requests = server.answered() - answered
    if "calls" in values and requests != values["calls"]:
        raise RuntimeError(
            f"{contender} made {values['calls']:.0f} calls at {work}, and the server answered {requests} requests"
        )
    return Sample(work, contender, values)


def interleave(names: list[str], works: list[str], server: Server, *, rounds: int, seconds: float) -> Iterator[Sample]:
    """Yield a sample of every contender at every work in every round, contenders next to each other."""
    for work in works:
        if work == "first":
            for name in names:
                measure(work, name, server, seconds)  # writes the bytecode
        for number in range(rounds):
            # Whoever comes after a heavy one meets a warm machine: the order turns with the rounds.
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                yield measure(work, name, server, seconds)
