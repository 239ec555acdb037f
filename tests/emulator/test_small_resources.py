"""Playback restrictions, vocabularies, DRM configurations, usage, spaces and web inputs."""

from __future__ import annotations

import csv
from base64 import b64decode
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mux_async.emulator import Request, Response
from tests.emulator.harness import START, Account, Json, target_of, well_formed_id
from tests.emulator.validating import ValidatingAccount

RESTRICTIONS = "/video/v1/playback-restrictions"
VOCABULARIES = "/video/v1/transcription-vocabularies"
SPACES = "/video/v1/spaces"
WEB_INPUTS = "/video/v1/web-inputs"
RULES: Json = {"referrer": {"allowed_domains": ["*.example.com"]}, "user_agent": {}}


# ---- playback restrictions


def test_restrictions() -> None:
    """Restrictions are created with defaults, listed, replaced part by part, and deleted."""
    account = ValidatingAccount()
    made = account.data("POST", RESTRICTIONS, RULES)
    one = f"{RESTRICTIONS}/{made['id']}"
    account.pass_time(5.0)
    referrer = account.data("PUT", f"{one}/referrer", {"allowed_domains": ["*"], "allow_no_referrer": True})
    agent = account.data("PUT", f"{one}/user_agent", {"allow_no_user_agent": False, "allow_high_risk_user_agent": False})

    assert made["referrer"] == {"allowed_domains": ["*.example.com"], "allow_no_referrer": False}
    assert made["user_agent"] == {"allow_no_user_agent": True, "allow_high_risk_user_agent": True}
    assert referrer["referrer"] == {"allowed_domains": ["*"], "allow_no_referrer": True}
    assert referrer["updated_at"] == str(int(START) + 5)
    assert agent["user_agent"] == {"allow_no_user_agent": False, "allow_high_risk_user_agent": False}
    assert account.data("GET", RESTRICTIONS) == [account.data("GET", one)]
    assert account.send("DELETE", one).status == 204
    assert account.error("GET", one)[0] == 404
    assert account.error("GET", f"{RESTRICTIONS}/somefakeid")[0] == 400


def test_wrong_restrictions() -> None:
    """Referrer and user agent are required, domains must be valid, and at most a hundred domains and restrictions are allowed."""
    account = ValidatingAccount()
    for body in (
        {},
        {"referrer": RULES["referrer"]},
        {**RULES, "referrer": {"allowed_domains": "x"}},
        {**RULES, "referrer": {"allowed_domains": ["not a domain"]}},
        {**RULES, "referrer": {"allowed_domains": [f"a{number}.example" for number in range(101)]}},
    ):
        assert account.error("POST", RESTRICTIONS, body)[0] == 400
    many = {**RULES, "referrer": {"allowed_domains": [f"a{number}.example" for number in range(100)]}}
    for _ in range(100):
        assert Account.send(account, "POST", RESTRICTIONS, many).status == 201
    assert account.error("POST", RESTRICTIONS, RULES)[0] == 400


class Player:
    """Plays a signed asset with tokens that name a restriction."""

    def __init__(self, account: ValidatingAccount, rules: Json) -> None:
        self.account = account
        made = account.data("POST", "/system/v1/signing-keys")
        self.kid: str = made["id"]
        self.key: Any = load_pem_private_key(b64decode(made["private_key"]), None)
        self.restriction = account.data("POST", RESTRICTIONS, rules)
        self.playback_id = account.ready_asset(playback_policies=["signed"])["playback_ids"][0]["id"]

    def token(self, restriction_id: str) -> str:
        claims = {
            "sub": self.playback_id,
            "aud": "v",
            "exp": int(START) + 3600,
            "kid": self.kid,
            "playback_restriction_id": restriction_id,
        }
        return str(jwt.encode(claims, self.key, algorithm="RS256"))

    def play(self, restriction_id: str | None = None, **headers: str) -> int:
        token = self.token(restriction_id or self.restriction["id"])
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.account.emulator.handle(Request("GET", f"/{self.playback_id}.m3u8?token={token}", named)).status


def test_referrers() -> None:
    """A token with a restriction is valid only for the referrers that it allows; a wildcard matches one level."""
    player = Player(ValidatingAccount(), {**RULES, "referrer": {"allowed_domains": ["*.example.com", "Example.org"]}})
    one = f"{RESTRICTIONS}/{player.restriction['id']}/referrer"

    assert player.play(Referer="https://www.example.com/page") == 200
    assert player.play(Referer="https://example.org/") == 200
    for refused in ("https://example.com/", "https://a.b.example.com/", "https://evil.example/", "http://["):
        assert player.play(Referer=refused) == 403, refused
    assert player.play() == 403
    player.account.data("PUT", one, {"allowed_domains": [], "allow_no_referrer": True})
    assert player.play() == 200
    assert player.play(Referer="https://www.example.com/") == 403
    player.account.data("PUT", one, {"allowed_domains": ["*"]})
    assert player.play(Referer="https://evil.example/") == 200


def test_user_agents() -> None:
    """Requests without a user agent and those of high-risk agents can be refused; a token with an unknown restriction is."""
    player = Player(ValidatingAccount(), {**RULES, "referrer": {"allowed_domains": ["*"], "allow_no_referrer": True}})
    assert (player.play(), player.play(User_Agent="curl/8.0")) == (200, 200)

    one = f"{RESTRICTIONS}/{player.restriction['id']}"
    player.account.data("PUT", f"{one}/user_agent", {"allow_no_user_agent": False, "allow_high_risk_user_agent": False})

    assert player.play() == 403
    assert player.play(User_Agent="curl/8.0") == 403
    assert player.play(User_Agent="Mozilla/5.0 (X11; Linux) Firefox/140") == 200
    assert player.play(well_formed_id(), User_Agent="Mozilla/5.0") == 403
    player.account.send("DELETE", one)
    assert player.play(User_Agent="Mozilla/5.0") == 403


# ---- vocabularies, DRM configurations


def test_vocabularies() -> None:
    """An update replaces a vocabulary as a whole. Pages have at most ten."""
    account = ValidatingAccount()
    made = account.data("POST", VOCABULARIES, {"phrases": ["Mux", "HLS"], "name": "words", "passthrough": "p"})
    one = f"{VOCABULARIES}/{made['id']}"
    account.pass_time(1.0)
    changed = account.data("PUT", one, {"phrases": ["DASH"]})
    for number in range(11):
        account.data("POST", VOCABULARIES, {"phrases": [str(number)]})

    assert (made["name"], made["passthrough"], made["phrases"]) == ("words", "p", ["Mux", "HLS"])
    assert changed["phrases"] == ["DASH"]
    assert not {"name", "passthrough"} & set(changed)
    assert (changed["created_at"], changed["updated_at"]) == (str(int(START)), str(int(START) + 1))
    assert account.data("GET", one) == changed
    assert len(account.data("GET", VOCABULARIES)) == 10
    assert len(account.data("GET", f"{VOCABULARIES}?limit=100")) == 10
    assert len(account.data("GET", f"{VOCABULARIES}?page=2")) == 2
    assert account.error("POST", VOCABULARIES, {})[0] == 400
    assert account.error("POST", VOCABULARIES, {"phrases": ["x"] * 1001})[0] == 400
    assert account.send("DELETE", one).status == 204
    assert account.error("PUT", one, {"phrases": []})[0] == 404


def test_drm_configurations() -> None:
    """DRM configurations exist from the start, as Mux provisions them; each environment has as many as the settings say."""
    account = ValidatingAccount(drm_configurations=2)
    listed = account.data("GET", "/video/v1/drm-configurations")

    assert len(listed) == 2
    assert account.data("GET", f"/video/v1/drm-configurations/{listed[0]['id']}") == listed[0]
    assert account.error("GET", f"/video/v1/drm-configurations/{well_formed_id()}")[0] == 404
    assert account.error("POST", "/video/v1/drm-configurations", {})[0] == 404
    assert ValidatingAccount(drm_configurations=0).data("GET", "/video/v1/drm-configurations") == []


def test_drm_policies() -> None:
    """A playback policy may name a DRM configuration that exists, wherever policies are given, and no other."""
    account = ValidatingAccount()
    (configuration,) = account.data("GET", "/video/v1/drm-configurations")

    def policies(id: str) -> Json:
        return {"advanced_playback_policies": [{"policy": "drm", "drm_configuration_id": id}]}

    def bodies(id: str) -> list[tuple[str, Json]]:
        return [
            ("/video/v1/assets", {"inputs": [{"url": "https://x.example/a.mp4"}], **policies(id)}),
            ("/video/v1/uploads", {"new_asset_settings": policies(id)}),
            ("/video/v1/live-streams", policies(id)),
            ("/video/v1/live-streams", {"new_asset_settings": policies(id)}),
        ]

    statuses = [account.send("POST", path, body).status for path, body in bodies(configuration["id"])]
    refused = [account.send("POST", path, body).status for path, body in bodies(well_formed_id())]
    (asset,) = account.data("GET", "/video/v1/assets")
    entry = {"policy": "drm", "drm_configuration_id": well_formed_id()}

    assert statuses == [201] * 4
    assert refused == [400] * 4
    assert asset["playback_ids"][0]["drm_configuration_id"] == configuration["id"]
    assert account.error("POST", f"/video/v1/assets/{asset['id']}/playback-ids", entry)[0] == 400


# ---- usage


def watch(account: Account, asset: Json, rung: int, segments: int) -> None:
    playback_id = asset["playback_ids"][0]["id"]
    for number in range(segments):
        response = account.emulator.handle(Request("GET", f"/{playback_id}/rendition/{rung}-{number}.m4s"))
        assert response.status == 200


def test_delivery_usage() -> None:
    """Delivered seconds are reported twelve hours later, by asset and resolution, the most watched first, also of deleted assets."""
    account = ValidatingAccount()
    asset = account.ready_asset(playback_policies=["public"])
    other = account.ready_asset(playback_policies=["public"], passthrough="o")
    watch(account, asset, 1080, 1)
    watch(account, other, 1080, 2)
    watch(account, other, 270, 1)
    nothing = account.ok("GET", "/video/v1/delivery-usage")
    account.pass_time(3600.0)
    too_early = account.data("GET", "/video/v1/delivery-usage?timeframe[]=24:hours")
    account.send("DELETE", f"/video/v1/assets/{other['id']}")
    account.pass_time(12 * 3600.0)
    usage = account.ok("GET", "/video/v1/delivery-usage")
    one = account.ok("GET", f"/video/v1/delivery-usage?asset_id={asset['id']}&limit=5&page=1")
    first = usage["data"][0]

    assert nothing["data"] == too_early == []
    assert nothing["timeframe"] == [int(START) - 13 * 3600, int(START) - 12 * 3600]
    assert (usage["total_row_count"], usage["page"], usage["limit"]) == (2, 1, 100)
    assert [row["delivered_seconds"] for row in usage["data"]] == [14.976, 4.992]
    assert first["delivered_seconds_by_resolution"] == {"tier_1080p": 9.984, "tier_720p": 4.992}
    assert (first["asset_state"], first["passthrough"]) == ("deleted", "o")
    assert first["deleted_at"]
    assert usage["data"][1]["asset_state"] == "ready"
    assert [row["asset_id"] for row in one["data"]] == [asset["id"]]
    assert one["limit"] == 5
    assert account.ok("GET", "/video/v1/delivery-usage?timeframe[]=24:hours")["total_row_count"] == 2
    account.pass_time(3600.0)
    assert account.data("GET", "/video/v1/delivery-usage") == []


@pytest.mark.parametrize(
    "query",
    [
        f"asset_id={well_formed_id(b'a')}&live_stream_id={well_formed_id(b'b')}",
        "asset_id=somefakeid",
        "timeframe[]=91:days",
        "timeframe[]=5&timeframe[]=1",
        "timeframe[]=yesterday",
        f"timeframe[]={int(START)}&timeframe[]={int(START) + 3600}",
    ],
)
def test_wrong_usage(query: str) -> None:
    """Two kinds of id at once, malformed ids, and invalid or too old timeframes are refused."""
    assert ValidatingAccount().error("GET", f"/video/v1/delivery-usage?{query}")[0] == 400


def fetch(account: Account, url: str) -> Response:
    return account.emulator.handle(Request("GET", target_of(url)))


def test_usage_exports() -> None:
    """There is an export for each of the last 400 days, newest first, in pages that are counted; it downloads until its URL expires."""
    account = ValidatingAccount()
    asset = account.ready_asset(playback_policies=["public"])
    watch(account, asset, 720, 2)
    account.pass_time(24 * 3600.0)
    page = account.ok("GET", "/system/v1/usage/exports?limit=3&page=2&download_url_ttl=60")
    (newest, *_rest) = account.data("GET", "/system/v1/usage/exports?limit=1")
    downloaded = fetch(account, newest["download_url"])
    rows = list(csv.DictReader(downloaded.body.decode().splitlines()))

    assert page["meta"] == {"page": 2, "limit": 3, "total": 400, "pages": 134}
    assert [row["date"] for row in page["data"]] == ["2025-12-29", "2025-12-28", "2025-12-27"]
    assert page["data"][0]["download_url_expires_at"] == int(account.clock.now) + 60
    assert newest["date"] == "2026-01-01"
    assert newest["file_size"] == len(downloaded.body)
    assert [(row["asset_id"], row["delivered_seconds"]) for row in rows] == [(asset["id"], "9.984")]
    assert len(account.data("GET", "/system/v1/usage/exports?timeframe[]=7:days")) == 7
    assert fetch(account, newest["download_url"].replace("2026-01-01", "2025-12-31")).status == 403
    assert fetch(account, newest["download_url"].partition("?")[0]).status == 403
    account.pass_time(3600.0)
    assert fetch(account, newest["download_url"]).status == 403


# ---- spaces


def test_spaces() -> None:
    """A space is active while it has participants; a broadcast sends it to a live stream, as an encoder does; all nine events occur."""
    account = ValidatingAccount()
    stream = account.data("POST", "/video/v1/live-streams", {})
    space = account.data("POST", SPACES, {"passthrough": "p", "broadcasts": [{"live_stream_id": stream["id"]}]})
    one = f"{SPACES}/{space['id']}"
    account.emulator.spaces.join(space["id"], "ann")
    active = account.data("GET", one)
    account.emulator.spaces.join(space["id"], "ben")
    broadcast = f"{one}/broadcasts/{space['broadcasts'][0]['id']}"
    assert account.ok("POST", f"{broadcast}/start") == {"data": {}}
    account.pass_time(5.0)
    streaming = account.data("GET", f"/video/v1/live-streams/{stream['id']}")["status"]
    on_air = account.data("GET", broadcast)["status"]
    assert account.error("POST", f"{broadcast}/start")[0] == 400
    assert account.ok("POST", f"{broadcast}/stop") == {"data": {}}
    other = account.data("POST", f"{one}/broadcasts", {"live_stream_id": stream["id"], "layout": "crop"})
    assert account.send("DELETE", f"{one}/broadcasts/{other['id']}").status == 204
    account.emulator.spaces.leave(space["id"], "ann")
    account.emulator.spaces.leave(space["id"], "ben")
    idle = account.data("GET", one)
    listed = account.data("GET", SPACES)
    account.send("DELETE", one)

    assert (space["status"], space["type"], space["passthrough"]) == ("idle", "server", "p")
    assert (active["status"], bool(active["active_session_id"])) == ("active", True)
    assert (streaming, on_air) == ("active", "active")
    assert (other["layout"], other["resolution"], other["status"]) == ("crop", "1920x1080", "idle")
    assert idle["status"] == "idle"
    assert "active_session_id" not in idle
    assert listed == [idle]
    assert account.error("GET", one)[0] == 404
    assert [name for name in account.names() if name.startswith("space")] == [
        "space.created",
        "space.broadcast.created",
        "space.active",
        "space.broadcast.active",
        "space.broadcast.idle",
        "space.broadcast.created",
        "space.updated",
        "space.broadcast.deleted",
        "space.updated",
        "space.idle",
        "space.deleted",
    ]


def test_space_closes() -> None:
    """Broadcasts end with the last participant, and a participant's name is unique; control calls do the same."""
    account = ValidatingAccount()
    stream = account.data("POST", "/video/v1/live-streams", {})
    space = account.data("POST", SPACES, {"broadcasts": [{"live_stream_id": stream["id"]}]})
    control = f"/_emulator/spaces/{space['id']}"

    assert account.send("POST", f"{control}/join", {"participant": "ann"}).status == 204
    assert account.send("POST", f"{control}/join", {"participant": "ann"}).status == 400
    assert account.send("POST", f"{control}/join", {}).status == 400
    account.ok("POST", f"{SPACES}/{space['id']}/broadcasts/{space['broadcasts'][0]['id']}/start")
    assert account.send("POST", f"{control}/leave", {"participant": "ann"}).status == 204
    assert account.names()[-2:] == ["space.broadcast.idle", "space.idle"]
    with pytest.raises(ValueError, match="not in the space"):
        account.emulator.spaces.leave(space["id"], "ann")
    assert account.send("POST", "/_emulator/spaces/nobody/join", {"participant": "x"}).status == 404
    assert account.error("POST", SPACES, {"type": "other"})[0] == 400
    assert account.error("POST", SPACES, {"broadcasts": [{"live_stream_id": well_formed_id()}]})[0] == 404


# ---- web inputs


def test_web_inputs() -> None:
    """A web input is launched, streams to its live stream as an encoder does, is reloaded, shut down, given another URL and deleted."""
    account = ValidatingAccount()
    stream = account.data("POST", "/video/v1/live-streams", {})
    made = account.data("POST", WEB_INPUTS, {"url": "https://example.com/", "live_stream_id": stream["id"], "timeout": 600})
    one = f"{WEB_INPUTS}/{made['id']}"

    def status() -> Any:
        return account.data("GET", one)["status"]

    assert made["status"] == "idle"
    assert account.error("PUT", f"{one}/reload")[0] == 400
    assert account.ok("PUT", f"{one}/launch") == {"data": {}}
    assert status() == "launching"
    assert account.error("PUT", f"{one}/launch")[0] == 400
    account.pass_time(8.0)
    assert status() == "streaming"
    assert account.data("GET", f"/video/v1/live-streams/{stream['id']}")["status"] == "active"
    assert account.ok("PUT", f"{one}/reload") == {"data": {}}
    assert account.error("PUT", f"{one}/url", {"url": "https://example.org/"})[0] == 400
    assert account.error("DELETE", one)[0] == 400
    assert account.ok("PUT", f"{one}/shutdown") == {"data": {}}
    assert account.names()[-1] == "live_stream.disconnected"
    assert account.data("PUT", f"{one}/url", {"url": "https://example.org/"})["url"] == "https://example.org/"
    account.ok("PUT", f"{one}/launch")
    account.pass_time(600.0)
    assert status() == "idle"
    assert [entry["id"] for entry in account.data("GET", WEB_INPUTS)] == [made["id"]]
    assert account.send("DELETE", one).status == 204
    assert account.error("GET", one)[0] == 404


def test_web_input_launches_itself() -> None:
    """A web input may be launched at creation; if its stream refuses encoders, it stays idle; both members are required."""
    account = ValidatingAccount()
    stream = account.data("POST", "/video/v1/live-streams", {})
    body = {"url": "https://example.com/", "live_stream_id": stream["id"], "auto_launch": True}
    first, second = account.data("POST", WEB_INPUTS, body), account.data("POST", WEB_INPUTS, body)
    account.pass_time(8.0)

    assert first["status"] == "launching"
    assert account.data("GET", f"{WEB_INPUTS}/{first['id']}")["status"] == "streaming"
    assert account.data("GET", f"{WEB_INPUTS}/{second['id']}")["status"] == "idle"
    for missing in body.keys() - {"auto_launch"}:
        assert account.error("POST", WEB_INPUTS, {**body, missing: None})[0] == 400
    assert account.error("POST", WEB_INPUTS, {**body, "live_stream_id": well_formed_id()})[0] == 404
