"""Made-up events of every type, as Mux would send them: data from the described schemas, in the envelope of facts/BEHAVIOUR.md, 7.2."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mux_async.emulator.stub._examples import Examples
from mux_async.emulator.validation._spec import load

_KINDS = {"live_stream": "live"}
"""Kinds of objects that are called otherwise in types (facts/BEHAVIOUR.md, section 6.2)."""


def sample_event(kind: str, seed: str, now: datetime, changes: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Make up an event.

    Args:
        kind: Its type; one of `mux_async.webhooks.EVENTS`.
        seed: What its ids depend on: another seed, other ids.
        now: When it happens.
        changes: Members of its data to put in place of the made-up ones.

    Raises:
        KeyError: There is no such type.
    """
    spec = load()
    schema = spec.resolve({"$ref": spec.events[kind]})
    data: dict[str, Any] = Examples(spec, seed).make(schema, "data")
    allowed: list[object] = list(spec.resolve(schema["properties"].get("status", {})).get("enum", ()))
    *family, what = kind.split(".")
    if what in allowed:
        data["status"] = what
    elif "preparing" in allowed and what == "created":
        data["status"] = "preparing"
    if "created_at" in data and isinstance(data["created_at"], int):
        data["created_at"] = int(now.timestamp()) - 60
    data.update(changes or {})
    return {
        "type": kind,
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}/{kind}")),
        "created_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "object": {"type": _KINDS.get(family[-1], family[-1]), "id": str(data.get("id", ""))},
        "environment": {"name": "Development", "id": "j0863n"},
        "data": data,
        "request_id": None,
        "attempts": [],
        "accessor": None,
        "accessor_source": None,
    }
