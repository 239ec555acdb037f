"""Pages of the reference: a page for each public module, one for each kind of webhook event with sample bodies, and the command line.

What a page lists is what `tools.public_api` lists, so a public name cannot be left out. mkdocstrings writes the descriptions from
the docstrings when the site is built.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from typing import Any, Final, TypeAlias

import griffe
import typer

from mux_async.cli._app import make_app
from mux_async.emulator import example_event
from mux_async.webhooks.events import ABOUT, EVENTS
from tools.public_api import exported, find, home, is_public
from tools.sources import ROOT, modules

Entry: TypeAlias = "str | list[Entry] | dict[str, Entry]"
"""Something in the navigation: a path, or a title with a path or with a list of entries."""
Navigation: TypeAlias = list[Entry]

_GROUPS: Final = {
    "Client": (
        "mux_async",
        "mux_async.errors",
        "mux_async.events",
        "mux_async.health",
        "mux_async.recorder",
        "mux_async.drift",
    ),
    "Operations": ("mux_async.resources",),
    "Models": ("mux_async.models",),
    "Arguments of operations": ("mux_async.params",),
    "Rate limits": ("mux_async.limits",),
    "Uploads, ingest and bulk changes": ("mux_async.uploads", "mux_async.ingest", "mux_async.bulk"),
    "Live streams": ("mux_async.live",),
    "Webhooks": ("mux_async.webhooks",),
    "Playback and signing": ("mux_async.playback", "mux_async.signing"),
    "Emulator and testing": ("mux_async.emulator", "mux_async.testing", "mux_async.cli"),
    "OpenTelemetry": ("mux_async.otel",),
    "Transports": ("mux_async.transport", "mux_async.transport_errors", "mux_async_aiohttp", "mux_async_httpx"),
}
"""Sections of the reference. A module is in the section of the longest prefix, and every public module must be in one."""


def public_modules() -> dict[str, tuple[str, ...]]:
    """Return the names in ``__all__`` of every public module."""
    found = {module: exported(module) for module in sorted(modules()) if is_public(module)}
    return {module: names for module, names in found.items() if names}


def defined_names(module: str) -> Iterator[str]:
    """Yield the exported names that a module's own page describes; the others are described elsewhere, or are modules."""
    for name in sorted(exported(module) or (), key=lambda name: (name.isupper(), name.lower())):
        found = find(module, name)
        if found and home(found[0], name) in {None, module} and f"{module}.{name}" not in modules():
            yield name


@cache
def sources() -> griffe.ModulesCollection:
    """Return everything that the sources define, with docstrings. Nothing is imported."""
    loader = griffe.GriffeLoader(search_paths=[ROOT, ROOT / "transports"])
    for package in ("mux_async", "mux_async_aiohttp", "mux_async_httpx"):
        loader.load(package)
    loader.resolve_aliases()
    return loader.modules_collection


def undocumented() -> list[str]:
    """Return the public modules and names that have no docstring."""
    paths = [f"{module}.{name}" for module in public_modules() for name in defined_names(module)]
    return [path for path in [*public_modules(), *paths] if not sources()[path].has_docstring]


def page_of(module: str) -> str:
    """Return the path of a module's page."""
    return f"reference/{module.replace('.', '/')}.md"


def _inherited(path: str) -> list[str]:
    """Return the public members that a class has from private base classes: they are described with the class."""
    found = sources()[path]
    if not found.is_class:
        return []
    bases = [base for base in found.mro() if base.name.startswith("_") or not _is_exported(base)]
    generic = {"Model", "Event", "Resource"}  # a page of its own describes what all of them have
    return sorted(
        {name for base in bases if base.name not in generic for name in base.members if not name.startswith("_")}
        - set(found.members)
    )


@cache
def _exported_paths() -> frozenset[str]:
    return frozenset(
        sources()[f"{module}.{name}"].canonical_path for module in public_modules() for name in defined_names(module)
    )


def _is_exported(base: griffe.Class) -> bool:
    return base.canonical_path in _exported_paths()


def _entry(module: str, name: str) -> str:
    path = f"{module}.{name}"
    options: dict[str, Any] = {}
    if name.endswith("WithRawResponse"):  # the operations of the class above it
        options["members"] = False
    elif inherited := _inherited(path):
        options["inherited_members"] = inherited
    lines = [f"::: {path}"]
    if options:
        lines += ["    options:", *(f"      {key}: {json.dumps(value)}" for key, value in options.items())]
    return "\n".join(lines)


def module_page(module: str) -> str:
    """Return the page of one public module."""
    docstring = sources()[module].docstring
    parts = [f"# {module}", docstring.value if docstring else ""]
    names = list(defined_names(module))
    parts += [_entry(module, name) for name in names]
    moved = sorted(set(exported(module) or ()) - set(names))
    links = [f"- [`{name}`][{_target(module, name)}]" for name in moved]
    if links:
        parts += ["## Names described elsewhere", "\n".join(links)]
    return "\n\n".join(parts) + "\n"


def _target(module: str, name: str) -> str:
    """Return the reference of a name that another page describes."""
    if f"{module}.{name}" in modules():
        return f"{module}.{name}"
    found = find(module, name)[0]
    return f"{home(found, name) or found.module}.{name}"


def _event_group(kind: str) -> str:
    return ".".join(kind.split(".")[:2])


def event_pages() -> dict[str, str]:
    """Return pages with a sample body of every webhook event, by path."""
    pages = dict[str, str]()
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for group, kinds in groupby(sorted(EVENTS, key=lambda kind: (_event_group(kind), kind)), _event_group):
        parts = [f"# Events: {group}", "What each event means, the class that `parse_event` makes of it, and a sample body."]
        for kind in kinds:
            body = json.dumps(example_event(kind, moment), indent=2, ensure_ascii=False)
            made = EVENTS[kind].__name__
            parts += [f"## {kind}", f"{ABOUT[kind]} [`{made}`][mux_async.webhooks.events.{made}]", f"```json\n{body}\n```"]
        pages[f"reference/events/{group}.md"] = "\n\n".join(parts) + "\n"
    return pages


def _commands(command: Any, context: typer.Context) -> Iterator[tuple[Any, typer.Context]]:
    if command.hidden:
        return
    yield command, context
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        child = command.get_command(context, name)
        yield from _commands(child, typer.Context(child, info_name=name, parent=context))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _parameters(command: Any, context: typer.Context) -> Iterator[str]:
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        is_option = parameter.param_type_name == "option"
        names = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.metavar or parameter.name.upper()]
        record = parameter.get_help_record(context)
        yield f"| {', '.join(f'`{name}`' for name in names)} | {_cell(record[1] if record else '')} |"


def command_page() -> str:
    """Return the page of all commands, from their own help."""
    parts = ["# Commands", "All commands with their arguments and options, as `--help` prints them."]
    root = typer.main.get_command(make_app())
    for command, context in _commands(root, typer.Context(root, info_name="mux-async")):
        parts += [f"## {context.command_path}", (command.help or "").strip()]
        if rows := list(_parameters(command, context)):
            parts.append("\n".join(["| argument or option | what it is |", "| --- | --- |", *rows]))
        if command.epilog:
            parts.append(f"```text\n{command.epilog.strip()}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def pages() -> dict[str, str]:
    """Return the text of every page of the reference, by path."""
    listed = {page_of(module): module_page(module) for module in public_modules()}
    return {"reference/index.md": _index(), **listed, **event_pages(), "reference/commands.md": command_page()}


def _group_of(module: str) -> str:
    fitting = [
        (prefix, group) for group, prefixes in _GROUPS.items() for prefix in prefixes if f"{module}.".startswith(f"{prefix}.")
    ]
    return max(fitting, key=lambda each: len(each[0]))[1]


def grouped() -> Mapping[str, list[str]]:
    """Return the public modules of each section."""
    return {group: [module for module in public_modules() if _group_of(module) == group] for group in _GROUPS}


def _index() -> str:
    parts = ["# Reference", "Every public name, by module."]
    for group, found in grouped().items():
        rows = [f"- [`{module}`]({page_of(module).removeprefix('reference/')}): {_first_line(module)}" for module in found]
        if group == "Webhooks":
            rows += [
                f"- [{path.removeprefix('reference/events/').removesuffix('.md')}]({path.removeprefix('reference/')}): sample bodies"
                for path in event_pages()
            ]
        parts += [f"## {group}", "\n".join(rows)]
    parts += ["## Command line", "- [Commands](commands.md): all commands and their options."]
    return "\n\n".join(parts) + "\n"


def _first_line(module: str) -> str:
    docstring = sources()[module].docstring
    return docstring.value.partition("\n")[0] if docstring else ""


_GENERATED: Final = ("mux_async.models.", "mux_async.resources.")
_AREAS: Final = ("robots_v0", "robots", "video", "data", "system")


def _area(module: str) -> str:
    """Return the part of the API that a generated module belongs to; an empty text for others."""
    name = next((module.removeprefix(each) for each in _GENERATED if module.startswith(each)), "")
    return next((area for area in _AREAS if f"{name}_".startswith(f"{area}_")), "")


def _entries(found: list[str]) -> Navigation:
    """Return the modules of a section; generated ones in a section for each part of the API."""
    entries: Navigation = []
    for area, inside in groupby(sorted(found, key=lambda module: (_area(module), module)), _area):
        if area:
            listed: Navigation = [{module.rpartition(".")[2].removeprefix(f"{area}_"): page_of(module)} for module in inside]
            entries.append({area: listed})
        else:
            entries.extend({module.removeprefix("mux_async."): page_of(module)} for module in inside)
    return entries


def navigation() -> Navigation:
    """Return the section of the reference in the navigation."""
    entries: Navigation = ["reference/index.md"]
    for group, found in grouped().items():
        listed = _entries(found)
        if group == "Webhooks":
            listed.append({"Sample bodies": [{path.split("/")[-1].removesuffix(".md"): path} for path in event_pages()]})
        entries.append({group: listed})
    entries.append({"Commands": "reference/commands.md"})
    return [{"Reference": entries}]
