"""The hosts besides the API: parameters of signed playback, licenses, viewer counts, and their tokens."""

from __future__ import annotations

import struct
from base64 import b64decode
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mux_async.emulator import EmulatorSettings, MediaInfo, Response
from tests.emulator.harness import START, Account, always, well_formed_id

LENGTH = 42.0


class MediaBackend(Account):
    """An account with a signing key, which is slow to generate, and an asset with a playback id of each policy."""

    def __init__(self) -> None:
        probe = always(MediaInfo(duration=LENGTH, width=1280, height=720))
        super().__init__(EmulatorSettings(limits=None, probe=probe))
        made = self.data("POST", "/system/v1/signing-keys")
        self.kid: str = made["id"]
        self.key: Any = load_pem_private_key(b64decode(made["private_key"]), None)
        drm = self.data("GET", "/video/v1/drm-configurations")[0]["id"]
        self.film = self.ready_asset(
            playback_policies=["public", "signed"],
            advanced_playback_policies=[{"policy": "drm", "drm_configuration_id": drm}],
            video_quality="plus",
            inputs=[
                {"url": "https://example.com/film.mp4"},
                {"url": "https://example.com/de.vtt", "type": "text", "language_code": "de", "name": 'D"e'},
                {"url": "https://example.com/en.vtt", "type": "text", "language_code": "en", "name": "English"},
            ],
        )
        self.ids: dict[str, str] = {entry["policy"]: entry["id"] for entry in self.film["playback_ids"]}

    def token(self, aud: str, sub: str | None = None, /, **claims: Any) -> str:
        said = {"sub": self.ids["signed"] if sub is None else sub, "aud": aud, "exp": int(START) + 10**6, **claims}
        return jwt.encode(said, self.key, algorithm="RS256", headers={"kid": self.kid})

    def see(self, path: str, aud: str | None = None, query: str = "", /, **claims: Any) -> Response:
        """GET *path* below the signed playback id with a token of these claims, or below the public one with a query."""
        if aud is None:
            return self.send("GET", f"/{self.ids['public']}{path}?{query}", authorization="")
        extra = f"&{query}" if query else ""
        return self.send("GET", f"/{self.ids['signed']}{path}?token={self.token(aud, **claims)}{extra}", authorization="")


@pytest.fixture(scope="module")
def backend() -> MediaBackend:
    return MediaBackend()


def png_size(response: Response) -> tuple[int, int]:
    assert response.status == 200, response.body
    width, height = struct.unpack(">II", response.body[16:24])
    return width, height


def heights(response: Response) -> list[int]:
    """The heights in a multivariant playlist, in order."""
    assert response.status == 200, response.body
    lines = response.body.decode().splitlines()
    return [int(line.split("RESOLUTION=")[1].split(",")[0].split("x")[1]) for line in lines if "RESOLUTION=" in line]


def test_signed_thumbnail(backend: MediaBackend) -> None:
    """A signed thumbnail has the size in its token; other query parameters are ignored."""
    assert png_size(backend.see("/thumbnail.png", "t", width=320)) == (320, 180)
    assert png_size(backend.see("/thumbnail.png", "t", "width=64&height=64&fit_mode=crop", width="320")) == (320, 180)
    assert png_size(backend.see("/thumbnail.png", "t", "width=64")) == (1280, 720)
    assert backend.see("/thumbnail.png", "t", "time=abc").status == 200
    assert backend.see("/thumbnail.png", "t", time="abc").status == 400


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("", (1280, 720)),
        ("width=640", (640, 360)),
        ("height=90", (160, 90)),
        ("width=640&height=90", (160, 90)),
        ("width=100&height=100&fit_mode=stretch", (100, 100)),
        ("width=100&height=100&fit_mode=pad&flip_h=true&flip_v=false", (100, 100)),
        ("rotate=90", (720, 1280)),
        ("rotate=270&width=360&time=41.5", (360, 640)),
    ],
)
def test_thumbnail_sizes(backend: MediaBackend, query: str, size: tuple[int, int]) -> None:
    """A thumbnail keeps the aspect ratio within the requested size, unless ``fit_mode`` says otherwise."""
    assert png_size(backend.see("/thumbnail.png", None, query)) == size


@pytest.mark.parametrize(
    "query",
    [
        "fit_mode=cover&width=1&height=1",
        "fit_mode=crop&width=100",
        "rotate=45",
        "flip_h=maybe",
        "latest=true",
        "time=-1",
        "width=wide",
    ],
)
def test_thumbnail_refused(backend: MediaBackend, query: str) -> None:
    """An invalid parameter of a thumbnail is a 400 that names it."""
    response = backend.see("/thumbnail.png", None, query)

    assert response.status == 400
    assert query.split("=")[0] in response.json()["error"]["messages"][0]


def test_signed_playlist(backend: MediaBackend) -> None:
    """Resolutions, order and redundant streams of a signed playlist come from its token only."""
    assert heights(backend.see(".m3u8", "v")) == [480, 270, 360, 720]
    assert heights(backend.see(".m3u8", "v", max_resolution="480p", rendition_order="desc")) == [480, 360, 270]
    assert heights(backend.see(".m3u8", "v", "max_resolution=270p", min_resolution="480p")) == [720, 480]
    redundant = backend.see(".m3u8", "v", redundant_streams=True, max_resolution="360p")
    uris = [line for line in redundant.body.decode().splitlines() if line and not line.startswith("#")]
    assert heights(redundant) == [360, 270, 360, 270]
    assert len(set(uris)) == 4
    assert {backend.send("GET", f"/{uri}", authorization="").status for uri in uris} == {200}
    assert backend.see(".m3u8", "v", max_resolution="huge").status == 400
    assert backend.see(".m3u8", "v", max_resolution="270p", min_resolution="720p").status == 400
    assert backend.see(".m3u8", "v", rendition_order="asc").status == 400


@pytest.mark.parametrize(
    ("height", "query", "expected"),
    [
        (720, "max_resolution=540p", [360, 270, 480]),
        (720, "min_resolution=540p&rendition_order=desc", [720, 480]),
        (720, "min_resolution=2160p", [720]),
        (400, "max_resolution=540p&min_resolution=480p", [400]),
        (144, "max_resolution=270p", [144]),
    ],
)
def test_missing_resolution(height: int, query: str, expected: list[int]) -> None:
    """A resolution that the asset does not have falls to the next lower one; one rendition is always left."""
    account = Account(probe=always(MediaInfo(duration=LENGTH, width=height * 16 // 9, height=height)))
    here = f"/{account.ready_asset(playback_policies=['public'])['playback_ids'][0]['id']}.m3u8"

    assert heights(account.send("GET", f"{here}?{query}")) == expected


def test_redundant_audio() -> None:
    """An asset with audio only has one rendition, and that one twice with redundant streams, whatever the resolution."""
    account = Account(probe=always(MediaInfo(duration=LENGTH, width=0, height=0)))
    here = f"/{account.ready_asset(playback_policies=['public'])['playback_ids'][0]['id']}.m3u8"
    lines = account.send("GET", f"{here}?max_resolution=1080p&redundant_streams=true").body.decode().splitlines()

    assert len([line for line in lines if line.startswith("#EXT-X-STREAM-INF")]) == 2
    assert len({line for line in lines if line and not line.startswith("#")}) == 2


def test_subtitles(backend: MediaBackend) -> None:
    """Text tracks are in the playlist, that of the token's language is the default, and each can be fetched."""
    lines = backend.see(".m3u8", "v", default_subtitles_lang="en-GB").body.decode().splitlines()
    tracks = [line for line in lines if line.startswith("#EXT-X-MEDIA:")]
    uri = tracks[0].split('URI="')[1].rstrip('"')
    playlist = backend.send("GET", f"/{uri}", authorization="").body.decode().splitlines()
    captions = backend.send("GET", f"/{uri.rpartition('/')[0]}/{playlist[-2]}", authorization="")

    assert [("DEFAULT=YES" in track, 'LANGUAGE="en"' in track) for track in tracks] == [(False, False), (True, True)]
    assert 'NAME="D\'e"' in tracks[0]
    assert all('SUBTITLES="sub"' in line for line in lines if line.startswith("#EXT-X-STREAM-INF"))
    assert captions.body.startswith(b"WEBVTT")
    assert "DEFAULT=YES" not in backend.see(".m3u8", "v").body.decode()


@pytest.mark.parametrize("where", ["token", "url"])
def test_stretch(backend: MediaBackend, where: str) -> None:
    """An instant clip is cut at segments around the requested period, which is in the token, or in the URL of a public id."""
    if where == "token":
        first = backend.see(".m3u8", "v", asset_start_time=12.5, asset_end_time="20")
    else:
        first = backend.see(".m3u8", None, "asset_start_time=12.5&asset_end_time=20")
    uri = first.body.decode().splitlines()[-1]
    lines = backend.send("GET", f"/{uri}", authorization="").body.decode().splitlines()
    segments = [line.partition("?")[0] for line in lines if not line.startswith("#")]

    assert segments == ["720-2.m4s", "720-3.m4s"]
    assert backend.see(".m3u8", None, "asset_start_time=20&asset_end_time=12").status == 400
    assert backend.see(".m3u8", None, "asset_start_time=4000").status == 400
    assert backend.see(".m3u8", None, "program_start_time=1767225600").status == 400


def test_recording() -> None:
    """The playlist of a recording has the time of day, unless ``exclude_pdt`` is set, and can be cut by it."""
    account = Account()
    body = {"new_asset_settings": {"playback_policies": ["public"]}}
    stream = account.data("POST", "/video/v1/live-streams", body)
    account.emulator.live.connect(stream["id"])
    account.pass_time(61.0)
    account.ok("PUT", f"/video/v1/live-streams/{stream['id']}/complete")
    (asset,) = account.data("GET", "/video/v1/assets")
    here = f"/{asset['playback_ids'][0]['id']}"

    def playlist(query: str) -> list[str]:
        uri = account.send("GET", f"{here}.m3u8?{query}").body.decode().splitlines()[-1]
        return account.send("GET", f"/{uri}").body.decode().splitlines()

    whole, cut = playlist(""), playlist(f"program_start_time={START + 21}")
    assert "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:01.000000Z" in whole
    assert "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:21.000000Z" in cut
    missing = sum(line.startswith("#EXTINF") for line in whole) - sum(line.startswith("#EXTINF") for line in cut)
    assert missing == 10  # three in the first second, four of one second, and three of five
    assert not [line for line in playlist("exclude_pdt=true") if "PROGRAM-DATE" in line]


def test_signed_pictures(backend: MediaBackend) -> None:
    """Animated images and storyboards take their parameters from the token, too."""
    gif = backend.see("/animated.gif", "g", "width=100", width=200, start=3, end=5, fps=10)

    assert struct.unpack("<HH", gif.body[6:10]) == (200, 112)
    assert backend.see("/animated.gif", "g", end=30).status == 400
    assert ".webp?token=" in backend.see("/storyboard.vtt", "s", format="webp").body.decode()
    assert ".jpg?token=" in backend.see("/storyboard.vtt", "s", "format=webp").body.decode()


@pytest.mark.parametrize("system", ["widevine", "playready", "fairplay"])
def test_license(backend: MediaBackend, system: str) -> None:
    """A token of audience d gives a license, the same one for the same request."""
    drm = backend.ids["drm"]
    target = f"/license/{system}/{drm}?token={backend.token('d', drm)}"

    answer = backend.send("POST", target, b"challenge", authorization="")

    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.body == backend.send("POST", target, b"challenge").body != backend.send("POST", target, b"other").body
    assert backend.send("POST", target, b"").status == 400
    assert backend.send("GET", target).status == 404


def test_license_refused(backend: MediaBackend) -> None:
    """No token is a 400; an unknown id, another audience or an id without DRM is a 403. Pages of any origin may read the error."""
    drm, unknown = backend.ids["drm"], well_formed_id()

    def status(id: str, token: str) -> int:
        response = backend.send("POST", f"/license/widevine/{id}?token={token}", b"challenge")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        return response.status

    assert status(drm, "") == 400
    assert status("somefakeid", "x") == 400
    assert status(unknown, backend.token("d", unknown)) == 403
    assert status(drm, backend.token("v", drm)) == 403
    assert status(drm, backend.token("d", backend.ids["signed"])) == 403
    assert status(drm, backend.token("d", drm, exp=int(START) - 1)) == 403
    assert status(drm, backend.token("d", drm, nbf=int(START) + 10**5)) == 403
    assert status(backend.ids["signed"], backend.token("d")) == 403
    assert status(drm, backend.token("d", drm, playback_restriction_id=unknown)) == 403
    assert backend.send("POST", f"/license/other/{drm}?token={backend.token('d', drm)}", b"x").status == 404
    assert backend.send("OPTIONS", f"/license/widevine/{drm}").status == 204


def test_certificate(backend: MediaBackend) -> None:
    """FairPlay's certificate is valid X.509, and needs the same token."""
    drm = backend.ids["drm"]

    answer = backend.send("GET", f"/appcert/fairplay/{drm}?token={backend.token('d', drm)}", authorization="")

    assert x509.load_der_x509_certificate(answer.body).subject
    assert backend.send("GET", f"/appcert/fairplay/{drm}").status == 400
    assert backend.send("GET", f"/appcert/widevine/{drm}?token={backend.token('d', drm)}").status == 404


def count(backend: MediaBackend, audience: str, subject: str) -> dict[str, Any]:
    answer = backend.send("GET", f"/counts?token={backend.token(audience, subject)}", authorization="")
    assert answer.status == 200
    counts: dict[str, Any] = answer.json()["data"][0]
    return counts


def test_counts(backend: MediaBackend) -> None:
    """Counts of an asset, by any of its ids, are those of monitoring; an unknown id has no viewers."""
    title = f"Asset {backend.film['id'][:6]}"
    names = {
        "video_id": backend.film["id"],
        "asset_id": backend.film["id"],
        "playback_id": backend.film["playback_ids"][0]["id"],
    }
    breakdown = "/data/v1/monitoring/metrics/current-concurrent-viewers/breakdown?dimension=video_title"
    most = 0
    for _ in range(30):
        watching = {row["value"]: row["concurrent_viewers"] for row in backend.data("GET", breakdown)}
        counts = [count(backend, audience, subject) for audience, subject in names.items()]
        assert {entry["views"] for entry in counts} == {watching.get(title, 0)}
        assert all(entry["viewers"] <= entry["views"] for entry in counts)
        most = max(most, counts[0]["viewers"])
        backend.pass_time(60.0)

    assert most > 0
    assert count(backend, "video_id", "no such video")["views"] == 0
    assert sorted(count(backend, "live_stream_id", "none")) == ["updated_at", "viewers", "views"]


def test_counts_refused(backend: MediaBackend) -> None:
    """Counts need a token of their audience, signed by a key of the account."""
    assert backend.send("GET", "/counts").status == 403
    assert backend.send("GET", f"/counts?token={backend.token('v')}").status == 403
    assert backend.send("GET", f"/counts?token={backend.token('asset_id', exp=1)}").status == 403
    assert backend.send("GET", "/counts?token=nonsense").status == 403
    assert Account().send("GET", f"/counts?token={backend.token('asset_id')}").status == 403
