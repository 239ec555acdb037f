"""The envelope that every webhook event comes in, and what is common to reading them.

The envelope is facts/BEHAVIOUR.md, 7.2. Robots put the job under a key named after the event; both ways of nesting are read
(facts/BEHAVIOUR.md, 12, question 16).

When an event arrives only its ``id`` and ``type`` are looked at, which is all that most deliveries are asked for: repeated ones, and
those that no handler wants. The rest is read as in every model, when it is first touched (docs/webhooks.md).
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, cast

import attrs

from mux_async._model import ABSENT, ISO, Model, Wire
from mux_async._reading import unread
from mux_async._times import Notes, iso

if TYPE_CHECKING:
    from typing import Self

    from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject


@attrs.frozen(kw_only=True, eq=False, repr=False)
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
        it = super().from_wire(data)
        object.__setattr__(it, "id", data.get("id"))
        object.__setattr__(it, "type", data.get("type"))
        return it

    @classmethod
    def _fill(cls, it: Any, data: Any) -> Notes:
        from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject

        get = data.get
        notes: Notes = {}
        it.id = get("id")
        it.created_at = iso(get("created_at"), notes, "created_at")
        v = get("object")
        it.object = unread(WebhookEventObject, v) if v.__class__ is dict else v
        v = get("environment")
        it.environment = unread(WebhookEventEnvironment, v) if v.__class__ is dict else v
        v = get("attempts")
        it.attempts = [unread(WebhookEventAttempt, x) if x.__class__ is dict else x for x in v] if v.__class__ is list else v
        it.request_id = get("request_id")
        it.accessor = get("accessor")
        it.accessor_source = get("accessor_source")
        it.type = get("type")
        v = get("data")
        if cls.model_path is not None and v.__class__ is dict:
            nested: Any = v.get(it.type) if it.type.__class__ is str else None
            if nested.__class__ is dict:
                # The envelope's data has no field of its own for the nesting; the note gives it back.
                notes["data"] = v
                v = nested
            v = _model(cls.model_path).from_wire(v)
        it.data = v
        return notes


@attrs.frozen(kw_only=True, eq=False, repr=False)
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
