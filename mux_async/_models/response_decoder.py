"""JSON bytes and values: how the body of an answer becomes what a call returns.

`decoder` picks the generated code that reads an operation's answer, importing its models on first use; `converter` offers the same code to
programs that build on cattrs. msgspec finds the objects in the text of an answer (`struct_decoder`), `json_reader` reads
what it refuses, and orjson writes.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, Union, cast, get_args, get_origin

import msgspec
import orjson

from mux_async._models.json_reader import GIVES_UP, NotJsonError, loads
from mux_async._models.model import Model, fill, get_kept, unread
from mux_async._models.objects import many as read_many
from mux_async._models.objects import one as read_one
from mux_async._models.struct_decoder import OBJECT, OBJECTS
from mux_async._models.times import parse_time, write_day, write_iso
from mux_async._types import UNSET
from mux_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import cattrs

    from mux_async._operation import Operation


def dumps(value: object) -> bytes:
    """Encode what `mux_async._models.model.to_wire` returned.

    Raises:
        InvalidRequestError: It is nested too deeply, or was not made by ``to_wire``.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise InvalidRequestError(f"the body cannot be written as JSON: {error}") from error


class BodyError(ValueError):
    """The body of an answer is not JSON, or not of the form that belongs there; the text says what it is, and holds nothing of it."""


def decoder(operation: Operation[Any]) -> Callable[[bytes], object]:
    """Return what reads an answer of *operation* whose body is JSON: from its bytes to what the user gets.

    For a page that is the envelope, whose ``data`` is the list of items. It raises `BodyError` when the body is not JSON, when the whole is
    not an object, or when ``data`` is not what belongs there: an object, or a list of objects. What is further inside is never refused:
    there, whatever does not fit is kept as it is.
    """
    if operation.model is None:
        return _nothing if operation.result == "none" else decode
    return _decoder(operation.model, operation.result, operation.is_list)


@cache
def _decoder(path: str, result: str, is_list: bool) -> Callable[[bytes], object]:
    model = model_at(path)

    # Text inside the text is not looked at when it arrives, so whether it is UTF-8 is found out first.

    if result == "data":
        find, read = (_list_of, read_many) if is_list else (_data_of, read_one)

        def data(content: bytes) -> object:
            if _is_utf8(content):
                try:
                    return read(model, find(content).data)
                except GIVES_UP:
                    pass
            found: Any = read(model, decode_object(content).get("data", UNSET))
            _check(found, is_list=is_list)
            return found

        return data

    known: set[type] = set()
    """What a list of objects may hold."""
    kind, is_optional = model._form().kind_of("data")  # pyright: ignore[reportPrivateUsage] - of what is generated

    def whole(content: bytes) -> object:
        envelope: Any
        if content[:1] != b"{" or not _is_utf8(content):
            envelope = unread(model, decode_object(content))
        else:
            envelope = unread(model, content)
            try:
                fill(envelope)
            except NotJsonError:
                raise _bad(content) from None
        found = envelope.data
        if kind is not OBJECTS or found.__class__ is not list or not known.issuperset(map(type, found)):
            if found is None:
                found = cast("Any", get_kept(envelope).notes.get("data", UNSET if is_optional else None))
                if is_optional and found is UNSET:
                    return envelope
            _check(found, is_list=kind is not OBJECT, has_objects=kind is not list)
            if kind is OBJECTS:
                known.update(map(type, found))
        return envelope

    return whole


def _check(data: Any, *, is_list: bool, has_objects: bool = True) -> None:
    """Make sure that *data*, which an answer has under that name, is what belongs there.

    Args:
        data: An object has become a model; one of a kind that this version does not know is a dictionary.
        is_list: Whether a list belongs there, or an object.
        has_objects: Whether that list holds objects.

    Raises:
        BodyError: It is something else.
    """
    kind = cast("type[object]", data.__class__)
    if not is_list:
        if not issubclass(kind, Model | dict):
            raise BodyError(f"{_name(kind)} as its data, where an object belongs")
    elif kind is not list:
        raise BodyError(f"{_name(kind)} as its data, where a list belongs")
    elif has_objects:
        item: type[object]
        for item in {*map(type, data)}:
            if not issubclass(item, Model | dict):
                raise BodyError(f"{_name(item)} among its data, where objects belong")


_NAMES: Final[Mapping[type, str]] = {
    type(UNSET): "nothing",
    type(None): "null",
    str: "a string",
    list: "a list",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def _name(kind: type) -> str:
    """Return what JSON calls a value of type *kind*."""
    return _NAMES.get(kind, "an object")


class _Data(msgspec.Struct, gc=False):
    data: msgspec.Raw


class _List(msgspec.Struct, gc=False):
    data: list[msgspec.Raw]


_data_of = msgspec.json.Decoder(_Data).decode
_list_of = msgspec.json.Decoder(_List).decode


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def decode(content: bytes) -> object:
    """Decode JSON.

    Raises:
        BodyError: It is not JSON.
    """
    try:
        return loads(content)
    except NotJsonError:
        raise _bad(content) from None


def decode_object(content: bytes) -> dict[str, object]:
    """Decode a JSON object.

    Raises:
        BodyError: It is not JSON, or not an object.
    """
    body = decode(content)
    if not isinstance(body, dict):
        raise BodyError(f"JSON of type {type(body).__name__} where an object belongs")
    return cast("dict[str, object]", body)


def _bad(content: bytes) -> BodyError:
    return BodyError(f"a body of {len(content)} bytes that is not JSON")


def _nothing(_content: bytes) -> None:
    return None


@cache
def model_at(path: str) -> type[Model]:
    """Import a model by ``module:Class`` below `mux_async.models`."""
    module, _, name = path.partition(":")
    found: type[Model] = getattr(import_module(f"mux_async.models.{module}"), name)
    return found


@cache
def converter() -> cattrs.Converter:
    """Return a cattrs converter that knows every model, alone or inside other types.

    Models go through their generated code, so unknown fields, nulls and the way times were written are kept. Times outside models are read
    in any of Mux's ways and written as ISO 8601; open enums take any text. One converter serves all callers; register further hooks on a
    ``copy()``.
    """
    import cattrs

    made = cattrs.Converter()

    def structure_model(raw: Any, cls: type[Model]) -> Model:
        return raw if isinstance(raw, cls) else cls.from_wire(raw)

    def structure_time(raw: Any, _cls: object) -> datetime:
        value = raw if isinstance(raw, datetime) else parse_time(raw)
        if value is None:
            raise ValueError(f"{raw!r:.40} is not a time")
        return value

    def structure_day(raw: Any, _cls: object) -> date:
        return raw if isinstance(raw, date) and not isinstance(raw, datetime) else structure_time(raw, datetime).date()

    made.register_structure_hook_func(_is_model, structure_model)
    made.register_unstructure_hook_func(_is_model, Model.to_wire)
    made.register_structure_hook(datetime, structure_time)
    made.register_structure_hook(date, structure_day)
    made.register_unstructure_hook(datetime, write_iso)
    made.register_unstructure_hook(date, write_day)
    made.register_structure_hook_func(_is_open_enum, lambda raw, _cls: cast("object", raw))
    return made


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)


def _is_open_enum(kind: object) -> bool:
    """Whether a type is ``Literal[...] | str``, or the same with ``int``."""
    if get_origin(kind) not in {Union, types.UnionType}:
        return False
    members = get_args(kind)
    return any(get_origin(member) is Literal for member in members) and all(
        get_origin(member) is Literal or member in {str, int} for member in members
    )
