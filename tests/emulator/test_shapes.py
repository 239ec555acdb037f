"""The validation of request bodies agrees with the facts: what a schema forbids is refused, and what it allows passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from mux_async.emulator import Emulator
from mux_async.emulator.validation._validation import lenient_validator, normalized
from tests.generated import spec

Json = dict[str, Any]

SPEC = spec.document()
SCHEMAS = cast("Json", SPEC["components"]["schemas"])

BODIES = (
    "AnnotationInput",
    "AssetMetadata",
    "AssetOptions",
    "CreateAssetRequest",
    "CreateLiveStreamRequest",
    "CreatePlaybackIdRequest",
    "CreateSimulcastTargetRequest",
    "CreateStaticRenditionRequest",
    "CreateTrackRequest",
    "CreateUploadRequest",
    "GenerateTrackSubtitlesRequest",
    "InputSettings",
    "UpdateAssetMasterAccessRequest",
    "UpdateAssetMp4SupportRequest",
    "UpdateAssetRequest",
    "UpdateLiveStreamEmbeddedSubtitlesRequest",
    "UpdateLiveStreamGeneratedSubtitlesRequest",
    "UpdateLiveStreamNewAssetSettingsStaticRenditionsRequest",
    "UpdateLiveStreamRequest",
    "UpdateTrackRequest",
)
NOT_REQUIRED_ON_THE_WIRE = {
    "cors_origin",  # a create without it was recorded: facts/BEHAVIOUR.md, section 5.1
    "inputs",  # the deprecated `input` takes its place, and the handler says so
}


def _resolved(schema: Json) -> Json:
    while "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def _good(schema: Json) -> object:
    """Something the schema allows."""
    schema = _resolved(schema)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"]
    if kind == "object":
        return {name: _good(schema["properties"][name]) for name in schema.get("required", ())}
    if kind == "array":
        return [_good(schema["items"])]
    return {"string": "x", "boolean": True}.get(kind, schema.get("minimum", 1))


def _bad(schema: Json) -> Iterator[object]:
    """Things the schema forbids."""
    schema = _resolved(schema)
    if "enum" in schema:
        yield "no such value"
        return
    kind = schema["type"]
    yield {"string": 5, "boolean": "yes", "object": 5, "array": 5}.get(kind, "five")
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if kind == "integer":
        yield 60.5
    if kind == "array":
        for element in _bad(schema["items"]):
            yield [element]
    if kind == "object":
        for name, member in schema.get("properties", {}).items():
            for value in _bad(member):
                yield {**cast("Json", _good(schema)), name: value}


def _members() -> Iterator[tuple[str, str]]:
    for name in BODIES:
        for member in SCHEMAS[name]["properties"]:
            yield name, member


def _problems(name: str, value: object) -> list[str]:
    return lenient_validator().problems(normalized(value), name)


def test_served() -> None:
    """The API operations that are answered are those that Mux has: all of them, and no other."""
    described = {
        (method.upper(), path)
        for path, item in SPEC["paths"].items()
        for method, raw in item.items()
        if method != "parameters" and raw["x-host"] == "https://api.mux.com"
    }

    assert Emulator().served == described


@pytest.mark.parametrize(("name", "member"), list(_members()))
def test_member(name: str, member: str) -> None:
    """Every member that the schema has is known to the shape: a good value passes, each bad one is reported under its name."""
    schema = SCHEMAS[name]["properties"][member]
    base = cast("Json", _good(SCHEMAS[name]))

    assert _problems(name, {**base, member: _good(schema)}) == []
    for value in _bad(schema):
        if _is_shortcut(member, value):
            continue
        problems = _problems(name, {**base, member: value})
        assert problems, (member, value)
        assert all(problem.startswith(member) for problem in problems)


def _is_shortcut(member: str, value: object) -> bool:
    """A bare URL where the schema wants a list of inputs is taken by Mux (facts/BEHAVIOUR.md, section 4.1)."""
    if member not in {"inputs", "input"} or not isinstance(value, list):
        return False
    return all(isinstance(entry, str) for entry in cast("list[object]", value))


@pytest.mark.parametrize("name", BODIES)
def test_required(name: str) -> None:
    """What the schema requires is required, but for what was seen to be left out; a null counts as left out."""
    required = set(SCHEMAS[name].get("required", ())) - NOT_REQUIRED_ON_THE_WIRE
    base = cast("Json", _good(SCHEMAS[name]))

    for member in required:
        without = {key: value for key, value in base.items() if key != member}
        assert _problems(name, without) == [f"{member} is required"]
        assert _problems(name, {**base, member: None}) == [f"{member} is required"]
