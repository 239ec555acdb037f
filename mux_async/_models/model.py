"""`Model`, the base of every generated class: received lazily, frozen, and written back as it came.

A model reads as plain attributes and remembers what plain attributes cannot say: which optional field was absent and which was null, which
fields this version has no name for, and how a time was written. `Model.to_wire` therefore gives back exactly what `Model.from_wire` was
given. Three rules keep that true:

1. The usual case costs nothing: a required field is written as it reads (``None`` is null), an optional one that reads ``None`` is absent.
2. Exceptions are *overrides* (`WireState`): field name to what stands on the wire instead, ``UNSET`` for nothing. An override lasts as long
   as its field keeps its value.
3. What does not fit its type is kept as it is. One bad field never loses a response.

A received model holds its JSON text, and no fields, until an attribute is read. Of a large class the first one is decoded and stored alone
(`_read_one`), for many programs read one field of each object of a list. The next one makes `materialize` store all fields of this object.
Nested objects become models that hold their own text. Materializing never fails, so no error is put off (docs/decisions/decoding.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from itertools import repeat
from operator import call
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar, cast, final

import attrs
import msgspec
import orjson

from mux_async._models.fields import Field, FieldTable, Finish, Overrides
from mux_async._models.json_reader import DECODE_ERRORS, NotJsonError, load_object
from mux_async._models.serialization import Serializable, to_wire, write_object, write_time, write_value
from mux_async._models.struct_decoder import BRACE, NotAnObjectError, StructDecoder, object_text
from mux_async._types import UNSET, Secret

if TYPE_CHECKING:
    from typing import Self

M = TypeVar("M", bound="Model")

Wire: TypeAlias = Mapping[str, object]
"""A decoded JSON object. A name of its own, because classes have fields called ``object`` and ``date``."""

JsonObject: TypeAlias = dict[str, object]
"""A field that holds an object of no known shape."""

ABSENT: Any = UNSET
"""Default of optional fields: it tells a field that was passed as ``None`` from one that was not passed. It then reads ``None``."""


def hidden(_value: object) -> str:
    """Show a field that holds a secret, or a URL that grants access."""
    return "'***'"


@final
class _Hidden:
    """Stands for such a value where rich prints it."""

    def __repr__(self) -> str:
        return "***"


@final
class WireState:
    """What an object holds besides its fields: fields without a name here (`extra`), and the overrides of the others.

    Storing it in an object marks the object as materialized.
    """

    __slots__ = ("extra", "overrides")

    def __init__(self, extra: Mapping[str, object], overrides: Mapping[str, object]) -> None:
        self.extra = extra
        self.overrides = overrides


@final
class OneFieldRead:
    """The text of an object of which one field is stored."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


@final
class SecondReads:
    """Whether a program reads more than one field of most objects of a class, so that the first one is not worth decoding alone.

    Attributes:
        count: Objects that were read further, less those that were not. At `MOST`, the next `PAUSE` objects are read as a whole at once.
    """

    __slots__ = ("count",)
    MOST: ClassVar[int] = 64
    PAUSE: ClassVar[int] = 1000

    def __init__(self) -> None:
        self.count = 0

    def expected(self) -> bool:
        """Whether a second read is expected of an object whose first field is read now."""
        count = self.count
        if count >= self.MOST:
            self.count = count - 1
            return True
        if count:
            self.count = count - 1
        return False

    def happened(self) -> None:
        self.count += 2
        if self.count >= self.MOST:
            self.count = self.MOST + self.PAUSE


_EMPTY: Final = WireState({}, {})


def _wire_state(extra: Mapping[str, object], overrides: Mapping[str, object]) -> WireState:
    """Return a `WireState`; all objects with nothing unusual share one."""
    return WireState(extra, overrides) if extra or overrides else _EMPTY


@final
class Extra(dict[str, object]):
    """Fields without a name here, as `Model.extra` shows them: a dictionary that cannot be changed.

    It knows its model: ``attrs.evolve`` reads every field of the old object and passes it on, so the new object gets this one, and can tell
    a field that was set to ``None`` from one that read ``None`` before.
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

    They read the slots of attrs classes past `Model.__getattr__`, and so nothing of a model that holds its text. Of an object that has
    these fields they read each attribute in the usual way. To code that inspects the class a model is not a dataclass.
    """

    __slots__ = ("_fields",)

    def __get__(self, model: Model | None, owner: type[Model]) -> dict[str, Any]:
        if model is None:
            raise AttributeError("__dataclass_fields__")
        try:
            return self._fields
        except AttributeError:
            from mux_async._models.interop import a_dataclass_field

            self._fields: dict[str, Any] = dict.fromkeys(table_of(owner).fields, a_dataclass_field())
            return self._fields


@final
class _PydanticSerializer:
    """``__pydantic_serializer__``: how pydantic, and FastAPI with it, writes a model where no type is declared."""

    def __get__(self, model: Model | None, owner: type[Model]) -> Any:
        from mux_async._models.interop import pydantic_serializer

        return pydantic_serializer(cast("Any", owner))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Model(Serializable):
    """A value of the API: frozen, compared by value, keeps what it does not know.

    Optional fields read ``None`` when absent or null, and are sent as they were: a field that is not passed is left out, one passed as
    ``None`` is sent as null. ``attrs.evolve`` keeps that. Pass ``extra={...}`` for fields that this version has no name for (to change
    them later use `with_extra`). ``repr`` leaves out what is ``None`` and hides secrets.
    """

    extra: Mapping[str, object] = attrs.field(default=ABSENT, repr=False)
    """Fields that this version has no name for, as they are on the wire."""

    def __attrs_post_init__(self) -> None:
        given: object = _state_slot.__get__(self)
        origin = given.model if isinstance(given, Extra) else None
        if origin.__class__ is not self.__class__:
            origin = None
        overrides: Overrides = {}
        if origin is not None:
            state = materialize(origin)
            extra: Mapping[str, object] = state.extra
            overrides.update(
                (name, raw) for name, raw in state.overrides.items() if getattr(self, name) is getattr(origin, name)
            )
        else:
            extra = {} if given is UNSET else dict(cast("Mapping[str, object]", given))
        for name, field in table_of(type(self)).fields.items():
            if not field.is_optional:
                continue
            value = getattr(self, name)
            if value is UNSET:
                object.__setattr__(self, name, None)
            elif (
                value is None
                and field.keeps_null
                and name not in overrides
                and (origin is None or getattr(origin, name) is not None)
            ):
                overrides[name] = None
        set_state(self, _wire_state(extra, overrides))

    __pydantic_serializer__: ClassVar[Any] = _PydanticSerializer()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__slots__" in cls.__dict__:
            type.__setattr__(cls, "__dataclass_fields__", _AsDataclass())

    @classmethod
    def from_wire(cls, data: Wire) -> Self:
        """Read a decoded JSON object. Never fails on what is in it: what does not fit is kept as it is.

        The object is read when an attribute is first used, so *data* must not be changed afterwards.
        """
        return lazy(cls, data)

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Read the JSON text of an object, as a file or a queue may hold it: three times as fast as decoding it first.

        Raises:
            ValueError: It is not the text of a JSON object. Nothing else in it is refused.
        """
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
        try:
            return lazy(cls, object_text(content))
        except DECODE_ERRORS:
            pass
        try:
            model = lazy(cls, load_object(content))
        except NotJsonError as error:
            problem = str(error)
        else:
            from mux_async._models.drift_check import count_all  # most programs never need it

            count_all(examine, model)
            return model
        raise ValueError(f"{len(content)} bytes that are no JSON object cannot be read as {cls.__name__}: they are {problem}")

    @classmethod
    def _field_table(cls) -> FieldTable:
        """Return what each field of the class holds on the wire. Generated; called once (`table_of`)."""
        return FieldTable({})

    if not TYPE_CHECKING:  # a type checker would accept every misspelt attribute

        def __getattr__(self, name: str) -> Any:
            # Python calls this for an attribute that is not there, and so for every field of a model that holds its text.
            held = _get_state(self)
            if held.__class__ is bytes:
                value = _read_one(self, held, name)
                if value is not UNSET:
                    return value
            materialize(self)
            return object.__getattribute__(self, name)

    def to_wire(self) -> dict[str, object]:
        """Return the JSON object, ready to be encoded: what was read, or what the constructor was given.

        `to_dict` and ``dict(model)`` are the same, and `to_json` is its text.

        Raises:
            InvalidRequestError: A value has no JSON form; the message says where it stands.
        """
        return cast("dict[str, object]", to_wire(self, type(self).__name__))

    def _members(self, where: str) -> dict[str, object]:
        state, table = materialize(self), table_of(type(self))
        members: dict[str, object] = {}
        for name, field in table.fields.items():
            value = state.overrides.get(name, getattr(self, name)) if state.overrides else getattr(self, name)
            if value is UNSET or (value is None and field.is_optional and name not in state.overrides):
                continue
            if isinstance(value, date) and name in table.writers:
                members[field.wire] = write_time(value, table.writers[name], f"{where}.{field.wire}")
            else:
                members[field.wire] = write_value(value, f"{where}.{field.wire}")
        if state.extra:
            members.update(write_object(cast("Mapping[object, object]", state.extra), where))
        return members

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
        """Iterate over name and value of each member, as on the wire: ``dict(asset)``. FastAPI writes a response this way."""
        return iter(self.to_wire().items())

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Let a model be a field, an argument or a response of pydantic. Only pydantic calls this, and it is imported no sooner."""
        from mux_async._models.interop import pydantic_schema

        return pydantic_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        from mux_async._models.interop import json_schema

        return json_schema(cast("Any", cls), table_of(cls))

    def with_extra(self, **fields: object) -> Self:
        """Return a copy with *fields* as its whole `extra`; they are sent as they are and win over fields of the same name."""
        copy = attrs.evolve(self)
        set_state(copy, WireState(fields, materialize(self).overrides))
        return copy

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        mine, theirs = materialize(self), materialize(other)
        if other.__class__ is not self.__class__:
            return NotImplemented
        if mine is not theirs and (mine.extra != theirs.extra or _presence(mine) != _presence(theirs)):
            return False
        return all(getattr(self, name) == getattr(other, name) for name in table_of(type(self)).fields)

    def __hash__(self) -> int:
        """Hash the fields that can be hashed: lists and objects without a class are left out, so that every model has a hash."""
        values = (getattr(self, name) for name in table_of(type(self)).fields)
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

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """Show what `repr` shows, in rich's colours and indentation."""
        for field in attrs.fields(type(self)):
            value = None if field.name == "extra" else getattr(self, field.name)
            if value is not None:
                yield field.name, (_Hidden() if callable(field.repr) else value)
        if self.extra:
            yield "extra", [*self.extra]

    def __reduce__(self) -> tuple[object, ...]:
        state = materialize(self)
        values = tuple(getattr(self, name) for name in table_of(type(self)).fields)
        return _restore, (type(self), values, dict(state.extra), dict(state.overrides))


def _restore(cls: type[Model], values: tuple[object, ...], extra: Mapping[str, object], overrides: Overrides) -> Model:
    made = object.__new__(cls)
    for name, value in zip(table_of(cls).fields, values, strict=True):
        object.__setattr__(made, name, value)
    set_state(made, _wire_state(extra, overrides))
    return made


def _presence(state: WireState) -> dict[str, object]:
    return {name: raw for name, raw in state.overrides.items() if raw is None or raw is UNSET}


_HASHED: Final = (str, int, float, date, Model, Secret)

# The slot of ``extra`` holds the state of an object: its JSON text (bytes, or `OneFieldRead`), the decoded object (a dictionary), or, once
# it is materialized, its `WireState`. The class itself shows a property of the same name.

_state_slot: Any = Model.__dict__["extra"]
_get_state: Callable[[Model], Any] = _state_slot.__get__
set_state: Callable[[Model, object], None] = _state_slot.__set__
type.__setattr__(Model, "extra", property(lambda model: Extra(materialize(model).extra, model), set_state))


def is_materialized(model: Model) -> bool:
    """Whether the fields of *model* are stored, so that it does not hold its text any more."""
    return _get_state(model).__class__ is WireState


def json_of(model: Model) -> object:
    """Return the text or the decoded object that *model* holds; the JSON object of one that is materialized."""
    state = _get_state(model)
    if state.__class__ is WireState:
        return model.to_wire()
    return state.text if state.__class__ is OneFieldRead else state


_new = object.__new__
_values_of = msgspec.structs.astuple
_call: Any = call


def lazy(cls: type[M], data: object) -> M:
    """Return a model that reads *data*, a JSON object or the text of one, when an attribute is first used."""
    model = _new(cls)
    set_state(model, data)
    return model


def materialize(model: Model) -> WireState:
    """Store all fields of *model*, unless that was done, and return what it holds besides.

    Safe between threads without a lock: a slot is empty or holds the value of its field, and the state that marks the model as materialized
    is stored last. Two threads that read the same model at the same moment store equal values.

    Raises:
        NotJsonError: It holds a text that was not checked before, and that is not the text of an object.
    """
    held: Any = _get_state(model)
    if held.__class__ is WireState:
        return held
    cls = model.__class__
    decoder, stores, second_reads = _readers.get(cls) or _make_reader(cls)
    if held.__class__ is OneFieldRead:
        held = held.text
        second_reads.happened()
    values: Sequence[Any]
    state, is_refused = _EMPTY, False
    if held.__class__ is bytes:
        try:
            values = _values_of(decoder.decode(held))
            if not decoder.is_plain:
                values, state = _convert(decoder, *decoder.settle(values), is_usual=not decoder.suspects)
            elif decoder.has_conversions:
                values, state = _convert(decoder, [*values], {}, {})
        except DECODE_ERRORS:
            before = decoder
            decoder, values, state = _decode_refused(decoder, held)
            is_refused = decoder is before
            _readers[cls] = decoder, stores, second_reads
    else:
        values, state = _convert(decoder, *decoder.take(held))
    any(map(_call, stores, repeat(model), values))  # a loop in C, a fifth faster: each call returns None
    set_state(model, state)
    if state is not _EMPTY and held.__class__ is bytes:
        times = _times_in_other_forms(decoder, state.overrides) if decoder.conversions else ()
        if state.extra or decoder.suspects or times or is_refused:
            from mux_async._models.drift_check import notice  # most programs never need it

            notice(examine, model, decoder, times, is_refused=is_refused)
    return state


def _read_one(model: Model, text: bytes, name: str) -> Any:
    """Store one field of *model*, which holds *text* and no field yet, and return it; ``UNSET`` if `materialize` has to read it."""
    cls = model.__class__
    decoder, _, second_reads = _readers.get(cls) or _make_reader(cls)
    decode = decoder.single(name)
    if decode is None or second_reads.expected():
        return UNSET
    try:
        (value,) = _values_of(decode(text))
    except DECODE_ERRORS:
        return UNSET
    object.__setattr__(model, name, value)
    set_state(model, OneFieldRead(text))
    return value


def _times_in_other_forms(decoder: StructDecoder, overrides: Mapping[str, object]) -> list[str]:
    return [name for _, name, _ in decoder.conversions if overrides.get(name) not in (None, UNSET)]


def examine(value: object) -> tuple[FieldTable, Mapping[str, object], Mapping[str, object]] | None:
    """Return the table, unknown fields and overrides of a model; ``None`` for anything else. For `mux_async._models.drift_check`."""
    if not isinstance(value, Model):
        return None
    state = materialize(value)
    return table_of(type(value)), state.extra, state.overrides


def _decode_refused(decoder: StructDecoder, held: bytes) -> tuple[StructDecoder, list[Any], WireState]:
    """Decode a text that its decoder refused, with a decoder that takes it; as a dictionary with the same decoder if there is none."""
    data = load_object(held)
    extended = decoder.extended(data)
    if extended is not decoder:
        try:
            settled = extended.settle(_values_of(extended.decode(held)))
            return extended, *_convert(extended, *settled, is_usual=not extended.suspects)
        except DECODE_ERRORS:  # text that only Python's own parser takes, for one
            pass
    return decoder, *_convert(decoder, *decoder.take(data), is_usual=False)


def _convert(
    decoder: StructDecoder, values: list[Any], overrides: Overrides, extra: Mapping[str, object], *, is_usual: bool = True
) -> tuple[list[Any], WireState]:
    """Turn decoded values into those of the fields: nested objects into models that hold their text, times into ``datetime``.

    The state is `_EMPTY` only for an object with nothing unusual, which *is_usual* denies.
    """
    # The same lines as in `many` and `lazy`: they run for every object of a response, and a call takes as long as they do.
    for index, cls in decoder.objects:
        value = values[index]
        if value is None:
            continue
        if value.__class__ is msgspec.Raw:
            value = b"" + value  # as `bytes` does, in three quarters of the time
            if value[0] != BRACE:
                raise NotAnObjectError
        elif value.__class__ is not dict:
            continue
        nested = values[index] = _new(cls)
        set_state(nested, value)
    for index, cls in decoder.lists:
        value = values[index]
        if value.__class__ is list:
            values[index] = many(cls, value)
    for index, name, convert in decoder.conversions:
        value = values[index]
        if value is not None:
            values[index] = convert(value, overrides, name)
    if decoder.finish is not None:
        decoder.finish(values, overrides)
    return values, _EMPTY if is_usual and not extra and not overrides else WireState(extra, overrides)


def many(cls: type[Model], items: list[Any]) -> list[Any]:
    """Turn the texts or decoded objects of a list into models; items that are not objects are kept as they are.

    Raises:
        NotAnObjectError: A text is not that of an object.
    """
    models: list[Any] = []
    for item in items:
        if item.__class__ is msgspec.Raw:
            item = b"" + item
            if item[0] != BRACE:
                raise NotAnObjectError
        elif item.__class__ is not dict:
            models.append(item)
            continue
        model = _new(cls)
        set_state(model, item)
        models.append(model)
    return models


_Store: TypeAlias = Callable[[Model, object], None]
_Reader: TypeAlias = tuple[StructDecoder, tuple[_Store, ...], SecondReads]
_readers: dict[type[Model], _Reader] = {}
"""By class: what decodes its text, what stores each field in its slot, past the frozen ``__setattr__``, and how programs read it."""
_tables: dict[type[Model], FieldTable] = {}


def _make_reader(cls: type[Model]) -> _Reader:
    table = table_of(cls)
    stores = tuple(_store_of(cls, name) for name in table.fields)
    reader = _readers[cls] = (StructDecoder(table), stores, SecondReads())
    return reader


def _store_of(cls: type[Model], name: str) -> _Store:
    slots = (base.__dict__.get(name) for base in cls.__mro__)
    slot = next((slot for slot in slots if isinstance(slot, MemberDescriptorType)), None)
    return slot.__set__ if slot is not None else lambda model, value: object.__setattr__(model, name, value)


def table_of(cls: type[Model]) -> FieldTable:
    """Return the table of a class, with the fields that a program's subclass adds; computed once."""
    table = _tables.get(cls)
    if table is None:
        table = cls._field_table()  # pyright: ignore[reportPrivateUsage] - of this module's own class
        own = [attribute for attribute in _own_attributes(cls) if attribute.name not in table.fields]
        if own:
            table = table.extended(
                {attribute.name: _own_field(attribute) for attribute in own}, _with_defaults(cls, table, own)
            )
        _tables[cls] = table
    return table


def _own_attributes(cls: type[Model]) -> list[attrs.Attribute[Any]]:
    """Return what attrs knows of a class. Classes whose attributes are deferred have all of them in their table."""
    found = next(base.__dict__["__attrs_attrs__"] for base in cls.__mro__ if "__attrs_attrs__" in base.__dict__)
    attributes = cast("tuple[attrs.Attribute[Any], ...]", found if isinstance(found, tuple) else ())
    return [attribute for attribute in attributes if attribute.name != "extra"]


def _own_field(attribute: attrs.Attribute[Any]) -> Field:
    return Field(
        Any,
        cast("str", attribute.metadata.get("wire", attribute.name)),
        is_optional=attribute.default is not attrs.NOTHING,
        keeps_null=attribute.default is UNSET,
    )


def _with_defaults(cls: type[Model], table: FieldTable, own: list[attrs.Attribute[Any]]) -> Finish:
    """Return what gives a program's own fields their defaults where nothing was received."""

    def finish(values: list[Any], overrides: Overrides) -> None:
        if table.finish is not None:
            table.finish(values, overrides)
        for index, attribute in enumerate(own, len(table.fields)):
            if values[index] is None and (default := _default_of(attribute, cls, values)) is not None:
                values[index] = default
                overrides.setdefault(attribute.name, UNSET)

    return finish


def _default_of(attribute: attrs.Attribute[Any], cls: type[Model], values: list[Any]) -> Any:
    default: Any = attribute.default
    if default is attrs.NOTHING or default is UNSET:
        return None
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default
    return default.factory(_restore(cls, tuple(values), {}, {})) if default.takes_self else default.factory()


def forget_decoders() -> None:
    """Read every class as it is described, as if nothing unexpected had been received. For tests that count."""
    _readers.clear()
