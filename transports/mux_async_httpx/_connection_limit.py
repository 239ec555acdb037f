"""Requests under way, bounded in front of httpcore's pool, and how many idle connections that keeps.

httpcore looks through its requests and its connections whenever one of either begins or ends. With thousands of requests that wait in it,
all time goes there; so they wait here, first come first served, and the pool holds no more than it has connections for. A connection that
is idle costs time for every request too, so few are kept.
"""

from __future__ import annotations

from typing import Any, Final

import anyio

from mux_async.transport import Delivery, HttpRequest, Phase, TransportTimeoutError

IDLE: Final = 10
"""Idle connections that are kept: enough for a program whose requests come a few at a time."""


class ConnectionLimit:
    """As many requests at a time as there may be connections.

    Args:
        count: Requests at a time.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.limiter = anyio.CapacityLimiter(count)

    async def acquire(self, request: HttpRequest, transport: Any) -> Slot:
        """Wait until *request* may go to the pool of *transport*, of httpx: at most the time for a connection."""
        borrower = object()
        try:
            self.limiter.acquire_on_behalf_of_nowait(borrower)
        except anyio.WouldBlock:
            with anyio.move_on_after(request.timeouts.connect) as scope:
                await self.limiter.acquire_on_behalf_of(borrower)
            if scope.cancelled_caught:
                raise TransportTimeoutError(
                    f"no connection to {request.origin} within {request.timeouts.connect} s",
                    delivery=Delivery.NEVER_SENT,
                    phase=Phase.CONNECT,
                ) from None
        self.limit_idle(transport)
        return Slot(self, borrower, transport)

    def limit_idle(self, transport: Any, *, ending: int = 0) -> None:
        """Let the pool of *transport*, of httpx, keep `IDLE` connections that are idle when *ending* of the requests have ended.

        httpcore 1.0.9 counts all of its connections against the number of idle ones, so that number has to move with the requests under
        way. Where the attribute is not found, the pool keeps as many as it was made with.
        """
        pool: Any = getattr(transport, "_pool", None)
        if hasattr(pool, "_max_keepalive_connections"):
            kept = int(self.limiter.borrowed_tokens) - ending + IDLE
            pool._max_keepalive_connections = min(kept, self._count)


class Slot:
    """The slot of one request, which goes back once."""

    def __init__(self, limit: ConnectionLimit, borrower: object, transport: Any) -> None:
        self._limit = limit
        self._borrower: object | None = borrower
        self._transport = transport

    def begin_end(self) -> None:
        """Note that the connection is about to be idle."""
        if self._borrower is not None:
            self._limit.limit_idle(self._transport, ending=1)

    def end(self) -> None:
        """Give the slot back. Any number of times."""
        if self._borrower is not None:
            self._limit.limiter.release_on_behalf_of(self._borrower)
            self._borrower = None
