"""The table of fields of a class: what each field holds on the wire.

A generated class returns its table from ``_field_table``, once, when the first object of it is read or written. The decoder of its JSON
text, the stores into its slots, and the way back to JSON are all computed from the table.

What a field holds is a type that msgspec decodes (``str``, `NUMBER`, ``list``, ``Any``), a tuple of the known values of an enum, or one of
`Nested`, `NestedList` and `Converted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias, final

import msgspec

NUMBER: Final = int | float
"""A number keeps the form it came in: an integer in a field of fractions stays one, and the other way round."""

Overrides: TypeAlias = dict[str, object]
"""Field name to what stands on the wire in place of the field's value; ``UNSET`` for nothing."""

Convert: TypeAlias = Callable[[Any, Overrides, str], Any]
"""Makes the value of a field from what was decoded, given the overrides of the object and the name of the field."""

Finish: TypeAlias = Callable[[list[Any], Overrides], None]
"""Changes the values of an object, in the order of the table, and its overrides, once all values are converted."""


@final
class Nested:
    """An object with a class of its own, or with one of several (`mux_async._models.variants`)."""

    __slots__ = ("model",)

    def __init__(self, model: Any) -> None:
        self.model = model


@final
class NestedList:
    """A list of such objects."""

    __slots__ = ("model",)

    def __init__(self, model: Any) -> None:
        self.model = model


@final
class Converted:
    """A value that is decoded as *decoded*, read by *convert*, and written by *write*."""

    __slots__ = ("convert", "decoded", "write")

    def __init__(self, decoded: Any, convert: Convert, write: Callable[[Any], object] | None = None) -> None:
        self.decoded = decoded
        self.convert = convert
        self.write = write


@final
class Field:
    """One row of the table.

    Attributes:
        kind: What the field holds.
        wire: Its name in JSON.
        is_optional: Whether it may be absent; it then reads ``None``, as it does when it is null.
        is_nullable: Whether null is an ordinary value of it.
        keeps_null: Whether passing ``None`` to the constructor sends null, and passing nothing sends nothing.
    """

    __slots__ = ("is_nullable", "is_optional", "keeps_null", "kind", "wire")

    def __init__(
        self, kind: Any, wire: str = "", *, is_optional: bool = False, is_nullable: bool = False, keeps_null: bool = False
    ) -> None:
        self.kind = kind
        self.wire = wire
        self.is_optional = is_optional
        self.is_nullable = is_nullable
        self.keeps_null = keeps_null

    @property
    def decoded(self) -> Any:
        """What msgspec decodes the field as: a type, or a tuple of values."""
        kind: Any = self.kind
        if isinstance(kind, Nested):
            kind = msgspec.Raw
        elif isinstance(kind, NestedList):
            kind = list[msgspec.Raw]
        elif isinstance(kind, Converted):
            kind = kind.decoded
        return kind | None if self.is_nullable else kind


def optional(kind: Any) -> Field:
    """Describe a field that may be absent."""
    return Field(kind, is_optional=True, keeps_null=True)


def nullable(kind: Nested | NestedList | Converted) -> Field:
    """Describe a field that is always there and may be null. For other kinds ``kind | None`` says it."""
    return Field(kind, is_nullable=True)


@final
class FieldTable:
    """The fields of a class, in the order in which they are written.

    Args:
        fields: Field name to what it holds.
        renamed: Names in JSON of the fields that have another name there.
        finish: Called for each object that is read, if given.
    """

    __slots__ = ("fields", "finish", "optional", "required", "wires", "writers")

    def __init__(
        self, fields: Mapping[str, Any], renamed: Mapping[str, str] = MappingProxyType({}), *, finish: Finish | None = None
    ) -> None:
        self.fields: Mapping[str, Field] = {
            name: kind if isinstance(kind, Field) else Field(kind) for name, kind in fields.items()
        }
        for name, field in self.fields.items():
            field.wire = field.wire or renamed.get(name, name)
        self.finish = finish
        self.wires: Mapping[str, str] = {field.wire: name for name, field in self.fields.items()}
        """Name in JSON to field name."""
        self.optional = frozenset(name for name, field in self.fields.items() if field.is_optional)
        self.required = frozenset(self.fields.keys() - self.optional)
        self.writers: Mapping[str, Callable[[Any], object]] = {
            name: field.kind.write
            for name, field in self.fields.items()
            if isinstance(field.kind, Converted) and field.kind.write is not None
        }

    def extended(self, added: Mapping[str, Field], finish: Finish) -> FieldTable:
        """Return a table that has the fields *added* too, with *finish* instead of its own."""
        return FieldTable({**self.fields, **added}, finish=finish)
