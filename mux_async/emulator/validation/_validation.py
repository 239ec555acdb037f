"""Validates request bodies, query strings and control calls against schemas, and collects a message for each problem.

Members that a schema does not name pass: the API grows, and so do its clients. docs/decisions/validation.md says why this is no library.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeAlias, cast
from uuid import UUID

import attrs
import orjson

from mux_async.emulator.http._messages import invalid
from mux_async.emulator.validation._spec import JsonSchema, Operation, Parameter, load

logger = logging.getLogger(__name__)

Schema: TypeAlias = str | JsonSchema
"""A schema, or the name of one in the API description."""

BOOLEAN: JsonSchema = {"type": "boolean"}
STRING: JsonSchema = {"type": "string"}

_INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,3})?", re.ASCII)
_TYPES: Mapping[type, str] = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
_WITH_ARTICLE = {
    **{name: f"a {name}" for name in ("boolean", "number", "string")},
    **{name: f"an {name}" for name in ("array", "integer", "object")},
}
_FORMATS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "date": ("a date", date.fromisoformat),
    "date-time": ("a date and time", datetime.fromisoformat),
    "regex": ("a regular expression", re.compile),
    "uuid": ("a UUID", UUID),
}
_BITS = {"int32": 31, "int64": 63}
_EXACT = 1 << 53
"""Floats up to here are exact."""
_LAST_SECOND = 253_402_300_799
"""Of the year 9999, after which a date cannot be written."""


def members(required: Sequence[str] = (), /, **properties: JsonSchema) -> JsonSchema:
    """Return the schema of an object."""
    return {"type": "object", "properties": properties, "required": required}


def choice(*values: str) -> JsonSchema:
    """Return the schema of a text that is one of *values*."""
    return {"type": "string", "enum": values}


@attrs.frozen
class Validator:
    """Checks values against schemas.

    Attributes:
        schemas: The schemas that references name.
        lenient: Whether to accept what Mux accepts although its description does not: one element instead of a list (``x-bare``), and query
            parameters that it clamps or ignores. Members whose names look misspelt are logged.
    """

    schemas: Mapping[str, JsonSchema]
    lenient: bool = False

    def problems(self, value: object, schema: Schema, name: str = "") -> list[str]:
        """Return a message for each problem of *value*, in the order of the schema; *name* is what they call it, ``""`` for a body."""
        found: list[str] = []
        self._check(value, {"$ref": schema} if isinstance(schema, str) else schema, name, found)
        return found

    def fits(self, value: object, schema: Schema) -> bool:
        """Whether *value* has no problems."""
        return not self.problems(value, schema)

    def query_problems(self, operation: Operation, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Return a message for each problem of a query string, given as names and values. Unknown names pass."""
        found: list[str] = []
        for parameter in operation.of("query"):
            wanted = parameter.name.removesuffix("[]")
            texts = [text for name, text in pairs if name.removesuffix("[]") == wanted and (text or not self.lenient)]
            if texts:
                self._check_parameter(parameter, texts, found)
            elif parameter.is_required:
                found.append(f"{parameter.name} is required")
        return found

    def _check_parameter(self, parameter: Parameter, texts: Sequence[str], found: list[str]) -> None:
        schema = self._resolved(parameter.schema)
        if self.lenient:
            schema = {key: value for key, value in schema.items() if key not in {"minimum", "maximum", "maxItems", "maxLength"}}
        if schema.get("type") == "array":
            element = self._resolved(schema.get("items", {}))
            self._check([_read(text, element) for text in texts], schema, parameter.name, found)
        else:
            self._check(_read(texts[-1], schema), schema, parameter.name, found)

    def _resolved(self, schema: JsonSchema) -> JsonSchema:
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        return schema

    def _check(self, value: object, schema: JsonSchema, name: str, found: list[str]) -> None:
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        if "oneOf" in schema:
            self._check_one_of(value, schema["discriminator"], name, found)
        elif "enum" in schema:
            if value not in schema["enum"] or isinstance(value, bool):
                found.append(f"{name or 'the body'} must be one of {', '.join(map(str, schema['enum']))}")
        elif "type" in schema:
            kind = _TYPES.get(type(value)) or _type_of_float(cast("float", value))
            if kind != schema["type"] and not _allows(schema["type"], kind):
                if not (self.lenient and schema.get("x-bare") and self.fits(value, schema["items"])):
                    found.append(f"{name or 'the body'} must be {_described(schema['type'])}")
            elif kind == "object":
                self._check_object(cast("dict[str, object]", value), schema, name, found)
            elif kind == "array":
                self._check_array(cast("list[object]", value), schema, name, found)
            elif kind == "string":
                _check_string(cast("str", value), schema, name, found)
            elif kind in {"integer", "number"}:
                _check_number(cast("int | float", value), schema, name, found)

    def _check_one_of(self, value: object, discriminator: JsonSchema, name: str, found: list[str]) -> None:
        tag: str = discriminator["propertyName"]
        mapping: Mapping[str, str] = discriminator["mapping"]
        tagged: JsonSchema = {**members([tag], **{tag: choice(*mapping)}), "additionalProperties": True}
        found += self.problems(value, tagged, name) or self.problems(value, mapping[cast("dict[str, str]", value)[tag]], name)

    def _check_array(self, value: list[object], schema: JsonSchema, name: str, found: list[str]) -> None:
        if len(value) < schema.get("minItems", 0):
            found.append(f"{name} must have at least {schema['minItems']} elements")
        if len(value) > schema.get("maxItems", math.inf):
            found.append(f"{name} must have at most {schema['maxItems']} elements")
        for index, element in enumerate(value):
            self._check(element, schema.get("items", {}), f"{name}[{index}]", found)

    def _check_object(self, value: dict[str, object], schema: JsonSchema, name: str, found: list[str]) -> None:
        prefix = f"{name}." if name else ""
        if "required" in schema:
            found.extend(f"{prefix}{key} is required" for key in schema["required"] if key not in value)
        properties: Mapping[str, JsonSchema] = schema.get("properties", {})
        for key, member in properties.items():
            if key in value:
                self._check(value[key], member, f"{prefix}{key}", found)
        if not value.keys() <= properties.keys():
            rest: JsonSchema | bool | None = schema.get("additionalProperties")
            for key in value.keys() - properties.keys():
                if rest is False:
                    found.append(f"{prefix}{key} is not a known member")
                elif isinstance(rest, Mapping):
                    self._check(value[key], rest, f"{prefix}{key}", found)
                elif self.lenient and not rest:
                    _warn_if_misspelt(key, properties, prefix)


def _type_of_float(value: float) -> str:
    """Return the JSON type. A float without a fraction is an integer; one that is not finite has no type."""
    return "integer" if value.is_integer() else "number" if math.isfinite(value) else ""


def _allows(types: str | Sequence[str], kind: str) -> bool:
    allowed = (types,) if isinstance(types, str) else types
    return kind in allowed or (kind == "integer" and "number" in allowed)


def _described(types: str | Sequence[str]) -> str:
    return " or ".join(_WITH_ARTICLE.get(each, each) for each in ((types,) if isinstance(types, str) else types))


def _check_string(value: str, schema: JsonSchema, name: str, found: list[str]) -> None:
    if len(value) < schema.get("minLength", 0):
        found.append(f"{name} must be at least {schema['minLength']} characters long")
    if len(value) > schema.get("maxLength", math.inf):
        found.append(f"{name} must be at most {schema['maxLength']} characters long")
    if schema.get("format") in _FORMATS:
        called, read = _FORMATS[schema["format"]]
        try:
            read(value)
        except (ValueError, re.error):
            found.append(f"{name} must be {called}")


def _check_number(value: int | float, schema: JsonSchema, name: str, found: list[str]) -> None:
    bits = _BITS.get(schema.get("format", ""))
    # orjson decodes integers of more than 64 bits as floats.
    too_wide = isinstance(value, float) and abs(value) > _EXACT
    if bits is not None and (too_wide or not -(1 << bits) <= value < 1 << bits):
        found.append(f"{name} must be an integer of {bits + 1} bits")
    if value < schema.get("minimum", -math.inf):
        found.append(f"{name} must be at least {schema['minimum']}")
    if value <= schema.get("exclusiveMinimum", -math.inf):
        found.append(f"{name} must be more than {schema['exclusiveMinimum']}")
    if value > schema.get("maximum", math.inf):
        found.append(f"{name} must be at most {schema['maximum']}")


def _read(text: str, schema: JsonSchema) -> object:
    """Convert a query value to the type that the schema wants; a text that cannot be converted is returned, and reported as a text."""
    types = schema.get("type", ())
    if "integer" in types and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text):
        return float(text)
    if "boolean" in types and text in {"true", "false"}:
        return text == "true"
    return text


def _warn_if_misspelt(name: str, known: Iterable[str], prefix: str) -> None:
    """Log a warning if an unknown member is close to a known one: Mux ignores it, so the mistake is not seen otherwise."""
    if name in load().property_names:
        return
    normalized = {each.lower().replace("-", "_"): each for each in known}
    for close in get_close_matches(name.lower().replace("-", "_")[:80], normalized, n=1, cutoff=0.65):
        logger.warning(
            "%s%s is no member that Mux knows, and was ignored; did you mean %s?", prefix, name[:80], normalized[close]
        )


@cache
def lenient_validator() -> Validator:
    """Return the validator of the emulator with state: the API description, and where Mux is known to differ from it."""
    schemas = dict(load().schemas)

    def differs(schema: str, **properties: JsonSchema) -> None:
        schemas[schema] = {**schemas[schema], "properties": {**schemas[schema]["properties"], **properties}}

    # facts/BEHAVIOUR.md, section 4.1: one element instead of a list, and a bare URL instead of an input.
    policies: JsonSchema = {"type": "array", "x-bare": True, "items": {"$ref": "PlaybackPolicy"}}
    either = {"playback_policies": policies, "playback_policy": policies}
    inputs: JsonSchema = {"type": "array", "x-bare": True, "items": {**schemas["InputSettings"], "type": ["object", "string"]}}
    for schema in ("AssetOptions", "CreateAssetRequest"):
        differs(schema, **either, inputs=inputs, input=inputs)
    # `input` may be there instead, which the handler checks.
    schemas["CreateAssetRequest"] = {**schemas["CreateAssetRequest"], "required": ()}
    captions: JsonSchema = {"type": "array", "maxItems": 1, "items": {"$ref": "LiveStreamGeneratedSubtitleRequest"}}
    passthrough = {"type": "string", "maxLength": 255}
    differs("CreateLiveStreamRequest", **either, generated_subtitles=captions, passthrough=passthrough)
    differs("UpdateLiveStreamGeneratedSubtitlesRequest", generated_subtitles=captions)
    # Mux's guide says 100, its description 10 (facts/BEHAVIOUR.md, section 12, question 24).
    differs("UpdateReferrerDomainRestrictionRequest", allowed_domains={"type": "array", "maxItems": 100, "items": STRING})
    differs("AnnotationInput", date={"type": "integer", "minimum": 0, "maximum": _LAST_SECOND})
    return Validator(schemas, lenient=True)


def read_json(body: bytes) -> dict[str, Any]:
    """Decode and normalize a request body; an empty one counts as ``{}`` (facts/BEHAVIOUR.md, section 1.2). Raises `ApiError` (400)."""
    if not body.strip():
        return {}
    try:
        value: object = orjson.loads(body)
    except ValueError:
        raise invalid("The request body is not valid JSON") from None
    if not isinstance(value, dict):
        raise invalid("The request body must be a JSON object")
    return cast("dict[str, Any]", normalized(cast("object", value)))


def normalized(value: object) -> object:
    """Return decoded JSON without null members, and with integers (up to 2**53) for numbers without a fraction."""
    kind = type(value)
    if kind is dict:
        return {key: normalized(member) for key, member in cast("dict[str, object]", value).items() if member is not None}
    if kind is list:
        return [normalized(element) for element in cast("list[object]", value)]
    if kind is float and cast("float", value).is_integer():
        return int(min(max(cast("float", value), -_EXACT), _EXACT))
    return value


def validated(body: bytes, schema: Schema) -> dict[str, Any]:
    """Decode a request body and check it. Raises `ApiError` (400), with a sentence for each problem."""
    value = read_json(body)
    problems = lenient_validator().problems(value, schema)
    if problems:
        raise invalid(*problems)
    return value


def whole_parameter(query: Mapping[str, str], name: str, default: int, minimum: int = 1) -> int:
    """Read a query parameter that is an integer of at least *minimum*; an empty one counts as missing. Raises `ApiError` (400)."""
    given = query.get(name)
    if given is None or given == "":
        return default
    if not (given.isascii() and given.isdigit()) or len(given) > 15 or int(given) < minimum:
        raise invalid(f"{name} must be an integer of at least {minimum}")
    return int(given)
