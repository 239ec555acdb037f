"""Authentication, permissions and environments."""

from __future__ import annotations

import logging

import pytest

from mux_async.emulator import Emulator, EmulatorSettings, Request, Token
from tests.emulator.harness import Account, basic

TWO = (
    Token("one", "secret-1", "development", bearer="bearer-1"),
    Token("two", "secret-2", "production"),
    Token("reader", "secret-3", "development", permissions=("video:read",)),
)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + "b25l",
        basic("one", "wrong"),
        basic("nobody", "secret-1"),
        "Bearer wrong",
        "Digest x",
        basic("one", ""),
        "Bearer secret-1",
    ],
)
def test_refused(authorization: str) -> None:
    """Anything but a known token is a 401 with the recorded text."""
    response = Account(tokens=TWO).send("GET", "/video/v1/assets", authorization=authorization)

    assert response.status == 401
    assert response.json() == {"error": {"type": "unauthorized", "messages": ["Unauthorized request"]}}


@pytest.mark.parametrize(
    "authorization", [basic("one", "secret-1"), basic("two", "secret-2"), "Bearer bearer-1", "bearer bearer-1"]
)
def test_let_in(authorization: str) -> None:
    """Basic authentication works for every token, a bearer token if one is configured."""
    assert Account(tokens=TWO).send("GET", "/video/v1/assets", authorization=authorization).status == 200


def test_environments() -> None:
    """Objects of one environment are not visible in another, by list or by id."""
    account = Account(tokens=TWO)
    mine, other = basic("one", "secret-1"), basic("two", "secret-2")
    body = {"inputs": [{"url": "https://x.example/a.mp4"}], "playback_policies": ["public"]}
    asset = account.send("POST", "/video/v1/assets", body, authorization=mine).json()["data"]
    playback_id = asset["playback_ids"][0]["id"]

    for path in (f"/video/v1/assets/{asset['id']}", f"/video/v1/playback-ids/{playback_id}"):
        assert account.send("GET", path, authorization=mine).status == 200
        assert account.send("GET", path, authorization=other).status == 404
    assert account.send("GET", "/video/v1/assets", authorization=other).json()["data"] == []


def test_whoami() -> None:
    """Every token may call whoami; environments have stable six-character ids; an account has one organisation."""
    account = Account(tokens=TWO)

    answers = [
        account.send("GET", "/system/v1/whoami", authorization=basic(token.id, token.secret.reveal())).json()["data"]
        for token in TWO
    ]

    assert [answer["environment_name"] for answer in answers] == ["development", "production", "development"]
    assert [answer["environment_type"] for answer in answers] == ["development", "production", "development"]
    assert answers[0]["environment_id"] == answers[2]["environment_id"] != answers[1]["environment_id"]
    assert all(len(answer["environment_id"]) == 6 for answer in answers)
    assert len({answer["organization_id"] for answer in answers}) == 1
    assert answers[2]["permissions"] == ["video:read"]


def test_permissions() -> None:
    """A token can do what its permissions allow; the rest is a 403."""
    account = Account(tokens=TWO)
    reader = basic("reader", "secret-3")

    refused = account.send("POST", "/video/v1/uploads", {}, authorization=reader)

    assert account.send("GET", "/video/v1/assets", authorization=reader).status == 200
    assert refused.status == 403
    assert refused.json()["error"]["type"] == "forbidden"
    assert account.send("GET", "/system/v1/signing-keys", authorization=reader).status == 403


def test_arrivals() -> None:
    """The log has time, method, path without query, bucket, status and environment of every request, also over HTTP."""
    account = Account(tokens=TWO)
    account.send("GET", "/video/v1/assets?limit=1", authorization=basic("two", "secret-2"))
    account.send("GET", "/video/v1/assets", authorization="Basic x")
    account.pass_time(2.5)
    account.send("POST", "/video/v1/uploads", {}, authorization=basic("one", "secret-1"))

    listed = account.send("GET", "/_emulator/arrivals").json()["arrivals"]

    assert [(entry["method"], entry["path"], entry["bucket"], entry["status"], entry["environment"]) for entry in listed] == [
        ("GET", "/video/v1/assets", "other", 200, "production"),
        ("GET", "/video/v1/assets", None, 401, None),
        ("POST", "/video/v1/uploads", "post", 201, "development"),
    ]
    assert listed[2]["at"] - listed[0]["at"] == 2.5
    assert len(account.emulator.arrivals) == 3


def test_bounded_log() -> None:
    """The log keeps the last requests only, and a callback gets every one."""
    seen: list[int | None] = []
    account = Account(max_arrivals=2, on_arrival=lambda arrival: seen.append(arrival.status))
    for limit in ("1", "x", "1"):
        account.send("GET", f"/video/v1/assets?limit={limit}")

    assert seen == [200, 400, 200]
    assert [arrival.status for arrival in account.emulator.arrivals] == [400, 200]


def test_redaction(caplog: pytest.LogCaptureFixture) -> None:
    """Secrets and signatures are not in logs, representations or the log of requests."""
    canary = "c4n4ry-secret"
    settings = EmulatorSettings(tokens=(Token("id", canary, bearer=canary),), limits=None)
    with caplog.at_level(logging.DEBUG):
        emulator = Emulator(settings)
        headers = {"Authorization": basic("id", canary)}
        upload = emulator.handle(Request("POST", "/video/v1/uploads", headers, b"{}")).json()["data"]
        request = Request("PUT", "/" + upload["url"].split("/", 3)[3], {"Authorization": basic("id", canary)}, b"x")
        emulator.handle(request)
        emulator.handle(Request("GET", f"/x.m3u8?token={canary}"))
    shown = " ".join([caplog.text, repr(settings), repr(settings.tokens), repr(request), repr(emulator.arrivals)])

    assert caplog.records
    assert canary not in shown
    assert basic("id", canary).removeprefix("Basic ") not in shown
    assert "Signature" not in shown
