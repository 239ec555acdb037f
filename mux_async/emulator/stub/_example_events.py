"""Example webhook events of every type: data that fits the API description, in the envelope of facts/BEHAVIOUR.md, section 7.2."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mux_async.emulator.stub._examples import Examples
from mux_async.emulator.validation._spec import load

_KINDS = {"live_stream": "live"}
"""Kinds of objects that are called otherwise in types (facts/BEHAVIOUR.md, section 6.2)."""


def example_event(kind: str, now: datetime, *, seed: str = "", data: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return the body of a webhook of type *kind*, before it is encoded as JSON.

    Args:
        kind: The event's type, one of `mux_async.webhooks.EVENTS`.
        now: When the event happens; with a time zone.
        seed: Ids depend on it: the same seed gives the same ids.
        data: Members that replace those of the example.

    Raises:
        KeyError: There is no such type.
    """
    spec = load()
    schema = spec.resolve({"$ref": spec.events[kind]})
    example: dict[str, Any] = Examples(spec, seed).make(schema, "data")
    allowed: list[object] = list(spec.resolve(schema["properties"].get("status", {})).get("enum", ()))
    *family, what = kind.split(".")
    if what in allowed:
        example["status"] = what
    elif "preparing" in allowed and what == "created":
        example["status"] = "preparing"
    if "created_at" in example and isinstance(example["created_at"], int):
        example["created_at"] = int(now.timestamp()) - 60
    example.update(data or {})
    return {
        "type": kind,
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}/{kind}")),
        "created_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "object": {"type": _KINDS.get(family[-1], family[-1]), "id": str(example.get("id", ""))},
        "environment": {"name": "Development", "id": "j0863n"},
        "data": {kind: example} if kind.startswith(("robots.job.", "robots.v1.job.")) else example,
        "request_id": None,
        "attempts": [],
        "accessor": None,
        "accessor_source": None,
    }
