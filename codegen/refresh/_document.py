"""OpenAPI documents as shapes: what a schema says, whether in the style of 3.0 or 3.1, by reference, ``allOf`` or in place."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import attrs

from codegen._facts import GeneratorError, Json

Pointer: TypeAlias = tuple[str | int, ...]
"""Where a node is in its document: keys from the root."""

OBJECT = frozenset({"object"})
VERBS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems")
_FORMATS = frozenset({"date", "date-time"})
_EVENT_TYPE = re.compile(r"^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+$")


@attrs.frozen
class Node:
    """A part of a document, and where it is."""

    raw: Json = attrs.field(repr=False)
    at: Pointer

    def child(self, *keys: str | int) -> Node:
        """Return a part of this one."""
        raw: Any = self.raw
        for key in keys:
            raw = raw[key]
        return Node(cast("Json", raw) if isinstance(raw, dict) else {}, (*self.at, *keys))


@attrs.define
class Shape:
    """What a schema says, and the *node* where it does: the one that a reference leads to.

    *types* are without ``null``, and empty when it may be anything; *variants* are schemas by the value of *tag*, *values* the schema of
    the members of a map.
    """

    node: Node
    types: frozenset[str] = frozenset()
    is_nullable: bool = False
    format: str | None = None
    enum: tuple[Any, ...] | None = None
    enum_at: Node | None = None
    properties: dict[str, Node] = attrs.field(factory=dict[str, Node])
    required: frozenset[str] = frozenset()
    items: Node | None = None
    values: Node | None = None
    tag: str | None = None
    variants: dict[str, Node] = attrs.field(factory=dict[str, Node])
    bounds: dict[str, Any] = attrs.field(factory=dict[str, Any])
    default: tuple[Any, ...] = ()
    is_deprecated: bool = False

    @property
    def name(self) -> str | None:
        """The name of the schema, when it has one."""
        return schema_name(self.node.at)


@contextmanager
def _reading(what: str, at: Pointer) -> Generator[None]:
    """Say which part of the file is malformed, instead of the error that reading it raises."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise GeneratorError(f"the {what} at {'/'.join(map(str, at))} is malformed: {error}") from error


def schema_name(at: Pointer) -> str | None:
    """Return the name of the schema at *at*, when it is one with a name."""
    return str(at[2]) if len(at) == 3 and at[:2] == ("components", "schemas") else None


@attrs.frozen
class Operation:
    """An operation. ``parameters`` are those of its path too, by place and name; ``body`` and ``answer`` are schemas."""

    verb: str
    path: str
    node: Node
    parameters: dict[tuple[str, str], Node]
    body: Node | None
    is_body_required: bool
    answers: dict[str, tuple[str | None, Node | None]]
    """By status of success: content type, and schema."""


@attrs.frozen
class Document:
    """A description of an API."""

    raw: Json = attrs.field(repr=False)
    _shapes: dict[Pointer, Shape] = attrs.field(factory=dict[Pointer, Shape], init=False, repr=False)

    # ---- references and schemas

    def follow(self, node: Node) -> Node:
        """Follow references to other parts of the document."""
        seen: set[Pointer] = set()
        while isinstance(reference := node.raw.get("$ref"), str):
            if node.at in seen:
                raise GeneratorError(f"the reference {reference} leads back to itself")
            seen.add(node.at)
            node = self._at(reference)
        return node

    def _at(self, reference: str) -> Node:
        if not reference.startswith("#/"):
            raise GeneratorError(
                f"the reference {reference!r} leads out of the file; bundle the description into one file first"
            )
        raw: Any = self.raw
        keys: list[str | int] = []
        for step in reference.removeprefix("#/").split("/"):
            key: str | int = unquote(step).replace("~1", "/").replace("~0", "~")
            if raw.__class__ is list and str(key).isdigit():
                key = int(key)
            try:
                raw = raw[key]
            except (KeyError, IndexError, TypeError):
                raise GeneratorError(f"the reference {reference!r} leads nowhere") from None
            keys.append(key)
        if not isinstance(raw, dict):
            raise GeneratorError(f"the reference {reference!r} leads to what is no object")
        return Node(cast("Json", raw), tuple(keys))

    def shape(self, node: Node) -> Shape:
        """Return what a schema says."""
        found = self._shapes.get(node.at)
        if found is None:
            found = self._shapes[node.at] = self._shape(node, ())
        return found

    def _shape(self, node: Node, above: tuple[Pointer, ...]) -> Shape:
        if node.at in above:
            raise GeneratorError(f"the schema at {'/'.join(map(str, node.at))} is made of itself")
        above = (*above, node.at)
        with _reading("schema", node.at):
            if "$ref" in node.raw:
                shape = attrs.evolve(self._shape(self.follow(node), above))
                return self._own(shape, Node({k: v for k, v in node.raw.items() if k != "$ref"}, node.at), above)
            return self._own(Shape(node), node, above)

    def _own(self, shape: Shape, node: Node, above: tuple[Pointer, ...]) -> Shape:
        """Add what *node* itself says to *shape*."""
        raw = node.raw
        kinds: Any = raw.get("type")
        listed: list[str] = [kinds] if isinstance(kinds, str) else list(kinds or ())
        if listed:
            shape.types = frozenset(listed) - {"null"}
        shape.is_nullable = shape.is_nullable or "null" in listed or raw.get("nullable") is True
        if raw.get("format") in _FORMATS:
            shape.format = raw["format"]
        values: list[Any] | None = [raw["const"]] if "const" in raw else raw.get("enum")
        if values is not None:
            shape.is_nullable = shape.is_nullable or None in values
            shape.enum, shape.enum_at = tuple(value for value in values if value is not None), node
            if not shape.types:
                shape.types = frozenset({_type_of(value) for value in shape.enum})
        for name in raw.get("properties", {}):
            shape.properties = {**shape.properties, name: node.child("properties", name)}
        shape.required |= frozenset(raw.get("required", ())) if isinstance(raw.get("required", ()), list) else frozenset()
        if isinstance(raw.get("items"), dict):
            shape.items = node.child("items")
        more: object = raw.get("additionalProperties")
        if isinstance(more, dict) and more:
            shape.values = node.child("additionalProperties")
        shape.bounds = {**shape.bounds, **_bounds(raw)}
        if "default" in raw and raw["default"] is not None:
            shape.default = (raw["default"],)
        shape.is_deprecated = shape.is_deprecated or raw.get("deprecated") is True
        if not shape.types and (shape.properties or shape.values):
            shape.types = frozenset({"object"})
        if not shape.types and shape.items:
            shape.types = frozenset({"array"})
        for index, _ in enumerate(raw.get("allOf", ())):
            shape = _merged(shape, self._shape(node.child("allOf", index), above))
        for key in ("oneOf", "anyOf"):
            if raw.get(key):
                shape = self._choice(shape, node, key, above)
        return shape

    def _choice(self, shape: Shape, node: Node, key: str, above: tuple[Pointer, ...]) -> Shape:
        choices = [node.child(key, index) for index in range(len(node.raw[key]))]
        shapes = [(choice, self._shape(choice, above)) for choice in choices if choice.raw.get("type") != "null"]
        if len(shapes) < len(choices):
            shape.is_nullable = True
        if not shapes:
            return shape
        if len(shapes) == 1:
            only = attrs.evolve(shapes[0][1])
            return _merged(only, shape, node=only.node)
        shape.is_nullable = shape.is_nullable or any(one.is_nullable for _, one in shapes)
        objects = [(choice, one) for choice, one in shapes if one.types == OBJECT]
        if len(objects) == len(shapes):
            return self._variants(shape, node, objects)
        for _, one in shapes:
            shape.types |= one.types
            if one.enum is not None:
                shape.enum, shape.enum_at = (*(shape.enum or ()), *one.enum), one.enum_at
            shape.items = shape.items or one.items
        return shape

    def _variants(self, shape: Shape, node: Node, objects: list[tuple[Node, Shape]]) -> Shape:
        said: Json = node.raw.get("discriminator") or {}
        tags = [said["propertyName"]] if "propertyName" in said else list(objects[0][1].properties)
        by_target = {
            self.follow(Node({"$ref": _as_pointer(target)}, ())).at: value for value, target in said.get("mapping", {}).items()
        }
        for tag in tags:
            found: dict[str, Node] = {}
            for choice, one in objects:
                member = one.properties.get(tag)
                inner = None if member is None else self.shape(member)
                enum = () if inner is None else inner.enum or ()
                if one.tag == tag or (inner is None and one.variants):
                    enum = ()
                mapped = [value for target, value in by_target.items() if target == self.follow(choice).at]
                for value in mapped or (enum if len(enum) == 1 or said else ()):
                    found.setdefault(str(value), choice)
            if said.get("mapping"):
                for value, target in said["mapping"].items():
                    found.setdefault(value, self.follow(Node({"$ref": _as_pointer(target)}, ())))
            if len(found) >= len(objects):
                return attrs.evolve(shape, types=frozenset({"object"}), tag=tag, variants=found)
        for _, one in objects:
            shape.properties = {**one.properties, **shape.properties}
        shape.types = frozenset({"object"})
        shape.required = objects[0][1].required
        for _, one in objects:
            shape.required &= one.required
        return shape

    # ---- operations and events

    def operations(self) -> Iterator[Operation]:
        """Yield every operation, with its path from the root of the server."""
        with _reading("list", ("servers",)):
            prefix = _base_path(self.raw)
        for path, item in self.raw["paths"].items():
            place = self.follow(Node(item, ("paths", path)))
            for verb in VERBS:
                if isinstance(place.raw.get(verb), dict):
                    with _reading("operation", ("paths", path, verb)):
                        operation = self._operation(verb, prefix + path, place, place.child(verb))
                    yield operation

    def _operation(self, verb: str, path: str, place: Node, node: Node) -> Operation:
        parameters: dict[tuple[str, str], Node] = {}
        for owner in (place, node):
            for index, _ in enumerate(owner.raw.get("parameters", ())):
                parameter = self.follow(owner.child("parameters", index))
                if "name" in parameter.raw and parameter.raw.get("in") in {"path", "query", "header", "cookie"}:
                    if not isinstance(name := parameter.raw["name"], str):
                        raise TypeError(f"the name of a parameter is {name!r}")
                    parameters[parameter.raw["in"], name] = parameter
        body = self.follow(node.child("requestBody")) if "requestBody" in node.raw else None
        answers: dict[str, tuple[str | None, Node | None]] = {}
        for status in node.raw.get("responses", {}):
            if str(status).startswith("2"):
                answers[str(status).upper()] = self._content(self.follow(node.child("responses", status)))
        is_body_required = body is not None and body.raw.get("required") is True
        sent = self._content(body)[1] if body is not None else None
        return Operation(verb, path, node, parameters, sent, is_body_required, answers)

    def _content(self, owner: Node) -> tuple[str | None, Node | None]:
        content: Json = owner.raw.get("content") or {}
        by_kind = {kind.partition(";")[0].strip().lower(): kind for kind in content}
        if not by_kind:
            return None, None
        kind = "application/json" if "application/json" in by_kind else next(iter(by_kind))
        has_schema = isinstance(content[by_kind[kind]].get("schema"), dict)
        return kind, owner.child("content", by_kind[kind], "schema") if has_schema else None

    def parameter_schema(self, parameter: Node) -> Node:
        """Return the schema of a parameter."""
        return parameter.child("schema") if "schema" in parameter.raw else self._content(parameter)[1] or Node({}, parameter.at)

    def events(self) -> dict[str, Node | None]:
        """Return the schema of the data of every webhook event; ``None`` where only the type is described."""
        found: dict[str, Node | None] = {}
        for section in ("webhooks", "x-webhooks"):
            with _reading("list of webhooks", (section,)):
                listed: list[str] = list(cast("Json", self.raw.get(section) or {}))
            for key in listed:
                with _reading("webhook", (section, key)):
                    found |= self._webhook(key, self.follow(Node(self.raw[section][key], (section, key))))
        with _reading("list of schemas", ("components", "schemas")):
            schemas: Json = {} if found else dict(self.raw.get("components", {}).get("schemas", {}))
        for name, raw in schemas.items():
            if isinstance(raw, dict):
                found |= self._event("", Node(cast("Json", raw), ("components", "schemas", name)))
        return found

    def _webhook(self, key: str, item: Node) -> dict[str, Node | None]:
        found: dict[str, Node | None] = {}
        for verb in VERBS:
            if isinstance(item.raw.get(verb), dict):
                body = item.child(verb).raw.get("requestBody")
                schema = self._content(self.follow(item.child(verb, "requestBody")))[1] if body else None
                found |= dict.fromkeys([key], None) if schema is None else self._event(key, schema)
        return found

    def _event(self, key: str, schema: Node) -> dict[str, Node | None]:
        shape = self.shape(schema)
        if shape.variants and shape.tag == "type":
            return {kind: data for choice in shape.variants.values() for kind, data in self._event(key, choice).items()}
        kinds = self.shape(shape.properties["type"]).enum if "type" in shape.properties else None
        types = [kind for kind in kinds or () if isinstance(kind, str) and _EVENT_TYPE.match(kind)]
        data = shape.properties.get("data")
        if not key:  # a schema may be anything; with a type and data it is an event
            return {} if data is None else dict.fromkeys(types, data)
        return dict.fromkeys(types or [key], schema if data is None else data)


def _merged(shape: Shape, other: Shape, node: Node | None = None) -> Shape:
    """Return what both say."""
    return Shape(
        node or (other.node if not (shape.properties or shape.enum or shape.variants or shape.name) else shape.node),
        shape.types or other.types,
        shape.is_nullable or other.is_nullable,
        shape.format or other.format,
        shape.enum if shape.enum is not None else other.enum,
        shape.enum_at or other.enum_at,
        {**shape.properties, **other.properties},
        shape.required | other.required,
        shape.items or other.items,
        shape.values or other.values,
        shape.tag or other.tag,
        shape.variants or other.variants,
        {**shape.bounds, **other.bounds},
        shape.default or other.default,
        shape.is_deprecated or other.is_deprecated,
    )


def _bounds(raw: Json) -> Json:
    found = {name: raw[name] for name in BOUNDS if isinstance(raw.get(name), int | float)}
    for name, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(raw.get(name), bool):  # as OpenAPI 3.0 has it
            del found[name]
            if raw[name] and plain in found:
                found[name] = found.pop(plain)
    return found


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "integer" if isinstance(value, int) else "number"


def _as_pointer(target: str) -> str:
    return target if target.startswith("#/") else f"#/components/schemas/{target}"


def _base_path(raw: Mapping[str, Any]) -> str:
    servers: list[Json] = raw.get("servers") or []
    path = urlsplit(str(servers[0].get("url", ""))).path if servers else ""
    return path.rstrip("/")


def load(path: Path) -> Document:
    """Read a published description. `GeneratorError` says what the file is instead of OpenAPI 3.0 or 3.1 in JSON."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise GeneratorError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        raw: Any = json.loads(text)
    except RecursionError:
        raise GeneratorError(f"{path} is no OpenAPI description: it is nested too deeply") from None
    except ValueError as error:
        hint = (
            "; a description in YAML has to be converted to JSON first" if re.match(rb"\s*(openapi|swagger)\s*:", text) else ""
        )
        raise GeneratorError(f"{path} is not JSON ({error}){hint}") from None
    return check(raw, str(path))


def check(raw: Any, name: str) -> Document:
    """Take a decoded document for a description."""
    if not isinstance(raw, dict):
        raise GeneratorError(f"{name} is no OpenAPI description: it holds no JSON object")
    members = cast("Json", raw)
    if "swagger" in members:
        raise GeneratorError(f"{name} is Swagger {members['swagger']}; only OpenAPI 3.0 and 3.1 are read: convert it first")
    version = members.get("openapi")
    if not isinstance(version, str):
        raise GeneratorError(f"{name} is no OpenAPI description: it has no member openapi that names the version")
    if not re.match(r"3\.[01](\.|$)", version):
        raise GeneratorError(f"{name} is OpenAPI {version}; only 3.0 and 3.1 are read")
    paths = members.get("paths")
    if not isinstance(paths, dict) or not paths or not all(isinstance(item, dict) for item in cast("Json", paths).values()):
        raise GeneratorError(f"{name} describes no operations: its member paths is missing, empty or malformed")
    return Document(members)
