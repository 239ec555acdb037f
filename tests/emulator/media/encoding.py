"""Real encoders for tests: ffmpeg, which pushes to an emulator that takes encoders, in a thread."""

# PyAV leaves the parameter of Packet open in its own signatures.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import anyio
import attrs

from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.media import MediaWorker
from mux_async.emulator.server import serve, serve_rtmp, serve_srt
from tests.emulator.media.serving import MediaClient

PATIENCE = 60.0
"""Seconds that a step may take on a busy machine."""
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 128, 0)
PATH = "/video/v1/live-streams"


@attrs.frozen
class Ingest:
    """An emulator that takes encoders: its client, its address for encoders, what it reported, and its address for SRT."""

    client: MediaClient
    address: str
    lines: list[str]
    emulator: Emulator
    srt: str

    def create(self, **members: Any) -> dict[str, Any]:
        settings = {"playback_policies": ["public"], "static_renditions": [{"resolution": "highest"}]}
        body = {"playback_policies": ["public"], "latency_mode": "low", "new_asset_settings": settings, **members}
        made: dict[str, Any] = self.client.data("POST", PATH, body)
        return made

    def get(self, stream: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.client.data("GET", f"{PATH}/{stream['id']}")
        return found

    def until(self, claim: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not claim():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.1)

    def events(self) -> list[str]:
        found = json.loads(self.client.get("/_emulator/events").body)["events"]
        return [event["type"].removeprefix("video.") for event in found]


@contextmanager
def ingesting(folder: Path, *, with_srt: bool = False, **changes: Any) -> Generator[Ingest, None, None]:
    """Run an emulator with encoders from a thread while the block runs, with *changes* of its settings."""
    ready: Queue[tuple[str, str, str, anyio.Event, anyio.lowlevel.EventLoopToken]] = Queue()
    lines: list[str] = []
    with MediaWorker(folder) as media:
        emulator = Emulator(EmulatorSettings(limits=None, media=media, **changes))

        async def main() -> None:
            over = anyio.Event()
            async with AsyncExitStack() as stack:
                origin = await stack.enter_async_context(serve(emulator))
                address = await stack.enter_async_context(serve_rtmp(emulator, port=0, report=lines.append))
                srt = await stack.enter_async_context(serve_srt(emulator, port=0, report=lines.append)) if with_srt else ""
                ready.put((origin, address, srt, over, anyio.lowlevel.current_token()))
                await over.wait()

        thread = Thread(target=lambda: anyio.run(main))
        thread.start()
        origin, address, srt, over, token = ready.get(timeout=PATIENCE)
        try:
            yield Ingest(MediaClient(origin), address, lines, emulator, srt)
        finally:
            anyio.from_thread.run_sync(over.set, token=token)
            thread.join(PATIENCE)
            emulator.close()


def picture(*colours: str, seconds: int) -> list[str]:
    """Return ffmpeg's input: a plain colour after the other, each for some seconds, with a tone."""
    parts = [f"color={colour}:s=320x180:r=25:d={seconds}[v{number}]" for number, colour in enumerate(colours)]
    names = "".join(f"[v{number}]" for number in range(len(colours)))
    graph = ";".join([*parts, f"{names}concat=n={len(colours)}[out0]", f"sine=d={seconds * len(colours)}[out1]"])
    return ["-re", "-f", "lavfi", "-i", graph]


H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]


def encoder(address: str, *arguments: str) -> subprocess.Popen[str]:
    command = ["ffmpeg", "-nostdin", "-v", "error", *arguments, "-f", "flv", address]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@contextmanager
def pushing(ingest: Ingest, stream: dict[str, Any], *arguments: str) -> Generator[subprocess.Popen[str], None, None]:
    """Let ffmpeg push while the block runs."""
    with encoder(f"{ingest.address}/{stream['stream_key']}", *arguments) as process:
        try:
            yield process
        finally:
            process.kill()


def colour_at(ingest: Ingest, playback_id: str, parameters: str) -> tuple[int, ...]:
    reply = ingest.client.get(f"/{playback_id}/thumbnail.png?{parameters}")
    assert reply.status == 200, reply
    frame = reply.image().to_ndarray(format="rgb24")
    return tuple(int(value) for value in frame[frame.shape[0] // 2, frame.shape[1] // 2])


def is_near(colour: tuple[int, ...], wanted: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 40 for one, other in zip(colour, wanted, strict=True))


def decoded_seconds(url: str, *arguments: str) -> float:
    """Let ffmpeg play a URL, and return how many seconds of pictures it decoded without an error."""
    command = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-stats",
        "-xerror",
        *arguments,
        "-i",
        url,
        "-map",
        "0:v",
        "-f",
        "null",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    frames = done.stderr.rpartition("frame=")[2].split()[0]
    return int(frames) / 25
