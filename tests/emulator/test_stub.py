"""The emulator without state: its responses, and what it refuses."""

from __future__ import annotations

import pytest

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, RateRules
from tests.emulator.harness import Account, target_of


@pytest.fixture
def account() -> Account:
    return Account(EmulatorSettings(limits=None, stub=True))


def test_any_id(account: Account) -> None:
    """Any id exists, and is in the response as the id of the object or of its parent."""
    assert account.asset("whatever")["id"] == "whatever"
    assert account.data("PUT", "/video/v1/live-streams/abc/generated-subtitles", {"generated_subtitles": []})["id"] == "abc"
    assert account.data("GET", "/video/v1/assets/abc/playback-ids/def")["id"] == "def"
    assert account.data("GET", "/robots/v0/jobs/summarize/job-7")["id"] == "job-7"
    assert account.send("DELETE", "/video/v1/assets/abc").status == 204


def test_echo(account: Account) -> None:
    """Members of a request are in the response if the object has such a member and the value fits."""
    made = account.create_asset(passthrough="mine", meta={"title": "A film"}, playback_policies=["signed"])

    assert made["passthrough"] == "mine"
    assert made["meta"] == {"title": "A film"}
    assert made["status"] == "ready"
    assert "errors" not in made
    assert "playback_policies" not in made


def test_same_answer() -> None:
    """The same request gets the same response, also from another emulator; another seed or path gives other ids."""
    one, other, seeded = (Account(EmulatorSettings(limits=None, stub=True, seed=seed)) for seed in (0, 0, 1))
    path = "/video/v1/assets"

    assert one.send("GET", path).body == one.send("GET", path).body == other.send("GET", path).body
    assert one.data("GET", path)[0]["id"] != seeded.data("GET", path)[0]["id"]
    assert one.data("GET", path)[0]["id"] != one.data("GET", "/video/v1/live-streams")[0]["id"]


def test_refused(account: Account) -> None:
    """One response names all errors in path, query and body."""
    status, kind, messages = account.error(
        "POST", "/video/v1/assets", {"inputs": "film", "meta": {"title": "x" * 513}, "mp4_support": "maybe", "test": "yes"}
    )

    assert (status, kind) == (400, "invalid_parameters")
    assert [message.split(" ")[0] for message in messages] == ["inputs", "meta.title", "mp4_support", "test"]
    assert account.error("POST", "/video/v1/assets", {})[2] == ["inputs is required"]
    assert account.error("POST", "/video/v1/assets", b"{")[2] == ["The request body is not valid JSON"]
    assert account.error("POST", "/video/v1/assets", [1])[2] == ["the body must be an object"]
    assert account.error("GET", "/video/v1/assets?page=one")[2] == ["page must be an integer"]
    assert account.error("GET", "/data/v1/metrics/joy/overall")[2][0].startswith("METRIC_ID must be one of ")
    assert account.error("GET", "/data/v1/annotations/7")[2] == ["ANNOTATION_ID must be a UUID"]


def test_union(account: Account) -> None:
    """A member with a discriminator is validated as the kind that it names, which has to exist."""
    body = {"workflows": [{"workflow": "juggle"}]}
    said = account.send("POST", "/robots/v0/directives", body).json()["error"]["message"]

    assert "workflow must be one of summarize" in said


def test_unknown_path(account: Account) -> None:
    """A path or a verb that Mux does not have is a 404."""
    assert account.error("GET", "/video/v1/films")[0] == 404
    assert account.error("PATCH", "/video/v1/uploads")[0] == 404


def test_who_may(account: Account) -> None:
    """Tokens and rate limits apply as with state."""
    assert account.send("GET", "/video/v1/assets", authorization="Basic bm86bm8=").status == 401

    limited = Account(EmulatorSettings(stub=True, limits=RateRules(burst=1.0)))
    assert [limited.send("POST", "/video/v1/assets", {"inputs": []}).status for _ in range(2)] == [201, 429]


def test_uploads(account: Account) -> None:
    """The URL of an upload accepts a file, whole or in chunks, and offset queries."""
    url = account.create_upload()["url"]
    browser = {"Origin": "https://example.com"}

    assert account.put(url, b"film").status == 200
    piece = account.put(url, b"x" * 262_144, "bytes 0-262143/300000", **browser)
    assert (piece.status, piece.headers["Range"]) == (308, "bytes=0-262143")
    assert piece.headers["Access-Control-Expose-Headers"] == "Range"
    assert account.put(url, b"x" * 37_856, "bytes 262144-299999/300000").status == 200
    assert account.put(url, b"", "bytes */300000").status == 308
    assert account.put(url, b"", "nonsense").status == 400
    assert account.send("OPTIONS", target_of(url), headers=browser).headers["Access-Control-Allow-Methods"].startswith("PUT")
    assert account.send("DELETE", target_of(url)).status == 499
    assert account.send("GET", target_of(url)).status == 405


@pytest.mark.parametrize(
    ("path", "kind", "begin"),
    [
        ("x.m3u8", "application/vnd.apple.mpegurl", b"#EXTM3U"),
        ("x/thumbnail.jpg", "image/jpeg", b"\xff\xd8\xff"),
        ("x/thumbnail.png?width=10", "image/png", b"\x89PNG"),
        ("x/animated.gif", "image/gif", b"GIF89a"),
        ("x/storyboard.webp", "image/webp", b"RIFF"),
        ("x/storyboard.vtt", "text/vtt", b"WEBVTT"),
        ("x/text/y.txt", "text/plain", b"Nothing"),
        ("x/high.mp4", "video/mp4", b"\x00\x00\x00\x18ftyp"),
        ("x/highest.mp4", "video/mp4", b"\x00\x00\x00\x18ftyp"),
        ("x/audio.m4a", "audio/mp4", b"\x00\x00\x00\x18ftyp"),
    ],
)
def test_media(account: Account, path: str, kind: str, begin: bytes) -> None:
    """Every resource of the stream and image hosts exists for any playback id, with its media type."""
    response = account.send("GET", f"/{path}", authorization="")

    assert response.status == 200
    assert response.headers["Content-Type"] == kind
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.body.startswith(begin)


@pytest.mark.anyio
async def test_client() -> None:
    """The SDK's client reads lists of every kind to the end, and its waits return at once."""
    transport = EmulatorTransport(Emulator(EmulatorSettings(limits=None, stub=True)))
    limits = LimitSettings(enabled=False)
    async with Mux(token_id="test-token", token_secret="test-secret", transport=transport, limits=limits) as mux:
        assets = [asset async for asset in mux.video.assets.list()]
        streams = [stream async for stream in mux.video.live_streams.list()]
        views = [view async for view in mux.data.video_views.list()]
        ready = await mux.video.assets.wait_until_ready("any")

    assert (len(assets), len(streams), len(views)) == (1, 1, 1)
    assert ready.id == "any"
