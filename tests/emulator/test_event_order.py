"""Events of assets, uploads and their parts: their order is as recorded, their content as described."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mux_async.emulator import MediaInfo, Request
from tests.emulator.harness import START, always, target_of
from tests.emulator.validating import ValidatingAccount

ASSETS = "/video/v1/assets"


def test_from_url() -> None:
    """An asset from a URL is created, then ready: no other events, and each at its own time."""
    account = ValidatingAccount(time_to_ready=5.0)

    asset = account.create_asset(playback_policies=["public"], meta={"title": "Film"}, passthrough="p")
    account.pass_time(60.0)
    created, ready = account.events

    assert (created.type, ready.type) == ("video.asset.created", "video.asset.ready")
    assert (created.at, ready.at) == (START, START + 5.0)
    envelope: Any = orjson.loads(ready.body)
    assert envelope["object"] == {"type": "asset", "id": asset["id"]}
    assert envelope["environment"]["name"] == "development"
    assert envelope["created_at"] == "2026-01-01T00:00:05.000000Z"
    assert envelope["attempts"] == []
    assert {envelope[name] for name in ("request_id", "accessor", "accessor_source")} == {None}
    assert envelope["data"]["created_at"] == int(START)
    assert account.last("video.asset.created")["status"] == "preparing"


def test_upload() -> None:
    """The event of an upload comes before that of its asset; an unusable file makes both errored."""
    account = ValidatingAccount()
    upload = account.create_upload(cors_origin="*", new_asset_settings={"playback_policies": ["public"]})
    account.put(upload["url"], b"x" * 700_000)
    account.pass_time(10.0)
    good = account.names()

    empty = account.create_upload(cors_origin="*")
    account.put(empty["url"])
    account.pass_time(10.0)
    bad = account.names(since=len(good))
    other = account.create_upload(cors_origin="*")
    account.ok("PUT", f"/video/v1/uploads/{other['id']}/cancel")

    assert good == ["upload.created", "upload.asset_created", "asset.created", "asset.ready"]
    assert bad == ["upload.created", "upload.asset_created", "asset.created", "asset.errored", "upload.errored"]
    assert account.names()[-1] == "upload.cancelled"
    assert account.last("video.upload.created")["url"]
    assert "url" not in account.last("video.upload.cancelled")


def test_upload_that_times_out() -> None:
    """An upload that times out has no event, as Mux has none."""
    account = ValidatingAccount()
    upload = account.create_upload(cors_origin="*", timeout=60)

    account.pass_time(61.0)

    assert account.upload(upload["id"])["status"] == "timed_out"
    assert account.names() == ["upload.created"]


def test_non_standard_input() -> None:
    """A non-standard input is reported, with reasons, while the asset is still preparing."""
    account = ValidatingAccount()

    asset = account.ready_asset(url="https://example.com/film.webm")

    assert account.names() == ["asset.created", "asset.non_standard_input_detected", "asset.ready"]
    found = account.last("video.asset.non_standard_input_detected")
    assert found["status"] == "preparing"
    assert found["non_standard_input_reasons"] == {"video_codec": "vp9", "audio_codec": "opus"}
    assert asset["non_standard_input_reasons"] == found["non_standard_input_reasons"]


def test_everything_an_asset_can_be_made_with() -> None:
    """Events of tracks, files, master and shots follow that of the ready asset, created before ready; times and sizes are numbers."""
    account = ValidatingAccount()
    subtitles = {"url": "https://example.com/a.vtt", "type": "text", "language_code": "en"}
    film = {"url": "https://example.com/a.mp4", "generated_subtitles": [{"language_code": "auto"}]}
    account.data(
        "POST",
        ASSETS,
        {
            "inputs": [film, subtitles],
            "static_renditions": [{"resolution": "highest"}, {"resolution": "audio-only"}],
            "master_access": "temporary",
            "generate_shots": True,
        },
    )
    account.pass_time(1.0)
    at_ready = account.names()
    account.pass_time(1.0)

    assert at_ready == [
        "asset.created",
        "asset.ready",
        "asset.track.created",
        "asset.track.ready",
        "asset.track.created",
        "asset.static_rendition.created",
        "asset.static_rendition.created",
        "asset.master.preparing",
        "asset.shots.created",
    ]
    assert account.names(since=len(at_ready)) == [
        "asset.track.ready",
        "asset.static_rendition.ready",
        "asset.static_rendition.ready",
        "asset.master.ready",
        "asset.shots.ready",
    ]
    assert account.last("video.asset.track.ready")["asset_id"] == account.last("video.asset.ready")["id"]
    assert isinstance(account.last("video.asset.static_rendition.ready")["filesize"], str)
    files = account.last("video.asset.master.ready")["static_renditions"]["files"]
    assert all(isinstance(file["filesize"], int) for file in files)
    account.pass_time(24 * 3600.0)
    assert account.names()[-1] == "asset.master.deleted"


def test_legacy_files() -> None:
    """Files of ``mp4_support`` have one event for all, with the asset."""
    account = ValidatingAccount()
    asset = account.ready_asset(mp4_support="standard")
    account.pass_time(1.0)
    account.data("PUT", f"{ASSETS}/{asset['id']}/mp4-support", {"mp4_support": "none"})

    assert account.names()[2:] == [
        "asset.static_renditions.preparing",
        "asset.static_renditions.ready",
        "asset.static_renditions.deleted",
    ]


def test_changes() -> None:
    """A change, an added and a deleted track, a deleted file and a deleted asset each have an event."""
    account = ValidatingAccount()
    asset = account.ready_asset(static_renditions=[{"resolution": "360p"}])
    one = f"{ASSETS}/{asset['id']}"
    account.pass_time(1.0)
    before = len(account.names())
    track = account.data("POST", f"{one}/tracks", {"url": "https://x.example/a.vtt", "type": "text", "language_code": "es"})
    account.pass_time(1.0)
    account.data("PATCH", one, {"passthrough": "changed"})
    account.send("DELETE", f"{one}/tracks/{track['id']}")
    (file,) = account.asset(asset["id"])["static_renditions"]["files"]
    account.send("DELETE", f"{one}/static-renditions/{file['id']}")
    account.send("DELETE", one)

    assert account.names(since=before) == [
        "asset.track.created",
        "asset.track.ready",
        "asset.updated",
        "asset.track.deleted",
        "asset.static_rendition.deleted",
        "asset.deleted",
    ]
    assert account.last("video.asset.updated")["passthrough"] == "changed"


def test_skipped() -> None:
    """A file that would be larger than the source, and shots of audio, are skipped, not errored."""
    account = ValidatingAccount(probe=always(MediaInfo(duration=9.0, width=640, height=360)))
    account.ready_asset(static_renditions=[{"resolution": "1080p"}])
    account.pass_time(1.0)
    audio = ValidatingAccount()
    asset = audio.ready_asset(url="https://example.com/song.mp3", generate_shots=True)
    audio.pass_time(1.0)

    assert account.names()[-1] == "asset.static_rendition.skipped"
    assert audio.names()[-2:] == ["asset.shots.created", "asset.shots.skipped"]
    assert audio.data("GET", f"{ASSETS}/{asset['id']}/shots") == {"status": "skipped"}


def test_shots() -> None:
    """Shots are requested, read, deleted and requested again; their manifest covers the whole asset."""
    account = ValidatingAccount()
    asset = account.ready_asset()
    path = f"{ASSETS}/{asset['id']}/shots"

    missing = account.error("GET", path)
    asked = account.data("POST", path, {})
    again = account.error("POST", path, {})
    account.pass_time(1.0)
    done = account.data("GET", path)
    manifest = account.emulator.handle(Request("GET", target_of(done["shots_manifest_url"]))).json()
    account.send("DELETE", path)

    assert (missing[0], again[0]) == (404, 400)
    assert asked == {"status": "pending"}
    assert done["status"] == "completed"
    assert manifest["shots"][0]["start_time"] == 0
    assert manifest["shots"][-1]["end_time"] == pytest.approx(asset["duration"], abs=0.001)
    assert account.data("GET", path) == {"status": "deleted"}
    assert account.asset(asset["id"])["shots"] == {"status": "deleted"}
    assert account.data("POST", path)["status"] == "pending"
    assert account.names()[2:] == ["asset.shots.created", "asset.shots.ready", "asset.shots.deleted", "asset.shots.created"]
    preparing = account.create_asset()
    assert account.error("POST", f"{ASSETS}/{preparing['id']}/shots")[0] == 412


def test_test_assets_go() -> None:
    """A test asset has ten seconds and is deleted after a day, with an event."""
    account = ValidatingAccount()
    asset = account.ready_asset(test=True)

    account.pass_time(24 * 3600.0)

    assert asset["duration"] <= 10.0
    assert account.names() == ["asset.created", "asset.ready", "asset.deleted"]
    assert account.error("GET", f"{ASSETS}/{asset['id']}")[0] == 404


def test_time_scale() -> None:
    """The time scale divides the durations of work and of test assets; time stamps are those of the clock."""
    account = ValidatingAccount(time_to_ready=60.0, time_scale=60.0)

    account.create_asset(test=True)
    account.pass_time(24 * 60.0)
    created, ready, deleted = account.events

    assert [event.at - START for event in (created, ready, deleted)] == [0.0, 1.0, 24 * 60.0]


def test_instant() -> None:
    """With ``instant``, Mux's work is done before the next request; timeouts of clients still take their time."""
    account = ValidatingAccount(time_to_ready=60.0, instant=True)

    asset = account.create_asset(static_renditions=[{"resolution": "highest"}], test=True)
    upload = account.create_upload(cors_origin="*", timeout=60)

    assert asset["status"] == "preparing"
    assert account.asset(asset["id"])["static_renditions"]["files"][0]["status"] == "ready"
    account.pass_time(59.0)
    assert account.upload(upload["id"])["status"] == "waiting"
    account.pass_time(1.0)
    assert account.upload(upload["id"])["status"] == "timed_out"


def test_log_is_bounded() -> None:
    """Only the last events are kept."""
    account = ValidatingAccount(max_events=3)
    for _ in range(5):
        account.create_upload(cors_origin="*")

    assert len(account.events) == 3
