"""The envelope that every webhook event comes in, and what is common to reading them.

The envelope is facts/BEHAVIOUR.md, 7.2. Robots put the job under a key named after the event; both ways of nesting are read
(facts/BEHAVIOUR.md, 12, question 16).
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from mux_async._model import ABSENT, ISO, Model, Wire, build
from mux_async._times import Notes, iso

if TYPE_CHECKING:
    from typing import Self

    from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject

E = TypeVar("E", bound="Event")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Event(Model):
    """What every event has besides its ``type`` and ``data``."""

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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UnknownEvent(Event):
    """An event whose type this version does not know. ``data`` is what arrived."""

    type: str
    data: Any

    @classmethod
    def from_wire(cls, data: Wire) -> Self:
        """Read a decoded delivery."""
        return build_event(cls, data, None)


def build_event(cls: type[E], data: Wire, model: str | None) -> E:
    """Read a decoded delivery.

    Args:
        cls: The event class; it adds ``type`` and ``data`` to the envelope's fields.
        data: The delivery.
        model: ``module:Class`` below `mux_async.models` of its data; ``None`` keeps the data as it is.
    """
    from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject

    get: Any = data.get
    notes: Notes = {}
    inner = raw = get("data")
    if model is not None and raw.__class__ is dict:
        nested = raw.get(get("type"))
        if nested.__class__ is dict:
            # The envelope's data has no field of its own for the nesting; the note gives it back.
            raw, notes["data"] = nested, raw
        inner = _model(model).from_wire(raw)
    return build(
        cls,
        data,
        (
            get("id"),
            iso(get("created_at"), notes, "created_at"),
            WebhookEventObject.from_wire(v) if (v := get("object")).__class__ is dict else v,
            WebhookEventEnvironment.from_wire(v) if (v := get("environment")).__class__ is dict else v,
            [WebhookEventAttempt.from_wire(x) if x.__class__ is dict else x for x in v]
            if (v := get("attempts")).__class__ is list
            else v,
            get("request_id"),
            get("accessor"),
            get("accessor_source"),
            get("type"),
            inner,
        ),
        notes,
    )


@cache
def _model(path: str) -> type[Model]:
    module, _, name = path.partition(":")
    found: type[Model] = getattr(import_module(f"mux_async.models.{module}"), name)
    return found
