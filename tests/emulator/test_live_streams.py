"""Live streams: the API."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.emulator.harness import Account, id_bytes, well_formed_id

PATH = "/video/v1/live-streams"


def test_minimal() -> None:
    """A live stream can be created without a body."""
    response = Account().send("POST", PATH)
    stream = response.json()["data"]

    assert response.status == 201
    assert (stream["status"], stream["latency_mode"], stream["reconnect_window"]) == ("idle", "standard", 60)
    assert stream["max_continuous_duration"] == 43_200
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", stream["stream_key"])
    assert not {"playback_ids", "active_asset_id", "new_asset_settings", "simulcast_targets"} & set(stream)


@pytest.mark.parametrize(("body", "mode"), [({"latency_mode": "low"}, "low"), ({"reduced_latency": True}, "reduced")])
def test_latency(body: Any, mode: str) -> None:
    """Low and reduced latency have no reconnect window, under the new and the old name."""
    stream = Account().data("POST", PATH, body)

    assert stream["latency_mode"] == mode
    assert "reconnect_window" not in stream


def test_crud() -> None:
    """A live stream is read, listed newest first, changed and deleted, and its playback ids go with it."""
    account = Account()
    first = account.data("POST", PATH, {"playback_policies": ["public"], "passthrough": "p"})
    second = account.data("POST", PATH, {"new_asset_settings": {"playback_policy": "signed"}})
    one = f"{PATH}/{first['id']}"
    playback_id = first["playback_ids"][0]["id"]

    changed = account.data("PATCH", one, {"passthrough": "", "meta": {"title": "t"}, "reconnect_window": 10})

    assert [stream["id"] for stream in account.data("GET", PATH)] == [second["id"], first["id"]]
    assert second["new_asset_settings"] == {"playback_policies": ["signed"]}
    assert (changed["meta"], changed["reconnect_window"]) == ({"title": "t"}, 10)
    assert "passthrough" not in changed
    assert account.data("GET", f"/video/v1/playback-ids/{playback_id}")["object"] == {"type": "live_stream", "id": first["id"]}
    assert account.send("DELETE", one).status == 204
    assert account.error("GET", one)[0] == 404
    assert account.error("GET", f"/video/v1/playback-ids/{playback_id}")[0] == 404


def test_signals() -> None:
    """Complete, disable and enable return an empty object; disabling changes the status."""
    account = Account()
    one = f"{PATH}/{account.data('POST', PATH)['id']}"

    answers = [account.ok("PUT", f"{one}/{signal}") for signal in ("complete", "disable")]
    disabled = account.data("GET", one)["status"]
    answers.append(account.ok("PUT", f"{one}/enable"))

    assert answers == [{"data": {}}] * 3
    assert disabled == "disabled"
    assert account.data("GET", one)["status"] == "idle"


def test_reset_stream_key() -> None:
    """A new stream key is returned with a 201, and nothing else changes."""
    account = Account()
    before = account.data("POST", PATH)

    response = account.send("POST", f"{PATH}/{before['id']}/reset-stream-key")
    after = response.json()["data"]

    assert response.status == 201
    assert after["stream_key"] != before["stream_key"]
    assert {**after, "stream_key": ""} == {**before, "stream_key": ""}


def test_filters() -> None:
    """A list can be filtered by status and by stream key."""
    account = Account()
    first, second = account.data("POST", PATH), account.data("POST", PATH)
    account.ok("PUT", f"{PATH}/{first['id']}/disable")

    assert [stream["id"] for stream in account.data("GET", f"{PATH}?status=disabled")] == [first["id"]]
    assert [stream["id"] for stream in account.data("GET", f"{PATH}?stream_key={second['stream_key']}")] == [second["id"]]
    assert account.error("GET", f"{PATH}?status=recording")[0] == 400


def test_ids() -> None:
    """A malformed live stream id is a 400 with the recorded text, an unknown one a 404."""
    account = Account()

    for method, path in (("PUT", "/complete"), ("POST", "/playback-ids"), ("GET", "")):
        malformed = account.error(method, f"{PATH}/somefakeid{path}", {})
        assert malformed == (400, "invalid_parameters", ["Invalid live stream id, failed to parse"])
        assert account.error(method, f"{PATH}/{well_formed_id()}{path}", {})[0] == 404


def test_simulcast_targets() -> None:
    """Simulcast targets are created, with ids of their own length, read and deleted."""
    account = Account()
    one = f"{PATH}/{account.data('POST', PATH)['id']}"

    response = account.send("POST", f"{one}/simulcast-targets", {"url": "rtmp://x.example/app", "stream_key": "k"})
    target = response.json()["data"]
    path = f"{one}/simulcast-targets/{target['id']}"

    assert response.status == 201
    assert (target["status"], target["url"], target["stream_key"]) == ("idle", "rtmp://x.example/app", "k")
    assert len(id_bytes(target["id"])) == 40
    assert account.data("GET", path) == target
    assert account.data("GET", one)["simulcast_targets"] == [target]
    assert account.send("DELETE", path).status == 204
    assert account.error("GET", path)[0] == 404
    assert account.error("POST", f"{one}/simulcast-targets", {})[0] == 400


def test_subtitles() -> None:
    """Embedded and generated subtitles are set, named after their language, and removed by an empty list."""
    account = Account()
    one = f"{PATH}/{account.data('POST', PATH)['id']}"

    embedded = account.data("PUT", f"{one}/embedded-subtitles", {"embedded_subtitles": [{"language_channel": "cc2"}]})
    generated = account.data("PUT", f"{one}/generated-subtitles", {"generated_subtitles": [{"language_code": "es"}]})
    removed = account.data("PUT", f"{one}/embedded-subtitles", {"embedded_subtitles": []})

    assert embedded["embedded_subtitles"] == [{"language_channel": "cc2", "name": "en", "language_code": "en"}]
    assert generated["generated_subtitles"] == [{"name": "es", "language_code": "es"}]
    assert "embedded_subtitles" not in removed
    two = [{"language_code": "es"}, {"language_code": "en"}]
    assert account.error("PUT", f"{one}/generated-subtitles", {"generated_subtitles": two})[0] == 400


def test_new_asset_static_renditions() -> None:
    """The static renditions of future assets are set and deleted."""
    account = Account()
    one = f"{PATH}/{account.data('POST', PATH)['id']}"
    path = f"{one}/new-asset-settings/static-renditions"

    stream = account.data("PUT", path, {"static_renditions": [{"resolution": "highest"}]})

    assert stream["new_asset_settings"] == {"static_renditions": [{"resolution": "highest"}]}
    assert account.error("PUT", path, {"static_renditions": [{"resolution": "4p"}]})[0] == 400
    assert account.send("DELETE", path).status == 204
    assert "new_asset_settings" not in account.data("GET", one)


@pytest.mark.parametrize("mode", ["standard", "reduced", "low"])
@pytest.mark.parametrize("extra", [{}, {"audio_only": True}])
def test_playback(mode: str, extra: dict[str, Any]) -> None:
    """A stream plays whenever it is active; its playlist only grows, over a reconnect too, and the one of the ended stream says so."""
    account = Account()
    body = {"playback_policies": ["public"], "latency_mode": mode, "reconnect_window": 30, **extra}
    stream = account.data("POST", "/video/v1/live-streams", body)
    playback_id, shown, rendition = stream["playback_ids"][0]["id"], list[list[str]](), ""
    account.emulator.live.connect(stream["id"])
    actions = {23: account.emulator.live.disconnect, 41: account.emulator.live.connect, 58: account.emulator.live.disconnect}
    for second in range(60):
        if second in actions:
            actions[second](stream["id"])
        status = account.data("GET", f"/video/v1/live-streams/{stream['id']}")["status"]
        multivariant = account.send("GET", f"/{playback_id}.m3u8")
        assert (multivariant.status, status) in {(200, "active"), (412, "idle")}
        if status == "active":
            rendition = multivariant.body.decode().splitlines()[-1]
            playlist = account.send("GET", f"/{rendition}")
            shown.append([line for line in playlist.body.decode().splitlines() if line.startswith("#EXTINF") or ".m4s" in line])
            assert "#EXT-X-ENDLIST" not in playlist.body.decode()
            assert account.send("GET", f"/{playback_id}/rendition/{shown[-1][-1]}").status == 200
        account.pass_time(1.0)
    account.pass_time(60.0)
    ended = account.send("GET", f"/{rendition}")

    assert len(shown) == 58
    assert all(after[: len(before)] == before for before, after in pairwise(shown))
    assert len(shown[-1]) > len(shown[0]) == 6
    assert ended.body.decode().splitlines()[-1] == "#EXT-X-ENDLIST"
    assert [line for line in ended.body.decode().splitlines() if line in shown[-1]][: len(shown[-1])] == shown[-1]
    assert account.send("GET", f"/{playback_id}.m3u8").status == 412
    account.emulator.live.connect(stream["id"])
    assert account.send("GET", f"/{rendition}").status == 412


def test_playback_at_once() -> None:
    """With instant work a stream plays as soon as an encoder is connected."""
    account = Account(instant=True)
    stream = account.data("POST", "/video/v1/live-streams", {"playback_policies": ["public"]})
    account.emulator.live.connect(stream["id"])

    assert account.data("GET", f"/video/v1/live-streams/{stream['id']}")["status"] == "active"
    multivariant = account.send("GET", f"/{stream['playback_ids'][0]['id']}.m3u8")
    assert multivariant.status == 200
    assert b"1080-0.m4s" in account.send("GET", f"/{multivariant.body.decode().splitlines()[-1].replace('480', '1080')}").body
