"""How what an operation made is known again: the sections ``found`` and ``once`` of ``operations.toml``, read, checked and written."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from codegen._api import Api, Stamp
from codegen._facts import SCHEMAS, GeneratorError, Json
from codegen._overlays import Overlays
from codegen._python import Names, quoted

_LONGEST = 255
"""Characters of a ``passthrough`` whose schema does not say (facts/BEHAVIOUR.md, section 4.1)."""


class Recognition:
    """Both sections, and which of their entries took effect. Keys are ``group.method``, with ``*`` for any text."""

    def __init__(self, raw: Json, operations: list[tuple[str, str, Json]], overlays: Overlays) -> None:
        self._raw = raw
        self._operations = {f"{op['x-group']}.{op['x-operation']}": (verb, path, op) for verb, path, op in operations}
        self._found = overlays.found
        self._once = overlays.once
        self._left = {("found", key) for key in overlays.found} | {("once", key) for key in overlays.once}

    def found_in(self, id: str, verb: str) -> str | None:
        """Return the id of the operation that shows what operation *id* made."""
        shown_by = self._entry("found", self._found, id)
        if shown_by is None:
            return None
        if verb == "get" or self._operations.get(shown_by, ("", "", {}))[0] != "get":
            raise GeneratorError(f"operations.toml: [found] of {id} names {shown_by}, which is no read, or {id} is one")
        return str(shown_by)

    def once(self, id: str, path: str, body: str | None) -> Stamp | None:
        """Return how what operation *id* made is known again; ``None`` when it is not."""
        entry = self._entry("once", self._once, id)
        if entry is None:
            return None
        field = tuple(entry["stamp"].split("."))
        longest = self._longest(id, body, field)
        shown_by = self._entry("found", self._found, id)
        if shown_by is None:
            raise GeneratorError(f"operations.toml: [once] of {id} needs an entry under [found]")
        _verb, shown_path, read = self._operations[shown_by]
        last = path.rpartition("/")[2]
        query = {name: value.replace("{LAST}", last) for name, value in entry.get("query", {}).items()}
        known = {parameter["name"] for parameter in read.get("parameters", [])}
        if odd := query.keys() - known:
            raise GeneratorError(f"operations.toml: [once] of {id} asks {shown_by} for {', '.join(sorted(odd))}")
        for text in query.values():
            if text.startswith("$"):
                self._field(id, body, tuple(text.removeprefix("$").split(".")))
        is_list = read["x-pagination"]["style"] != "none"
        if not is_list and shown_path.count("{") > path.count("{"):
            raise GeneratorError(f"operations.toml: [once] of {id} cannot fill in the path of {shown_by}")
        retrieve = self._retrieve(id, path)
        if entry.get("is_summary") and retrieve is None:
            raise GeneratorError(f"operations.toml: [once] of {id} needs a retrieve of its own")
        return Stamp(
            field,
            longest,
            shown_by,
            ("data", *entry["items"].split(".")) if "items" in entry else ("data",),
            entry.get("limit", 100) if is_list else None,
            is_newest_first=bool(entry.get("newest_first")),
            query=query,
            is_summary=bool(entry.get("is_summary")),
            retrieve=retrieve,
            dead_statuses=tuple(entry.get("dead_statuses", ())),
            pages=entry.get("pages"),
        )

    def _retrieve(self, id: str, path: str) -> str | None:
        """Return the id of the operation that shows what *id* made, by the id of that."""
        group, _, own = id.rpartition(".")
        name = f"{group}.{own.replace('create', 'retrieve', 1)}"
        verb, shown_path, _read = self._operations.get(name, ("", "", {}))
        return name if verb == "get" and shown_path.rpartition("/")[0] == path else None

    def refuse_unmatched(self) -> None:
        """Raise when an entry took no effect."""
        if self._left:
            odd = ", ".join(f"[{section}] {key}" for section, key in sorted(self._left))
            raise GeneratorError(f"operations.toml: these name what is not there: {odd}")

    def _entry(self, section: str, entries: dict[str, Any], id: str) -> Any:
        for key, entry in entries.items():
            if fnmatchcase(id, key):
                self._left.discard((section, key))
                return entry
        return None

    def _longest(self, id: str, body: str | None, field: tuple[str, ...]) -> int:
        schema = self._field(id, body, field)
        if schema.get("type") != "string":
            raise GeneratorError(f"operations.toml: [once] of {id}: {'.'.join(field)} is not text")
        return int(schema.get("maxLength", _LONGEST))

    def _field(self, id: str, body: str | None, field: tuple[str, ...]) -> Json:
        schema: Json = self._raw[body] if body else {}
        for name in field:
            if name not in schema.get("properties", {}):
                raise GeneratorError(f"operations.toml: [once] of {id}: its request has no {'.'.join(field)}")
            schema = schema["properties"][name]
            if "$ref" in schema:
                schema = self._raw[schema["$ref"].removeprefix(SCHEMAS)]
        return schema


def once_value(api: Api, stamp: Stamp, names: Names) -> str:
    """Write the value of ``Operation.once``."""
    names.use("mux_async._operation", "KeySpec")
    arguments = [
        f"members={_tuple(stamp.field)}",
        f"longest={stamp.longest}",
        f"lookup={_lookup(api, stamp, stamp.found_in, names)}",
    ]
    if stamp.retrieve is not None:
        path = api.method(stamp.retrieve).path
        arguments.append(f"retrieve={quoted(path[: path.rindex('{')] + '{ID}')}")
    if stamp.dead_statuses:
        arguments.append(f"dead_statuses={_tuple(stamp.dead_statuses)}")
    return f"KeySpec({', '.join(arguments)})"


def _lookup(api: Api, stamp: Stamp, found_in: str, names: Names) -> str:
    shown_by = api.method(found_in)
    names.use("mux_async._operation", "LookupSpec", "Bucket")
    arguments = [f"id={quoted(found_in)}", f"path={quoted(shown_by.path)}", f"bucket=Bucket.{shown_by.bucket}"]
    if shown_by.pagination != "none":
        names.use("mux_async._operation", "Pagination")
        arguments.append(f"pagination=Pagination.{shown_by.pagination.upper()}")
    if stamp.items != ("data",):
        arguments.append(f"items={_tuple(stamp.items)}")
    if stamp.limit is not None:
        arguments.append(f"limit={stamp.limit}")
    if stamp.is_newest_first:
        arguments.append("is_newest_first=True")
    if stamp.query:
        members = (f"{quoted(name)}: {_asked(text)}" for name, text in stamp.query.items())
        arguments.append(f"query={{{', '.join(members)}}}")
    if stamp.is_summary:
        arguments.append("is_summary=True")
    if stamp.pages is not None:
        arguments.append(f"pages={stamp.pages}")
    return f"LookupSpec({', '.join(arguments)})"


def _asked(text: str) -> str:
    return _tuple(tuple(text.removeprefix("$").split("."))) if text.startswith("$") else quoted(text)


def _tuple(names: tuple[str, ...]) -> str:
    return f"({', '.join(map(quoted, names))}{',' if len(names) == 1 else ''})"


def about_once(stamp: Stamp, *, is_harmless: bool) -> str:
    """Describe the argument ``once``."""
    text = (
        f"A key of your own for this one creation, at most {stamp.longest} characters, kept in "
        f"``{'.'.join(stamp.field)}``. Calls with the same key give the same thing, as far as it can be known: see `IdempotencyKey`, which "
        f"also makes a call search in ``mux.{stamp.found_in}`` before it sends anything."
    )
    if is_harmless:
        return text
    return f"{text} When the answer gets lost, it is looked for there too, and the request is sent again only if nothing has the key."
