"""A catalogue at once: as many items as ``MUX_TEST_INGEST`` says (2,000 without it), on a clock that jumps, against a Mux that fails.

``MUX_TEST_INGEST=100000`` is the promise of the README: a hundred thousand items, of which every tenth is a file. The memory is that of
the whole process, with the Mux, Python and pytest in it, so that the client's own is less. The limiter spaces creates 1.5 % wider than a
second, to be safe from jitter; what fails on the wire has used its turn.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from random import Random

import anyio
import attrs
import pytest

from mux_async import Mux
from mux_async.ingest import Ingest, Item, Journal, file_item, url_item
from tests.ingest.lean_mux import LeanMux

pytestmark = [pytest.mark.proof, pytest.mark.anyio, pytest.mark.runtimes("virtual-asyncio")]

ITEMS = int(os.environ.get("MUX_TEST_INGEST", "2000"))
TIME_TO_READY = 20.0
TROUBLE = 0.001
"""Share of requests that fail in each of four ways."""

_accounts = count()


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path]:
    """Return a folder in memory if possible: half a million flushes to a disk would measure the disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as made:
        yield Path(made)


def catalogue(film: Path) -> Iterator[Item]:
    item = file_item(film)
    for number in range(ITEMS):
        if number % 10:
            yield url_item(f"https://example.com/films/{number:06}.mp4?signature={number}")
        else:
            meta = {"external_id": f"film-{number}"}
            yield attrs.evolve(item, key=f"film-{number}", source=f"films/{number:06}.mp4", settings={"meta": meta})


@pytest.mark.timeout(6 * 3600 if ITEMS > 10_000 else 60)
async def test_a_catalogue(folder: Path) -> None:
    """Every item becomes one asset, as fast as the POST limit allows, in bounded memory and with a small journal."""
    film = folder / "film.mp4"
    film.write_bytes(b"film" * 50)
    server = LeanMux(time_to_ready=TIME_TO_READY, trouble=TROUBLE)
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"scale-{next(_accounts)}",
        transport=server,
        clock=anyio.current_time,
        random=Random(1),
    )
    path = folder / "catalogue.journal"
    began, cpu = time.monotonic(), time.process_time()
    summary = await Ingest(mux, catalogue(film), journal=path, concurrency=8).run()
    took, cpu = time.monotonic() - began, time.process_time() - cpu

    size = path.stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"\n{ITEMS} items in {summary.elapsed:.0f} s ({summary.elapsed / ITEMS:.4f} x ideal; last POST at {server.last_post:.0f} s, "
        f"{server.posts} POSTs), {took:.0f} s of real time, {cpu:.0f} s of CPU; journal {size / 1e6:.1f} MB; "
        f"process {memory / 1e6:.0f} MB at most; {dict(server.troubles)}"
    )
    with Journal.open(path) as journal:
        counted = journal.summary()
    made = Counter(server.keys)
    assert (summary.ready, summary.failed, summary.not_started, summary.unfinished) == (ITEMS, 0, 0, 0)
    assert (counted.done, counted.total) == (ITEMS, ITEMS)
    assert len(made) == made.total() == ITEMS, "an asset is missing, or there are two"
    assert server.last_post <= 1.02 * ITEMS
    assert summary.elapsed <= 1.02 * ITEMS + TIME_TO_READY + 15
    assert size < 1000 * ITEMS + 100_000
    if ITEMS >= 100_000:
        assert summary.elapsed <= 1.02 * ITEMS
        assert memory < 300e6
        assert size < 100e6
