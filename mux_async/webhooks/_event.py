"""The envelope that every webhook event comes in, and what is common to reading them.

The envelope is facts/BEHAVIOUR.md, 7.2. Robots put the job under a key named after the event; both ways of nesting are read
(facts/BEHAVIOUR.md, 12, question 16).

When an event arrives only its ``id`` and ``type`` are read, which is enough for most deliveries: repeated ones, and those without a
handler. The rest is read as in every model, when one of its attributes is first used (docs/webhooks.md).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import msgspec

from mux_async._models.deferred_attrs import deferred_attrs
from mux_async._models.fields import FieldTable, Nested, NestedList, Overrides, optional
from mux_async._models.json_reader import DECODE_ERRORS, NotJsonError, check_utf8, load_object
from mux_async._models.model import ABSENT, Model, Wire, examine, lazy
from mux_async._models.struct_decoder import object_text, text_of
from mux_async._models.times import ISO

if TYPE_CHECKING:
    from typing import Self

    from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject


E = TypeVar("E", bound="Event")


@deferred_attrs(kw_only=True, eq=False, repr=False)
class Event(Model):
    """What every event has besides its ``type`` and ``data``."""

    model_path: ClassVar[str | None] = None
    """``module:Class`` below `mux_async.models` of the data; ``None`` keeps it as it is."""

    id: str
    """Of the event, the same for every delivery of it: what to recognise a repeated delivery by."""
    created_at: dt.datetime
    """When it happened. Deliveries are in no order; compare these."""
    object: WebhookEventObject
    """What it happened to: kind and id. The kind of a live stream is ``live``."""
    environment: WebhookEventEnvironment
    """Where it happened."""
    attempts: list[WebhookEventAttempt]
    """Earlier deliveries; seen empty so far."""
    request_id: str | None = ABSENT
    """Deprecated. Of the request that caused it."""
    accessor: str | None = ABSENT
    """Deprecated. Who caused it."""
    accessor_source: str | None = ABSENT
    """Deprecated. How they did."""

    @classmethod
    def from_wire(cls, data: Wire) -> Self:
        """Read a decoded delivery; *data* must not be changed afterwards."""
        return cls._received(data, data.get("id"), data.get("type"))

    @classmethod
    def _received(cls, data: Any, id: Any, type: Any) -> Self:
        return _event(cls, data, id, type)

    @classmethod
    def _field_table(cls) -> FieldTable:
        from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject

        return FieldTable(
            {
                "type": str,
                "data": Any if cls.model_path is None else msgspec.Raw,
                "id": str,
                "created_at": ISO,
                "object": Nested(WebhookEventObject),
                "environment": Nested(WebhookEventEnvironment),
                "attempts": NestedList(WebhookEventAttempt),
                "request_id": optional(str),
                "accessor": optional(str),
                "accessor_source": optional(str),
            },
            finish=None if cls.model_path is None else partial(_finish_data, _model(cls.model_path)),
        )


def _finish_data(model: type[Model], values: list[Any], overrides: Overrides) -> None:
    """Read the data of an event, which may be nested under the event's type."""
    kind: Any = values[0]
    data: Any = values[1]
    text = b""
    if data.__class__ is msgspec.Raw:
        data = text_of(data)
        if kind.__class__ is str and f'"{kind}"'.encode() in data:
            text = data
            data = load_object(text)
    if data.__class__ is dict:
        nested: Any = data.get(kind) if kind.__class__ is str else None
        if nested.__class__ is dict:
            overrides["data"] = data  # the model has no field for the nesting
            data = _member_text(text, kind) or nested
    values[1] = lazy(model, data) if data.__class__ is dict or data.__class__ is bytes else data


def _member_text(text: bytes, name: str) -> bytes:
    """Return the text of a member of an object; nothing if msgspec does not read *text*, or it is empty."""
    try:
        return bytes(_members_of(text)[name]) if text else b""
    except DECODE_ERRORS:
        return b""


_members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_set = object.__setattr__


def _event(cls: type[E], data: Any, id: Any, type: Any) -> E:
    event = lazy(cls, data)
    _set(event, "id", id)
    _set(event, "type", type)
    return event


def _data_of(received: Any) -> object:
    """Return the data of an event that was received as text or as a dictionary."""
    found: Any = received
    if received.__class__ is bytes:
        try:
            found = load_object(received)
        except NotJsonError:
            return None
    return found.get("data")


class _Head(msgspec.Struct, gc=False):
    id: Any = None
    type: Any = None


_head_of = msgspec.json.Decoder(_Head).decode


def read_text(text: bytes, family: Callable[[object], type[E]]) -> E:
    """Read the text of a delivery as an event of the class that *family* gives for its type. Raises `NotJsonError`."""
    data: Any = text
    try:
        if text[:1] != b"{":
            data = object_text(text)
        elif not text.isascii():
            check_utf8(text)  # as `object_text` does
        head = _head_of(data)
        return family(head.type)._received(data, head.id, head.type)  # pyright: ignore[reportPrivateUsage] - of this module
    except DECODE_ERRORS:
        data = load_object(text)
    from mux_async._models.drift_check import count_all  # most programs never need it

    event = family(data.get("type")).from_wire(data)
    count_all(examine, event)
    return event


@deferred_attrs(kw_only=True, eq=False, repr=False)
class UnknownEvent(Event):
    """An event whose type this version does not know. ``data`` is what arrived."""

    type: str
    data: Any

    @classmethod
    def _received(cls, data: Any, id: Any, type: Any) -> Any:
        from mux_async.drift import drift  # most programs never need it

        # Counted here, because only events of unknown types come by.
        drift.record("unknown_event", "webhooks", type if isinstance(type, str) else "", _data_of(data))
        return _event(cls, data, id, type)


def load_models(cls: type[Event]) -> None:
    """Import what events of *cls* are read with, which takes tens of milliseconds the first time: not in the event loop."""
    import_module("mux_async.models.webhooks")
    if cls.model_path is not None:
        _model(cls.model_path)


@cache
def _model(path: str) -> type[Model]:
    module, _, name = path.partition(":")
    return cast("type[Model]", getattr(import_module(f"mux_async.models.{module}"), name))
