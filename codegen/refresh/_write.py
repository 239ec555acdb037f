"""Brings the facts up to date with what a comparison found. What needs a decision is listed and left alone.

What is new is added, what changed is changed, what is confirmed says so. What is gone stays, because programs use it, and is marked
``x-gone``: from then on it counts as deprecated, nothing requires it, and it is not reported again. Names are ours, where there is one.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from codegen import _facts, _overlays
from codegen._facts import SCHEMAS, Facts, Json
from codegen._layers import operations
from codegen.refresh._compare import Difference, Findings
from codegen.refresh._document import BOUNDS, OBJECT, Document, Node, Pointer, Shape, schema_name

SOURCE = "api-spec"
"""What the facts say of the origin of what is written here."""
_KEPT = ("x-time",)


@attrs.frozen
class Written:
    """What came of it.

    Attributes:
        decisions: What is left for people, a line each.
    """

    folder: Path
    facts: Facts = attrs.field(repr=False)
    decisions: list[str]

    def store(self) -> list[str]:
        """Write the files that changed, and their hashes; return their names."""
        changed: list[str] = []
        origin = self.folder / "ORIGIN.toml"
        pins = origin.read_text("utf-8")
        for name, document in {**self.facts.apis, **self.facts.hooks}.items():
            path = self.folder / name
            before = path.read_text("utf-8")
            if json.loads(before) == document:
                continue
            text = json.dumps(document, indent=1, ensure_ascii=False) + ("\n" if before.endswith("\n") else "")
            old = hashlib.sha256(path.read_bytes()).hexdigest()
            path.write_text(text, "utf-8")
            pins = pins.replace(old, hashlib.sha256(text.encode()).hexdigest())
            changed.append(name)
        origin.write_text(pins, "utf-8")
        return changed


class Writer:
    """Applies differences to the facts of a folder."""

    def __init__(self, folder: Path, findings: Findings, theirs: Document) -> None:
        self._folder = folder
        self._findings = findings
        self._facts = _facts.read(folder)
        self._theirs = theirs
        self._decisions: list[str] = []
        names = tomllib.loads((_overlays.OVERLAYS / "names.toml").read_text("utf-8"))
        self._operation_names: dict[str, str] = names["operations"]
        self._schema_names: dict[str, str] = {**findings.names, **names["schemas"]}
        self._imported: dict[Pointer, str] = {}

    def apply(self) -> Written:
        """Change the facts in memory."""
        for difference in self._findings.sorted():
            if difference.is_partial:
                self._decide(difference, "clash: only some of what shares our schema has it; give those a schema of their own")
            else:
                getattr(self, f"_{difference.kind.replace(' ', '_')}")(difference)
        return Written(self._folder, self._facts, self._decisions)

    def _decide(self, difference: Difference, why: str) -> None:
        self._decisions.append(f"{difference.change} {difference.kind} {difference.label}: {why}")

    # ---- where things are

    def _schemas_of(self, file: str) -> Json:
        if file in self._facts.apis:
            return cast("Json", self._facts.apis[file]["components"]["schemas"])
        return cast("Json", self._facts.hooks[file]["schemas"])

    def _file_of_schema(self, name: str) -> str | None:
        return next((file for file in (*self._facts.apis, *self._facts.hooks) if name in self._schemas_of(file)), None)

    def _locate(self, at: Pointer) -> tuple[str, Any] | None:
        """Return the file and the stored part that a pointer into the merged document means; ``None`` when no file has it."""
        node: Any
        match at:
            case ("components", "schemas", str() as name, *rest):
                file = self._file_of_schema(name)
                node = self._schemas_of(file)[name] if file else None
            case ("paths", str() as path, str() as verb, *rest):
                file = next((f for f, document in self._facts.apis.items() if verb in document["paths"].get(path, {})), "")
                node = self._facts.apis[file]["paths"][path][verb] if file else None
            case _:
                return None
        if not file:
            return None
        for key in rest:
            try:
                node = node[key]
            except (KeyError, IndexError, TypeError):
                return None
        return file, node

    def _stored(self, difference: Difference) -> tuple[str, Any] | None:
        found = None if difference.ours is None else self._locate(difference.ours.at)
        if found is None:
            self._decide(difference, "clash: it is ours by a correction (codegen/overlays/corrections.toml); change that")
        return found

    # ---- operations and parameters

    def _operation(self, difference: Difference) -> None:
        if difference.change == "new" and difference.ours is None:
            self._new_operation(difference)
            return
        found = self._stored(difference)
        if found is None:
            return
        _file, raw = found
        if difference.change == "changed":
            self._change_operation(difference, raw)
        else:
            _mark(raw, difference.change)

    def _change_operation(self, difference: Difference, raw: Json) -> None:
        for name, (old, new) in difference.attributes.items():
            if name == "deprecated":
                _flag(raw, "deprecated", is_set=new)
                _flag(raw, "x-deprecated-in", is_set=new)
                self._regroup(difference, is_deprecated=new)
                if new:
                    self._decide(difference, "say in codegen/overlays/operations.toml, [deprecated], what to use instead")
            elif name == "status":
                raw["responses"] = {new if status == old else status: answer for status, answer in raw["responses"].items()}
                raw.pop("x-status-inferred", None)
            elif name == "request body required" and "requestBody" in raw:
                raw["requestBody"]["required"] = new
            else:
                self._decide(difference, f"clash: its {name} is another now")
        _confirm(raw)

    def _regroup(self, difference: Difference, *, is_deprecated: bool) -> None:
        """Let a layer that gives the operation another group say the same."""
        line = difference.label.partition(" (")[0]
        for document in self._facts.apis.values():
            if line in document.get("x-v0-regroup", {}):
                _flag(document["x-v0-regroup"][line], "deprecated", is_set=is_deprecated)

    def _new_operation(self, difference: Difference) -> None:
        verb, path = difference.name
        name = self._operation_names.get(f"{verb.upper()} {path}") or self._guess_name(verb, path)
        their = next(op for op in self._theirs.operations() if (op.verb, op.path) == (verb, path))
        if name is None:
            self._decide(difference, "a new group; name it in codegen/overlays/names.toml")
            return
        group, _, own = name.rpartition(".")
        file = self._file_of_group(group)
        known = (op for document in self._facts.apis.values() for _verb, _path, op in operations(document))
        if any(f"{op['x-group']}.{op['x-operation']}" == name for op in known):
            self._decide(difference, f"clash: {name} is another operation; name it in codegen/overlays/names.toml")
            return
        operation: Json = {"operationId": name.replace(".", "_"), "tags": [group], "x-group": group, "x-operation": own}
        operation["x-source"] = SOURCE
        if their.node.raw.get("deprecated") is True:
            operation["deprecated"] = True
        renamed = {old: re.sub(r"(?<=[a-z0-9])(?=[A-Z])|-", "_", old).upper() for old in re.findall(r"\{([^}]*)\}", path)}
        for old, new in renamed.items():
            path = path.replace(f"{{{old}}}", f"{{{new}}}")
        parameters = [self._parameter_json(parameter, file, group, renamed) for parameter in their.parameters.values()]
        if parameters := [parameter for parameter in parameters if parameter["in"] in {"path", "query"}]:
            operation["parameters"] = parameters
        if their.body is not None:
            schema = self._named(their.body, file, f"{_camel(name)}Request")
            operation["requestBody"] = {"required": their.is_body_required, "content": {"application/json": {"schema": schema}}}
        status = next(iter(sorted(their.answers)), "200").replace("2XX", "200")
        kind, answer = their.answers.get(status, (None, None))
        response: Json = {"description": ""}
        if kind is not None and answer is not None:
            response["content"] = {kind: {"schema": self._named(answer, file, f"{_camel(name)}Response")}}
            if kind == "application/json" and "data" not in self._theirs.shape(answer).properties:
                self._decide(difference, "its answer has no envelope with data, which the generator needs")
                return
        operation["responses"] = {status: response}
        operation["x-pagination"] = {"style": _pagination(parameters, self._theirs, answer)}
        operation["x-host"] = "https://api.mux.com"
        operation["x-rate-limit-bucket"] = _bucket(verb, path)
        self._facts.apis[file]["paths"].setdefault(path, {})[verb] = operation
        self._decisions.append(
            f"new operation {verb.upper()} {path}: named {name}; rename it in codegen/facts if that reads badly"
        )

    def _guess_name(self, verb: str, path: str) -> str | None:
        """Name an operation after its neighbours: those of the same path, or of the path that it lies below."""
        groups = {
            re.sub(r"\{[^}]*\}", "{}", known): operation["x-group"]
            for document in self._facts.apis.values()
            for _verb, known, operation in operations(document)
        }
        own = re.sub(r"\{[^}]*\}", "{}", path)
        parts = own.strip("/").split("/")
        last = next((part for part in reversed(parts) if part != "{}"), "")
        for length in range(len(parts), 2, -1):
            group = groups.get("/" + "/".join(parts[:length]))
            if group is not None:
                rest = [part.replace("-", "_") for part in parts[length:] if part != "{}"]
                is_one = parts[-1] == "{}"
                word = {"get": "retrieve" if is_one else "list", "post": "create", "delete": "delete"}.get(verb, "update")
                if not rest:
                    return f"{group}.{word}"
                if verb in {"put", "post"} and len(rest) == 1 and parts[-1] == last and re.fullmatch(r"[a-z]+", last):
                    return f"{group}.{last}" if last in _VERBS else f"{group}.{word}_{last}"
                return f"{group}.{word if word != 'list' or rest[-1].endswith('s') else 'retrieve'}_{'_'.join(rest)}"
        return None

    def _file_of_group(self, group: str) -> str:
        for file, document in reversed(self._facts.apis.items()):
            if any(operation["x-group"] == group for _verb, _path, operation in operations(document)):
                return file
        return next(iter(self._facts.apis))

    def _parameter_json(self, parameter: Node, file: str, owner: str, renamed: Mapping[str, str] | None = None) -> Json:
        name = parameter.raw["name"]
        schema = self._import(self._theirs.parameter_schema(parameter), file, f"{_camel(owner)}{_camel(name)}")
        made: Json = {
            "name": (renamed or {}).get(name, name),
            "in": parameter.raw["in"],
            "required": parameter.raw.get("required") is True or parameter.raw["in"] == "path",
            "schema": schema,
        }
        if parameter.raw.get("deprecated") is True:
            made["deprecated"] = True
        return made

    def _parameter(self, difference: Difference) -> None:
        found = self._stored(difference)
        if found is None:
            return
        file, raw = found
        if difference.change == "new" and difference.note != "it is back":
            assert difference.theirs is not None
            if difference.theirs.raw["in"] != "query":
                self._decide(
                    difference, f"a parameter in the {difference.theirs.raw['in']}, which the generator does not write"
                )
                return
            made = self._parameter_json(difference.theirs, file, raw["x-group"])
            raw.setdefault("parameters", []).append({**made, "x-source": SOURCE})
            return
        _mark(raw, difference.change)
        if difference.change == "gone":
            raw["required"] = False
        elif difference.change == "changed":
            attributes = dict(difference.attributes)
            for name in ("name", "required"):
                if name in attributes:
                    raw[name] = attributes.pop(name)[1]
            if "deprecated" in attributes:
                _flag(raw, "deprecated", is_set=attributes.pop("deprecated")[1])
            if attributes and difference.theirs is not None:
                schema = self._theirs.parameter_schema(difference.theirs)
                self._change_schema(raw, "schema", schema, attributes, file, difference)
            _confirm(raw)

    # ---- fields and values

    def _field(self, difference: Difference) -> None:
        found = self._stored(difference)
        if found is None or difference.ours is None:
            return
        file, raw = found
        name = str(difference.name or difference.ours.at[-1])
        if difference.change == "new" and difference.note != "it is back":
            assert difference.theirs is not None
            owner = schema_name(difference.ours.at)
            member = self._import(difference.theirs, file, f"{owner}{_camel(name)}")
            if "x-confidence" in raw:
                member["x-confidence"] = "stated"
            raw.setdefault("properties", {})[name] = {**member, "x-source": SOURCE}
            if difference.note == "required":
                raw["required"] = sorted({*raw.get("required", ()), name})
            return
        schema = self._locate(difference.ours.at[:3])
        owner_raw: Json = schema[1] if schema is not None else {}
        _mark(raw, difference.change)
        if difference.change == "gone" and name in owner_raw.get("required", ()):
            owner_raw["required"].remove(name)
        elif difference.change == "changed":
            attributes = dict(difference.attributes)
            if "required" in attributes:
                kept = {*owner_raw.get("required", ())} - {name}
                owner_raw["required"] = sorted(kept | {name} if attributes.pop("required")[1] else kept)
            if "deprecated" in attributes:
                _flag(raw, "deprecated", is_set=attributes.pop("deprecated")[1])
            if attributes and difference.theirs is not None:
                self._change_schema(owner_raw["properties"], name, difference.theirs, attributes, file, difference)
                raw = owner_raw["properties"][name]
            _confirm(raw)

    def _change_schema(
        self, holder: Json, key: str, their: Node, attributes: Mapping[str, tuple[Any, Any]], file: str, difference: Difference
    ) -> None:
        """Change a schema in the places that differ, or as a whole where it is another one."""
        raw: Json = holder[key]
        plain = {*BOUNDS, "default", "format"}
        is_simple = all(name in plain for name in attributes) and "$ref" not in raw
        if is_simple:
            for name, (_old, new) in attributes.items():
                if new is None:
                    raw.pop(name, None)
                else:
                    raw[name] = new
            return
        if any(name.endswith("variants") for name in attributes):
            self._decide(difference, "clash: told apart another way; write it by hand")
            return
        made = self._import(their, file, f"{difference.label.replace('.', ' ').title().replace(' ', '')}")
        extensions = {name: value for name, value in raw.items() if name.startswith("x-") or name == "deprecated"}
        if "type" in attributes:
            extensions = {name: value for name, value in extensions.items() if name not in _KEPT}
        holder[key] = {**made, **{k: v for k, v in extensions.items() if k not in {"x-known-values", "x-guessed-values"}}}

    def _enum_value(self, difference: Difference) -> None:
        if difference.note == "a variant":
            self._variant(difference)
            return
        found = self._stored(difference)
        if found is None:
            return
        _file, raw = found
        value = difference.name
        match difference.change:
            case "new":
                if value in raw.get("x-gone-values", ()):
                    raw["x-gone-values"].remove(value)
                elif "enum" in raw or "x-known-values" in raw:
                    raw.setdefault("enum", list(raw.pop("x-known-values", ()))).append(value)
                    raw.pop("x-guessed-values", None)
                else:
                    self._decide(difference, "clash: the values are ours by a correction; change that")
            case "gone":
                raw.setdefault("x-gone-values", []).append(value)
            case _:
                _confirm(raw)
                if "enum" not in raw or value not in raw["enum"]:
                    raw.setdefault("enum", []).append(value)
                    raw.pop("x-known-values", None)
                    raw.pop("x-guessed-values", None)

    def _variant(self, difference: Difference) -> None:
        found = self._stored(difference)
        if found is None or difference.ours is None:
            return
        file, raw = found
        if difference.change == "gone":
            raw.setdefault("x-gone-values", []).append(difference.name)
        elif difference.theirs is not None and "oneOf" in raw:
            reference = self._named(difference.theirs, file, f"{schema_name(difference.ours.at)}{_camel(str(difference.name))}")
            raw["oneOf"].append(reference)
            raw["discriminator"]["mapping"][str(difference.name)] = reference["$ref"]
        else:
            self._decide(difference, "clash: told apart another way; write it by hand")

    # ---- events

    def _event(self, difference: Difference) -> None:
        stored = [
            event
            for document in self._facts.hooks.values()
            for event in (*document["events"], *document.get("other_new_events", ()))
            if event["type"] == difference.label
        ]
        raw: Json = stored[0] if stored else {}
        if difference.change == "new" and not stored:
            self._new_event(difference)
        elif difference.change == "changed":
            self._decide(difference, "clash: its data is another now; write it by hand")
        else:
            _mark(raw, difference.change)

    def _new_event(self, difference: Difference) -> None:
        kind = difference.label
        file = next(
            (
                name
                for name, document in reversed(self._facts.hooks.items())
                if any(event["type"].rpartition(".")[0] == kind.rpartition(".")[0] for event in document["events"])
            ),
            next(iter(self._facts.hooks)),
        )
        if difference.theirs is None:
            self._decide(difference, "nothing is said of its data; write it by hand")
            return
        shape = self._theirs.shape(difference.theirs)
        their = shape.properties.get(kind, difference.theirs)
        if self._theirs.shape(their).types != OBJECT:
            self._decide(difference, "its data is no object, which the generator needs")
            return
        reference: str = self._named(their, file, f"Webhook{_camel(kind)}")["$ref"]
        entry = {"type": kind, "data_schema": reference.rpartition("/")[2], "data_ref": reference, "x-source": SOURCE}
        document = self._facts.hooks[file]
        document["events"] = sorted([*document["events"], entry], key=lambda event: str(event["type"]))

    # ---- schemas of theirs

    def _named(self, their: Node, file: str, name: str) -> Json:
        """Return a reference to a schema of theirs, made one of ours with a name where it has none."""
        made = self._import(their, file, name, is_named=True)
        return {"$ref": made["$ref"]}

    def _import(self, their: Node, file: str, name: str, *, is_named: bool = False) -> Json:
        """Return a schema of theirs as the facts write it: no text, and objects by reference."""
        shape = self._theirs.shape(their)
        made: Json
        if shape.types == OBJECT and (shape.properties or shape.variants):
            made = {"$ref": self._reference(shape, file, name)}
        elif shape.name is not None and shape.enum is not None and shape.name in self._schema_names:
            made = {"$ref": self._reference_to(self._schema_names[shape.name], file)}
        elif is_named:
            made = {"$ref": self._reference(shape, file, name)}
        else:
            made = self._plain(shape, file, name)
        if shape.is_nullable and "$ref" not in made and isinstance(made.get("type"), str):
            made["type"] = [made["type"], "null"]
        if shape.is_deprecated:
            made["deprecated"] = True
        return made

    def _plain(self, shape: Shape, file: str, name: str) -> Json:
        types = sorted(shape.types)
        if not types or (len(types) > 1 and {"object", "array"} & shape.types):
            return {"type": "object", "additionalProperties": True}
        made: Json = {"type": types[0] if len(types) == 1 else types}
        if shape.enum is not None:
            made["enum"] = list(shape.enum)
        if shape.format:
            made["format"] = shape.format
        if types == ["array"]:
            made["items"] = self._import(shape.items, file, name) if shape.items is not None else {"type": "string"}
        if types == ["object"]:
            made["additionalProperties"] = True if shape.values is None else self._import(shape.values, file, name)
        made |= shape.bounds
        if shape.default:
            made["default"] = shape.default[0]
        return made

    def _reference(self, shape: Shape, file: str, name: str) -> str:
        their_name = shape.name
        if their_name is not None and their_name in self._schema_names:
            known = self._schema_names[their_name]
            if self._file_of_schema(known) is not None:
                return self._reference_to(known, file)
            name = known
        elif shape.node.at in self._imported:
            return self._reference_to(self._imported[shape.node.at], file)
        elif their_name is not None:
            name = _camel(their_name)
        if self._file_of_schema(name) is not None:
            clash, number = name, 2
            while self._file_of_schema(f"{name}{number}") is not None:
                number += 1
            name = f"{name}{number}"
            self._decisions.append(f"new schema {name}: clash, {clash} is another one; rename it in codegen/facts")
        self._imported[shape.node.at] = name
        if their_name is not None:
            self._schema_names[their_name] = name
        schemas = self._schemas_of(file)
        schemas[name] = made = cast("Json", {})
        if shape.variants:
            mapping = {tag: self._named(choice, file, f"{name}{_camel(tag)}")["$ref"] for tag, choice in shape.variants.items()}
            made["oneOf"] = [{"$ref": target} for target in dict.fromkeys(mapping.values())]
            made["discriminator"] = {"propertyName": shape.tag, "mapping": mapping}
        elif shape.types == OBJECT:
            made["type"] = "object"
            made["properties"] = {
                member: self._import(node, file, f"{name}{_camel(member)}") for member, node in shape.properties.items()
            }
            if shape.required:
                made["required"] = sorted(shape.required & shape.properties.keys())
        else:
            made |= self._plain(shape, file, name)
        made["x-source"] = SOURCE
        return self._reference_to(name, file)

    def _reference_to(self, name: str, file: str) -> str:
        """Write a reference to a schema of ours as *file* has to."""
        home = self._file_of_schema(name) or file
        if home == file or (home in self._facts.apis and file in self._facts.apis):
            return SCHEMAS + name if file in self._facts.apis else f"#/schemas/{name}"
        return f"{home}{SCHEMAS}{name}" if home in self._facts.apis else f"{home}#/schemas/{name}"


_VERBS = frozenset({"cancel", "start", "stop", "enable", "disable", "complete", "reset", "launch", "reload", "shutdown"})


def _mark(raw: Json, change: str) -> None:
    """Mark what is gone, back or confirmed."""
    if change == "gone":
        raw["x-gone"] = True
    elif change == "new":
        raw.pop("x-gone", None)
    elif change == "confirmed":
        _confirm(raw)


def _confirm(raw: Json) -> None:
    if "x-confidence" in raw:
        raw["x-confidence"], raw["x-source"] = "stated", SOURCE
    raw.pop("x-status-inferred", None)


def _flag(raw: Json, name: str, *, is_set: bool) -> None:
    if is_set:
        raw[name] = True
    else:
        raw.pop(name, None)


def _camel(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", text))


def _pagination(parameters: list[Json], theirs: Document, answer: Node | None) -> str:
    names = {parameter["name"] for parameter in parameters}
    if "cursor" in names:
        return "cursor"
    if not {"page", "limit"} <= names:
        return "none"
    has_total = answer is not None and "total_row_count" in theirs.shape(answer).properties
    return "page_with_total" if has_total else "page"


def _bucket(verb: str, path: str) -> str:
    if path.startswith("/data/"):
        return "realtime-data" if re.match(r"/data/v\d+/(monitoring|realtime)", path) else "general-data"
    return "post" if verb == "post" else "default"
