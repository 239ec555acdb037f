"""Every operation that this version has, by id and by path. Nothing on the path of a request needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from mux_async import resources
from mux_async._operation import Host, Operation


@cache
def operations_by_id() -> Mapping[str, Operation[object]]:
    """Return every operation by its id, those of the playback hosts too. Imports all resources: about 0.3 s."""
    modules = [import_module(f"{resources.__name__}.{module.name}") for module in iter_modules(resources.__path__)]
    values = [value for module in modules for value in vars(module).values()]
    found = cast("list[Operation[object]]", [each for each in values if isinstance(each, Operation)])
    return {operation.id: operation for operation in found}


def api_operations() -> list[Operation[object]]:
    """Return the operations of the API's own host."""
    return [operation for operation in operations_by_id().values() if operation.host is Host.API]


def find_operation(method: str, path: str) -> Operation[object] | None:
    """Return the operation that a request with *method* to *path* (without a query) performs; ``None`` for an unknown one."""
    segments = path.split("/")
    matching = [each for each in api_operations() if each.method == method and _matches(each.path.split("/"), segments)]
    return min(matching, key=lambda each: each.path.count("{"), default=None)  # literal segments win over parameters


def _matches(template: Sequence[str], segments: Sequence[str]) -> bool:
    return len(template) == len(segments) and all(
        found if wanted.startswith("{") else found == wanted for wanted, found in zip(template, segments, strict=True)
    )
