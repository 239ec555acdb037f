"""The API description: the operations, their parameters, bodies and responses, and the data of events.

It is read from ``spec.json``, which ``python -m codegen`` writes from the facts. It is loaded on first use, because an emulator with state
needs no schema until a request has a query string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import unquote

import attrs
import orjson

JsonSchema: TypeAlias = Mapping[str, Any]
"""The part of JSON Schema that the facts use. A reference is the bare name of a schema."""

_NAME = re.compile(r"\{(\w+)\}")


@attrs.frozen
class Parameter:
    """A member of an operation's path or query; ``name`` ends in ``[]`` when it may be repeated."""

    name: str
    place: Literal["path", "query"]
    is_required: bool
    schema: JsonSchema


def _parameters(raw: Iterable[Mapping[str, Any]]) -> tuple[Parameter, ...]:
    return tuple(Parameter(entry["name"], entry["in"], entry["required"], entry["schema"]) for entry in raw)


@attrs.frozen(eq=False, kw_only=True)
class Operation:
    """An operation.

    *id* is dotted (``video.assets.create``), *path* has ``{NAME}`` for parameters, *host* is ``api``, ``stream`` or ``image``. *status* and
    *type* (``None`` for no body) are of a success, and *answer* is the schema of its JSON, empty if it is not described. *errors* are the
    statuses of errors; empty where any may occur, as in the API.
    """

    id: str
    verb: str
    path: str
    host: str
    status: int
    parameters: tuple[Parameter, ...] = attrs.field(default=(), converter=_parameters)
    body: JsonSchema | None = None
    body_required: bool = False
    type: str | None = None
    answer: JsonSchema = attrs.field(factory=dict[str, Any])
    errors: tuple[int, ...] = attrs.field(default=(), converter=tuple[int, ...])

    def of(self, place: Literal["path", "query"]) -> tuple[Parameter, ...]:
        """The parameters of one place."""
        return tuple(parameter for parameter in self.parameters if parameter.place == place)


class Spec:
    """All operations and schemas, and the name of the schema of each event's data, by its type."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.schemas: Mapping[str, JsonSchema] = document["schemas"]
        self.events: Mapping[str, str] = document["events"]
        self.operations: Sequence[Operation] = tuple(Operation(**raw) for raw in document["operations"])
        self._by_route = {(operation.verb, operation.path): operation for operation in self.operations}
        # Of several that match, the one with the most literal characters counts: in /data/v1/exports/views, "views" is not an id.
        ordered = sorted(self.operations, key=lambda operation: -len(_NAME.sub("", operation.path)))
        self._patterns = [(operation, _pattern(operation.path)) for operation in ordered]

    def resolve(self, schema: JsonSchema) -> JsonSchema:
        """Follow references to the schema itself."""
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        return schema

    @cached_property
    def property_names(self) -> frozenset[str]:
        """The names of all members of all objects, in requests and answers."""
        found: set[str] = set()
        waiting: list[Any] = [self.schemas, *(operation.body for operation in self.operations)]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Mapping):
                found.update(cast("Mapping[str, Any]", part).get("properties", ()))
                waiting += cast("Mapping[str, Any]", part).values()
            elif isinstance(part, list):
                waiting += part
        return frozenset(found)

    def operation(self, verb: str, path: str) -> Operation | None:
        """Return the operation of this verb and path, written with ``{NAME}``."""
        return self._by_route.get((verb, path))

    def find(self, verb: str, raw_path: str) -> tuple[Operation, dict[str, str]] | None:
        """Return the operation a request is for and its path's parameters, decoded; ``None`` if there is none."""
        for operation, pattern in self._patterns:
            match = pattern.fullmatch(raw_path) if operation.verb == verb else None
            if match is not None:
                return operation, {name: unquote(value) for name, value in match.groupdict().items()}
        return None


def _pattern(path: str) -> re.Pattern[str]:
    pieces = _NAME.split(path)  # text, name, text, name, ..., text
    return re.compile("".join(f"(?P<{piece}>[^/]+)" if index % 2 else re.escape(piece) for index, piece in enumerate(pieces)))


@cache
def load() -> Spec:
    """Read the file, once."""
    return Spec(orjson.loads(files("mux_async.emulator.validation").joinpath("spec.json").read_bytes()))
