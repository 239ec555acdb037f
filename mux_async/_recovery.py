"""What follows a failed attempt: wait and retry, search for what it made, or raise.

`_classify` names the outcome and `_retry` decides; both are pure. This module carries the decision out. It waits between attempts, and
while it searches for what a create made whose answer was lost (`_idempotency.search`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from mux_async import _wire
from mux_async._call import Call
from mux_async._classify import classify, is_success
from mux_async._idempotency import search
from mux_async._response import Answer, AttemptRecord
from mux_async._retry import Ambiguous, ErrorStatus, RetryAfter, decide
from mux_async.errors import (
    APIStatusError,
    Delivery,
    MuxError,
    Phase,
    ResponseError,
    TransportError,
    TransportTimeoutError,
    UndecodableResponseError,
)

if TYPE_CHECKING:
    from mux_async._arguments import Arguments
    from mux_async._config import Config
    from mux_async._operation import Operation
    from mux_async.limits._account import AccountLimits

logger = logging.getLogger(__name__)

EXPECTED_STATUSES: Final = frozenset({*APIStatusError.by_status, 500, 502, 503, 504})
"""The error statuses that Mux is known to use (facts/BEHAVIOUR.md, section 1.3)."""
_BUDGET_NOTE = "it was not sent again: the account's retry budget is used up (LimitSettings.retries)"


class Recovery:
    """Handles failed attempts. *read* performs a GET for a call, within its deadline."""

    def __init__(
        self,
        config: Config,
        limits: AccountLimits,
        read: Callable[[Call, Operation[object], Arguments], Awaitable[search.LookupPage]],
    ) -> None:
        self._config = config
        self._limits = limits
        self._read = read

    async def recover(self, call: Call, record: AttemptRecord) -> Answer | None:
        """Handle a failed attempt, and wait before a retry.

        Returns the answer if the attempt succeeded all the same, and ``None`` if the request has to be sent again; otherwise it raises.
        """
        response, failure, status = record.response, record.failure, record.status
        if response is not None and status == 404 and call.operation.method == "DELETE" and call.doubtful is not None:
            return Answer(response, b"", call.attempts)  # an earlier attempt succeeded, and its answer was lost
        outcome = classify(status, response.headers if response is not None else None, failure, self._config.epoch())
        assert outcome is not None  # noqa: S101 - a success has returned before
        if isinstance(outcome, ErrorStatus) and response is not None:
            if response.status not in EXPECTED_STATUSES:
                from mux_async.drift import drift  # most programs never need it

                drift.record("unexpected_status", call.operation.id, str(response.status))
            problem: MuxError = _wire.status_error(
                call.operation,
                response,
                record.content,
                retry_after=outcome.retry_after,
                lost=failure,
                whose=self._config.whose,
            )
        else:
            assert failure is not None  # noqa: S101 - what was not answered has failed
            problem = failure
        record.problem = problem
        is_never_sent = status is None and record.delivery is Delivery.NEVER_SENT
        if record.grant is not None and is_never_sent:
            await self._limits.give_back(record.grant)
        if status == 409 and call.doubtful is not None and self._can_search(call):
            with suppress(MuxError, search.Inconclusive):  # then the 409 is the answer
                if (found := await self._find(call, is_acted=True)) is not None:
                    return found  # the object that it conflicts with was made by an earlier attempt
        decision = decide(
            outcome,
            replay=call.operation.replay,
            attempt=len(call.attempts),
            max_attempts=1 if isinstance(failure, TransportError) and failure.is_permanent else call.options.max_attempts,
            jitter=self._config.random.random(),
            policy=self._config.retry,
            is_limited=record.grant is not None,
        )
        match decision:
            case RetryAfter(delay):
                await self._wait(call, problem, delay, is_free=status == 429 or is_never_sent)
                return None
            case Ambiguous():
                return await self._resolve(call, problem, record)
            case _:
                raise call.failed(problem, problem.__cause__)

    async def _wait(self, call: Call, problem: MuxError, delay: float, *, is_free: bool) -> None:
        """Sleep for *delay* before the next attempt, which is charged to the account's retry budget unless it *is_free*."""
        if not is_free and not self._limits.retries.spend(self._config.clock()):
            problem.add_note(_BUDGET_NOTE)
            raise call.failed(problem, problem.__cause__)
        remaining = call.remaining()
        if remaining is not None and delay >= remaining:
            raise call.out_of_time(delay)
        if call.observer is not None:
            call.observer.retried(call.attempts[-1], delay)
        log(logger, logging.INFO, call, "failed (%s); retry in %.2f s", problem, delay)
        await anyio.sleep(delay)

    async def _resolve(self, call: Call, problem: MuxError, record: AttemptRecord) -> Answer | None:
        """Find out whether an attempt with an unknown outcome succeeded.

        Returns:
            What it made; ``None`` if it made nothing and may be sent again.

        Raises:
            AmbiguousOutcomeError: It cannot be found out, or the request may not be sent again.
            ResponseError: There is no key to search for, and *problem* says already that the request was processed.
        """
        call.describe(problem)
        if not self._can_search(call):
            if isinstance(problem, ResponseError):
                raise call.failed(problem, problem.__cause__)
            raise call.describe(call.ambiguous(problem, record)) from problem
        is_acted = record.status is not None and is_success(record.status)
        log(logger, logging.INFO, call, "outcome unknown (%s); searching for what it made", problem)
        try:
            found = await self._find(call, is_acted=is_acted)
        except (MuxError, search.Inconclusive) as error:
            raise call.describe(call.ambiguous(problem, record, f"looking for it came to nothing ({error})")) from problem
        if found is not None:
            return found
        is_last = is_acted or len(call.attempts) >= call.options.max_attempts
        if is_last or not self._limits.retries.spend(self._config.clock()):
            if not is_last:
                problem.add_note(_BUDGET_NOTE)
            raise call.describe(call.ambiguous(problem, record, "it was looked for and is not there yet")) from problem
        record.is_searched = True
        if call.observer is not None:
            call.observer.retried(record, 0.0)
        log(logger, logging.INFO, call, "it made nothing; sending it again")
        return None

    def _can_search(self, call: Call) -> bool:
        """Whether a call has a key to search for, and time for it."""
        remaining = call.remaining()
        return call.lookup is not None and (remaining is None or remaining > search.PAUSES[0])

    async def _find(self, call: Call, *, is_acted: bool) -> Answer | None:
        """Search for what an attempt made, by the call's key; ``None`` if it does not exist."""
        lookup = call.lookup
        assert lookup is not None  # noqa: S101 - `_can_search`
        found = await search.reconcile(partial(self._read, call), lookup, lookup.key_spec.lookup, call, acted=is_acted)
        return None if found is None else Answer(found.answer.response, found.content, call.attempts, is_reconciled=True)

    async def search_for_lost(self, call: Call, answer: Answer, error: UndecodableResponseError) -> Answer:
        """Search for what a create made whose answer arrived and cannot be decoded. Raises if it cannot be found."""
        if call.lookup is None or answer.is_reconciled or not call.attempts:
            raise call.failed(error, error.__cause__)
        record = call.attempts[-1]
        record.failure = record.problem = error
        found = await self._resolve(call, error, record)
        assert found is not None  # noqa: S101 - it was acted on, so it is found or an error
        return found

    async def cut_off(self, call: Call) -> Answer:
        """End a call whose deadline has passed: mostly by raising."""
        record = call.attempts[-1] if call.attempts else None
        if record is not None and record.ended_at is None and record.status is not None and not is_success(record.status):
            # An error status, of which only the body is missing.
            record.failure = TransportTimeoutError(
                "the deadline passed while it arrived", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY
            )
            record.ended_at = self._config.clock()
            if (found := await self.recover(call, record)) is not None:
                return found
        raise call.out_of_time()


def log(logger: logging.Logger, level: int, call: Call, text: str, *values: object) -> None:
    """Write a line about *call*, after its operation and attempt, which are in ``extra`` too.

    A filter or handler of the program that fails must not lose an answer.
    """
    number, record = len(call.attempts), call.attempts[-1] if call.attempts else None
    extra = {
        "mux_operation": call.operation.id,
        "mux_attempt": number,
        "mux_request_id": None if record is None else record.request_id,
        "mux_status": None if record is None else record.status,
        "mux_call": None if call.observer is None else call.observer.info.id,
    }
    with suppress(Exception):
        logger.log(level, "%s: attempt %d: " + text, call.operation.line, number, *values, stacklevel=2, extra=extra)
