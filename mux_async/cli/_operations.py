"""Every operation that this version knows, for commands that take a path: what completes it, and how its list is paged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from mux_async import resources
from mux_async._operation import Host, Operation


@cache
def operations() -> tuple[Operation[object], ...]:
    """Return every operation of the API's own host, in the order of their paths. Imports all resources: about 0.3 s."""
    found = {operation.id: operation for operation in _all()}
    return tuple(sorted(found.values(), key=lambda each: (each.path, each.method)))


def find_operation(method: str, path: str) -> Operation[object] | None:
    """Return the operation that a request with *method* to *path* (without a query) performs; ``None`` for an unknown one."""
    matching = [each for each in operations() if each.method == method and _pattern(each.path).fullmatch(path)]
    return min(matching, key=lambda each: each.path.count("{"), default=None)  # literal segments win over parameters


def _all() -> Iterator[Operation[object]]:
    for module in iter_modules(resources.__path__):
        for value in vars(import_module(f"{resources.__name__}.{module.name}")).values():
            if isinstance(value, Operation) and value.host is Host.API:
                yield value


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(
        "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", template))
    )
