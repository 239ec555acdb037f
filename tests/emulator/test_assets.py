"""Assets: lists, errors and their parts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async.emulator import MediaInfo
from tests.emulator.harness import Account, always, id_bytes, well_formed_id

UNKNOWN = well_formed_id()
NOT_FOUND = "The requested resource either doesn't exist or you don't have access to it."


def test_newest_first() -> None:
    """Lists begin with the newest, page by page, and are empty past the end."""
    account = Account()
    made = [account.create_asset()["id"] for _ in range(7)]

    pages = [account.data("GET", f"/video/v1/assets?limit=3&page={number}") for number in (1, 2, 3, 4)]

    assert [[asset["id"] for asset in page] for page in pages] == [made[:3:-1], made[3:0:-1], made[:1], []]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 12), limit=st.integers(1, 13))
def test_cursor(count: int, limit: int) -> None:
    """The cursors lead to every asset once, also if others are created meanwhile; the last page has a null cursor."""
    account = Account()
    made = [account.create_asset()["id"] for _ in range(count)]
    met: list[str] = []
    target = f"/video/v1/assets?limit={limit}"
    while True:
        page = account.ok("GET", target)
        met += [asset["id"] for asset in page["data"]]
        assert len(page["data"]) <= limit
        account.create_asset()
        if page["next_cursor"] is None:
            break
        target = f"/video/v1/assets?limit={limit}&cursor={page['next_cursor']}"

    assert met == made[::-1]


def test_limit() -> None:
    """A page has 25 by default and never more than 100."""
    account = Account()
    for _ in range(120):
        account.create_asset()

    assert len(account.data("GET", "/video/v1/assets")) == 25
    assert len(account.data("GET", "/video/v1/assets?limit=5000")) == 100


@pytest.mark.parametrize("query", ["limit=0", "limit=ten", "limit=-1", "page=0", "page=1.5", "cursor=zzz"])
def test_senseless_paging(query: str) -> None:
    """An invalid page or limit is a 400 that names the parameter."""
    status, kind, messages = Account().error("GET", f"/video/v1/assets?{query}")

    assert (status, kind) == (400, "invalid_parameters")
    assert query.split("=")[0] in messages[0]


def test_filters() -> None:
    """A list can be filtered by upload."""
    account = Account()
    account.create_asset()
    upload = account.create_upload()
    account.put(upload["url"], b"film")

    found = account.data("GET", f"/video/v1/assets?upload_id={upload['id']}")

    assert [asset["upload_id"] for asset in found] == [upload["id"]]
    assert account.data("GET", f"/video/v1/assets?live_stream_id={UNKNOWN}") == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "/input-info"), ("POST", "/playback-ids"), ("POST", "/tracks")],
)
def test_ids(method: str, path: str) -> None:
    """A malformed asset id is a 400 that quotes it, a well-formed unknown one a 404."""
    account = Account()
    body: Any = {"url": "https://x.example", "type": "text", "language_code": "en"} if path == "/tracks" else {}

    malformed = account.error(method, f"/video/v1/assets/somefakeid{path}", body)
    unknown = account.error(method, f"/video/v1/assets/{UNKNOWN}{path}", body)

    assert malformed == (400, "invalid_parameters", ['Asset id "somefakeid" was invalid'])
    assert unknown == (404, "not_found", [NOT_FOUND])


def test_unknown_route() -> None:
    """A path that Mux does not have is a 404 with the recorded text, in every family."""
    account = Account()

    assert account.error("GET", "/video/v1/asset") == (404, "not_found", [NOT_FOUND])
    assert account.error("GET", "/data/v1/views") == (404, "not_found", [NOT_FOUND])
    assert account.error("POST", "/system/v1/whoami") == (404, "not_found", [NOT_FOUND])


def test_input_dialects() -> None:
    """Inputs may be a list, an object or a bare URL, under the new and the old name; a single policy needs no list."""
    account = Account()
    url = "https://example.com/film.mp4"
    bodies: list[Any] = [
        {"inputs": [{"url": url}]},
        {"inputs": url},
        {"input": url},
        {"input": [{"url": url}]},
        {"input": {"url": url}, "playback_policy": "signed"},
    ]

    made = [account.data("POST", "/video/v1/assets", body) for body in bodies]

    assert [entry["policy"] for entry in made[-1]["playback_ids"]] == ["signed"]
    account.pass_time(1.0)
    assert {account.asset(asset["id"])["duration"] for asset in made} == {account.asset(made[0]["id"])["duration"]}


REFUSED: list[tuple[Any, str]] = [
    ({}, "inputs"),
    ({"inputs": []}, "inputs"),
    ({"inputs": [{"type": "video"}]}, "inputs[0].url"),
    ({"inputs": 5}, "inputs"),
    ({"inputs": [{"url": 5}]}, "inputs"),
    *(
        ({"inputs": [{"url": url}]}, "url must be a URL")
        for url in (
            "",
            " ",
            "film.mp4",
            "https://",
            "https:///film.mp4",
            "//x.example",
            "https://x.example:99999/",
            "https://[",
            "mux:x",
        )
    ),
    ({"inputs": [{"url": "https://x.example/a\nb"}]}, "url must be a URL"),
    ({"inputs": [{"url": "https://x.example"}], "passthrough": "x" * 256}, "passthrough"),
    ({"inputs": [{"url": "https://x.example"}], "playback_policies": ["secret"]}, "playback_policies"),
    ({"inputs": [{"url": "https://x.example"}], "test": "yes"}, "test"),
    ({"inputs": [{"url": "https://x.example"}], "meta": {"title": "x" * 513}}, "meta.title"),
    ({"inputs": [{"url": "https://x.example", "start_time": 1}]}, "start_time"),
    ({"inputs": [{"url": "https://x.example"}], "static_renditions": [{}]}, "static_renditions[0].resolution"),
    (
        {
            "inputs": [{"url": "https://x.example"}],
            "mp4_support": "standard",
            "static_renditions": [{"resolution": "720p"}],
        },
        "mp4_support",
    ),
]


@pytest.mark.parametrize(("body", "word"), REFUSED)
def test_refused_bodies(body: Any, word: str) -> None:
    """A known member of the wrong type, size or value is a 400 that names it, and nothing is created."""
    account = Account()

    status, kind, messages = account.error("POST", "/video/v1/assets", body)

    assert (status, kind) == (400, "invalid_parameters")
    assert any(word in message for message in messages)
    assert account.data("GET", "/video/v1/assets") == []


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b'"text"'])
def test_broken_json(body: bytes) -> None:
    """A body that is not a JSON object is a 400."""
    assert Account().error("POST", "/video/v1/assets", body)[:2] == (400, "invalid_parameters")


def test_unknown_members() -> None:
    """Unknown members are ignored, and a null member counts as missing."""
    assert Account().create_asset(novelty={"deep": [1]}, passthrough=None)["status"] == "preparing"


def test_large_body() -> None:
    """A request body above the limit is refused without being read into memory."""
    account = Account(max_body=1000)

    assert account.send("POST", "/video/v1/assets", b" " * 1001).status == 413


def test_update() -> None:
    """PATCH changes passthrough, meta and thumbnail time; an empty passthrough clears it."""
    account = Account()
    asset = account.create_asset(meta={"title": "a", "creator_id": "b"})
    path = f"/video/v1/assets/{asset['id']}"

    changed = account.data("PATCH", path, {"passthrough": "x", "meta": {"title": "c"}, "thumbnail_time": 2.5})
    cleared = account.data("PATCH", path, {"passthrough": ""})
    assert account.send("DELETE", f"{path}/thumbnail-time").status == 204

    assert (changed["passthrough"], changed["meta"], changed["thumbnail_time"]) == ("x", {"title": "c", "creator_id": "b"}, 2.5)
    assert "passthrough" not in cleared
    assert "thumbnail_time" not in account.asset(asset["id"])


def test_not_ready_yet() -> None:
    """Operations that need a ready asset are a 412 before."""
    account = Account()
    path = f"/video/v1/assets/{account.create_asset()['id']}"

    assert account.error("GET", f"{path}/input-info") == (412, "failed_request", ["Asset is still preparing"])
    not_ready = (412, "failed_request", ["Asset is not ready"])
    assert account.error("PUT", f"{path}/mp4-support", {"mp4_support": "standard"}) == not_ready
    assert account.error("PUT", f"{path}/master-access", {"master_access": "temporary"}) == not_ready
    track = {"url": "https://x.example/a.vtt", "type": "text", "language_code": "en"}
    assert account.error("POST", f"{path}/tracks", track) == not_ready


def test_input_info() -> None:
    """Input info has the settings and the tracks of the file."""
    account = Account()
    asset = account.ready_asset()

    (info,) = account.data("GET", f"/video/v1/assets/{asset['id']}/input-info")

    assert info["settings"]["url"] == "https://example.com/film.mp4"
    assert [track["type"] for track in info["file"]["tracks"]] == ["video", "audio"]


def test_playback_ids() -> None:
    """Playback ids are created, read, found again by themselves, and deleted."""
    account = Account()
    asset = account.create_asset()
    path = f"/video/v1/assets/{asset['id']}/playback-ids"

    made = account.send("POST", path, {"policy": "signed"})
    playback_id = made.json()["data"]["id"]
    lookup = account.data("GET", f"/video/v1/playback-ids/{playback_id}")

    assert made.status == 201
    assert account.data("GET", f"{path}/{playback_id}") == {"id": playback_id, "policy": "signed"}
    assert lookup == {"id": playback_id, "policy": "signed", "object": {"type": "asset", "id": asset["id"]}}
    assert account.send("DELETE", f"{path}/{playback_id}").status == 204
    assert account.error("GET", f"/video/v1/playback-ids/{playback_id}")[0] == 404
    assert account.error("GET", "/video/v1/playback-ids/somefakeid") == (400, "invalid_parameters", ["Failed to parse ID"])
    assert "playback_ids" not in account.asset(asset["id"])


def test_tracks() -> None:
    """A text track is prepared, changed and deleted; the main tracks stay."""
    account = Account()
    asset = account.ready_asset()
    path = f"/video/v1/assets/{asset['id']}/tracks"
    track = account.data("POST", path, {"url": "https://x.example/a.vtt", "type": "text", "language_code": "de"})

    account.pass_time(1.0)
    changed = account.data("PATCH", f"{path}/{track['id']}", {"name": "Deutsch"})
    video = asset["tracks"][0]["id"]

    assert (track["status"], track["name"], track["text_source"]) == ("preparing", "de", "uploaded")
    assert (changed["status"], changed["name"]) == ("ready", "Deutsch")
    assert account.error("DELETE", f"{path}/{video}")[0] == 400
    assert account.send("DELETE", f"{path}/{track['id']}").status == 204
    assert account.error("DELETE", f"{path}/{track['id']}")[0] == 404
    assert len(account.asset(asset["id"])["tracks"]) == 2


def test_generated_subtitles() -> None:
    """Generated subtitles are an array of tracks, ready some time after the asset; ``auto`` detects the language."""
    account = Account()
    asset = account.ready_asset(inputs=[{"url": "https://x.example/a.mp4", "generated_subtitles": [{"language_code": "auto"}]}])
    audio = next(track["id"] for track in asset["tracks"] if track["type"] == "audio")
    path = f"/video/v1/assets/{asset['id']}/tracks/{audio}/generate-subtitles"

    more = account.data("POST", path, {"generated_subtitles": [{"language_code": "fr"}, {"language_code": "it"}]})
    at_first = [track for track in account.asset(asset["id"])["tracks"] if track["type"] == "text"]
    account.pass_time(1.0)
    later = [track for track in account.asset(asset["id"])["tracks"] if track["type"] == "text"]

    assert [track["language_code"] for track in more] == ["fr", "it"]
    assert (at_first[0]["status"], at_first[0]["language_code"]) == ("preparing", "auto")
    assert {track["status"] for track in later} == {"ready"}
    assert 0 <= later[0]["auto_language_confidence"] <= 1


def test_static_renditions() -> None:
    """Static renditions are ready after the asset; those that would need upscaling are skipped; file sizes are strings."""
    account = Account(probe=always(MediaInfo(duration=10.0, width=1280, height=720)))
    asset = account.ready_asset(
        static_renditions=[{"resolution": "1080p"}, {"resolution": "480p"}, {"resolution": "audio-only"}]
    )
    account.pass_time(1.0)
    files = account.asset(asset["id"])["static_renditions"]["files"]

    assert [(entry["name"], entry["status"]) for entry in files] == [
        ("1080p.mp4", "skipped"),
        ("480p.mp4", "ready"),
        ("audio.m4a", "ready"),
    ]
    assert (files[1]["width"], files[1]["height"]) == (854, 480)
    assert files[1]["filesize"].isdigit()
    path = f"/video/v1/assets/{asset['id']}/static-renditions"
    assert account.error("POST", path, {"resolution": "highest"})[0] == 400
    assert account.send("POST", path, {"resolution": "360p"}).status == 201
    assert account.send("DELETE", f"{path}/{files[0]['id']}").status == 204
    assert len(account.asset(asset["id"])["static_renditions"]["files"]) == 3


def test_mp4_support() -> None:
    """``mp4_support``: an aggregate status, files without ids, which cannot be deleted one by one."""
    account = Account()
    asset = account.ready_asset(mp4_support="standard")
    account.pass_time(1.0)
    renditions = account.asset(asset["id"])["static_renditions"]
    none = account.data("PUT", f"/video/v1/assets/{asset['id']}/mp4-support", {"mp4_support": "none"})

    assert asset["static_renditions"] == {"status": "preparing"}
    assert renditions["status"] == "ready"
    assert [entry["name"] for entry in renditions["files"]] == ["low.mp4", "medium.mp4", "high.mp4"]
    assert not any("id" in entry for entry in renditions["files"])
    assert "static_renditions" not in none


def test_headers() -> None:
    """API responses have the recorded headers; a 204 has no content type."""
    account = Account()
    asset = account.ready_asset()

    shown = account.send("GET", f"/video/v1/assets/{asset['id']}")
    deleted = account.send("DELETE", f"/video/v1/assets/{asset['id']}")

    assert shown.headers["Content-Type"] == "application/json; charset=utf-8"
    for answer in (shown, deleted):
        assert answer.headers["Server"] == "Mux API Server"
        assert answer.headers["Cache-Control"] == "max-age=0, private, must-revalidate"
        assert len(answer.headers["X-Request-Id"]) == 20
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert shown.headers["X-Request-Id"] != deleted.headers["X-Request-Id"]
    assert "Content-Type" not in deleted.headers
    assert len(id_bytes(asset["id"])) == 32
