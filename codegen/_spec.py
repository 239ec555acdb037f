"""Writes ``mux_async/emulator/validation/spec.json``: the parts of the API description that the emulator needs.

It needs them to validate requests and to generate example responses and events.

One operation, schema or event per line, so that a change of one is a line in the diff. What only tells where a fact comes from is left out;
references are bare names.
"""

from __future__ import annotations

import json
from typing import Any, cast

from codegen._facts import SCHEMAS, Json
from codegen._layers import reachable, references, success_of

PATH = "mux_async/emulator/validation/spec.json"

_KEPT_EXTENSIONS = {"x-time"}
_LEFT_OUT = {"description", "deprecated", "style", "explode", "example"}
_HOSTS = {"https://api.mux.com": "api", "https://stream.mux.com": "stream", "https://image.mux.com": "image"}


def write(document: Json) -> dict[str, str]:
    """Return the file by its path. *document* is the corrected one; each of its operations has one answer of success."""
    operations = [_operation(verb, path, raw) for path, item in document["paths"].items() for verb, raw in item.items()]
    raw_schemas: Json = document["components"]["schemas"]
    events: dict[str, str] = {event["type"]: event["data_ref"].removeprefix(SCHEMAS) for event in document["x-events"]}
    wanted = reachable(raw_schemas, {*references(list(document["paths"].values())), *events.values()})
    schemas = {name: _schema(schema) for name, schema in raw_schemas.items() if name in wanted}
    lines = ['{"operations": [']
    lines.append(",\n".join(_line(operation) for operation in operations))
    lines.append('],\n"schemas": {')
    lines.append(",\n".join(f"{json.dumps(name)}: {_line(schema)}" for name, schema in schemas.items()))
    lines.append('},\n"events": {')
    lines.append(",\n".join(f"{json.dumps(kind)}: {json.dumps(schema)}" for kind, schema in events.items()))
    lines.append("}}\n")
    return {PATH: "\n".join(lines)}


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _operation(verb: str, path: str, raw: Json) -> Json:
    operation_id = f"{raw['x-group']}.{raw['x-operation']}"
    status, answer = success_of(raw)
    content: Json = answer.get("content", {})
    operation: Json = {"id": operation_id, "verb": verb.upper(), "path": path, "host": _HOSTS[raw["x-host"]]}
    if parameters := [_parameter(parameter) for parameter in raw.get("parameters", [])]:
        operation["parameters"] = parameters
    if "requestBody" in raw:
        body: Json = raw["requestBody"]
        operation["body"] = _schema(body["content"]["application/json"]["schema"])
        operation["body_required"] = bool(body.get("required"))
    operation["status"] = int(status)
    for kind, entry in content.items():
        operation["type"] = kind
        operation["answer"] = _schema(entry["schema"])
    if errors := [int(known) for known in raw["responses"] if known not in {status, "default"}]:
        operation["errors"] = errors
    return operation


def _parameter(raw: Json) -> Json:
    return {"name": raw["name"], "in": raw["in"], "required": bool(raw.get("required")), "schema": _schema(raw["schema"])}


def _schema(raw: Json) -> Json:
    """Return a schema without what the emulator does not read."""
    kept: Json = {}
    for key, value in raw.items():
        if key in _LEFT_OUT or (key.startswith("x-") and key not in _KEPT_EXTENSIONS):
            continue
        match key:
            case "$ref":
                kept[key] = value.removeprefix(SCHEMAS)
            case "properties":
                kept[key] = {name: _schema(member) for name, member in value.items()}
            case "oneOf" | "anyOf":
                kept[key] = [_schema(choice) for choice in value]
            case "discriminator":
                mapping: Json = value["mapping"]
                references_ = {tag: reference.removeprefix(SCHEMAS) for tag, reference in mapping.items()}
                kept[key] = {"propertyName": value["propertyName"], "mapping": references_}
            case "items" | "additionalProperties" if isinstance(value, dict):
                kept[key] = _schema(cast("dict[str, Any]", value))
            case _:
                kept[key] = value
    return kept
