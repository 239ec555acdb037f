"""Is an upload through `mux.uploads` as fast as `curl -T`, without holding up the event loop or filling the memory?

Method: a server in its own process takes the bytes: a bare sink, so that the server is not what is measured.
Contenders take turns within a round; each is a process of its own and sends
the same file, which lies in the page cache. Ours speaks the resumable protocol, chunk by chunk, takes the checksum of the source and
reports progress; curl sends one PUT. The server has the last core to itself, and the contenders have the others: left alone, the system
wakes the server on the core of whoever sends, in the middle of sending. The part of its core that the server used meanwhile is printed:
where it is near 1, it is the server that was measured.

Ours sends the file twice, to be timed and to be watched: in the second run a task wakes every millisecond and notes how late it was;
before, the same task on the idle loop shows what the machine itself does, and the processor time of the loop's thread between two
wakings shows what is the client's own doing (with the millisecond that it is meant to sleep for). Memory is the peak of the resident set
over that of the idle client, of both runs. Printed: medians, and ratios to curl of the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks._sink import Served, sink
from benchmarks._timing import Lateness

MIB = 1024 * 1024


def reset_peak() -> None:
    """Let the peak of the resident set begin anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the peak of the resident set in bytes (Linux)."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


def cpu_of(pid: int) -> float:
    """Return the seconds of processor time that a process has had so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def ours(origin: str, path: Path, certificate: str | None, server: int) -> dict[str, float]:
    """Send the file once, and return what it took."""
    from mux_async import Mux
    from mux_async.transport import TransportSettings
    from mux_async.uploads import UploadProgress

    context = ssl.create_default_context(cafile=certificate) if certificate is not None else None
    settings = TransportSettings(ssl_context=context)
    async with Mux(token_id="test-token", token_secret="test-secret", base_url=origin, transport_settings=settings) as mux:
        await mux.uploads.put(session_url(origin), b"x" * MIB)  # everything is loaded and connected
        with Lateness() as idle:
            await asyncio.sleep(0.5)
        url = session_url(origin)
        seen: list[UploadProgress] = []
        reset_peak()
        memory, cpu, start = psutil.Process().memory_info().rss, time.process_time(), time.perf_counter()
        before = cpu_of(server)
        report = await mux.uploads.put(url, path, on_progress=seen.append)
        elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
        used = cpu_of(server) - before
        url = session_url(origin)
        with Lateness() as lateness:
            await mux.uploads.put(url, path, on_progress=seen.append)
        return {
            "elapsed": elapsed,
            "cpu": cpu,
            "server": used / elapsed,
            "memory": (peak() - memory) / MIB,
            "late": lateness.worst,
            "late_usual": lateness.usual,
            "late_idle": idle.worst,
            "held": lateness.held,
            "requests": report.requests,
        }


def session_url(origin: str) -> str:
    """Return the URL of a new session: the sink takes any path."""
    return f"{origin}/upload-{os.urandom(4).hex()}?signature=x"


def curl(url: str, path: Path, certificate: str | None) -> dict[str, float]:
    """Send the file with ``curl -T``, and return what it took."""
    command = ["curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{time_total}", "-T", str(path), url]
    command += ["--cacert", certificate] if certificate is not None else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        elapsed = float(process.stdout.read())
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise SystemExit(f"curl ended with {process.returncode}")
    return {"elapsed": elapsed, "cpu": usage.ru_utime + usage.ru_stime}


def certificate_in(folder: Path) -> str:
    """Make an authority and a certificate for localhost, and return the path of a file with both and the key."""
    import trustme

    authority = trustme.CA()
    path = folder / "localhost.pem"
    issued = authority.issue_cert("localhost")
    path.write_bytes(
        issued.private_key_pem.bytes() + b"".join(each.bytes() for each in issued.cert_chain_pems) + authority.cert_pem.bytes()
    )
    return str(path)


def make_file(path: Path, size: int) -> None:
    """Make the file to send: noise that repeats."""
    with path.open("wb") as file:
        noise = os.urandom(min(size, 64 * MIB))
        for start in range(0, size, len(noise)):
            file.write(noise[: size - start])


def run_child(served: Served, path: Path, certificate: str | None) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.upload", "--child", served.origin, "--file", str(path)]
    command += ["--server-pid", str(served.pid)]
    command += ["--certificate", certificate] if certificate else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def keep_apart(served: Served) -> None:
    """Give the server the last core and everybody else the others (Linux)."""
    *ours, last = sorted(os.sched_getaffinity(0))
    if ours:
        os.sched_setaffinity(served.pid, {last})
        os.sched_setaffinity(0, ours)


def compare(options: argparse.Namespace, served: Served, path: Path, certificate: str | None) -> None:
    """Run the rounds and print the table."""
    origin = served.origin
    mine: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    size = path.stat().st_size
    for number in range(options.rounds):
        turns = [0, 1] if number % 2 else [1, 0]  # neither is always the first
        for turn in turns:
            before = cpu_of(served.pid)
            if turn:
                theirs.append(curl(session_url(origin), path, certificate))
                theirs[-1]["server"] = (cpu_of(served.pid) - before) / theirs[-1]["elapsed"]
            else:
                mine.append(run_child(served, path, certificate))
    for name, rows in [("curl -T", theirs), ("mux_async", mine)]:
        speed = statistics.median(size / MIB / row["elapsed"] for row in rows)
        cpu = statistics.median(row["cpu"] for row in rows)
        server = statistics.median(row["server"] for row in rows)
        print(
            f"  {name:10} {speed:8.0f} MiB/s   {cpu:6.2f} s of CPU   server {server:.2f} of a core  "
            f" {[round(size / MIB / row['elapsed']) for row in rows]}"
        )
    speed = statistics.median(them["elapsed"] / me["elapsed"] for me, them in zip(mine, theirs, strict=True))
    cpu = statistics.median(me["cpu"] / them["cpu"] for me, them in zip(mine, theirs, strict=True))
    print(f"  ratio: {speed:.2f} x the speed, {cpu:.2f} x the CPU (median of the rounds' ratios)")
    print(
        f"  ours: {max(row['memory'] for row in mine):.1f} MiB above the idle client (worst round), {mine[0]['requests']:.0f} requests;"
        f" loop late by at most {[round(row['late'], 1) for row in mine]} ms,"
        f" 999 of 1000 wakings below {max(row['late_usual'] for row in mine):.1f} ms"
        f" (idle loop on this machine: at most {max(row['late_idle'] for row in mine):.1f} ms);"
        f" by its own work at most {max(row['held'] for row in mine):.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=1.0, help="GiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the file is made; default: the folder for temporary files"
    )
    for hidden in ("--child", "--file", "--certificate"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--server-pid", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(asyncio.run(ours(options.child, Path(options.file), options.certificate, options.server_pid))))
        return
    if shutil.which("curl") is None:
        raise SystemExit("curl is what ours is compared with: apt-get install curl")
    curl_version = subprocess.run(["curl", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    libraries = " ".join(f"{name} {version(name)}" for name in ("aiohttp", "anyio"))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "film.mp4"
        make_file(path, int(options.size * 1024) * MIB)
        certificate = certificate_in(Path(folder)) if options.tls else None
        with sink(certificate) as served:
            keep_apart(served)
            print(
                f"Python {platform.python_version()}, {libraries}, curl {curl_version}, {os.cpu_count()} cores; {options.size:g} GiB,"
                f" sink{' over TLS' if options.tls else ''}, {options.rounds} rounds"
            )
            compare(options, served, path, certificate)


if __name__ == "__main__":
    main()
