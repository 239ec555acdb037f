"""AWS Lambda: the events of API Gateway, function URLs and load balancers, as deliveries."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from mux_async.webhooks import SignatureError, WebhookEvent, WebhookRouter, sign, unwrap
from mux_async.webhooks.aws_lambda import endpoint, read_event
from tests.webhooks.samples import NOW, SECRET, body_of

BODY = body_of(data={"id": "asset-1", "passthrough": "\u00e9"})
TEXT, BASE64, SIGNATURE = BODY.decode(), base64.b64encode(BODY).decode(), sign(BODY, SECRET, at=NOW)

EVENTS: dict[str, dict[str, Any]] = {
    "1.0": {
        "version": "1.0",
        "resource": "/webhooks/mux",
        "path": "/webhooks/mux",
        "httpMethod": "POST",
        "headers": {"Content-Type": "application/json", "Mux-Signature": SIGNATURE},
        "multiValueHeaders": {"Content-Type": ["application/json"], "Mux-Signature": [SIGNATURE]},
        "queryStringParameters": None,
        "requestContext": {},
        "body": TEXT,
        "isBase64Encoded": False,
    },
    "1.0 in Base64": {
        "httpMethod": "POST",
        "headers": {"Mux-Signature": SIGNATURE},
        "multiValueHeaders": None,
        "body": BASE64,
        "isBase64Encoded": True,
    },
    "2.0": {
        "version": "2.0",
        "routeKey": "POST /webhooks/mux",
        "headers": {"content-type": "application/json", "mux-signature": SIGNATURE},
        "requestContext": {"http": {"method": "POST"}},
        "body": TEXT,
        "isBase64Encoded": False,
    },
    "2.0 in Base64": {"version": "2.0", "headers": {"mux-signature": SIGNATURE}, "body": BASE64, "isBase64Encoded": True},
    "load balancer": {
        "requestContext": {"elb": {}},
        "httpMethod": "POST",
        "headers": {"mux-signature": SIGNATURE},
        "body": TEXT,
        "isBase64Encoded": False,
    },
    "load balancer, lists": {
        "requestContext": {"elb": {}},
        "httpMethod": "POST",
        "multiValueHeaders": {"mux-signature": [SIGNATURE], "accept": ["a", "b"]},
        "body": BASE64,
        "isBase64Encoded": True,
    },
}


@pytest.mark.parametrize("kind", EVENTS)
def test_events(kind: str) -> None:
    """Body and headers of every format verify, and a function made of a router handles each delivery once."""
    delivery = read_event(EVENTS[kind])
    assert delivery.body == BODY
    assert unwrap(delivery.body, delivery.headers, SECRET, now=NOW).type == "video.asset.ready"

    hooks, seen = WebhookRouter(SECRET, clock=lambda: NOW), list[str]()

    @hooks.on("video.asset.ready")
    async def note(event: WebhookEvent) -> None:
        seen.append(event.id)

    handler = endpoint(hooks)
    answers = [handler(EVENTS[kind], None) for _ in range(2)]
    assert [(each["statusCode"], each["body"]) for each in answers] == [(200, "handled"), (200, "handled before")]
    assert len(seen) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"headers": None, "multiValueHeaders": None},
        {"headers": {"mux-signature": None}, "multiValueHeaders": None},
        {"multiValueHeaders": {"mux-signature": [SIGNATURE, SIGNATURE]}},
        {"body": None},
        {"body": TEXT + " "},
        {"body": TEXT, "isBase64Encoded": True},
        {"body": BASE64},
        {"body": {"type": "video.asset.ready"}},
        {"body": "\ud800"},
        {"body": 5},
    ],
    ids=str,
)
def test_refused(change: dict[str, Any]) -> None:
    """An unsigned event, or one in another format, is a `SignatureError`, and the function returns a 400."""
    event = {**EVENTS["1.0"], **change}
    with pytest.raises(SignatureError):
        unwrap((delivery := read_event(event)).body, delivery.headers, SECRET, now=NOW)

    answer = endpoint(WebhookRouter(SECRET, clock=lambda: NOW))(event, None)
    assert answer["statusCode"] == 400


@pytest.mark.parametrize("event", [{}, {"Records": []}, None, "text", []])
def test_no_request(event: Any) -> None:
    """An event that is not an HTTP request, such as one of a queue or of the console's test button, is refused by name."""
    with pytest.raises(SignatureError, match="API Gateway"):
        read_event(event)

    assert endpoint(WebhookRouter(SECRET))(event, None)["statusCode"] == 400


def test_base64_that_was_not_decoded() -> None:
    """If the Base64 text of an event is passed as the body, the message says so, and what decodes it."""
    with pytest.raises(SignatureError, match="aws_lambda"):
        unwrap(BASE64.encode(), SIGNATURE, SECRET, now=NOW)
