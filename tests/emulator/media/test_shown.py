"""Real media over a socket: what is uploaded can be played, and images are made of it."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path
from urllib.parse import urljoin

import jwt
import pytest

pytest.importorskip("av", reason="real media need PyAV: pip install 'mux-async[media]'")

import av
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.emulator.harness import Json
from tests.emulator.media.serving import MediaClient, decode, playback

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def film(client: MediaClient, inputs: Path) -> Json:
    return client.upload(inputs / "film.mp4", static_renditions=[{"resolution": "highest"}, {"resolution": "audio-only"}])


def plays(client: MediaClient, asset: Json, frames: int, seconds: float) -> None:
    """Check that the asset plays so many frames in so many seconds, with audio, from 0 on."""
    seen = decode(f"{client.origin}/{playback(asset)}.m3u8")
    assert seen.codecs == ("h264", "aac")
    assert seen.frames[0] == frames
    assert seen.begins == pytest.approx((0.0, 0.0), abs=0.03)
    assert seen.ends == pytest.approx((seconds, seconds), abs=0.07)


def test_uploaded(client: MediaClient, inputs: Path, film: Json) -> None:
    """An asset has the properties that PyAV reads from the file, and its playback URL plays every frame."""
    with av.open(str(inputs / "film.mp4")) as container:
        duration = (container.duration or 0) / av.time_base
    tracks = {track["type"]: track for track in film["tracks"]}

    assert film["duration"] == pytest.approx(duration, abs=0.001)
    assert (film["aspect_ratio"], film["max_stored_frame_rate"]) == ("16:9", 30.0)
    assert (tracks["video"]["max_width"], tracks["video"]["max_height"]) == (320, 180)
    assert tracks["audio"]["max_channels"] == 2
    assert "non_standard_input_reasons" not in film
    plays(client, film, 90, 3.0)


def test_playlists(client: MediaClient, film: Json) -> None:
    """The playlists describe fragmented MP4 with the right codecs, and their segments can be fetched, also by ranges."""
    first = client.text(f"/{playback(film)}.m3u8")
    described = re.search(r"#EXT-X-STREAM-INF:(.*)\n(.*)\n", first)
    assert described is not None
    url = urljoin(f"{client.origin}/", described[2])
    lines = client.text(url).splitlines()
    head = next(line for line in lines if line.startswith("#EXT-X-MAP")).split('"')[1]
    parts = [line for line in lines if not line.startswith("#")]
    lengths = [float(line[8:-1]) for line in lines if line.startswith("#EXTINF:")]
    limit = int(next(line for line in lines if line.startswith("#EXT-X-TARGETDURATION:")).partition(":")[2])

    assert re.search(r'CODECS="avc1\.64[0-9a-f]{4},mp4a\.40\.2"', described[1])
    assert "RESOLUTION=320x180,FRAME-RATE=30.000" in described[1]
    assert lines[0] == "#EXTM3U"
    assert lines[-1] == "#EXT-X-ENDLIST"
    assert max(map(round, lengths)) <= limit
    assert sum(lengths) == pytest.approx(film["duration"], abs=0.05)
    assert client.get(urljoin(url, head)).body[4:8] == b"ftyp"
    part = client.get(urljoin(url, parts[0]))
    assert (part.headers["Content-Type"], part.headers["Access-Control-Allow-Origin"]) == ("video/mp4", "*")
    assert b"moof" in part.body[:200]
    some = client.get(urljoin(url, parts[0]), Range="bytes=4-99")
    assert (some.status, some.headers["Content-Range"]) == (206, f"bytes 4-99/{len(part.body)}")
    assert some.body == part.body[4:100]
    assert client.get(urljoin(url, parts[0]), Range="bytes=9999999-").status == 416
    seen = client.send("HEAD", urljoin(url, parts[0]))
    assert (seen.status, seen.headers["Content-Length"], seen.body) == (200, str(len(part.body)), b"")
    assert client.get(urljoin(url, parts[0].replace("-0", "-99"))).status == 404


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("", (320, 180)),
        ("width=160", (160, 90)),
        ("width=101&height=77&fit_mode=pad", (101, 77)),
        ("width=64&height=64&fit_mode=crop", (64, 64)),
        ("width=90&rotate=90&flip_h=true", (90, 160)),
        ("width=100&height=50&fit_mode=stretch&flip_v=true", (100, 50)),
    ],
)
def test_thumbnail_sizes(client: MediaClient, film: Json, query: str, size: tuple[int, int]) -> None:
    """A thumbnail has the requested size and fit."""
    picture = client.get(f"/{playback(film)}/thumbnail.jpg?{query}").image()

    assert (picture.width, picture.height) == size


@pytest.mark.parametrize(("extension", "kind"), [("jpg", "jpeg"), ("png", "png"), ("webp", "webp")])
def test_thumbnails(client: MediaClient, film: Json, extension: str, kind: str) -> None:
    """A thumbnail has the format of its extension, depends on the time, and is the same when it is requested again."""
    first, later, again = (client.get(f"/{playback(film)}/thumbnail.{extension}?time={time}") for time in (0, 2, 2))

    assert first.headers["Content-Type"] == f"image/{kind}"
    assert first.body != later.body
    assert later.body == again.body
    assert first.image().width == 320


def test_storyboard(client: MediaClient, film: Json) -> None:
    """Every tile of a storyboard lies within its image, and the last tile differs from the first."""
    listed = json.loads(client.text(f"/{playback(film)}/storyboard.json"))
    cues = re.findall(r"#xywh=(\d+),(\d+),(\d+),(\d+)", client.text(f"/{playback(film)}/storyboard.vtt"))
    picture = client.get(listed["url"]).image()
    tiles = [tuple(map(int, cue)) for cue in cues]
    pixels = picture.reformat(format="gray").planes[0]
    rows = [bytes(pixels)[row * pixels.line_size : row * pixels.line_size + picture.width] for row in range(picture.height)]

    assert len(tiles) == len(listed["tiles"]) == 50
    assert (picture.width, picture.height) == (5 * 256, 10 * 144)
    assert all(x + width <= picture.width and y + height <= picture.height for x, y, width, height in tiles)
    first, last = ([rows[y + line][x : x + 256] for line in range(144)] for x, y, _, _ in (tiles[0], tiles[-1]))
    assert first != last


def test_animated(client: MediaClient, film: Json) -> None:
    """An animated GIF and WebP have the requested number of frames and the requested size."""
    gif = client.get(f"/{playback(film)}/animated.gif?start=1&end=2&fps=10&width=64")
    webp = client.get(f"/{playback(film)}/animated.webp?start=1&end=2&fps=10&width=64")

    assert [(frame.width, frame.height) for frame in gif.images()] == [(64, 36)] * 10
    assert webp.body[8:12] == b"WEBP"
    assert webp.body.count(b"ANMF") == 10


def test_downloads(client: MediaClient, film: Json) -> None:
    """Static renditions have the size that the asset states, and can be played."""
    files = {file["name"]: file for file in film["static_renditions"]["files"]}
    for name, codecs in (("highest.mp4", ("h264", "aac")), ("audio.m4a", ("aac",))):
        url = f"{client.origin}/{playback(film)}/{name}"

        assert files[name]["status"] == "ready"
        assert int(files[name]["filesize"]) == len(client.get(url).body)
        assert decode(url).codecs == codecs
        assert decode(url).ends[0] == pytest.approx(3.0, abs=0.05)


def test_master(client: MediaClient, inputs: Path) -> None:
    """A master and the files of ``mp4_support`` can be downloaded, the master until access ends."""
    asset = client.upload(inputs / "film.webm", master_access="temporary", mp4_support="standard")
    url = asset["master"]["url"]
    (legacy,) = asset["static_renditions"]["files"]

    assert url.startswith(client.origin)
    assert decode(url).size == (320, 180)
    assert int(legacy["filesize"]) == len(client.get(f"/{playback(asset)}/{legacy['name']}").body)
    client.data("PUT", f"/video/v1/assets/{asset['id']}/master-access", {"master_access": "none"})
    assert client.get(url).status == 404


def test_converted(client: MediaClient, inputs: Path) -> None:
    """VP9 and Opus are reported as non-standard, and converted to H.264 and AAC."""
    asset = client.upload(inputs / "film.webm")
    (info,) = client.data("GET", f"/video/v1/assets/{asset['id']}/input-info")

    assert asset["non_standard_input_reasons"] == {"video_codec": "vp9", "audio_codec": "opus"}
    assert [track["encoding"] for track in info["file"]["tracks"]] == ["vp9", "opus"]
    plays(client, asset, 90, 3.0)


def difference(one: av.VideoFrame, other: av.VideoFrame) -> float:
    """The mean difference of two images: 0 for equal ones, 255 for black and white."""
    first, second = (bytes(picture.reformat(format="gray").planes[0]) for picture in (one, other))
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / len(first)


def test_turned(client: MediaClient, inputs: Path, film: Json) -> None:
    """A film with a rotation in its header is shown rotated, as a rotated thumbnail of the film without."""
    asset = client.upload(inputs / "turned.mp4")
    shown = client.get(f"/{playback(asset)}/thumbnail.png?time=1").image()
    expected = client.get(f"/{playback(film)}/thumbnail.png?time=1&rotate=90").image()

    assert asset["aspect_ratio"] == "9:16"
    assert decode(f"{client.origin}/{playback(asset)}.m3u8").size == (180, 320)
    assert difference(shown, expected) < 10


def test_sound_alone(client: MediaClient, inputs: Path) -> None:
    """An audio file has a playlist with audio only, and no thumbnails."""
    asset = client.upload(inputs / "tone.wav")
    seen = decode(f"{client.origin}/{playback(asset)}.m3u8")

    assert (asset["resolution_tier"], seen.codecs) == ("audio-only", ("aac",))
    assert (asset["duration"], seen.ends[0]) == pytest.approx((2.0, 2.0), abs=0.06)
    assert 'CODECS="mp4a.40.2"' in client.text(f"/{playback(asset)}.m3u8")
    assert client.get(f"/{playback(asset)}/thumbnail.jpg").status == 400


def test_broken_off(client: MediaClient, inputs: Path) -> None:
    """A truncated file can be played to where it ends."""
    asset = client.upload(inputs / "cut.mp4")

    assert asset["status"] == "ready"
    assert 0.5 < asset["duration"] < 2.5
    assert decode(f"{client.origin}/{playback(asset)}.m3u8").ends[0] == pytest.approx(asset["duration"], abs=0.1)


@pytest.mark.parametrize("name", ["text.mp4", "list.mp4", "script.mp4"])
def test_no_media(client: MediaClient, inputs: Path, name: str) -> None:
    """A file without media makes the asset errored, and so does a playlist or a script: the files that it names are not opened."""
    asset = client.upload(inputs / name)

    assert asset["status"] == "errored"
    assert asset["errors"] == {"type": "invalid_input", "messages": ["The input is not a video or audio file"]}


def test_picture(client: MediaClient, inputs: Path, film: Json) -> None:
    """An image is refused, although FFmpeg could read it as video."""
    picture = inputs / "picture.mp4"
    picture.write_bytes(client.get(f"/{playback(film)}/thumbnail.png").body)

    assert client.upload(picture)["status"] == "errored"


def test_clip(client: MediaClient, film: Json) -> None:
    """A clip has the requested part of its source, and remains when the source is deleted."""
    source = client.create(f"mux://assets/{film['id']}")
    clip = client.create(f"mux://assets/{source['id']}", entry={"start_time": 1, "end_time": 2.5})
    client.data("DELETE", f"/video/v1/assets/{source['id']}")

    assert clip["duration"] == 1.5
    plays(client, clip, 45, 1.5)
    assert client.get(f"/{playback(source)}.m3u8").status == 404


def test_test_asset(client: MediaClient, inputs: Path) -> None:
    """A test asset has the first 10 seconds, with a watermark."""
    whole, asset = (client.upload(inputs / "long.mp4", test=test) for test in (False, True))
    one, other = (
        client.get(f"/{playback(entry)}/thumbnail.png?time=1").image().reformat(format="gray") for entry in (whole, asset)
    )

    assert (whole["duration"], asset["duration"]) == (pytest.approx(12.0, abs=0.01), 10.0)
    plays(client, asset, 300, 10.0)
    lines = client.text(f"/{playback(asset)}/rendition/36.m3u8?asset_start_time=5&asset_end_time=7")
    assert [line for line in lines.splitlines() if not line.startswith("#")] == ["36-1.m4s?asset_start_time=5&asset_end_time=7"]
    mark = 2 * one.planes[0].line_size + 8
    assert bytes(other.planes[0])[mark] > bytes(one.planes[0])[mark]


def test_signed(client: MediaClient, inputs: Path) -> None:
    """A signed asset can be played with a token only, which its playlists pass on."""
    key = client.data("POST", "/system/v1/signing-keys")
    asset = client.upload(inputs / "film.mp4", playback_policies=["signed"])
    claims = {"sub": playback(asset), "aud": "v", "exp": 4_000_000_000}
    private = load_pem_private_key(b64decode(key["private_key"]), None)
    assert isinstance(private, RSAPrivateKey)
    token = jwt.encode(claims, private, algorithm="RS256", headers={"kid": key["id"]})
    base = f"{client.origin}/{playback(asset)}"

    assert decode(f"{base}.m3u8?token={token}").frames[0] == 90
    for path in (".m3u8", "/rendition/180.m3u8", "/rendition/180.mp4", "/rendition/180-0.m4s", "/thumbnail.jpg"):
        assert client.get(base + path).status == 403
