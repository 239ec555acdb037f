"""The envelope that every webhook event comes in, and what is common to reading them.

The envelope is facts/BEHAVIOUR.md, 7.2. Robots put the job under a key named after the event; both ways of nesting are read
(facts/BEHAVIOUR.md, 12, question 16).

When an event arrives only its ``id`` and ``type`` are looked at, which is all that most deliveries are asked for: repeated ones, and
those that no handler wants. The rest is read as in every model, when it is first touched (docs/webhooks.md).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import attrs
import msgspec

from mux_async._models.deferred_attrs import late
from mux_async._models.json_reader import GIVES_UP, load_object
from mux_async._models.model import ABSENT, ISO, Model, Wire, drafts, thaw, unread
from mux_async._models.objects import many, one
from mux_async._models.struct_decoder import OBJECT, OBJECTS, TIME, Form, object_text
from mux_async._models.times import Notes, iso

if TYPE_CHECKING:
    from typing import Self

    from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject


E = TypeVar("E", bound="Event")


@late(kw_only=True, eq=False, repr=False)
class Event(Model):
    """What every event has besides its ``type`` and ``data``."""

    model_path: ClassVar[str | None] = None
    """``module:Class`` below `mux_async.models` of the data; ``None`` keeps it as it is."""

    id: str
    """Of the event, the same for every delivery of it: what to recognise a repeated delivery by."""
    created_at: dt.datetime = attrs.field(metadata=ISO)
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
        return cls._begun(data, data.get("id"), data.get("type"))

    @classmethod
    def _begun(cls, data: Any, id: Any, type: Any) -> Self:
        it = unread(cls, data)
        _set(it, "id", id)
        _set(it, "type", type)
        return it

    @classmethod
    def _form(cls) -> Form:
        return Form(
            {
                "id": str,
                "created_at": TIME,
                "object": OBJECT,
                "environment": OBJECT,
                "attempts": OBJECTS,
                "type": str,
                "data": Any if cls.model_path is None else OBJECT,
            },
            {"request_id": str, "accessor": str, "accessor_source": str},
        )

    @classmethod
    def _fill(cls, it: Any, got: Any) -> Notes:
        from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject

        notes: Notes = {}
        created_at = iso(got.created_at, notes, "created_at")
        about = one(WebhookEventObject, got.object)
        environment = one(WebhookEventEnvironment, got.environment)
        attempts = many(WebhookEventAttempt, got.attempts)
        data = got.data if cls.model_path is None else _data(_model(cls.model_path), got, notes)
        thaw[it] = drafts[cls]
        it.id = got.id
        it.created_at = created_at
        it.object = about
        it.environment = environment
        it.attempts = attempts
        it.request_id = got.request_id
        it.accessor = got.accessor
        it.accessor_source = got.accessor_source
        it.type = got.type
        it.data = data
        it.__class__ = cls
        return notes


def _data(model: type[Model], got: Any, notes: Notes) -> Any:
    v, kind = got.data, got.type
    if v.__class__ is not dict:
        data = one(model, v)
        if kind.__class__ is not str or not isinstance(data, model) or f'"{kind}"'.encode() not in bytes(v):
            return data
        v = load_object(bytes(v))
    nested: Any = v.get(kind) if kind.__class__ is str else None
    if nested.__class__ is not dict:
        return one(model, v)
    # The envelope's data has no field of its own for the nesting; the note gives it back.
    notes["data"] = v
    return one(model, nested)


_set = object.__setattr__


class _Head(msgspec.Struct, gc=False):
    id: Any = None
    type: Any = None


_head_of = msgspec.json.Decoder(_Head).decode


def read_text(text: bytes, family: Callable[[object], type[E]]) -> E:
    """Read the text of a delivery as an event of the class that *family* gives for its type.

    Raises:
        NotJsonError: It is no JSON object.
    """
    data: Any = text
    try:
        if text[:1] != b"{":
            data = object_text(text)
        elif not text.isascii():
            text.decode()  # as `object_text` does
        head = _head_of(data)
        return family(head.type)._begun(data, head.id, head.type)  # pyright: ignore[reportPrivateUsage] - of this module
    except GIVES_UP:
        data = load_object(text)
    return family(data.get("type")).from_wire(data)


@late(kw_only=True, eq=False, repr=False)
class UnknownEvent(Event):
    """An event whose type this version does not know. ``data`` is what arrived."""

    type: str
    data: Any


def load_models(cls: type[Event]) -> None:
    """Import what events of *cls* are read with, which takes tens of milliseconds the first time: not in the event loop."""
    import_module("mux_async.models.webhooks")
    if cls.model_path is not None:
        _model(cls.model_path)


@cache
def _model(path: str) -> type[Model]:
    module, _, name = path.partition(":")
    return cast("type[Model]", getattr(import_module(f"mux_async.models.{module}"), name))
