"""The request loop: acquire a grant, send, then return, retry or raise.

The path of a request is resource -> engine -> wire -> transport. Of the four, only this file waits. `_wire` builds the request and decodes
the answer, `limits` says when it may be sent, the transport sends it, `_classify` names the outcome, and `_recovery` handles a failure.
Identical GETs share one request (`_single_flight`). Everything that is known of a call is computed from its attempts (`_call`).

Between the end of an answer and the return of its value only `AccountLimits.observe_remaining` waits. It is shielded and bounded, so a
deadline that passes there does not lose the answer.

A call opens at most one cancel scope, and none without a deadline: a scope costs a quarter of a small request.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, nullcontext
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload
from weakref import WeakSet

import anyio
import attrs
from multidict import istr

from mux_async import _wire
from mux_async._call import Call
from mux_async._content import ENCODING, iter_content, read_content
from mux_async._idempotency import search
from mux_async._idempotency.key import RecordedKey
from mux_async._operation import Bucket, Replay
from mux_async._options import ambient_priority
from mux_async._per_loop import PerLoop
from mux_async._recovery import Recovery, log
from mux_async._response import Answer, AttemptRecord, ByteStream
from mux_async._retry import parse_retry_after
from mux_async._single_flight import InFlight
from mux_async._tracebacks import clear_locals
from mux_async.errors import (
    ClosedError,
    DeadlineExceededError,
    LimitWaitError,
    MuxError,
    ResponseError,
    TransportError,
    UndecodableResponseError,
)
from mux_async.limits._wait_queue import PRIORITIES
from mux_async.transport import current_loop, is_unsent

if TYPE_CHECKING:
    from mux_async._arguments import Arguments
    from mux_async._config import Config
    from mux_async._idempotency.guard import KeyInFlight
    from mux_async._idempotency.keys._registry import KeyRegistry
    from mux_async._listeners import Listeners
    from mux_async._observer import CallObserver
    from mux_async._operation import Operation
    from mux_async._options import EffectiveOptions
    from mux_async.limits import Priority
    from mux_async.limits._account import AccountLimits
    from mux_async.limits._gate import Gate
    from mux_async.limits._limiter import Grant
    from mux_async.transport import HttpRequest, HttpResponse, Transport

T = TypeVar("T")
E = TypeVar("E")

logger = logging.getLogger(__name__)

_DEBUG: Final = logging.DEBUG
_SAFE = Replay.SAFE  # looking a member up in its enum is a call, up to Python 3.11

_LEFT = istr("X-RateLimit-Remaining")
_LIMIT = istr("X-RateLimit-Limit")
USUAL_SUCCESS: Final = frozenset({200, 201, 202, 204})
"""The statuses of success that Mux uses; which of them an operation has is partly guessed (facts/README.md, ``x-status-inferred``)."""
_LONGEST_REFUSAL: Final = 1024 * 1024
"""Bytes that are read of the body of an answer with an error status; its status says what matters."""


def _is_unusual_success(operation: Operation[Any], status: int) -> bool:
    """Whether a status that is not one of `USUAL_SUCCESS` is a success; that is counted as drift."""
    if not 199 < status < 300:
        return False
    from mux_async.drift import drift  # most programs never need it

    drift.record("unexpected_status", operation.id, str(status))
    return True


class ActiveToken:
    """An access token, and the limits that requests count against when they are authorised with it."""

    __slots__ = ("config", "limits")

    def __init__(self, config: Config, limits: AccountLimits) -> None:
        self.config: Config = config
        self.limits: AccountLimits = limits


class _Loop:
    """What belongs to one event loop: its transport, its queues and GETs under way by priority, what features keep there."""

    __slots__ = ("gates", "in_flight", "keys_in_flight", "local", "transport")

    def __init__(self, transport: Transport) -> None:
        self.transport: Transport = transport
        self.gates: dict[Priority, dict[Bucket | None, Gate]] = {priority: {} for priority in PRIORITIES}
        self.in_flight: dict[Priority, dict[str, InFlight]] = {priority: {} for priority in PRIORITIES}
        self.keys_in_flight: dict[str, KeyInFlight] = {}
        self.local: dict[Any, Any] = {}


class Engine:
    """Performs calls. One per `Mux` and all its ``with_options`` variants.

    Args:
        token: Authorises calls. Its configuration is what all calls share.
        low_priority: Authorises calls with priority ``batch`` in its place; ``None`` where they are like the others.
        adopts_limits: Whether it takes the limits that other clients of the account have.
        open_transport: Makes the transport of the running event loop, which `aclose` closes if it *owns_transport*.
        whose_keys: Names the things that ``once`` keys stand for: server, account, token.
        own_transport: The caller's transport, or what makes one; ``None`` for one that was chosen by name.
    """

    def __init__(
        self,
        token: ActiveToken,
        low_priority: ActiveToken | None,
        open_transport: Callable[[], Transport],
        *,
        adopts_limits: bool,
        owns_transport: bool,
        whose_keys: str,
        own_transport: object | None,
    ) -> None:
        self.config: Config = token.config
        self._tokens: dict[Priority, ActiveToken] = {"interactive": token, "default": token, "batch": low_priority or token}
        """By priority of the call: a call that is repeated stays with its token."""
        self._whose_keys = whose_keys
        self._own_transport = own_transport
        self._keys: KeyRegistry | None = None
        self._is_pending = True
        self._adopts_limits = adopts_limits
        self._attach()
        self._open_transport = open_transport
        self._owns_transport = owns_transport
        self._loops: PerLoop[_Loop] = PerLoop()
        self._process = os.getpid()
        self._asyncio: ModuleType | None = None  # programs on trio do not import it
        self._closed_in: WeakSet[object] | None = None  # made when it is closed: an empty one takes 0.6 KB
        self._writes = 0
        """How many writes have ended, well or not."""
        self.listeners: Listeners | None = None
        """``None`` until there is a listener: most clients never have one."""
        self._make_observer: type[CallObserver] | None = None

    def _attach(self) -> None:
        for token in set(self._tokens.values()):
            token.limits = token.limits.attach(self, is_flexible=self._adopts_limits)

    @property
    def limits(self) -> AccountLimits:
        """Those of interactive and default calls."""
        return self._tokens["default"].limits

    @property
    def batch_limits(self) -> AccountLimits:
        """Those of batch calls; the same, unless there is a token of low priority."""
        return self._tokens["batch"].limits

    def here(self) -> _Loop:
        """Return what belongs to the running event loop, opening a transport on first use.

        Raises:
            ClosedError: The client was closed in this event loop.
            ConfigurationError: The transport cannot be used here, or clients of the account were opened with other limits meanwhile.
        """
        if self._process != os.getpid():
            self._process = os.getpid()
            self._loops = self._loops.in_this_process()
        # `current_loop` is repeated here for asyncio, because every request passes this line.
        if (asyncio := self._asyncio) is not None:
            try:
                if (
                    asyncio.current_task() is not None
                    and (loop := self._loops.open.get(asyncio.get_running_loop())) is not None
                ):
                    return loop
            except RuntimeError:
                pass
        return self._loops.open.get(current_loop()) or self._open_loop()

    def _open_loop(self) -> _Loop:
        token = current_loop()
        self._asyncio = sys.modules.get("asyncio")
        if self._closed_in is not None and token in self._closed_in:
            raise ClosedError("the client was closed in this event loop; make a new Mux()")
        self._is_pending = True
        try:
            self._attach()
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
        if self._closed_in is None:
            self._closed_in = WeakSet()
        self._closed_in.add(token)
        self._is_pending = False
        loop = self._loops.pop(token)
        if loop is not None:
            try:
                if self._owns_transport:
                    await loop.transport.aclose()
            finally:
                for token in set(self._tokens.values()):
                    await token.limits.aclose()  # other clients of the account open it again when they need it
                if self._keys is not None:
                    await self._keys.aclose()

    @overload
    async def call(self, operation: Operation[T], arguments: Arguments, options: EffectiveOptions) -> T: ...
    @overload
    async def call(
        self,
        operation: Operation[T],
        arguments: Arguments,
        options: EffectiveOptions,
        *,
        with_answer: Literal[True],
        observer: CallObserver | None = None,
    ) -> tuple[T, Answer]: ...
    async def call(
        self,
        operation: Operation[T],
        arguments: Arguments,
        options: EffectiveOptions,
        *,
        with_answer: bool = False,
        observer: CallObserver | None = None,
    ) -> T | tuple[T, Answer]:
        """Perform a call to its end, and return what it decodes to; *with_answer*, a pair of that and the answer."""
        if self.listeners is not None and observer is None and self.listeners.are_enabled():
            made = await self._call_observed(operation, arguments, options)
            return made if with_answer else made[0]
        lookup: search.Lookup | None = None
        if arguments.once is not None:
            arguments, lookup = search.set_key(operation, arguments)
        priority = options.priority or ambient_priority.get() or "default"
        token = self._tokens[priority]
        request = _wire.build_request(operation, arguments, token.config, options.timeouts)
        loop = self.here()
        call = Call(operation, options, token.config, self.config.clock(), priority, token.limits, lookup, observer)
        if lookup is not None and not isinstance(lookup.given, RecordedKey):
            answer = await self._perform_once(call, request, arguments, loop)
        elif options.share_reads and operation.method == "GET":
            answer = await self._share(call, request, loop)
        else:
            sending = self._send(call, request, loop)
            answer = await (sending if options.deadline is None else self._within(call, sending))
        while True:
            try:
                value: T = _wire.decode(operation, arguments, answer.response, answer.content)
            except UndecodableResponseError as error:
                answer = await self._within(call, self._recovery(call).search_for_lost(call, answer, error))
            else:
                return (value, answer) if with_answer else value

    async def _call_observed(
        self, operation: Operation[T], arguments: Arguments, options: EffectiveOptions, parent: Call | None = None
    ) -> tuple[T, Answer]:
        """Perform a call, and report it to the listeners. *parent* is the call that needs it."""
        with self._observe(operation, options, parent) as observer:
            value, answer = await self.call(operation, arguments, options, with_answer=True, observer=observer)
            observer.answered(answer)
        return value, answer

    def _observe(self, operation: Operation[Any], options: EffectiveOptions, parent: Call | None = None) -> CallObserver:
        if self._make_observer is None:
            from mux_async._observer import CallObserver  # imported for the first listener

            self._make_observer = CallObserver
        entries = () if self.listeners is None else self.listeners.entries
        priority = options.priority or ambient_priority.get() or "default"
        above = None if parent is None or parent.observer is None else parent.observer.info
        return self._make_observer(entries, operation, self.config, priority, options.deadline, above)

    async def open(self, operation: Operation[bytes], arguments: Arguments, options: EffectiveOptions) -> HttpResponse:
        """Perform a call up to the head of its answer. Its body is for the caller to read and to close, and no deadline ends it."""
        with nullcontext() if self.listeners is None else self._observe(operation, options) as observer:
            priority = options.priority or ambient_priority.get() or "default"
            token = self._tokens[priority]
            request = _wire.build_request(operation, arguments, token.config, options.timeouts)
            loop = self.here()
            call = Call(operation, options, token.config, self.config.clock(), priority, token.limits, None, observer)
            answer = await self._within(call, self._send(call, request, loop, is_streamed=True))
            if observer is not None:
                observer.answered(answer)
            return answer.response

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
        with nullcontext() if self.listeners is None else self._observe(operation, options) as observer:
            async with self._open_observed(operation, arguments, options, observer) as stream:
                yield stream

    @asynccontextmanager
    async def _open_observed(
        self, operation: Operation[bytes], arguments: Arguments, options: EffectiveOptions, observer: CallObserver | None
    ) -> AsyncGenerator[ByteStream]:
        priority = options.priority or ambient_priority.get() or "default"
        token = self._tokens[priority]
        request = _wire.build_request(operation, arguments, token.config, options.timeouts)
        loop = self.here()
        call = Call(operation, options, token.config, self.config.clock(), priority, token.limits, None, observer)
        deadline = anyio.current_time() + options.deadline if options.deadline is not None else float("inf")
        with anyio.CancelScope(deadline=deadline) as scope:
            response = (await self._send(call, request, loop, is_streamed=True)).response
            try:
                async with aclosing(iter_content(response)) as chunks:
                    yield ByteStream(response.status, response.headers, chunks)
            finally:
                with anyio.CancelScope(shield=True):  # closing is short, and an open connection must not outlive the block
                    await response.body.aclose()
        if scope.cancelled_caught:
            await self._recovery(call).cut_off(call)

    async def _share(self, call: Call, request: HttpRequest, loop: _Loop) -> Answer:
        """Perform a GET, or wait for the same one that is under way. See `_single_flight`."""
        in_flight = loop.in_flight[call.priority]
        url = request.url
        while (other := in_flight.get(url)) is not None and other.is_for(request, call, self._writes):
            call.attempts = other.call.attempts  # while it waits for them, they are its own
            if call.observer is not None:
                call.observer.shares(other.call.observer)
            answer: Answer | None = None
            with anyio.CancelScope(deadline=self._end(call)) as scope:
                answer = await other.join()
            if scope.cancelled_caught:
                raise call.out_of_time()
            if answer is not None:
                return answer
            call.attempts = []
            if call.observer is not None:
                call.observer.leads()
        mine = in_flight[url] = InFlight(request, call, self._writes)
        try:
            sending = self._send(call, request, loop)
            answer = mine.answer = await (sending if call.options.deadline is None else self._within(call, sending))
            return answer
        except DeadlineExceededError:
            raise  # its own deadline says nothing about those of others
        except MuxError as error:
            mine.error = error
            raise
        finally:
            if in_flight.get(url) is mine:  # a later one, after a write, may have taken its place
                del in_flight[url]
            if mine.done is not None:
                mine.done.set()

    async def _perform_once(self, call: Call, request: HttpRequest, arguments: Arguments, loop: _Loop) -> Answer:
        """Perform a create with a key, unless what the key stands for is there already. See `_idempotency.guard`."""

        async def send() -> Answer:
            answer = await self._send(call, request, loop)
            try:
                _wire.decode(call.operation, arguments, answer.response, answer.content)
            except UndecodableResponseError as error:
                return await self._recovery(call).search_for_lost(call, answer, error)
            return answer

        # Imported here: most programs that only read need none of it.
        from mux_async._idempotency.guard import KeyGuard
        from mux_async._idempotency.keys._registry import KeyRegistry

        if self._keys is None:
            self._keys = KeyRegistry.of(self._whose_keys, self.limits.settings.url, self._own_transport, self.config.clock)
        guard = KeyGuard(call, self._keys, partial(self._read, call))
        if call.observer is None:
            call.observer = self._observe(call.operation, call.options)
        call.observer.announce = guard.announce
        return await self._within(call, guard.run(loop.keys_in_flight, send))

    def _recovery(self, call: Call) -> Recovery:
        # Made when something failed: kept, it and this engine would hold each other.
        return Recovery(call.config, call.limits, self._read)

    async def _within(self, call: Call, sending: Coroutine[Any, Any, Answer]) -> Answer:
        """Await *sending* until the call's deadline."""
        answer: Answer | None = None
        with anyio.CancelScope(deadline=self._end(call)):
            answer = await sending
        return answer if answer is not None else await self._recovery(call).cut_off(call)

    async def _send(self, call: Call, request: HttpRequest, loop: _Loop, *, is_streamed: bool = False) -> Answer:
        """Acquire a grant, send, then return, retry or raise."""
        operation = call.operation
        clock = self.config.clock
        longest = call.options.max_response_bytes
        call.limits.retries.calls += 1
        gate = loop.gates[call.priority].get(operation.bucket)
        if gate is None:
            gate = self._gate(loop, call)
        while True:
            queued_at = sent_at = clock()
            grant = None if gate is None else gate.acquire_nowait(call.priority)
            if grant is None and gate is not None:
                grant = await self._queue(call, gate)
                sent_at = clock()
            if call.observer is not None:
                request = await self._before_sending(call, request, sent_at - queued_at, grant)
            record = AttemptRecord(queued_at, sent_at, grant)
            call.attempts.append(record)
            response: HttpResponse | None = None
            is_ok = False
            try:
                response = record.response = await loop.transport.send(request)
                is_ok = response.status in USUAL_SUCCESS or _is_unusual_success(operation, response.status)
                if not is_ok:
                    await self._read_refusal(call, record, response)
                elif not is_streamed:
                    take = getattr(response.body, "take_whole", None)
                    content: bytes | None = None if take is None else take()
                    if content is None or len(content) > longest or ENCODING in response.headers:
                        content = await read_content(response, longest, content)
                    record.content = content
            except (TransportError, ResponseError) as error:
                record.failure = error
            except BaseException as error:
                if is_unsent(error):
                    record.is_unsent = True
                    if grant is not None:
                        await call.limits.give_back(grant)
                if call.observer is not None:
                    call.observer.attempt_ended(record, error)
                raise
            finally:
                if operation.replay is not _SAFE:
                    self._writes += 1
            record.ended_at = clock()
            if call.observer is not None:
                call.observer.attempt_ended(record)
            if logger.isEnabledFor(_DEBUG):
                log(logger, _DEBUG, call, "%s (request id %s)", record.failure or record.status, record.request_id)
            if response is not None:
                if grant is not None and (left := response.headers.get(_LEFT)) is not None:
                    await call.limits.observe_headers(grant.bucket, left, response.headers.get(_LIMIT))
                if is_ok and (record.failure is None or operation.result == "none"):
                    return Answer(response, record.content, call.attempts)
            found = await self._recovery(call).recover(call, record)
            if found is not None:
                return found

    async def _read_refusal(self, call: Call, record: AttemptRecord, response: HttpResponse) -> None:
        """Read the body of an answer that is no success."""
        record.head_at = self.config.clock()
        if response.status == 429:
            delay = parse_retry_after(response.headers.get("Retry-After"), self.config.epoch())
            closed_for: float | None = None
            if record.grant is not None:
                # Before the body: everybody has to know, however long that takes to arrive, and whatever becomes of this call meanwhile.
                closed_for = await call.limits.on_throttled(record.grant, delay or None)
            if call.observer is not None:
                call.observer.throttled(record, call.limits, closed_for, delay)
        record.content = await read_content(response, min(call.options.max_response_bytes, _LONGEST_REFUSAL))

    async def _before_sending(self, call: Call, request: HttpRequest, queued: float, grant: Grant | None) -> HttpRequest:
        """Return the request with what listeners add to it; the grant is given back when it must not be sent."""
        observer = call.observer
        assert observer is not None  # noqa: S101 - the caller's condition
        try:
            if observer.announce is not None:
                await observer.announce()
            return observer.attempt_started(request, queued)
        except BaseException:
            if grant is not None:
                await call.limits.give_back(grant)
            raise

    async def _queue(self, call: Call, gate: Gate) -> Grant:
        """Wait for a grant."""
        started, ahead = self.config.clock(), len(gate)
        try:
            grant = await gate.acquire(call.priority, call.remaining())
        except LimitWaitError as error:
            raise call.failed(error, call.problem)  # noqa: B904 - its cause is what made this attempt necessary
        if call.observer is not None:
            call.observer.waited(grant.bucket, self.config.clock() - started, ahead)
        return grant

    async def _read(self, call: Call, operation: Operation[object], arguments: Arguments) -> search.LookupPage:
        remaining = call.remaining()
        deadline = None if remaining is None else max(remaining, 0.001)
        options = attrs.evolve(call.options.for_long_work(), priority=call.priority, deadline=deadline)
        body, answer = await self._call_observed(operation, arguments, options, call)
        return search.LookupPage(body, answer.response.headers, answer)

    def _end(self, call: Call) -> float:
        """When the call's deadline is, by the event loop's clock."""
        remaining = call.remaining()
        return float("inf") if remaining is None else anyio.current_time() + remaining

    def _gate(self, loop: _Loop, call: Call) -> Gate | None:
        bucket = call.operation.bucket
        if bucket is None or not call.limits.settings.enabled:
            return None
        gate = loop.gates[call.priority][bucket] = call.limits.gate(current_loop(), bucket)
        return gate
