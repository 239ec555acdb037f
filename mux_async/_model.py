"""`Model`, the base of every generated class, and the way from values to JSON.

A model reads as plain attributes and remembers what plain attributes cannot say: which optional field was absent and which was null, which
fields this version has no name for, and how a time was written. `Model.to_wire` therefore gives back exactly what `Model.from_wire` was
given. Three rules keep that true:

1. The usual case costs nothing: a required field is what it reads (``None`` is null), an optional one that reads ``None`` is absent.
2. Exceptions are *notes*: field name to what stands on the wire instead; `UNSET` for nothing. A note lasts as long as its field keeps
   its value.
3. What does not fit its type is kept as it is. One bad field never loses a response.

A model that was received holds its JSON text, and reads itself when it is first looked at, one object at a time (`mux_async._forms`): most
of what an answer holds is never asked for. Reading never fails, so nothing is put off but its cost (docs/decisions/decoding.md).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast, final

import attrs

from mux_async._forms import NOTHING, Fill, Form, Kept, keep, object_text
from mux_async._json import GIVES_UP, NotJsonError, load_object
from mux_async._times import Notes, write_day, write_iso, write_seconds, write_seconds_text
from mux_async._types import UNSET, Secret
from mux_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from typing import Self

M = TypeVar("M", bound="Model")

Wire: TypeAlias = Mapping[str, object]
"""A decoded JSON object. A name of its own, because classes have fields called ``object`` and ``date``."""

JsonObject: TypeAlias = dict[str, object]
"""A field that holds an object of no known shape."""

ABSENT: Any = UNSET
"""Default of optional fields, so that a field passed as ``None`` can be told from one not passed. It never stays: it reads ``None``."""

SECONDS: Final[Mapping[str, object]] = {"write": write_seconds}
SECONDS_TEXT: Final[Mapping[str, object]] = {"write": write_seconds_text}
ISO: Final[Mapping[str, object]] = {"write": write_iso}
DAY: Final[Mapping[str, object]] = {"write": write_day}


def hidden(_value: object) -> str:
    """Show a field that holds a secret, or a URL that is as good as one."""
    return "'***'"


@final
class _Evolving:
    """The model that a new one is made of: what ``attrs.evolve`` finds in place of `Kept`, and hands to the constructor."""

    __slots__ = ("model",)

    def __init__(self, model: Model) -> None:
        self.model = model


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Model:
    """A value of the API: frozen, compared by value, keeps what it does not know.

    Optional fields read ``None`` when absent or null, and are sent as they were: a field that is not passed is left out, one passed as
    ``None`` is sent as null. ``attrs.evolve`` keeps that. Pass ``extra={...}`` for fields that this version has no name for (to change
    them later use `with_extra`). ``repr`` leaves out what is ``None`` and hides secrets.
    """

    _kept: Mapping[str, object] = attrs.field(default=ABSENT, alias="extra", repr=False)

    def __attrs_post_init__(self) -> None:
        given: object = slot.__get__(self)
        origin = given.model if isinstance(given, _Evolving) else None
        shape = shape_of(type(self))
        notes: Notes = {}
        if origin is not None:
            kept = get_kept(origin)
            extra: Mapping[str, object] = kept.extra
            notes.update((name, raw) for name, raw in kept.notes.items() if getattr(self, name) is getattr(origin, name))
        else:
            extra = MappingProxyType(dict(cast("Mapping[str, object]", given))) if given is not UNSET else NOTHING.extra
        for name in shape.optional:
            value = getattr(self, name)
            if value is UNSET:
                object.__setattr__(self, name, None)
            elif value is None and name not in notes and (origin is None or getattr(origin, name) is not None):
                notes[name] = None
        set_kept(self, Kept(extra, notes) if extra or notes else NOTHING)

    @classmethod
    def from_wire(cls, data: Wire) -> Self:
        """Read a decoded JSON object. Never fails on what is in it: what does not fit is kept as it is.

        The object is read when it is first looked at, so *data* must not be changed afterwards.
        """
        return unread(cls, data)

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Read the JSON text of an object, as a file or a queue may hold it: three times as fast as decoding it first.

        Raises:
            ValueError: It is not the text of a JSON object. Nothing else in it is refused.
        """
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
        try:
            return unread(cls, object_text(content))
        except GIVES_UP:
            pass
        try:
            return unread(cls, load_object(content))
        except NotJsonError as error:
            problem = str(error)
        raise ValueError(f"{len(content)} bytes that are no JSON object cannot be read as {cls.__name__}: they are {problem}")

    @classmethod
    def _form(cls) -> Form:
        """Return how the JSON text of an object is read. Generated; called once."""
        return Form({}, {})

    @classmethod
    def _fill(cls, it: Any, got: Any) -> Notes | None:
        """Store every field of what was read, *got*, in the draft *it*, and return the notes of times, if there can be any. Generated."""

    if not TYPE_CHECKING:  # a type checker would believe in every misspelt attribute

        def __getattr__(self, name: str) -> Any:
            # Called for what is not there, and so for every field that was not read yet.
            fill(self)  # or another thread has, since
            return object.__getattribute__(self, name)

    def to_wire(self) -> dict[str, object]:
        """Return the JSON object, ready to be encoded: what was read, or what the constructor was told.

        Raises:
            InvalidRequestError: A value has no JSON form; the message says where it stands.
        """
        return _guarded(_write_model, self, type(self).__name__)

    @property
    def extra(self) -> Mapping[str, object]:
        """Fields that this version has no name for, as they are on the wire."""
        return get_kept(self).extra

    def with_extra(self, **fields: object) -> Self:
        """Return a copy with *fields* as its whole `extra`; they are sent as they are and win over fields of the same name."""
        copy = attrs.evolve(self)
        set_kept(copy, Kept(MappingProxyType(fields), get_kept(self).notes))
        return copy

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        mine, theirs = get_kept(self), get_kept(other)
        if other.__class__ is not self.__class__:
            return NotImplemented
        if mine is not theirs and (mine.extra != theirs.extra or _presence(mine) != _presence(theirs)):
            return False
        return all(getattr(self, name) == getattr(other, name) for name in shape_of(type(self)).names)

    def __hash__(self) -> int:
        get_kept(self)  # a draft has another class
        return hash((type(self), *(getattr(self, name) for name in shape_of(type(self)).names)))

    def __repr__(self) -> str:
        shown: list[str] = []
        for field in attrs.fields(type(self)):
            value = None if field.name == "_kept" else getattr(self, field.name)
            if value is not None:
                shown.append(f"{field.name}={field.repr(value) if callable(field.repr) else repr(value)}")
        if self.extra:
            shown.append(f"extra=<{', '.join(self.extra)}>")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[object, ...]:
        kept = get_kept(self)
        values = tuple(getattr(self, name) for name in shape_of(type(self)).names)
        return _restore, (type(self), values, dict(kept.extra), dict(kept.notes))


slot: Any = Model.__dict__["_kept"]
_slot_get: Callable[[Model], Any] = slot.__get__
set_kept: Callable[[Model, object], None] = slot.__set__
"""Store a `Kept`, or of a model that is not read yet, the JSON text of the object, or the object."""
# attrs.evolve reads every field of the old object and passes it on. For this one it gets the old object itself, so that the new one can
# tell a field that was set to None from one that read None all along.
type.__setattr__(Model, "_kept", property(_Evolving, set_kept))


def get_kept(model: Model) -> Kept:
    """Return what *model* holds besides its fields; reads it, if that was not done yet."""
    kept = _slot_get(model)
    if kept.__class__ is not Kept:
        fill(model)
        kept = _slot_get(model)
    found: Kept = kept
    return found


def json_of(model: Model) -> object:
    """Return what *model* was made of and is not read yet, the text or the decoded object; of one that is read, the object."""
    held = _slot_get(model)
    return model.to_wire() if held.__class__ is Kept else held


_new = object.__new__
_set = object.__setattr__


def unread(cls: type[M], data: object) -> M:
    """Return a model that reads *data*, a JSON object or the text of one, when it is first looked at."""
    it = _new(cls)
    set_kept(it, data)
    return it


def fill(model: Any) -> None:
    """Read *model*, unless that was done.

    Setting the attributes of a frozen class goes through Python for each. So while it is read it is a *draft*: of a subclass that is not
    frozen and has the same layout, whose attributes are stored by the interpreter alone.

    Threads that share a model can get here together: each stores the same, and whoever finds it frozen again knows that it is complete.

    Raises:
        NotJsonError: It holds a text that was not found to be that of an object before, and is none.
    """
    data = _slot_get(model)
    if data.__class__ is Kept:
        return
    cls, draft, form, read = _readers.get(model.__class__) or _reader(model.__class__)
    _set(model, "__class__", draft)
    try:
        if data.__class__ is bytes:
            try:
                got = form.decode(data)
                if not form.is_plain:
                    kept = form.fill(model, got, read)
                elif notes := read(model, got):
                    kept = keep({}, notes)
                else:
                    kept = NOTHING
            except GIVES_UP:
                members = load_object(data)
                kept = form.fill_loosely(model, members, read)
                _learn(cls, draft, form.widened(members), read)
        else:
            kept = form.fill_loosely(model, data, read)
        model.kept = kept
        model.__class__ = cls
    except attrs.exceptions.FrozenInstanceError:
        pass


_Reader: TypeAlias = tuple[type["Model"], type["Model"], Form, Fill]
_readers: dict[type[Model], _Reader] = {}
"""By class, and by that of its drafts: the class, the class of drafts, the form, and what stores the fields."""


def _reader(cls: type[Model]) -> _Reader:
    # Both of the methods: with one of them, CPython would still call Python for every attribute.
    members = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__, "kept": slot}
    draft = type(cls.__name__, (cls,), {"__module__": cls.__module__, **members})
    return _learn(cls, draft, cls._form(), cls._fill)  # pyright: ignore[reportPrivateUsage] - of this module's own class


def _learn(cls: type[Model], draft: type[Model], form: Form, read: Fill) -> _Reader:
    reader = _readers[cls] = _readers[draft] = (cls, draft, form, read)
    return reader


def forget_forms() -> None:
    """Read every class as it is described, as if nothing out of the ordinary had been met. For tests that count."""
    _readers.clear()


@attrs.frozen
class Shape:
    """What is known about a model's fields, in the order of their definition. Python names, except where it says *wire*."""

    names: tuple[str, ...]
    optional: tuple[str, ...]
    required: tuple[str, ...]
    wire: Mapping[str, str]
    writers: Mapping[str, Callable[[Any], object]]


_shapes: dict[type[Model], Shape] = {}


def shape_of(cls: type[Model]) -> Shape:
    """Return the shape of a model class; found out once."""
    shape = _shapes.get(cls)
    if shape is None:
        fields = [field for field in attrs.fields(cls) if field.name != "_kept"]
        wire = {field.name: cast("str", field.metadata.get("wire", field.name)) for field in fields}
        required = tuple(field.name for field in fields if field.default is attrs.NOTHING)
        shape = _shapes[cls] = Shape(
            names=tuple(wire),
            optional=tuple(name for name in wire if name not in required),
            required=required,
            wire=wire,
            writers={field.name: field.metadata["write"] for field in fields if "write" in field.metadata},
        )
    return shape


def _presence(kept: Kept) -> dict[str, object]:
    return {name: raw for name, raw in kept.notes.items() if raw is None or raw is UNSET}


def _restore(cls: type[Model], values: tuple[object, ...], extra: Mapping[str, object], notes: Notes) -> Model:
    made = object.__new__(cls)
    for name, value in zip(shape_of(cls).names, values, strict=True):
        object.__setattr__(made, name, value)
    set_kept(made, keep(extra, notes))
    return made


def listed(value: object, member: str) -> object:
    """Spell out a shorthand: text, alone or in a list, stands for an object with one *member*. For generated code."""
    if isinstance(value, str):
        return [{member: value}]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        items = cast("Sequence[object]", value)
        return [{member: item} if isinstance(item, str) else item for item in items]
    return value


def to_wire(value: object, where: str = "body") -> object:
    """Turn an argument into what JSON can hold.

    Models become objects (as `Model.to_wire` says), mappings too, without their ``UNSET`` members; sequences become lists, times become
    integers of Unix seconds, dates ISO 8601, secrets their text, enum members their value.

    Args:
        value: An argument, or a part of one.
        where: What to call it in an error.

    Raises:
        InvalidRequestError: Some part has no JSON form (not a number, a set, bytes, ...), or the whole contains itself.
    """
    return _guarded(_write, value, where)


W = TypeVar("W")
V = TypeVar("V")


def _guarded(write: Callable[[V, str], W], value: V, where: str) -> W:
    try:
        return write(value, where)
    except RecursionError:
        raise InvalidRequestError(f"{where} contains itself, or is nested too deeply to be sent") from None


def _write(value: object, where: str) -> object:
    match value:
        case None | bool():
            return value
        case Model():
            return _write_model(value, where)
        case enum.Enum():
            return _write(value.value, where)
        case str():
            return check_text(value, where)
        case int():
            if not -(2**63) <= value < 2**64:
                raise InvalidRequestError(f"{where} is {value!r:.40}, which is larger than JSON numbers are read by the server")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise InvalidRequestError(f"{where} is {value!r}, and JSON has no such number")
            return float(value)
        case Secret():
            return check_text(value.reveal(), where)
        case date():
            return _time(value, write_seconds if isinstance(value, datetime) else write_day, where)
        case bytes() | bytearray() | memoryview():
            raise InvalidRequestError(f"{where} is bytes, and JSON holds text; decode it first")
        case Mapping():
            return _object(cast("Mapping[object, object]", value), where)
        case Sequence():
            return [_write(item, f"{where}[{index}]") for index, item in enumerate(cast("Sequence[object]", value))]
        case _:
            kind = type(value)
            hint = "; pass a list" if issubclass(kind, set | frozenset) else ""
            raise InvalidRequestError(f"{where} is of type {kind.__name__}, which JSON cannot hold{hint}")


def _object(value: Mapping[object, object], where: str) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, member in value.items():
        if not isinstance(name, str):
            raise InvalidRequestError(f"{where} has the key {name!r:.40}; keys of a JSON object are text")
        if member is not UNSET:
            members[check_text(name, where)] = _write(member, f"{where}.{name}")
    return members


def _write_model(model: Model, where: str) -> dict[str, object]:
    shape, kept = shape_of(type(model)), get_kept(model)
    members: dict[str, object] = {}
    for name, wire in shape.wire.items():
        value = kept.notes.get(name, getattr(model, name)) if kept.notes else getattr(model, name)
        if value is UNSET or (value is None and name not in kept.notes and name in shape.optional):
            continue
        if isinstance(value, date) and name in shape.writers:
            members[wire] = _time(value, shape.writers[name], f"{where}.{wire}")
        else:
            members[wire] = _write(value, f"{where}.{wire}")
    if kept.extra:
        members.update(_object(cast("Mapping[object, object]", kept.extra), where))
    return members


def _time(value: date, write: Callable[[Any], object], where: str) -> object:
    if not isinstance(value, datetime):
        if write is not write_day:
            raise InvalidRequestError(f"{where} is a date, and a moment belongs there; pass a datetime with a time zone")
    elif value.tzinfo is None:
        raise InvalidRequestError(f"{where} is a datetime without a time zone; add one, as in datetime.now(UTC)")
    return write(value)


def check_text(value: str, where: str) -> str:
    """Return *value* as plain text.

    Raises:
        InvalidRequestError: It cannot be written in UTF-8.
    """
    text = str(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidRequestError(f"{where} holds half a character (a lone surrogate), which UTF-8 cannot carry") from None
    return text
