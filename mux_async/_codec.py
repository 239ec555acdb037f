"""JSON bytes and values: how the body of an answer becomes what a call returns.

`decoder` picks the generated code that reads an operation's answer, importing its models on first use; `converter` offers the same code to
programs that build on cattrs. orjson does the bytes.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from datetime import date, datetime
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin

import orjson

from mux_async._model import Model
from mux_async._times import parse_time, write_day, write_iso
from mux_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import cattrs

    from mux_async._operation import Operation


def dumps(value: object) -> bytes:
    """Encode what `mux_async._model.to_wire` returned.

    Raises:
        InvalidRequestError: It is nested too deeply, or was not made by ``to_wire``.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise InvalidRequestError(f"the body cannot be written as JSON: {error}") from error


def loads(body: bytes) -> object:
    """Decode JSON.

    Raises:
        ValueError: It is not JSON.
    """
    found: object = orjson.loads(body)
    return found


def decoder(operation: Operation[Any]) -> Callable[[object], object]:
    """Return what reads an answer of *operation*: from the decoded body to what the user gets.

    For a page that is the envelope, whose ``data`` is the list of items. What has not the expected form is returned as it is, without an
    error: the request was acted on, and its answer is worth having.
    """
    if operation.model is None:
        return _nothing if operation.result == "none" else _as_it_is
    return _decoder(operation.model, operation.result, operation.is_list)


@cache
def _decoder(path: str, result: str, is_list: bool) -> Callable[[object], object]:
    read = model_at(path).from_wire

    def one(body: object) -> object:
        return read(cast("dict[str, object]", body)) if isinstance(body, dict) else body

    def data(body: object) -> object:
        return one(cast("dict[str, object]", body).get("data")) if isinstance(body, dict) else body

    def data_list(body: object) -> object:
        if not isinstance(body, dict):
            return body
        items = cast("dict[str, object]", body).get("data")
        return [one(item) for item in cast("list[object]", items)] if isinstance(items, list) else items

    if result == "data":
        return data_list if is_list else data
    return one


def _nothing(_body: object) -> None:
    return None


def _as_it_is(body: object) -> object:
    return body


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
