"""The one loop: a permit, the wire, a judgement; then wait and repeat, or return.

The path of a request is resource -> engine -> wire -> transport, and this file is the only one of the four that waits. What to send is
decided in `_wire`, whether to send it again in `_retry`, when in `limits`; the transport carries it. What becomes of a create whose
answer got lost is in `_once`, and how identical reads share one request in `_flights`.

At most one cancel scope is opened per call, and none when the caller set no deadline: a scope costs a quarter of a small request.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import anyio
import attrs
from multidict import istr

from mux_async import _once, _wire
from mux_async._call import Answer, Call, Try
from mux_async._content import iter_content, read_content, take_content
from mux_async._flights import Flights, join
from mux_async._operation import Bucket, Replay
from mux_async._response import ByteStream
from mux_async._retry import Again, Ambiguous, Answered, Failed, decide, parse_retry_after
from mux_async.errors import (
    ClosedError,
    DeadlineExceededError,
    Delivery,
    LimitWaitError,
    MuxError,
    ResponseError,
    TransportClosedError,
    TransportError,
)
from mux_async.transport import current_loop

if TYPE_CHECKING:
    from mux_async._config import Config
    from mux_async._operation import Operation
    from mux_async._options import EffectiveOptions
    from mux_async._resource import Arguments
    from mux_async.limits import AccountLimits
    from mux_async.limits._backend import Grant
    from mux_async.limits._gate import Gate
    from mux_async.transport import HttpRequest, HttpResponse, Transport

T = TypeVar("T")
E = TypeVar("E")

logger = logging.getLogger(__name__)

# Looking a member up in its enum is a call, up to Python 3.11.
_SAFE, _NEVER_SENT, _MAYBE_PROCESSED = Replay.SAFE, Delivery.NEVER_SENT, Delivery.MAYBE_PROCESSED

_LEFT = istr("X-RateLimit-Remaining")

_BUDGET_NOTE = "it was not sent again: the account's retry budget is used up (LimitSettings.retries)"


class _Loop:
    """What belongs to one event loop: its transport, its queues, what features keep there."""

    __slots__ = ("flights", "gates", "local", "transport")

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.gates: dict[Bucket | None, Gate] = {}
        self.flights: Flights[Answer] = Flights()
        self.local: dict[Any, Any] = {}


class Engine:
    """Performs calls. One per `Mux` and all its ``with_options`` variants.

    Args:
        config: What all calls share.
        limits: Of the account.
        open_transport: Makes the transport of the running event loop.
        owns_transport: Whether `aclose` closes what *open_transport* made.
    """

    def __init__(
        self, config: Config, limits: AccountLimits, open_transport: Callable[[], Transport], *, owns_transport: bool
    ) -> None:
        self.config = config
        self.limits = limits
        self._open_transport = open_transport
        self._owns_transport = owns_transport
        self._loops: WeakKeyDictionary[object, _Loop] = WeakKeyDictionary()
        self._process = os.getpid()
        self._closed_in: WeakSet[object] = WeakSet()
        self._writes = count(1)
        self._written = 0
        """Number of the last write that ended, well or not."""

    def here(self) -> _Loop:
        """Return what belongs to the running event loop, opening a transport on first use.

        Raises:
            ClosedError: The client was closed in this event loop.
            ConfigurationError: The transport cannot be used here.
        """
        token = current_loop()
        if self._process != os.getpid():
            # A fork's child must not write to connections that its parent uses too.
            self._process = os.getpid()
            self._loops = WeakKeyDictionary()
        loop = self._loops.get(token)
        if loop is None:
            if token in self._closed_in:
                raise ClosedError("the client was closed in this event loop; make a new Mux()")
            loop = self._loops[token] = _Loop(self._open_transport())
        return loop

    async def aclose(self) -> None:
        """Close the transport of the running event loop, and refuse further calls in it. Any number of times."""
        token = current_loop()
        self._closed_in.add(token)
        loop = self._loops.pop(token, None)
        if loop is not None:
            try:
                if self._owns_transport:
                    await loop.transport.aclose()
            finally:
                await self.limits.aclose()  # other clients of the account open it again when they need it

    async def call(self, operation: Operation[T], arguments: Arguments, options: EffectiveOptions) -> tuple[T, Answer]:
        """Perform a call to its end.

        Raises:
            MuxError: Any of the tree in `mux_async.errors`.
        """
        sought: _once.Sought | None = None
        if arguments.once is not None:
            arguments, sought = _once.stamp(operation, arguments)
        request = _wire.build_request(operation, arguments, self.config, options.timeouts)
        call = Call(operation, options, self.config, self.config.clock(), options.effective_priority, sought)
        perform = self._share if options.share_reads and operation.method == "GET" else self._perform
        answer = await perform(call, request, self.here())
        try:
            value: T = _wire.decode(operation, arguments, answer.response, answer.content)
        except MuxError as error:
            raise call.describe(error) from error.__cause__
        return value, answer

    @asynccontextmanager
    async def stream(
        self, operation: Operation[bytes], arguments: Arguments, options: EffectiveOptions
    ) -> AsyncGenerator[ByteStream]:
        """Perform a call up to the head of its answer, and hand the body out as it comes."""
        request = _wire.build_request(operation, arguments, self.config, options.timeouts)
        call = Call(operation, options, self.config, self.config.clock(), options.effective_priority)
        deadline = anyio.current_time() + options.deadline if options.deadline is not None else float("inf")
        with anyio.CancelScope(deadline=deadline) as scope:
            response = (await self._send(call, request, self.here(), is_streamed=True)).response
            try:
                async with aclosing(iter_content(response)) as chunks:
                    yield ByteStream(response.status, response.headers, chunks)
            finally:
                with anyio.CancelScope(shield=True):  # closing is short, and an open connection must not outlive the block
                    await response.body.aclose()
        if scope.cancelled_caught:
            self._raise_late(call)

    async def _share(self, call: Call, request: HttpRequest, loop: _Loop) -> Answer:
        """Perform a read, or wait for somebody who performs the same."""
        flights = loop.flights
        while (flight := flights.find(request, call, self._written)) is not None:
            call.in_flight = _MAYBE_PROCESSED
            answer: Answer | None = None
            with anyio.CancelScope(deadline=self._end(call)) as scope:
                answer = await join(flight)
            if scope.cancelled_caught:
                self._raise_late(call)
            call.in_flight = _NEVER_SENT
            if answer is not None:
                return answer
        flight = flights.start(request, call, self._written)
        try:
            answer = flight.answer = await self._perform(call, request, loop)
            return answer
        except DeadlineExceededError:
            raise  # its own deadline says nothing about those of others
        except MuxError as error:
            flight.error = error
            raise
        finally:
            flights.end(flight)

    def _perform(self, call: Call, request: HttpRequest, loop: _Loop) -> Coroutine[Any, Any, Answer]:
        within = call.options.deadline is not None
        return self._send_within(call, request, loop) if within else self._send(call, request, loop)

    async def _send_within(self, call: Call, request: HttpRequest, loop: _Loop) -> Answer:
        answer: Answer | None = None
        with anyio.CancelScope(deadline=self._end(call)):
            answer = await self._send(call, request, loop)
        if answer is None:
            self._raise_late(call)
        return answer

    async def _send(self, call: Call, request: HttpRequest, loop: _Loop, *, is_streamed: bool = False) -> Answer:
        """Send until there is an answer to return or an error to raise: permit, wire, and what to make of it."""
        operation, clock, longest = call.operation, self.config.clock, call.options.max_response_bytes
        self.limits.retries.calls += 1
        gate = loop.gates.get(operation.bucket)
        if gate is None:
            gate = self._gate(loop, operation.bucket)
        while True:
            queued_at = sent_at = clock()
            grant = gate.acquire_now(call.priority) if gate is not None else None
            if grant is None and gate is not None:
                grant = await self._queue(call, gate)
                sent_at = clock()
            response: HttpResponse | None = None
            content: bytes | None = b""
            failure: TransportError | ResponseError | None = None
            call.in_flight = _MAYBE_PROCESSED
            try:
                response = await loop.transport.send(request)
                if not (is_streamed and response.status < 300):
                    content = take_content(response, longest)
                    if content is None:
                        content = await read_content(response, longest)
            except (TransportError, ResponseError) as error:
                failure = error
            finally:
                if operation.replay is not _SAFE:
                    self._written = next(self._writes)
            call.in_flight = _NEVER_SENT
            tried = Try(queued_at, sent_at, clock(), grant, response, content or b"", failure)
            call.tries.append(tried)
            if logger.isEnabledFor(logging.DEBUG):
                what = tried.status or failure
                logger.debug("%s: attempt %d: %s (request id %s)", operation.line, len(call.tries), what, tried.request_id)
            if response is not None and grant is not None and (left := response.headers.get(_LEFT)) is not None:
                await self._hear(grant, left)
            if failure is None and response is not None and response.status < 300:
                return Answer(response, tried.content, call.tries)
            found = await self._recover(call, tried)
            if found is not None:
                return found

    async def _queue(self, call: Call, gate: Gate) -> Grant:
        """Wait for a permit."""
        try:
            return await gate.acquire(call.priority, self._remaining(call))
        except LimitWaitError as error:
            raise call.describe(error) from None

    async def _hear(self, grant: Grant, left: str) -> None:
        """Pass on how many more requests the server says it would let through."""
        if left.isascii() and left.isdigit():
            await self.limits.hear(grant.bucket, int(left[:9]))

    async def _recover(self, call: Call, tried: Try) -> Answer | None:
        """Find out what follows an attempt that was no success, and wait until it may.

        Returns:
            What the attempt made all the same; ``None`` when the request has to be sent again.

        Raises:
            MuxError: Neither is possible.
        """
        response, failure, status = tried.response, tried.failure, tried.status
        if isinstance(failure, ResponseError):
            raise call.describe(failure) from failure.__cause__
        if response is not None and status == 404 and self._is_confirmed_delete(call):
            return Answer(response, b"", call.tries)
        retry_after: float | None = None
        if response is not None and response.status >= 300:
            # A refusal says all it has to say in its status: it counts even when its body broke off.
            retry_after = parse_retry_after(response.headers.get("Retry-After"), self.config.epoch())
            outcome: Answered | Failed = Answered(response.status, retry_after)
            problem: MuxError = _wire.status_error(
                call.operation, status=response.status, headers=response.headers, content=tried.content, retry_after=retry_after
            )
        else:
            assert failure is not None  # noqa: S101 - a success without failure is none for here
            outcome, problem = Failed(failure.delivery), failure
        is_never_sent = failure is not None and failure.delivery is _NEVER_SENT
        if tried.grant is not None and (is_never_sent or status == 429):
            with anyio.CancelScope(shield=True):  # short, and a grant must not be lost, and everybody has to know of a refusal
                if is_never_sent:
                    await self.limits.give_back(tried.grant)
                else:
                    await self.limits.refuse(tried.grant, retry_after)
        decision = decide(
            outcome,
            replay=call.operation.replay,
            attempt=len(call.tries),
            max_attempts=1 if isinstance(failure, TransportClosedError) else call.options.max_attempts,
            jitter=self.config.random.random(),
            policy=self.config.retry,
            is_limited=tried.grant is not None,
        )
        match decision:
            case Again(delay):
                await self._wait(call, problem, delay, is_free=status == 429 or is_never_sent)
                return None
            case Ambiguous():
                return await self._settle(call, problem, tried)
            case _:
                raise call.describe(problem) from problem.__cause__

    async def _wait(self, call: Call, problem: MuxError, delay: float, *, is_free: bool) -> None:
        """Sleep for *delay* before the next attempt, which the account's retry budget pays for unless it *is_free*."""
        if not is_free and not self.limits.retries.spend(self.config.clock()):
            problem.add_note(_BUDGET_NOTE)
            raise call.describe(problem) from problem.__cause__
        remaining = self._remaining(call)
        if remaining is not None and delay >= remaining:
            self._raise_late(call, problem)
        line, number = call.operation.line, len(call.tries)
        logger.info("%s: attempt %d came to nothing (%s); again in %.2f s", line, number, problem, delay)
        await anyio.sleep(delay)

    async def _settle(self, call: Call, problem: MuxError, tried: Try) -> Answer | None:
        """Find out what came of an attempt with an unknown outcome.

        Returns:
            What it made; ``None`` when it made nothing and may be sent again.

        Raises:
            AmbiguousOutcomeError: It cannot be found out, or may not be sent again.
        """
        call.describe(problem)
        place = call.sought.once.lookup if call.sought is not None else None
        doubt = partial(
            _once.ambiguous, call.operation, problem, status=tried.status, request_id=tried.request_id, sought=call.sought
        )
        if call.sought is None or place is None:
            raise call.describe(doubt()) from problem
        acted = tried.status is not None and tried.status < 300
        logger.info("%s: outcome unknown (%s); looking for what it made", call.operation.line, problem)
        call.doubt = problem
        try:
            found = await _once.reconcile(partial(self._read, call), call.sought, place, call, acted=acted)
        except (MuxError, _once.Inconclusive) as error:
            raise call.describe(doubt(looked=f"looking for it came to nothing ({error})")) from problem
        if found is not None:
            return Answer(found.answer.response, found.content, call.tries, is_reconciled=True)
        if acted or len(call.tries) >= call.options.max_attempts:
            raise call.describe(doubt(looked="it was looked for and is not there yet")) from problem
        if not self.limits.retries.spend(self.config.clock()):
            problem.add_note(_BUDGET_NOTE)
            raise call.describe(doubt(looked="it was looked for and is not there yet")) from problem
        call.doubt, call.was_in_doubt = None, True
        logger.info("%s: it made nothing; sending it again", call.operation.line)
        return None

    async def _read(self, call: Call, operation: Operation[object], arguments: Arguments) -> _once.Shown:
        remaining = self._remaining(call)
        options = attrs.evolve(call.options.for_long_work(), deadline=None if remaining is None else max(remaining, 0.001))
        body, answer = await self.call(operation, arguments, options)
        return _once.Shown(body, answer.response.headers, answer)

    def _end(self, call: Call) -> float:
        """When the call's deadline is, by the event loop's clock."""
        remaining = self._remaining(call)
        return float("inf") if remaining is None else anyio.current_time() + remaining

    def _gate(self, loop: _Loop, bucket: Bucket | None) -> Gate | None:
        if bucket is None or not self.limits.settings.enabled:
            return None
        gate = loop.gates[bucket] = self.limits.gate(current_loop(), bucket)
        return gate

    def _remaining(self, call: Call) -> float | None:
        deadline = call.options.deadline
        return None if deadline is None else max(0.0, call.started + deadline - self.config.clock())

    def _is_confirmed_delete(self, call: Call) -> bool:
        """Whether a 404 means that an earlier attempt of this very DELETE went through and only its answer was lost."""
        earlier = call.tries[:-1]
        return call.operation.method == "DELETE" and any(
            tried.failure is not None or (tried.status or 0) >= 500 for tried in earlier
        )

    def _raise_late(self, call: Call, problem: MuxError | None = None) -> NoReturn:
        operation, deadline = call.operation, call.options.deadline or 0.0
        number = len(call.tries)
        tried = f"after {number} attempt{'s' * (number != 1)}" if number else "before the request was sent"
        if call.in_flight is Delivery.MAYBE_PROCESSED:
            tried = f"while attempt {number + 1} was under way"
        late = DeadlineExceededError(
            f"{operation.line} did not end within its deadline of {deadline:g} s; it passed {tried}",
            deadline=deadline,
            delivery=call.in_flight,
        )
        call.describe(late)
        if operation.replay is Replay.NEVER and (call.in_flight is Delivery.MAYBE_PROCESSED or call.doubt is not None):
            raise call.describe(_once.ambiguous(operation, call.doubt or late, sought=call.sought)) from late
        raise late from problem
