"""Public names that are imported on first use (PEP 562), so that a program does not wait for modules that it does not use.

A package that does so lists its names three times: below ``TYPE_CHECKING``, where type checkers read them, in ``__all__``, and by the
module that has them. `tests/architecture` holds that the three agree.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module


def lazy_exports(package: str, homes: Mapping[str, Collection[str]]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of *package*. *homes* has the names of each module; a module without an underscore is a name as well."""
    places = {name: module for module, names in homes.items() for name in names}

    def find(name: str) -> object:
        if name in places:
            found: object = getattr(import_module(f"{package}.{places[name]}"), name)
        elif name in homes and not name.startswith("_"):
            found = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, found)
        return found

    return find
