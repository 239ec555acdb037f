"""What does `mux_async` cost beside everything a user would pick instead?

Method: one server, which answers bytes put together before, in a process of its own on another core. Each contender does each piece of work
in a process of its own, once in every round, contenders next to each other. Compared is the CPU time (user and system) of the client's
process per call, after a warm-up, so that neither the server nor a busy machine counts; for calls one after the other the median of
the wall time too. Printed: medians, and medians of the ratios within a round to aiohttp that reads bytes and does nothing with them.

``python -m benchmarks`` runs everything, with the other benchmarks of this folder; ``--quick`` in a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from benchmarks._contenders import REFERENCE
from benchmarks._report import Table, markdown, server_shares, tables, text
from benchmarks._run import WORK, Sample, contenders, interleave, serve, versions

OTHERS: dict[str, tuple[list[str], list[str]]] = {
    "decode": (["--rounds", "9"], ["--rounds", "3", "--count", "500"]),
    "imports": ([], ["--rounds", "5"]),
    "limiter": ([], ["--rounds", "2", "--tasks", "10000", "--grants", "200"]),
    "scale": ([], ["--rounds", "2", "--calls", "20000"]),
    "upload": ([], ["--rounds", "2", "--size", "0.125"]),
    "signing": ([], ["--rounds", "5", "--runs", "3"]),
    "webhooks": ([], ["--rounds", "5", "--count", "500"]),
}
"""The other benchmarks, with their arguments and those in a hurry."""


def main() -> None:
    options = _options()
    present, absent = contenders()
    wanted: list[str] = options.only or sorted({work.partition("/")[0] for work in WORK}, key=str) + list(OTHERS)
    works = [work for work in WORK if work in wanted or work.partition("/")[0] in wanted]
    names = [name for name in present if not options.contenders or name in options.contenders or name == REFERENCE]
    rounds = options.rounds or (3 if options.quick else 7)
    about = _about(rounds)
    print(f"{about['machine']}, Python {about['python']}; load {about['load']:.1f} before; {rounds} rounds")
    print(", ".join(f"{name} {number}" for name, number in about["versions"].items()))
    for name, reason in absent.items():
        print(f"absent: {name} ({reason})")

    samples: list[Sample] = []
    found: list[Table] = []
    if works:
        with serve() as server:
            for work in works:
                mine = list(interleave(names, [work], server, rounds=rounds, seconds=0.25 if options.quick else 1.0))
                samples += mine
                print(text(tables(mine)[0]), flush=True)
        found = tables(samples)
        shares = server_shares(samples)
        shown = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        print("\nThe server's CPU per call, of the contender's own: " + shown)
    outputs = {name: _run_other(name, quick=options.quick) for name in OTHERS if name in wanted}
    if options.json:
        document = {**about, "absent": absent, "samples": [attrs.asdict(one) for one in samples], "others": outputs}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown:
        sections = (f"\n### `benchmarks.{name}`\n\n```\n{output.strip()}\n```\n" for name, output in outputs.items())
        options.markdown.write_text(markdown(found) + "".join(sections))
    if options.plot:
        from benchmarks._plot import plot

        plot(found, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="benchmarks"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: numbers to look at, not to publish")
    parser.add_argument(
        "--only", nargs="+", metavar="WORK", help=f"of {', '.join([*WORK, *OTHERS])}; 'get' is get/1 and get/100"
    )
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="only these, and the reference")
    parser.add_argument("--rounds", type=int, help="7, or 3 with --quick")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--plot", type=Path, help="draw this SVG; needs matplotlib")
    return parser.parse_args()


def _about(rounds: int) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "rounds": rounds,
        "versions": versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _run_other(name: str, *, quick: bool) -> str:
    """Run another benchmark of this folder; what it prints is its result."""
    if find_spec(f"benchmarks.{name}") is None:
        return "(not here)"
    command = [sys.executable, "-m", f"benchmarks.{name}", *OTHERS[name][quick]]
    print(f"\n$ python -m {' '.join(command[2:])}", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout, flush=True)
    return done.stdout + (f"(ended with {done.returncode})" if done.returncode else "")


if __name__ == "__main__":
    main()
