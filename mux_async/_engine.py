"""The one loop: a permit, the wire, a judgement; then wait and repeat, or return.

The path of a request is resource -> engine -> wire -> transport, and this file is the only one of the four that waits. What to send is
decided in `_wire`, what came of it in `_classify`, whether to send it again in `_retry`, when in `limits`; the transport carries it. What
becomes of a create whose answer got lost is in `_once`, and how identical reads share one request in `_flights`. What is known of a call
is computed from its attempts (`_call`).

Between the end of an answer and the return of its value nothing waits but `AccountLimits.hear`, which is shielded and bounded: a deadline
that passes there does not lose the answer.

At most one cancel scope is opened per call, and none when the caller set no deadline: a scope costs a quarter of a small request.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload
from weakref import WeakSet

import anyio
import attrs
from multidict import istr

from mux_async import _once, _wire
from mux_async._call import Answer, AttemptRecord, Call
from mux_async._classify import classify, is_success
from mux_async._content import iter_content, read_content, take_content
from mux_async._flights import Flights, join
from mux_async._lifetimes import PerLoop
from mux_async._operation import Bucket, Replay
from mux_async._options import RecordedKey
from mux_async._response import ByteStream
from mux_async._retry import Again, Ambiguous, Answered, decide, parse_retry_after
from mux_async._tracebacks import clear_locals
from mux_async.errors import (
    ClosedError,
    DeadlineExceededError,
    Delivery,
    LimitWaitError,
    MuxError,
    Phase,
    ResponseError,
    TransportError,
    TransportTimeoutError,
    UndecodableResponseError,
)
from mux_async.transport import current_loop

if TYPE_CHECKING:
    from mux_async._config import Config
    from mux_async._once_guard import KeyFlight
    from mux_async._once_keys._ledger import KeyLedger
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

_SAFE = Replay.SAFE  # looking a member up in its enum is a call, up to Python 3.11

_LEFT = istr("X-RateLimit-Remaining")
_LONGEST_REFUSAL: Final = 1024 * 1024
"""Bytes that are read of the body of an answer with an error status; its status says what matters."""

_BUDGET_NOTE = "it was not sent again: the account's retry budget is used up (LimitSettings.retries)"


class _Loop:
    """What belongs to one event loop: its transport, its queues, what features keep there."""

    __slots__ = ("flights", "gates", "key_flights", "local", "transport")

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.gates: dict[Bucket | None, Gate] = {}
        self.flights: Flights[Answer] = Flights()
        self.key_flights: dict[str, KeyFlight] = {}
        self.local: dict[Any, Any] = {}


class Engine:
    """Performs calls. One per `Mux` and all its ``with_options`` variants.

    Args:
        config: What all calls share.
        limits: Of the account.
        adopts_limits: Whether it takes the limits that other clients of the account have.
        open_transport: Makes the transport of the running event loop.
        owns_transport: Whether `aclose` closes what *open_transport* made.
        whose_keys: Names the things that ``once`` keys stand for: server, account, token.
        own_transport: The caller's transport, or what makes one; ``None`` for one that was chosen by name.
    """

    def __init__(
        self,
        config: Config,
        limits: AccountLimits,
        open_transport: Callable[[], Transport],
        *,
        adopts_limits: bool,
        owns_transport: bool,
        whose_keys: str,
        own_transport: object | None,
    ) -> None:
        self.config = config
        self._whose_keys = whose_keys
        self._own_transport = own_transport
        self._keys: KeyLedger | None = None
        self._is_pending = True
        self._adopts_limits = adopts_limits
        self.limits = limits.shared_with(self, is_flexible=adopts_limits)
        self._open_transport = open_transport
        self._owns_transport = owns_transport
        self._loops: PerLoop[_Loop] = PerLoop()
        self._process = os.getpid()
        self._closed_in: WeakSet[object] = WeakSet()
        self._writes = count(1)
        self._written = 0
        """Number of the last write that ended, well or not."""

    def here(self) -> _Loop:
        """Return what belongs to the running event loop, opening a transport on first use.

        Raises:
            ClosedError: The client was closed in this event loop.
            ConfigurationError: The transport cannot be used here, or clients of the account were opened with other limits meanwhile.
        """
        if self._process != os.getpid():
            self._process = os.getpid()
            self._loops = self._loops.in_this_process()
        return self._loops.open.get(current_loop()) or self._open_loop()

    def _open_loop(self) -> _Loop:
        token = current_loop()
        if token in self._closed_in:
            raise ClosedError("the client was closed in this event loop; make a new Mux()")
        self._is_pending = True
        try:
            self.limits = self.limits.shared_with(self, is_flexible=self._adopts_limits)
            loop = _Loop(self._open_transport())
            self._loops.put(token, loop, loop.transport if self._owns_transport else None)
        finally:
            self._is_pending = False
        return loop

    @property
    def is_open(self) -> bool:
        """Whether it is open in an event loop that has not ended, is being opened, or was not opened yet."""
        return self._is_pending or self._loops.is_open

    async def aclose(self) -> None:
        """Close the transport of the running event loop, and refuse further calls in it. Any number of times."""
        token = current_loop()
        self._closed_in.add(token)
        self._is_pending = False
        loop = self._loops.pop(token)
        if loop is not None:
            try:
                if self._owns_transport:
                    await loop.transport.aclose()
            finally:
                await self.limits.aclose()  # other clients of the account open it again when they need it
                if self._keys is not None:
                    await self._keys.aclose()

    @overload
    async def call(self, operation: Operation[T], arguments: Arguments, options: EffectiveOptions) -> T: ...
    @overload
    async def call(
        self, operation: Operation[T], arguments: Arguments, options: EffectiveOptions, *, with_answer: Literal[True]
    ) -> tuple[T, Answer]: ...
    async def call(
        self, operation: Operation[T], arguments: Arguments, options: EffectiveOptions, *, with_answer: bool = False
    ) -> T | tuple[T, Answer]:
        """Perform a call to its end, and return what it decodes to; *with_answer*, a pair of that and the answer.

        Raises:
            MuxError: Any of the tree in `mux_async.errors`.
        """
        sought: _once.Sought | None = None
        if arguments.once is not None:
            arguments, sought = _once.stamp(operation, arguments)
        request = _wire.build_request(operation, arguments, self.config, options.timeouts)
        call = Call(operation, options, self.config, self.config.clock(), options.effective_priority, sought)
        if sought is not None and not isinstance(sought.given, RecordedKey):
            answer = await self._perform_once(call, request, arguments)
        else:
            perform = self._share if options.share_reads and operation.method == "GET" else self._perform
            answer = await perform(call, request, self.here())
        while True:
            try:
                value: T = _wire.decode(operation, arguments, answer.response, answer.content)
            except UndecodableResponseError as error:
                answer = await self._within(call, self._look_for_lost(call, answer, error))
            else:
                return (value, answer) if with_answer else value

    @asynccontextmanager
    async def stream(
        self, operation: Operation[bytes], arguments: Arguments, options: EffectiveOptions
    ) -> AsyncGenerator[ByteStream]:
        """Perform a call up to the head of its answer, and hand the body out as it comes."""
        try:
            async with self._open(operation, arguments, options) as stream:
                yield stream
        except BaseException as error:
            del self, operation, arguments
            clear_locals(error)
            raise

    @asynccontextmanager
    async def _open(
        self, operation: Operation[bytes], arguments: Arguments, options: EffectiveOptions
    ) -> AsyncGenerator[ByteStream]:
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
            await self._cut_off(call)

    async def _share(self, call: Call, request: HttpRequest, loop: _Loop) -> Answer:
        """Perform a read, or wait for somebody who performs the same."""
        flights = loop.flights
        while (flight := flights.find(request, call, self._written)) is not None:
            call.attempts = flight.call.attempts  # while it waits for them, they are its own
            answer: Answer | None = None
            with anyio.CancelScope(deadline=self._end(call)) as scope:
                answer = await join(flight)
            if scope.cancelled_caught:
                raise call.out_of_time()
            if answer is not None:
                return answer
            call.attempts = []
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

    async def _perform_once(self, call: Call, request: HttpRequest, arguments: Arguments) -> Answer:
        """Perform a create with a key, unless what the key stands for is there already. See `_once_guard`."""
        loop = self.here()

        async def send() -> Answer:
            answer = await self._send(call, request, loop)
            try:
                _wire.decode(call.operation, arguments, answer.response, answer.content)
            except UndecodableResponseError as error:
                return await self._look_for_lost(call, answer, error)
            return answer

        # Imported here: most programs that only read need none of it.
        from mux_async._once_guard import OnceGuard
        from mux_async._once_keys._ledger import KeyLedger

        if self._keys is None:
            self._keys = KeyLedger.of(self._whose_keys, self.limits.settings.url, self._own_transport, self.config.clock)
        guard = OnceGuard(call, self._keys, partial(self._read, call))
        call.before_sending = guard.announce
        return await self._within(call, guard.run(loop.key_flights, send))

    def _perform(self, call: Call, request: HttpRequest, loop: _Loop) -> Coroutine[Any, Any, Answer]:
        sending = self._send(call, request, loop)
        return sending if call.options.deadline is None else self._within(call, sending)

    async def _within(self, call: Call, sending: Coroutine[Any, Any, Answer]) -> Answer:
        """Await *sending* until the call's deadline."""
        answer: Answer | None = None
        with anyio.CancelScope(deadline=self._end(call)):
            answer = await sending
        return answer if answer is not None else await self._cut_off(call)

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
            if call.before_sending is not None:
                await self._announce(call.before_sending, grant)
            record = AttemptRecord(queued_at, sent_at, grant)
            call.attempts.append(record)
            response: HttpResponse | None = None
            is_ok = False
            try:
                response = record.response = await loop.transport.send(request)
                is_ok = 199 < response.status < 300
                if not is_ok:
                    await self._read_refusal(call, record, response)
                elif not is_streamed:
                    content = take_content(response, longest)
                    record.content = await read_content(response, longest) if content is None else content
            except (TransportError, ResponseError) as error:
                record.failure = error
            finally:
                if operation.replay is not _SAFE:
                    self._written = next(self._writes)
            record.ended_at = clock()
            if logger.isEnabledFor(logging.DEBUG):
                what = record.failure or record.status
                number = len(call.attempts)
                _log(logging.DEBUG, "%s: attempt %d: %s (request id %s)", operation.line, number, what, record.request_id)
            if response is not None:
                if grant is not None and (left := response.headers.get(_LEFT)) is not None:
                    await self._hear(grant, left)
                if is_ok and (record.failure is None or operation.result == "none"):
                    return Answer(response, record.content, call.attempts)
            found = await self._recover(call, record)
            if found is not None:
                return found

    async def _read_refusal(self, call: Call, record: AttemptRecord, response: HttpResponse) -> None:
        """Read the body of an answer that is no success."""
        if response.status == 429 and record.grant is not None:
            # Before the body: everybody has to know, however long that takes to arrive, and whatever becomes of this call meanwhile.
            delay = parse_retry_after(response.headers.get("Retry-After"), self.config.epoch())
            await self.limits.refuse(record.grant, delay or None)
        longest = min(call.options.max_response_bytes, _LONGEST_REFUSAL)
        content = take_content(response, longest)
        record.content = await read_content(response, longest) if content is None else content

    async def _announce(self, announce: Callable[[], Awaitable[None]], grant: Grant | None) -> None:
        """Await *announce*; the grant is given back when that keeps the request from being sent."""
        try:
            await announce()
        except BaseException:
            if grant is not None:
                await self.limits.give_back(grant)
            raise

    async def _queue(self, call: Call, gate: Gate) -> Grant:
        """Wait for a permit."""
        try:
            return await gate.acquire(call.priority, call.remaining())
        except LimitWaitError as error:
            raise call.failed(error, call.problem)  # noqa: B904 - its cause is what made this attempt necessary

    async def _hear(self, grant: Grant, left: str) -> None:
        """Pass on how many more requests the server says it would let through."""
        if left.isascii() and left.isdigit():
            await self.limits.hear(grant.bucket, int(left[:9]))

    async def _recover(self, call: Call, record: AttemptRecord) -> Answer | None:
        """Find out what follows an attempt that was no success, and wait until it may.

        Returns:
            What the attempt made all the same; ``None`` when the request has to be sent again.

        Raises:
            MuxError: Neither is possible.
        """
        response, failure, status = record.response, record.failure, record.status
        if response is not None and status == 404 and call.operation.method == "DELETE" and call.doubtful is not None:
            return Answer(response, b"", call.attempts)  # an earlier attempt went through, and its answer was lost
        outcome = classify(status, response.headers if response is not None else None, failure, self.config.epoch())
        assert outcome is not None  # noqa: S101 - a success has returned before
        if isinstance(outcome, Answered) and response is not None:
            problem: MuxError = _wire.status_error(
                call.operation,
                response,
                record.content,
                retry_after=outcome.retry_after,
                lost=failure,
                whose=self.config.whose,
            )
        else:
            assert failure is not None  # noqa: S101 - what was not answered has failed
            problem = failure
        record.problem = problem
        is_never_sent = status is None and record.delivery is Delivery.NEVER_SENT
        if record.grant is not None and is_never_sent:
            await self.limits.give_back(record.grant)
        if status == 409 and call.doubtful is not None and self._can_look(call):
            with suppress(MuxError, _once.Inconclusive):  # then the 409 is the answer
                if (found := await self._find(call, is_acted=True)) is not None:
                    return found  # what it clashes with is what an earlier attempt made
        decision = decide(
            outcome,
            replay=call.operation.replay,
            attempt=len(call.attempts),
            max_attempts=1 if isinstance(failure, TransportError) and failure.is_permanent else call.options.max_attempts,
            jitter=self.config.random.random(),
            policy=self.config.retry,
            is_limited=record.grant is not None,
        )
        match decision:
            case Again(delay):
                await self._wait(call, problem, delay, is_free=status == 429 or is_never_sent)
                return None
            case Ambiguous():
                return await self._settle(call, problem, record)
            case _:
                raise call.failed(problem, problem.__cause__)

    async def _wait(self, call: Call, problem: MuxError, delay: float, *, is_free: bool) -> None:
        """Sleep for *delay* before the next attempt, which the account's retry budget pays for unless it *is_free*."""
        if not is_free and not self.limits.retries.spend(self.config.clock()):
            problem.add_note(_BUDGET_NOTE)
            raise call.failed(problem, problem.__cause__)
        remaining = call.remaining()
        if remaining is not None and delay >= remaining:
            raise call.out_of_time(delay)
        line, number = call.operation.line, len(call.attempts)
        _log(logging.INFO, "%s: attempt %d came to nothing (%s); again in %.2f s", line, number, problem, delay)
        await anyio.sleep(delay)

    async def _settle(self, call: Call, problem: MuxError, record: AttemptRecord) -> Answer | None:
        """Find out what came of an attempt with an unknown outcome.

        Returns:
            What it made; ``None`` when it made nothing and may be sent again.

        Raises:
            AmbiguousOutcomeError: It cannot be found out, or may not be sent again.
            ResponseError: Nothing can be looked for, and *problem* says already that the request was acted on.
        """
        call.describe(problem)
        if not self._can_look(call):
            if isinstance(problem, ResponseError):
                raise call.failed(problem, problem.__cause__)
            raise call.describe(call.ambiguous(problem, record)) from problem
        is_acted = record.status is not None and is_success(record.status)
        _log(logging.INFO, "%s: outcome unknown (%s); looking for what it made", call.operation.line, problem)
        try:
            found = await self._find(call, is_acted=is_acted)
        except (MuxError, _once.Inconclusive) as error:
            raise call.describe(call.ambiguous(problem, record, f"looking for it came to nothing ({error})")) from problem
        if found is not None:
            return found
        is_last = is_acted or len(call.attempts) >= call.options.max_attempts
        if is_last or not self.limits.retries.spend(self.config.clock()):
            if not is_last:
                problem.add_note(_BUDGET_NOTE)
            raise call.describe(call.ambiguous(problem, record, "it was looked for and is not there yet")) from problem
        record.is_searched = True
        _log(logging.INFO, "%s: it made nothing; sending it again", call.operation.line)
        return None

    def _can_look(self, call: Call) -> bool:
        """Whether what a call made can be looked for, and there is time for it."""
        remaining = call.remaining()
        return call.sought is not None and (remaining is None or remaining > _once.PAUSES[0])

    async def _find(self, call: Call, *, is_acted: bool) -> Answer | None:
        """Look for what an attempt made, by the call's key; ``None`` when it is not there."""
        sought = call.sought
        assert sought is not None  # noqa: S101 - `_can_look`
        found = await _once.reconcile(partial(self._read, call), sought, sought.once.lookup, call, acted=is_acted)
        return None if found is None else Answer(found.answer.response, found.content, call.attempts, is_reconciled=True)

    async def _look_for_lost(self, call: Call, answer: Answer, error: UndecodableResponseError) -> Answer:
        """Look for what a create made whose answer arrived and is not what belongs there.

        Raises:
            MuxError: It cannot be found.
        """
        if call.sought is None or answer.is_reconciled or not call.attempts:
            raise call.failed(error, error.__cause__)
        record = call.attempts[-1]
        record.failure = record.problem = error
        found = await self._settle(call, error, record)
        assert found is not None  # noqa: S101 - it was acted on, so it is found or an error
        return found

    async def _cut_off(self, call: Call) -> Answer:
        """Return what a deadline that has passed leaves of a call, which mostly is an error to raise."""
        record = call.attempts[-1] if call.attempts else None
        if record is not None and record.ended_at is None and record.status is not None and not is_success(record.status):
            # A refusal, of which only the explanation is missing.
            record.failure = TransportTimeoutError(
                "the deadline passed while it arrived", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY
            )
            record.ended_at = self.config.clock()
            if (found := await self._recover(call, record)) is not None:
                return found
        raise call.out_of_time()

    async def _read(self, call: Call, operation: Operation[object], arguments: Arguments) -> _once.Shown:
        remaining = call.remaining()
        options = attrs.evolve(call.options.for_long_work(), deadline=None if remaining is None else max(remaining, 0.001))
        body, answer = await self.call(operation, arguments, options, with_answer=True)
        return _once.Shown(body, answer.response.headers, answer)

    def _end(self, call: Call) -> float:
        """When the call's deadline is, by the event loop's clock."""
        remaining = call.remaining()
        return float("inf") if remaining is None else anyio.current_time() + remaining

    def _gate(self, loop: _Loop, bucket: Bucket | None) -> Gate | None:
        if bucket is None or not self.limits.settings.enabled:
            return None
        gate = loop.gates[bucket] = self.limits.gate(current_loop(), bucket)
        return gate


def _log(level: int, text: str, *values: object) -> None:
    """Write to the log. A filter or handler of the program's that fails must not lose an answer."""
    with suppress(Exception):
        logger.log(level, text, *values, stacklevel=2)
