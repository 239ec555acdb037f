"""Identical reads at the same time are sent once: who comes second waits for the answer of who came first.

A page that fifty requests of a web server ask for in the same second costs one permit of the rate limit instead of fifty. Nothing is
kept: a read that starts after the answer is there is a new one. The rules:

1. No task of its own. The first caller does the work in its own task; the others wait for an event.
2. Each caller keeps its own deadline and can be cancelled. When the first one ends for a reason of its own, one of the others starts anew.
3. Nobody joins a read that started before a write of this client had ended: what a program wrote, it reads.
4. The bytes are shared, and errors; every caller decodes for itself, so that no list or mapping belongs to two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from mux_async.errors import MuxError, copied

if TYPE_CHECKING:
    from mux_async._call import Call
    from mux_async.transport import HttpRequest

A = TypeVar("A")


class Flight(Generic[A]):
    """A read under way, and what came of it: an answer, an error, or neither when its caller ended for a reason of its own."""

    __slots__ = ("answer", "call", "error", "landed", "request", "written")

    def __init__(self, request: HttpRequest, call: Call, written: int) -> None:
        self.request = request
        self.call = call
        self.written = written
        self.answer: A | None = None
        self.error: MuxError | None = None
        self.landed: anyio.Event | None = None


class Flights(Generic[A]):
    """The reads of one client in one event loop."""

    __slots__ = ("_flying",)

    def __init__(self) -> None:
        self._flying: dict[str, Flight[A]] = {}

    def __len__(self) -> int:
        return len(self._flying)

    def find(self, request: HttpRequest, call: Call, written: int) -> Flight[A] | None:
        """Return a flight that answers *request* too.

        Args:
            request: To be answered.
            call: Whose it is. Its class of service, number of attempts and bound of the answer have to be the same.
            written: Number of the last write that had ended.
        """
        flight = self._flying.get(request.url)
        if flight is None or flight.written != written or flight.request != request:
            return None
        theirs, options = flight.call.options, call.options
        is_alike = (
            flight.call.priority == call.priority
            and theirs.max_attempts == options.max_attempts
            and theirs.max_response_bytes == options.max_response_bytes
        )
        return flight if is_alike else None

    def start(self, request: HttpRequest, call: Call, written: int) -> Flight[A]:
        """Note that *request* is going to be performed. Whoever does it fills in what came of it, and calls `end` however it ended."""
        flight: Flight[A] = Flight(request, call, written)
        self._flying[request.url] = flight
        return flight

    def end(self, flight: Flight[A]) -> None:
        """Let nobody join any more, and wake those who have."""
        url = flight.request.url
        if self._flying.get(url) is flight:  # a later one, after a write, may have taken its place
            del self._flying[url]
        if flight.landed is not None:
            flight.landed.set()


async def join(flight: Flight[A]) -> A | None:
    """Wait for *flight* to end.

    Returns:
        Its answer; ``None`` when its caller was cancelled or out of time, so that somebody else has to perform the request.

    Raises:
        MuxError: What the caller of the flight was told.
    """
    if flight.landed is None:
        flight.landed = anyio.Event()
    await flight.landed.wait()
    if flight.error is not None:
        raise copied(flight.error) from flight.error.__cause__
    return flight.answer
