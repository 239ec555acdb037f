"""A report of drift as corrections for ``codegen/overlays/corrections.toml``: append them there and regenerate, and all of it has a name.

What a report cannot decide (two types in one field, a status, an object of a new kind) becomes a comment.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias, cast

import mux_async.models as models
from mux_async._models.model import Model, table_of
from mux_async.drift import DriftPlace, DriftReport
from mux_async.webhooks.events import EVENTS

Schema: TypeAlias = dict[str, Any]

_HEAD: Final = """\
# What Mux sends that mux_async {version} has no name for, written by `mux-async drift --patch`.
# Append it to codegen/overlays/corrections.toml, check each entry, run `python -m codegen`, and describe what is new in
# codegen/overlays/descriptions.
"""
_SOURCE: Final = "seen by mux-async drift"
_IS_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII).fullmatch
_BARE: Final = re.compile(r"[\w-]+", re.ASCII).fullmatch
_SCALARS: Final = {"string", "integer", "number", "boolean"}
_SCHEMAS: Final = "/components/schemas"


class _UndecidedError(Exception):
    """A place for which no correction can be written; the text says why."""


class _Entries:
    """The corrections so far, and the names of schemas that they add."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.schemas: set[str] = set()

    def add(self, at: str, action: str, value: object, place: DriftPlace) -> None:
        self.lines += [
            "",
            "[[correction]]",
            f"at = {json.dumps(at)}",
            f"{action} = {_toml(value)}",
            f"reason = {json.dumps(_reason(place))}",
            f"source = {json.dumps(f'{_SOURCE}, {place.first_seen:%Y-%m-%d} to {place.last_seen:%Y-%m-%d}')}",
        ]

    def remark(self, place: DriftPlace, why: object) -> None:
        self.lines += ["", f"# {' '.join(str(place).split())}", f"# to decide: {why}"]


def write_patch(report: DriftReport) -> str:
    """Return the text to append. It has comments only if there is nothing to correct."""
    entries = _Entries()
    values: dict[str, list[DriftPlace]] = {}
    for place in report.places:
        try:
            match place.kind:
                case "unknown_field":
                    _add_field(entries, place)
                case "unknown_value":
                    values.setdefault(_enum_of(place), []).append(place)
                case "unknown_event":
                    entries.add(f"/x-events/{_segment(place.name)}", "add", _event(place), place)
                case "missing_field":
                    _model_of(place)
                    entries.add(f"{_SCHEMAS}/{place.owner}/required", "drop", place.name, place)
                case "wrong_type":
                    raise _UndecidedError("which type it has, or whether it may be null")
                case _:
                    raise _UndecidedError(
                        "whether the status is a new one, or comes from something between Mux and this program"
                    )
        except _UndecidedError as error:
            entries.remark(place, error)
    for at, places in values.items():
        samples = dict.fromkeys(sample for place in places for sample in place.samples if sample != "<not shown>")
        if samples:
            entries.add(at, "extend", list(samples), places[0])
        else:
            entries.remark(places[0], "its values, which are not shown because they are not plain words")
    return "\n".join([_HEAD.format(version=report.version).rstrip(), *entries.lines, ""])


def _reason(place: DriftPlace) -> str:
    return f"Mux sends it ({place.count} times), and mux_async had no name for it."


def _model_of(place: DriftPlace) -> type[Model]:
    model = getattr(models, place.owner, None) if place.owner in models.__all__ else None
    if not isinstance(model, type) or not issubclass(model, Model):
        raise _UndecidedError(f"{place.owner!r} is not an object of the API description")
    _segment(place.name)
    return model


def _segment(name: str) -> str:
    """Return *name* as a step of a JSON pointer, as corrections have it."""
    if name == "<not shown>" or "/" in name or "~" in name:
        raise _UndecidedError("its name, which is not made of plain words")
    return name


def _add_field(entries: _Entries, place: DriftPlace) -> None:
    _model_of(place)
    if not _IS_NAME(place.name):
        raise _UndecidedError("how the field is called in Python")
    added: list[tuple[str, Schema]] = []
    schema = _schema(place.samples, place.owner + _camel(place.name), added, entries.schemas)
    for name, each in added:
        entries.add(f"{_SCHEMAS}/{name}", "add", each, place)
    entries.add(f"{_SCHEMAS}/{place.owner}/properties/{place.name}", "add", schema, place)


def _schema(samples: Iterable[object], name: str, added: list[tuple[str, Schema]], taken: set[str]) -> Schema:
    """Return the schema of what has the shapes *samples*. An object becomes a schema of its own, called *name*."""
    kinds = {sample for sample in samples if isinstance(sample, str)}
    objects = [cast("Mapping[str, object]", sample) for sample in samples if isinstance(sample, Mapping)]
    lists = [cast("list[object]", sample) for sample in samples if isinstance(sample, list)]
    is_nullable = "null" in kinds
    kinds -= {"null"}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if kinds == {"string", "string (time)"}:
        kinds = {"string"}
    if sum(map(bool, (kinds, objects, lists))) != 1 or len(kinds) > 1:
        raise _UndecidedError("which type it has")
    if objects:
        return _object(objects, name, added, taken)
    if lists:
        items = [item for each in lists for item in each]
        return {"type": "array", "items": _schema(items, name, added, taken)}
    (kind,) = kinds
    if kind == "string (time)":
        return {"type": "string", "format": "date-time"}
    if kind not in _SCALARS:
        raise _UndecidedError("which type it has")
    return {"type": [kind, "null"] if is_nullable else kind}


def _object(objects: list[Mapping[str, object]], name: str, added: list[tuple[str, Schema]], taken: set[str]) -> Schema:
    members: dict[str, list[object]] = {}
    for each in objects:
        for member, shape in each.items():
            members.setdefault(member, []).append(shape)
    if not members or not all(map(_IS_NAME, members)):
        return {"type": "object", "additionalProperties": True}
    while name in taken or name in models.__all__:
        name += "Object"
    taken.add(name)
    properties: dict[str, Schema] = {}
    for member, shapes in members.items():
        try:
            properties[member] = _schema(shapes, name + _camel(member), added, taken)
        except _UndecidedError:
            continue  # it stays among the unknown fields of the new object
    if not properties:
        return {"type": "object", "additionalProperties": True}
    added.append((name, {"type": "object", "properties": properties}))
    return {"$ref": f"#{_SCHEMAS}/{name}"}


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _enum_of(place: DriftPlace) -> str:
    """Return where the values of the field are listed: in a schema of their own, or in the field."""
    table = table_of(_model_of(place))
    field = table.wires.get(place.name)
    if field is None:
        raise _UndecidedError("it is no field of this version")
    kind = table.fields[field].kind
    for constant in (name for name in models.__all__ if name.endswith("_VALUES")):
        if getattr(models, constant) is kind:
            plain = constant.removesuffix("_VALUES").replace("_", "").lower()
            enum = next(name for name in models.__all__ if name.lower() == plain)
            return f"{_SCHEMAS}/{enum}/enum"
    if kind.__class__ is not tuple:
        raise _UndecidedError("which class of objects this is; it needs a schema")
    return f"{_SCHEMAS}/{place.owner}/properties/{place.name}/enum"


def _event(place: DriftPlace) -> Schema:
    """Return the entry of an event: its data are those of most events with the longest common beginning of the type."""
    parts = place.name.split(".")
    for length in range(len(parts) - 1, 1, -1):
        beginning = ".".join(parts[:length]) + "."
        kin = Counter(cls.model_path for name, cls in EVENTS.items() if name.startswith(beginning))
        if kin:
            ((path, _count),) = kin.most_common(1)
            return {"type": place.name, "data_ref": f"#{_SCHEMAS}/{path.partition(':')[2]}"}
    raise _UndecidedError("which schema its data have")


def _toml(value: object) -> str:
    match value:
        case dict():
            members = cast("Mapping[str, object]", value)
            return (
                "{ "
                + ", ".join(f"{name if _BARE(name) else json.dumps(name)} = {_toml(each)}" for name, each in members.items())
                + " }"
            )
        case list():
            return "[" + ", ".join(_toml(each) for each in cast("list[object]", value)) + "]"
        case bool():
            return "true" if value else "false"
        case _:
            return json.dumps(value)
