"""What must not outlive its event loop, and what belongs to the parent of a forked process.

**Event loops.** A client opens connections on first use, a set for each event loop, and a program need not close it: ``asyncio.run``
returns and the loop is gone. Its connections have to go with it. There are three ways for a loop to end, or to be left:

1. ``asyncio.run``, runners, portals, uvloop and trio close all async generators of a loop at its end, while it still runs. One generator
   for each loop waits for that, and closes what is open.
2. ``loop.close()`` alone runs nothing in the loop. That it is closed is seen when another loop is first used, or when the process ends, and
   what is open is closed without the loop (`Abandonable`).
3. The owner is collected while the loop lives on: what is open is closed in the loop, as soon as that runs.

**Forks.** A child gets copies of its parent's connections, which share sockets and the event loop's ``epoll`` set with the originals. To
close one there, or to let it be collected, takes the socket out of the parent's ``epoll`` set, or writes the end of TLS into the parent's
connection. So an object that holds such things registers itself (`after_fork`) and starts afresh in the child. What it had is kept,
unreachable and untouched, for the life of the child.

Both registries and the hook are process-wide state. In case 2 the next use may be that of another client. And an object could compare
process ids when it is used, but a child that never uses the client would still collect what it inherited; the hook runs before any other
code of the child. The registry of loops holds a loop for as long as there is something to close in it, that of forks holds its objects
weakly.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast
from weakref import WeakSet, ref

import anyio

from mux_async.transport import Abandonable

T = TypeVar("T")

logger = logging.getLogger(__name__)

CLOSE_TIME = 5.0
"""Seconds that closing what was left open may take at the end of trio. For asyncio, which does not bound the end of a loop either, there is
no limit: that would take an import of anyio's back end, which lasts longer than closing."""


class Inheritable(Protocol):
    """An object that holds what only one process may use."""

    def start_afresh(self) -> object:
        """Forget what belongs to the parent, locks included, and return it. Called in the child, right after the fork."""
        ...


class Preparing(Inheritable, Protocol):
    """An object that cannot leave what it holds to one of two processes, and has to let go of it before a fork."""

    def before_fork(self) -> None:
        """Let go. Called before the fork, in the thread that forks; waits for other threads if it has to, but not for ever."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on, in the parent."""
        ...


class Closable(Protocol):
    """Something that is closed in its event loop."""

    async def aclose(self) -> None: ...


class _Asyncio(Protocol):
    """What is used of asyncio's event loops."""

    def is_closed(self) -> bool: ...
    def is_running(self) -> bool: ...
    def call_soon_threadsafe(self, callback: Callable[[], object], /) -> object: ...
    def create_task(self, coro: Coroutine[Any, Any, None], /) -> Any: ...


class _Trio(Protocol):
    """What is used of trio's tokens."""

    def run_sync_soon(self, callback: Callable[[], object], /) -> None: ...


def has_ended(loop: object) -> bool:
    """Whether *loop*, as anyio's token names it, can never run again."""
    if hasattr(loop, "is_closed"):
        return cast("_Asyncio", loop).is_closed()
    if hasattr(loop, "run_sync_soon"):
        try:
            cast("_Trio", loop).run_sync_soon(bool)
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
        notice_fork()
        if not self.open:
            return self
        _forks.leave(self)
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
        """Forget an entry, and with the last one this scope."""
        self._entries.pop(key, None)
        self._forget_if_empty()

    def lose_owner(self, key: int) -> None:
        """Close what belonged to an owner that is being collected, in its loop. From any thread; waits for nothing."""
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

        # A loop that has ended takes nothing: the next look at ended loops finds the entry.
        with suppress(RuntimeError):
            if hasattr(self.loop, "call_soon_threadsafe"):
                cast("_Asyncio", self.loop).call_soon_threadsafe(begin)
            else:
                cast("_Trio", self.loop).run_sync_soon(begin)

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
                    logger.debug("closing %r without its event loop failed", resource, exc_info=True)

    def leave(self) -> object:
        """Return everything, in a forked child, and take it away from the owners."""
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
            task = cast("_Asyncio", self.loop).create_task(closing)
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
        with suppress(StopIteration):
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
            logger.debug("closing %r failed", resource, exc_info=True)


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

    def start_afresh(self) -> object:
        """See `Inheritable`."""
        scopes, self.scopes = self.scopes, {}
        return [scope.leave() for scope in scopes.values()]


class _Forks:
    """The objects that a fork concerns."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.inheritable: WeakSet[Inheritable] = WeakSet()
        self.preparing: WeakSet[Preparing] = WeakSet()
        self._prepared: list[Preparing] = []
        self._inherited: list[object] = []

    def before(self) -> None:
        for preparing in list(self.preparing):
            preparing.before_fork()
            self._prepared.append(preparing)

    def in_parent(self) -> None:
        while self._prepared:
            self._prepared.pop().after_fork_in_parent()

    def in_child(self) -> None:
        self.process = os.getpid()
        self._prepared.clear()
        atexit.register(self._keep_for_ever)
        self._inherited.extend([inheritable.start_afresh() for inheritable in list(self.inheritable)])

    def leave(self, inherited: object) -> None:
        """Keep *inherited* as what was there at the fork."""
        self._inherited.append(inherited)

    def _keep_for_ever(self) -> None:
        """Keep what was inherited from being collected when the child's interpreter ends, which clears all modules."""
        try:
            import ctypes
        except ImportError:  # an interpreter that was built without it
            return
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._inherited))


def after_fork(inheritable: Inheritable) -> None:
    """Let *inheritable* start afresh in each child that this process forks, as long as it exists."""
    _forks.inheritable.add(inheritable)


def around_fork(preparing: Preparing) -> None:
    """Prepare *preparing* for each fork of this process, and let it start afresh in each child, as long as it exists."""
    _forks.inheritable.add(preparing)
    _forks.preparing.add(preparing)


def notice_fork() -> None:
    """Start afresh in a child whose fork Python did not see, as those of uWSGI without threads. Called before anything kept is used."""
    if os.getpid() != _forks.process:
        _forks.in_child()


_forks = _Forks()
_loops = _Loops()
after_fork(_loops)
atexit.register(_loops.abandon_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forks.before, after_in_parent=_forks.in_parent, after_in_child=_forks.in_child)
