"""One idempotency key makes one object, across calls: which call may send, and what is searched for first.

`search` finds what a request made whose answer was lost. This module decides whether a request may be sent at all. A call with a key takes
these steps:

1. If a call with the same key is in other in this event loop, wait for it and return what it made.
2. Acquire the key, in this process and in the shared store if there is one. If another process holds it, try again until it is free.
3. If the key was used before, or the caller asks for it, search. What is found is the result. "Not found" counts only if the last attempt
   is at least `search.SETTLE` seconds old.
4. Send, and record each attempt before it starts. A call that lost the key to another process does not send, and starts again.
5. Release the key, with the outcome: made, nothing made, or unknown.

An unknown outcome stays on record, so that the next call searches for it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import attrs

from mux_async._idempotency import search
from mux_async._idempotency.keys._records import LEASE, KeyCommand
from mux_async._models.json_reader import loads
from mux_async._operation import Replay
from mux_async._response import Answer
from mux_async.errors import AmbiguousOutcomeError, Delivery, MuxError

if TYPE_CHECKING:
    from mux_async._call import Call
    from mux_async._idempotency.keys._registry import KeyClaim, KeyRegistry

logger = logging.getLogger(__name__)

SETTLE_ACTED: Final = 60.0
"""Seconds after an attempt that Mux answered with a success before "not found" counts: then the object was deleted."""
_FIRST_POLL: Final = 0.05
_LONGEST_POLL: Final = 1.0
"""Seconds between two attempts to acquire a key that another call holds."""


class KeyLostError(Exception):
    """Another process holds the key now, so nothing may be sent. Never leaves the engine."""


@attrs.define(eq=False)
class KeyInFlight:
    """A call with a key that is in other in this event loop, and its answer."""

    call: Call
    answer: Answer | None = None
    ended: anyio.Event = attrs.field(factory=anyio.Event)


@attrs.frozen
class _Since:
    """When something happened. See `search.Clock`."""

    age: float
    """Seconds ago, when the call began."""
    call: Call
    began: float

    def elapsed(self) -> float:
        return self.age + self.call.config.clock() - self.began

    def epoch(self) -> float:
        return self.call.config.epoch()


class KeyGuard:
    """The steps above, for one call.

    Args:
        call: Whose key it is.
        registry: Keeps keys.
        read: Performs GETs.
    """

    def __init__(self, call: Call, registry: KeyRegistry, read: search.Read) -> None:
        assert call.lookup is not None  # noqa: S101 - a call without a key has no guard
        self._call = call
        self._lookup = call.lookup
        self._registry = registry
        self._read = read
        self._name = registry.name(*call.lookup.names)
        self._token = token_hex(8)
        self._is_announced = False

    async def run(self, in_flight: dict[str, KeyInFlight], send: Callable[[], Awaitable[Answer]]) -> Answer:
        """Perform the call.

        Args:
            in_flight: Calls with keys of the running event loop, by name.
            send: Sends the request, and returns an answer that can be decoded. Awaits `announce` before each attempt.

        Raises:
            AmbiguousOutcomeError: An earlier attempt may have made something that cannot be found.
            MuxError: What *send* or a read raises.
        """
        while (other := in_flight.get(self._name)) is not None:
            answer = await self._join(other)
            if answer is not None:
                return answer
        mine = in_flight[self._name] = KeyInFlight(self._call)
        try:
            while True:
                held = await self._hold()
                try:
                    answer = mine.answer = await self._perform(held, send)
                except KeyLostError:
                    text, operation = "%s: its key was taken over by another process", self._call.operation
                    logger.info(text, operation.line, extra={"mux_operation": operation.id})
                else:
                    return answer
        finally:
            del in_flight[self._name]
            mine.ended.set()

    async def announce(self) -> None:
        """Record that an attempt starts.

        Raises:
            KeyLostError: Another process holds the key.
        """
        self._is_announced = True
        if not await self._registry.announce(self._name, self._token):
            raise KeyLostError

    async def _join(self, other: KeyInFlight) -> Answer | None:
        """Wait for a call in other. Returns ``None`` if it failed, which says nothing about this one."""
        self._call.attempts = other.call.attempts  # while it waits for them, they are its own
        await other.ended.wait()
        self._call.attempts = []
        return None if other.answer is None else attrs.evolve(other.answer, attempts=[], is_reconciled=True)

    async def _hold(self) -> KeyClaim:
        """Acquire the key, and wait while another call holds it."""
        pause = _FIRST_POLL
        while not (held := await self._claim()).is_mine:
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL)
        return held

    async def _claim(self) -> KeyClaim:
        held: KeyClaim | None = None
        with anyio.CancelScope(shield=True):  # short and bounded: whether the key is held must be known
            held = await self._registry.claim(self._name, self._token)
        return cast("KeyClaim", held)

    async def _perform(self, held: KeyClaim, send: Callable[[], Awaitable[Answer]]) -> Answer:
        self._is_announced = False
        outcome = KeyCommand("unknown", self._token)
        try:
            answer = await self._look_first(held)
            if answer is None:
                answer = await (self._send_renewing(send) if self._registry.is_shared else send())
            outcome = KeyCommand("made", self._token, made_id=_id_of(answer.content))
            return answer
        except KeyLostError:
            raise
        except BaseException:
            if self._is_announced:
                delivery = self._call.delivery
                if delivery is Delivery.NEVER_SENT:
                    outcome = KeyCommand("nothing", self._token)
                else:
                    outcome = KeyCommand("unknown", self._token, is_acted=delivery is Delivery.ANSWERED)
            raise
        finally:
            with anyio.CancelScope(shield=True):  # short and bounded: others wait for the key
                await self._registry.finish(self._name, outcome)

    async def _send_renewing(self, send: Callable[[], Awaitable[Answer]]) -> Answer:
        """Await *send*, and renew the lease of the key meanwhile."""
        answer: Answer | None = None
        problem: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._renew)
            try:
                answer = await send()
            except Exception as error:  # noqa: BLE001 - raised below, outside of the group, which would wrap it
                problem = error
            tasks.cancel_scope.shield = True  # from a deadline that passes now: the answer is there
            tasks.cancel_scope.cancel()
        if problem is not None:
            raise problem
        return cast("Answer", answer)

    async def _renew(self) -> None:
        while True:
            await anyio.sleep(LEASE / 3)
            await self._registry.renew(self._name, self._token)

    async def _look_first(self, held: KeyClaim) -> Answer | None:
        """Return the object that has the key already; ``None`` if there is no such object and one may be made.

        Raises:
            AmbiguousOutcomeError: Whether there is one cannot be found out.
            MuxError: A read failed, and no earlier attempt is in doubt.
        """
        given, is_used = self._lookup.given, held.first_age is not None
        if not is_used and not held.is_store_lost and not given.look_first:
            return None
        is_in_doubt = is_used and held.made_id is None and self._call.operation.replay is Replay.NEVER
        try:
            found = await self._find(held, is_in_doubt=is_in_doubt)
        except search.Inconclusive as error:
            if self._call.operation.replay is not Replay.NEVER:
                return None
            raise self._in_doubt(f"looking for it came to nothing ({error})") from None
        except MuxError as error:
            if not is_in_doubt or isinstance(error, AmbiguousOutcomeError):
                raise self._call.describe(error) from error.__cause__
            raise self._in_doubt(f"looking for it came to nothing ({error})") from error
        if found is None:
            return None
        return Answer(found.answer.response, found.content, self._call.attempts, is_reconciled=True)

    async def _find(self, held: KeyClaim, *, is_in_doubt: bool) -> search.Found | None:
        if held.made_id is not None and self._lookup.key_spec.retrieve is not None:
            return await search.retrieve(self._read, self._lookup, held.made_id)
        since, last = self._since(held), held.last_age or 0.0
        began, clock = since.began, self._call.config.clock
        while True:
            age = last + clock() - began
            found = await search.search(self._read, self._lookup, self._lookup.key_spec.lookup, since)
            if found is not None or not (is_in_doubt or held.made_id is not None):
                return found
            if age >= search.SETTLE:
                if held.is_acted and age < SETTLE_ACTED:
                    raise self._in_doubt("Mux said that it made one, and it does not show")
                return None
            pause = search.SETTLE - age
            remaining = self._call.remaining()
            if remaining is not None and pause >= remaining:
                raise self._in_doubt(
                    f"it is not there {age:.0f} s after that attempt, and may show up until {search.SETTLE:g} s after"
                )
            await anyio.sleep(pause)

    def _since(self, held: KeyClaim) -> _Since:
        """Return the earliest time at which the object can have been made."""
        ages = [] if held.first_age is None else [held.first_age]
        if held.first_age is None or self._lookup.given.look_first:
            look_back = self._lookup.given.look_back
            ages.append(float("inf") if look_back is None else look_back)
        return _Since(max(ages), self._call, self._call.config.clock())

    def _in_doubt(self, looked: str) -> AmbiguousOutcomeError:
        lookup = self._lookup
        error = AmbiguousOutcomeError(
            f"{self._call.operation.line} was not sent: an earlier attempt with the key {lookup.key!r} may have made something; {looked}. "
            f"Repeat the call later, or {lookup.how}",
            how=lookup.how,
            once=lookup.key,
        )
        self._call.describe(error)
        return error


def _id_of(content: bytes) -> str | None:
    """Return the id in the answer to a create."""
    try:
        found: Any = search.member(loads(content), ("data", "id"))
    except ValueError:
        return None
    return found if isinstance(found, str) else None
