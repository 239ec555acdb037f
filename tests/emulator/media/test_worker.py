"""The media worker by itself: inspection, conversion, storage, and failures of its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av", reason="real media need PyAV: pip install 'mux-async[media]'")

import av

from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, InputProblem, MediaInfo
from mux_async.emulator.media import MediaWorker, has_media
from mux_async.emulator.media._backend import Animation, Download, IngestOrder, MediaBackendError, Still
from mux_async.emulator.media._inspection import NotMediaError, read
from mux_async.errors import MissingExtraError
from mux_async.transport import HttpRequest
from tests.emulator.harness import Account
from tests.emulator.media.inputs import make
from tests.emulator.media.serving import TIMEOUT, decode, has_ended, worker_processes

pytestmark = pytest.mark.proof


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "tone.wav", "long.mp4"])
def test_reading(inputs: Path, name: str) -> None:
    """The properties of a file are those that PyAV reads from it."""
    found = read(str(inputs / name)).describe()
    with av.open(str(inputs / name), "r") as container:
        video = next(iter(container.streams.video), None)
        audio = container.streams.audio[0]
        duration = (container.duration or 0) / av.time_base
        size = (0, 0) if video is None else (video.codec_context.width, video.codec_context.height)
        rate = -1.0 if video is None or video.average_rate is None else float(video.average_rate)
        sound = (audio.codec_context.name, audio.codec_context.channels, audio.codec_context.sample_rate)
        container_name = container.format.name

    assert found["duration"] == pytest.approx(duration, abs=0.02)
    assert (found["width"], found["height"], found["frame_rate"]) == (*size, rate)
    assert (found["audio_codec"], found["channels"], found["sample_rate"]) == sound
    assert found["container"] == container_name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rate": Fraction(4)}, {"video_frame_rate": "4.00"}),
        ({"rate": Fraction(30000, 1001)}, {}),
        ({"size": (2100, 64), "seconds": 0.2}, {"video_resolution": "2100x64"}),
        ({"pixels": "yuv444p"}, {"unsupported_pixel_format": "yuv444p"}),
        ({"seconds": 22.0, "size": (32, 32), "rate": Fraction(5), "gop": 500}, {"video_gop_size": "high"}),
    ],
)
def test_oddities(tmp_path: Path, options: dict[str, Any], expected: dict[str, str]) -> None:
    """Non-standard properties have the names that Mux gives them (facts/BEHAVIOUR.md, section 4.2)."""
    given: dict[str, Any] = {"seconds": 1.0, "size": (64, 36), "sound": False, **options}
    path = make(tmp_path / "odd.mp4", **given)

    assert read(str(path)).non_standard_reasons() == expected


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 5000, b"RIFF\xff\xff\xff\xffWAVE", b"\x00\x00\x00\x18ftypmp42" + b"\xff" * 3000]
)
def test_rubbish(tmp_path: Path, content: bytes) -> None:
    """Malformed bytes are refused."""
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(NotMediaError):
        read(str(tmp_path / "file"))


@pytest.mark.parametrize(
    "content",
    ["ffconcat version 1.0\nfile film.mp4\n", "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfilm.mp4\n#EXT-X-ENDLIST\n"],
)
def test_names_another(inputs: Path, content: str) -> None:
    """A script or a playlist does not open the files that it names."""
    path = inputs / ("list.m3u8" if content.startswith("#") else "list.ffconcat")
    path.write_text(content)

    with pytest.raises(NotMediaError):
        read(str(path))


def frames_in(path: Path) -> bytes:
    """All compressed frames of a file."""
    with av.open(str(path), "r") as container:
        return b"".join(bytes(packet) for packet in container.demux(container.streams.video[0]))


def ingest(worker: MediaWorker, path: Path, asset_id: str, **changes: Any) -> MediaInfo | InputProblem | None:
    return worker.ingest(IngestOrder(asset_id, path=path, **changes)).result(TIMEOUT)


def test_copied(worker: MediaWorker, inputs: Path) -> None:
    """H.264 in MP4 is copied as it is, or encoded again if it is larger than the limit."""
    ingest(worker, inputs / "film.mp4", "copied")
    ingest(worker, inputs / "film.mp4", "smaller", tallest=90)
    copied, smaller = worker.media_file("copied"), worker.media_file("smaller")
    assert copied is not None
    assert smaller is not None

    assert frames_in(copied.path) == frames_in(inputs / "film.mp4")
    assert (smaller.width, smaller.height) == decode(smaller.path).size == (160, 90)


def test_segments(worker: MediaWorker, inputs: Path) -> None:
    """The segments of a media file are contiguous and fill the file; their durations add up to the film's."""
    ingest(worker, inputs / "long.mp4", "long")
    film = worker.media_file("long")
    assert film is not None
    ends = [segment.offset + segment.size for segment in film.segments]

    assert [segment.offset for segment in film.segments] == [film.head, *ends[:-1]]
    assert ends[-1] == film.path.stat().st_size
    assert sum(segment.duration for segment in film.segments) == pytest.approx(12.0, abs=0.05)
    assert len(film.segments) == 3


def test_kept(tmp_path: Path, inputs: Path) -> None:
    """Another worker finds the media files and images of an earlier one, and deletes its unfinished files."""
    order = Still("png", 1.0, 32, 18)
    with MediaWorker(tmp_path) as first:
        ingest(first, inputs / "film.mp4", "asset")
        made = first.make("asset", order).result(TIMEOUT)
        film = first.media_file("asset")
    (tmp_path / "work" / "half").write_bytes(b"half")
    with MediaWorker(tmp_path) as second:
        again = second.make("asset", order)

        assert second.media_file("asset") == film
        assert again.done()
        assert again.result() == made
        assert list((tmp_path / "work").iterdir()) == []


def test_forgotten(worker: MediaWorker, inputs: Path) -> None:
    """A deleted media file does not exist any more, and another one can have the same asset id."""
    ingest(worker, inputs / "film.mp4", "asset")
    film = worker.media_file("asset")
    assert film is not None
    worker.forget("asset")

    assert worker.media_file("asset") is None
    assert not film.path.exists()
    with pytest.raises(MediaBackendError):
        worker.make("asset", Download("mp4")).result(TIMEOUT)
    assert isinstance(ingest(worker, inputs / "tone.wav", "asset"), MediaInfo)


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are found in /proc")
def test_killed(tmp_path: Path, inputs: Path) -> None:
    """A process that died while it was idle is replaced, and the next job succeeds."""
    before = worker_processes()
    with MediaWorker(tmp_path) as worker:
        ingest(worker, inputs / "film.mp4", "asset")
        worker.make("asset", Still("png", 0.0, 16, 9)).result(TIMEOUT)
        ours = worker_processes() - before
        for process in ours:
            os.kill(process, signal.SIGKILL)
        while not all(has_ended(process) for process in ours):
            time.sleep(0.01)

        assert worker.make("asset", Still("png", 1.0, 16, 9)).result(TIMEOUT).exists()


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are found in /proc")
def test_stuck(tmp_path: Path, inputs: Path) -> None:
    """A job that hangs fails after its time limit; until then, jobs of its own and of other kinds are done."""
    before = worker_processes()
    with MediaWorker(tmp_path, longest_job=20.0) as worker:
        ingest(worker, inputs / "film.mp4", "asset")
        inspecting = worker_processes() - before
        worker.make("asset", Still("png", 0.0, 16, 9)).result(TIMEOUT)
        (process,) = worker_processes() - before - inspecting
        os.kill(process, signal.SIGSTOP)
        stuck = worker.make("asset", Still("png", 1.0, 16, 9))

        assert worker.make("asset", Still("png", 2.0, 16, 9)).result(TIMEOUT).exists()
        assert worker.make("asset", Animation("gif", 0.0, 1.0, 16, 9, 5)).result(TIMEOUT).exists()
        assert not stuck.done()
        with pytest.raises(MediaBackendError, match="longer than 15 s"):
            stuck.result(TIMEOUT)
        assert worker.make("asset", Still("png", 1.0, 16, 9)).result(TIMEOUT).exists()


def test_no_room(tmp_path: Path, inputs: Path) -> None:
    """If a job needs more memory than the limit, the input is refused."""
    with MediaWorker(tmp_path, memory=100 * 1024**2) as worker:
        found = ingest(worker, inputs / "film.mp4", "asset")

    assert isinstance(found, InputProblem)
    assert found.message.startswith("The input could not be converted")


def test_closed(tmp_path: Path, inputs: Path) -> None:
    """A closed worker ends at once, and cancels the jobs that wait."""
    worker = MediaWorker(tmp_path)
    futures = [worker.ingest(IngestOrder(f"asset {number}", path=inputs / "film.webm")) for number in range(6)]
    worker.close()

    for future in futures[:2]:  # two run at once
        assert isinstance(future.result(TIMEOUT), InputProblem | MediaInfo)
    for future in futures[2:]:
        with pytest.raises(CancelledError):
            future.result(TIMEOUT)
    assert worker.ingest(IngestOrder("late", path=inputs / "film.mp4")).exception(TIMEOUT) is not None


def test_without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyAV, a worker cannot be made, and the error says what to install."""
    monkeypatch.setitem(sys.modules, "av", None)

    assert not has_media()
    with pytest.raises(MissingExtraError, match=r"mux-async\[media\]"):
        MediaWorker()


@pytest.mark.anyio
async def test_in_process(worker: MediaWorker, inputs: Path) -> None:
    """The transport in process serves real media too: upload, wait, and get an image, on asyncio and trio."""
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.0, media=worker, seed=str(os.urandom(8))))
    transport = EmulatorTransport(emulator)
    async with Mux(token_id="test-token", token_secret="test-secret", transport=transport) as mux:
        asset = await mux.uploads.send(inputs / "film.mp4", playback_policies=["public"])
        base = f"http://emulator.test/{(asset.playback_ids or [])[0].id}"
        bodies: list[bytes] = []
        for path in ("thumbnail.png?width=64", "rendition/180-0.m4s", "thumbnail.png?width=64"):
            answer = await transport.send(HttpRequest("GET", f"{base}/{path}"))
            bodies.append(b"".join([piece async for piece in answer.body]))
            assert int(answer.headers["Content-Length"]) == len(bodies[-1])

    assert asset.duration == pytest.approx(3.0, abs=0.01)
    assert bodies[0] == bodies[2]
    assert bodies[0].startswith(b"\x89PNG")
    assert len(bodies[1]) > 100_000


def test_reset(worker: MediaWorker, inputs: Path) -> None:
    """After a reset, the same ids are given out again, for other media."""
    account = Account(EmulatorSettings(limits=None, time_to_ready=0.0, media=worker, seed="reset"))
    found: list[tuple[str, float]] = []
    for name in ("film.mp4", "tone.wav"):
        upload = account.create_upload()
        assert account.put(upload["url"], (inputs / name).read_bytes()).status == 200
        asset = account.asset(account.upload(upload["id"])["asset_id"])
        deadline = time.monotonic() + TIMEOUT
        while asset["status"] == "preparing" and time.monotonic() < deadline:
            time.sleep(0.02)
            account.pass_time(0.1)
            asset = account.asset(asset["id"])
        found.append((asset["id"], round(asset["duration"], 1)))
        account.send("POST", "/_emulator/reset")

    assert found == [(found[0][0], 3.0), (found[0][0], 2.0)]


WORKER = """
import os, sys
from mux_async.emulator.media import _child
del os.nice
sys.modules["resource"] = None
sys.platform = "darwin"
_child.bind(1 << 30)
import signal
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
"""


def test_without_what_other_systems_lack() -> None:
    """A worker process starts where there is neither `resource` nor `nice`."""
    done = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr
