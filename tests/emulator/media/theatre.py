"""An emulator on a socket, in a thread of its own, and a client of it that waits: FFmpeg reads its URLs as any player would."""

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

PATIENCE = 30.0
"""Seconds that work may take on a busy machine."""


@contextmanager
def playing(backend: MediaWorker, **changes: Any) -> Generator[str, None, None]:
    """Serve an emulator while the block runs; give its origin."""
    ready: Queue[tuple[str, anyio.Event, anyio.lowlevel.EventLoopToken]] = Queue()

    async def run() -> None:
        settings = EmulatorSettings(limits=None, time_to_ready=0.0, media=backend, **changes)
        over = anyio.Event()
        async with serve(Emulator(settings)) as origin:
            ready.put((origin, over, anyio.lowlevel.current_token()))
            await over.wait()

    thread = Thread(target=lambda: anyio.run(run))
    thread.start()
    origin, over, token = ready.get(timeout=PATIENCE)
    try:
        yield origin
    finally:
        anyio.from_thread.run_sync(over.set, token=token)
        thread.join(PATIENCE)


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def images(self) -> list[av.VideoFrame]:
        """Decode it as pictures."""
        with av.open(io.BytesIO(self.body), "r") as container:
            return list(container.decode(container.streams.video[0]))

    def image(self) -> av.VideoFrame:
        """Decode it as one picture."""
        (picture,) = self.images()
        return picture


@attrs.frozen
class Theatre:
    """A client of an emulator."""

    origin: str

    def send(self, method: str, target: str, body: object = None, **headers: str) -> Answer:
        url = target if target.startswith("http") else self.origin + target
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = Request(
            url, content, {"Authorization": basic(), "Content-Type": "application/json", **headers}, method=method
        )
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=PATIENCE) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def get(self, target: str, **headers: str) -> Answer:
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
        """Wait until an asset, and all that is made of it, is ready or errored."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            asset: Json = self.data("GET", f"/video/v1/assets/{asset_id}")
            renditions = asset.get("static_renditions", {})
            states = [asset["status"], renditions.get("status"), asset.get("master", {}).get("status")]
            if "preparing" not in [*states, *(file.get("status") for file in renditions.get("files", ()))]:
                return asset
            time.sleep(0.03)
        raise AssertionError(f"asset {asset_id} is still preparing")

    def upload(self, path: Path, **settings: Any) -> Json:
        """Upload a file, and return the asset when all is done."""
        settings = {"playback_policies": ["public"], **settings}
        upload = self.data("POST", "/video/v1/uploads", {"new_asset_settings": settings, "test": settings.pop("test", False)})
        assert self.send("PUT", upload["url"], path.read_bytes()).status == 200
        return self.settled(self.data("GET", f"/video/v1/uploads/{upload['id']}")["asset_id"])

    def create(self, url: str, **members: Any) -> Json:
        """Create an asset of a URL, and return it when all is done."""
        inputs = [{"url": url, **members.pop("entry", {})}]
        body = {"inputs": inputs, "playback_policies": ["public"], **members}
        return self.settled(self.data("POST", "/video/v1/assets", body)["id"])


def playback(asset: Json) -> str:
    """The playback id of an asset."""
    found: str = asset["playback_ids"][0]["id"]
    return found


@attrs.frozen
class Seen:
    """A film as FFmpeg read it: codecs, and for each how many frames, when the first began and when the last ended, in seconds."""

    codecs: tuple[str, ...]
    frames: tuple[int, ...]
    begins: tuple[float, ...]
    ends: tuple[float, ...]
    size: tuple[int, int] | None


def watch(url: str | Path) -> Seen:
    """Read a film from its beginning to its end, and decode all of it."""
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
    return Seen(names, tuple(counts), tuple(begins), tuple(ends), size)


def children() -> set[int]:
    """The processes that this one started and that do FFmpeg's work."""
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


def is_over(process: int) -> bool:
    """Whether a process has ended, and waits for its parent to notice."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
