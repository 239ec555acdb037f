"""What generated code reads the fields of a model with: objects inside objects become models that are not read yet.

An object comes as its text, or decoded where the text did not fit its form; what is neither is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, final

import msgspec

from mux_async._models.json_reader import GIVES_UP, load_object, loads
from mux_async._models.model import Model, set_kept, unread
from mux_async._models.struct_decoder import BRACE, OddError, text_of

M = TypeVar("M", bound=Model)

_Raw = msgspec.Raw
_new = object.__new__


# The same lines three times, here and in `unread`: they run for every object of an answer, and a call costs as much as they do.


def one(cls: type[M], v: Any) -> Any:
    """Read a field that holds an object."""
    if v.__class__ is _Raw:
        v = bytes(v)
        if v[0] != BRACE:
            raise OddError
    elif v.__class__ is not dict:
        return v
    it = _new(cls)
    set_kept(it, v)
    return it


def many(cls: type[M], v: Any) -> Any:
    """Read a field that holds a list of objects."""
    if v.__class__ is not list:
        return v
    made: list[Any] = []
    for x in v:
        if x.__class__ is _Raw:
            x = bytes(x)
            if x[0] != BRACE:
                raise OddError
        elif x.__class__ is not dict:
            made.append(x)
            continue
        it = _new(cls)
        set_kept(it, x)
        made.append(it)
    return made


@final
class Variants:
    """Which class an object is read as, by the value of one of its fields.

    Args:
        field: Wire name of the field that tells.
        readers: By its known values, the class, or what tells further. An object with any other value is kept as it is.
    """

    __slots__ = ("_field", "_readers", "_tag")

    def __init__(self, field: str, readers: Mapping[str, type[Model] | Variants]) -> None:
        self._field = field
        self._readers = readers
        self._tag: Any = None

    def one(self, v: Any) -> Any:
        """Read a field that holds such an object."""
        if v.__class__ is _Raw:
            return self._read(text_of(v))
        return self._read(v) if v.__class__ is dict else v

    def many(self, v: Any) -> Any:
        """Read a field that holds a list of such objects."""
        return [self.one(x) for x in v] if v.__class__ is list else v

    def _read(self, data: Any) -> Any:
        tag = data.get(self._field) if data.__class__ is dict else self._peek(data)
        reader = self._readers.get(tag) if tag.__class__ is str else None
        if reader is None:
            return loads(data) if data.__class__ is bytes else data
        return reader._read(data) if isinstance(reader, Variants) else unread(reader, data)

    def _peek(self, text: bytes) -> Any:
        """Return what tells, out of the text of an object."""
        if self._tag is None:
            kind: Any = msgspec.defstruct("Tag", [("tag", Any, None)], rename={"tag": self._field})
            self._tag = msgspec.json.Decoder(kind).decode
        try:
            return self._tag(text).tag
        except GIVES_UP:
            return load_object(text).get(self._field)
