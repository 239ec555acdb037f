"""The emulator with a fake media backend, whose jobs finish when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from mux_async.emulator import InputProblem, MediaInfo, Request
from mux_async.emulator.http._messages import ApiError
from mux_async.emulator.media._backend import Download, IngestOrder, MediaBackendError, MediaFile, Order, Segment, Still
from mux_async.emulator.playback._media_responses import file_response
from tests.emulator.harness import Account, Json


class FakeMediaBackend:
    """A media backend that records its orders and finishes them on demand."""

    def __init__(self, folder: Path) -> None:
        self.uploads = folder
        self.path = folder / "film"
        self.path.write_bytes(bytes(range(100)))
        self.ingests: dict[str, tuple[IngestOrder, Future[MediaInfo | InputProblem | None]]] = {}
        self.made: dict[Order, Future[Path]] = {}
        self.media_files: dict[str, MediaFile] = {}
        self.forgotten: list[str] = []

    def ingest(self, order: IngestOrder, /) -> Future[MediaInfo | InputProblem | None]:
        return self.ingests.setdefault(order.asset_id, (order, Future()))[1]

    def media_file(self, asset_id: str, /) -> MediaFile | None:
        return self.media_files.get(asset_id)

    def make(self, asset_id: str, order: Order, /) -> Future[Path]:
        del asset_id
        return self.made.setdefault(order, Future())

    def forget(self, asset_id: str, /) -> None:
        self.forgotten.append(asset_id)

    def finish(self, asset_id: str, media: MediaInfo | InputProblem | None) -> None:
        if isinstance(media, MediaInfo):
            segments = (Segment(10, 50, 4.0), Segment(60, 40, 2.0))
            self.media_files[asset_id] = MediaFile(self.path, "avc1.64001f,mp4a.40.2", 10, segments, 640, 360, 25.0)
        self.ingests[asset_id][1].set_result(media)


class Stage:
    """An account with a fake media backend."""

    def __init__(self, folder: Path) -> None:
        self.backend = FakeMediaBackend(folder)
        self.account = Account(media=self.backend, time_to_ready=1.0)

    def create(self, **members: Any) -> str:
        made: str = self.account.create_asset(playback_policies=["public"], **members)["id"]
        self.wait()
        return made

    def wait(self) -> None:
        self.account.pass_time(1.0)
        self.account.emulator.advance()

    def asset(self, asset_id: str) -> Json:
        self.wait()
        return self.account.asset(asset_id)

    def ready(self, **members: Any) -> Json:
        asset_id = self.create(**members)
        self.backend.finish(asset_id, MediaInfo(6.0, 640, 360))
        return self.asset(asset_id)

    def play(self, asset: Json, rest: str) -> str:
        return f"/{asset['playback_ids'][0]['id']}{rest}"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_waiting(stage: Stage) -> None:
    """An asset is preparing while the backend works on it, and then has the properties that the backend returns."""
    asset_id = stage.create()
    assert [stage.asset(asset_id)["status"] for _ in range(3)] == ["preparing"] * 3
    stage.backend.finish(asset_id, MediaInfo(6.0, 640, 360))

    asset = stage.asset(asset_id)
    assert (asset["status"], asset["duration"], asset["aspect_ratio"]) == ("ready", 6.0, "16:9")
    assert [event.type for event in stage.account.emulator.events] == ["video.asset.created", "video.asset.ready"]


@pytest.mark.parametrize(("media", "status"), [(InputProblem("invalid_input", "The input is odd"), "errored"), (None, "ready")])
def test_other_outcomes(stage: Stage, media: InputProblem | None, status: str) -> None:
    """A problem makes the asset errored; media that the backend does not take are generated."""
    asset_id = stage.create()
    stage.backend.finish(asset_id, media)

    assert stage.asset(asset_id)["status"] == status


def test_orders(stage: Stage) -> None:
    """Orders hold the input, its tier, and the 10 seconds of a test; for a clip its source and its times."""
    whole = stage.ready(max_resolution_tier="1440p")
    other = stage.create(test=True)
    entry = {"url": f"mux://assets/{whole['id']}", "start_time": 1, "end_time": 3}
    clip = stage.account.data("POST", "/video/v1/assets", {"inputs": [entry]})["id"]
    stage.wait()
    asked = {name: order for name, (order, _) in stage.backend.ingests.items()}

    assert asked[whole["id"]] == IngestOrder(whole["id"], url="https://example.com/film.mp4", tallest=1440)
    assert asked[other] == IngestOrder(other, url="https://example.com/film.mp4", end=10.0, is_test=True)
    assert asked[clip] == IngestOrder(clip, clip_of=whole["id"], start=1, end=3)


def test_playlist(stage: Stage) -> None:
    """Playlists describe the media file and its segments."""
    asset = stage.ready()
    first = stage.account.send("GET", stage.play(asset, ".m3u8")).body.decode()
    media = stage.account.send("GET", stage.play(asset, "/rendition/360.m3u8")).body.decode().splitlines()
    part = stage.account.send("GET", stage.play(asset, "/rendition/360-1.m4s"))

    described = 'BANDWIDTH=160,AVERAGE-BANDWIDTH=120,RESOLUTION=640x360,FRAME-RATE=25.000,CODECS="avc1.64001f,mp4a.40.2"'
    assert f"#EXT-X-STREAM-INF:{described}" in first
    assert [line for line in media if not line.startswith("#EXTINF")][-4:] == [
        '#EXT-X-MAP:URI="360.mp4"',
        "360-0.m4s",
        "360-1.m4s",
        "#EXT-X-ENDLIST",
    ]
    assert part.body == bytes(range(60, 100))


def test_thumbnail(stage: Stage) -> None:
    """A thumbnail is of the requested time, or of the asset's thumbnail time, or of the middle."""
    asset = stage.ready()
    for order in (Still("jpg", 2.0, 640, 360), Still("jpg", 3.0, 640, 360), Still("jpg", 5.0, 640, 360)):
        stage.backend.made[order] = future = Future[Path]()
        future.set_result(stage.backend.path)
    asked = [stage.account.send("GET", stage.play(asset, f"/thumbnail.jpg{query}")).body for query in ("?time=2", "")]
    stage.account.data("PATCH", f"/video/v1/assets/{asset['id']}", {"thumbnail_time": 5})
    asked.append(stage.account.send("GET", stage.play(asset, "/thumbnail.jpg")).body)

    assert asked == [stage.backend.path.read_bytes()] * 3
    assert len(stage.backend.made) == 3


def fail(future: Future[Path]) -> None:
    future.set_exception(MediaBackendError("out of film"))


def test_rendition(stage: Stage) -> None:
    """A static rendition is ready when its file is, and has its size; if the file cannot be made, it is errored."""
    asset = stage.ready(static_renditions=[{"resolution": "highest"}, {"resolution": "audio-only"}])

    def states() -> list[str]:
        return [file["status"] for file in stage.asset(asset["id"])["static_renditions"]["files"]]

    assert states() == ["preparing", "preparing"]
    stage.backend.made[Download("mp4", 360)].set_result(stage.backend.path)
    fail(stage.backend.made[Download("m4a")])

    assert states() == ["ready", "errored"]
    (media_file, _) = stage.asset(asset["id"])["static_renditions"]["files"]
    assert (media_file["filesize"], media_file["bitrate"]) == ("100", 133)
    assert stage.account.send("GET", stage.play(asset, "/highest.mp4")).body == stage.backend.path.read_bytes()
    assert stage.account.emulator.events[-1].type == "video.asset.static_rendition.errored"


def lose(future: Future[Path]) -> None:
    future.set_result(Path("/nowhere/at/all"))


@pytest.mark.parametrize("end", [fail, lose])
def test_stand_ins(stage: Stage, end: Callable[[Future[Path]], None], caplog: pytest.LogCaptureFixture) -> None:
    """If an image cannot be made or is missing, the response is a placeholder, and a warning is logged."""
    asset = stage.ready()
    stage.backend.made[Still("png", 3.0, 32, 18)] = future = Future[Path]()
    end(future)
    answer = stage.account.send("GET", stage.play(asset, "/thumbnail.png?width=32"))

    assert (answer.status, answer.headers["Content-Type"], answer.body[:4]) == (200, "image/png", b"\x89PNG")
    assert "placeholder" in caplog.text


def test_master(stage: Stage) -> None:
    """A master is ready when its file is, on this origin; if the file cannot be made, there is a placeholder."""
    asset = stage.ready(master_access="temporary")
    assert stage.asset(asset["id"])["master"] == {"status": "preparing"}
    stage.backend.made[Download("mp4", 360)].set_result(stage.backend.path)

    url = stage.asset(asset["id"])["master"]["url"]
    assert url == f"http://emulator.test/{asset['id']}/master.mp4"
    assert stage.account.send("GET", f"/{asset['id']}/master.mp4").body == stage.backend.path.read_bytes()


def test_deleted(stage: Stage) -> None:
    """The backend deletes the files of deleted assets, and all files at a reset."""
    one, other = stage.ready()["id"], stage.ready()["id"]
    stage.account.ok("DELETE", f"/video/v1/assets/{one}")
    assert stage.backend.forgotten == [one]
    stage.account.send("POST", "/_emulator/reset")

    assert stage.backend.forgotten == [one, other]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, (200, 10, 80, None)),
        ("bytes=0-9", (206, 10, 10, "bytes 0-9/80")),
        ("bytes=70-", (206, 80, 10, "bytes 70-79/80")),
        ("bytes=-5", (206, 85, 5, "bytes 75-79/80")),
        ("bytes=-500", (206, 10, 80, "bytes 0-79/80")),
        ("bytes=9-500", (206, 19, 71, "bytes 9-79/80")),
        ("bytes=-", (200, 10, 80, None)),
        ("bytes=1-2,4-5", (200, 10, 80, None)),
        ("bytes=5-4", (200, 10, 80, None)),
        ("pages=1-2", (200, 10, 80, None)),
    ],
)
def test_ranges(tmp_path: Path, asked: str | None, expected: tuple[int, int, int, str | None]) -> None:
    """A single range of bytes is served; anything else in the header is ignored (RFC 9110, section 14.2)."""
    headers = {} if asked is None else {"Range": asked}
    answer = file_response(Request("GET", "/", headers), tmp_path, 10, 80, "video/mp4")

    assert answer.file is not None
    assert (answer.status, answer.file.offset, answer.file.size, answer.headers.get("Content-Range")) == expected


@pytest.mark.parametrize("asked", ["bytes=80-", "bytes=80-90", "bytes=-0"])
def test_no_range(tmp_path: Path, asked: str) -> None:
    """An empty range is a 416."""
    with pytest.raises(ApiError) as caught:
        file_response(Request("GET", "/", {"Range": asked}), tmp_path, 10, 80, "video/mp4")

    assert caught.value.status == 416
