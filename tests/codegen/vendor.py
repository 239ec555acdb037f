"""A description of the API in a vendor's style, made from our facts: other names, another order, prose, examples."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, cast

import attrs

from codegen import FACTS, SCHEMAS, Json, _facts, _layers
from codegen.refresh import Change, Kind

PROSE = "Lorem vendor prose, which must not get anywhere."
Seed = tuple[Change, Kind, str]


@attrs.frozen
class Style:
    """How a description is written.

    Attributes:
        version: Of OpenAPI.
        inline: How often a reference is replaced by what it leads to.
        split: How often an object is cut into an ``allOf``.
    """

    version: str = "3.1.0"
    inline: float = 0.1
    split: float = 0.1
    names: Callable[[str], str] = attrs.field(default=lambda name: f"Vendor{name}")


def stated_facts(folder: Path) -> Path:
    """Copy the facts, with everything in them stated, so that nothing is left to confirm."""
    target = Path(shutil.copytree(FACTS, folder / "facts"))
    for path in target.glob("*.json"):
        rewrite(path, _stated)
    return target


def _stated(node: Json) -> Json:
    sure = {key: value for key, value in node.items() if key != "x-status-inferred"}
    return {**sure, "x-confidence": "stated"} if "x-confidence" in node else sure


def rewrite(path: Path, change: Callable[[Json], Json]) -> None:
    """Change every object of a file of the facts, and pin the file anew."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            changed = {key: walk(value) for key, value in cast("Json", node).items()}
            return change(changed)
        return [walk(item) for item in node] if node.__class__ is list else node

    document = json.loads(path.read_text("utf-8"))
    store(path, {key: value if key == "x-legend" else walk(value) for key, value in document.items()})


def store(path: Path, document: Json) -> None:
    """Write a file of the facts, and pin it."""
    origin = path.parent / "ORIGIN.toml"
    pins = origin.read_text("utf-8")
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(json.dumps(document, indent=1), "utf-8")
    origin.write_text(pins.replace(old, hashlib.sha256(path.read_bytes()).hexdigest()), "utf-8")


def document(folder: Path) -> Json:
    """Return the facts of a folder as one document, with events as webhooks."""
    merged = copy.deepcopy(_layers.merge(_facts.read(folder), is_loose=False))
    for event in merged["x-events"]:
        event["data_ref"] = event["data_ref"] or f"{SCHEMAS}WebhookAssetTrack"
    return merged


def write(merged: Json, seed: object, style: Style) -> Json:
    """Write a document in a vendor's style."""
    return _Writer(merged, Random(str(seed)), style).write()


class _Writer:
    def __init__(self, merged: Json, random: Random, style: Style) -> None:
        self._merged = merged
        self._random = random
        self._style = style
        self._schemas: Json = merged["components"]["schemas"]
        self._parameters: Json = {}

    @property
    def _is_old(self) -> bool:
        return self._style.version.startswith("3.0")

    def _shuffled(self, members: Json) -> Json:
        names = list(members)
        self._random.shuffle(names)
        return {name: members[name] for name in names}

    def write(self) -> Json:
        paths: Json = {}
        for path, item in self._shuffled(self._merged["paths"]).items():
            renamed = {name: self._camel(name) for name in re.findall(r"\{(\w+)\}", path)}
            own = path
            for old, new in renamed.items():
                own = own.replace(f"{{{old}}}", f"{{{new}}}")
            paths[own] = {verb: self._operation(raw, renamed) for verb, raw in self._shuffled(item).items()}
        events = {event["type"]: self._webhook(event) for event in self._merged["x-events"]}
        return {
            "openapi": self._style.version,
            "info": {"title": "Vendor API", "version": "v9", "description": PROSE},
            "servers": [{"url": "https://api.mux.com", "description": PROSE}],
            "tags": [{"name": "Things", "description": PROSE}],
            "paths": paths,
            "x-webhooks" if self._is_old else "webhooks": self._shuffled(events),
            "components": {
                "schemas": {self._style.names(name): self._schema(raw) for name, raw in self._shuffled(self._schemas).items()},
                "parameters": self._parameters,
            },
        }

    def _camel(self, name: str) -> str:
        first, *rest = name.lower().split("_")
        return first + "".join(word.capitalize() for word in rest)

    def _operation(self, raw: Json, renamed: dict[str, str]) -> Json:
        made: Json = {
            "operationId": f"{raw['x-operation']}-{self._random.randrange(10**6)}",
            "summary": PROSE,
            "description": PROSE,
            "tags": ["Things"],
            "x-code-samples": [{"lang": "curl", "source": PROSE}],
            "responses": {"404": {"description": PROSE}},
        }
        if raw.get("deprecated"):
            made["deprecated"] = True
        for parameter in raw.get("parameters", ()):
            own = {
                "name": renamed.get(parameter["name"], parameter["name"]),
                "in": parameter["in"],
                "required": parameter["required"],
                "description": PROSE,
                "schema": self._schema(parameter["schema"]),
            }
            if self._random.random() < 0.3:
                key = f"parameter_{len(self._parameters)}"
                self._parameters[key] = own
                own = {"$ref": f"#/components/parameters/{key}"}
            made.setdefault("parameters", []).append(own)
        self._random.shuffle(made.get("parameters", []))
        if "requestBody" in raw:
            made["requestBody"] = {
                "description": PROSE,
                "required": raw["requestBody"].get("required", False),
                "content": self._content(raw["requestBody"]["content"]),
            }
        for status, answer in raw["responses"].items():
            made["responses"][status] = {"description": PROSE, "content": self._content(answer.get("content", {}))}
        return made

    def _content(self, content: Json) -> Json:
        return {
            kind: {"schema": self._schema(entry["schema"]), "example": {"note": PROSE}} if entry.get("schema") else {}
            for kind, entry in content.items()
        }

    def _webhook(self, event: Json) -> Json:
        kind: Json = {"type": "string", "enum": [event["type"]]} if self._is_old else {"const": event["type"]}
        data = self._schema(event.get("x-data", {"$ref": event["data_ref"]}))
        body: Json = {
            "type": "object",
            "properties": {"type": kind, "id": {"type": "string"}, "data": data},
            "required": ["type"],
        }
        return {"post": {"description": PROSE, "requestBody": {"content": {"application/json": {"schema": body}}}}}

    def _schema(self, raw: Json, depth: int = 0) -> Json:
        if "$ref" in raw:
            return self._reference(raw, depth)
        made: Json = {"description": PROSE, "x-vendor-note": PROSE}
        for key, value in raw.items():
            match key:
                case "properties":
                    made[key] = {name: self._schema(member, depth + 1) for name, member in self._shuffled(value).items()}
                case "items":
                    made[key] = self._schema(value, depth + 1)
                case "additionalProperties" if isinstance(value, dict):
                    made[key] = self._schema(cast("Json", value), depth + 1)
                case "oneOf" | "anyOf":
                    made[key] = [self._schema({"$ref": choice["$ref"]}, 99) for choice in value]
                case "discriminator":
                    made[key] = {
                        "propertyName": value["propertyName"],
                        "mapping": {tag: self._target(reference) for tag, reference in value["mapping"].items()},
                    }
                case str() if key.startswith("x-"):
                    pass
                case _:
                    made[key] = value
        return self._in_style(made)

    def _in_style(self, made: Json) -> Json:
        if self._is_old and isinstance(made.get("type"), list):
            kinds = [kind for kind in made["type"] if kind != "null"]
            if "null" in made["type"]:
                made["nullable"] = True
            made.pop("type")
            made |= {"type": kinds[0]} if len(kinds) == 1 else {"anyOf": [{"type": kind} for kind in kinds]}
        if self._is_old and "exclusiveMinimum" in made:
            made |= {"minimum": made["exclusiveMinimum"], "exclusiveMinimum": True}
        if made.get("type") == "string" and made.get("enum"):
            made["example"] = made["enum"][0]
        if made.get("type") == "object" and made.get("properties") and self._random.random() < self._style.split:
            names = list(made["properties"])
            first, rest = names[: len(names) // 2], names[len(names) // 2 :]
            halves: list[Json] = [
                {
                    "type": "object",
                    "properties": {name: made["properties"][name] for name in half},
                    "required": [name for name in made.get("required", ()) if name in half],
                }
                for half in (first, rest)
            ]
            return {"description": PROSE, "allOf": halves}
        return made

    def _reference(self, raw: Json, depth: int) -> Json:
        target: Json = self._schemas[raw["$ref"].removeprefix(SCHEMAS)]
        if depth < 4 and self._random.random() < self._style.inline and "oneOf" not in target:
            made = self._schema(target, depth + 3)
        else:
            made = {"$ref": self._target(raw["$ref"])}
        said = {key: value for key, value in raw.items() if key != "$ref" and not key.startswith("x-")}
        if not said and self._random.random() < 0.7:
            return made
        if self._is_old or "$ref" not in made:
            return {"allOf": [made], "description": PROSE, **said}
        return {**made, "description": PROSE, **said}

    def _target(self, reference: str) -> str:
        return SCHEMAS + self._style.names(reference.removeprefix(SCHEMAS))
