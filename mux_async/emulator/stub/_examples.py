"""Generates examples: values for a schema, and webhook events of every type in the envelope of facts/BEHAVIOUR.md, section 7.2.

They are plausible, and the same for the same schema and seed.
"""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

import attrs

from mux_async.emulator.state._ids import encode
from mux_async.emulator.state._serialization import iso
from mux_async.emulator.validation._spec import JsonSchema, Spec, load
from mux_async.emulator.webhooks._events import envelope_json

EPOCH = 1_767_225_600
"""The time of everything that is generated: the first second of 2026."""
_MAX_DEPTH = 12
_PREFERRED_VALUES = ("ready", "completed", "complete", "idle", "waiting", "public", "en")
"""Enum values that show an object in the state most clients hope for."""
_OMITTED_MEMBERS = frozenset({"active_asset_id", "error", "errors", "non_standard_input_reasons"})
"""Optional members that would contradict such a state."""
_TEXTS: Mapping[str, str] = {
    "address": "https://example.com/webhooks",
    "aspect_ratio": "16:9",
    "environment_type": "development",
    "ext": "mp4",
    "filesize": "1048576",
    "language_code": "en",
    "url": "https://example.com/film.mp4",
}


@attrs.frozen
class Examples:
    """Generates values; another *seed* gives other ids."""

    spec: Spec
    seed: str

    def make(self, schema: JsonSchema, name: str = "", path: str = "", depth: int = 0) -> Any:
        """Generate a value that fits *schema*.

        *path* makes ids of one answer differ. From a *depth* on, objects have only required members, and lists are as short as they may be.
        """
        schema = self.spec.resolve(schema)
        if "oneOf" in schema:
            tag, reference = next(iter(schema["discriminator"]["mapping"].items()))
            made: dict[str, Any] = self.make({"$ref": reference}, name, path, depth + 1)
            return {**made, schema["discriminator"]["propertyName"]: tag}
        if "enum" in schema:
            return next((value for value in _PREFERRED_VALUES if value in schema["enum"]), schema["enum"][0])
        kinds: Any = schema.get("type", "object")
        kind: str = kinds if isinstance(kinds, str) else kinds[0]
        match kind:
            case "object":
                return self._object(schema, path, depth)
            case "array":
                count = max(schema.get("minItems", 0), 1 if depth < _MAX_DEPTH else 0)
                return [self.make(schema["items"], name, f"{path}[{index}]", depth + 1) for index in range(count)]
            case "string":
                return self._text(schema, name, path)
            case "boolean":
                return bool(schema.get("default", False))
            case _:
                return _number(schema, whole=kind == "integer")

    def _object(self, schema: JsonSchema, path: str, depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            name: self.make(member, name, f"{path}.{name}", depth + 1)
            for name, member in schema.get("properties", {}).items()
            if name in required or (depth < _MAX_DEPTH and name not in _OMITTED_MEMBERS)
        }

    def id(self, path: str) -> str:
        """Generate an id, a different one for each *path*."""
        return encode(self._digest(path))

    def _digest(self, path: str) -> bytes:
        return sha256(f"{self.seed}/{path}".encode()).digest()

    def _text(self, schema: JsonSchema, name: str, path: str) -> str:
        match schema.get("format"):
            case "date-time":
                return "2026-01-01T00:00:00Z"
            case "date":
                return "2026-01-01"
            case "uuid":
                return str(uuid.UUID(bytes=self._digest(path)[:16], version=4))
            case "byte":
                return b64encode(self._digest(path)).decode()
            case _:
                pass
        if schema.get("x-time"):
            return str(EPOCH)
        if name == "id" or name.endswith("_id"):
            text = self.id(path)
        elif name.endswith("_url"):
            text = _TEXTS["url"]
        else:
            text = _TEXTS.get(name, schema.get("default", name or "text"))
        return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", len(text) + 1000)]


def _number(schema: JsonSchema, *, whole: bool) -> float:
    if schema.get("x-time"):
        return EPOCH
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    usual = max(least, 1)
    value: float = schema.get("default", min(usual, schema.get("maximum", usual)))
    if value <= schema.get("exclusiveMinimum", value - 1):
        value += 1
    return int(value) if whole else float(value)


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
    event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}/{kind}"))
    subject = _KINDS.get(family[-1], family[-1]), str(example.get("id", ""))
    content = {kind: example} if kind.startswith(("robots.job.", "robots.v1.job.")) else example
    return envelope_json(kind, event_id, iso(now.timestamp()), subject, ("Development", "j0863n"), content)
