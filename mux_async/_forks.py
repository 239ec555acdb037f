"""Objects that have to know of a fork: locks, connections and leases that belong to one process.

A child gets copies of its parent's connections, which share sockets and the event loop's ``epoll`` set with the originals. Closing one
there, or letting it be collected, takes the socket out of the parent's ``epoll`` set, or writes the end of TLS into the parent's
connection. So an object that holds such things registers itself (`after_fork`) and resets itself in the child. What it had is kept,
unreachable and untouched, for the life of the child.

The registry and the hook are process-wide state. An object could compare process ids when it is used instead, but a child that never uses
it would still collect what it inherited; the hook runs before any other code of the child. The registry holds its objects weakly.
"""

from __future__ import annotations

import atexit
import os
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """An object that holds what only one process may use."""

    def reset_after_fork(self) -> object:
        """Drop what belongs to the parent, locks included, and return it. Called in the child, right after the fork."""
        ...


class ForkPreparing(ForkAware, Protocol):
    """An object whose resources cannot be left to one of two processes, and have to be closed before a fork."""

    def before_fork(self) -> None:
        """Close them. Called before the fork, in the thread that forks; waits for other threads if it has to, but not forever."""
        ...

    def after_fork_in_parent(self) -> None:
        """Continue, in the parent."""
        ...


class _Forks:
    """The registered objects."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.aware: WeakSet[ForkAware] = WeakSet()
        self.preparing: WeakSet[ForkPreparing] = WeakSet()
        self._prepared: list[ForkPreparing] = []
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
        atexit.register(self._keep_forever)
        self._inherited.extend([each.reset_after_fork() for each in list(self.aware)])

    def keep(self, inherited: object) -> None:
        self._inherited.append(inherited)

    def _keep_forever(self) -> None:
        """Keep what was inherited from being collected when the child's interpreter ends, which clears all modules."""
        try:
            import ctypes
        except ImportError:  # an interpreter that was built without it
            return
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._inherited))


def after_fork(aware: ForkAware) -> None:
    """Reset *aware* in each child that this process forks, as long as it exists."""
    _forks.aware.add(aware)


def around_fork(preparing: ForkPreparing) -> None:
    """Prepare *preparing* for each fork of this process, and reset it in each child, as long as it exists."""
    _forks.aware.add(preparing)
    _forks.preparing.add(preparing)


def detect_fork() -> None:
    """Reset all objects in a child whose fork Python did not see (uWSGI without threads). Called before inherited state is used."""
    if os.getpid() != _forks.process:
        _forks.in_child()


def keep_inherited(inherited: object) -> None:
    """Keep *inherited*, which belongs to the parent, for the life of this child."""
    _forks.keep(inherited)


_forks = _Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forks.before, after_in_parent=_forks.in_parent, after_in_child=_forks.in_child)
