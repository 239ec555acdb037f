"""The one loop: a permit, the wire, a judgement; then wait and repeat, or return.

The path of a request is resource -> engine -> wire -> transport, and this file is the only one of the four that waits. What to send is
decided in `_wire`, whether to send it again in `_retry`, when in `limits`; the transport carries it.

At most one cancel scope is opened per call, and none when the caller set no deadline: a scope costs a quarter of a small request.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

import anyio
import anyio.lowlevel
import attrs

from mux_async import _wire
from mux_async._content import iter_content, read_content
from mux_async._operation import Bucket, Replay
from mux_async._pagination import Page, Paginator
from mux_async._response import ByteStream, Download, RawResponse
from mux_async._retry import Again, Ambiguous, Answered, Failed, decide, parse_retry_after
from mux_async.errors import (
    AmbiguousOutcomeError,
    Attempt,
    ClosedError,
    DeadlineExceededError,
    Delivery,
    LimitWaitError,
    MuxError,
    ResponseError,
    TransportClosedError,
    TransportError,
)

if TYPE_CHECKING:
    from mux_async._config import CallOptions, Config
    from mux_async._operation import Operation
    from mux_async._resource import Arguments, Caller
    from mux_async.limits import AccountLimits
    from mux_async.limits._gate import Gate
    from mux_async.transport import HttpRequest, HttpResponse, Transport

T = TypeVar("T")
E = TypeVar("E")

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class Answer:
    """A successful answer.

    Attributes:
        content: The decompressed body; empty when it is left to be streamed from `response`.
    """

    response: HttpResponse
    content: bytes
    attempts: tuple[Attempt, ...]

    @property
    def request_id(self) -> str | None:
        return self.response.headers.get("X-Request-Id")

    def as_raw(self, value: T) -> RawResponse[T]:
        """Return *value* with this answer around it."""
        return RawResponse(
            value=value,
            status=self.response.status,
            headers=self.response.headers,
            request_id=self.request_id,
            attempts=self.attempts,
            content=self.content,
        )


class _Loop:
    """What belongs to one event loop: its transport, its queues, what features keep there."""

    __slots__ = ("gates", "local", "transport")

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.gates: dict[Bucket, Gate] = {}
        self.local: dict[Any, Any] = {}


@attrs.define
class _Call:
    """One call while it runs: what has happened so far, for whoever has to report it."""

    operation: Operation[Any]
    options: CallOptions
    started: float
    attempts: list[Attempt] = attrs.field(factory=list[Attempt])
    in_flight: Delivery = Delivery.NEVER_SENT

    def describe(self, error: MuxError) -> MuxError:
        """Fill in what every error of a call carries."""
        error.attempts = tuple(self.attempts)
        error.operation = self.operation.line
        return error


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

    def here(self) -> _Loop:
        """Return what belongs to the running event loop, opening a transport on first use.

        Raises:
            ClosedError: The client was closed in this event loop.
            ConfigurationError: The transport cannot be used here.
        """
        token = _current_loop()
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
        token = _current_loop()
        self._closed_in.add(token)
        loop = self._loops.pop(token, None)
        if loop is not None and self._owns_transport:
            await loop.transport.aclose()

    async def call(self, operation: Operation[T], arguments: Arguments, options: CallOptions) -> tuple[T, Answer]:
        """Perform a call to its end.

        Raises:
            MuxError: Any of the tree in `mux_async.errors`.
        """
        request = _wire.build_request(operation, arguments, self.config, options.timeouts)
        call = _Call(operation, options, self.config.clock())
        if options.deadline is None:
            answer = await self._attempt(call, request, is_streamed=False)
        else:
            answer = await self._attempt_within(call, request, options.deadline)
        try:
            value = _wire.decode(
                operation, arguments, answer.content, status=answer.response.status, request_id=answer.request_id
            )
        except MuxError as error:
            raise call.describe(error) from error.__cause__
        return cast("T", value), answer

    @asynccontextmanager
    async def stream(
        self, operation: Operation[bytes], arguments: Arguments, options: CallOptions
    ) -> AsyncGenerator[ByteStream]:
        """Perform a call up to the head of its answer, and hand the body out as it comes."""
        request = _wire.build_request(operation, arguments, self.config, options.timeouts)
        call = _Call(operation, options, self.config.clock())
        deadline = anyio.current_time() + options.deadline if options.deadline is not None else float("inf")
        with anyio.CancelScope(deadline=deadline) as scope:
            response = (await self._attempt(call, request, is_streamed=True)).response
            try:
                async with aclosing(iter_content(response)) as chunks:
                    yield ByteStream(response.status, response.headers, chunks)
            finally:
                with anyio.CancelScope(shield=True):  # closing is short, and an open connection must not outlive the block
                    await response.body.aclose()
        if scope.cancelled_caught:
            self._raise_late(call)

    async def _attempt_within(self, call: _Call, request: HttpRequest, deadline: float) -> Answer:
        answer: Answer | None = None
        with anyio.CancelScope(deadline=anyio.current_time() + deadline):
            answer = await self._attempt(call, request, is_streamed=False)
        if answer is None:
            self._raise_late(call)
        return answer

    async def _attempt(self, call: _Call, request: HttpRequest, *, is_streamed: bool) -> Answer:
        """Send until there is an answer to return or an error to raise."""
        operation, options, clock = call.operation, call.options, self.config.clock
        loop = self.here()
        gate = self._gate(loop, operation.bucket)
        priority = options.effective_priority
        while True:
            number = len(call.attempts) + 1
            queued_at = clock()
            try:
                grant = await gate.acquire(priority, self._remaining(call)) if gate is not None else None
            except LimitWaitError as error:
                raise call.describe(error) from None
            sent_at = clock()
            response: HttpResponse | None = None
            content = b""
            failure: TransportError | None = None
            unusable: ResponseError | None = None
            call.in_flight = Delivery.MAYBE_PROCESSED
            try:
                response = await loop.transport.send(request)
                if not (is_streamed and response.status < 300):
                    content = await read_content(response, options.max_response_bytes)
            except TransportError as error:
                failure = error
            except ResponseError as error:
                unusable = error
            call.in_flight = Delivery.NEVER_SENT
            status = response.status if response is not None else None
            request_id = response.headers.get("X-Request-Id") if response is not None else None
            error_text = str(failure or unusable) if failure or unusable else None
            call.attempts.append(Attempt(number, sent_at - queued_at, clock() - sent_at, status, request_id, error_text))
            logger.debug("%s: attempt %d: %s (request id %s)", operation.line, number, status or failure, request_id)
            if unusable is not None:
                raise call.describe(unusable) from unusable.__cause__

            if response is not None and grant is not None:
                remaining_there = response.headers.get("X-RateLimit-Remaining")
                if remaining_there is not None and remaining_there.isascii() and remaining_there.isdigit():
                    await self.limits.hear(grant.bucket, int(remaining_there[:9]))

            if response is not None and response.status < 300 and failure is None:
                return Answer(response, content, tuple(call.attempts))
            if response is not None and response.status == 404 and self._is_confirmed_delete(call):
                return Answer(response, b"", tuple(call.attempts))

            if failure is not None and failure.delivery is Delivery.NEVER_SENT and grant is not None:
                await self.limits.give_back(grant)
            retry_after: float | None = None
            if response is not None and response.status >= 300:
                # A refusal says all it has to say in its status: it counts even when its body broke off.
                retry_after = parse_retry_after(response.headers.get("Retry-After"), self.config.epoch())
                if response.status == 429 and grant is not None:
                    await self.limits.refuse(grant, retry_after)
                outcome: Answered | Failed = Answered(response.status, retry_after)
                problem: MuxError = _wire.status_error(
                    operation, status=response.status, headers=response.headers, content=content, retry_after=retry_after
                )
            else:
                assert failure is not None  # noqa: S101 - a success without failure returned above
                outcome = Failed(failure.delivery)
                problem = failure
            decision = decide(
                outcome,
                replay=operation.replay,
                attempt=number,
                max_attempts=1 if isinstance(failure, TransportClosedError) else options.max_attempts,
                jitter=self.config.random.random(),
                policy=self.config.retry,
                is_limited=grant is not None,
            )
            match decision:
                case Again(delay):
                    remaining = self._remaining(call)
                    if remaining is not None and delay >= remaining:
                        self._raise_late(call, problem)
                    logger.info("%s: attempt %d came to nothing (%s); again in %.2f s", operation.line, number, problem, delay)
                    await anyio.sleep(delay)
                case Ambiguous():
                    raise call.describe(_ambiguous(operation, status, request_id, problem)) from call.describe(problem)
                case _:
                    raise call.describe(problem) from problem.__cause__

    def _gate(self, loop: _Loop, bucket: Bucket | None) -> Gate | None:
        if bucket is None or not self.limits.settings.enabled:
            return None
        gate = loop.gates.get(bucket)
        if gate is None:
            gate = loop.gates[bucket] = self.limits.gate(_current_loop(), bucket)
        return gate

    def _remaining(self, call: _Call) -> float | None:
        deadline = call.options.deadline
        return None if deadline is None else max(0.0, call.started + deadline - self.config.clock())

    def _is_confirmed_delete(self, call: _Call) -> bool:
        """Whether a 404 means that an earlier attempt of this very DELETE went through and only its answer was lost."""
        return call.operation.method == "DELETE" and any(
            attempt.error is not None or (attempt.status or 0) >= 500 for attempt in call.attempts[:-1]
        )

    def _raise_late(self, call: _Call, problem: MuxError | None = None) -> NoReturn:
        operation, deadline = call.operation, call.options.deadline or 0.0
        number = len(call.attempts)
        tried = f"after {number} attempt{'s' * (number != 1)}" if number else "before the request was sent"
        if call.in_flight is Delivery.MAYBE_PROCESSED:
            tried = f"while attempt {number + 1} was under way"
        late = DeadlineExceededError(
            f"{operation.line} did not end within its deadline of {deadline:g} s; it passed {tried}",
            deadline=deadline,
            delivery=call.in_flight,
        )
        call.describe(late)
        if call.in_flight is Delivery.MAYBE_PROCESSED and operation.replay is Replay.NEVER:
            raise call.describe(_ambiguous(operation, None, None, late)) from late
        raise late from problem


class EngineCaller:
    """An engine with options: the `Caller` behind resources.

    Args:
        engine: Performs the calls.
        options: For each of them.
        is_raw: Whether calls return a `RawResponse` around the value.
    """

    __slots__ = ("_is_raw", "engine", "options")

    def __init__(self, engine: Engine, options: CallOptions, *, is_raw: bool = False) -> None:
        self.engine = engine
        self.options = options
        self._is_raw = is_raw

    @property
    def raw(self) -> EngineCaller:
        """The same, returning `RawResponse`."""
        return EngineCaller(self.engine, self.options, is_raw=True)

    async def call(self, operation: Operation[T], arguments: Arguments) -> T:
        """Perform a call to its end."""
        value, answer = await self.engine.call(operation, arguments, self.options)
        # `returns_raw` tells type checkers of the second case.
        return cast("T", answer.as_raw(value)) if self._is_raw else value

    def paginate(self, operation: Operation[Page[T, E]], arguments: Arguments) -> Paginator[T, E]:
        """Return the list, not yet asked for."""

        async def fetch(update: Mapping[str, object]) -> Page[T, E]:
            extra = {**(arguments.extra_query or {}), **update}
            return await self.call(operation, attrs.evolve(arguments, extra_query=extra))

        return Paginator(fetch)

    def download(self, operation: Operation[bytes], arguments: Arguments) -> Download:
        """Return the bytes, not yet asked for."""

        def open_stream() -> AbstractAsyncContextManager[ByteStream]:
            return self.engine.stream(operation, arguments, self.options)

        return Download(lambda: self.call(operation, arguments), open_stream)

    def local(self, make: Callable[[Caller], T]) -> T:
        """Return what *make* made for this client in the running event loop."""
        kept = self.engine.here().local
        if make not in kept:
            kept[make] = make(self)
        return cast("T", kept[make])

    def transport(self) -> Transport:
        """Return the transport of the running event loop."""
        return self.engine.here().transport


def _ambiguous(
    operation: Operation[Any], status: int | None, request_id: str | None, problem: MuxError
) -> AmbiguousOutcomeError:
    acted = status is not None and status < 300
    what = f"was answered {status}, and the body did not arrive whole" if acted else f"has an unknown outcome ({problem})"
    return AmbiguousOutcomeError(
        f"{operation.line} {what}; it was not sent again, because that could create a second one: look whether the first is there",
        status=status,
        request_id=request_id,
    )


def _current_loop() -> object:
    return anyio.lowlevel.current_token().native_token
