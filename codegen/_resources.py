"""Writes `mux_async.resources`: one module per tag and group, with its operations as data and a class of methods that name them."""

from __future__ import annotations

from codegen._api import Api, Method, Parameter
from codegen._once import about_once, once_value
from codegen._python import (
    HEADER,
    Names,
    argument_type,
    camel,
    constant,
    docstring,
    import_lines,
    model_imports,
    quoted,
    said,
    wrap,
)

_BUCKET_WORDS = {
    "POST": "``post``",
    "OTHER": "``other``",
    "REALTIME_DATA": "``realtime-data``",
    "GENERAL_DATA": "``general-data``",
    None: "none (not an API host)",
}
_REPLAY_WORDS = {
    "safe": "sent again, it only reads",
    "idempotent": "sent again, twice is as good as once",
    "harmless": "sent again",
    "never": "reported, never sent again",
}
_PAGINATION_WORDS = {
    "page": "``page`` and ``limit``",
    "cursor": "``cursor`` (or ``page``) and ``limit``",
    "page_with_total": "``page`` and ``limit``, with a total",
}
_EXTRAS = {
    "extra_headers": "Sent besides the client's own, and win over them.",
    "extra_query": "Query parameters that have no name here.",
    "extra_body": "Body members that have no name here.",
}
_INFERRED = """\
Inferred: Mux's page about this operation was not read, so its path and what it takes and gives are those of v0 and of its neighbors. What \
is different goes into ``extra_body``, and is read with ``extra``."""
_OPTIONS = "Deadline, priority and the like of this one call; what it leaves out is as the client has it."


def write(api: Api) -> dict[str, str]:
    """Return the text of every file, by its path below the repository."""
    files = {f"mux_async/resources/{group.replace('.', '_')}.py": _module(api, group) for group in api.groups}
    files["mux_async/resources/__init__.py"] = _index(api)
    return files


def _index(api: Api) -> str:
    roots = [group for group in api.groups if "." not in group]
    lines = [
        HEADER,
        *docstring(
            [
                "The operations of the API, one module per group, imported when first used.",
                "",
                "Nobody needs to import from here: ``mux.video.assets`` and its neighbours hand these classes out.",
            ]
        ),
        "",
        "from __future__ import annotations",
        "from importlib import import_module",
        "from typing import TYPE_CHECKING, Final",
        "if TYPE_CHECKING:",
        *(f"    from mux_async.resources.{root} import {camel(root)} as {camel(root)}" for root in roots),
        "",
        f"__all__ = [{', '.join(quoted(camel(root)) for root in roots)}]",
        "",
        f"_HOMES: Final = {{{', '.join(f'{quoted(camel(root))}: {quoted(root)}' for root in roots)}}}",
        "",
        "",
        "def __getattr__(name: str) -> object:",
        "    if name not in _HOMES:",
        '        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")',
        '    value: object = getattr(import_module(f"mux_async.resources.{_HOMES[name]}"), name)',
        "    globals()[name] = value",
        "    return value",
    ]
    return "\n".join(lines) + "\n"


def _module(api: Api, group: str) -> str:
    names = Names()
    methods = [method for method in api.methods if method.group == group]
    children = [child for child in api.groups if child.rpartition(".")[0] == group]
    typing: dict[str, set[str]] = {}
    operations = [line for method in methods for line in _operation(api, method, names, typing)]
    body = _class(api, group, methods, children, names, typing)

    runtime: dict[str, set[str]] = {}
    if methods:
        # Annotations alone do not need these at run time, the constants do.
        runtime["mux_async._operation"] = names.standard.pop("mux_async._operation")
    base = api.bases.get(group, "mux_async._resource:Resource").split(":")
    runtime.setdefault(base[0], set()).add(base[1])
    if methods:
        runtime.setdefault("mux_async._resource", set()).add("returns_raw")
        if any(_older_names(api, method) for method in methods):
            runtime["mux_async._resource"].add("takes_older_name")
        runtime["mux_async._types"] = {"UNSET"} if any("UNSET" in line for line in body) else set()
        if not runtime["mux_async._types"]:
            del runtime["mux_async._types"]
        elif any("Unset" in line for line in body):
            runtime["mux_async._types"].add("Unset")
    runtime["functools"] = {"cached_property"}
    if any(method.deprecated for method in methods):
        runtime["typing_extensions"] = {"deprecated"}
    for module in ("mux_async._models.serialization", "builtins"):
        if module in names.standard:
            runtime[module] = names.standard.pop(module)
    for child in children:
        typing.setdefault(f"mux_async.resources.{child.replace('.', '_')}", set()).add(camel(child))
    for module, wanted in model_imports(api, names.typing, None).items():
        typing.setdefault(module, set()).update(wanted)
    for module, wanted in names.standard.items():
        (runtime if module == "typing" else typing).setdefault(module, set()).update(wanted)
    if typing:
        runtime.setdefault("typing", set()).add("TYPE_CHECKING")
    if "Literal" in runtime.get("typing", set()):
        runtime["typing"].discard("Literal")
        typing.setdefault("typing", set()).add("Literal")
    if methods:
        typing.setdefault("typing", set()).add("Final")
    lines = [HEADER, *docstring([f"``mux.{group}``."]), "", "from __future__ import annotations", *import_lines(runtime)]
    if typing:
        lines += ["if TYPE_CHECKING:", *(f"    {line}" for line in import_lines(typing))]
    return "\n".join([*lines, "", *operations, "", "", *body]) + "\n"


def _operation(api: Api, method: Method, names: Names, typing: dict[str, set[str]]) -> list[str]:
    names.use("mux_async._operation", "Operation", "Replay")
    arguments = [
        f"id={quoted(method.id)}",
        f"method={quoted(method.verb)}",
        f"path={quoted(method.path)}",
        f"bucket={'Bucket.' + method.bucket if method.bucket else None}",
        f"replay=Replay.{method.replay.upper()}",
    ]
    if method.bucket:
        names.use("mux_async._operation", "Bucket")
    if method.pagination != "none":
        names.use("mux_async._operation", "Pagination")
        arguments.append(f"pagination=Pagination.{method.pagination.upper()}")
    if method.host != "API":
        names.use("mux_async._operation", "Host")
        arguments.append(f"host=Host.{method.host}")
    if method.result != "data":
        arguments.append(f"result={quoted(method.result)}")
    if method.is_list:
        arguments.append("is_list=True")
    if method.deprecated:
        arguments.append(f"deprecated={quoted(method.deprecated)}")
    if method.found_in:
        arguments.append(f"found_in={quoted(method.found_in)}")
    if method.once:
        arguments.append(f"once={once_value(api, method.once, names)}")
    if method.model:
        arguments.append(f"model={quoted(f'{api.schemas[method.model].module}:{method.model}')}")
    if method.body:
        arguments.append(f"request={quoted(f'{api.schemas[method.body].module}:{method.body}')}")
    if method.result == "page":
        typing.setdefault("mux_async._pagination", set()).add("Page")
    return [f"{constant(method.name)}: Operation[{_value_type(method, names, 'list')}] = Operation({', '.join(arguments)})"]


def _value_type(method: Method, names: Names, list_name: str) -> str:
    names.typing.update(name for name in (method.model, method.item) if name)
    match method.result:
        case "none":
            return "None"
        case "data":
            return f"{list_name}[{method.model}]" if method.is_list else str(method.model)
        case "envelope":
            return str(method.model)
        case "page":
            return f"Page[{method.item}, {method.model}]"
        case "json":
            return "object"
        case "text":
            return "str"
        case "bytes":
            return "bytes"


def _class(
    api: Api, group: str, methods: list[Method], children: list[str], names: Names, typing: dict[str, set[str]]
) -> list[str]:
    name = camel(group)
    base = api.bases.get(group, "mux_async._resource:Resource").split(":")[1]
    lines = [f"class {name}({base}):", *docstring([f"Operations of ``mux.{group}``."], 4), ""]
    for child in children:
        lines += [
            "    @cached_property",
            f"    def {child.rpartition('.')[2]}(self) -> {camel(child)}:",
            *docstring([f"Operations of ``mux.{child}``."], 8),
            f"        from mux_async.resources.{child.replace('.', '_')} import {camel(child)}",
            "",
            f"        return {camel(child)}(self._caller)",
            "",
        ]
    if not methods:
        return lines
    lines += [
        "    @cached_property",
        f"    def with_raw_response(self) -> {name}WithRawResponse:",
        *docstring(
            ["The same operations, returning a `RawResponse`: status, headers, request id and attempts around the value."], 8
        ),
        f"        return {name}WithRawResponse(self._raw())",
        "",
    ]
    has_list = any(method.name == "list" for method in methods)
    for method in methods:
        lines += _method(api, method, names, typing, "builtins.list" if has_list else "list")
    return lines + _raw_class(name, group, methods)


def _method(api: Api, method: Method, names: Names, typing: dict[str, set[str]], list_name: str) -> list[str]:
    value = _value_type(method, names, list_name)
    if "builtins." in value:
        names.use("builtins", "")
    word = "async def"
    if method.result == "page":
        typing.setdefault("mux_async._pagination", set()).add("Paginator")
        word, value = "def", f"Paginator[{method.item}, {method.model}]"
    if method.result == "bytes":
        typing.setdefault("mux_async._response", set()).add("Download")
        word, value = "def", "Download"
    path = [parameter for parameter in method.parameters if parameter.place == "path"]
    others = [parameter for parameter in method.parameters if parameter.place != "path"]
    others.sort(key=lambda parameter: not parameter.is_required)
    extras = [name for name in _EXTRAS if name != "extra_body" or method.body]
    names_ = [*(parameter.name for parameter in method.parameters), *extras, "self", "once", "options"]
    if len(names_) != len(set(names_)):
        raise ValueError(f"{method.id} has two parameters of one name: {names_}")
    typing.setdefault("collections.abc", set()).add("Mapping")

    lines: list[str] = []
    if method.deprecated:
        lines.append(f"    @deprecated({quoted(method.deprecated)})")
    for name, older in _older_names(api, method):
        lines.append(f"    @takes_older_name({quoted(name)}, {quoted(older)})")
    lines += [f"    {word} {method.name}(", "        self,"]
    lines += [f"        {parameter.name}: {argument_type(api, parameter, names)}," for parameter in path]
    lines.append("        *,")
    for parameter in others:
        kind = argument_type(api, parameter, names)
        lines.append(
            f"        {parameter.name}: {kind},"
            if parameter.is_required
            else f"        {parameter.name}: {kind} | Unset = UNSET,"
        )
    if method.once:
        typing.setdefault("mux_async._idempotency.key", set()).add("IdempotencyKey")
        lines.append("        once: str | IdempotencyKey | None = None,")
    for extra in extras:
        item = "str" if extra == "extra_headers" else "object"
        lines.append(f"        {extra}: Mapping[str, {item}] | None = None,")
    typing.setdefault("mux_async._options", set()).add("CallOptions")
    lines.append("        options: CallOptions | None = None,")
    lines += [f"    ) -> {value}:", *docstring(_about(api, method, [*path, *others], extras), 8)]
    call = {"page": "self._list", "bytes": "self._download"}.get(method.result, "await self._call")
    lines += [f"        return {call}(", f"            {constant(method.name)},"]
    for place in ("path", "query", "body"):
        members = [parameter for parameter in method.parameters if parameter.place == place]
        if members or (place == "body" and method.body):
            lines += [
                f"            {place}={{",
                *(f"                {quoted(p.wire)}: {_sent(p, names)}," for p in members),
                "            },",
            ]
    last = [*extras, "once", "options"] if method.once else [*extras, "options"]
    return [*lines, *(f"            {extra}={extra}," for extra in last), "        )", ""]


def _sent(parameter: Parameter, names: Names) -> str:
    if parameter.shorthand:
        names.use("mux_async._models.serialization", "listed")
        return f"listed({parameter.name}, {quoted(parameter.shorthand)})"
    return parameter.name


def _older_names(api: Api, method: Method) -> list[tuple[str, str]]:
    """Return the required arguments that have an older name besides, each with that."""
    required = {p.name: p for p in method.parameters if p.place == "body" and p.is_required}
    older = [p for p in method.parameters if p.place == "body" and p.is_deprecated]
    return [(name, p.name) for name in required for p in older if f"``{name}``" in (_words_of(api, method, p) or "")]


def _about(api: Api, method: Method, parameters: list[Parameter], extras: list[str]) -> list[str]:
    words = api.words.operations.get(method.id, {})
    lines = [str(words.get("summary") or f"{method.verb} {method.path}.")]
    if text := words.get("text"):
        lines += ["", *wrap(text, 12)]
    if method.confidence:
        lines += ["", *wrap(_INFERRED, 12)]
    lines += ["", "Args:"]
    for parameter in parameters:
        own = words.get("parameters", {}).get(parameter.name)
        words_ = own or _words_of(api, method, parameter)
        about = said(words_, is_deprecated=parameter.is_deprecated, confidence=parameter.confidence)
        lines += _item(parameter.name, _with_default(about, parameter))
    if method.once:
        lines += _item("once", about_once(method.once, is_harmless=method.replay == "harmless"))
    lines += [line for name in extras for line in _item(name, _EXTRAS[name])]
    lines += _item("options", _OPTIONS)
    lines += ["", *_facts(method)]
    return lines


def _words_of(api: Api, method: Method, parameter: Parameter) -> str | None:
    if parameter.place == "body" and method.body:
        return api.words.of_field(method.body, parameter.wire)
    return api.words.names.get(parameter.name)


def _with_default(text: str | None, parameter: Parameter) -> str | None:
    default = parameter.schema.get("default")
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    if default is None or (text is not None and ("efault" in text or shown in text)):
        return text
    return f"{text or ''} The server's default: ``{shown}``.".strip()


def _item(name: str, text: str | None) -> list[str]:
    if text is None:
        return []
    first, *rest = [line for line in wrap(f"{name}: {text}", 16) if line]
    return [f"    {first}", *(f"        {line}" for line in rest)]


def _facts(method: Method) -> list[str]:
    replay = _REPLAY_WORDS[method.replay]
    if method.once and method.replay == "never":
        replay += "; with ``once``, what it made is looked for first"
    if method.replay_reason:
        reason = method.replay_reason.rstrip(".")
        replay += f", because {reason[0].lower()}{reason[1:]}"
    parts = [f"Rate limit: {_BUCKET_WORDS[method.bucket]}."]
    if method.pagination != "none":
        parts.append(f"Pages by {_PAGINATION_WORDS[method.pagination]}.")
    parts.append(f"Unknown outcome: {replay}.")
    host = "" if method.host == "API" else {"STREAM": "https://stream.mux.com", "IMAGE": "https://image.mux.com"}[method.host]
    return [f"``{method.verb} {host}{method.path}``", "", *wrap(" ".join(parts), 12)]


def _raw_class(name: str, group: str, methods: list[Method]) -> list[str]:
    lines = [
        "",
        f"class {name}WithRawResponse:",
        *docstring([f"Operations of ``mux.{group}`` that return a `RawResponse`. Each takes what its namesake takes."], 4),
        "",
        f"    def __init__(self, resource: {name}) -> None:",
    ]
    for method in methods:
        note = "  # pyright: ignore[reportDeprecated] - offered as long as its namesake is" if method.deprecated else ""
        lines.append(f"        self.{method.name}: Final = returns_raw(resource.{method.name}){note}")
    return lines
