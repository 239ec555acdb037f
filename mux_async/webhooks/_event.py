"""The envelope that every webhook event comes in, and what is common to reading them.

The envelope is facts/BEHAVIOUR.md, 7.2. Robots put the job under a key named after the event; both ways of nesting are read
(facts/BEHAVIOUR.md, 12, question 16).

An event reads itself late. When it arrives only its ``id`` and ``type`` are looked at, which is all that most deliveries are asked for:
repeated ones, and those that no handler wants. The rest is read, once and all together, when another of its attributes is first touched.
Reading never fails, so nothing is put off but its cost (docs/webhooks.md).
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, final

import attrs

from mux_async._model import ABSENT, ISO, Kept, Model, Wire, get_kept, set_kept, shape_of
from mux_async._reading import draft, finish
from mux_async._times import Notes, iso

if TYPE_CHECKING:
    from typing import Self

    from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject

E = TypeVar("E", bound="Event")


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
        it = draft(cls)
        it.id = data.get("id")
        it.type = data.get("type")
        it.kept = _Unread(cls, data)
        it.__class__ = cls
        made: Self = it
        return made

    if not TYPE_CHECKING:  # a type checker would believe in every misspelt attribute

        def __getattr__(self, name: str) -> Any:
            # Called for what is not there, so for every field that was not read yet.
            names = shape_of(type(self)).names
            unread = get_kept(self) if name in names else None
            if type(unread) is not _Unread:
                raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}", name=name, obj=self)
            whole = unread.whole()
            for each in names:
                object.__setattr__(self, each, getattr(whole, each))
            set_kept(self, get_kept(whole))
            return getattr(self, name)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UnknownEvent(Event):
    """An event whose type this version does not know. ``data`` is what arrived."""

    type: str
    data: Any


@final
class _Unread:
    """What arrived of an event, in the place of its `Kept`. It answers as that would, by reading the event."""

    __slots__ = ("_cls", "_data", "_whole")

    def __init__(self, cls: type[Event], data: Wire) -> None:
        self._cls = cls
        self._data = data
        self._whole: Event | None = None

    def whole(self) -> Event:
        """Return the event with every field read; found out once."""
        if self._whole is None:
            self._whole = _read(self._cls, self._data)
        return self._whole

    @property
    def _kept(self) -> Kept:
        return get_kept(self.whole())

    @property
    def extra(self) -> object:
        return self._kept.extra

    @property
    def notes(self) -> object:
        return self._kept.notes


def _read(cls: type[E], data: Wire) -> E:
    from mux_async.models.webhooks import WebhookEventAttempt, WebhookEventEnvironment, WebhookEventObject

    get: Any = data.get
    notes: Notes = {}
    it = draft(cls)
    it.id = get("id")
    it.created_at = iso(get("created_at"), notes, "created_at")
    v = get("object")
    it.object = WebhookEventObject.from_wire(v) if v.__class__ is dict else v
    v = get("environment")
    it.environment = WebhookEventEnvironment.from_wire(v) if v.__class__ is dict else v
    v = get("attempts")
    it.attempts = [WebhookEventAttempt.from_wire(x) if x.__class__ is dict else x for x in v] if v.__class__ is list else v
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
    return finish(it, cls, data, notes)


def load_models(cls: type[Event]) -> None:
    """Import what events of *cls* are read with, which takes tens of milliseconds the first time: not in the event loop."""
    import_module("mux_async.models.webhooks")
    if cls.model_path is not None:
        _model(cls.model_path)


@cache
def _model(path: str) -> type[Model]:
    module, _, name = path.partition(":")
    return cast("type[Model]", getattr(import_module(f"mux_async.models.{module}"), name))
