"""Writes `mux_async.params`: what goes into requests, as typed dicts and closed sets of values, for editors and type checkers."""

from __future__ import annotations

from keyword import iskeyword

from codegen._api import Api, Enum, Field, Object
from codegen._python import (
    HEADER,
    Names,
    accepted,
    docstring,
    import_lines,
    model_imports,
    object_text,
    said,
    strict_literal,
    wrap,
)


def write(api: Api) -> dict[str, str]:
    """Return the text of the file, by its path below the repository."""
    names = Names()
    names.use("typing", "TypedDict")
    reached = sorted(api.request_schemas(with_bodies=False))
    enums = [line for name in reached for line in _enum(api, name, names)]
    dicts = [line for name in reached for line in _typed_dict(api, name, names)]
    models = model_imports(api, {name for name in names.typing if not name.endswith("Param")}, None)
    lines = [
        HEADER,
        *docstring(
            [
                "What goes into requests: a typed dict for each object, and a closed set for each set of values.",
                "",
                "``mux.video.assets.create(inputs=[{...}])`` takes these, so that an editor completes their members and a type checker",
                "refuses a misspelt one. Each stands beside the class of the same name in `mux_async.models`, which is taken as well. What",
                "Mux adds tomorrow goes into ``extra_body``, or into the ``extra`` of a class.",
            ]
        ),
        "",
        "from __future__ import annotations",
        *import_lines({**names.standard, **models}),
        "",
        *enums,
        *dicts,
    ]
    return {"mux_async/params.py": "\n".join(lines) + "\n"}


def _enum(api: Api, name: str, names: Names) -> list[str]:
    schema = api.schemas[name]
    if not isinstance(schema, Enum):
        return []
    names.use("typing", "Literal", "TypeAlias")
    text = api.words.schemas.get(name)
    return [f"{name}Param: TypeAlias = {strict_literal(schema.values)}", *(docstring(wrap(text, 6)) if text else ()), ""]


def _typed_dict(api: Api, name: str, names: Names) -> list[str]:
    schema = api.schemas[name]
    if not isinstance(schema, Object):
        return []
    text = object_text(api, schema)
    if any(iskeyword(field.wire) or not field.wire.isidentifier() for field in schema.fields):
        members = [f'"{field.wire}": {_member(api, field, names)},' for field in schema.fields]
        return [f'{name}Param = TypedDict("{name}Param", {{', *members, "}, total=False)", *docstring(wrap(text, 6)), "", ""]
    lines = [f"class {name}Param(TypedDict, total=False):", *docstring(wrap(text, 10), 4), ""]
    for field in schema.fields:
        lines.append(f"    {field.wire}: {_member(api, field, names)}")
        if about := said(api.words.of_field(name, field.wire), is_deprecated=field.is_deprecated, confidence=field.confidence):
            lines += docstring(wrap(about, 10), 4)
    return [*lines, "", ""]


def _member(api: Api, field: Field, names: Names) -> str:
    kind = accepted(api, field.schema, names, is_open=field.confidence is not None)
    if field.is_required:
        return f"{names.use('typing', 'Required')}[{kind}]"
    return kind if kind.endswith("None") else f"{kind} | None"
