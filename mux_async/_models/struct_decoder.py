"""Forms: how the JSON text of one class of objects is read.

Decoding an answer into dictionaries, to copy them into objects afterwards, makes everything twice. So the text is read by msgspec straight
into a struct of the fields that are expected, which checks their types on the way and passes over the text of objects inside it; those
are read when somebody looks at them. Whatever is out of the ordinary (a field without a name here, a new value of an enum, a null, another
type) makes it give up, and the object is read again the slow way, as a dictionary, which takes anything.

What is out of the ordinary once will be again: a field that Mux adds tomorrow comes with every answer from then on. So a form that had to
give up is replaced by one that has a place for what it met (`Form.widened`), a few times at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast, final

import msgspec

from mux_async._models.times import Notes
from mux_async._types import UNSET

NUMBER: Final = int | float
"""A number keeps the form it came in: an integer in a field of fractions stays one, and the other way round."""
TIME: Final = int | float | str
OBJECT: Final = msgspec.Raw
"""An object with a class of its own: its text."""
OBJECTS: Final = list[msgspec.Raw]

Kinds: TypeAlias = Mapping[str, Any]
"""Field name to what it holds: a type that msgspec knows, one of the above, or a tuple of the values of an enum."""

BRACE: Final = ord("{")

_MOST_LESSONS: Final = 16
_MOST_EXTRAS: Final = 64
_CAN_BE_LEARNED: Final = re.compile(r"[\w .:-]{1,64}", re.ASCII).fullmatch
"""Names of fields that msgspec takes (it refuses quotes, for one), of a length that an API would use."""


class OddError(msgspec.MsgspecError):
    """The text of a field is not that of an object, where one belongs."""


@final
class Kept:
    """What an object holds besides its fields: fields without a name here (`extra`), and `notes` about the others."""

    __slots__ = ("extra", "notes")

    def __init__(self, extra: Mapping[str, object], notes: Mapping[str, object]) -> None:
        self.extra = extra
        self.notes = notes


NOTHING: Final = Kept(MappingProxyType({}), MappingProxyType({}))

Fill: TypeAlias = Callable[[Any, Any], "Notes | None"]
"""Stores every field of a struct in an object, and returns the notes of times if there can be any. Generated."""


def keep(extra: Mapping[str, object], notes: Notes) -> Kept:
    """Return a `Kept`; the same one for all who have nothing to keep."""
    return Kept(MappingProxyType(extra), notes) if extra or notes else NOTHING


def text_of(raw: msgspec.Raw) -> bytes:
    """Return a copy of the text of an object, so that it does not hold on to the text around it.

    Raises:
        OddError: It is not the text of an object.
    """
    text = bytes(raw)
    if text[0] != BRACE:
        raise OddError
    return text


def object_text(text: bytes) -> bytes:
    """Return *text* without the space around it, once it is sure that it is a JSON object.

    Raises:
        msgspec.MsgspecError: It is none. The message holds nothing of it.
        UnicodeDecodeError: It is not UTF-8.
    """
    if not text.isascii():
        text.decode()  # msgspec does not look into text that it passes over
    return text_of(_raw_of(text))


_raw_of = msgspec.json.Decoder(msgspec.Raw).decode


@final
class Form:
    """How one class is read. Immutable, so that threads may read with the old one while another is put in its place.

    Args:
        required: Fields that are always there.
        optional: Fields that may be absent; they read ``None``, as they do when they are null, which is noted.
        renamed: Wire names of the fields that are called otherwise there.
    """

    __slots__ = (
        "_extras",
        "_kinds",
        "_lessons",
        "_names",
        "_optional",
        "_required",
        "_struct",
        "_watched",
        "decode",
        "is_plain",
    )

    def __init__(
        self,
        required: Kinds,
        optional: Kinds,
        renamed: Mapping[str, str] = MappingProxyType({}),
        *,
        _watched: frozenset[str] = frozenset(),
        _extras: Iterable[str] = (),
        _lessons: int = 0,
    ) -> None:
        self._kinds = {**required, **optional}
        self._optional = frozenset(optional)
        self._names = {renamed.get(name, name): name for name in self._kinds}
        self._required = frozenset(wire for wire, name in self._names.items() if name in required)
        self._watched = _watched
        """Optional fields that have been null, and required ones that have been absent: the usual default would hide it."""
        self._extras = {wire: f"extra_{number}" for number, wire in enumerate(_extras)}
        """Wire name to struct field, of what has no name here."""
        self._lessons = _lessons
        members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for name, kind in self._kinds.items():
            type_: Any = Literal[kind] if kind.__class__ is tuple else kind
            is_optional = name in self._optional
            if name in _watched:
                members.append((name, type_ | None if is_optional else type_, msgspec.UNSET))
            else:
                members.append((name, type_, None) if is_optional else (name, type_))
        members += [(name, Any, msgspec.UNSET) for name in self._extras.values()]
        wires = {**renamed, **{name: wire for wire, name in self._extras.items()}}
        self._struct: Any = msgspec.defstruct(
            "Form", members, rename=wires or None, kw_only=True, forbid_unknown_fields=True, gc=False
        )
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(self._struct).decode
        """Read a text. Raises one of `GIVES_UP`."""
        self.is_plain = not _watched and not self._extras
        """Whether storing the fields is all there is to do."""

    def kind_of(self, name: str) -> tuple[Any, bool]:
        """Return what the field *name* holds, and whether it may be absent."""
        return self._kinds[name], name in self._optional

    @property
    def names(self) -> Collection[str]:
        """The names of all fields."""
        return self._kinds.keys()

    def with_optional(self, added: Mapping[str, str]) -> Form:
        """Return a form that has these optional fields too, each with its wire name, that hold anything."""
        kinds = {**self._kinds, **dict.fromkeys(added, Any)}
        return Form(
            {name: kind for name, kind in kinds.items() if name not in self._optional and name not in added},
            {name: kind for name, kind in kinds.items() if name in self._optional or name in added},
            {name: wire for wire, name in self._names.items() if wire != name}
            | {name: wire for name, wire in added.items() if wire != name},
        )

    @property
    def wires(self) -> Iterable[str]:
        """The wire names of all fields."""
        return self._names.keys()

    def fill(self, it: Any, got: Any, fill: Fill) -> Kept:
        """Store what `decode` returned.

        Raises:
            OddError: An object inside is none.
        """
        odd = self._settle(got)
        notes = fill(it, got) or {}
        notes.update(odd)
        extra = {wire: v for wire, name in self._extras.items() if (v := getattr(got, name)) is not msgspec.UNSET}
        return keep(extra, notes)

    def _settle(self, got: Any) -> Notes:
        """Let watched fields that are absent read ``None``; return notes about the null optional and the absent required ones.

        In the struct, before anything is stored: another thread that looks at a field must find nothing there, or what it will be.
        """
        odd: Notes = {}
        for name in self._watched:
            value = getattr(got, name)
            if value is msgspec.UNSET:
                setattr(got, name, None)
                if name not in self._optional:
                    odd[name] = UNSET
            elif value is None and name in self._optional:
                odd[name] = None
        return odd

    def fill_loosely(self, it: Any, data: Mapping[str, object], fill: Fill) -> Kept:
        """Store what is in *data*, whatever it is. A required field that is missing reads ``None``, and is noted."""
        names, members = self._names, data.keys()
        given = {names[wire]: value for wire, value in data.items() if wire in names}
        missing = () if self._required <= members else [names[wire] for wire in self._required - members]
        given.update(dict.fromkeys(missing))
        got = self._struct(**given)
        self._settle(got)
        notes = fill(it, got) or {}
        if None in data.values():
            notes.update((name, None) for name in self._optional & given.keys() if given[name] is None)
        notes.update(dict.fromkeys(missing, UNSET))
        extra = {} if members <= names.keys() else {wire: value for wire, value in data.items() if wire not in names}
        return keep(extra, notes)

    def widened(self, data: Mapping[str, object]) -> Form:
        """Return a form that *data* fits in, or this one when it would, or has learned enough."""
        kinds, watched, extras = dict(self._kinds), set(self._watched), list(self._extras)
        watched.update(self._names[wire] for wire in self._required - data.keys())
        for wire, value in data.items():
            name = self._names.get(wire)
            if name is None:
                if wire not in self._extras and len(extras) < _MOST_EXTRAS and _CAN_BE_LEARNED(wire):
                    extras.append(wire)
            elif not _fits(kinds[name], value):
                is_text = value.__class__ is str and kinds[name].__class__ is tuple
                if value is None and name in self._optional and kinds[name] is not OBJECT:
                    watched.add(name)
                else:
                    kinds[name] = str if is_text else Any
                    if name in self._optional and not is_text:
                        watched.add(name)
        if self._lessons >= _MOST_LESSONS or (kinds, watched, extras) == (self._kinds, {*self._watched}, [*self._extras]):
            return self
        return Form(
            {name: kind for name, kind in kinds.items() if name not in self._optional},
            {name: kind for name, kind in kinds.items() if name in self._optional},
            {name: wire for wire, name in self._names.items() if wire != name},
            _watched=frozenset(watched),
            _extras=extras,
            _lessons=self._lessons + 1,
        )


def _fits(kind: Any, value: object) -> bool:
    if kind is OBJECT:
        return value.__class__ is dict
    if kind is OBJECTS:
        return isinstance(value, list) and all(isinstance(item, dict) for item in cast("list[object]", value))
    try:
        msgspec.convert(value, Literal[kind] if kind.__class__ is tuple else kind)
    except msgspec.ValidationError:
        return False
    return True
