"""Models inside the classes of programs that build on cattrs."""

from __future__ import annotations

import types
from datetime import date, datetime
from functools import cache
from typing import Any, Literal, Union, cast, get_args, get_origin

import cattrs

from mux_async._models.model import Model
from mux_async._models.times import parse_time, write_day, write_iso


@cache
def converter() -> cattrs.Converter:
    """Return a cattrs converter that knows every model, alone or inside other types.

    Models read and write themselves, so unknown fields, nulls and the way times were written are kept. Times outside models are read in
    any of Mux's forms and written as ISO 8601; open enums take any text. One converter serves all callers; register further hooks on a
    ``copy()``.
    """
    made = cattrs.Converter()

    def structure_model(raw: Any, cls: type[Model]) -> Model:
        return raw if isinstance(raw, cls) else cls.from_wire(raw)

    def structure_time(raw: Any, _cls: object) -> datetime:
        value = raw if isinstance(raw, datetime) else parse_time(raw)
        if value is None:
            raise ValueError(f"{raw!r:.40} is not a time")
        return value

    def structure_day(raw: Any, _cls: object) -> date:
        return raw if isinstance(raw, date) and not isinstance(raw, datetime) else structure_time(raw, datetime).date()

    made.register_structure_hook_func(_is_model, structure_model)
    made.register_unstructure_hook_func(_is_model, Model.to_wire)
    made.register_structure_hook(datetime, structure_time)
    made.register_structure_hook(date, structure_day)
    made.register_unstructure_hook(datetime, write_iso)
    made.register_unstructure_hook(date, write_day)
    made.register_structure_hook_func(_is_open_enum, lambda raw, _cls: cast("object", raw))
    return made


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)


def _is_open_enum(kind: object) -> bool:
    """Whether a type is ``Literal[...] | str``, or the same with ``int``."""
    if get_origin(kind) not in {Union, types.UnionType}:
        return False
    members = get_args(kind)
    return any(get_origin(member) is Literal for member in members) and all(
        get_origin(member) is Literal or member in {str, int} for member in members
    )
