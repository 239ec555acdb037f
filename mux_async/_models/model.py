"""`Model`, the base of every generated class, and the way from values to JSON.

A model reads as plain attributes and remembers what plain attributes cannot say: which optional field was absent and which was null, which
fields this version has no name for, and how a time was written. `Model.to_wire` therefore gives back exactly what `Model.from_wire` was
given. Three rules keep that true:

1. The usual case costs nothing: a required field is what it reads (``None`` is null), an optional one that reads ``None`` is absent.
2. Exceptions are *notes*: field name to what stands on the wire instead; `UNSET` for nothing. A note lasts as long as its field keeps
   its value.
3. What does not fit its type is kept as it is. One bad field never loses a response.

A model that was received holds its JSON text, and reads itself when it is first looked at, one object at a time (`struct_decoder`): most
of what an answer holds is never asked for. Reading never fails, so nothing is put off but its cost (docs/decisions/decoding.md).
"""

from __future__ import annotations

import enum
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar, cast, final
from urllib.parse import ParseResult, SplitResult

import attrs
import orjson

from mux_async._models.json_reader import GIVES_UP, NotJsonError, load_object
from mux_async._models.struct_decoder import NOTHING, Fill, Form, Kept, keep, object_text
from mux_async._models.times import Notes, write_day, write_iso, write_seconds, write_seconds_text
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
class Extra(dict[str, object]):
    """Fields without a name here, as `Model.extra` shows them: a dictionary that cannot be changed.

    It knows the model it is of: ``attrs.evolve`` reads every field of the old object and passes it on, so the new object gets this one, and
    can tell a field that was set to None from one that read None all along.
    """

    __slots__ = ("model",)

    def __init__(self, members: Mapping[str, object], model: Model) -> None:
        super().__init__(members)
        self.model = model

    def _refuse(self, *_args: Any, **_more: Any) -> Any:
        raise TypeError("extra cannot be changed; use with_extra(...) for a copy of the model with other fields in it")

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[object, ...]:
        return dict, (dict(self),)  # a copy is a copy of the fields alone


@final
class _AsDataclass:
    """``__dataclass_fields__`` of an instance, and not of its class: what msgspec, and Litestar with it, ask an object for its attributes.

    They read the slots of attrs classes past `Model.__getattr__`, and so nothing of a model that is not read yet; of what has such fields
    they get each attribute as anybody does. To everything that looks at the class a model is no dataclass.
    """

    __slots__ = ("_fields",)

    def __get__(self, model: Model | None, owner: type[Model]) -> dict[str, Any]:
        if model is None:
            raise AttributeError("__dataclass_fields__")
        try:
            return self._fields
        except AttributeError:
            from mux_async._models.interop import a_dataclass_field

            self._fields: dict[str, Any] = dict.fromkeys(shape_of(owner).names, a_dataclass_field())
            return self._fields


@final
class _PydanticSerializer:
    """``__pydantic_serializer__``: how pydantic, and FastAPI with it, writes a model that stands where no type was said."""

    def __get__(self, model: Model | None, owner: type[Model]) -> Any:
        from mux_async._models.interop import pydantic_serializer

        return pydantic_serializer(cast("Any", owner))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Model:
    """A value of the API: frozen, compared by value, keeps what it does not know.

    Optional fields read ``None`` when absent or null, and are sent as they were: a field that is not passed is left out, one passed as
    ``None`` is sent as null. ``attrs.evolve`` keeps that. Pass ``extra={...}`` for fields that this version has no name for (to change
    them later use `with_extra`). ``repr`` leaves out what is ``None`` and hides secrets.
    """

    extra: Mapping[str, object] = attrs.field(default=ABSENT, repr=False)
    """Fields that this version has no name for, as they are on the wire."""

    def __attrs_post_init__(self) -> None:
        given: object = slot.__get__(self)
        origin = given.model if isinstance(given, Extra) else None
        if origin.__class__ is not self.__class__:
            origin = None
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
            elif (
                value is None
                and name in shape.presence
                and name not in notes
                and (origin is None or getattr(origin, name) is not None)
            ):
                notes[name] = None
        set_kept(self, Kept(extra, notes) if extra or notes else NOTHING)

    __pydantic_serializer__: ClassVar[Any] = _PydanticSerializer()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__slots__" in cls.__dict__:
            type.__setattr__(cls, "__dataclass_fields__", _AsDataclass())

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
        """Store every field of *got* in *it*, and return the notes of times, if there can be any. Generated; see `drafts`."""

    if not TYPE_CHECKING:  # a type checker would believe in every misspelt attribute

        def __getattr__(self, name: str) -> Any:
            # Called for what is not there, and so for every field that was not read yet.
            fill(self)  # or another thread has, since
            return object.__getattribute__(self, name)

    def to_wire(self) -> dict[str, object]:
        """Return the JSON object, ready to be encoded: what was read, or what the constructor was given.

        `to_dict` and ``dict(model)`` are the same, and `to_json` is its text.

        Raises:
            InvalidRequestError: A value has no JSON form; the message says where it stands.
        """
        return _guarded(_write_model, self, type(self).__name__)

    def to_dict(self) -> dict[str, object]:
        """Return what `to_wire` does, under the name that other libraries have for it: ``json.dumps(asset, default=Asset.to_dict)``."""
        return self.to_wire()

    def to_json(self) -> str:
        """Return the JSON text of the object, as Mux would write it; `from_json` reads it.

        Raises:
            InvalidRequestError: A value has no JSON form; the message says where it stands.
        """
        return orjson.dumps(self.to_wire()).decode()

    def __iter__(self) -> Iterator[tuple[str, object]]:
        """Iterate over name and value of each member, as on the wire: ``dict(asset)``. FastAPI writes an answer so."""
        return iter(self.to_wire().items())

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Let a model be a field, an argument or an answer of pydantic. Called by pydantic alone, which is imported no sooner."""
        from mux_async._models.interop import pydantic_schema

        return pydantic_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        from mux_async._models.interop import json_schema

        return json_schema(cast("Any", cls))

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
        """Of what can be hashed: lists and objects without a class are left out, so that every model has a hash."""
        values = (getattr(self, name) for name in shape_of(type(self)).names)
        return hash((type(self), *(value if isinstance(value, _HASHED) else None for value in values)))

    def __repr__(self) -> str:
        shown: list[str] = []
        for field in attrs.fields(type(self)):
            value = None if field.name == "extra" else getattr(self, field.name)
            if value is not None:
                shown.append(f"{field.name}={field.repr(value) if callable(field.repr) else repr(value)}")
        if self.extra:
            shown.append(f"extra=<{', '.join(self.extra)}>")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[object, ...]:
        kept = get_kept(self)
        values = tuple(getattr(self, name) for name in shape_of(type(self)).names)
        return _restore, (type(self), values, dict(kept.extra), dict(kept.notes))


slot: Any = Model.__dict__["extra"]
_slot_get: Callable[[Model], Any] = slot.__get__
set_kept: Callable[[Model, object], None] = slot.__set__
"""Store a `Kept`, or of a model that is not read yet, the JSON text of the object, or the object."""
type.__setattr__(Model, "extra", property(lambda model: Extra(get_kept(model).extra, model), set_kept))
_HASHED: Final = (str, int, float, date, Model, Secret)


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

    Threads that share a model read it one at a time, and all methods of a model wait for that (`get_kept`): what is kept is stored last,
    when every field is there. The lock can be taken twice, because a garbage collection while a model is read may run code that reads
    models.

    Raises:
        NotJsonError: It holds a text that was not found to be that of an object before, and is none.
    """
    with _lock:
        data = _slot_get(model)
        if data.__class__ is Kept:
            return
        cls, form, read = _readers.get(model.__class__) or _reader(model.__class__)
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
                _learn(cls, form.widened(members), read)
        else:
            kept = form.fill_loosely(model, data, read)
        set_kept(model, kept)


_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may hold it, and is not there to give it back
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


_Reader: TypeAlias = tuple[type["Model"], Form, Fill]
_readers: dict[type[Model], _Reader] = {}
"""By class: the class, the form, and what stores the fields."""
drafts: dict[type[Model], type[Model]] = {}
"""By class, the class that an object has while its fields are stored: a subclass of the same layout that is not frozen.

Setting an attribute of a frozen class goes through Python; of a draft, the interpreter stores it by itself. Other threads must not see a
draft, so ``_fill`` makes an object one and stores in one go, without calling anything in between: CPython lets other threads run when a
function is called or a loop goes round, and otherwise not. Values that take a call are therefore made before.
"""


@final
class _Thaw:
    """``thaw[it] = draft`` is ``it.__class__ = draft`` for an object that is frozen, without a call of the interpreter's."""

    __slots__ = ()
    __setitem__: Callable[[Model, type[Model]], None] = object.__dict__["__class__"].__set__


thaw: Any = _Thaw()


def _reader(cls: type[Model]) -> _Reader:
    # Both of the methods: with one of them, CPython would still call Python for every attribute.
    members = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    drafts[cls] = type(cls.__name__, (cls,), {"__module__": cls.__module__, **members})
    form: Form = cls._form()  # pyright: ignore[reportPrivateUsage] - of this module's own class
    read: Fill = cls._fill  # pyright: ignore[reportPrivateUsage] - of this module's own class
    added = [field for field in attrs.fields(cls) if field.name not in form.names] if _has_own_fields(cls) else []
    if added := [field for field in added if field.name != "extra"]:
        form = form.with_optional({field.name: cast("str", field.metadata.get("wire", field.name)) for field in added})
        read = _with_added(read, added)
    return _learn(cls, form, read)


def _has_own_fields(cls: type[Model]) -> bool:
    """Whether attrs made the class at once, as with a program's subclasses; the classes here have all their fields in their form."""
    return isinstance(cls.__dict__.get("__attrs_attrs__"), tuple)


def _with_added(read: Fill, added: list[attrs.Attribute[Any]]) -> Fill:
    """Return what stores the fields that a program's subclass has besides, too: what was received, or the default."""

    def read_all(it: Any, got: Any) -> Notes:
        notes = read(it, got) or {}
        for field in added:
            value = getattr(got, field.name)
            if value is None and (default := _default_of(field, it)) is not None:
                value, notes[field.name] = default, UNSET
            _set(it, field.name, value)
        return notes

    return read_all


def _default_of(field: attrs.Attribute[Any], it: Model) -> Any:
    default: Any = field.default
    if default is attrs.NOTHING or default is UNSET:
        return None
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default
    return default.factory(it) if default.takes_self else default.factory()


def _learn(cls: type[Model], form: Form, read: Fill) -> _Reader:
    reader = _readers[cls] = (cls, form, read)
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
    presence: frozenset[str]
    """Optional ones for which passing None is not the same as passing nothing."""
    wire: Mapping[str, str]
    writers: Mapping[str, Callable[[Any], object]]


_shapes: dict[type[Model], Shape] = {}


def shape_of(cls: type[Model]) -> Shape:
    """Return the shape of a model class; found out once."""
    shape = _shapes.get(cls)
    if shape is None:
        fields = [field for field in attrs.fields(cls) if field.name != "extra"]
        wire = {field.name: cast("str", field.metadata.get("wire", field.name)) for field in fields}
        required = tuple(field.name for field in fields if field.default is attrs.NOTHING)
        shape = _shapes[cls] = Shape(
            names=tuple(wire),
            optional=tuple(name for name in wire if name not in required),
            required=required,
            presence=frozenset(field.name for field in fields if field.default is UNSET),
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
    kind = type(value)
    if kind is str:  # these three are nearly all there is, and are told apart sooner here than below
        return check_text(cast("str", value), where)
    if kind is list:
        return _array(cast("list[object]", value), where)
    if kind is dict:
        return _object(cast("dict[object, object]", value), where)
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
        case SplitResult() | ParseResult():  # a URL, and not a list
            return check_text(value.geturl(), where)
        case Sequence():
            return _array(cast("Sequence[object]", value), where)
        case _:
            from mux_async._models.plain_values import UNKNOWN, plain

            if (known := plain(value, where)) is not UNKNOWN:
                return _write(known, where)
            hint = "; pass a list" if issubclass(kind, set | frozenset) else ""
            raise InvalidRequestError(f"{where} is of type {kind.__name__}, which JSON cannot hold{hint}")


def _array(value: Sequence[object], where: str) -> list[object]:
    return [_write(item, f"{where}[{index}]") for index, item in enumerate(value)]


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
