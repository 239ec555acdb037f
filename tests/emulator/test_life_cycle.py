"""The life cycle of assets, on a clock that tests set."""

from __future__ import annotations

import pytest

from mux_async.emulator import InputProblem, MediaInfo, MediaSource
from tests.emulator.harness import START, Account, always


def test_from_url() -> None:
    """An asset is preparing with its progress, then ready with its properties; missing members are left out."""
    account = Account(time_to_ready=10.0)

    fresh = account.create_asset(playback_policies=["public"], passthrough="order 7", meta={"title": "Film"})
    account.pass_time(5.0)
    halfway = account.asset(fresh["id"])
    account.pass_time(4.99)
    almost = account.asset(fresh["id"])
    account.pass_time(0.01)
    ready = account.asset(fresh["id"])

    assert fresh["status"] == "preparing"
    assert fresh["created_at"] == str(int(START))
    assert fresh["progress"] == {"state": "ingesting", "progress": 0}
    assert (fresh["master_access"], fresh["mp4_support"], fresh["ingest_type"]) == ("none", "none", "on_demand_url")
    assert [entry["policy"] for entry in fresh["playback_ids"]] == ["public"]
    assert not {"duration", "tracks", "upload_id", "errors", "test"} & set(fresh)
    assert halfway["progress"] == {"state": "transcoding", "progress": 37.5}
    assert almost["status"] == "preparing"
    assert ready["status"] == "ready"
    assert ready["progress"] == {"state": "completed", "progress": 100}
    assert (ready["aspect_ratio"], ready["resolution_tier"], ready["max_stored_frame_rate"]) == ("16:9", "1080p", 30.0)
    assert [track["type"] for track in ready["tracks"]] == ["video", "audio"]
    assert all(track["duration"] <= ready["duration"] for track in ready["tracks"])
    assert (ready["passthrough"], ready["meta"]) == ("order 7", {"title": "Film"})
    assert None not in ready.values()


def test_many_at_their_own_times() -> None:
    """Each asset becomes ready at its own time, even without requests meanwhile."""
    account = Account(time_to_ready=10.0)
    first = account.create_asset()
    account.pass_time(6.0)
    second = account.create_asset()

    account.pass_time(5.0)

    assert account.asset(first["id"])["status"] == "ready"
    assert account.asset(second["id"])["status"] == "preparing"


def test_one_thing_after_another() -> None:
    """Steps after an asset is ready are timed from that moment, not from the next request."""
    account = Account(time_to_ready=10.0)
    asset = account.create_asset(static_renditions=[{"resolution": "480p"}])

    account.pass_time(20.0)

    (file,) = account.asset(asset["id"])["static_renditions"]["files"]
    assert file["status"] == "ready"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://nowhere.invalid/film.mp4", "download_failed"),
        ("ftp://example.com/film.mp4", "download_failed"),
        ("https://example.com/page.html", "invalid_input"),
    ],
)
def test_unusable_url(url: str, kind: str) -> None:
    """An unusable input makes the asset errored, with the reason."""
    account = Account()
    asset = account.ready_asset(url=url)

    assert asset["status"] == "errored"
    assert asset["progress"] == {"state": "errored", "progress": -1}
    assert asset["errors"]["type"] == kind
    assert asset["errors"]["messages"]
    assert "duration" not in asset


def test_probe() -> None:
    """The probe is called once per asset, with the URL or the stored bytes, and returns the properties of the media."""
    asked: list[MediaSource] = []

    def probe(source: MediaSource) -> MediaInfo | InputProblem:
        asked.append(source)
        if source.head.startswith(b"bad"):
            return InputProblem("invalid_input", "no film")
        return MediaInfo(duration=61.5, width=1080, height=1920, frame_rate=25.0, channels=0)

    account = Account(probe=probe)
    tall = account.ready_asset(max_resolution_tier="2160p")
    upload = account.create_upload()
    account.put(upload["url"], b"bad bytes")
    account.pass_time(1.0)

    assert (tall["aspect_ratio"], tall["duration"], tall["resolution_tier"]) == ("9:16", 61.5, "1080p")
    assert [track["type"] for track in tall["tracks"]] == ["video"]
    assert account.upload(upload["id"])["status"] == "errored"
    assert account.upload(upload["id"])["error"] == {"type": "invalid_input", "message": "no film"}
    assert [(source.url, source.size) for source in asked] == [("https://example.com/film.mp4", None), (None, 9)]


def test_resolution_cap() -> None:
    """A larger input is stored at the requested tier, by default 1080p."""
    account = Account(probe=always(MediaInfo(duration=9.0, width=3840, height=2160)))

    plain, large = account.ready_asset(), account.ready_asset(max_resolution_tier="2160p")

    assert (plain["resolution_tier"], plain["tracks"][0]["max_width"]) == ("1080p", 1920)
    assert (large["resolution_tier"], large["max_stored_resolution"]) == ("2160p", "UHD")


def test_audio_only() -> None:
    """An audio-only asset has no aspect ratio, no frame rate and the tier audio-only."""
    asset = Account().ready_asset(url="https://example.com/song.mp3")

    assert asset["resolution_tier"] == "audio-only"
    assert asset["max_stored_resolution"] == "Audio only"
    assert [track["type"] for track in asset["tracks"]] == ["audio"]
    assert not {"aspect_ratio", "max_stored_frame_rate"} & set(asset)


def test_test_asset() -> None:
    """A test asset has ten seconds and is deleted after a day."""
    account = Account(probe=always(MediaInfo(duration=500.0)))
    asset = account.ready_asset(test=True, playback_policies=["public"])
    playback_id = asset["playback_ids"][0]["id"]

    assert (asset["test"], asset["duration"]) == (True, 10.0)
    account.pass_time(24 * 3600 - 2)
    assert account.asset(asset["id"])["status"] == "ready"
    account.pass_time(1)
    assert account.error("GET", f"/video/v1/assets/{asset['id']}")[0] == 404
    assert account.send("GET", f"/{playback_id}.m3u8").status == 404


def test_clip() -> None:
    """A clip has its source at once, and the duration from start to end."""
    account = Account(probe=always(MediaInfo(duration=100.0)))
    source = account.ready_asset()
    clip = account.data(
        "POST",
        "/video/v1/assets",
        {"input": {"url": f"mux://assets/{source['id']}", "start_time": 10, "end_time": 12.5}},
    )
    account.pass_time(1.0)

    assert (clip["source_asset_id"], clip["ingest_type"]) == (source["id"], "on_demand_clip")
    assert account.asset(clip["id"])["duration"] == 2.5


def test_delete_while_preparing() -> None:
    """A preparing asset cannot be deleted, unless the emulator is set to behave as Mux did in 2020."""
    strict, lenient = Account(), Account(can_delete_preparing=True)
    asset, other = strict.create_asset(), lenient.create_asset()

    refused = strict.error("DELETE", f"/video/v1/assets/{asset['id']}")
    strict.pass_time(1.0)

    assert refused == (400, "invalid_parameters", ["Can't delete a preparing asset"])
    assert strict.send("DELETE", f"/video/v1/assets/{asset['id']}").status == 204
    assert lenient.send("DELETE", f"/video/v1/assets/{other['id']}").status == 204
    lenient.pass_time(1.0)  # what was planned for it finds nothing
    assert lenient.data("GET", "/video/v1/assets") == []


def test_master() -> None:
    """Temporary access to a master is prepared, and ends after a day."""
    account = Account()
    asset = account.ready_asset()
    path = f"/video/v1/assets/{asset['id']}/master-access"

    asked = account.data("PUT", path, {"master_access": "temporary"})
    account.pass_time(1.0)
    ready = account.asset(asset["id"])
    account.pass_time(24 * 3600)
    gone = account.asset(asset["id"])

    assert asked["master"] == {"status": "preparing"}
    assert ready["master"]["status"] == "ready"
    assert ready["master"]["url"].startswith("https://")
    assert gone["master_access"] == "none"
    assert "master" not in gone


def test_advance_tells_what_is_next() -> None:
    """The emulator states the time of its next step."""
    account = Account(time_to_ready=3.0)
    assert account.emulator.advance() is None

    account.create_asset()

    assert account.emulator.advance() == START + 3.0
    account.pass_time(3.0)
    assert account.emulator.advance() is None


def test_same_seed() -> None:
    """The same calls with the same seed get the same responses."""
    first, second, other = Account(seed=5), Account(seed=5), Account(seed=6)

    assert first.create_asset(playback_policies=["signed"]) == second.create_asset(playback_policies=["signed"])
    assert first.create_asset()["id"] != other.create_asset()["id"]


def test_reset() -> None:
    """A reset deletes everything and starts the ids again."""
    account = Account()
    first = account.create_asset()

    assert account.send("POST", "/_emulator/reset").status == 204
    assert account.data("GET", "/video/v1/assets") == []
    assert account.create_asset()["id"] == first["id"]
    assert len(account.emulator.arrivals) == 2
