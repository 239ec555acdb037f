"""Real encoders: Debian's ffmpeg pushes to the emulator over RTMP, and what plays is what was pushed."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from queue import Queue
from random import Random
from threading import Thread
from typing import Any

import anyio
import attrs
import pytest

from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.server import serve, serve_rtmp
from tests._servers import require

pytest.importorskip("av", reason="real media need mux-async[media]")

from mux_async.emulator.media import MediaWorker
from tests.emulator.media.serving import MediaClient

pytestmark = [pytest.mark.proof, pytest.mark.timeout(240)]

PATIENCE = 60.0
"""Seconds that a step may take on a busy machine."""
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 128, 0)
PATH = "/video/v1/live-streams"


@attrs.frozen
class Ingest:
    """An emulator that takes encoders: its client, its address for encoders, and what it reported."""

    client: MediaClient
    address: str
    lines: list[str]
    emulator: Emulator

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
def ingesting(folder: Path) -> Generator[Ingest, None, None]:
    """Run an emulator with encoders from a thread while the block runs."""
    ready: Queue[tuple[str, str, anyio.Event, anyio.lowlevel.EventLoopToken]] = Queue()
    lines: list[str] = []
    with MediaWorker(folder) as media:
        emulator = Emulator(EmulatorSettings(limits=None, media=media))

        async def main() -> None:
            over = anyio.Event()
            async with serve(emulator) as origin, serve_rtmp(emulator, port=0, report=lines.append) as address:
                ready.put((origin, address, over, anyio.lowlevel.current_token()))
                await over.wait()

        thread = Thread(target=lambda: anyio.run(main))
        thread.start()
        origin, address, over, token = ready.get(timeout=PATIENCE)
        try:
            yield Ingest(MediaClient(origin), address, lines, emulator)
        finally:
            anyio.from_thread.run_sync(over.set, token=token)
            thread.join(PATIENCE)


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Generator[Ingest, None, None]:
    require("ffmpeg")
    with ingesting(tmp_path_factory.mktemp("media")) as running:
        yield running


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


def test_pushed_reconnected_and_played(ingest: Ingest) -> None:
    """What ffmpeg pushes plays while it is pushed and later, over a reconnection, and the recording has its length and its pictures."""
    stream = ingest.create(reconnect_window=60, latency_mode="standard")
    live, before = stream["playback_ids"][0]["id"], len(ingest.events())
    playlists: list[list[str]] = []

    with pushing(ingest, stream, *picture("red", "blue", seconds=5), *H264) as process:
        assert ingest.client.get(f"/{live}.m3u8").status == 412
        ingest.until(lambda: ingest.get(stream)["status"] == "active")
        name = ingest.client.get(f"/{live}.m3u8").body.decode().splitlines()[-1]
        url = f"{ingest.client.origin}/{name}"
        played = decoded_seconds(url, "-live_start_index", "0", "-t", "6")
        while process.poll() is None:
            playlists.append(ingest.client.get(f"/{name}").body.decode().splitlines())
            time.sleep(0.5)
        assert process.returncode == 0, process.stderr and process.stderr.read()
    ingest.until(lambda: "live_stream.disconnected" in ingest.events()[before:])
    assert ingest.get(stream)["status"] == "active"
    with pushing(ingest, stream, *picture("green", seconds=3), *H264) as process:
        assert process.wait(PATIENCE) == 0
    ingest.until(lambda: ingest.events()[before:].count("live_stream.disconnected") == 2)
    playlists.append(ingest.client.get(f"/{name}").body.decode().splitlines())
    ingest.client.data("PUT", f"{PATH}/{stream['id']}/complete")
    ingest.until(lambda: "asset.live_stream_completed" in ingest.events()[before:])
    playlists.append(ingest.client.get(f"/{name}").body.decode().splitlines())

    happened = [event for event in ingest.events()[before:] if "static_rendition" not in event]
    assert happened == [
        "live_stream.connected",
        "asset.created",
        "live_stream.recording",
        "live_stream.active",
        *(["asset.ready"] if happened.index("asset.ready") == 4 else []),
        "live_stream.disconnected",
        "live_stream.connected",
        "live_stream.recording",
        *(["asset.ready"] if happened.index("asset.ready") > 4 else []),
        "live_stream.disconnected",
        "live_stream.idle",
        "asset.live_stream_completed",
    ]
    assert played == pytest.approx(6.0, abs=0.1)
    for earlier, later in pairwise(playlists):
        assert later[: len(earlier)] == earlier
    last = playlists[-1]
    assert last[-1] == "#EXT-X-ENDLIST"
    assert last.count("#EXT-X-DISCONTINUITY") == 1
    assert "#EXT-X-MEDIA-SEQUENCE:0" in last
    target = int(next(line for line in last if "TARGETDURATION" in line).partition(":")[2])
    lengths = [float(line.partition(":")[2].rstrip(",")) for line in last if line.startswith("#EXTINF")]
    assert max(lengths) < target + 0.5
    assert sum(lengths) == pytest.approx(13.0, abs=0.2)

    asset = ingest.client.data("GET", f"/video/v1/assets/{ingest.get(stream)['recent_asset_ids'][-1]}")
    playback_id = asset["playback_ids"][0]["id"]
    assert (asset["status"], asset["aspect_ratio"], asset.get("is_live")) == ("ready", "16:9", None)
    assert asset["duration"] == pytest.approx(13.0, abs=0.2)
    assert [entry["duration"] for entry in asset["recording_times"]] == [pytest.approx(10, abs=0.1), pytest.approx(3, abs=0.1)]
    assert decoded_seconds(f"{ingest.client.origin}/{playback_id}.m3u8") == pytest.approx(13.0, abs=0.1)
    for moment, colour in ((2, RED), (7, BLUE), (12, GREEN)):
        assert is_near(colour_at(ingest, playback_id, f"time={moment}"), colour), moment
    ingest.until(lambda: ingest.client.get(f"/{playback_id}/highest.mp4").status == 200)
    assert decoded_seconds(f"{ingest.client.origin}/{playback_id}/highest.mp4") == pytest.approx(13.0, abs=0.1)


@pytest.mark.parametrize("mode", ["reduced", "low"])
def test_latency_modes(ingest: Ingest, mode: str) -> None:
    """With low and reduced latency segments are short, although the encoder has few key frames, and the latest picture is shown."""
    stream = ingest.create(latency_mode=mode)
    live = stream["playback_ids"][0]["id"]

    with pushing(ingest, stream, *picture("red", "blue", seconds=4), *H264) as process:
        ingest.until(lambda: ingest.get(stream)["status"] == "active")
        assert process.poll() is None
        first = colour_at(ingest, live, "latest=true")
        assert process.wait(PATIENCE) == 0
    ingest.until(lambda: ingest.get(stream)["status"] == "idle")
    asset = ingest.client.data("GET", f"/video/v1/assets/{ingest.get(stream)['recent_asset_ids'][-1]}")
    playlist = ingest.client.get(f"/{asset['playback_ids'][0]['id']}/rendition/180.m3u8").body.decode()
    lengths = [float(line.partition(":")[2].rstrip(",")) for line in playlist.splitlines() if line.startswith("#EXTINF")]

    assert is_near(first, RED) or is_near(first, BLUE)
    assert max(lengths) <= {"reduced": 2.1, "low": 1.1}[mode]
    assert asset["duration"] == pytest.approx(8.0, abs=0.2)


def test_refusals(ingest: Ingest) -> None:
    """A wrong key, a second encoder, a disabled stream and other codecs are refused, with a reason on both sides and no key in the log."""
    stream, other = ingest.create(), ingest.create()
    ingest.client.data("PUT", f"{PATH}/{other['id']}/disable")

    def refused(address: str, *arguments: str) -> str:
        with encoder(address, *(arguments or (*picture("red", seconds=20), *H264))) as process:
            assert process.stderr is not None
            said = process.stderr.read()
            assert process.wait(PATIENCE) != 0
            return said

    wrong = refused(f"{ingest.address}/not-{stream['stream_key']}")
    elsewhere = refused(f"{ingest.address.removesuffix('/app')}/live/{stream['stream_key']}")
    disabled = refused(f"{ingest.address}/{other['stream_key']}")
    mp3 = refused(
        f"{ingest.address}/{stream['stream_key']}", *picture("red", seconds=20), *H264[:-1], "libmp3lame", "-ar", "44100"
    )
    ingest.until(lambda: ingest.get(stream)["status"] == "idle" and "MP3" in ingest.lines[-2] + ingest.lines[-1])
    with pushing(ingest, stream, *picture("red", seconds=30), *H264):
        ingest.until(lambda: ingest.get(stream)["status"] == "active")
        second = refused(f"{ingest.address}/{stream['stream_key']}")
    log = "\n".join(ingest.lines)

    assert "no live stream has this stream key" in wrong
    assert "application is app" in elsewhere
    assert "disabled" in disabled
    assert mp3
    assert "has an encoder already" in second
    for said in (
        "no live stream has this stream key",
        "rtmp://HOST:PORT/app/STREAM_KEY",
        "disabled",
        "MP3",
        "has an encoder already",
    ):
        assert said in log
    assert stream["stream_key"] not in log


def test_disabled_while_pushing(ingest: Ingest) -> None:
    """Disabling a live stream ends the connection of its encoder."""
    stream = ingest.create()
    with pushing(ingest, stream, *picture("red", seconds=60), *H264) as process:
        ingest.until(lambda: ingest.get(stream)["status"] == "active")
        ingest.client.data("PUT", f"{PATH}/{stream['id']}/disable")

        assert process.wait(PATIENCE) != 0
    assert ingest.get(stream)["status"] == "disabled"


def test_simulcast(ingest: Ingest, tmp_path: Path) -> None:
    """A simulcast target on this machine records what is pushed; others get nothing; one that cannot be reached is errored."""
    with ingesting(tmp_path / "media") as target:
        received = target.create()
        targets = [
            {"url": target.address, "stream_key": received["stream_key"]},
            {"url": "rtmp://127.0.0.1:1/app", "stream_key": "none"},
            {"url": "rtmp://rtmp.example.com/app", "stream_key": "none"},
        ]
        stream = ingest.create(simulcast_targets=targets)

        with pushing(ingest, stream, *picture("blue", seconds=60), *H264) as process:
            ingest.until(
                lambda: (
                    [entry["status"] for entry in ingest.get(stream)["simulcast_targets"]]
                    == ["broadcasting", "errored", "broadcasting"]
                )
            )
            ingest.until(lambda: target.get(received)["status"] == "active")
            process.terminate()
            process.wait(PATIENCE)
        ingest.until(lambda: target.get(received)["status"] == "idle")
        asset = target.client.data("GET", f"/video/v1/assets/{target.get(received)['recent_asset_ids'][-1]}")

        assert is_near(colour_at(target, asset["playback_ids"][0]["id"], "time=0.5"), BLUE)
        assert any("not on this machine" in line for line in ingest.lines)
        assert any("Connection refused" in line for line in ingest.lines)
        assert "none" not in " ".join(ingest.lines).split()


def test_the_socket_takes_anything(ingest: Ingest) -> None:
    """Connections that send random bytes, or nothing at all, are ended, and other requests do not wait for them."""
    port, random = int(ingest.address.split(":")[2].split("/")[0]), Random(5)
    slowest = 0.0
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection, suppress(OSError):
            connection.sendall(random.choice([b"", b"\x03", b"\x03" + bytes(3072)]) + random.randbytes(100_000))
        began = time.monotonic()
        assert ingest.client.get("/_emulator/health").status == 200
        slowest = max(slowest, time.monotonic() - began)
    silent = socket.create_connection(("127.0.0.1", port), PATIENCE)
    silent.settimeout(PATIENCE)

    assert slowest < 2.0
    assert silent.recv(1) == b""
    silent.close()
