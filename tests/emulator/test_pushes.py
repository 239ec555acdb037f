"""What an encoder with real media does to a live stream: frames and stored segments move its life cycle, and not the clock."""

from __future__ import annotations

import pytest

from mux_async.emulator import MediaInfo
from tests.emulator.harness import Account

PATH = "/video/v1/live-streams"
MEDIA = MediaInfo(0.0, 320, 180, frame_rate=25.0, channels=1, container="flv")


def happened(account: Account) -> list[str]:
    return [event.type.removeprefix("video.") for event in account.emulator.events]


def test_life_cycle() -> None:
    """A push is connected, recording at a frame, active with a segment, ready with ten seconds, and idle after the window."""
    account = Account()
    stream = account.data("POST", PATH, {"playback_policies": ["public"], "reconnect_window": 30})
    push = account.emulator.push(stream["stream_key"])
    account.pass_time(20.0)
    assert happened(account)[-2:] == ["live_stream.connected", "asset.created"]
    push.record()
    push.record()
    account.pass_time(20.0)
    assert happened(account)[-1] == "live_stream.recording"
    push.store(4.0, MEDIA)
    assert happened(account)[-1] == "live_stream.active"
    push.store(4.0, MEDIA)
    push.drop()
    account.pass_time(20.0)
    again = account.emulator.push(stream["stream_key"])
    again.record()
    again.store(2.5, MEDIA)
    again.drop()
    account.pass_time(31.0)

    assert happened(account)[3:] == [
        "live_stream.recording",
        "live_stream.active",
        "live_stream.disconnected",
        "live_stream.connected",
        "live_stream.recording",
        "asset.ready",
        "live_stream.disconnected",
        "live_stream.idle",
        "asset.live_stream_completed",
    ]
    asset = account.data("GET", f"/video/v1/assets/{push.asset_id or account.data('GET', '/video/v1/assets')[0]['id']}")
    assert asset["duration"] == 10.5
    assert [entry["duration"] for entry in asset["recording_times"]] == [8.0, 2.5]
    assert asset["ingest_type"] == "live_rtmp"
    assert {track["type"]: track.get("max_width") for track in asset["tracks"]} == {"video": 320, "audio": None}


def test_refusals() -> None:
    """A push needs the key of a live stream that is enabled and has no encoder; the id is no key, and no message has the key."""
    account = Account()
    stream, other = account.data("POST", PATH), account.data("POST", PATH)
    account.emulator.push(stream["stream_key"])
    account.ok("PUT", f"{PATH}/{other['id']}/disable")

    id_is_no_key = stream["id"]
    for key, reason in (
        (stream["stream_key"], "has an encoder"),
        (other["stream_key"], "disabled"),
        (id_is_no_key, "no live"),
        ("", "no live"),
    ):
        with pytest.raises(Exception, match=reason) as refused:
            account.emulator.push(key)
        assert not key or key not in str(refused.value)


@pytest.mark.parametrize("ending", ["disable", "reset", "delete", "disconnect", "time"])
def test_ended_by_others(ending: str) -> None:
    """A push is not open any more when its stream is disabled or deleted, its encoder disconnected, or its time over."""
    account = Account()
    stream = account.data("POST", PATH, {"max_continuous_duration": 60})
    push = account.emulator.push(stream["stream_key"])
    before = push.is_open
    if ending == "disable":
        account.ok("PUT", f"{PATH}/{stream['id']}/disable")
    elif ending == "reset":
        account.emulator.reset()
    elif ending == "delete":
        account.ok("DELETE", f"{PATH}/{stream['id']}")
    elif ending == "disconnect":
        account.emulator.live.disconnect(stream["id"])
    else:
        account.pass_time(61.0)

    assert (before, push.is_open) == (True, False)
    push.store(1.0, MEDIA)  # without effect
    push.drop()


def test_completed() -> None:
    """After `complete` the encoder may stay for a minute; what it sends is not recorded."""
    account = Account()
    stream = account.data("POST", PATH)
    push = account.emulator.push(stream["stream_key"])
    push.record()
    push.store(3.0, MEDIA)
    account.ok("PUT", f"{PATH}/{stream['id']}/complete")
    push.store(3.0, MEDIA)
    asset = account.data("GET", "/video/v1/assets")[0]

    assert (asset["status"], asset["duration"]) == ("ready", 3.0)
    before = push.is_open
    account.pass_time(61.0)
    assert (before, push.is_open) == (True, False)


def test_without_media() -> None:
    """A push that ends before a segment was stored leaves an errored asset."""
    account = Account()
    stream = account.data("POST", PATH, {"reconnect_window": 0})
    push = account.emulator.push(stream["stream_key"])
    push.record()
    push.drop()

    assert account.data("GET", "/video/v1/assets")[0]["status"] == "errored"
    assert happened(account)[-2:] == ["live_stream.idle", "asset.errored"]


def test_settings_for_srt() -> None:
    """A listener for SRT gets the passphrase of the newest live stream, or of the one it names, and whether an encoder uses SRT there."""
    account = Account()
    assert account.emulator.srt_settings(None) is None
    first = account.data("POST", PATH, {})
    account.pass_time(1.0)
    second, third = account.data("POST", PATH, {}), account.data("POST", PATH, {})
    account.emulator.push(first["stream_key"], "srt")
    account.emulator.push(third["stream_key"], "rtmp")

    newest, named = account.emulator.srt_settings(None), account.emulator.srt_settings(first["id"])
    assert newest is not None
    assert named is not None
    assert (newest.stream_key, newest.passphrase) == (third["stream_key"], third["srt_passphrase"])
    assert (named.stream_id, named.has_encoder, newest.has_encoder) == (first["id"], True, False)
    assert account.emulator.srt_settings("none") is None
    assert third["srt_passphrase"] not in repr(newest)
    account.ok("DELETE", f"{PATH}/{third['id']}")
    assert account.emulator.srt_settings(None) == account.emulator.srt_settings(second["id"])
