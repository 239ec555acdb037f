"""Match events to handlers: by type, by pattern, and by class. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeAlias, cast

import attrs

from mux_async.webhooks._event import Event, load_models
from mux_async.webhooks.events import EVENTS, UnknownEvent

AnyHandler: TypeAlias = Callable[[Any], Awaitable[object]]
_PART = re.compile(r"[a-z0-9_]+", re.ASCII)


@attrs.frozen
class HandlerEntry:
    """A handler and the events that it handles."""

    handler: AnyHandler
    latest: bool
    """Whether stale events are skipped."""
    pattern: re.Pattern[str] | None
    """Matches event types; ``None`` for a handler of classes."""
    classes: tuple[type[Event], ...]

    def matches(self, event: Event) -> bool:
        """Whether the handler handles *event*."""
        if self.pattern is None:
            return isinstance(event, self.classes)
        return self.pattern.fullmatch(event.type) is not None  # type: ignore[attr-defined]  # every event has a type  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]


def make_entry(handler: AnyHandler, wanted: Sequence[object], *, latest: bool, allow_unknown: bool) -> HandlerEntry:
    """Check the arguments of `HandlerRegistration.on`, and import the models of the events."""
    if not _is_async(handler):
        name = getattr(handler, "__qualname__", repr(handler))
        raise TypeError(f"the handler {name} is not an async function: write `async def`, and await what it calls")
    if all(isinstance(each, type) and issubclass(each, Event) for each in wanted):
        classes = cast("tuple[type[Event], ...]", tuple(wanted))
        for cls in [UnknownEvent, *EVENTS.values()]:
            if issubclass(cls, classes):
                load_models(cls)
        return HandlerEntry(handler, latest, None, classes)
    texts = [each for each in wanted if isinstance(each, str)]
    if len(texts) != len(wanted):
        raise TypeError(
            'pass either types and patterns, as in @hooks.on("video.asset.ready"), or classes, as in @hooks.on(AssetEvent)'
        )
    return HandlerEntry(handler, latest, type_pattern(texts, allow_unknown=allow_unknown), ())


def type_pattern(texts: Sequence[str], *, allow_unknown: bool) -> re.Pattern[str]:
    """Return a regular expression for types and patterns of types, and import the models of their events.

    Raises:
        ValueError: One is neither, or matches no type of this version.
    """
    sources: list[str] = []
    for text in texts:
        source = _source(text)
        known = [cls for kind, cls in EVENTS.items() if re.fullmatch(source, kind)]
        if not known and not allow_unknown:
            similar = (
                get_close_matches(text, EVENTS, n=3) or [kind for kind in EVENTS if kind.startswith(text.partition("*")[0])][:3]
            )
            hint = f"; similar ones are {', '.join(similar)}" if similar else ""
            raise ValueError(f"no event type of this version matches {text!r}{hint}; allow_unknown=True registers it anyway")
        for cls in known:
            load_models(cls)
        sources.append(source)
    return re.compile("|".join(sources))


def _source(text: str) -> str:
    """Return a type or a pattern as a regular expression; raise `ValueError` if *text* is neither."""
    parts: list[str] = []
    for part in text.split("."):
        if part == "**":
            parts.append(r"[^.]+(?:\.[^.]+)*")
        elif part == "*":
            parts.append("[^.]+")
        elif _PART.fullmatch(part):
            parts.append(part)
        else:
            raise ValueError(
                f"{text!r} is not an event type: types are parts separated by dots, and * or ** replaces whole parts"
            )
    return r"\.".join(parts)


def _is_async(handler: object) -> bool:
    while isinstance(handler, partial):
        handler = cast("partial[object]", handler).func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004 - of an object
