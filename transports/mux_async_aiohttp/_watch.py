"""How long a server may be silent, for all exchanges of a transport with one timer.

aiohttp sets a timer of its own for each request, and cancels and sets it again for each piece that arrives. Here all waits are of one
length, so the first to begin is the first to be due, and one that is stopped in time, as nearly all are, costs an entry in a dictionary.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import aiohttp


class Waited(Protocol):
    """What somebody waits for: aiohttp's protocol, for the head of an answer, or its stream, for a piece of the body."""

    def set_exception(self, exc: BaseException, /) -> None:
        """End the wait with *exc*."""
        ...


class Watch:
    """Ends waits that last too long, in the running event loop.

    Args:
        seconds: How long a wait may last.
    """

    __slots__ = ("_due", "_loop", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._due: dict[Waited, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, waited: Waited) -> None:
        """Let *waited* fail unless it is stopped in time."""
        self._due[waited] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def stop(self, waited: Waited) -> None:
        """Watch *waited* no longer, if it still is."""
        self._due.pop(waited, None)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._due:
            waited, due = next(iter(self._due.items()))
            if due > now:
                self._timer = self._loop.call_at(due, self._look)
                break
            del self._due[waited]
            waited.set_exception(aiohttp.SocketTimeoutError())

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
