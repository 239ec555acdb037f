"""One key, one thing, across calls: who may send, what is looked for first, and what is kept of it.

`_once` finds what a request made whose answer got lost; this decides when a request may go out at all. A call with a key goes through
these steps:

1. Another call with the key in the same event loop is under way: wait for it, and take what it made.
2. Hold the key, in this process and in the shared store if there is one. Somebody else may have it: ask again until it is free.
3. The key was used before, or the caller wants it: look. What is there is the result. What is not there counts as not made only when
   the last attempt is `_once.SETTLE` seconds old.
4. Send, and announce each attempt before. A caller whose hold was taken over meanwhile does not send, and begins again.
5. Let go, and say what became of it: made, nothing, or not known.

What is not known stays on record, so that the next call looks for it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import attrs

from mux_async import _once
from mux_async._call import Answer
from mux_async._models.json_reader import loads
from mux_async._once_keys._records import LEASE, KeyCommand
from mux_async._operation import Replay
from mux_async.errors import AmbiguousOutcomeError, Delivery, MuxError

if TYPE_CHECKING:
    from mux_async._call import Call
    from mux_async._once_keys._ledger import Held, KeyLedger

logger = logging.getLogger(__name__)

SETTLE_ACTED: Final = 60.0
"""Seconds after an attempt that Mux answered with a success that make its absence believed: then it was deleted."""
_FIRST_POLL: Final = 0.05
_LONGEST_POLL: Final = 1.0
"""Seconds between two attempts to hold a key that somebody else holds."""


class KeyLostError(Exception):
    """The key is held by somebody else now, so nothing may be sent. Never leaves the engine."""


class KeyFlight:
    """A call with a key under way in this event loop, and its answer."""

    __slots__ = ("answer", "call", "ended")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.answer: Answer | None = None
        self.ended = anyio.Event()


@attrs.frozen
class _Since:
    """When something happened. See `_once.Clock`."""

    age: float
    """Seconds ago, when the call began."""
    call: Call
    began: float

    def elapsed(self) -> float:
        return self.age + self.call.config.clock() - self.began

    def epoch(self) -> float:
        return self.call.config.epoch()


class OnceGuard:
    """The steps above, for one call.

    Args:
        call: Whose key it is.
        ledger: Keeps keys.
        read: Performs GETs.
    """

    def __init__(self, call: Call, ledger: KeyLedger, read: _once.Read) -> None:
        assert call.sought is not None  # noqa: S101 - a call without a key has no guard
        self._call = call
        self._sought = call.sought
        self._ledger = ledger
        self._read = read
        self._name = ledger.name(*call.sought.names)
        self._token = token_hex(8)
        self._is_announced = False

    async def run(self, flights: dict[str, KeyFlight], send: Callable[[], Awaitable[Answer]]) -> Answer:
        """Perform the call.

        Args:
            flights: Calls with keys of the running event loop, by name.
            send: Sends the request, and returns an answer that can be decoded. Awaits `announce` before each attempt.

        Raises:
            AmbiguousOutcomeError: An earlier attempt may have made something that cannot be found.
            MuxError: What *send* or a read raises.
        """
        while (flight := flights.get(self._name)) is not None:
            answer = await self._join(flight)
            if answer is not None:
                return answer
        flight = flights[self._name] = KeyFlight(self._call)
        try:
            while True:
                held = await self._hold()
                try:
                    answer = flight.answer = await self._perform(held, send)
                except KeyLostError:
                    logger.info("%s: its key was taken over by another process", self._call.operation.line)
                else:
                    return answer
        finally:
            del flights[self._name]
            flight.ended.set()

    async def announce(self) -> None:
        """Announce an attempt.

        Raises:
            KeyLostError: Somebody else holds the key.
        """
        self._is_announced = True
        if not await self._ledger.announce(self._name, self._token):
            raise KeyLostError

    async def _join(self, flight: KeyFlight) -> Answer | None:
        """Wait for a call that is under way. Returns ``None`` when it failed, which says nothing about this one."""
        self._call.attempts = flight.call.attempts  # while it waits for them, they are its own
        await flight.ended.wait()
        self._call.attempts = []
        return None if flight.answer is None else attrs.evolve(flight.answer, attempts=[], is_reconciled=True)

    async def _hold(self) -> Held:
        """Hold the key, waiting for whoever does."""
        pause = _FIRST_POLL
        while not (held := await self._claim()).is_mine:
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL)
        return held

    async def _claim(self) -> Held:
        held: Held | None = None
        with anyio.CancelScope(shield=True):  # short and bounded: whether the key is held must be known
            held = await self._ledger.claim(self._name, self._token)
        return cast("Held", held)

    async def _perform(self, held: Held, send: Callable[[], Awaitable[Answer]]) -> Answer:
        self._is_announced = False
        outcome = KeyCommand("unknown", self._token)
        try:
            answer = await self._look_first(held)
            if answer is None:
                answer = await (self._beating(send) if self._ledger.is_shared else send())
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
                await self._ledger.finish(self._name, outcome)

    async def _beating(self, send: Callable[[], Awaitable[Answer]]) -> Answer:
        """Await *send* and keep the hold on the key meanwhile."""
        answer: Answer | None = None
        problem: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._beat)
            try:
                answer = await send()
            except Exception as error:  # noqa: BLE001 - raised below, outside of the group, which would wrap it
                problem = error
            tasks.cancel_scope.shield = True  # from a deadline that passes now: the answer is there
            tasks.cancel_scope.cancel()
        if problem is not None:
            raise problem
        return cast("Answer", answer)

    async def _beat(self) -> None:
        while True:
            await anyio.sleep(LEASE / 3)
            await self._ledger.renew(self._name, self._token)

    async def _look_first(self, held: Held) -> Answer | None:
        """Return what the key stands for already; ``None`` when there is no such thing, so that one may be made.

        Raises:
            AmbiguousOutcomeError: It cannot be made sure of.
            MuxError: A read failed, and no earlier attempt is in doubt.
        """
        given, is_used = self._sought.given, held.first_age is not None
        if not is_used and not held.is_store_lost and not given.look_first:
            return None
        is_in_doubt = is_used and held.made_id is None and self._call.operation.replay is Replay.NEVER
        try:
            found = await self._find(held, is_in_doubt=is_in_doubt)
        except _once.Inconclusive as error:
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

    async def _find(self, held: Held, *, is_in_doubt: bool) -> _once.Found | None:
        if held.made_id is not None and self._sought.once.retrieve is not None:
            return await _once.retrieve(self._read, self._sought, held.made_id)
        since, last = self._since(held), held.last_age or 0.0
        began, clock = since.began, self._call.config.clock
        while True:
            age = last + clock() - began if held.last_age is not None else float("inf")
            found = await _once.look(self._read, self._sought, self._sought.once.lookup, since)
            if found is not None or not (is_in_doubt or held.made_id is not None):
                return found
            if age >= _once.SETTLE:
                if held.is_acted and age < SETTLE_ACTED:
                    raise self._in_doubt("Mux said that it made one, and it does not show")
                return None
            pause = _once.SETTLE - age
            remaining = self._call.remaining()
            if remaining is not None and pause >= remaining:
                raise self._in_doubt(
                    f"it is not there {age:.0f} s after that attempt, and may show up until {_once.SETTLE:g} s after"
                )
            await anyio.sleep(pause)

    def _since(self, held: Held) -> _Since:
        """Return the time from on which what is looked for can have been made."""
        ages = [] if held.first_age is None else [held.first_age]
        if held.first_age is None or self._sought.given.look_first:
            look_back = self._sought.given.look_back
            ages.append(float("inf") if look_back is None else look_back)
        return _Since(max(ages), self._call, self._call.config.clock())

    def _in_doubt(self, looked: str) -> AmbiguousOutcomeError:
        sought = self._sought
        error = AmbiguousOutcomeError(
            f"{self._call.operation.line} was not sent: an earlier attempt with the key {sought.key!r} may have made something; {looked}. "
            f"Repeat the call later, or {sought.how}",
            how=sought.how,
            once=sought.key,
        )
        self._call.describe(error)
        return error


def _id_of(content: bytes) -> str | None:
    """Return the id in the answer to a create."""
    try:
        found: Any = _once.member(loads(content), ("data", "id"))
    except ValueError:
        return None
    return found if isinstance(found, str) else None
