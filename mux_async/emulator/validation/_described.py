"""Shapes of request bodies that follow the schemas of the API description exactly."""

from __future__ import annotations

from functools import cache
from typing import cast

from mux_async.emulator.validation import _spec
from mux_async.emulator.validation._schema_check import Checker
from mux_async.emulator.validation._shapes import Shape


@cache
def described(schema: str) -> Shape:
    """Return the shape of the schema of this name.

    As everywhere in request bodies, a null member counts as one that is not there, at the top level.
    """
    checker = Checker(_spec.load())

    def check(value: object, name: str, problems: list[str]) -> None:
        if isinstance(value, dict):
            members = cast("dict[str, object]", value)
            value = {key: member for key, member in members.items() if member is not None}
        problems += checker.problems(value, {"$ref": schema}, name)

    return check
