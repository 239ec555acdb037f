"""Writes `mux_async.webhooks.events`: a class for each kind of data an event carries, and the table from event types to classes.

And `mux_async.webhooks._registration`: what a handler of each type is given.
"""

from __future__ import annotations

from codegen._api import Api, Event
from codegen._python import HEADER, docstring, quoted, said, strict_literal, wrap

_NAMES = (
    "ABOUT",
    "EVENTS",
    "Event",
    "EventType",
    "KnownEvent",
    "UnknownEvent",
    "WebhookEvent",
    "parse_event",
    "parse_event_text",
)
_HEAD = '''\
"""Webhook events, typed: once ``event.type`` is compared, type checkers know ``event.data``.

A class stands for each kind of data, and its ``type`` for the events that carry it. What an event
means is said in `ABOUT`. Nothing here checks a signature.
"""

from __future__ import annotations
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias, cast
from mux_async._models.deferred_attrs import deferred_attrs
from mux_async.webhooks._event import Event, UnknownEvent, read_text
if TYPE_CHECKING:
    from collections.abc import Mapping
    from mux_async._models.model import Wire
'''
_FUNCTIONS = '''\
def parse_event(data: Wire) -> WebhookEvent:
    """Read the decoded body of a webhook delivery. Check its signature first: this does not.

    Never fails on what is in it: an event of a type that is not known is an `UnknownEvent`, and what does not fit is
    kept as it is. The event keeps *data* and reads it when needed, so *data* must not be changed afterwards.
    """
    event: WebhookEvent = _class_of(data.get("type")).from_wire(data)
    return event


def parse_event_text(text: bytes) -> WebhookEvent:
    """Read the body of a webhook delivery as it arrived; much faster than decoding it first.

    Raises:
        ValueError: It is no JSON object.
    """
    event: WebhookEvent = read_text(text, _class_of)
    return event


def _class_of(kind: object) -> type[WebhookEvent]:
    family = EVENTS.get(cast("EventType", kind)) if isinstance(kind, str) else None
    return family or UnknownEvent
'''
_REGISTRATION = '''\
"""`HandlerRegistration.on`: tells type checkers which class of events a handler receives.

A base class of `WebhookRouter`, which implements the registration.
"""

from __future__ import annotations
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload
from mux_async.webhooks._event import Event
if TYPE_CHECKING:
    from mux_async.webhooks.events import %s

E = TypeVar("E", bound=Event)
Handler: TypeAlias = Callable[[E], Awaitable[object]]
HandlerDecorator: TypeAlias = Callable[[Handler[E]], Handler[Any]]

%s

class HandlerRegistration:
    """Typed registration of handlers."""

%s
    @overload
    def on(self, wanted: type[E], /, *, latest: bool = False) -> HandlerDecorator[E]: ...
    @overload
    def on(
        self, wanted: str, /, *more: str, latest: bool = False, allow_unknown: bool = False
    ) -> HandlerDecorator[WebhookEvent]: ...
    def on(self, wanted: Any, /, *more: Any, latest: bool = False, allow_unknown: bool = False) -> HandlerDecorator[Any]:
        """Register the decorated function as a handler. It is awaited with each matching event before the delivery is answered.

        ::

            @hooks.on("video.asset.ready")
            async def publish(event: AssetEvent) -> None: ...

        Several handlers of an event run one after the other, in the order of their registration. If one raises, those after it
        do not run, the response is 500, and Mux delivers the event again, to all handlers. So a handler must be idempotent, or
        be the only one that can fail.

        Args:
            wanted: A type (``video.asset.ready``); a pattern, in which ``*`` matches one part between dots and ``**`` matches
                one or more (``video.asset.*``, ``video.**``, ``**``); or a class of events, for all its types.
            more: More types or patterns.
            latest: Skip events that are older than the newest event about the same object that had a handler; the response is
                200. For handlers that copy a state. Events of the same time are not older.
            allow_unknown: Allow types and patterns that match no type of this version, which are usually misspelt.

        Raises:
            ValueError: No type of this version matches; the message names similar ones.
            TypeError: *wanted* is neither text nor a class of events, or the handler is not an ``async`` function.
        """
        return self._register((wanted, *more), latest=latest, allow_unknown=allow_unknown)

    def _register(self, wanted: tuple[object, ...], *, latest: bool, allow_unknown: bool) -> HandlerDecorator[Any]:
        raise NotImplementedError
'''


def write(api: Api) -> dict[str, str]:
    """Return the texts of the files, by their paths below the repository."""
    families: dict[str, list[Event]] = {}
    for event in api.events:
        families.setdefault(event.data, []).append(event)
    modules: dict[str, set[str]] = {}
    for data in families:
        modules.setdefault(api.schemas[data].module, set()).add(data)
    names = [class_name(data) for data in families]
    lines = [HEADER, _HEAD.rstrip()]
    for module, wanted in sorted(modules.items()):
        lines.append(f"    from mux_async.models.{module} import {', '.join(sorted(wanted))}")
    lines += ["", f"__all__ = [{', '.join(map(quoted, sorted([*_NAMES, *names])))}]", ""]
    for data, events in families.items():
        lines += _family(api, data, events)
    lines += [
        f"KnownEvent: TypeAlias = {' | '.join(names)}",
        '"""Any event whose type this version knows. Comparing ``type`` tells type checkers which."""',
        "",
        "WebhookEvent: TypeAlias = KnownEvent | UnknownEvent",
        '"""Any event at all."""',
        "",
        f"EventType: TypeAlias = {_types(api.events)}",
        '"""The type of every event that this version knows."""',
        "",
        "EVENTS: Final[Mapping[EventType, type[KnownEvent]]] = {",
        *(f"    {quoted(event.type)}: {class_name(event.data)}," for event in api.events),
        "}",
        '"""The class of each event type."""',
        "",
        "ABOUT: Final[Mapping[EventType, str]] = {",
        *(line for event in api.events for line in _about(api, event)),
        "}",
        '"""When each event is sent."""',
        "",
        "",
        _FUNCTIONS,
    ]
    return {"mux_async/webhooks/events.py": "\n".join(lines), "mux_async/webhooks/_registration.py": _registration(families)}


def class_name(data: str) -> str:
    """Name the event class of a data schema."""
    return f"{data.removeprefix('Webhook')}Event"


def _types(events: tuple[Event, ...] | list[Event]) -> str:
    return strict_literal(event.type for event in events)


def _about(api: Api, event: Event) -> list[str]:
    about = " ".join((api.words.events.get(event.type) or f"See {class_name(event.data)}.").split())
    if event.is_legacy and "egacy" not in about:
        about += " Legacy: the product has ended."
    *pieces, last = wrap(said(about, is_deprecated=False, confidence=event.confidence) or about, 20)
    return [f"    {quoted(event.type)}: (", *(f"        {quoted(piece + ' ')}" for piece in pieces), quoted(last), "    ),"]


def _family(api: Api, data: str, events: list[Event]) -> list[str]:
    about = api.words.schemas.get(data) or f"Events about {data}."
    listed = ", ".join(f"``{event.type}``" for event in events)
    return [
        "@deferred_attrs(kw_only=True, eq=False, repr=False)",
        f"class {class_name(data)}(Event):",
        *docstring([*wrap(f"An event with `{data}` as its data: {listed}.", 10), "", *wrap(about, 10)], 4),
        "",
        f"    model_path: ClassVar[str] = {quoted(f'{api.schemas[data].module}:{data}')}",
        f"    type: {_types(events)}",
        f"    data: {data}",
        "",
        "",
    ]


def _registration(families: dict[str, list[Event]]) -> str:
    imported = ", ".join([*sorted(map(class_name, families)), "WebhookEvent"])
    aliases = "\n".join(f"_{class_name(data)}Type: TypeAlias = {_types(events)}" for data, events in families.items())
    overloads = "\n".join(
        f"    @overload\n    def on(self, wanted: _{name}Type, /, *more: _{name}Type, latest: bool = False)"
        f" -> HandlerDecorator[{name}]: ..."
        for name in map(class_name, families)
    )
    return HEADER + "\n" + _REGISTRATION % (imported, aliases, overloads)
