"""The API as values: what the writers need to know, decided once, with nothing of the input format left in it but the schemas' own.

Order is the order of the facts throughout, so that the same input gives the same output.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

from codegen._facts import SCHEMAS, Json
from codegen._overlays import Words

TimeFormat: TypeAlias = Literal["seconds", "seconds_text", "iso", "day"]


@attrs.frozen
class Field:
    """A field of an object.

    Attributes:
        name: In Python.
        wire: In JSON.
        schema: Its type, as the facts have it.
        id_type: Name of the id type it holds; ``None`` when it holds none, or belongs to what users construct.
        confidence: How sure the fact is, when it was not read in Mux's documentation: ``inferred`` or ``unknown``; likewise elsewhere.
    """

    name: str
    wire: str
    schema: Json
    is_required: bool
    is_secret: bool
    is_deprecated: bool
    id_type: str | None
    confidence: str | None


@attrs.frozen
class Object:
    """A schema that becomes a class."""

    name: str
    module: str
    fields: tuple[Field, ...]
    confidence: str | None


@attrs.frozen
class Enum:
    """A schema that becomes an open set of texts."""

    name: str
    module: str
    values: tuple[str, ...]
    confidence: str | None


@attrs.frozen
class Union:
    """A schema that is one of several, told apart by the field *tag*."""

    name: str
    module: str
    tag: str
    variants: dict[str, str]


Schema: TypeAlias = Object | Enum | Union


@attrs.frozen
class Parameter:
    """An argument of a method.

    Attributes:
        name: In Python.
        wire: In the path, the query or the JSON body.
        shorthand: Member that plain text stands for; ``None`` for most.
    """

    name: str
    wire: str
    place: Literal["path", "query", "body"]
    schema: Json
    is_required: bool
    is_deprecated: bool = False
    shorthand: str | None = None
    confidence: str | None = None


@attrs.frozen
class Stamp:
    """How what an operation made is known again.

    Attributes:
        field: Names of the members that lead to the stamp, in the request's body and in the thing made.
        longest: Characters it takes.
        found_in: Id of the operation that shows the things.
        items: Names of the members that lead to the array.
        limit: Elements on a page; ``None`` without pages.
        query: What to ask for besides, in the operation's own words: ``$a.b`` is a member of the request's body.
        is_summary: Whether elements of the array leave the key out.
        retrieve: Id of the operation that shows one thing by its id; ``None`` when there is none.
        dead_statuses: Statuses of a thing that counts as not made.
        pages: Pages that a search reads at most; ``None`` for the usual bound.
    """

    field: tuple[str, ...]
    longest: int
    found_in: str
    items: tuple[str, ...]
    limit: int | None
    is_newest_first: bool
    query: dict[str, str]
    is_summary: bool
    retrieve: str | None
    dead_statuses: tuple[str, ...]
    pages: int | None


@attrs.frozen
class Method:
    """An operation.

    Attributes:
        body: Schema of the request's body; ``None`` when it takes none.
        model: Schema of what is decoded: under ``data``, one element of it, or the whole body.
        item: For pages, the schema of one element.
        found_in: Id of the operation that shows what this one made.
    """

    id: str
    group: str
    name: str
    verb: str
    path: str
    parameters: tuple[Parameter, ...]
    body: str | None
    bucket: str | None
    replay: str
    replay_reason: str | None
    pagination: str
    host: str
    result: Literal["none", "data", "envelope", "page", "json", "text", "bytes"]
    model: str | None
    item: str | None
    is_list: bool
    deprecated: str | None
    confidence: str | None
    found_in: str | None
    once: Stamp | None


@attrs.frozen
class Event:
    """A webhook event type and the schema of its data."""

    type: str
    data: str
    is_legacy: bool
    confidence: str | None


@attrs.frozen
class Api:
    """Everything. ``document`` is the corrected input itself, for the emulator's copy of it."""

    document: Json = attrs.field(repr=False)
    schemas: dict[str, Schema]
    methods: tuple[Method, ...]
    events: tuple[Event, ...]
    envelope: Json
    groups: tuple[str, ...]
    ids: tuple[str, ...]
    bases: dict[str, str]
    mixins: dict[str, str]
    query_items: dict[str, list[str]]
    words: Words

    def method(self, id: str) -> Method:
        """Return an operation by its id."""
        return next(method for method in self.methods if method.id == id)

    def request_schemas(self, *, with_bodies: bool = True) -> set[str]:
        """Return the names of the schemas that bodies of requests are made of; the bodies themselves are among them if asked for."""
        found: set[str] = set()
        waiting = [p.schema for method in self.methods for p in method.parameters if p.place == "body"]
        if with_bodies:
            found.update(method.body for method in self.methods if method.body)
        while waiting:
            schema = waiting.pop()
            waiting += [schema["items"]] if "items" in schema else []
            name = schema.get("$ref", "").removeprefix(SCHEMAS)
            if name and name not in found:
                found.add(name)
                match self.schemas[name]:
                    case Object(fields=fields):
                        waiting += [field.schema for field in fields]
                    case Union(variants=variants):
                        waiting += [{"$ref": f"{SCHEMAS}{variant}"} for variant in variants.values()]
                    case Enum():
                        pass
        return found

    def modules(self) -> dict[str, list[Schema]]:
        """Return the schemas by the module they are written to."""
        found: dict[str, list[Schema]] = {}
        for schema in self.schemas.values():
            found.setdefault(schema.module, []).append(schema)
        return found


def time_format(schema: Json) -> TimeFormat | None:
    """Return how a time is written, when it is one."""
    kinds: Any = schema.get("type")
    if schema.get("x-time") == "unix-seconds":
        return "seconds_text" if "string" in kinds else "seconds"
    match schema.get("format"):
        case "date-time":
            return "iso"
        case "date":
            return "day"
        case _:
            return None


def is_nullable(schema: Json) -> bool:
    """Whether null is among the types."""
    return isinstance(schema.get("type"), list) and "null" in schema["type"]
