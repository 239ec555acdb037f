"""An account whose responses and events are all validated against the facts, for tests of whole life cycles."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, cast

import orjson
from jsonschema import Draft202012Validator

from mux_async.emulator import EmulatorSettings, Response, WebhookEvent, WebhookRequest, WebhookSettings
from mux_async.webhooks import UnknownEvent, parse_event
from tests.emulator.described import document, validate_response
from tests.emulator.harness import Account, Json
from tests.generated import spec

HOOK = "https://app.example/hooks"
SECRET = "hush"


@cache
def _routes() -> list[tuple[str, re.Pattern[str], str]]:
    """Verb, pattern of the path and id of every operation; the paths with the fewest parameters come first."""
    ordered = sorted(spec.operations(), key=lambda operation: operation.path.count("{"))
    return [(one.verb, re.compile(re.sub(r"\{\w+\}", "[^/]+", one.path)), one.id) for one in ordered]


def operation_id(method: str, target: str) -> str | None:
    """Return the id of the operation that a request is for, such as ``video.assets.create``; ``None`` if there is none."""
    path = target.partition("?")[0]
    return next((found for verb, pattern, found in _routes() if verb == method and pattern.fullmatch(path)), None)


@cache
def event_facts() -> dict[str, str]:
    """Every event type, and the reference of the schema of its data."""
    return {entry["type"]: entry["data_ref"] for entry in spec.document()["x-events"]}


@cache
def _validator(reference: str) -> Any:
    root = spec.document()["x-envelope"] if reference == "envelope" else {"$ref": reference}
    return Draft202012Validator({**root, "components": document()["components"]})


def validate_event(body: bytes | str) -> Json:
    """Validate an event against the facts: envelope, type and data; and parse it with the SDK.

    Raises:
        AssertionError: It differs; the message says where.
    """
    envelope = cast("Json", orjson.loads(body))
    schema = event_facts().get(envelope["type"])
    assert schema is not None, f"Mux has no event {envelope['type']}"
    content = envelope["data"]
    if envelope["type"].startswith(("robots.job.", "robots.v1.job.")):
        content = content[envelope["type"]]
    problems = [f"{error.json_path}: {error.message[:300]}" for error in _validator("envelope").iter_errors(envelope)]
    problems += [f"{error.json_path}: {error.message[:300]}" for error in _validator(schema).iter_errors(content)]
    assert problems == [], envelope["type"]
    assert not isinstance(parse_event(envelope), UnknownEvent)
    return envelope


def statuses_of(type: str) -> list[str]:
    """The values that ``status`` may have in the data of an event; empty if the data have no such member."""
    properties = spec.resolve({"$ref": event_facts()[type]}).get("properties", {})
    return cast("list[str]", spec.resolve(properties.get("status", {})).get("enum", []))


class ValidatingAccount(Account):
    """An account that validates its responses. ``answered`` has the ids of the operations that succeeded."""

    def __init__(self, settings: EmulatorSettings | None = None, **changes: Any) -> None:
        super().__init__(settings, **changes)
        self.answered: set[str] = set()

    def send(self, method: str, target: str, body: object = None, **more: Any) -> Response:
        response = super().send(method, target, body, **more)
        found = operation_id(method, target)
        if found is not None and 200 <= response.status < 300:
            validate_response(found, response)
            self.answered.add(found)
        return response

    @property
    def events(self) -> tuple[WebhookEvent, ...]:
        """The events so far, validated."""
        events = tuple(self.emulator.events)
        for event in events:
            validate_event(event.body)
        return events

    def names(self, *, since: int = 0) -> list[str]:
        """The types of the events so far, in order, without the prefix ``video.``."""
        return [event.type.removeprefix("video.") for event in self.events[since:]]

    def last(self, type: str) -> Json:
        """The data of the last event of a type."""
        found = [event for event in self.events if event.type == type]
        assert found, type
        return cast("Json", orjson.loads(found[-1].body)["data"])


def account_with_webhook(**changes: Any) -> ValidatingAccount:
    """An account with one webhook endpoint in its settings."""
    return ValidatingAccount(EmulatorSettings(limits=None, webhooks=(WebhookSettings(HOOK, SECRET),)), **changes)


def deliver(account: Account, status: int | None = 200) -> list[WebhookRequest]:
    """Take all webhooks that are due, and report *status* for each."""
    requests = account.emulator.take_webhooks()
    for request in requests:
        account.emulator.settle_webhook(request.delivery_id, status, None if status is not None else "refused")
    return requests
