"""Objects of one of several classes: the value of one of their fields says of which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import msgspec

from mux_async._models.json_reader import DECODE_ERRORS, load_object, loads
from mux_async._models.model import Model, lazy
from mux_async._models.struct_decoder import text_of


@final
class Variants:
    """Which class an object is read as, by the value of its field *field*.

    Args:
        field: Name of the field in JSON.
        readers: By its known values, the class, or further variants. An object with any other value is kept as it is.
    """

    __slots__ = ("_field", "_readers", "_tag", "module")

    def __init__(self, field: str, readers: Mapping[str, type[Model] | Variants]) -> None:
        self._field = field
        self._readers = readers
        self._tag: Any = None
        first = next(iter(readers.values()))
        self.module: str = first.module if isinstance(first, Variants) else first.__module__

    def one(self, value: Any, _overrides: object = None, _name: str = "") -> Any:
        """Read a field that holds such an object."""
        if value.__class__ is msgspec.Raw:
            return self._read(text_of(value))
        return self._read(value) if value.__class__ is dict else value

    def many(self, value: Any, _overrides: object = None, _name: str = "") -> Any:
        """Read a field that holds a list of such objects."""
        return [self.one(item) for item in value] if value.__class__ is list else value

    def _read(self, data: Any) -> Any:
        tag = data.get(self._field) if data.__class__ is dict else self._tag_of(data)
        reader = self._readers.get(tag) if tag.__class__ is str else None
        if reader is None:
            if data.__class__ is not bytes:
                return data
            from mux_async._models.drift_check import note_variant  # most programs never need it

            note_variant(self, self._field, tag)
            return loads(data)
        return reader._read(data) if isinstance(reader, Variants) else lazy(reader, data)

    def unknown_tag(self, data: Mapping[str, object]) -> tuple[Variants, str, object]:
        """Return the variants that do not know *data*, the name of their field, and its value."""
        tag = data.get(self._field)
        reader = self._readers.get(tag) if isinstance(tag, str) else None
        return reader.unknown_tag(data) if isinstance(reader, Variants) else (self, self._field, tag)

    def _tag_of(self, text: bytes) -> Any:
        """Return the value of the field, from the text of an object."""
        if self._tag is None:
            kind: Any = msgspec.defstruct("Tag", [("tag", Any, None)], rename={"tag": self._field})
            self._tag = msgspec.json.Decoder(kind).decode
        try:
            return self._tag(text).tag
        except DECODE_ERRORS:
            return load_object(text).get(self._field)
