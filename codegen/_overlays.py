"""What is added to the facts by hand, as data: corrections, types, operations, descriptions. Nothing here may be without effect."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import attrs

from codegen._facts import HERE, GeneratorError, Json

OVERLAYS = HERE / "overlays"


@attrs.frozen
class Words:
    """Descriptions, merged from all files. Keys as in the files; see the README there."""

    operations: dict[str, Json]
    schemas: dict[str, str]
    fields: dict[str, str]
    names: dict[str, str]
    events: dict[str, str]

    def of_field(self, owner: str, name: str) -> str | None:
        """Return what a field or parameter is: its own entry, else the one of its name."""
        return self.fields.get(f"{owner}.{name}") or self.names.get(name)


@attrs.frozen
class Overlays:
    """All of them, as read; applied by `correct` and by `_reading`."""

    corrections: list[Json]
    ids: dict[str, list[str]]
    secrets: list[str]
    mixins: dict[str, str]
    query_items: dict[str, list[str]]
    replay: dict[str, Json]
    deprecated: dict[str, str]
    bases: dict[str, str]
    shorthand: dict[str, dict[str, str]]
    omit: dict[str, Json]
    errors: dict[str, Json]
    found: dict[str, str]
    once: dict[str, Json]
    words: Words


def load(folder: Path = OVERLAYS) -> Overlays:
    """Read every overlay. Two description files must not describe the same thing."""
    types = _read(folder / "types.toml")
    operations = _read(folder / "operations.toml")
    return Overlays(
        corrections=_read(folder / "corrections.toml").get("correction", []),
        ids=types["ids"],
        secrets=types["secrets"]["fields"],
        mixins=types["mixins"],
        query_items=types["query_items"],
        replay=operations["replay"],
        deprecated=operations["deprecated"],
        bases=operations["bases"],
        shorthand=operations["shorthand"],
        omit=operations["omit"],
        errors=operations["errors"],
        found=operations["found"],
        once=operations["once"],
        words=_load_words(folder / "descriptions"),
    )


def _read(path: Path) -> Json:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise GeneratorError(f"{path.name}: {error}") from None


def _load_words(folder: Path) -> Words:
    merged: dict[str, Json] = {name: {} for name in ("operations", "schemas", "fields", "names", "events")}
    for path in sorted(folder.glob("*.toml")):
        for section, entries in _read(path).items():
            if section not in merged:
                raise GeneratorError(f"{path.name}: there is no section [{section}]; known are {', '.join(merged)}")
            if twice := merged[section].keys() & entries.keys():
                raise GeneratorError(f"{path.name}: [{section}] describes again: {', '.join(sorted(twice))}")
            merged[section].update(entries)
    return Words(**merged)


def add_errors(document: Json, errors: Json) -> None:
    """Add the errors of hosts to the answers of their operations. One that is there already, or is of an unknown host, is refused."""
    for host, entry in errors.items():
        if not entry.get("reason") or not entry.get("source"):
            raise GeneratorError(f"operations.toml: the errors of {host} need a reason and a source")
        served = [raw for item in document["paths"].values() for raw in item.values() if raw["x-host"] == host]
        if not served:
            raise GeneratorError(f"operations.toml: [errors] names a host without operations: {host}")
        for raw in served:
            for status in map(str, entry["statuses"]):
                if status in raw["responses"]:
                    raise GeneratorError(f"operations.toml: {host} has {status} in the facts already; drop it from [errors]")
                raw["responses"][status] = {"description": ""}


def correct(document: Json, corrections: Iterable[Json]) -> None:
    """Apply corrections to the document, in order. An event is a step by its type: ``/x-events/video.asset.ready``.

    One that lacks a reason or source, points at nothing, or would change nothing, is refused.
    """
    events: Json = {event["type"]: event for event in document.get("x-events", ())}
    for entry in corrections:
        at: str = entry.get("at", "?")
        if not entry.get("reason") or not entry.get("source"):
            raise GeneratorError(f"the correction at {at} needs a reason and a source")
        *parents, last = at.removeprefix("/").split("/")
        target: Json = {**document, "x-events": events}
        for step in parents:
            if step not in target:
                raise GeneratorError(f"the correction at {at} matches nothing: there is no {step!r}")
            target = target[step]
        match entry:
            case {"add": value}:
                if last in target:
                    raise GeneratorError(f"the correction at {at} adds what is there already; drop it, or say 'set'")
                target[last] = value
            case {"set": value}:
                if target.get(last) == value or last not in target:
                    raise GeneratorError(f"the correction at {at} changes nothing")
                target[last] = value
            case {"drop": value}:
                if value not in target.get(last, []):
                    raise GeneratorError(f"the correction at {at} drops {value!r}, which is not there")
                target[last] = [item for item in target[last] if item != value]
            case {"extend": values}:
                if last not in target or any(value in target[last] for value in values):
                    raise GeneratorError(f"the correction at {at} extends no list, or one that has some of {values}")
                target[last] = [*target[last], *values]
            case _:
                raise GeneratorError(f"the correction at {at} says none of add, set, drop, extend")
    if "x-events" in document:
        document["x-events"] = list(events.values())


def match_fields(patterns: Iterable[str], fields: Iterable[str]) -> set[str]:
    """Return the fields ("Schema.field") that match any of *patterns*, each of which has to match some."""
    known = list(fields)
    found: set[str] = set()
    for pattern in patterns:
        hits = {field for field in known if fnmatchcase(field, pattern)}
        if not hits:
            raise GeneratorError(f"types.toml: {pattern!r} matches no field")
        found |= hits
    return found
