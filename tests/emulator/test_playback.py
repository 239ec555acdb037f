"""Signing keys, and the responses of the stream and image hosts."""

from __future__ import annotations

import struct
import sys
from base64 import b64decode
from typing import Any
from zlib import decompress

import attrs
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mux_async.emulator import MediaInfo
from tests.emulator.harness import START, Account, always, well_formed_id


def _key(account: Account) -> tuple[str, Any]:
    key = account.data("POST", "/system/v1/signing-keys")
    return key["id"], load_pem_private_key(b64decode(key["private_key"]), None)


@pytest.mark.parametrize("prefix", ["/system/v1/signing-keys", "/video/v1/signing-keys"])
def test_signing_keys(prefix: str) -> None:
    """The private key is in the response of the POST only, as PKCS#1 PEM in base64; both paths list the same keys."""
    account = Account()
    response = account.send("POST", prefix)
    made = response.json()["data"]
    pem = b64decode(made["private_key"])

    assert response.status == 201
    assert pem.startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    assert pem.endswith(b"-----END RSA PRIVATE KEY-----\n")
    assert getattr(load_pem_private_key(pem, None), "key_size", 0) == 2048
    shown = {"id": made["id"], "created_at": str(int(START))}
    for path in ("/system/v1/signing-keys", "/video/v1/signing-keys"):
        assert account.data("GET", path) == [shown]
        assert account.data("GET", f"{path}/{made['id']}") == shown
    assert account.send("DELETE", f"{prefix}/{made['id']}").status == 204
    assert account.error("GET", f"{prefix}/{made['id']}") == (404, "not_found", ["Signing Key not found"])


def test_without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, to create a key is a 501 that says what to install."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)

    status, kind, messages = Account().error("POST", "/system/v1/signing-keys")

    assert (status, kind) == (501, "missing_extra")
    assert "mux-async[jwt]" in messages[0]


def test_playlists() -> None:
    """A ready public asset has a multivariant playlist, media playlists and segments, without a token."""
    account = Account()
    asset = account.ready_asset(playback_policies=["public"])
    playback_id = asset["playback_ids"][0]["id"]

    master = account.send("GET", f"/{playback_id}.m3u8", authorization="")
    lines = master.body.decode().splitlines()
    uris = [line for line in lines if line and not line.startswith("#")]
    rendition = account.send("GET", f"/{uris[0]}", authorization="").body.decode().splitlines()
    segments = [line for line in rendition if not line.startswith("#")]
    lengths = [float(line.removeprefix("#EXTINF:").rstrip(",")) for line in rendition if line.startswith("#EXTINF:")]

    assert master.headers["Content-Type"] == "application/vnd.apple.mpegurl"
    assert master.headers["Access-Control-Allow-Origin"] == "*"
    assert lines[0] == rendition[0] == "#EXTM3U"
    assert sum(line.startswith("#EXT-X-STREAM-INF:") for line in lines) == len(uris) == 5
    assert rendition[-1] == "#EXT-X-ENDLIST"
    assert sum(lengths) == pytest.approx(asset["duration"], abs=0.01)
    last = account.send("GET", f"/{playback_id}/rendition/{segments[-1]}")
    assert (last.status, last.body[4:8]) == (200, b"moof")
    assert account.send("GET", f"/{playback_id}/rendition/270-{len(segments)}.m4s").status == 404


def test_statuses() -> None:
    """Malformed ids are a 400, unknown ones a 404, assets that are not ready and idle streams a 412, signed ids without token a 403."""
    account = Account()
    fresh = account.create_asset(playback_policies=["public"])["playback_ids"][0]["id"]
    live = account.data("POST", "/video/v1/live-streams", {"playback_policies": ["public"]})["playback_ids"][0]["id"]

    assert account.send("GET", "/somefakeid.m3u8").status == 400
    assert account.send("GET", f"/{well_formed_id()}.m3u8").status == 404
    assert account.send("GET", f"/{fresh}.m3u8").status == 412
    assert account.send("GET", f"/{live}.m3u8").status == 412
    account.pass_time(1.0)
    assert account.send("GET", f"/{fresh}.m3u8").status == 200
    assert account.send("GET", f"/{fresh}.m3u8?token=x").status == 403
    signed = account.ready_asset(playback_policies=["signed"])["playback_ids"][0]["id"]
    assert account.send("GET", f"/{signed}.m3u8").status == 403


@attrs.frozen
class Signed:
    """An account with a signed playback id and a signing key, which is slow to generate."""

    account: Account
    playback_id: str
    kid: str
    key: Any


@pytest.fixture(scope="module")
def signed() -> Signed:
    account = Account()
    playback_id = account.ready_asset(playback_policies=["signed"])["playback_ids"][0]["id"]
    return Signed(account, playback_id, *_key(account))


@pytest.mark.parametrize("where", ["header", "payload"])
def test_token(signed: Signed, where: str) -> None:
    """A token gives access to a signed playback id, with the key's id in header or payload, and is in the URLs of the playlist."""
    account, playback_id, kid, key = signed.account, signed.playback_id, signed.kid, signed.key
    claims = {"sub": playback_id, "aud": "v", "exp": int(START) + 60}
    headers = {"kid": kid} if where == "header" else {}
    token = jwt.encode(claims if headers else {**claims, "kid": kid}, key, algorithm="RS256", headers=headers)

    master = account.send("GET", f"/{playback_id}.m3u8?token={token}")
    uri = master.body.decode().splitlines()[-1]

    assert master.status == 200
    assert account.send("GET", f"/{uri}").status == 200
    assert account.send("GET", f"/{uri.partition('?')[0]}").status == 403


@pytest.mark.parametrize(
    "change", [{"sub": "other"}, {"aud": "t"}, {"exp": int(START) - 1}, {"exp": None}, {"aud": None}, {"exp": "soon"}]
)
def test_bad_token(signed: Signed, change: dict[str, Any]) -> None:
    """A token for another id or audience, or an expired one, is a 403."""
    account, playback_id, kid, key = signed.account, signed.playback_id, signed.kid, signed.key
    claims = {"sub": playback_id, "aud": "v", "exp": int(START) + 60, **change}
    payload = {name: value for name, value in claims.items() if value is not None}
    if payload.get("exp") == "soon":
        payload["exp"] = "soon"
        token = jwt.api_jws.encode(b'{"sub":"x","aud":"v","exp":"soon"}', key, algorithm="RS256", headers={"kid": kid})
    else:
        token = jwt.encode(payload, key, algorithm="RS256", headers={"kid": kid})

    assert account.send("GET", f"/{playback_id}.m3u8?token={token}").status == 403
    assert account.send("GET", f"/{playback_id}.m3u8?token=nonsense").status == 403


def test_key_deleted() -> None:
    """After its key is deleted, a token is invalid."""
    account = Account()
    playback_id = account.ready_asset(playback_policies=["signed"])["playback_ids"][0]["id"]
    kid, key = _key(account)
    claims = {"sub": playback_id, "aud": "v", "exp": int(START) + 60}
    token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid})
    account.send("DELETE", f"/system/v1/signing-keys/{kid}")

    assert account.send("GET", f"/{playback_id}.m3u8?token={token}").status == 403


def test_thumbnails() -> None:
    """A thumbnail has the format of its extension; a PNG has the requested size."""
    account = Account()
    playback_id = account.ready_asset(playback_policies=["public"])["playback_ids"][0]["id"]

    png = account.send("GET", f"/{playback_id}/thumbnail.png?width=320")
    jpg = account.send("GET", f"/{playback_id}/thumbnail.jpg")
    webp = account.send("GET", f"/{playback_id}/thumbnail.webp")
    width, height = struct.unpack(">II", png.body[16:24])
    start = png.body.index(b"IDAT") + 4

    assert (width, height) == (320, 180)
    assert len(decompress(png.body[start:-16])) == 180 * (1 + 320 // 8)
    assert png.headers["Content-Type"] == "image/png"
    assert (jpg.body[:3], jpg.body[-2:]) == (b"\xff\xd8\xff", b"\xff\xd9")
    assert (webp.body[:4], webp.body[8:12]) == (b"RIFF", b"WEBP")
    assert account.send("GET", f"/{playback_id}/thumbnail.bmp").status == 404
    assert account.send("GET", f"/{playback_id}/thumbnail.png?width=wide").status == 400


@pytest.mark.parametrize(
    ("media", "target", "size"),
    [
        ((1920, 1080), "thumbnail.png?width=4096", (4096, 2304)),
        ((1920, 1080), "thumbnail.png?width=4097", None),
        ((1920, 1080), "thumbnail.png?height=99999", None),
        ((1920, 1080), "thumbnail.png?width=99999&height=9&fit_mode=pad", None),
        ((1080, 1920), "thumbnail.png?width=4096", (2304, 4096)),
        ((7680, 4320), "thumbnail.png", (4096, 2304)),
        ((1920, 1080), "animated.gif?width=640", (640, 360)),
        ((1920, 1080), "animated.gif?width=641", None),
        ((1920, 1080), "animated.gif?height=641", None),
        ((1920, 1080), "animated.gif?height=90", (160, 90)),
        ((1080, 1920), "animated.gif?width=640", (360, 640)),
        ((1920, 1080), "animated.gif?fps=31", None),
        ((1080, 1920), "storyboard.png", (5 * 256, 10 * 455)),
        ((10, 8000), "storyboard.png", (5 * 256, 10 * 800)),
    ],
)
def test_image_sizes(media: tuple[int, int], target: str, size: tuple[int, int] | None) -> None:
    """Requested sizes above the bound are a 400. A size that follows from the aspect ratio stays within the bound."""
    width, height = media
    account = Account(probe=always(MediaInfo(10.0, width=width, height=height)))
    playback_id = account.ready_asset(playback_policies=["public"])["playback_ids"][0]["id"]

    response = account.send("GET", f"/{playback_id}/{target}")

    if size is None:
        assert response.status == 400
    else:
        fields, start = (">II", 16) if ".png" in target else ("<HH", 6)
        assert struct.unpack_from(fields, response.body, start) == size


def test_metadata() -> None:
    """The metadata that mux-player asks for is a list with one object of key-value pairs, for whoever may play the asset."""
    account = Account()
    public, signed = (
        account.ready_asset(playback_policies=[policy])["playback_ids"][0]["id"] for policy in ("public", "signed")
    )

    response = account.send("GET", f"/{public}/metadata.json", authorization="")

    assert (response.status, response.json()) == (200, [{"metadata": []}])
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert account.send("GET", f"/{signed}/metadata.json").status == 403
