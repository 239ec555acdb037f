"""What generated code reads the fields of a model with.

Written for speed, because it runs for every object that is looked at: `Model`'s constructor has to find out what a user meant, this only
has to note what arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, final

from mux_async._model import Model, set_kept

M = TypeVar("M", bound=Model)

_new = object.__new__


def unread(cls: type[M], data: Any) -> M:
    """Return what `Model.from_wire` does, for half of the time."""
    it = _new(cls)
    set_kept(it, data)
    return it


@final
class Variants:
    """Which class an object is read as, by the value of one of its fields.

    Args:
        field: Wire name of the field that tells.
        readers: Its known values. An object with any other is kept as it is.
    """

    __slots__ = ("_field", "_readers")

    def __init__(self, field: str, readers: Mapping[str, Callable[[Any], object]]) -> None:
        self._field = field
        self._readers = readers

    def __call__(self, raw: Any) -> Any:
        if raw.__class__ is not dict:
            return raw
        tag = raw.get(self._field)
        reader = self._readers.get(tag) if tag.__class__ is str else None
        return reader(raw) if reader is not None else raw
