"""The body of a response, decoded into what a call returns.

`decoder` imports the models of an operation on first use. msgspec finds the objects in the text, which become models that hold theirs;
`json_reader` reads what msgspec refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec
import orjson

from mux_async._models.fields import Nested, NestedList
from mux_async._models.json_reader import DECODE_ERRORS, NotJsonError, check_utf8, loads
from mux_async._models.model import Model, examine, lazy, many, materialize, set_state, table_of
from mux_async._types import UNSET
from mux_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from mux_async._operation import Operation

M = TypeVar("M")


def dumps(value: object) -> bytes:
    """Encode what `mux_async._models.serialization.to_wire` returned.

    Raises:
        InvalidRequestError: It is nested too deeply, or was not made by ``to_wire``.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise InvalidRequestError(f"the body cannot be written as JSON: {error}") from error


class BodyError(ValueError):
    """The body of a response is not JSON, or not of the expected form; the text says what it is, and holds nothing of it."""


def decoder(operation: Operation[Any]) -> Callable[[bytes], object]:
    """Return what decodes a JSON body of *operation*, from its bytes to what the user gets.

    For a page that is the envelope, whose ``data`` is the list of items. It raises `BodyError` if the body is not JSON, if the whole is not
    an object, or if ``data`` is not what belongs there: an object, or a list of objects. Nothing further inside is refused: what does not
    fit is kept as it is.
    """
    if operation.model is None:
        return (lambda _content: None) if operation.result == "none" else decode
    return _decoder(operation.model, operation.result, operation.is_list)


@cache
def _decoder(path: str, result: str, is_list: bool) -> Callable[[bytes], object]:
    if result != "data":
        return _envelope_decoder(model_at(path))
    return _list_decoder(model_at(path)) if is_list else _object_decoder(model_at(path))


# msgspec does not check text that it skips, and a nested object is decoded later, so UTF-8 is checked first.


def _object_decoder(model: type[Model]) -> Callable[[bytes], object]:
    new = object.__new__

    def decode_data(content: bytes) -> object:
        try:
            if not content.isascii():
                check_utf8(content)
            text = bytes(_data_of(content).data)
        except UnicodeDecodeError:
            text = b""
        except DECODE_ERRORS:
            text = _with_company(content, model)
        if text[:1] == b"{":
            found = new(model)  # as `lazy` does, without a call
            set_state(found, text)
            return found
        data = decode_object(content).get("data", UNSET)
        if data.__class__ is not dict:
            _check(data, is_list=False)
        return _counted(lazy(model, data))

    return decode_data


def _list_decoder(model: type[Model]) -> Callable[[bytes], object]:
    def decode_list(content: bytes) -> object:
        text = b""
        try:
            if not content.isascii():
                check_utf8(content)
            return many(model, _list_of(content).data)
        except UnicodeDecodeError:
            pass
        except DECODE_ERRORS:
            text = _with_company(content, model)
        if text[:1] == b"[":
            try:
                return many(model, _texts_of(text))
            except DECODE_ERRORS:
                pass
        data: Any = decode_object(content).get("data", UNSET)
        found = many(model, data) if data.__class__ is list else data
        _check(found, is_list=True)
        return _counted(found)

    return decode_list


def _envelope_decoder(model: type[Model]) -> Callable[[bytes], object]:
    known: set[type] = set()
    """What a list of objects may hold."""
    field = table_of(model).fields["data"]
    has_objects, is_list = isinstance(field.kind, NestedList), not isinstance(field.kind, Nested)

    def decode_envelope(content: bytes) -> object:
        envelope: Any
        if content[:1] != b"{" or not (content.isascii() or _is_utf8(content)):
            envelope = _counted(lazy(model, decode_object(content)))
        else:
            envelope = lazy(model, content)
            try:
                materialize(envelope)
            except NotJsonError:
                raise _bad(content) from None
        found = envelope.data
        if not has_objects or found.__class__ is not list or not known.issuperset(map(type, found)):
            if found is None:
                found = cast("Any", materialize(envelope).overrides.get("data", UNSET if field.is_optional else None))
                if field.is_optional and found is UNSET:
                    return envelope
            _check(found, is_list=is_list, has_objects=field.kind is not list)
            if has_objects:
                known.update(map(type, found))
        return envelope

    return decode_envelope


def _check(data: Any, *, is_list: bool, has_objects: bool = True) -> None:
    """Check that *data*, which a response has under that name, is what belongs there.

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


def _counted(value: M) -> M:
    """Return a value that was decoded as dictionaries, once the drift in it is counted. It may not be one of a model."""
    from mux_async._models.drift_check import count_all  # most programs never need it

    count_all(examine, value)
    return value


def _with_company(content: bytes, model: type[Model]) -> bytes:
    """Return the text of ``data`` if it has company that this version has no name for, which is counted; else nothing."""
    try:
        members = _members_of(content)
    except DECODE_ERRORS:
        return b""
    from mux_async.drift import drift  # most programs never need it

    for owner, name, value in unknown_members(members, model):
        drift.record("unknown_field", owner, name, value)
    return bytes(members["data"]) if "data" in members else b""


def unknown_members(members: Mapping[str, msgspec.Raw], model: type[Model]) -> list[tuple[str, str, object]]:
    """Return owner, name and value of what stands beside ``data`` in a response."""
    return [(f"response of {model.__name__}", name, loads(bytes(raw))) for name, raw in members.items() if name != "data"]


def unknown_beside_data(operation: Operation[Any], content: bytes) -> list[tuple[str, str, object]]:
    """Return the same for the response *content* of an operation whose value is what ``data`` holds."""
    if operation.result != "data" or operation.model is None:
        return []
    try:
        return unknown_members(_members_of(content), model_at(operation.model))
    except DECODE_ERRORS:
        return []


class _Data(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    data: msgspec.Raw


class _List(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    data: list[msgspec.Raw]


_members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_texts_of = msgspec.json.Decoder(list[msgspec.Raw]).decode
_data_of = msgspec.json.Decoder(_Data).decode
_list_of = msgspec.json.Decoder(_List).decode


def _is_utf8(content: bytes) -> bool:
    try:
        check_utf8(content)
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


@cache
def model_at(path: str) -> type[Model]:
    """Import a model by ``module:Class`` below `mux_async.models`."""
    module, _, name = path.partition(":")
    found: type[Model] = getattr(import_module(f"mux_async.models.{module}"), name)
    return found
