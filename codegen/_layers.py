"""Lays the newer facts over the older ones: one document out of the base and its layers.

A layer of the API is an OpenAPI document that holds only what is new. Its ``x-v0-regroup`` is applied first: it gives older operations
another group, so that the new ones can take their names. A layer of events has ``events``, ``other_new_events`` and ``schemas``.

Nothing is overwritten. An operation, a schema or an event that two layers have is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from codegen._facts import SCHEMAS, Facts, GeneratorError, Json


def merge(facts: Facts, *, is_loose: bool = True) -> Json:
    """Return one document: events are under ``x-events``, their envelope under ``x-envelope``, their schemas among those of the API.

    Unless *is_loose* is false, what was not read in full is never required, as the generator expects.
    """
    apis: list[Json] = [_with_plain_references(document) for document in facts.apis.values()]
    hooks: list[Json] = [_with_plain_references(document) for document in facts.hooks.values()]
    base, layers = apis[0], apis[1:]
    for layer in layers:
        _regroup(base, layer.get("x-v0-regroup", {}))
        for path, item in layer["paths"].items():
            _add(base["paths"].setdefault(path, {}), item, f"operations of {path}")
        _add(base["components"]["schemas"], layer["components"]["schemas"], "schemas")
    events: dict[str, Json] = {}
    webhook_schemas: list[str] = []
    for hook in hooks:
        _add(base["components"]["schemas"], hook["schemas"], "schemas of webhooks")
        webhook_schemas += hook["schemas"]
        for event in (*hook["events"], *hook.get("other_new_events", ())):
            _add(events, {event["type"]: event}, "events")
    base["x-events"] = list(events.values())
    base["x-envelope"] = hooks[0]["envelope"]
    base["x-webhook-schemas"] = sorted(webhook_schemas)
    _refuse_equal_names(base)
    if is_loose:
        _loosen(base)
    return base


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Yield verb, path and operation of every operation."""
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            yield verb, path, operation


def success_of(operation: Json) -> tuple[str, Json]:
    """Return status and answer of an operation's success, of which there is one."""
    found = [(status, answer) for status, answer in operation["responses"].items() if status.startswith("2")]
    if len(found) != 1:
        raise GeneratorError(
            f"{operation['x-group']}.{operation['x-operation']} has {len(found)} answers of success, and a call returns one kind"
        )
    return found[0]


def reachable(schemas: Json, names: Iterable[str]) -> set[str]:
    """Return *names* and the names of the schemas that they refer to, directly or not."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += references(schemas[name])
    return seen


def references(node: Any) -> Iterator[str]:
    """Yield the names of the schemas that a part of the document refers to."""
    if isinstance(node, dict):
        for key, value in cast("Json", node).items():
            if key == "$ref":
                yield value.removeprefix(SCHEMAS)
            elif key != "mapping":
                yield from references(value)
    elif node.__class__ is list:
        for value in node:
            yield from references(value)


def confidence_of(node: Json) -> str | None:
    """Return how sure a fact is when it is less than stated: ``inferred`` or ``unknown``."""
    said: str | None = node.get("x-confidence")
    return None if said == "stated" else said


def _add(known: Json, new: Json, what: str) -> None:
    if twice := known.keys() & new.keys():
        raise GeneratorError(f"{what} that two layers of the facts have: {', '.join(sorted(twice))}")
    known.update(new)


def _regroup(document: Json, groups: Json) -> None:
    for line, change in groups.items():
        verb, _, path = line.partition(" ")
        operation = document["paths"].get(path, {}).get(verb.lower())
        if operation is None or operation["x-group"] != change["from_group"]:
            raise GeneratorError(f"x-v0-regroup: the older facts have no {line} in the group {change['from_group']}")
        operation.update({key: value for key, value in change.items() if key != "from_group"})


def _refuse_equal_names(document: Json) -> None:
    found: dict[str, str] = {}
    for verb, path, operation in operations(document):
        name = f"{operation['x-group']}.{operation['x-operation']}"
        line = f"{verb.upper()} {path}"
        if name in found:
            raise GeneratorError(f"two operations are called {name}: {found[name]} and {line}")
        found[name] = line


def _loosen(document: Json) -> None:
    """Require little of what was not read in full, in schemas that say how sure they are.

    A request may leave out every member that is only inferred: a guess must not keep anybody from sending what Mux takes. An answer may
    lack anything but its envelope's ``data``. An object none of whose fields are known is an object all the same.
    """
    schemas: Json = document["components"]["schemas"]
    sent = reachable(
        schemas, references([operation.get("requestBody", {}) for _verb, _path, operation in operations(document)])
    )
    envelopes = set(references([operation["responses"] for _verb, _path, operation in operations(document)]))
    for name, schema in schemas.items():
        if "x-confidence" not in schema:
            continue
        if schema.get("type") == "object":
            schema.setdefault("properties", {})
        schema["required"] = [
            member
            for member in schema.get("required", ())
            if (name in sent and confidence_of(schema["properties"][member]) is None)
            or (name in envelopes and member == "data")
        ]


def _with_plain_references(node: Any) -> Any:
    """Copy a document, with references to schemas of any file and section as references to the merged document."""
    if isinstance(node, dict):
        return {key: _with_plain_references(value) for key, value in cast("Json", node).items()}
    if node.__class__ is list:
        return [_with_plain_references(item) for item in node]
    if isinstance(node, str) and "#/" in node:
        file, _, pointer = node.partition("#/")
        section, _, name = pointer.rpartition("/")
        if section in {"components/schemas", "schemas"} and (not file or file.endswith(".json")):
            return SCHEMAS + name
    return node  # text, a number or None
