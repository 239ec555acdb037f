"""Who listens to a client or a webhook router, and calling them: a listener that fails breaks nothing.

Nothing here is imported before the first listener is added. The rules:

1. Listeners are called in the order in which they were added, in the task that caused the event, and never while a lock is held.
2. What a listener raises is logged, with its traceback once and then at most once a minute, and goes no further.
3. A call is reported to the listeners that there were when it began. One that is removed gets nothing more, from that moment on.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from mux_async.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mux_async.events import CallInfo, ClientEvent, Listener, OnRequest, OnResponse
    from mux_async.transport import HttpRequest

logger = logging.getLogger(__name__)

_LOG_INTERVAL: Final = 60.0
"""Seconds between two lines of the log about one listener."""

creation: Final = threading.Lock()
"""Held while a client or router looks whether it has `Listeners`, and makes them if not."""

next_id: Callable[[], int] = itertools.count(1).__next__
"""Returns an id that is unique in this process."""


@attrs.define(eq=False, repr=False)
class Listening:
    """A listener that was added, with its hooks. `remove` ends it; so does the end of a ``with`` block."""

    on_event: Listener | None
    on_request: OnRequest | None
    on_response: OnResponse | None
    _listeners: Listeners
    recorder: Recorder | None = None
    """Gets requests and answers too, which it redacts."""
    is_enabled: Callable[[], object] | None = None
    """Says for each call whether it is to be reported; ``None`` for all."""
    finishes_calls: bool = False
    """Whether it gets the rest of the calls under way when it is removed: for a listener that has to close what it opened."""
    is_active: bool = True
    """Whether it is still called."""
    _failures: int = 0
    _next_log: float = 0.0

    def remove(self) -> None:
        """Call it no more. Any number of times, also from within the listener."""
        self.is_active = False
        self._listeners.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"<Listening {'active' if self.is_active else 'removed'}>"

    def call(self, function: Callable[[Any], Any], value: object) -> Any:
        """Call one of the functions. What it raises is logged, and ``None`` returned."""
        if not self.is_active:
            return None
        try:
            return function(value)
        except Exception as error:  # noqa: BLE001 - logged below
            self.failed(function, value, error)
        return None

    def failed(self, function: Callable[..., Any], value: object, error: Exception) -> None:
        """Log that *function* failed on *value*, unless that was just said."""
        self._failures += 1
        now = time.monotonic()
        if self._failures > 1 and now < self._next_log:
            return
        self._next_log = now + _LOG_INTERVAL
        try:
            name = getattr(function, "__qualname__", None) or type(function).__name__
            logger.error(
                "the listener %s failed on a %s (%d failures so far); the call goes on",
                name,
                type(value).__name__,
                self._failures,
                exc_info=error if self._failures == 1 else None,
                extra={"mux_listener": name, "mux_failures": self._failures},
            )
        except Exception:  # noqa: BLE001, S110 - a handler of the program that fails must not break the call either
            pass


class Recorder(Protocol):
    """`mux_async.recorder.Recorder`, as its client sees it."""

    def on_event(self, event: ClientEvent) -> None: ...

    def on_request(self, info: CallInfo, request: HttpRequest) -> None: ...

    def on_answer(self, info: CallInfo, record: Any) -> None: ...


class Listeners:
    """The listeners of a client or router. `entries` is replaced and never changed, so it can be read in any thread.

    Listeners can be added and removed in any thread, signal handler or finalizer, so there is no lock that one of them could hold.
    """

    __slots__ = ("_added", "entries")

    def __init__(self) -> None:
        self.entries: tuple[Listening, ...] = ()
        self._added: list[Listening] = []

    def _append(self, listening: Listening) -> None:
        self._added.append(listening)
        self._publish()

    def discard(self, listening: Listening) -> None:
        """Remove one, if it is there."""
        with suppress(ValueError):
            self._added.remove(listening)
        self._publish()

    def _publish(self) -> None:
        # Another thread may replace `entries` with an older state; whoever writes last compares once more.
        while self.entries != (current := tuple(self._added)):
            self.entries = current

    def add_recorder(self, recorder: Recorder) -> None:
        """Add a recorder, for the life of the client."""
        self._append(Listening(recorder.on_event, None, None, self, recorder))

    def add(self, on_event: Listener | None, on_request: OnRequest | None, on_response: OnResponse | None) -> Listening:
        """Add functions, of which at least one is given.

        Raises:
            ConfigurationError: One cannot be called, or is asynchronous, or none is given.
        """
        given = {"on_event": on_event, "on_request": on_request, "on_response": on_response}
        for name, function in given.items():
            _check_function(name, function)
        if all(function is None for function in given.values()):
            raise ConfigurationError("there is nothing to listen with; give on_event, on_request or on_response")
        is_enabled = getattr(on_event, "is_enabled", None)
        added = Listening(on_event, on_request, on_response, self, is_enabled=is_enabled if callable(is_enabled) else None)
        added.finishes_calls = getattr(on_event, "finishes_calls", None) is True
        self._append(added)
        return added

    def are_enabled(self) -> bool:
        """Whether one of them wants to hear of a call that begins now."""
        for each in self.entries:  # noqa: SIM110 - any() makes a generator, which costs as much as the rest, and every call asks
            if _wants_calls(each):
                return True
        return False

    def notify(self, event: ClientEvent) -> None:
        """Call every listener with *event*."""
        notify(self.entries, event)


def _wants_calls(listening: Listening) -> bool:
    """Whether a call that begins now is to be reported to it; if it cannot say, it is."""
    if listening.is_enabled is None:
        return True
    try:
        return bool(listening.is_enabled())
    except Exception as error:  # noqa: BLE001 - logged
        listening.failed(listening.is_enabled, listening, error)
        return True


def notify(entries: Iterable[Listening], event: ClientEvent) -> None:
    """Call the listeners of *entries* with *event*."""
    for each in entries:
        if each.on_event is not None and (each.is_active or each.finishes_calls):
            try:
                each.on_event(event)
            except Exception as error:  # noqa: BLE001 - logged
                each.failed(each.on_event, event, error)


def _check_function(name: str, function: object) -> None:
    if function is None:
        return
    if not callable(function):
        raise ConfigurationError(f"{name} is of type {type(function).__name__}; it must be a function")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise ConfigurationError(
            f"{name} is asynchronous, and is called where nothing can wait; let it put what it gets into a memory stream"
        )
