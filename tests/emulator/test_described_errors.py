"""The stream and image hosts answer with the errors that the description lists, and every URL in a request is checked."""

from __future__ import annotations

from typing import Any

import pytest

from mux_async.emulator import EmulatorSettings
from tests.emulator.harness import Account, well_formed_id
from tests.generated import spec

MEDIA = {each.id: each for each in spec.operations() if each.raw["x-host"] != "https://api.mux.com"}
NO_URLS = [
    "",
    " ",
    "film.mp4",
    "//example.com/a",
    "https://",
    "https://exa mple.com\n/",
    "http://[",
    "https://a:0/",
    "https://a:99999/",
]
TRACK = {"type": "text", "text_type": "subtitles", "language_code": "en"}


def described(operation_id: str) -> set[int]:
    return {int(status) for status in MEDIA[operation_id].raw["responses"]}


def path_of(operation_id: str, playback_id: str) -> str:
    values = {"PLAYBACK_ID": playback_id, "EXTENSION": "jpg", "TRACK_ID": well_formed_id(), "FILENAME": "highest.mp4"}
    if operation_id == "video.playback.animated":
        values["EXTENSION"] = "gif"
    return MEDIA[operation_id].path.format(**values)


@pytest.mark.parametrize("operation_id", sorted(MEDIA))
@pytest.mark.parametrize("stub", [False, True], ids=["with state", "stub"])
def test_errors_of_hosts(operation_id: str, stub: bool) -> None:
    """Malformed and unknown ids, missing tokens and assets that are not ready get statuses that the operation lists."""
    assert described(operation_id) == {200, 400, 403, 404, 412}
    account = Account(EmulatorSettings(limits=None, stub=stub))
    public = account.create_asset(playback_policies=["public"])["playback_ids"][0]["id"]
    signed = account.create_asset(playback_policies=["signed"])["playback_ids"][0]["id"]
    wanted = {"not-an-id!": {400}, well_formed_id(): {404}, public: {412}, signed: {403}}

    got = {name: account.send("GET", path_of(operation_id, name)).status for name in wanted}

    assert set(got.values()) <= described(operation_id)
    if not stub:
        assert all(got[name] in statuses for name, statuses in wanted.items()), got


def create(account: Account, where: str, url: str) -> tuple[str, str, dict[str, Any]]:
    """Return verb, path and body of a request that has *url* at this place."""
    match where:
        case "an input":
            return "POST", "/video/v1/assets", {"inputs": [{"url": url}]}
        case "an overlay":
            overlay = {"url": url, "overlay_settings": {"horizontal_align": "left", "vertical_align": "top"}}
            return "POST", "/video/v1/assets", {"inputs": [{"url": "https://example.com/a.mp4"}, overlay]}
        case "an input of an upload":
            return "POST", "/video/v1/uploads", {"new_asset_settings": {"inputs": [{}, {"url": url}]}}
        case "a track":
            return "POST", f"/video/v1/assets/{account.ready_asset()['id']}/tracks", {**TRACK, "url": url}
        case "a webhook":
            return "POST", "/system/v1/webhooks", {"address": url}
        case "a target of a new live stream":
            return "POST", "/video/v1/live-streams", {"simulcast_targets": [{"url": url}]}
        case _:
            pass
    stream = account.data("POST", "/video/v1/live-streams", {})["id"]
    match where:
        case "a target":
            return "POST", f"/video/v1/live-streams/{stream}/simulcast-targets", {"url": url}
        case "a slate":
            return "PATCH", f"/video/v1/live-streams/{stream}", {"reconnect_slate_url": url}
        case "a web input":
            return "POST", "/video/v1/web-inputs", {"url": url, "live_stream_id": stream}
        case _:
            body = {"url": "https://example.com/", "live_stream_id": stream}
            web_input = account.data("POST", "/video/v1/web-inputs", body)["id"]
            return "PUT", f"/video/v1/web-inputs/{web_input}/url", {"url": url}


PLACES = [
    "an input", "an overlay", "an input of an upload", "a track", "a webhook", "a target of a new live stream", "a target",
    "a slate", "a web input", "another url of a web input",
]  # fmt: skip


@pytest.mark.parametrize("where", PLACES)
def test_what_cannot_be_a_url(where: str) -> None:
    """It is a 400 that names the member, wherever a request has a URL; a real one is accepted. An empty slate removes the slate."""
    account = Account()
    for url in NO_URLS:
        if where == "a slate" and not url:
            continue
        status, kind, messages = account.error(*create(account, where, url))
        assert (status, kind) == (400, "invalid_parameters"), url
        assert any(name in messages[0] for name in ("url", "address")), messages
    scheme = "rtmps" if "target" in where else "https"
    account.ok(*create(account, where, f"{scheme}://example.com:8443/a?b=c"))
