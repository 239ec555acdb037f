"""Heartbeats of workers, and what keeps a worker from sending whose heartbeat is too old."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mux_async.errors import Delivery, Phase, TransportError
from mux_async.transport import HttpRequest, HttpResponse, Transport

BEAT: Final = 3.0
"""Seconds between two heartbeats of a worker."""
FENCE_AFTER: Final = 15.0
"""Seconds after its last heartbeat for which a worker may send requests."""
ADOPT_AFTER: Final = 25.0
"""Seconds after its last heartbeat, by the database's clock, at which others take over the items of a worker."""


class Fence:
    """Whether this worker may send: it has stored a heartbeat not long ago."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen_at = clock()
        self.is_lost = False
        """Whether others have taken over its items."""

    def now(self) -> float:
        return self._clock()

    def seen(self, at: float) -> None:
        """Record that a heartbeat was stored, which was begun at *at*."""
        self._seen_at = at

    def is_open(self) -> bool:
        return not self.is_lost and self._clock() - self._seen_at < FENCE_AFTER


def elapsed() -> float:
    """Return seconds that include those for which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()


class FencedTransport:
    """Sends nothing when the worker's heartbeat is too old. Checked last, after the wait for the rate limit."""

    def __init__(self, inner: Transport, fence: Fence) -> None:
        self._inner = inner
        self._fence = fence

    async def send(self, request: HttpRequest) -> HttpResponse:
        if not self._fence.is_open():
            raise TransportError("the worker's heartbeat is too old to send", delivery=Delivery.NEVER_SENT, phase=Phase.CONNECT)
        return await self._inner.send(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
