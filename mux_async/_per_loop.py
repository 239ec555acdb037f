"""Values that belong to one event loop, and are closed with it.

A client opens connections on first use, a set for each event loop, and a program need not close it: ``asyncio.run`` returns and the loop is
gone. Its connections have to go with it. There are three ways for a loop to end, or to be left:

1. ``asyncio.run``, runners, portals, uvloop and trio close all async generators of a loop at its end, while it still runs. One generator
   for each loop waits for that, and closes what is open.
2. ``loop.close()`` alone runs nothing in the loop. That it is closed is detected when another loop is first used, or when the process ends,
   and what is open is closed without the loop (`Abandonable`).
3. The owner is collected while the loop lives on: what is open is closed in the loop, as soon as that runs.

The registry of loops is process-wide state: in case 2 the next use may be that of another client. It holds a loop for as long as there is
something to close in it. In a forked child it is empty (`_forks`).
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast
from weakref import ref

import anyio

from mux_async._forks import after_fork, detect_fork, keep_inherited
from mux_async.transport import Abandonable

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from trio.lowlevel import TrioToken

T = TypeVar("T")

logger = logging.getLogger(__name__)

CLOSE_TIME = 5.0
"""Seconds that closing what was left open may take at the end of trio. There is no limit on asyncio, which does not bound the end of a loop
either: a limit would need an import of anyio's back end, which takes longer than closing."""


class Closable(Protocol):
    """Something that is closed in its event loop."""

    async def aclose(self) -> None: ...


def has_ended(loop: object) -> bool:
    """Whether *loop*, as anyio's token names it, can never run again."""
    if hasattr(loop, "is_closed"):
        return cast("AbstractEventLoop", loop).is_closed()
    if hasattr(loop, "run_sync_soon"):
        try:
            cast("TrioToken", loop).run_sync_soon(bool)
        except RuntimeError:
            return True
    return False


class PerLoop(Generic[T]):
    """The values of one owner, at most one for each event loop. Empty in a forked child.

    Attributes:
        open: By event loop. For reading; `put` and `pop` change it.
    """

    __slots__ = ("__weakref__", "open")

    def __init__(self) -> None:
        self.open: dict[object, T] = {}

    @property
    def is_open(self) -> bool:
        """Whether there is a value for a loop that has not ended."""
        return any(not has_ended(loop) for loop in list(self.open))

    def put(self, loop: object, value: T, resource: Closable | None = None) -> None:
        """Keep *value* until `pop`, or until *loop* ends. Called in that loop.

        Args:
            loop: The running event loop, as anyio's token names it.
            value: What is kept.
            resource: What to close when the loop ends, or the owner is collected; it must not hold the owner. It may be `Abandonable`.
        """
        self.open[loop] = value
        _loops.scope(loop).add(self, resource)

    def pop(self, loop: object) -> T | None:
        """Forget the value of *loop*, for the caller to close."""
        value = self.open.pop(loop, None)
        scope = _loops.scopes.get(loop)
        if scope is not None:
            scope.remove(id(self))
        return value

    def in_this_process(self) -> PerLoop[T]:
        """Return an empty one after a fork that Python did not see. After any other, and where there was none, this one."""
        detect_fork()
        if not self.open:
            return self
        keep_inherited(self)
        return PerLoop()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if is_finalizing():
            return
        for loop in self.open:
            scope = _loops.scopes.get(loop)
            if scope is not None:
                scope.lose_owner(id(self))


class _Scope:
    """What is to be closed at the end of one event loop."""

    __slots__ = ("_at_end", "_entries", "_tasks", "loop")

    def __init__(self, loop: object) -> None:
        self.loop = loop
        self._entries: dict[int, tuple[ref[PerLoop[Any]], Closable | None]] = {}
        """By the id of the owner."""
        self._tasks: set[object] = set()
        self._at_end = _close_at_end(self)
        # Its first step makes it one of the generators of the running loop.
        with suppress(StopIteration):
            self._at_end.asend(None).send(None)

    def add(self, owner: PerLoop[Any], resource: Closable | None) -> None:
        self._entries[id(owner)] = ref(owner), resource

    def remove(self, key: int) -> None:
        """Remove an entry, and with the last one this scope."""
        self._entries.pop(key, None)
        self._forget_if_empty()

    def lose_owner(self, key: int) -> None:
        """Close the resource of an owner that is being collected, in its loop. Called in any thread; does not wait."""
        entry = self._entries.get(key)
        if entry is None:
            return
        resource = entry[1]
        if resource is None:
            self.remove(key)
            return

        def begin() -> None:
            if self._entries.get(key) is entry:
                self._start(_close(resource))
                self.remove(key)

        # A loop that has ended accepts no callbacks: the next search for ended loops finds the entry.
        with suppress(RuntimeError):
            if hasattr(self.loop, "call_soon_threadsafe"):
                cast("AbstractEventLoop", self.loop).call_soon_threadsafe(begin)
            else:
                cast("TrioToken", self.loop).run_sync_soon(begin)

    async def aclose(self) -> None:
        """Close everything, in the loop."""
        _loops.scopes.pop(self.loop, None)
        resources = self._take()
        if not resources:
            return
        if hasattr(self.loop, "is_closed"):
            await _close(*resources)
        else:
            with anyio.move_on_after(CLOSE_TIME, shield=True):  # trio closes generators in a cancelled scope
                await _close(*resources)

    def abandon(self) -> None:
        """Close everything without the loop, which does not run."""
        resources = self._take()
        self._forget_if_empty()
        for resource in resources:
            if isinstance(resource, Abandonable):
                try:
                    resource.abandon()
                except Exception:
                    extra = {"mux_resource": type(resource).__name__}
                    logger.debug("closing %r without its event loop failed", resource, exc_info=True, extra=extra)

    def detach(self) -> object:
        """Remove everything from the owners, in a forked child, and return it."""
        owners = [owner for reference, _ in self._entries.values() if (owner := reference()) is not None]
        values: list[object] = []
        for owner in owners:
            values.append(owner.open)
            owner.open = {}
        return self, values

    def _take(self) -> list[Closable]:
        """Remove all entries, and return what is to be closed."""
        resources: list[Closable] = []
        while self._entries:
            _, (reference, resource) = self._entries.popitem()
            if (owner := reference()) is not None:
                owner.open.pop(self.loop, None)
            if resource is not None:
                resources.append(resource)
        return resources

    def _start(self, closing: Coroutine[Any, Any, None]) -> None:
        if hasattr(self.loop, "create_task"):
            task = cast("AbstractEventLoop", self.loop).create_task(closing)
            self._tasks.add(task)
            task.add_done_callback(self._end)
        else:
            from trio.lowlevel import spawn_system_task

            spawn_system_task(_awaited, closing)

    def _end(self, task: object) -> None:
        self._tasks.discard(task)
        self._forget_if_empty()

    def _forget_if_empty(self) -> None:
        if self._entries or self._tasks:
            return
        if _loops.scopes.get(self.loop) is self:
            del _loops.scopes[self.loop]
        # Nothing is left to close, so this does not wait. A generator that was not ended would be once it is collected, by the loop.
        # A collection of garbage may come here while the generator is being closed already: then there is nothing to do (RuntimeError).
        with suppress(StopIteration, RuntimeError):
            self._at_end.aclose().send(None)


async def _close_at_end(scope: _Scope) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await scope.aclose()


async def _close(*resources: Closable) -> None:
    for resource in resources:
        try:
            await resource.aclose()
        except Exception:
            logger.debug("closing %r failed", resource, exc_info=True, extra={"mux_resource": type(resource).__name__})


async def _awaited(closing: Coroutine[Any, Any, None]) -> None:
    await closing


class _Loops:
    """The event loops in which something is open."""

    def __init__(self) -> None:
        self.scopes: dict[object, _Scope] = {}

    def scope(self, loop: object) -> _Scope:
        """Return the scope of the running loop, made on first use."""
        scope = self.scopes.get(loop)
        if scope is None:
            for other in list(self.scopes.values()):
                if has_ended(other.loop):
                    other.abandon()
            scope = self.scopes[loop] = _Scope(loop)
        return scope

    def abandon_idle(self) -> None:
        """Close what is open in loops that do not run, at the end of the process."""
        for scope in list(self.scopes.values()):
            is_running = getattr(scope.loop, "is_running", None)
            if is_running is not None and not is_running():
                scope.abandon()

    def reset_after_fork(self) -> object:
        """See `ForkAware`."""
        scopes, self.scopes = self.scopes, {}
        return [scope.detach() for scope in scopes.values()]


_loops = _Loops()
after_fork(_loops)
atexit.register(_loops.abandon_idle)
