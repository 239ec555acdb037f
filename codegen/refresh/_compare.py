"""What differs between our facts and a published description: operations, parameters, fields, values of enums, and events.

Operations are matched by verb and path, whatever the names of path parameters; parameters, fields and events by their names. Schemas are
matched by where they are used, so that the description may call them anything, or write them in place. Everything is said in our names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from codegen._facts import Json
from codegen._layers import confidence_of
from codegen.refresh._document import OBJECT, Document, Node, Operation, Pointer, Shape

Change: TypeAlias = Literal["new", "gone", "changed", "confirmed"]
Kind: TypeAlias = Literal["operation", "parameter", "field", "enum value", "event"]
CHANGES: tuple[Change, ...] = ("new", "gone", "changed", "confirmed")
KINDS: tuple[Kind, ...] = ("operation", "parameter", "field", "enum value", "event")

Key: TypeAlias = tuple[Change, Kind, str]
Changes: TypeAlias = dict[str, tuple[Any, Any]]
"""What was and what is, by what changed."""
_API_HOST = "https://api.mux.com"


@attrs.define
class Difference:
    """One thing that is not the same.

    Attributes:
        label: What it is about, in our names.
        ours: The part of our facts that it is about; of what is new, the part that it is new in.
        theirs: The part of the description.
        name: Of a parameter or field, or the value of an enum; of an event, its type.
        attributes: Of a change.
        note: What else there is to say.
        is_partial: Whether the description says so in some of the places only that share one schema of ours.
    """

    change: Change
    kind: Kind
    label: str
    ours: Node | None = None
    theirs: Node | None = None
    name: Any = None
    attributes: Changes = attrs.field(factory=Changes)
    note: str = ""
    is_partial: bool = False

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return (self.change, self.kind, self.label)

    def __str__(self) -> str:
        text = f"{self.change:<9} {self.kind:<10} {self.label}"
        if self.attributes:
            text += ": " + "; ".join(f"{name}: {_said(old)} -> {_said(new)}" for name, (old, new) in self.attributes.items())
        note = ", ".join(filter(None, [self.note, "in some of the places that share the schema" if self.is_partial else ""]))
        return f"{text} ({note})" if note else text


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value.__class__ in {list, tuple}:
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


@attrs.define
class Findings:
    """What a comparison came to; *compared* has the labels of what both have, *names* our names of schemas by theirs."""

    found: dict[Key, Difference] = attrs.field(factory=dict[Key, Difference])
    compared: set[tuple[Kind, str]] = attrs.field(factory=set[tuple[Kind, str]])
    names: dict[str, str] = attrs.field(factory=dict[str, str])
    notes: list[str] = attrs.field(factory=list[str])

    def sorted(self) -> list[Difference]:
        """Return the differences, by change, kind and label."""
        return sorted(self.found.values(), key=lambda d: (CHANGES.index(d.change), KINDS.index(d.kind), d.label))


def differences(stored: Json, corrected: Json, theirs: Document) -> Findings:
    """Compare a description with the facts, as they are *stored* and after the overlays' corrections.

    Where a description says what a correction replaced, that is no difference.
    """
    found, plain = _Comparison(corrected, theirs).run(), _Comparison(stored, theirs).run()
    for key, difference in list(found.found.items()):
        other = plain.found.get(key)
        place = (difference.kind, difference.label)
        if difference.change == "changed" and other is not None:
            kept = {name: pair for name, pair in difference.attributes.items() if name in other.attributes}
            difference.attributes = kept
            if not kept:
                del found.found[key]
        elif other is None and _is_overruled(difference, plain, place):
            del found.found[key]
    return found


def _is_overruled(difference: Difference, plain: Findings, place: tuple[Kind, str]) -> bool:
    """Whether the description says what the stored facts say, and a correction replaced that with reason."""
    match difference.change:
        case "gone":  # a correction added it
            return place not in plain.compared and ("gone", *place) not in plain.found
        case "confirmed":
            return True
        case _:
            owner = difference.label.rpartition(" = ")[0] if difference.kind == "enum value" else difference.label
            return (difference.kind, owner) in plain.compared or place in plain.compared


class _Comparison:
    def __init__(self, ours: Json, theirs: Document) -> None:
        self._facts = ours
        self._ours = Document(ours)
        self._theirs = theirs
        self._findings = Findings()
        self._pairs: dict[Pointer, dict[Pointer, set[Key]]] = {}

    def run(self) -> Findings:
        self._operations()
        self._events()
        self._find_partial()
        return self._findings

    # ---- operations

    def _operations(self) -> None:
        ours = {(op.verb, _pattern(op.path)): op for op in self._ours.operations()}
        theirs = {(op.verb, _pattern(op.path)): op for op in self._theirs.operations()}
        hosts = {ours[key].node.raw["x-host"] for key in ours.keys() & theirs.keys()}
        skipped = sorted({op.node.raw["x-host"] for op in ours.values()} - hosts - {_API_HOST})
        self._findings.notes += [f"no operation of {host} is described, so those were not compared" for host in skipped]
        for key, mine in ours.items():
            name = operation_id(mine)
            label = f"{mine.verb.upper()} {mine.path} ({name})"
            if key in theirs:
                self._both_operations(mine, theirs[key], label)
            elif mine.node.raw["x-host"] not in skipped and not _is_known_gone(mine.node.raw):
                self._add(Difference("gone", "operation", label, mine.node, note=_was(mine.node.raw)))
        for key, their in theirs.items():
            if key not in ours:
                label = f"{their.verb.upper()} {their.path}"
                self._add(Difference("new", "operation", label, theirs=their.node, name=(their.verb, their.path)))

    def _both_operations(self, mine: Operation, their: Operation, label: str) -> None:
        changed: Changes = {}
        raw = mine.node.raw
        self._findings.compared.add(("operation", label))
        if raw.get("x-gone"):
            self._add(
                Difference("new", "operation", label, mine.node, their.node, name=(mine.verb, mine.path), note="it is back")
            )
        _note(changed, "deprecated", _is_deprecated(raw), their.node.raw.get("deprecated") is True)
        if raw.get("x-legacy"):
            changed.pop("deprecated", None)
        ((status, (kind, answer)),) = mine.answers.items()
        found = status if status in their.answers else next(iter(sorted(their.answers)), None)
        if found is not None and found not in {status, "2XX"}:
            changed["status"] = (status, found)
        their_kind, their_answer = their.answers.get(found or "", (None, None))
        if found is not None and (kind or "") != (their_kind or "") and kind != their_kind:
            changed["answer"] = (kind, their_kind)
        if (mine.body is None) != (their.body is None):
            changed["request body"] = (mine.body is not None, their.body is not None)
        elif mine.body is not None:
            _note(changed, "request body required", mine.is_body_required, their.is_body_required)
        self._changed("operation", label, mine.node, their.node, changed)
        if not changed and raw.get("x-status-inferred") and found == status and confidence_of(raw) is None:
            self._add(Difference("confirmed", "operation", label, mine.node, their.node, note=f"status {status}"))
        self._parameters(mine, their)
        name = operation_id(mine)
        if mine.body is not None and their.body is not None:
            self._root(mine.body, their.body, f"request of {name}", label)
        if answer is not None and their_answer is not None and kind == "application/json":
            self._root(answer, their_answer, f"answer of {name}", label)

    def _root(self, mine: Node, their: Node, place: str, label: str) -> None:
        changed: Changes = {}
        self._schemas(mine, their, place, changed)
        if changed:
            self._changed(
                "operation", label, mine, their, {f"{place.split()[0]}, {name}": pair for name, pair in changed.items()}
            )

    def _parameters(self, mine: Operation, their: Operation) -> None:
        positions = _path_positions(mine.path), _path_positions(their.path)
        renamed = dict(zip(positions[1], positions[0], strict=False))
        theirs = {
            (place, renamed.get(name, name) if place == "path" else name.removesuffix("[]")): parameter
            for (place, name), parameter in their.parameters.items()
            if not (place == "header" and name.lower() in {"authorization", "accept", "content-type"})
        }
        ours = {
            (place, name if place == "path" else name.removesuffix("[]")): parameter
            for (place, name), parameter in mine.parameters.items()
        }
        for key, parameter in ours.items():
            label = f"{operation_id(mine)}({parameter.raw['name']})"
            if key in theirs:
                self._both_parameters(parameter, theirs[key], label)
            elif key[0] != "path" and not _is_known_gone(parameter.raw):
                self._add(Difference("gone", "parameter", label, parameter, note=_was(parameter.raw)))
        for key, parameter in theirs.items():
            if key not in ours and key[0] != "path":
                name = parameter.raw["name"]
                self._add(
                    Difference("new", "parameter", f"{operation_id(mine)}({name})", mine.node, parameter, name, note=key[0])
                )

    def _both_parameters(self, mine: Node, their: Node, label: str) -> None:
        changed: Changes = {}
        self._findings.compared.add(("parameter", label))
        if mine.raw["in"] != "path":
            _note(changed, "name", mine.raw["name"], their.raw["name"])
            _note(changed, "required", mine.raw.get("required") is True, their.raw.get("required") is True)
            _note(changed, "deprecated", _is_deprecated(mine.raw), their.raw.get("deprecated") is True)
        if mine.raw.get("x-gone"):
            self._add(Difference("new", "parameter", label, mine, their, mine.raw["name"], note="it is back"))
        schemas = self._ours.parameter_schema(mine), self._theirs.parameter_schema(their)
        if mine.raw["in"] == "path" and not schemas[1].raw:
            return
        self._schemas(*schemas, label, changed)
        self._changed("parameter", label, mine, their, changed)

    # ---- schemas

    def _schemas(self, mine: Node, their: Node, place: str, changed: Changes, prefix: str = "") -> None:
        """Compare two schemas: what differs in themselves is put into *changed*, fields and values of enums are found apart."""
        if not mine.raw:
            return
        ours, theirs = self._ours.shape(mine), self._theirs.shape(their)
        if theirs.name and ours.name:
            self._findings.names.setdefault(theirs.name, ours.name)
        if ours.types != theirs.types:
            changed[f"{prefix}type"] = (_types(ours), _types(theirs))
            return
        _note(changed, f"{prefix}nullable", ours.is_nullable, theirs.is_nullable)
        _note(changed, f"{prefix}format", ours.format, theirs.format)
        _note(changed, f"{prefix}default", *(shape.default[0] if shape.default else None for shape in (ours, theirs)))
        for name in sorted(ours.bounds.keys() | theirs.bounds.keys()):
            _note(changed, f"{prefix}{name}", ours.bounds.get(name), theirs.bounds.get(name))
        self._enums(ours, theirs, mine, place, changed, prefix)
        if ours.items is not None and theirs.items is not None:
            self._schemas(ours.items, theirs.items, place, changed, f"{prefix}items, ")
        if ours.values is not None and theirs.values is not None:
            self._schemas(ours.values, theirs.values, place, changed, f"{prefix}members, ")
        if ours.types == OBJECT:
            self._objects(ours, theirs, place, changed, prefix)

    def _enums(self, ours: Shape, theirs: Shape, mine: Node, place: str, changed: Changes, prefix: str) -> None:
        seen: list[Any] = [*mine.raw.get("x-known-values", ()), *mine.raw.get("x-guessed-values", ())]
        if theirs.enum is None or (ours.enum is None and not seen):
            if (ours.enum is None) != (theirs.enum is None):
                changed[f"{prefix}values"] = (list(ours.enum or ()) or "any", list(theirs.enum or ()) or "any")
            return
        home = ours.enum_at or mine
        label = home.at[2] if len(home.at) == 3 and home.at[0] == "components" else place
        self._findings.compared.add(("enum value", str(label)))
        with_pairing = self._pairing(home.at, (theirs.enum_at or theirs.node).at)
        if with_pairing is None:
            return
        known = seen if ours.enum is None else list(ours.enum)
        gone = home.raw.get("x-gone-values", ())
        is_unsure = ours.enum is None or (ours.name is not None and confidence_of(home.raw) is not None)
        for value in known:
            if value in theirs.enum and value in gone:
                self._add(self._value("new", label, value, home, note="it is back"), with_pairing)
            elif value in theirs.enum and is_unsure:
                self._add(self._value("confirmed", label, value, home), with_pairing)
            elif value not in theirs.enum and value not in gone:
                self._add(self._value("gone", label, value, home), with_pairing)
        for value in theirs.enum:
            if value not in known:
                self._add(self._value("new", label, value, home), with_pairing)

    def _value(self, change: Change, label: object, value: object, home: Node, note: str = "") -> Difference:
        return Difference(change, "enum value", f"{label} = {value!r}", home, name=value, note=note)

    def _objects(self, ours: Shape, theirs: Shape, place: str, changed: Changes, prefix: str) -> None:
        pairing = self._pairing(ours.node.at, theirs.node.at)
        if pairing is None:
            return
        owner = ours.name or place
        if ours.variants and theirs.variants:
            self._variants(ours, theirs, owner, pairing)
            return
        if ours.variants or theirs.variants:
            changed[f"{prefix}variants"] = (sorted(ours.variants) or None, sorted(theirs.variants) or None)
            return
        is_open = ours.name is None and not ours.properties
        if is_open or (not theirs.properties and ours.properties):
            if bool(ours.properties) != bool(theirs.properties):
                changed[f"{prefix}members"] = tuple(  # type: ignore[assignment]  # of two
                    sorted(shape.properties) if shape.properties else "any" for shape in (ours, theirs)
                )
            return
        for name, mine in ours.properties.items():
            label = f"{owner}.{name}"
            if name in theirs.properties:
                self._both_fields(ours, theirs, name, label, pairing)
            elif not _is_known_gone(mine.raw):
                self._add(Difference("gone", "field", label, mine, name=name, note=_was(mine.raw)), pairing)
        for name, their in theirs.properties.items():
            if name not in ours.properties:
                note = "required" if name in theirs.required else ""
                self._add(Difference("new", "field", f"{owner}.{name}", ours.node, their, name, note=note), pairing)

    def _both_fields(self, ours: Shape, theirs: Shape, name: str, label: str, pairing: set[Key]) -> None:
        mine, their = ours.properties[name], theirs.properties[name]
        changed: Changes = {}
        self._findings.compared.add(("field", label))
        if mine.raw.get("x-gone"):
            self._add(Difference("new", "field", label, mine, their, name, note="it is back"), pairing)
        _note(changed, "required", name in ours.required, name in theirs.required)
        _note(changed, "deprecated", self._ours.shape(mine).is_deprecated, self._theirs.shape(their).is_deprecated)
        self._schemas(mine, their, label, changed)
        self._changed("field", label, mine, their, changed, pairing)

    def _variants(self, ours: Shape, theirs: Shape, owner: str, pairing: set[Key]) -> None:
        label = f"{owner}.{ours.tag}"
        self._findings.compared.add(("enum value", label))
        for value, mine in ours.variants.items():
            if value in theirs.variants:
                self._schemas(mine, theirs.variants[value], f"{owner}({value})", {})
            elif value not in ours.node.raw.get("x-gone-values", ()):
                self._add(self._value("gone", label, value, ours.node, note="a variant"), pairing)
        for value, their in theirs.variants.items():
            if value not in ours.variants:
                found = self._value("new", label, value, ours.node, note="a variant")
                found.theirs = their
                self._add(found, pairing)

    def _pairing(self, mine: Pointer, their: Pointer) -> set[Key] | None:
        """Begin to compare two schemas; ``None`` when they are, or were, compared already."""
        pairs = self._pairs.setdefault(mine, {})
        if their in pairs:
            return None
        pairs[their] = set()
        return pairs[their]

    # ---- events

    def _events(self) -> None:
        theirs = self._theirs.events()
        ours: dict[str, Json] = {event["type"]: event for event in self._facts["x-events"]}
        positions = {event["type"]: index for index, event in enumerate(self._facts["x-events"])}
        if not theirs:
            self._findings.notes.append("no events are described, so none were compared")
            return
        for kind, event in ours.items():
            node = Node(event, ("x-events", positions[kind]))
            if kind not in theirs:
                if not _is_known_gone(event):
                    self._add(Difference("gone", "event", kind, node, name=kind, note=_was(event)))
                continue
            self._findings.compared.add(("event", kind))
            if event.get("x-gone"):
                self._add(Difference("new", "event", kind, node, theirs[kind], kind, note="it is back"))
            changed: Changes = {}
            their = theirs[kind]
            if their is not None and event["data_ref"]:
                shape = self._theirs.shape(their)
                their = shape.properties.get(kind, their)
                self._schemas(Node({"$ref": event["data_ref"]}, node.at), their, f"data of {kind}", changed)
            self._changed("event", kind, node, their, changed)
        for kind, their in theirs.items():
            if kind not in ours:
                self._add(Difference("new", "event", kind, theirs=their, name=kind))

    # ---- results

    def _changed(
        self, kind: Kind, label: str, mine: Node, their: Node | None, changed: Changes, pairing: set[Key] | None = None
    ) -> None:
        if changed:
            self._add(Difference("changed", kind, label, mine, their, attributes=changed), pairing)
        elif confidence_of(mine.raw) is not None:
            self._add(Difference("confirmed", kind, label, mine, their, note=f"was {confidence_of(mine.raw)}"), pairing)

    def _add(self, difference: Difference, pairing: set[Key] | None = None) -> None:
        if pairing is not None:
            pairing.add(difference.key)
        known = self._findings.found.setdefault(difference.key, difference)
        known.attributes = {**difference.attributes, **known.attributes}

    def _find_partial(self) -> None:
        """Mark what only some of the schemas say that one of ours stands for; what those contradict is not confirmed."""
        for pairs in self._pairs.values():
            for key in set[Key]().union(*pairs.values()):
                if any(key not in pairing for pairing in pairs.values()):
                    if key[0] == "confirmed":
                        self._findings.found.pop(key, None)
                    elif key in self._findings.found:
                        self._findings.found[key].is_partial = True


def operation_id(operation: Operation) -> str:
    """Return our name of an operation of ours."""
    return f"{operation.node.raw['x-group']}.{operation.node.raw['x-operation']}"


def _pattern(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


def _path_positions(path: str) -> list[str]:
    return re.findall(r"\{([^}]*)\}", path)


def _note(changed: Changes, name: str, old: Any, new: Any) -> None:
    if old != new:
        changed[name] = (old, new)


def _types(shape: Shape) -> str:
    return " or ".join(sorted(shape.types)) or "anything"


def _is_deprecated(raw: Mapping[str, Any]) -> bool:
    return raw.get("deprecated") is True and not raw.get("x-gone")


def _is_known_gone(raw: Mapping[str, Any]) -> bool:
    """Whether the facts say already that no description has it."""
    return bool(raw.get("x-gone") or raw.get("x-legacy"))


def _was(raw: Json) -> str:
    confidence = confidence_of(raw)
    return "" if confidence is None else f"was {confidence}"


def summary(found: Iterable[Difference]) -> str:
    """Count differences by kind."""
    counts = Counter(difference.kind for difference in found)
    return ", ".join(f"{counts[kind]} {kind}{'s' * (counts[kind] != 1)}" for kind in KINDS if counts[kind])
