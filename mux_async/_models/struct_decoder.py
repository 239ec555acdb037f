"""How the JSON text of one class of objects is decoded.

Decoding a response into dictionaries and copying them into objects makes everything twice. So msgspec decodes the text into a struct of
the expected fields, which checks their types and skips the text of nested objects; those are decoded when they are first read. Anything
unexpected (an unknown field, a new value of an enum, a null, another type) makes the struct refuse the text, and the object is decoded as
a dictionary, which takes anything.

Unknown fields recur: a field that Mux adds tomorrow comes with every response from then on. So the decoder is rebuilt to include what it
refused (`StructDecoder.extended`), a limited number of times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast, final

import msgspec

from mux_async._models.fields import Convert, Converted, FieldTable, Nested, NestedList, Overrides
from mux_async._models.json_reader import check_utf8
from mux_async._types import UNSET

BRACE: Final = ord("{")

Settled: TypeAlias = tuple[list[Any], Overrides, dict[str, object]]

_LARGE: Final = 12
"""Fields from which on reading one of them alone is worth it."""
_MOST_REBUILDS: Final = 16
_MOST_EXTRAS: Final = 64
_IS_LIKELY_NAME: Final = re.compile(r"[\w .:-]{1,64}", re.ASCII).fullmatch
"""Names of fields that msgspec takes (it refuses quotes, for one), of a length that an API would use."""


class NotAnObjectError(msgspec.MsgspecError):
    """The text of a field is not that of an object, where one belongs."""


def object_text(text: bytes) -> bytes:
    """Return *text* without the space around it, once it is known to be a JSON object.

    Raises:
        msgspec.MsgspecError: It is another value, or not JSON. The message holds nothing of it.
        UnicodeDecodeError: It is not UTF-8.
    """
    if not text.isascii():
        check_utf8(text)
    return text_of(_raw_of(text))


def text_of(raw: msgspec.Raw) -> bytes:
    """Return a copy of the text of an object, which does not keep the text around it alive.

    Raises:
        NotAnObjectError: It is the text of another value.
    """
    text = bytes(raw)
    if text[0] != BRACE:
        raise NotAnObjectError
    return text


_raw_of = msgspec.json.Decoder(msgspec.Raw).decode


@final
class StructDecoder:
    """Decodes the objects of one class. Immutable, so that threads may use one while another takes its place.

    Args:
        table: The fields of the class.

    Attributes:
        decode: Decodes the text of an object into a struct: the fields in the order of the table, then unknown ones. It raises one of
            `DECODE_ERRORS` for what is not expected.
        is_plain: Whether the struct has just the values of the fields. If not, `settle` has to follow.
        has_conversions: Whether some values have to be converted.
        objects: Index and class of each field that holds an object of one class.
        lists: The same for lists of such objects.
        conversions: Index, name and function of each field whose value is converted in another way.
        finish: Called last, if given.
        suspects: Names of the fields in which something was received that the table does not allow. Null in an optional field is allowed.
        texts: Names of the fields whose objects are found in the text, and decoded when they are read.
        untyped_objects: Names of those whose objects are decoded at once, because something else was received there.
    """

    def __init__(
        self,
        table: FieldTable,
        *,
        _types: Mapping[str, Any] | None = None,
        _watched: frozenset[str] = frozenset(),
        _extras: tuple[str, ...] = (),
        _rebuilds: int = 0,
    ) -> None:
        self.table = table
        self.objects: list[tuple[int, type[Any]]] = []
        self.lists: list[tuple[int, type[Any]]] = []
        self.conversions: list[tuple[int, str, Convert]] = []
        for index, (name, field) in enumerate(table.fields.items()):
            kind = field.kind
            if isinstance(kind, Converted):
                self.conversions.append((index, name, kind.convert))
            elif isinstance(kind, Nested | NestedList):
                if isinstance(kind.model, type):
                    (self.objects if isinstance(kind, Nested) else self.lists).append((index, kind.model))
                else:
                    self.conversions.append((index, name, kind.model.one if isinstance(kind, Nested) else kind.model.many))
        self.finish = table.finish
        self.has_conversions = bool(self.objects or self.lists or self.conversions or self.finish)
        self._types = _types or {name: field.decoded for name, field in table.fields.items()}
        self._watched = _watched
        """Optional fields that have been null, and required ones that have been absent: the usual default would hide it."""
        self._watched_at = [(index, name) for index, name in enumerate(self._types) if name in _watched]
        self._extras = _extras
        """Names in JSON of the fields that the table does not have."""
        self._rebuilds = _rebuilds
        self._singles: dict[str, Callable[[bytes], Any] | None] = {}
        self.decode = _struct_decoder(table, self._types, _watched, _extras)
        objects = {name for name, field in table.fields.items() if isinstance(field.kind, Nested | NestedList)}
        retyped = {name for name, field in table.fields.items() if self._types[name] != field.decoded}
        self.suspects = tuple(name for name in table.fields if name in retyped or name in _watched & table.required)
        self.texts = frozenset(objects - retyped)
        self.untyped_objects = tuple(name for name in table.fields if name in objects & retyped)
        self.is_plain = not self.suspects and not _watched and not _extras

    def single(self, name: str) -> Callable[[bytes], Any] | None:
        """Return what decodes one field into a struct that has no other; its value is then what reading all fields would store.

        ``None`` where that is not so (a value that is converted, or whose absence has to be known), where it would save little, and for a
        name that is not of a field.
        """
        try:
            return self._singles[name]
        except KeyError:
            return self._make_single(name)

    def _make_single(self, name: str) -> Callable[[bytes], Any] | None:
        field = self.table.fields.get(name)
        if field is None:
            return None
        is_plain = (
            name not in self._watched
            and name not in self.suspects
            and not isinstance(field.kind, Nested | NestedList | Converted)
        )
        self._singles[name] = (
            _struct_decoder(self.table, {name: self._types[name]}, frozenset(), (), forbids_others=False)
            if is_plain and self.finish is None and len(self._types) >= _LARGE
            else None
        )
        return self._singles[name]

    def settle(self, decoded: Sequence[Any]) -> Settled:
        """Return the values of the fields, their overrides, and the unknown fields, from the values of the struct."""
        overrides: Overrides = {}
        count = len(self._types)
        values = [*decoded[:count]]
        extra = {wire: v for wire, v in zip(self._extras, decoded[count:], strict=True) if v is not msgspec.UNSET}
        for index, name in self._watched_at:
            if values[index] is msgspec.UNSET:
                values[index] = None
                if name in self.table.required:
                    overrides[name] = UNSET
            elif values[index] is None and name in self.table.optional:
                overrides[name] = None
        return values, overrides, extra

    def take(self, data: Mapping[str, object]) -> Settled:
        """Return the same from a decoded object, whatever it holds. A required field that is missing reads ``None``."""
        overrides: Overrides = {}
        values: list[Any] = []
        for name, field in self.table.fields.items():
            value = data.get(field.wire, UNSET)
            if value is UNSET:
                value = None
                if not field.is_optional:
                    overrides[name] = UNSET
            elif value is None and field.is_optional:
                overrides[name] = None
            values.append(value)
        wires = self.table.wires
        extra = {} if data.keys() <= wires.keys() else {wire: value for wire, value in data.items() if wire not in wires}
        return values, overrides, extra

    def extended(self, data: Mapping[str, object]) -> StructDecoder:
        """Return a decoder that takes *data* too, or this one if it does, or was rebuilt often enough."""
        table, types, watched, extras = self.table, dict(self._types), set(self._watched), list(self._extras)
        watched.update(name for name in table.required if table.fields[name].wire not in data)
        for wire, value in data.items():
            name = table.wires.get(wire)
            if name is None:
                if wire not in extras and len(extras) < _MOST_EXTRAS and _IS_LIKELY_NAME(wire):
                    extras.append(wire)
            elif not _fits(types[name], value):
                is_new_value = value.__class__ is str and types[name].__class__ is tuple
                is_optional = name in table.optional
                if value is None and is_optional and types[name] is not msgspec.Raw:
                    watched.add(name)
                else:
                    types[name] = str if is_new_value else Any
                    if is_optional and not is_new_value:
                        watched.add(name)
        if self._rebuilds >= _MOST_REBUILDS or (types, watched, extras) == (self._types, {*self._watched}, [*self._extras]):
            return self
        return StructDecoder(
            table, _types=types, _watched=frozenset(watched), _extras=tuple(extras), _rebuilds=self._rebuilds + 1
        )


def _struct_decoder(
    table: FieldTable,
    types: Mapping[str, Any],
    watched: frozenset[str],
    extras: Iterable[str],
    *,
    forbids_others: bool = True,
) -> Callable[[bytes], Any]:
    """Return what decodes a text into a struct of the fields of *types*, in their order, and the *extras* after them."""
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, type_ in types.items():
        decoded: Any = Literal[type_] if type_.__class__ is tuple else type_
        is_optional = name in table.optional
        if name in watched:
            members.append((name, decoded | None if is_optional else decoded, msgspec.UNSET))
        else:
            members.append((name, decoded, None) if is_optional else (name, decoded))
    wires = {name: table.fields[name].wire for name in types if table.fields[name].wire != name}
    for number, wire in enumerate(extras):
        members.append((f"extra_{number}", Any, msgspec.UNSET))
        wires[f"extra_{number}"] = wire
    struct: Any = msgspec.defstruct(
        "Fields", members, rename=wires or None, kw_only=True, forbid_unknown_fields=forbids_others, gc=False
    )
    return msgspec.json.Decoder(struct).decode


def _fits(type_: Any, value: object) -> bool:
    if type_ is msgspec.Raw:
        return value.__class__ is dict
    if type_ == list[msgspec.Raw]:
        return isinstance(value, list) and all(isinstance(item, dict) for item in cast("list[object]", value))
    try:
        msgspec.convert(value, Literal[type_] if type_.__class__ is tuple else type_)
    except msgspec.ValidationError:
        return False
    return True
