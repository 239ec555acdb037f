"""Live streams from the encoder's connection to the recorded asset: states, events and their order, on a clock that tests set."""

from __future__ import annotations

from typing import Any

import pytest

from mux_async.emulator import Request
from tests.emulator.harness import START, Json
from tests.emulator.validating import ValidatingAccount

PATH = "/video/v1/live-streams"
ASSET = {"playback_policies": ["public"]}


def stream(account: ValidatingAccount, **members: Any) -> Json:
    return dict(account.data("POST", PATH, {"playback_policies": ["public"], "new_asset_settings": ASSET, **members}))


def state(account: ValidatingAccount, made: Json) -> Json:
    return dict(account.data("GET", f"{PATH}/{made['id']}"))


def playlist(account: ValidatingAccount, made: Json) -> int:
    return account.emulator.handle(Request("GET", f"/{made['playback_ids'][0]['id']}.m3u8")).status


def test_whole_life() -> None:
    """Created, connected, recording, active, disconnected, idle, complete: events and states as documented."""
    account = ValidatingAccount()
    made = stream(account)
    assert playlist(account, made) == 412

    account.emulator.live.connect(made["id"])
    connected = state(account, made)
    asset_id = connected["active_asset_id"]
    fresh = account.asset(asset_id)
    account.pass_time(1.0)
    recording = state(account, made)
    account.pass_time(1.0)
    active = state(account, made)
    account.pass_time(9.0)
    ready = account.asset(asset_id)
    watched = playlist(account, made)
    account.pass_time(20.0)
    account.emulator.live.disconnect(made["id"])
    dropped = state(account, made)
    account.pass_time(60.0)
    idle = state(account, made)
    whole = account.asset(asset_id)

    assert account.names() == [
        "live_stream.created",
        "live_stream.connected",
        "asset.created",
        "live_stream.recording",
        "live_stream.active",
        "asset.ready",
        "live_stream.disconnected",
        "live_stream.idle",
        "asset.live_stream_completed",
    ]
    assert [found["status"] for found in (connected, recording, active, dropped, idle)] == [
        "idle",
        "idle",
        "active",
        "active",
        "idle",
    ]
    assert active["active_ingest_protocol"] == "rtmp"
    assert "active_ingest_protocol" not in idle
    assert "active_asset_id" not in idle
    assert idle["recent_asset_ids"] == [asset_id]
    assert fresh["status"] == "preparing"
    assert fresh["progress"] == {"state": "live", "progress": -1}
    assert (fresh["live_stream_id"], fresh["is_live"], fresh["ingest_type"]) == (made["id"], True, "live_rtmp")
    assert (ready["status"], ready["is_live"], ready["duration"]) == ("ready", True, 10.0)
    assert watched == 200
    assert whole["duration"] == 30.0
    assert "is_live" not in whole
    assert whole["recording_times"] == [{"started_at": "2026-01-01T00:00:01.000000Z", "duration": 30.0, "type": "content"}]
    assert account.last("video.asset.live_stream_completed")["recording_times"][0]["started_at"] == {
        "seconds": int(START) + 1,
        "nanos": 0,
    }
    assert playlist(account, made) == 412
    assert account.emulator.handle(Request("GET", f"/{whole['playback_ids'][0]['id']}.m3u8")).status == 200


def test_connected_and_recording_in_events() -> None:
    """Events have whether an encoder is connected and whether it is recorded."""
    account = ValidatingAccount()
    made = stream(account)
    account.emulator.live.connect(made["stream_key"])
    account.pass_time(2.0)
    account.emulator.live.disconnect(made["id"])

    assert (account.last("video.live_stream.created")["connected"], account.last("video.live_stream.active")["recording"]) == (
        False,
        True,
    )
    assert account.last("video.live_stream.disconnected")["connected"] is False
    assert account.last("video.live_stream.disconnected")["status"] == "active"


def test_early_drop() -> None:
    """Steps scheduled for a connection are dropped when it ends: a stream that disconnects early never becomes active."""
    account = ValidatingAccount()
    made = stream(account)
    account.emulator.live.connect(made["id"])
    account.pass_time(1.5)
    account.emulator.live.disconnect(made["id"])
    account.pass_time(30.0)
    during = state(account, made)["status"]
    account.pass_time(30.0)
    (asset,) = account.data("GET", "/video/v1/assets")

    assert during == "idle"
    assert account.names()[3:] == [
        "live_stream.recording",
        "live_stream.disconnected",
        "live_stream.idle",
        "asset.ready",
        "asset.live_stream_completed",
    ]
    assert asset["duration"] == 0.5


def test_reconnect() -> None:
    """A reconnection within the window continues the same asset, in a new recording session; each disconnection starts the window again."""
    account = ValidatingAccount()
    made = stream(account, reconnect_window=30, use_slate_for_standard_latency=True)
    live = account.emulator.live
    live.connect(made["id"])
    account.pass_time(11.0)
    live.disconnect(made["id"])
    account.pass_time(20.0)
    live.connect(made["id"])
    account.pass_time(6.0)
    live.disconnect(made["id"])
    account.pass_time(29.0)
    still = state(account, made)
    account.pass_time(1.0)
    (asset,) = account.data("GET", "/video/v1/assets")

    assert account.names()[5:] == [
        "asset.ready",
        "live_stream.disconnected",
        "live_stream.connected",
        "live_stream.recording",
        "live_stream.disconnected",
        "live_stream.idle",
        "asset.live_stream_completed",
    ]
    assert still["status"] == "active"
    assert [(entry["type"], entry["duration"]) for entry in asset["recording_times"]] == [
        ("content", 10.0),
        ("slate", 20.0),
        ("content", 5.0),
        ("slate", 30.0),
    ]


def test_ready_counts_what_was_stored() -> None:
    """After an early reconnection the asset is ready when ten seconds are recorded in total."""
    account = ValidatingAccount()
    made = stream(account)
    account.emulator.live.connect(made["id"])
    account.pass_time(5.0)  # 4 s of them recorded
    account.emulator.live.disconnect(made["id"])
    account.emulator.live.connect(made["id"])
    account.pass_time(1.0 + 5.9)
    before = "asset.ready" in account.names()
    account.pass_time(0.2)

    assert not before
    assert account.names()[-1] == "asset.ready"


def test_next_connection() -> None:
    """A connection after the window creates a new asset, which is the last of the recent ones."""
    account = ValidatingAccount()
    made = stream(account, latency_mode="low")
    for _ in range(2):
        account.emulator.live.connect(made["id"], protocol="srt")
        account.pass_time(20.0)
        account.emulator.live.disconnect(made["id"])
        account.pass_time(0.0)
    found = state(account, made)
    newest, oldest = account.data("GET", f"/video/v1/assets?live_stream_id={made['id']}")

    assert found["recent_asset_ids"] == [oldest["id"], newest["id"]]
    assert newest["ingest_type"] == "live_srt"
    assert newest["duration"] == 19.0


def test_complete() -> None:
    """Completing ends the recording at once and disconnects the encoder after a minute; on an idle stream it does nothing."""
    account = ValidatingAccount()
    made = stream(account)
    signal = f"{PATH}/{made['id']}/complete"
    assert account.ok("PUT", signal) == {"data": {}}
    account.emulator.live.connect(made["id"])
    account.pass_time(30.0)
    before = len(account.names())

    account.ok("PUT", signal)
    idle = state(account, made)
    with pytest.raises(ValueError, match="already connected"):
        account.emulator.live.connect(made["id"])
    account.pass_time(60.0)

    assert idle["status"] == "idle"
    assert account.names(since=before) == ["live_stream.idle", "asset.live_stream_completed", "live_stream.disconnected"]
    account.emulator.live.connect(made["id"])
    assert state(account, made)["active_asset_id"] != idle["recent_asset_ids"][0]


def test_complete_within_the_window() -> None:
    """Completing a disconnected stream ends its reconnect window."""
    account = ValidatingAccount()
    made = stream(account)
    account.emulator.live.connect(made["id"])
    account.pass_time(30.0)
    account.emulator.live.disconnect(made["id"])

    account.ok("PUT", f"{PATH}/{made['id']}/complete")
    account.pass_time(120.0)

    assert account.names()[-3:] == ["live_stream.disconnected", "live_stream.idle", "asset.live_stream_completed"]


def test_disable() -> None:
    """Disabling disconnects the encoder, ends the recording and refuses connections, until the stream is enabled."""
    account = ValidatingAccount()
    made = stream(account)
    account.emulator.live.connect(made["id"])
    account.pass_time(30.0)
    before = len(account.names())

    for _ in range(2):
        account.ok("PUT", f"{PATH}/{made['id']}/disable")
    disabled = state(account, made)["status"]
    with pytest.raises(ValueError, match="disabled"):
        account.emulator.live.connect(made["id"])
    for _ in range(2):
        account.ok("PUT", f"{PATH}/{made['id']}/enable")

    assert disabled == "disabled"
    assert account.names(since=before) == [
        "live_stream.disconnected",
        "live_stream.idle",
        "asset.live_stream_completed",
        "live_stream.disabled",
        "live_stream.enabled",
    ]
    assert state(account, made)["status"] == "idle"


def test_delete() -> None:
    """Deleting a live stream ends its recording and keeps the asset."""
    account = ValidatingAccount()
    made = stream(account)
    account.emulator.live.connect(made["id"])
    account.pass_time(30.0)

    account.send("DELETE", f"{PATH}/{made['id']}")

    assert account.names()[-4:] == [
        "live_stream.disconnected",
        "live_stream.idle",
        "asset.live_stream_completed",
        "live_stream.deleted",
    ]
    assert len(account.data("GET", "/video/v1/assets")) == 1


def test_too_long() -> None:
    """A connection ends after its maximum duration, without a reconnect window; the time scale applies."""
    account = ValidatingAccount(time_scale=10.0)
    made = stream(account, max_continuous_duration=600)
    account.emulator.live.connect(made["id"])

    account.pass_time(60.0)
    (asset,) = account.data("GET", "/video/v1/assets")

    assert account.names()[-3:] == ["live_stream.disconnected", "live_stream.idle", "asset.live_stream_completed"]
    assert asset["duration"] == 599.0


def test_silence() -> None:
    """An encoder that sends nothing is disconnected after five minutes, and leaves an asset without media."""
    account = ValidatingAccount()
    made = stream(account)
    account.emulator.live.connect(made["id"], silent=True)

    account.pass_time(300.0)

    assert account.names()[1:] == [
        "live_stream.connected",
        "asset.created",
        "live_stream.disconnected",
        "live_stream.idle",
        "asset.errored",
    ]


def test_test_stream() -> None:
    """A test stream is disabled after five minutes, and its asset is gone after a day."""
    account = ValidatingAccount()
    made = stream(account, test=True)
    account.emulator.live.connect(made["id"])

    account.pass_time(300.0)
    disabled = state(account, made)["status"]
    (asset,) = account.data("GET", "/video/v1/assets")
    account.pass_time(24 * 3600.0)

    assert disabled == "disabled"
    assert asset["test"] is True
    assert account.data("GET", "/video/v1/assets") == []
    assert account.names()[-1] == "asset.deleted"


def test_simulcast() -> None:
    """Targets start with the connection, broadcast while the stream is active, may fail, and cannot be changed until they are idle."""
    account = ValidatingAccount()
    made = stream(account, simulcast_targets=[{"url": "rtmp://a.example/app"}, {"url": "rtmp://b.example/app"}])
    targets = f"{PATH}/{made['id']}/simulcast-targets"
    first, second = made["simulcast_targets"]
    account.emulator.live.connect(made["id"])
    starting = account.data("GET", f"{targets}/{first['id']}")["status"]
    account.pass_time(2.0)
    refused = account.error("POST", targets, {"url": "rtmp://c.example/app"})
    account.emulator.live.fail_target(made["id"], second["id"], severity="fatal")
    failed = account.data("GET", f"{targets}/{second['id']}")
    account.emulator.live.disconnect(made["id"])
    account.pass_time(60.0)
    account.send("DELETE", f"{targets}/{first['id']}")

    assert starting == "starting"
    assert refused[0] == 400
    assert (failed["status"], failed["error_severity"]) == ("errored", "fatal")
    assert [name.rpartition("simulcast_target.")[2] for name in account.names() if "simulcast" in name] == [
        "created",
        "created",
        "starting",
        "starting",
        "broadcasting",
        "broadcasting",
        "errored",
        "idle",
        "idle",
        "deleted",
    ]
    assert account.last("video.live_stream.simulcast_target.errored")["live_stream_id"] == made["id"]


def test_subtitles_and_downloads() -> None:
    """Live captions become tracks when the asset is ready, and are replaced after the end; requested files are made then, too."""
    account = ValidatingAccount()
    made = stream(
        account,
        generated_subtitles=[{"language_code": "en"}],
        embedded_subtitles=[{"language_channel": "cc1"}],
        new_asset_settings={"static_renditions": [{"resolution": "highest"}]},
    )
    account.emulator.live.connect(made["id"])
    account.pass_time(30.0)
    (during,) = account.data("GET", "/video/v1/assets")
    account.emulator.live.disconnect(made["id"])
    account.pass_time(61.0)
    (after,) = account.data("GET", "/video/v1/assets")

    assert [track["text_source"] for track in during["tracks"] if track["type"] == "text"] == ["embedded", "generated_live"]
    assert [track["text_source"] for track in after["tracks"] if track["type"] == "text"][-1] == "generated_live_final"
    assert {track["status"] for track in after["tracks"] if track["type"] == "text"} == {"ready"}
    assert during["static_renditions"]["files"][0]["status"] == "preparing"
    assert after["static_renditions"]["files"][0]["status"] == "ready"


def test_audio_only() -> None:
    """An audio-only stream makes an audio-only asset."""
    account = ValidatingAccount()
    made = stream(account, audio_only=True)
    account.emulator.live.connect(made["id"])
    account.pass_time(20.0)
    (asset,) = account.data("GET", "/video/v1/assets")

    assert asset["resolution_tier"] == "audio-only"
    assert [track["type"] for track in asset["tracks"]] == ["audio"]


def test_slate_warning() -> None:
    """A slate image that cannot be fetched causes a warning."""
    account = ValidatingAccount()
    made = stream(account, reconnect_slate_url="https://nowhere.invalid/slate.png", passthrough="p")
    account.emulator.live.connect(made["id"])

    assert account.last("video.live_stream.warning")["warning"]["type"] == "custom_slate_unavailable"


def test_asset_deleted_while_live() -> None:
    """The stream remains when its asset is deleted."""
    account = ValidatingAccount()
    made = stream(account)
    account.emulator.live.connect(made["id"])
    account.pass_time(20.0)
    account.send("DELETE", f"/video/v1/assets/{state(account, made)['active_asset_id']}")
    account.pass_time(5.0)
    account.emulator.live.disconnect(made["id"])
    account.pass_time(60.0)

    assert account.names()[-3:] == ["asset.deleted", "live_stream.disconnected", "live_stream.idle"]
    assert state(account, made)["status"] == "idle"


def test_changes_say_so() -> None:
    """A change, a new stream key and new subtitles are update events; latency cannot change while the stream is active."""
    account = ValidatingAccount()
    made = stream(account)
    one = f"{PATH}/{made['id']}"
    account.data("PATCH", one, {"passthrough": "new"})
    account.data("POST", f"{one}/reset-stream-key")
    account.data("PUT", f"{one}/generated-subtitles", {"generated_subtitles": []})
    account.emulator.live.connect(made["id"])
    account.pass_time(2.0)

    assert account.names()[1:4] == ["live_stream.updated"] * 3
    assert account.error("PATCH", one, {"latency_mode": "low"})[0] == 400
    with pytest.raises(ValueError, match="doesn't exist"):
        account.emulator.live.connect(made["stream_key"])  # the one before


def test_control_calls() -> None:
    """Control calls connect and disconnect encoders, by id or stream key; errors are a 404, 400 or 412."""
    account = ValidatingAccount()
    made = stream(account, simulcast_targets=[{"url": "rtmp://a.example/app"}])
    base = f"/_emulator/live-streams/{made['id']}"

    assert account.send("POST", f"{base}/disconnect").status == 412
    assert account.send("POST", f"{base}/connect", {"protocol": "carrier pigeon"}).status == 400
    assert account.send("POST", f"/_emulator/live-streams/{made['stream_key']}/connect", {"protocol": "srt"}).status == 204
    assert account.send("POST", f"{base}/connect").status == 412
    target = f"{base}/simulcast-targets/{made['simulcast_targets'][0]['id']}/fail"
    assert account.send("POST", target, {"severity": "fatal"}).status == 204
    assert account.send("POST", target).status == 412
    assert account.send("POST", f"{base}/disconnect").status == 204
    assert account.send("POST", "/_emulator/live-streams/nobody/connect").status == 404
    account.pass_time(60.0)
    assert state(account, made)["status"] == "idle"


def test_instant() -> None:
    """With ``instant`` a connected stream is active at once, and is recorded although no time passes."""
    account = ValidatingAccount(instant=True)
    made = stream(account, reconnect_window=0)
    account.emulator.live.connect(made["id"])
    active = state(account, made)["status"]
    account.emulator.live.disconnect(made["id"])

    assert active == "active"
    assert account.names()[-2:] == ["live_stream.idle", "asset.live_stream_completed"]
