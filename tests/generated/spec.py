"""The facts for tests: values generated from the schemas, and a second, slow implementation of how they should be decoded.

Works on the corrected document, not on what the generator made of it, so that a mistake of the generator shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cache
from random import Random
from typing import Any, TypeGuard, cast

import attrs

from codegen import SCHEMAS, Json, corrected_facts
from mux_async import Model
from mux_async._models.model import table_of

REF = SCHEMAS


@cache
def document() -> Json:
    return corrected_facts()


@cache
def schemas() -> dict[str, Json]:
    return cast("dict[str, Json]", document()["components"]["schemas"])


@attrs.frozen
class Operation:
    """An operation as the facts write it."""

    id: str
    verb: str
    path: str
    raw: Json = attrs.field(repr=False, eq=False)

    @property
    def parameters(self) -> list[Json]:
        listed: list[Json] = self.raw.get("parameters", [])
        return listed

    @property
    def body(self) -> Json | None:
        content: Json = self.raw.get("requestBody", {}).get("content", {})
        return resolve(content["application/json"]["schema"]) if content else None

    @property
    def answer(self) -> tuple[int, str | None, Json]:
        """Status, content type and schema of a success."""
        ((status, response),) = [item for item in self.raw["responses"].items() if item[0].startswith("2")]
        for kind, content in response.get("content", {}).items():
            return int(status), kind, content["schema"]
        return int(status), None, {}


@cache
def operations() -> tuple[Operation, ...]:
    return tuple(
        Operation(f"{raw['x-group']}.{raw['x-operation']}", verb.upper(), path, raw)
        for path, item in document()["paths"].items()
        for verb, raw in item.items()
    )


def resolve(schema: Json) -> Json:
    while "$ref" in schema:
        schema = schemas()[schema["$ref"].removeprefix(REF)]
    return schema


def make(schema: Json, random: Random, *, is_answer: bool = True, depth: int = 0) -> Any:
    """Make up a value.

    Answers hold what tomorrow may bring: fields and enum values that nobody knows, nulls where a field is optional. Requests hold every
    property, so that each is seen on the wire.
    """
    schema = resolve(schema)
    if not schema:
        return {"anything": [1, None, {"at": "all"}]}
    if "enum" in schema:
        if is_answer and random.random() < 0.2 and schema.get("type") == "string":
            return f"tomorrow-{random.randrange(100)}"
        return random.choice(schema["enum"])
    if "oneOf" in schema:
        tag = schema["discriminator"]["propertyName"]
        if is_answer and random.random() < 0.2:
            return {tag: "tomorrow", "more": {"than": "known"}}
        chosen, reference = random.choice(list(schema["discriminator"]["mapping"].items()))
        return {**make({"$ref": reference}, random, is_answer=is_answer, depth=depth + 1), tag: chosen}
    kinds: str | list[str] = schema["type"]
    if isinstance(kinds, list):
        kind = random.choice(kinds)
        if kind == "null":
            return None
    else:
        kind = kinds
    if schema.get("x-time"):
        seconds = random.randrange(1, 2**31)
        return str(seconds) if kind == "string" else seconds
    match schema.get("format"):
        case "date-time":
            return (
                datetime.fromtimestamp(random.randrange(2**31), UTC)
                .isoformat()
                .replace("+00:00", random.choice(["Z", ".250Z"]))
            )
        case "date":
            return date.fromordinal(random.randrange(700000, 740000)).isoformat()
        case _:
            pass
    match kind:
        case "string":
            return "".join(random.choices('abcXYZ019-_ é→"\\', k=random.randrange(1, 12)))
        case "integer":
            return random.randrange(schema.get("minimum", 0), min(schema.get("maximum", 10**6), 10**6) + 1)
        case "number":
            return random.choice([random.randrange(1, 100), random.randrange(1, 4000) / 4])
        case "boolean":
            return random.random() < 0.5
        case "array":
            count = random.randrange(3) if depth < 6 else 0
            if not is_answer:
                count = max(1, count)
            return [make(schema["items"], random, is_answer=is_answer, depth=depth + 1) for _ in range(count)]
        case "object":
            return _make_object(schema, random, is_answer=is_answer, depth=depth)
        case _:
            raise AssertionError(schema)


def _make_object(schema: Json, random: Random, *, is_answer: bool, depth: int) -> Json:
    if "properties" not in schema:
        extra = schema["additionalProperties"]
        return {"key": make({"type": "string"} if extra is True else extra, random)}
    made: Json = {}
    for name, member in schema["properties"].items():
        if is_answer and name not in schema.get("required", []):
            chance = random.random()
            if chance < 0.3 and not (depth == 0 and name == "data"):
                continue
            if chance < 0.4 and not (depth == 0 and name == "data"):
                made[name] = None
                continue
        made[name] = make(member, random, is_answer=is_answer, depth=depth + 1)
    if is_answer and random.random() < 0.5:
        made[f"new_field_{random.randrange(10)}"] = random.choice([None, 1, "x", [1], {"nested": {"id": None}}])
    return made


def check_fields(model: type[Model], schema: Json) -> None:
    """Compare the fields of a class, and the table that decoders use, with a schema."""
    fields = {field.name: field for field in attrs.fields(model) if field.name != "extra"}
    table = table_of(model)

    assert list(table.fields) == list(fields)
    assert list(table.wires) == list(schema["properties"])
    assert {wire for wire, name in table.wires.items() if fields[name].default is attrs.NOTHING} == set(
        schema.get("required", [])
    )
    assert table.required == {name for name, field in fields.items() if field.default is attrs.NOTHING}


def check(value: object, raw: object, schema: Json, where: str = "$") -> None:
    """Compare a typed value with the JSON it was read from, field by field, by the facts alone."""
    schema = resolve(schema)
    if "oneOf" in schema and raw is not None:
        tag = cast("Json", raw)[schema["discriminator"]["propertyName"]]
        reference = schema["discriminator"]["mapping"].get(tag)
        if reference is None:
            assert not isinstance(value, Model), where
            assert value == raw, where
            return None
        schema = resolve({"$ref": reference})
        if "oneOf" in schema:
            return check(value, raw, schema, where)
    kinds = schema.get("type")
    if raw is None:
        assert value is None, where
    elif schema.get("x-time"):
        assert value == datetime.fromtimestamp(int(cast("str", raw)), UTC), where
    elif schema.get("format") == "date-time":
        assert value == datetime.fromisoformat(cast("str", raw)), where
    elif schema.get("format") == "date":
        assert type(value) is date, where
        assert value == date.fromisoformat(cast("str", raw)), where
    elif kinds == "array":
        assert type(value) is list, where
        for index, (one, other) in enumerate(zip(cast("list[object]", value), cast("list[object]", raw), strict=True)):
            check(one, other, schema["items"], f"{where}[{index}]")
    elif kinds == "object" and "properties" in schema:
        _check_object(value, cast("Json", raw), schema, where)
    else:
        assert type(value) is type(raw), where
        assert value == raw, where
    return None


def _check_object(value: object, raw: Json, schema: Json, where: str) -> None:
    assert isinstance(value, Model), where
    members: Mapping[str, Json] = schema["properties"]
    for name, member in members.items():
        attribute = {"self": "self_"}.get(name, name.lstrip("_"))
        check(getattr(value, attribute), raw.get(name), member, f"{where}.{name}")
    assert dict(value.extra) == {name: member for name, member in raw.items() if name not in members}, where


def is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def is_object(value: object) -> TypeGuard[Json]:
    return isinstance(value, dict)


def path_names(path: str) -> Iterator[str]:
    yield from re.findall(r"\{(\w+)\}", path)
