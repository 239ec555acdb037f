"""Validates values and query strings against schemas: one message for each problem, with the name of the field.

Members that a schema does not name pass: the API grows, and so do its clients.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, cast
from uuid import UUID

import attrs

from mux_async.emulator.validation._spec import JsonSchema, Operation, Parameter, Spec

_INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,3})?", re.ASCII)
_KINDS: Mapping[str, str] = {
    "array": "an array",
    "boolean": "a boolean",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
_FORMATS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "date": ("a date", date.fromisoformat),
    "date-time": ("a date and time", datetime.fromisoformat),
    "uuid": ("a UUID", UUID),
}
_BITS = {"int32": 31, "int64": 63}


@attrs.frozen
class Checker:
    """Checks values against the schemas of *spec*."""

    spec: Spec

    def problems(self, value: object, schema: JsonSchema, name: str) -> list[str]:
        """Say what is wrong with *value*, in the order of the schema; nothing when it fits.

        Args:
            value: As JSON decodes it.
            schema: What it should be.
            name: What the sentences call it; ``""`` for a request's body.
        """
        found: list[str] = []
        self._check(value, schema, name, found)
        return found

    def fits(self, value: object, schema: JsonSchema) -> bool:
        """Whether nothing is wrong with *value*."""
        return not self.problems(value, schema, "")

    def _check(self, value: object, schema: JsonSchema, name: str, found: list[str]) -> None:
        schema = self.spec.resolve(schema)
        if "oneOf" in schema:
            self._check_one_of(value, schema, name, found)
            return
        if "enum" in schema:
            if value not in schema["enum"] or isinstance(value, bool):
                found.append(f"{_said(name)} must be one of {', '.join(map(str, schema['enum']))}")
            return
        kinds = _kinds(schema)
        if not kinds:
            return
        kind = next((kind for kind in kinds if _is(value, kind)), None)
        if kind is None:
            found.append(f"{_said(name)} must be {' or '.join(_KINDS[kind] for kind in kinds)}")
        elif kind == "string":
            _check_string(cast("str", value), schema, name, found)
        elif kind in {"integer", "number"}:
            _check_number(cast("int | float", value), schema, name, found)
        elif kind == "array":
            self._check_array(cast("list[object]", value), schema, name, found)
        elif kind == "object":
            self._check_object(cast("dict[str, object]", value), schema, name, found)

    def _check_one_of(self, value: object, schema: JsonSchema, name: str, found: list[str]) -> None:
        tag: str = schema["discriminator"]["propertyName"]
        mapping: Mapping[str, str] = schema["discriminator"]["mapping"]
        if not isinstance(value, dict):
            found.append(f"{_said(name)} must be an object")
            return
        chosen = cast("dict[str, object]", value).get(tag)
        if not isinstance(chosen, str) or chosen not in mapping:
            found.append(f"{_member(name, tag)} must be one of {', '.join(mapping)}")
            return
        self._check(cast("object", value), {"$ref": mapping[chosen]}, name, found)

    def _check_array(self, value: list[object], schema: JsonSchema, name: str, found: list[str]) -> None:
        if len(value) < schema.get("minItems", 0):
            found.append(f"{_said(name)} must have at least {schema['minItems']} elements")
        if "maxItems" in schema and len(value) > schema["maxItems"]:
            found.append(f"{_said(name)} must have at most {schema['maxItems']} elements")
        for index, element in enumerate(value):
            self._check(element, schema.get("items", {}), f"{name}[{index}]", found)

    def _check_object(self, value: dict[str, object], schema: JsonSchema, name: str, found: list[str]) -> None:
        found.extend(f"{_member(name, key)} is required" for key in schema.get("required", ()) if key not in value)
        properties: Mapping[str, JsonSchema] = schema.get("properties", {})
        for key, member in properties.items():
            if key in value:
                self._check(value[key], member, _member(name, key), found)
        rest: Any = schema.get("additionalProperties")
        if isinstance(rest, dict):
            for key in value.keys() - properties.keys():
                self._check(value[key], cast("JsonSchema", rest), _member(name, key), found)

    def query_problems(self, operation: Operation, pairs: Sequence[tuple[str, str]], *, strict: bool = True) -> list[str]:
        """Say what is wrong with a query string.

        Args:
            operation: Whose.
            pairs: Names and values as they came. Unknown names are nobody's business.
            strict: Whether to go by the letter. A server clamps what is too large, and takes an empty value for one that was not given.
        """
        found: list[str] = []
        for parameter in operation.of("query"):
            wanted = parameter.name.removesuffix("[]")
            texts = [text for name, text in pairs if name.removesuffix("[]") == wanted and (text or strict)]
            if parameter.is_required and not texts:
                found.append(f"{parameter.name} is required")
            found.extend(self._parameter_problems(parameter, texts, strict=strict))
        return found

    def _parameter_problems(self, parameter: Parameter, texts: Sequence[str], *, strict: bool) -> Iterable[str]:
        if not texts:
            return
        schema = self.spec.resolve(parameter.schema)
        value: object
        if schema.get("type") == "array":
            element = self.spec.resolve(schema.get("items", {}))
            value = [_read(text, element) for text in texts]
        else:
            value = _read(texts[-1], schema)
        if not strict:
            schema = {key: bound for key, bound in schema.items() if key not in {"minimum", "maximum", "maxItems", "maxLength"}}
        yield from self.problems(value, schema, parameter.name)


def _said(name: str) -> str:
    return name or "the body"


def _member(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _kinds(schema: JsonSchema) -> Sequence[str]:
    kinds: Any = schema.get("type")
    if kinds is None:
        return ()
    return (kinds,) if isinstance(kinds, str) else cast("Sequence[str]", kinds)


def _is(value: object, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


def _check_string(value: str, schema: JsonSchema, name: str, found: list[str]) -> None:
    if len(value) < schema.get("minLength", 0):
        found.append(f"{_said(name)} must be at least {schema['minLength']} characters long")
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        found.append(f"{_said(name)} must be at most {schema['maxLength']} characters long")
    if schema.get("format") in _FORMATS:
        said, read = _FORMATS[schema["format"]]
        try:
            read(value)
        except ValueError:
            found.append(f"{_said(name)} must be {said}")


def _check_number(value: int | float, schema: JsonSchema, name: str, found: list[str]) -> None:
    bits = _BITS.get(schema.get("format", ""))
    # A float that large is what the decoder makes of digits that no integer of ours has room for.
    too_wide = isinstance(value, float) and abs(value) > 1 << 53
    if bits is not None and (too_wide or not -(1 << bits) <= value < 1 << bits):
        found.append(f"{_said(name)} must be an integer of {bits + 1} bits")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{_said(name)} must be at least {schema['minimum']}")
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        found.append(f"{_said(name)} must be more than {schema['exclusiveMinimum']}")
    if "maximum" in schema and value > schema["maximum"]:
        found.append(f"{_said(name)} must be at most {schema['maximum']}")


def _read(text: str, schema: JsonSchema) -> object:
    """Read a query value as the kind the schema asks for; a text that is none stays a text, and is reported as one."""
    kinds = _kinds(schema)
    if "integer" in kinds and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in kinds and _NUMBER.fullmatch(text):
        return float(text)
    if "boolean" in kinds and text in {"true", "false"}:
        return text == "true"
    return text
