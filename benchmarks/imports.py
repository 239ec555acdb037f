"""What does it cost to begin: the import, a client? (`python -m benchmarks --only first` measures the first answer.)

Method, import: a new interpreter for each sample, contenders in turn within a round, the order turning with the rounds, all on one
machine. The clock runs inside the interpreter, from just before the import to just after it; memory is what the process holds then,
beyond one that imports nothing. Bytecode is there before anything is measured, as it is after an installation. Given are medians,
and medians of the ratios within a round to ``anyio + cattrs``, which this client is built on. The HTTP libraries named are those
that are loaded afterwards.

Method, client: the first that is made after the import, and the median of twenty later ones. Nothing is sent.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

from benchmarks._run import environment, versions

BASIS = "anyio + cattrs"
EMPTY = "nothing"


class Start(NamedTuple):
    """One row: what is imported, the modules that it needs, and an expression that makes a client, if there is one to make."""

    name: str
    statement: str
    needs: tuple[str, ...]
    client: str | None = None


STARTS = (
    Start(EMPTY, "pass", ()),
    Start("asyncio", "import asyncio", ()),
    Start(BASIS, "import anyio, cattrs", ("anyio", "cattrs")),
    Start("mux_async", "import mux_async", ("mux_async",)),
    Start("mux_async, Mux", "from mux_async import Mux", ("mux_async",), "Mux(token_id='id', token_secret='secret')"),
    Start("aiohttp", "import aiohttp", ("aiohttp",), "aiohttp.ClientSession()"),
    Start("httpx", "import httpx", ("httpx",), "httpx.AsyncClient()"),
    Start("mux_python", "import mux_python", ("mux_python",), "mux_python.AssetsApi(mux_python.ApiClient())"),
    Start("openai", "import openai", ("openai",), "openai.AsyncOpenAI(api_key='secret')"),
)
PROGRAM = """
import os, sys, time

cpu, wall = time.process_time(), time.perf_counter()
{statement}
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
with open("/proc/self/statm") as file:
    resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
values = {{"cpu_ms": cpu * 1e3, "wall_ms": wall * 1e3, "mb": resident / 1e6}}
libraries = sorted({{"aiohttp", "httpx", "httpx2", "httpcore", "requests", "urllib3"}} & sys.modules.keys())

async def make():
    taken, kept = [], []
    for _ in range(21):
        begun = time.process_time()
        kept.append({client})
        taken.append(time.process_time() - begun)
    values["first_ms"], values["later_ms"] = taken[0] * 1e3, sorted(taken[1:])[10] * 1e3

if {has_client}:
    import asyncio
    asyncio.run(make())
import json
print(json.dumps([values, libraries]), flush=True)
os._exit(0)  # what is open need not be closed, nor be complained about
"""


class Sample(NamedTuple):
    """What one interpreter measured: figures by name, and the HTTP libraries that were loaded."""

    values: dict[str, float]
    libraries: list[str]


def sample(start: Start) -> Sample:
    """Import it in a new interpreter."""
    program = PROGRAM.format(statement=start.statement, client=start.client or "None", has_client=start.client is not None)
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment())
    return Sample(*json.loads(done.stdout))


def sample_all(starts: Sequence[Start], rounds: int) -> dict[str, list[Sample]]:
    """Return so many samples of each, taken in turn."""
    for start in starts:
        sample(start)  # writes the bytecode
    found: dict[str, list[Sample]] = {start.name: [] for start in starts}
    for number in range(rounds):
        turn = number % len(starts)
        for start in [*starts[turn:], *starts[:turn]]:
            found[start.name].append(sample(start))
    return found


def beside(mine: Sequence[float], others: Sequence[float]) -> str:
    """Show a median, and the median of the ratios within a round."""
    ratio = statistics.median(one / other for one, other in zip(mine, others, strict=True))
    return f"{statistics.median(mine):9.1f} {ratio:7.2f} x"


def print_imports(starts: Sequence[Start], found: dict[str, list[Sample]]) -> None:
    def series(name: str, measure: str) -> list[float]:
        return [one.values[measure] for one in found[name]]

    print(f"{'import':28}{'CPU, ms':>9}{'':10}{'wall, ms':>9}{'':10}{'MB':>6}  HTTP libraries")
    for start in starts:
        if start.name != EMPTY:
            cells = "".join(beside(series(start.name, measure), series(BASIS, measure)) for measure in ("cpu_ms", "wall_ms"))
            held = statistics.median(series(start.name, "mb")) - statistics.median(series(EMPTY, "mb"))
            libraries = ", ".join(found[start.name][-1].libraries) or "none"
            print(f"{start.statement.removeprefix('import '):28}{cells}{held:6.1f}  {libraries}")
    print(f"\n{'a client, CPU in ms':28}{'the first':>12}{'later ones':>12}")
    for start in starts:
        if start.client is not None:
            first, later = (statistics.median(series(start.name, measure)) for measure in ("first_ms", "later_ms"))
            print(f"{start.name:28}{first:12.3f}{later:12.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    starts = [start for start in STARTS if all(find_spec(name) for name in start.needs)]
    libraries = ", ".join(f"{name} {number}" for name, number in versions().items())
    print(f"Python {platform.python_version()}, {platform.machine()}, {libraries}\n")
    print_imports(starts, sample_all(starts, options.rounds))


if __name__ == "__main__":
    main()
