"""The page at ``/``: one file, and the JSON that it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mux_async.emulator import DEFAULT_TOKEN, EmulatorSettings, Fault, LimitModel, RateRules, Token
from mux_async.limits import LimitScope
from tests.emulator.harness import Account, Json


def look(account: Account) -> Json:
    response = account.send("GET", "/_emulator/overview", authorization="")
    assert response.status == 200
    found: Json = response.json()
    return found


def test_page() -> None:
    """The page needs no token, loads nothing from other hosts, and its policy allows no other scripts."""
    response = Account().send("GET", "/", authorization="")
    text = response.body.decode()

    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/html")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert len(re.findall(r"(script|style)-src 'sha256-[\w+/]{43}='", policy)) == 2
    assert re.findall(r"https?://", text) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text) == []


def test_overview() -> None:
    """The page shows assets, uploads, live streams, events and deliveries, newest first, with their totals."""
    account = Account()
    account.data("POST", "/system/v1/webhooks", {"address": "https://example.com/hook"})
    for index in range(40):
        account.create_asset(meta={"title": f"film {index}"}, playback_policies=["public"])
    account.pass_time(1.0)
    upload = account.create_upload()
    stream = account.data("POST", "/video/v1/live-streams", {})
    (environment,) = look(account)["environments"]

    assert environment["counts"] == {"assets": 40, "uploads": 1, "live_streams": 1}
    assert [asset["title"] for asset in environment["assets"]] == [f"film {index}" for index in range(39, 9, -1)]
    assert environment["assets"][0]["status"] == "ready"
    assert environment["assets"][0]["playback_id"]
    assert [entry["id"] for entry in environment["uploads"]] == [upload["id"]]
    assert [entry["id"] for entry in environment["live_streams"]] == [stream["id"]]
    assert look(account)["events"][0]["type"] == "video.live_stream.created"
    assert look(account)["deliveries"][0]["type"] == "video.live_stream.created"
    assert look(account)["arrivals"][0]["path"] == "/video/v1/live-streams"


@pytest.mark.parametrize("model", ["token-bucket", "fixed-window", "sliding-window"])
def test_buckets(model: LimitModel) -> None:
    """The page shows the remaining tokens of each bucket, without taking any; they fill up with time."""
    account = Account(EmulatorSettings(limits=RateRules(model=model)))

    def levels() -> dict[str, float]:
        return {level["bucket"]: level["left"] for level in look(account)["buckets"]}

    full = levels()
    account.create_upload()
    account.create_upload()
    after = levels()
    again = levels()
    account.pass_time(60.0)

    assert full == {"post": 5, "other": 25, "realtime-data": 5, "general-data": 25}
    assert after == again == {**full, "post": 3}
    assert levels() == full


@pytest.mark.parametrize(
    ("scope", "shown"), [("environment", "development"), ("environment-and-priority", "development, high priority")]
)
def test_scopes(scope: LimitScope, shown: str) -> None:
    """Without limits the page shows none; with limits per environment it shows those of each environment with requests."""
    account = Account(EmulatorSettings(limits=RateRules(scope=scope)))
    account.create_upload()

    assert look(Account())["buckets"] is None
    assert {level["scope"] for level in look(account)["buckets"]} == {shown}


def test_out_of_the_way(tmp_path: Path) -> None:
    """Requests of the page are not logged, hit no faults, and write nothing to a state file."""
    account = Account(state=tmp_path / "state")
    account.emulator.faults.add(Fault(status=500))
    before: Any = [(part.name, part.stat().st_size) for part in sorted(tmp_path.iterdir())]

    assert account.send("GET", "/").status == 200
    look(account)
    assert len(account.emulator.arrivals) == 0
    assert [(part.name, part.stat().st_size) for part in sorted(tmp_path.iterdir())] == before
    account.emulator.close()


def test_passes() -> None:
    """A token of the page gives access to signed playback ids, for at least an hour, and other tokens do not."""
    account = Account()
    signed = account.create_asset(playback_policies=["signed"])
    other = account.create_asset(playback_policies=["signed"])
    account.pass_time(1.0)
    assets = {asset["id"]: asset for asset in look(account)["environments"][0]["assets"]}
    shown, foreign = assets[signed["id"]], assets[other["id"]]

    def status(token: str, path: str = ".m3u8") -> int:
        return account.send("GET", f"/{shown['playback_id']}{path}?token={token}", authorization="").status

    assert shown["token"] == look(account)["environments"][0]["assets"][1]["token"]
    assert (status(shown["token"]), status(shown["token"], "/thumbnail.png")) == (200, 200)
    assert status(foreign["token"]) == 403
    assert status(shown["token"].replace("page.", "page.9", 1)) == 403
    assert [status(token) for token in ("", "page", "page.1", "page..", "page.%C2%B2.x", "page.99999999999999.x")] == [403] * 6
    account.pass_time(3600.0)
    assert status(shown["token"]) == 200
    account.pass_time(3600.0)
    assert status(shown["token"]) == 403


def test_objects() -> None:
    """The page can GET any resource of the API from every environment without a token; it cannot change any."""
    account = Account(EmulatorSettings(tokens=(Token("c", "d", "live"), DEFAULT_TOKEN)))
    asset = account.create_asset(meta={"title": "Holidays"})
    path = f"/_emulator/api/video/v1/assets/{asset['id']}"
    found = account.send("GET", path, authorization="").json()["data"]

    assert (found["id"], found["meta"]) == (asset["id"], {"title": "Holidays"})
    assert account.send("GET", "/_emulator/api/video/v1/assets/unknown", authorization="").status == 404
    assert account.send("GET", "/_emulator/api/nothing", authorization="").status == 404
    assert account.send("DELETE", path, authorization="").status == 404
    assert [arrival.path for arrival in account.emulator.arrivals] == ["/video/v1/assets"]


def test_filter() -> None:
    """``q`` filters by a text in any value, ignoring case, also among older objects."""
    account = Account()
    for index in range(40):
        account.create_asset(meta={"title": f"Film {index}."})
    found = account.send("GET", "/_emulator/overview?q=film%200.", authorization="").json()

    assert [asset["title"] for asset in found["environments"][0]["assets"]] == ["Film 0."]
    assert found["environments"][0]["counts"]["assets"] == 40
    assert found["arrivals"] == []


def test_own_secret() -> None:
    """The page shows the secret of the default token, but not of a configured one."""
    own = Account(EmulatorSettings(tokens=(Token("ci", "canary"),)))

    assert look(Account())["token"] == {"id": "test-token", "secret": "test-secret"}
    assert look(own)["token"] == {"id": "ci", "secret": None}


def test_public_needs_no_pass() -> None:
    """The page shows an asset by a public playback id if it has one, without a token."""
    account = Account()
    account.create_asset(playback_policies=["signed", "public"])
    asset = account.create_asset()
    shown = look(account)["environments"][0]["assets"]

    assert shown[1]["playback_id"]
    assert shown[1]["token"] is None
    assert shown[0] == {**shown[0], "id": asset["id"], "playback_id": None, "token": None}


def test_send_a_file() -> None:
    """The page's upload needs no token and counts against no limit; its asset has the requested title and policy."""
    account = Account(EmulatorSettings(tokens=(Token("a", "b", "staging"), Token("c", "d", "live"))))
    given = {"title": "Holidays", "policy": "signed", "environment": "live"}
    made = account.send("POST", "/_emulator/uploads", given, authorization="")
    account.put(made.json()["data"]["url"], b"a film")
    staging, live = look(account)["environments"]

    assert made.status == 201
    assert (staging["name"], staging["counts"]["assets"]) == ("staging", 0)
    assert (live["assets"][0]["title"], live["assets"][0]["policies"]) == ("Holidays", ["signed"])
    assert {level["left"] for level in look(account)["buckets"]} == {5, 25}


def test_send_to_nowhere() -> None:
    """An upload into an unknown environment is refused, with the names of the existing ones."""
    refused = Account().send("POST", "/_emulator/uploads", {"environment": "nowhere"}, authorization="")

    assert refused.status == 400
    assert refused.json()["error"]["messages"] == ["environment must be one of development"]
