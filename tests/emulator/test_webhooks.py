"""Webhook endpoints, and deliveries: signatures, retries, duplicates, lost and late ones, on a clock that tests set."""

from __future__ import annotations

import hmac
import itertools
from collections import Counter
from hashlib import sha256
from typing import Any

import attrs
import orjson
import pytest

from mux_async.emulator import (
    EmulatorSettings,
    Token,
    WebhookFault,
    WebhookRequest,
    WebhookRetries,
    WebhookSettings,
    sign_webhook,
)
from tests.emulator.harness import START, basic
from tests.emulator.validating import HOOK, SECRET, ValidatingAccount, account_with_webhook, deliver, validate_event

PATH = "/system/v1/webhooks"
OTHER = "https://other.example/hooks"


def is_signed(request: WebhookRequest, secret: str, at: float) -> bool:
    """Check a signature as the official clients do: scheme v1 over time, dot and body."""
    parts = dict(part.split("=", 1) for part in request.headers["Mux-Signature"].split(","))
    expected = hmac.new(secret.encode(), f"{parts['t']}.".encode() + request.body, sha256).hexdigest()
    return hmac.compare_digest(parts["v1"], expected) and int(parts["t"]) == int(at)


@pytest.mark.parametrize(
    ("secret", "at", "body", "digest"),
    [
        ("SuperSecret123", 1565125718, b'{"test":"body"}', "854ece4c22acef7c66b57d4e504153bc512595e8e9c772ece2a68150548c19a7"),
        (
            "SuperSecret123",
            1565125718,
            b'{"test":{"nested":{"nanos":718234, "seconds":1691711005}}}',
            "bd315c24bce1c2b8ad325696f26530c8ef7d7d830afb7c1381903705d04607be",
        ),
        ("SuperSecret123", 1591664030, b"payload", "e43496b6aae982c4c2fd6f8e92935f1d90216f1f64d56024e72390acfb988272"),
    ],
)
def test_vectors(secret: str, at: int, body: bytes, digest: str) -> None:
    """Signatures are those of the public test vectors (facts/BEHAVIOUR.md, section 7.4)."""
    assert sign_webhook(secret, at, body) == f"t={at},v1={digest}"


def test_endpoints() -> None:
    """Endpoints are created with a secret that only this response has, listed newest first with a total, changed and deleted."""
    account = ValidatingAccount()
    first = account.data("POST", PATH, {"address": HOOK})
    second = account.data("POST", PATH, {"address": OTHER})
    one = f"{PATH}/{first['id']}"
    listed = account.ok("GET", f"{PATH}?limit=1")

    assert first["signing_secret"] != second["signing_secret"]
    assert first["enabled"] is True
    assert first["created_at"] == "2026-01-01T00:00:00.000000Z"
    assert [entry["id"] for entry in listed["data"]] == [second["id"]]
    assert (listed["total_row_count"], listed["page"], listed["limit"]) == (2, 1, 1)
    assert account.data("GET", one) == {key: value for key, value in first.items() if key != "signing_secret"}
    assert account.data("PATCH", one, {"enabled": False})["enabled"] is False
    assert account.data("PATCH", one, {"address": "http://127.0.0.1:9/x"})["address"] == "http://127.0.0.1:9/x"
    assert account.error("PATCH", one, {})[0] == 400
    assert account.send("DELETE", one).status == 204
    assert account.error("GET", one)[0] == 404
    assert account.error("GET", f"{PATH}/somefakeid")[0] == 400


def test_addresses() -> None:
    """An address is a URL, and unique in its environment; once deleted it can be used again, with a new id and secret."""
    account = ValidatingAccount()
    first = account.data("POST", PATH, {"address": HOOK})
    other = account.data("POST", PATH, {"address": OTHER})

    for body in ({"address": HOOK}, {"address": "ftp://x.example"}, {"address": "x"}, {"address": "http://["}, {}):
        assert account.error("POST", PATH, body)[0] == 400
    assert account.error("PATCH", f"{PATH}/{other['id']}", {"address": HOOK})[0] == 400
    assert account.data("PATCH", f"{PATH}/{first['id']}", {"address": HOOK})["address"] == HOOK
    account.send("DELETE", f"{PATH}/{first['id']}")
    again = account.data("POST", PATH, {"address": HOOK})
    assert again["id"] != first["id"]
    assert again["signing_secret"] != first["signing_secret"]


def test_delivery() -> None:
    """Every event goes to every endpoint of its environment, in order, signed with the endpoint's own secret."""
    account = account_with_webhook()
    made = account.data("POST", PATH, {"address": OTHER})

    account.create_asset()
    account.pass_time(1.0)
    requests = deliver(account)

    assert [(request.url, request.event_type.rpartition(".")[2]) for request in requests] == [
        (HOOK, "created"),
        (OTHER, "created"),
        (HOOK, "ready"),
        (OTHER, "ready"),
    ]
    for request in requests:
        validate_event(request.body)
        assert request.headers["Content-Type"] == "application/json"
        assert is_signed(request, SECRET if request.url == HOOK else made["signing_secret"], account.clock.now)
    assert {delivery.status for delivery in account.emulator.deliveries} == {"delivered"}


def test_environments() -> None:
    """Events stay in their environment, and an endpoint from the settings may be for one of them only."""
    tokens = (Token("a", "a", "stage"), Token("b", "b", "live"))
    hooks = (WebhookSettings(HOOK, "s"), WebhookSettings(OTHER, environment="live"))
    account = ValidatingAccount(EmulatorSettings(limits=None, tokens=tokens, webhooks=hooks))

    account.send("POST", "/video/v1/live-streams", {}, authorization=basic("a", "a"))
    account.send("POST", "/video/v1/live-streams", {}, authorization=basic("b", "b"))

    found = [(request.url, orjson.loads(request.body)["environment"]["name"]) for request in deliver(account)]
    assert found == [(HOOK, "stage"), (HOOK, "live"), (OTHER, "live")]


def test_retries() -> None:
    """A delivery without a 2xx is retried with doubling delays for a day, with the same event and a new signature."""
    account = account_with_webhook()
    account.create_upload(cors_origin="*")
    at: list[float] = []
    ids: set[str] = set()
    bodies: set[bytes] = set()
    while account.emulator.deliveries[0].status == "waiting":
        for request in deliver(account, status=500 if len(at) % 2 else None):
            at.append(account.clock.now - START)
            assert is_signed(request, SECRET, account.clock.now)
            assert request.attempt == len(at)
            ids.add(request.event_id)
            bodies.add(request.body)
        due = account.emulator.deliveries[0].next_at
        account.clock.now = account.clock.now if due is None else due

    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert pauses[:7] == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0]
    assert set(pauses[7:]) == {3600.0}
    assert 23 * 3600.0 < at[-1] <= 24 * 3600.0
    assert (len(ids), len(bodies)) == (1, 1)
    (delivery,) = account.emulator.deliveries
    assert delivery.status == "failed"
    assert [attempt.status for attempt in delivery.attempts[:3]] == [None, 500, None]
    assert delivery.attempts[0].error == "refused"


def test_retry_succeeds() -> None:
    """Any 2xx ends a delivery; a redirect is a failure."""
    account = account_with_webhook()
    account.create_upload(cors_origin="*")

    for status in (301, 404, 204):
        assert len(deliver(account, status=status)) == 1
        account.pass_time(3600.0)

    assert deliver(account) == []
    assert [attempt.status for attempt in account.emulator.deliveries[0].attempts] == [301, 404, 204]


def test_lost_carrier() -> None:
    """An attempt without a report counts as failed, and a late report changes nothing."""
    account = account_with_webhook()
    account.create_upload(cors_origin="*")
    (taken,) = account.emulator.take_webhooks()

    account.pass_time(10.0)
    waiting = account.emulator.deliveries[0]
    account.emulator.settle_webhook(taken.delivery_id, 200)

    assert waiting.status == "waiting"
    assert waiting.attempts[0].error == "no answer in time"
    assert account.emulator.deliveries[0].status == "waiting"
    account.pass_time(60.0)
    assert [request.attempt for request in deliver(account)] == [2]


def test_one_at_a_time() -> None:
    """A sender can take one attempt per endpoint, and none for endpoints that are busy."""
    account = account_with_webhook()
    account.data("POST", PATH, {"address": OTHER})
    for _ in range(2):
        account.create_upload(cors_origin="*")

    taken = account.emulator.take_webhooks(())
    more = account.emulator.take_webhooks({request.endpoint_id for request in taken})

    assert [request.url for request in taken] == [HOOK, OTHER]
    assert more == []
    assert [request.url for request in account.emulator.take_webhooks({taken[0].endpoint_id})] == [OTHER]


def test_disabled_and_deleted() -> None:
    """A disabled endpoint gets no deliveries, and those to a deleted endpoint are dropped."""
    account = ValidatingAccount()
    first = account.data("POST", PATH, {"address": HOOK})
    account.create_upload(cors_origin="*")
    account.data("PATCH", f"{PATH}/{first['id']}", {"enabled": False})
    account.create_upload(cors_origin="*")

    assert deliver(account) == []
    assert [delivery.status for delivery in account.emulator.deliveries] == ["dropped"]
    account.data("PATCH", f"{PATH}/{first['id']}", {"enabled": True})
    account.create_upload(cors_origin="*")
    account.send("DELETE", f"{PATH}/{first['id']}")
    assert deliver(account) == []
    assert [delivery.status for delivery in account.emulator.deliveries] == ["dropped", "dropped"]


def test_time_scale() -> None:
    """The time scale applies to retries, too."""
    account = account_with_webhook(time_scale=60.0)
    account.create_upload(cors_origin="*")
    deliver(account, status=503)

    account.pass_time(1.0)

    assert [request.attempt for request in deliver(account)] == [2]


def test_lost() -> None:
    """A fault loses the deliveries that it matches, and no others; they stay in the log."""
    account = account_with_webhook()
    account.emulator.webhook_faults.add(WebhookFault(type=r"video\.asset\.ready", nth=1, lose=True))

    account.ready_asset()
    account.ready_asset()

    types = [request.event_type for request in deliver(account)]
    assert types == ["video.asset.created", "video.asset.created", "video.asset.ready"]
    assert [delivery.status for delivery in account.emulator.deliveries] == ["delivered", "lost", "delivered", "delivered"]


def test_repeated() -> None:
    """A fault delivers the same event twice, although the first delivery succeeded."""
    account = account_with_webhook()
    account.emulator.webhook_faults.add(WebhookFault(copies=2))

    account.create_upload(cors_origin="*")
    first, second = deliver(account)

    assert first.event_id == second.event_id
    assert first.body == second.body
    assert first.delivery_id != second.delivery_id


def test_out_of_order() -> None:
    """A delayed delivery arrives after later ones."""
    account = account_with_webhook()
    account.emulator.webhook_faults.add(WebhookFault(type=r".*\.created", delay=30.0))
    account.create_asset()

    account.pass_time(1.0)
    early = deliver(account)
    account.pass_time(30.0)
    late = deliver(account)

    assert [request.event_type for request in early] == ["video.asset.ready"]
    assert [request.event_type for request in late] == ["video.asset.created"]


def _statuses(seed: int, chance: float) -> list[str]:
    account = account_with_webhook(seed=seed)
    account.emulator.webhook_faults.add(WebhookFault(lose=True, chance=chance))
    for _ in range(200):
        account.create_upload()
    return [delivery.status for delivery in account.emulator.deliveries]


def test_chance() -> None:
    """The chance of a fault is kept on average, and the same seed selects the same deliveries."""
    found = _statuses(1, 0.25)

    assert 25 <= Counter(found)["lost"] <= 75
    assert _statuses(1, 0.25) == found
    assert _statuses(2, 0.25) != found


def test_jitter() -> None:
    """Jitter delays deliveries at random, so that their order changes; all arrive."""
    account = account_with_webhook()
    account.emulator.webhook_faults.add(WebhookFault(jitter=10.0))
    wanted = [account.create_upload(cors_origin="*")["id"] for _ in range(20)]
    got: list[str] = []
    for _ in range(11):
        got += [orjson.loads(request.body)["object"]["id"] for request in deliver(account)]
        account.pass_time(1.0)

    assert got != wanted
    assert sorted(got) == sorted(wanted)


def test_control() -> None:
    """Control calls return the log of deliveries and events, and add and clear faults of deliveries."""
    account = account_with_webhook()
    faults = "/_emulator/webhooks/faults"
    assert account.send("POST", faults, [{"type": "video\\.upload\\.created", "copies": 2}]).status == 204
    account.create_upload(cors_origin="*")
    deliver(account, status=500)
    assert account.send("DELETE", faults).status == 204
    account.create_upload(cors_origin="*")
    log = account.ok("GET", "/_emulator/webhooks")["webhooks"]

    assert [entry["status"] for entry in log] == ["waiting"] * 3
    assert log[0]["attempts"] == [{"at": START, "status": 500, "error": None}]
    assert log[0]["type"] == "video.upload.created"
    assert SECRET not in str(log)
    assert [event["type"] for event in account.ok("GET", "/_emulator/events")["events"]] == ["video.upload.created"] * 2
    for bad in (b"{", {"copies": 0}, {"typ": "x"}, {"type": "("}, [5], {"nth": "first"}):
        assert account.send("POST", faults, bad).status == 400, bad


def test_request_faults_by_control() -> None:
    """Control calls add and clear faults of requests, too."""
    account = ValidatingAccount()
    path = "/_emulator/faults"

    assert account.send("POST", path, {"method": "GET", "nth": [1], "status": 503}).status == 204
    statuses = [account.send("GET", "/video/v1/assets").status for _ in range(2)]
    account.send("POST", path, {"status": 418})
    account.send("DELETE", path)
    statuses.append(account.send("GET", "/video/v1/assets").status)

    assert statuses == [503, 200, 200]
    assert account.send("POST", path, {"cut": "sideways"}).status == 400


def test_log_is_bounded() -> None:
    """Finished deliveries are dropped from the log, oldest first; others are kept."""
    account = account_with_webhook(max_events=2)
    account.create_upload(cors_origin="*")
    for _ in range(5):
        account.create_upload(cors_origin="*")
    assert len(account.emulator.deliveries) == 6

    deliver(account)
    account.create_upload(cors_origin="*")

    assert len(account.emulator.deliveries) == 2


def test_secrets_do_not_show() -> None:
    """The representation of a value contains neither an endpoint's secret nor a signature."""
    account = account_with_webhook()
    account.create_upload(cors_origin="*")
    (request,) = deliver(account)

    shown: Any = [request, *account.emulator.deliveries, *account.emulator.events, account.emulator.settings]
    assert SECRET not in repr(shown)
    assert request.headers["Mux-Signature"] not in repr(shown)


def test_settings() -> None:
    """Invalid settings are refused when they are created."""
    for wrong in (
        lambda: WebhookSettings("app.example/hooks"),
        lambda: WebhookRetries(first=0.0),
        lambda: WebhookFault(chance=2.0),
        lambda: attrs.evolve(EmulatorSettings(), time_scale=0.0),
    ):
        with pytest.raises(ValueError, match=r".+"):
            wrong()
