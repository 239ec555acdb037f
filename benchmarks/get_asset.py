"""What does a typed GET of one asset through `Mux` cost beside aiohttp alone?

Method: a server in its own process answers every request with the same 2 KB asset from memory. Each contender runs in a process of
its own for every round, rounds are interleaved, and what is compared is the contender's own CPU time per request (user + system) after a
warm-up, so that neither the server nor a busy machine counts. Printed: medians, and ratios to the first contender.

The first contender reads bytes only, the second decodes JSON, the third is `Mux` with limits on (rates raised out of the way),
typed decoding and unknown fields kept.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version

ASSET = {
    "data": {
        "id": "AbC1" * 10,
        "created_at": "1700000000",
        "status": "ready",
        "encoding_tier": "smart",
        "video_quality": "plus",
        "master_access": "none",
        "max_resolution_tier": "1080p",
        "max_stored_resolution": "HD",
        "max_stored_frame_rate": 29.97,
        "resolution_tier": "1080p",
        "aspect_ratio": "16:9",
        "duration": 634.567,
        "mp4_support": "none",
        "normalize_audio": False,
        "test": False,
        "ingest_type": "on_demand_direct_upload",
        "upload_id": "UpL1" * 10,
        "passthrough": "benchmark",
        "meta": {"title": "A film", "creator_id": "creator", "external_id": "external"},
        "progress": {"state": "completed", "progress": 100},
        "playback_ids": [{"id": f"PlA{n}" * 10, "policy": "public"} for n in range(3)],
        "tracks": [
            {
                "id": "TrA1" * 10,
                "type": "video",
                "max_width": 1920,
                "max_height": 1080,
                "max_frame_rate": 29.97,
                "duration": 634.5,
            },
            {"id": "TrA2" * 10, "type": "audio", "max_channels": 2, "max_channel_layout": "stereo", "duration": 634.5},
            {
                "id": "TrA3" * 10,
                "type": "text",
                "text_type": "subtitles",
                "text_source": "uploaded",
                "language_code": "en",
                "name": "English",
                "closed_captions": False,
                "status": "ready",
            },
        ],
        "static_renditions": {
            "files": [
                {"id": f"ReN{n}" * 10, "name": f"{h}p.mp4", "ext": "mp4", "height": h, "width": h * 16 // 9, "status": "ready"}
                for n, h in enumerate((1080, 720, 480))
            ]
        },
    }
}
BODY = json.dumps(ASSET, separators=(",", ":")).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: benchmark\r\nContent-Length: %d\r\n\r\n" % len(BODY)


class Server(asyncio.Protocol):
    """Answers every request head with the asset; a GET has no body to read."""

    def __init__(self) -> None:
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self.pending = (self.pending + data).split(b"\r\n\r\n")
        if heads:
            self.transport.write((HEAD + BODY) * len(heads))  # type: ignore[attr-defined]


def serve(ports: multiprocessing.Queue[int]) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await asyncio.sleep(600)

    asyncio.run(main())


Get = Callable[[], Awaitable[object]]


async def measure(get: Get, count: int, concurrency: int) -> float:
    """Return CPU microseconds per request."""

    async def work(n: int) -> None:
        for _ in range(n):
            await get()

    async def run(n: int) -> None:
        await asyncio.gather(*(work(n // concurrency) for _ in range(concurrency)))

    await run(max(concurrency, count // 5))
    start = time.process_time()
    await run(count)
    return (time.process_time() - start) / (count // concurrency * concurrency) * 1e6


async def contender(name: str, origin: str, count: int, concurrency: int) -> float:
    # Every request is for another asset: identical ones at the same time would be sent once, which is not the question.
    ids = itertools.cycle([f"{n:040}" for n in range(1000)])
    if name == "mux_async":
        from mux_async import BucketSettings, LimitSettings, Mux

        fast = BucketSettings(rate=1e6, burst=1_000_000)
        limits = LimitSettings(post=fast, other=fast, realtime_data=fast, general_data=fast)
        async with Mux(token_id="id", token_secret="secret", base_url=origin, limits=limits) as mux:
            return await measure(lambda: mux.video.assets.retrieve(next(ids)), count, concurrency)
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("id", "secret")) as session:

        async def get_bytes() -> bytes:
            async with session.get(f"{origin}/video/v1/assets/{next(ids)}") as response:
                return await response.read()

        async def get_json() -> object:
            async with session.get(f"{origin}/video/v1/assets/{next(ids)}") as response:
                return orjson.loads(await response.read())

        return await measure(get_json if name == "aiohttp + orjson" else get_bytes, count, concurrency)


CONTENDERS = ["aiohttp, bytes only", "aiohttp + orjson", "mux_async"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=3000, help="requests per round and contender")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--origin", help=argparse.SUPPRESS)
    parser.add_argument("--concurrency", type=int, default=0, help="only this one; default 1 and 100")
    options = parser.parse_args()
    if options.contender:
        print(asyncio.run(contender(options.contender, options.origin, options.count, options.concurrency)))
        return
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    origin = f"http://127.0.0.1:{ports.get(timeout=30)}"
    libraries = " ".join(f"{name} {version(name)}" for name in ("aiohttp", "orjson", "anyio", "attrs"))
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {libraries}; body {len(BODY)} bytes, {options.rounds} rounds"
    )
    try:
        for concurrency in [options.concurrency] if options.concurrency else [1, 100]:
            results: dict[str, list[float]] = {name: [] for name in CONTENDERS}
            for _ in range(options.rounds):
                for name in CONTENDERS:
                    command = [sys.executable, __file__, "--contender", name, "--origin", origin]
                    command += ["--count", str(options.count), "--concurrency", str(concurrency)]
                    results[name].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            base = results[CONTENDERS[0]]
            print(f"\n{concurrency} at a time: client CPU per request")
            for name in CONTENDERS:
                ratio = statistics.median(mine / theirs for mine, theirs in zip(results[name], base, strict=True))
                print(f"  {name:22} {statistics.median(results[name]):8.1f} us   {ratio:5.2f} x")
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
