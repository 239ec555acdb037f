"""An emulator with real media behind a socket, and a blocking client of it. FFmpeg reads its URLs as a player would."""

# PyAV leaves the parameter of Packet open in its own signatures.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import anyio
import attrs
import av

from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.media import MediaWorker
from mux_async.emulator.server import serve
from tests.emulator.harness import Json, basic

TIMEOUT = 30.0
"""Seconds that a job may take on a busy machine."""


@contextmanager
def serving(backend: MediaWorker, **changes: Any) -> Generator[str, None, None]:
    """Serve an emulator from a thread while the block runs. Yields its origin."""
    ready: Queue[tuple[str, anyio.Event, anyio.lowlevel.EventLoopToken]] = Queue()

    async def run() -> None:
        settings = EmulatorSettings(limits=None, time_to_ready=0.0, media=backend, **changes)
        over = anyio.Event()
        async with serve(Emulator(settings)) as origin:
            ready.put((origin, over, anyio.lowlevel.current_token()))
            await over.wait()

    thread = Thread(target=lambda: anyio.run(run))
    thread.start()
    origin, over, token = ready.get(timeout=TIMEOUT)
    try:
        yield origin
    finally:
        anyio.from_thread.run_sync(over.set, token=token)
        thread.join(TIMEOUT)


@attrs.frozen
class Reply:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def images(self) -> list[av.VideoFrame]:
        """Decode the body as images."""
        with av.open(io.BytesIO(self.body), "r") as container:
            return list(container.decode(container.streams.video[0]))

    def image(self) -> av.VideoFrame:
        """Decode the body as one image."""
        (picture,) = self.images()
        return picture


@attrs.frozen
class MediaClient:
    """A blocking client of an emulator. It waits for *timeout* seconds for a response."""

    origin: str
    timeout: float = TIMEOUT

    def send(self, method: str, target: str, body: object = None, **headers: str) -> Reply:
        url = target if target.startswith("http") else self.origin + target
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = Request(
            url, content, {"Authorization": basic(), "Content-Type": "application/json", **headers}, method=method
        )
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=self.timeout) as response:
                return Reply(response.status, dict(response.headers), response.read())
        except HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), error.read())

    def get(self, target: str, **headers: str) -> Reply:
        return self.send("GET", target, **headers)

    def text(self, target: str) -> str:
        answer = self.get(target)
        assert answer.status == 200, (target, answer)
        return answer.body.decode()

    def data(self, method: str, target: str, body: object = None) -> Any:
        answer = self.send(method, target, body)
        assert 200 <= answer.status < 300, (answer.status, answer.body)
        return json.loads(answer.body)["data"] if answer.body else None

    def settled(self, asset_id: str) -> Json:
        """Wait until an asset, its static renditions and its master are ready or errored."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            asset: Json = self.data("GET", f"/video/v1/assets/{asset_id}")
            renditions = asset.get("static_renditions", {})
            states = [asset["status"], renditions.get("status"), asset.get("master", {}).get("status")]
            if "preparing" not in [*states, *(file.get("status") for file in renditions.get("files", ()))]:
                return asset
            time.sleep(0.03)
        raise AssertionError(f"asset {asset_id} is still preparing")

    def upload(self, path: Path, **settings: Any) -> Json:
        """Upload a file, wait as `settled`, and return the asset."""
        settings = {"playback_policies": ["public"], **settings}
        upload = self.data("POST", "/video/v1/uploads", {"new_asset_settings": settings, "test": settings.pop("test", False)})
        assert self.send("PUT", upload["url"], path.read_bytes()).status == 200
        return self.settled(self.data("GET", f"/video/v1/uploads/{upload['id']}")["asset_id"])

    def create(self, url: str, **members: Any) -> Json:
        """Create an asset of a URL, wait as `settled`, and return it."""
        inputs = [{"url": url, **members.pop("entry", {})}]
        body = {"inputs": inputs, "playback_policies": ["public"], **members}
        return self.settled(self.data("POST", "/video/v1/assets", body)["id"])


def playback(asset: Json) -> str:
    """Return the first playback id of an asset."""
    found: str = asset["playback_ids"][0]["id"]
    return found


@attrs.frozen
class Decoded:
    """A decoded file: the codec of each stream, its number of frames, and where they begin and end, in seconds."""

    codecs: tuple[str, ...]
    frames: tuple[int, ...]
    begins: tuple[float, ...]
    ends: tuple[float, ...]
    size: tuple[int, int] | None


def decode(url: str | Path) -> Decoded:
    """Read and decode all frames of a file or a URL."""
    with av.open(str(url), "r") as container:
        streams = [*container.streams.video, *container.streams.audio]
        counts, begins, ends = [0] * len(streams), [float("inf")] * len(streams), [0.0] * len(streams)
        for packet in container.demux(streams):
            place = next(number for number, stream in enumerate(streams) if stream.index == packet.stream.index)
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame | av.AudioFrame)
                assert frame.time is not None
                counts[place] += 1
                begins[place] = min(begins[place], frame.time)
                length = frame.samples / frame.sample_rate if isinstance(frame, av.AudioFrame) else 0.0
                ends[place] = max(ends[place], frame.time + length)
        video = next(iter(container.streams.video), None)
        size = None if video is None else (video.codec_context.width, video.codec_context.height)
        names = tuple(stream.codec_context.name for stream in streams)
    return Decoded(names, tuple(counts), tuple(begins), tuple(ends), size)


def worker_processes() -> set[int]:
    """Return the ids of the worker processes that this process started."""
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            arguments = folder.joinpath("cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"mux_async.emulator.media._child" in arguments:
            found.add(int(folder.name))
    return found


def has_ended(process: int) -> bool:
    """Whether a process has ended; its parent may not have waited for it yet."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
