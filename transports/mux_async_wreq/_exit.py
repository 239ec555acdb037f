"""The end of the interpreter must not meet a daemon thread inside wreq.

Before 3.14, CPython ends a daemon thread on the spot when it wants Python's lock back after that; with Rust on its stack this aborts the
process. wreq gives the lock away now and then (when it opens a client, at the first use of a name), and so does Python that wreq calls. So
at the end, while all threads still run, the event loops of daemon threads that use wreq are told to stand still where no Rust is.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref

_PATIENCE = 2.0
"""Seconds to wait for an event loop that does something else."""

_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
_ended = threading.Event()


def watch_running_loop() -> None:
    """Have the running event loop stand still at the end, if a daemon thread runs it then. To be called before wreq is."""
    if _ended.is_set() and threading.current_thread() is not threading.main_thread():
        _stand_still()
    _loops.add(asyncio.get_running_loop())


def _end() -> None:
    # Threads that are no daemons have ended by now, so that a loop which still runs is a daemon's.
    _ended.set()
    asked: list[threading.Event] = []
    for loop in list(_loops):
        if loop.is_running() and loop is not _own_loop():
            stands = threading.Event()
            try:
                loop.call_soon_threadsafe(_stand_still, stands)
            except RuntimeError:  # closed in between
                continue
            asked.append(stands)
    for stands in asked:
        stands.wait(_PATIENCE)


def _own_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _stand_still(stands: threading.Event | None = None) -> None:
    if stands is not None:
        stands.set()
    threading.Event().wait()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_loops.clear)  # their threads do not exist there
