"""What does ingest on many hosts cost for each item: CPU of the submitting process and of a worker, and space in PostgreSQL?

Method: URLs are submitted to a PostgreSQL server of this machine, and worked through by one worker in this process, with the emulator in
the process as well (no limits, no sockets, assets that are ready at once). CPU is that of this process, with the client and the
emulator; their part is measured by the same requests without DBOS.

``python -m benchmarks.ingest_hosts --items 2000``
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import tempfile
import time
from pathlib import Path

import psycopg

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport
from mux_async.ingest import ItemOptions, url_item
from mux_async.ingest.dbos import Worker, status, submit
from tests._servers import postgres_server


def make_client(emulator: Emulator) -> Mux:
    unlimited = LimitSettings(enabled=False)
    return Mux(token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator), limits=unlimited)


async def requests_alone(emulator: Emulator, count: int) -> float:
    """Return the CPU seconds per item of the requests without DBOS."""
    async with make_client(emulator) as mux:
        began = time.process_time()
        for number in range(count):
            asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], once=f"alone-{number}")
            await mux.video.assets.wait_until_ready(asset.id)
        return (time.process_time() - began) / count


async def work(url: str, emulator: Emulator, concurrency: int) -> None:
    worker = Worker(url, make_client=lambda _: make_client(emulator), concurrency=concurrency)
    running = asyncio.create_task(worker.run())
    while not running.done():
        await asyncio.sleep(1.0)
        found = await asyncio.to_thread(status, url)
        if found.ready + found.failed == found.total:
            assert found.failed == 0, found
            worker.stop()
    assert await running


def main(count: int, concurrency: int) -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, {count} items, concurrency {concurrency}", flush=True)
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.0))
    items = [url_item(f"https://example.com/{number}.mp4", ItemOptions(key=f"item-{number}")) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder, postgres_server(Path(folder) / "log") as server:
        status(server.url)  # makes the tables
        began = time.process_time()
        submit(server.url, items)
        print(f"submit: {(time.process_time() - began) / count * 1e3:.2f} ms of CPU per item", flush=True)
        began, wall = time.process_time(), time.monotonic()
        asyncio.run(work(server.url, emulator, concurrency))
        seconds, wall = time.process_time() - began, time.monotonic() - wall
        print(f"work: {seconds / count * 1e3:.1f} ms of CPU per item, {count / wall:.0f} items per second", flush=True)
        alone = asyncio.run(requests_alone(emulator, min(count, 500)))
        print(f"of which client and emulator: {alone * 1e3:.1f} ms", flush=True)
        wall = time.monotonic()
        status(server.url)
        print(f"status: {(time.monotonic() - wall) * 1e3:.0f} ms")
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert row is not None
        print(f"database: {row[0] / 1e6:.1f} MB, {row[0] / count / 1e3:.1f} kB per item")
    emulator.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=20)
    arguments = parser.parse_args()
    main(arguments.items, arguments.concurrency)
