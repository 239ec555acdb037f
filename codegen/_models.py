"""Writes `mux_async.models`: one module per tag, one for ids, and the lazy index over them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from codegen._api import Api, Enum, Field, Object, Schema, Union, is_nullable, time_format
from codegen._facts import SCHEMAS, Json
from codegen._python import (
    HEADER,
    Names,
    constant,
    docstring,
    field_type,
    import_lines,
    literal,
    model_imports,
    object_text,
    quoted,
    said,
    variants_name,
    wrap,
)

_TIMES = {"seconds": "SECONDS", "seconds_text": "SECONDS_TEXT", "iso": "ISO", "day": "DAY"}


def write(api: Api) -> dict[str, str]:
    """Return the text of every file, by its path below the repository."""
    files = {f"mux_async/models/{module}.py": _module(api, module, schemas) for module, schemas in api.modules().items()}
    files["mux_async/models/ids.py"] = _ids(api)
    files["mux_async/models/__init__.py"] = _index(api)
    return files


def _module(api: Api, module: str, schemas: list[Schema]) -> str:
    names = Names()
    enums = [line for schema in schemas if isinstance(schema, Enum) for line in _enum(api, schema, names)]
    objects = [line for schema in schemas if isinstance(schema, Object) for line in _object(api, schema, names)]
    by_name = {schema.name: schema for schema in schemas if isinstance(schema, Union)}
    innermost_first = sorted(by_name.values(), key=lambda union: any(variant in by_name for variant in union.variants.values()))
    unions = [line for union in innermost_first for line in _union(api, union, names)]

    runtime = model_imports(api, names.runtime, module)
    typing = model_imports(api, names.typing - names.runtime, module)
    if any("attrs.field(" in line for line in objects):
        names.use("attrs", "")
    if typing:
        names.use("typing", "TYPE_CHECKING")
    lines = [
        HEADER,
        *docstring([f"Values of {_about(api, module)}."]),
        "",
        "from __future__ import annotations",
        *import_lines({**names.standard, **runtime}),
    ]
    if typing:
        lines += ["if TYPE_CHECKING:", *(f"    {line}" for line in import_lines(typing))]
    return "\n".join([*lines, "", *enums, *objects, *unions]) + "\n"


def _about(api: Api, module: str) -> str:
    groups = {group.replace(".", "_"): group for group in api.groups}
    match module:
        case "webhooks":
            return "webhook deliveries that the API itself does not have"
        case "shared":
            return "several parts of the API"
        case str() if module.startswith("shared_"):
            return f"several groups of ``mux.{module.removeprefix('shared_')}``"
        case _:
            return f"``mux.{groups[module]}``"


def _enum(api: Api, enum: Enum, names: Names) -> list[str]:
    names.use("typing", "Final", "Literal", "TypeAlias")
    text = said(api.words.schemas.get(enum.name), is_deprecated=False, confidence=enum.confidence)
    return [
        f"{enum.name}: TypeAlias = {literal(enum.values)}",
        *(docstring(wrap(text, 6)) if text else ()),
        f"{constant(enum.name)}_VALUES: Final[tuple[str, ...]] = ({', '.join(map(quoted, enum.values))},)",
        docstring([f"Values of `{enum.name}` that are known; there may be others."])[0],
        "",
    ]


def _object(api: Api, schema: Object, names: Names) -> list[str]:
    names.use("mux_async._models.model", "Model")
    lines = [
        f"@{names.use('mux_async._models.deferred_attrs', 'deferred_attrs')}(kw_only=True, eq=False, repr=False)",
        f"class {schema.name}({_bases(api, schema, names)}):",
        *docstring(wrap(object_text(api, schema), 10), 4),
        "",
    ]
    for field in schema.fields:
        words = api.words.of_field(schema.name, field.wire)
        about = said(words, is_deprecated=field.is_deprecated, confidence=field.confidence)
        deprecated = (words or "Mux says so") if field.is_deprecated and schema.name in api.request_schemas() else None
        lines.append(f"    {field.name}: {_annotation(api, field, names)}{_default(field, names, deprecated)}")
        if about:
            lines += docstring(wrap(about, 10), 4)
    if not schema.fields:
        return [*lines, ""]
    return [*lines, "", *_field_table(api, schema.fields, names), "", ""]


def _field_table(api: Api, fields: Sequence[Field], names: Names) -> list[str]:
    """Write what each field holds on the wire, as `mux_async._models.fields` has it."""
    names.use("mux_async._models.fields", "FieldTable")
    rows = [f"{quoted(field.name)}: {_row(api, field, names)}," for field in fields]
    renamed = [f"{quoted(field.name)}: {quoted(field.wire)}" for field in fields if field.name != field.wire]
    parts = [f"{{{' '.join(rows)}}},", *([f"renamed={{{', '.join(renamed)}}},"] if renamed else ())]
    return ["    @classmethod", "    def _field_table(cls) -> FieldTable:", "        return FieldTable(", *parts, "        )"]


def _row(api: Api, field: Field, names: Names) -> str:
    kind = _kind(api, field.schema, names)
    if not field.is_required:
        return f"{names.use('mux_async._models.fields', 'optional')}({kind})"
    if not is_nullable(field.schema):
        return kind
    if time_format(field.schema) or kind.startswith("Nested"):
        return f"{names.use('mux_async._models.fields', 'nullable')}({kind})"
    return f"(*{kind}, None)" if kind.endswith((")", "_VALUES")) else f"{kind} | None"


def _kind(api: Api, schema: Json, names: Names) -> str:
    if time := time_format(schema):
        return names.use("mux_async._models.times", _TIMES[time])
    if reader := _reader(api, schema, names):
        return f"{names.use('mux_async._models.fields', 'Nested')}({reader})"
    if "$ref" in schema:
        values = f"{constant(schema['$ref'].removeprefix(SCHEMAS))}_VALUES"
        names.runtime.add(values)
        return values
    if "enum" in schema:
        return f"({' '.join(f'{quoted(value)},' for value in schema['enum'])})"
    kinds: Any = schema.get("type")
    listed: list[str] = kinds if kinds.__class__ is list else [kinds]
    if kinds == "array" and (reader := _reader(api, schema["items"], names)):
        return f"{names.use('mux_async._models.fields', 'NestedList')}({reader})"
    if set(listed) & {"integer", "number"}:
        names.use("mux_async._models.fields", "NUMBER")
    return " | ".join(dict.fromkeys(_KINDS[kind] for kind in listed if kind != "null"))


_KINDS = {"string": "str", "integer": "NUMBER", "number": "NUMBER", "boolean": "bool", "array": "list", "object": "dict"}


def _bases(api: Api, schema: Object, names: Names) -> str:
    mixin = api.mixins.get(schema.name)
    if mixin is None:
        return "Model"
    module, _, name = mixin.partition(":")
    return f"{names.use(module, name)}, Model"


def _annotation(api: Api, field: Field, names: Names) -> str:
    text = field_type(api, field.schema, names, field.id_type)
    kinds = field.schema.get("type")
    if not field.is_required or (isinstance(kinds, list) and "null" in kinds):
        return text if text.endswith("None") else f"{text} | None"
    return text


def _default(field: Field, names: Names, deprecated: str | None) -> str:
    arguments: list[str] = []
    if not field.is_required:
        names.use("mux_async._models.model", "ABSENT")
        arguments.append("default=ABSENT")
    if field.is_secret:
        arguments.append(f"repr={names.use('mux_async._models.model', 'hidden')}")
    if deprecated:
        arguments.append(f'metadata={{"deprecated": {quoted(deprecated)}}}')
    if not arguments:
        return ""
    return " = ABSENT" if arguments == ["default=ABSENT"] else f" = attrs.field({', '.join(arguments)})"


def _reader(api: Api, schema: Json, names: Names) -> str | None:
    """Return the name of what reads a value of this type; ``None`` when it is kept as it is."""
    name: str = schema.get("$ref", "").removeprefix(SCHEMAS)
    match api.schemas.get(name):
        case Object():
            reader = name
        case Union():
            reader = variants_name(name)
        case _:
            return None
    names.runtime.add(reader)
    return reader


def _union(api: Api, union: Union, names: Names) -> list[str]:
    names.use("mux_async._models.variants", "Variants")
    names.use("typing", "Final", "TypeAlias")
    names.use("collections.abc", "Mapping")
    names.runtime.update(union.variants.values())
    text = api.words.schemas.get(union.name) or f"One of several objects, told apart by ``{union.tag}``."
    readers: list[str] = []
    for tag, variant in union.variants.items():
        if isinstance(api.schemas[variant], Union):
            names.runtime.add(variants_name(variant))
            readers.append(f"{quoted(tag)}: {variants_name(variant)}")
        else:
            readers.append(f"{quoted(tag)}: {variant}")
    members = list(dict.fromkeys(union.variants.values()))
    return [
        f"{union.name}: TypeAlias = {' | '.join(members)} | Mapping[str, object]",
        *docstring(wrap(f"{text} A mapping when ``{union.tag}`` is not known to this version.", 6)),
        f"{variants_name(union.name)}: Final = Variants({quoted(union.tag)}, {{{', '.join(readers)}}})",
        f'"""The classes of `{union.name}` by their ``{union.tag}``."""',
        "",
    ]


def _id_words(name: str) -> str:
    """Return ``Live stream id`` for ``LiveStreamId``."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name.removesuffix("Text")).capitalize()


def _ids(api: Api) -> str:
    lines = [
        HEADER,
        *docstring(
            [
                "Ids, each with a type of its own, so that one kind is not passed for another. At run time they are plain ``str``."
            ]
        ),
        "",
        "from __future__ import annotations",
        "from typing import NewType",
        "",
        *(f'{name} = NewType("{name}", str)\n"""{_id_words(name)}, a plain ``str`` at run time."""' for name in api.ids),
    ]
    return "\n".join(lines) + "\n"


def _index(api: Api) -> str:
    exports: dict[str, set[str]] = {"ids": set(api.ids)}
    for schema in api.schemas.values():
        names = {schema.name, f"{constant(schema.name)}_VALUES"} if isinstance(schema, Enum) else {schema.name}
        exports.setdefault(schema.module, set()).update(names)
    homes = {name: module for module, names in exports.items() for name in names}
    lines = [
        HEADER,
        *docstring(
            [
                "Every value of the API: ``from mux_async.models import Asset``.",
                "",
                "A module is imported when one of its names is first asked for: making all these classes would cost a program a tenth of a",
                "second that it may never need.",
            ]
        ),
        "",
        "from __future__ import annotations",
        "from importlib import import_module",
        "from typing import TYPE_CHECKING, Final",
        "",
        "if TYPE_CHECKING:",
        "    from mux_async._models.model import Model as Model",
    ]
    for module, names in sorted(exports.items()):
        lines += [f"    from mux_async.models.{module} import {', '.join(f'{name} as {name}' for name in sorted(names))}"]
    lines += [
        "",
        "__all__ = [",
        *(f"    {quoted(name)}," for name in sorted([*homes, "Model"])),
        "]",
        "",
        "_HOMES: Final = {",
        '    "Model": "mux_async._models.model",',
        *(f"    {quoted(name)}: {quoted(f'mux_async.models.{homes[name]}')}," for name in sorted(homes)),
        "}",
        "",
        "",
        "def __getattr__(name: str) -> object:",
        "    home = _HOMES.get(name)",
        "    if home is None:",
        '        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")',
        "    value: object = getattr(import_module(home), name)",
        "    globals()[name] = value",
        "    return value",
        "",
        "",
        "def __dir__() -> list[str]:",
        "    return __all__",
    ]
    return "\n".join(lines) + "\n"
