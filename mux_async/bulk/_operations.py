"""Finds an operation by its id, and turns a row into a call of it. Nothing is sent.

The generated method itself is called, with a caller that records instead of sending, so that names, defaults and encoding are those of
the method.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import difflib
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from types import UnionType
from typing import Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import attrs

from mux_async import _options, _response, _types, models, params, resources
from mux_async._arguments import Arguments
from mux_async._idempotency import key
from mux_async._operation import Operation
from mux_async._operation_index import operations_by_id
from mux_async.bulk._rows import Cell
from mux_async.errors import ConfigurationError, InvalidRequestError

_NOT_IN_ROWS: Final = frozenset({"options", "extra_headers"})
_DESTROYS: Final = frozenset({"video.live_streams.reset_stream_key", "video.uploads.cancel"})
"""Operations that end something for good and are not DELETEs."""


class _Recorder:
    """Stands in for the `Caller` of a resource."""

    async def call(self, operation: Operation[Any], arguments: Arguments) -> tuple[Operation[Any], Arguments]:
        """Return what a caller would perform."""
        return operation, arguments


@attrs.frozen(eq=False)
class Method:
    """A method of a resource that performs one operation.

    Attributes:
        operation: The operation.
        call: The method, of a resource that records.
        parameters: Of the method, by name, without those that rows cannot set.
        kinds: Types of the parameters.
        required: Names of those without a default.
    """

    operation: Operation[Any]
    call: Callable[..., Awaitable[tuple[Operation[Any], Arguments]]]
    parameters: Mapping[str, inspect.Parameter]
    kinds: Mapping[str, object]
    required: tuple[str, ...]

    def record(self, values: Mapping[str, object]) -> tuple[Operation[Any], Arguments]:
        """Return the call that *values* make.

        Raises:
            InvalidRequestError: A value has no name or a wrong one, a required one is missing, or a cell cannot be converted.
        """
        arguments = _nested(values, self)
        for name in arguments:
            if name not in self.parameters:
                raise InvalidRequestError(f"{self.operation.id} has no argument {name!r}{_did_you_mean(name, self.parameters)}")
        if missing := [name for name in self.required if name not in arguments]:
            raise InvalidRequestError(f"{missing[0]} is missing, and {self.operation.id} needs it")
        coroutine = cast("Any", self.call(**arguments))
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return cast("tuple[Operation[Any], Arguments]", stop.value)
        finally:
            coroutine.close()
        raise AssertionError(self.operation.id)  # the recorder never waits


def find_method(operation: str) -> Method:
    """Return the method of the operation with the id *operation*: ``video.assets.update``.

    Raises:
        ConfigurationError: There is none, or it reads a list or a download.
    """
    known = operations_by_id()
    if operation not in known:
        close = difflib.get_close_matches(str(operation), list(known), 1, 0.5)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ConfigurationError(
            f"{operation!r} is not an operation{hint} Operations are named as their methods: video.assets.update"
        )
    root, *groups, name = operation.split(".")
    target: object = getattr(import_module(f"{resources.__name__}.{root}"), root.title().replace("_", ""))(_Recorder())
    for group in groups:
        target = getattr(target, group)
    found: Callable[..., Any] = getattr(target, name)
    if not inspect.iscoroutinefunction(inspect.unwrap(found)):
        raise ConfigurationError(f"{operation} reads a list or a download, which rows cannot do; call the method itself")
    signature = inspect.signature(found)
    parameters = {each: value for each, value in signature.parameters.items() if each not in _NOT_IN_ROWS}
    kinds = get_type_hints(inspect.unwrap(found), localns=cast("dict[str, Any]", _Names()))
    required = tuple(each for each, value in parameters.items() if value.default is inspect.Parameter.empty)
    return Method(known[operation], found, parameters, kinds, required)


def is_destructive(operation: Operation[Any]) -> bool:
    """Return whether a call of *operation* destroys something for good."""
    return operation.method == "DELETE" or operation.id in _DESTROYS


class _Names(dict[str, object]):
    """The names in annotations of methods, most of which are only imported for type checkers."""

    def __missing__(self, name: str) -> object:
        for module in (params, models, _types, _options, _response, key, collections.abc, dt):
            if (found := getattr(module, name, None)) is not None:
                return found
        raise KeyError(name)


def _nested(values: Mapping[str, object], method: Method) -> dict[str, object]:
    """Return the arguments: ``meta.title`` becomes a member of ``meta``, and cells become values of their types."""
    arguments: dict[str, object] = {}
    for column, value in values.items():
        name, *members = column.split(".")
        kind = method.kinds.get(name)
        place: dict[str, object] = arguments
        for member in members:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                raise InvalidRequestError(f"{column} and {name} are both given; leave one out")
            place, name, kind = cast("dict[str, object]", inner), member, _member_kind(kind, member)
        if name in place:
            raise InvalidRequestError(f"{column} is given twice; leave one out")
        place[name] = _convert(value, kind, column) if isinstance(value, Cell) else value
    return arguments


def _kinds(kind: object) -> tuple[object, ...]:
    """Return the alternatives of a type."""
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)


def _member_kind(kind: object, member: str) -> object:
    for each in _kinds(kind):
        if is_typeddict(each) and member in (hints := get_type_hints(each)):
            return hints[member]
    return None


def _convert(cell: str, kind: object, column: str) -> object:
    """Convert a cell to the type of its argument: text stays text, anything else is JSON."""
    kinds = _kinds(kind)
    is_text = kind is None or any(
        each is str
        or (get_origin(each) is Literal and all(isinstance(value, str) for value in get_args(each)))
        or (isinstance(each, type) and issubclass(each, str))
        for each in kinds
    )
    has_list = any(isinstance(get_origin(each), type) for each in kinds)
    if is_text and not (has_list and cell.lstrip().startswith("[")):
        return str(cell)
    text = cell.strip()
    if bool in kinds and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        return cast("object", json.loads(text))
    except ValueError:
        if dt.datetime in kinds:
            try:
                return dt.datetime.fromisoformat(text)
            except ValueError:
                pass
    raise InvalidRequestError(f"{column} is {text[:40]!r}, which is not JSON; it takes {_described(kinds)}")


def _described(kinds: tuple[object, ...]) -> str:
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        dt.datetime: "a date such as 2026-01-31T12:00Z",
    }
    found = [words[each] for each in kinds if isinstance(each, type) and each in words]
    return " or ".join(found) or "a JSON list or object"


def _did_you_mean(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(known)}"
