"""Reads the corrected document into the values of `_api`."""

from __future__ import annotations

import fnmatch
import keyword
import re
from collections.abc import Iterator
from typing import Any

from codegen._api import Api, Enum, Event, Field, Method, Object, Parameter, Schema, Union
from codegen._facts import SCHEMAS, GeneratorError, Json
from codegen._layers import confidence_of, reachable, references, success_of
from codegen._layers import operations as operations_of
from codegen._once import Recognition
from codegen._overlays import Overlays, Words, match_fields


def build(document: Json, overlays: Overlays) -> Api:
    """Read the corrected document. Refuse facts that the generator does not know, and overlays that match nothing."""
    raw: Json = document["components"]["schemas"]
    operations = list(operations_of(document))
    used_by, from_users = _reach(raw, operations)
    modules = {name: _module_of(name, used_by.get(name, set()), document["x-webhook-schemas"]) for name in raw}

    every = [f"{name}.{field}" for name, schema in raw.items() for field in schema.get("properties", {})]
    ids = {field: name for name, patterns in overlays.ids.items() for field in match_fields(patterns, every)}
    secrets = match_fields(overlays.secrets, every)

    schemas = {name: _schema(name, modules[name], schema, ids, secrets, from_users) for name, schema in raw.items()}
    _take_words_of_twins(raw, document["x-events"], overlays.words)
    unmatched = Unmatched(overlays)
    recognition = Recognition(raw, operations, overlays)
    methods = tuple(_method(verb, path, op, raw, overlays, unmatched, recognition) for verb, path, op in operations)
    unmatched.refuse()
    recognition.refuse_unmatched()
    groups = tuple(sorted({method.group for method in methods} | {part for m in methods for part in _ancestors(m.group)}))
    bases = {group: base for key, base in overlays.bases.items() for group in fnmatch.filter(groups, key)}
    if odd := {key for key in overlays.bases if not fnmatch.filter(groups, key)}:
        raise GeneratorError(f"operations.toml: [bases] names no group: {', '.join(sorted(odd))}")
    if odd := overlays.mixins.keys() - {schema.name for schema in schemas.values() if isinstance(schema, Object)}:
        raise GeneratorError(f"types.toml: [mixins] names no object: {', '.join(sorted(odd))}")
    events = tuple(
        Event(entry["type"], entry["data_ref"].removeprefix(SCHEMAS), bool(entry.get("x-legacy")), confidence_of(entry))
        for entry in document["x-events"]
    )
    api = Api(
        document=document,
        schemas=schemas,
        methods=methods,
        events=events,
        envelope=document["x-envelope"],
        groups=groups,
        ids=tuple(sorted(overlays.ids)),
        bases=bases,
        mixins=overlays.mixins,
        query_items=overlays.query_items,
        words=overlays.words,
    )
    check_words(api)
    return api


class Unmatched:
    """Entries of ``operations.toml`` that no operation has asked for yet."""

    def __init__(self, overlays: Overlays) -> None:
        self._left = {
            "replay": set(overlays.replay),
            "deprecated": set(overlays.deprecated),
            "shorthand": set(overlays.shorthand),
            "omit": set(overlays.omit),
        }

    def found(self, section: str, key: str) -> None:
        """Note that an entry took effect."""
        self._left[section].discard(key)

    def refuse(self) -> None:
        """Raise when something is left."""
        for section, keys in self._left.items():
            if keys:
                raise GeneratorError(f"operations.toml: [{section}] names what is not there: {', '.join(sorted(keys))}")


def _reach(raw: Json, operations: list[tuple[str, str, Json]]) -> tuple[dict[str, set[str]], set[str]]:
    """Find the groups that use each schema, and the schemas that users construct."""
    used_by: dict[str, set[str]] = {}
    from_users: set[str] = set()
    for _verb, _path, operation in operations:
        sent = reachable(raw, references([operation.get("requestBody", {}), operation.get("parameters", [])]))
        from_users |= sent
        for name in sent | reachable(raw, references(operation["responses"])):
            used_by.setdefault(name, set()).add(operation["x-group"])
    return used_by, from_users


def _take_words_of_twins(raw: Json, events: list[Json], words: Words) -> None:
    """Describe what has no description of its own as its twin in the older version, as far as the two say the same."""
    for event in events:
        older_type = event["type"].replace(".v1.", ".", 1)
        if event["type"] not in words.events and older_type in words.events:
            words.events[event["type"]] = words.events[older_type]
    for name, schema in raw.items():
        twin = _twin(name, schema, raw)
        if twin is None:
            continue
        if name not in words.schemas and twin in words.schemas:
            words.schemas[name] = words.schemas[twin]
        older: Json = raw[twin].get("properties", {})
        for field, member in schema.get("properties", {}).items():
            key = f"{name}.{field}"
            if key not in words.fields and f"{twin}.{field}" in words.fields and _kind(member) == _kind(older[field]):
                words.fields[key] = words.fields[f"{twin}.{field}"]


_VERSION = re.compile(r"^RobotsV\d+")


def _twin(name: str, schema: Json, raw: Json) -> str | None:
    twin = str(schema.get("x-v0-twin", "")).rpartition("/")[2] or _VERSION.sub("", name)
    return twin if twin != name and twin in raw else None


def _kind(member: Json) -> tuple[object, ...]:
    """Return what a field holds, roughly: enough to tell whether the words for one fit another."""
    name = _reference(member)
    if name is not None or member.get("type") == "string":
        return ("text or one of several",) if name is None or "Status" in name else ("object",)
    return (str(member.get("type")), str(_kind(member.get("items", {})) if "items" in member else ""))


def _module_of(name: str, groups: set[str], webhook_schemas: list[str]) -> str:
    if name in webhook_schemas:
        return "webhooks"
    if len(groups) == 1:
        return next(iter(groups)).replace(".", "_")
    families = {group.partition(".")[0].removesuffix("_v0") for group in groups}
    return f"shared_{next(iter(families))}" if len(families) == 1 else "shared"


def _schema(name: str, module: str, schema: Json, ids: dict[str, str], secrets: set[str], from_users: set[str]) -> Schema:
    if "enum" in schema:
        return Enum(name, module, tuple(schema["enum"]), confidence_of(schema))
    if "oneOf" in schema:
        mapping: dict[str, str] = schema["discriminator"]["mapping"]
        return Union(
            name,
            module,
            schema["discriminator"]["propertyName"],
            {tag: ref.removeprefix(SCHEMAS) for tag, ref in mapping.items()},
        )
    if schema.get("type") != "object" or "properties" not in schema:
        raise GeneratorError(f"schema {name} is neither an object, nor an enum, nor a union")
    required: list[str] = schema.get("required", [])
    fields = tuple(
        Field(
            name=python_name(wire),
            wire=wire,
            schema=member,
            is_required=wire in required,
            is_secret=f"{name}.{wire}" in secrets,
            is_deprecated=bool(member.get("deprecated") or member.get("x-gone")),
            id_type=None if name in from_users else ids.get(f"{name}.{wire}"),
            confidence=confidence_of(member),
        )
        for wire, member in schema["properties"].items()
    )
    return Object(name, module, fields, confidence_of(schema))


_TAKEN = {"self", "extra", "with_extra", "from_json", "from_wire", "to_wire"}


def python_name(wire: str) -> str:
    """Return the name of a field in Python: without a leading underscore, with a trailing one where the name is taken."""
    name = wire.lstrip("_")
    return f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name


_BUCKETS = {"post": "POST", "default": "OTHER", "realtime-data": "REALTIME_DATA", "general-data": "GENERAL_DATA", "none": None}
_HOSTS = {"https://api.mux.com": "API", "https://stream.mux.com": "STREAM", "https://image.mux.com": "IMAGE"}
_REPLAY = {"GET": "safe", "PUT": "idempotent", "PATCH": "idempotent", "DELETE": "idempotent", "POST": "never"}


def _method(
    verb: str, path: str, operation: Json, raw: Json, overlays: Overlays, unmatched: Unmatched, recognition: Recognition
) -> Method:
    group: str = operation["x-group"]
    operation_id = f"{group}.{operation['x-operation']}"
    replay = overlays.replay.get(operation_id, {})
    unmatched.found("replay", operation_id)
    result, model, item, is_list = _result(operation, raw)
    return Method(
        id=operation_id,
        group=group,
        name=operation["x-operation"],
        verb=verb.upper(),
        path=path,
        parameters=tuple(_parameters(operation_id, path, operation, raw, overlays, unmatched)),
        body=_body(operation),
        bucket=_BUCKETS[operation["x-rate-limit-bucket"]],
        replay=replay.get("class", _REPLAY[verb.upper()]),
        replay_reason=replay.get("reason"),
        pagination=operation["x-pagination"]["style"],
        host=_HOSTS[operation["x-host"]],
        result=result,
        model=model,
        item=item,
        is_list=is_list,
        deprecated=_deprecation(operation_id, group, operation, overlays, unmatched),
        confidence=confidence_of(operation),
        found_in=recognition.found_in(operation_id, verb),
        once=recognition.once(operation_id, path, _body(operation)),
    )


def _deprecation(id: str, group: str, operation: Json, overlays: Overlays, unmatched: Unmatched) -> str | None:
    if not (operation.get("deprecated") or operation.get("x-legacy") or operation.get("x-gone")):
        return None
    for key in (id, group, *_ancestors(group)):
        if key in overlays.deprecated:
            unmatched.found("deprecated", key)
            return overlays.deprecated[key]
    if operation.get("x-gone"):
        return "Mux's description of its API no longer has it"
    if operation.get("x-deprecated-in") is True:
        return "Mux's description of its API deprecates it"
    raise GeneratorError(f"{id} is deprecated, and operations.toml does not say why")


def _parameters(
    id: str, path: str, operation: Json, raw: Json, overlays: Overlays, unmatched: Unmatched
) -> Iterator[Parameter]:
    listed: list[Json] = operation.get("parameters", [])
    by_name = {parameter["name"]: parameter for parameter in listed}
    for wire in re.findall(r"\{(\w+)\}", path):
        yield Parameter(wire.lower(), wire, "path", by_name[wire]["schema"], is_required=True)
    for parameter in listed:
        if parameter["in"] == "query":
            wire = parameter["name"]
            name = wire.removesuffix("[]")
            confidence = confidence_of(parameter)
            yield Parameter(name, wire, "query", parameter["schema"], parameter["required"], confidence=confidence)
    if sent := _body(operation):
        body: Json = raw[sent]
        shorthand = overlays.shorthand.get(id, {})
        omitted: list[str] = overlays.omit.get(id, {}).get("members", [])
        if odd := (shorthand.keys() | set(omitted)) - body["properties"].keys():
            raise GeneratorError(f"operations.toml: {id} has no body member {', '.join(sorted(odd))}")
        unmatched.found("shorthand", id)
        unmatched.found("omit", id)
        for wire, schema in body["properties"].items():
            if wire not in omitted:
                is_required = wire in body.get("required", [])
                is_deprecated = bool(schema.get("deprecated") or schema.get("x-gone"))
                confidence = confidence_of(schema)
                yield Parameter(wire, wire, "body", schema, is_required, is_deprecated, shorthand.get(wire), confidence)


def _body(operation: Json) -> str | None:
    content: Json = operation.get("requestBody", {}).get("content", {})
    return _reference(content["application/json"]["schema"]) if content else None


def _result(operation: Json, raw: Json) -> tuple[Any, str | None, str | None, bool]:
    """Return how the answer is read: kind, model, item of a page, and whether ``data`` is a list."""
    _status, answer = success_of(operation)
    if not answer.get("content"):
        return "none", None, None, False
    ((kind, content),) = answer["content"].items()
    if kind.startswith("text/") or kind == "application/vnd.apple.mpegurl":
        return "text", None, None, False
    if kind != "application/json":
        return "bytes", None, None, False
    if not content["schema"]:
        return "json", None, None, False
    envelope: str = content["schema"]["$ref"].removeprefix(SCHEMAS)
    members: Json = raw[envelope]["properties"]
    data: Json = members["data"]
    item = _reference(data.get("items", {}))
    if operation["x-pagination"]["style"] != "none":
        return "page", envelope, item, False
    if members.keys() != {"data"}:
        return "envelope", envelope, None, False
    if data.get("additionalProperties") is True:
        return "none", None, None, False
    return "data", _reference(data) or item, None, data.get("type") == "array"


def _reference(schema: Json) -> str | None:
    reference: str | None = schema.get("$ref")
    return reference.removeprefix(SCHEMAS) if reference else None


def _ancestors(group: str) -> Iterator[str]:
    parts = group.split(".")
    for length in range(1, len(parts)):
        yield ".".join(parts[:length])


def check_words(api: Api) -> None:
    """Refuse descriptions of what does not exist."""
    words = api.words
    objects = [schema for schema in api.schemas.values() if isinstance(schema, Object)]
    fields = {f"{schema.name}.{field.wire}" for schema in objects for field in schema.fields}
    fields |= {f"WebhookEventEnvelope.{name}" for name in api.envelope["properties"]}
    methods = {method.id: {parameter.name for parameter in method.parameters} for method in api.methods}
    names = {field.rpartition(".")[2] for field in fields} | {name for parameters in methods.values() for name in parameters}
    odd = {
        "operations": words.operations.keys() - methods.keys(),
        "schemas": words.schemas.keys() - api.schemas.keys() - {"WebhookEventEnvelope"},
        "fields": words.fields.keys() - fields,
        "names": words.names.keys() - names,
        "events": words.events.keys() - {event.type for event in api.events},
        "parameters": {
            f"{operation_id}: {name}"
            for operation_id, entry in words.operations.items()
            for name in entry.get("parameters", {}).keys() - methods.get(operation_id, set())
        },
    }
    for section, keys in odd.items():
        if keys:
            raise GeneratorError(f"descriptions: [{section}] describes what is not there: {', '.join(sorted(keys))}")
