"""What other libraries need from models: pydantic (and FastAPI with it) and msgspec. Imported when one of them calls a hook of `Model`.

To pydantic a model is its JSON object: it is read from one, written as one, and described by the schema of one. Reading is as tolerant as
`Model.from_wire`, because a stored response may hold what this version does not know.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal, NewType, Union, cast, get_args, get_origin, get_type_hints

from mux_async._models.fields import FieldTable
from mux_async._models.serialization import Serializable
from mux_async._models.times import write_day, write_iso, write_seconds, write_seconds_text

_WRITTEN: Final[Mapping[object, dict[str, Any]]] = {
    write_seconds: {"type": "number", "description": "Unix seconds"},
    write_seconds_text: {"type": "string", "description": "Unix seconds"},
    write_iso: {"type": "string", "format": "date-time"},
    write_day: {"type": "string", "format": "date"},
}
_PLAIN: Final[Mapping[object, dict[str, Any]]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    dt.datetime: {"type": "string"},
    dt.date: {"type": "string", "format": "date"},
}


def pydantic_schema(cls: Any) -> Any:
    """Return the core schema of a model for pydantic."""
    from pydantic_core import PydanticCustomError, core_schema

    def read(value: object) -> object:
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            return cls.from_wire(cast("Mapping[str, object]", value))
        raise PydanticCustomError("mux_model", "Input should be a {name} or its JSON object", {"name": cls.__name__})

    return core_schema.no_info_plain_validator_function(
        read, serialization=core_schema.plain_serializer_function_ser_schema(cls.to_wire)
    )


@cache
def pydantic_serializer(cls: Any) -> Any:
    """Return what pydantic writes a model with."""
    from pydantic_core import SchemaSerializer

    return SchemaSerializer(pydantic_schema(cls))


@cache
def json_schema(cls: Any, table: FieldTable) -> dict[str, Any]:
    """Return the JSON schema of a model, with those of the models in it. It allows for members that this version does not know."""
    hints = get_type_hints(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, field in table.fields.items():
        written = _WRITTEN.get(table.writers.get(name))
        properties[field.wire] = _schema_of(hints[name]) if written is None else dict(written)
        if not field.is_optional:
            required.append(field.wire)
        elif written is not None:
            properties[field.wire] = {"anyOf": [written, _PLAIN[type(None)]]}
    found: dict[str, Any] = {"type": "object", "title": cls.__name__, "properties": properties, "additionalProperties": True}
    return {**found, "required": required} if required else found


def _schema_of(kind: Any) -> dict[str, Any]:
    if isinstance(kind, NewType):
        return _schema_of(kind.__supertype__)
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if isinstance(kind, type) and issubclass(kind, Serializable):
        found: dict[str, Any] = cast("Any", kind).__get_pydantic_json_schema__(None, None)
        return found
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in {Union, types.UnionType}:
        return _any_of(list(arguments))
    if origin is not None and issubclass(origin, Sequence):
        return {"type": "array", "items": _schema_of(arguments[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": True}
    return {}


def _any_of(kinds: list[Any]) -> dict[str, Any]:
    known = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    if known and str in kinds:
        # An open enum: the values that are known, and any other text.
        kinds = [kind for kind in kinds if get_origin(kind) is not Literal]
    schemas = [{**_schema_of(kind), "examples": known} if known and kind is str else _schema_of(kind) for kind in kinds]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


@dataclasses.dataclass
class _OneField:
    field: None = None


def a_dataclass_field() -> Any:
    """Return a field as dataclasses have them. Of the fields of a model, only their names are used, and that they are fields."""
    return dataclasses.fields(_OneField)[0]
