"""`Mux.health`: whether a program can work with Mux, for readiness probes.

Each check has a status, a sentence without secrets, the seconds it took, and its age. The rules:

1. A check that fails never raises, and never takes longer than the timeout.
2. What asks others (Mux, a store) is remembered, and asked once for all who want to know at the same moment. Credentials cost one grant
   in each period, also when a caller was cancelled meanwhile.
3. ``unknown`` is not ``failed``: that Mux does not answer says nothing about this program, and taking all of its instances out of service
   would help nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import anyio
import attrs

from mux_async._checks import check_number, wrong
from mux_async._models.times import parse_http_date
from mux_async._options import CallOptions
from mux_async.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    DriftError,
    MuxError,
    PermissionDeniedError,
)
from mux_async.resources.system_utilities import SystemUtilities

if TYPE_CHECKING:
    from mux_async._resource import Caller
    from mux_async.limits._account import AccountLimits

__all__ = ["Health", "HealthCheck", "HealthStatus"]

HealthStatus: TypeAlias = Literal["ok", "failed", "unknown", "skipped"]
"""``unknown``: there was no answer that says so or so. ``skipped``: there is nothing to check."""

STUCK_AFTER: Final = 60.0
"""Seconds without a grant after which a queue that is not empty counts as stuck; longer where the rate is lower than three a minute."""
CLOSED_TOO_LONG: Final = 30.0
"""Seconds for which a bucket stays closed after a 429 that count as a failure; a first 429 closes it for a second or two."""
LARGEST_SKEW: Final = 60.0
"""Seconds that the clock may be off: webhooks are refused from 300 on, and tokens can be expired when they are made."""

_Finding: TypeAlias = tuple[str, HealthStatus, str]


class ChecksStore(Protocol):
    """A receiver of webhooks, as far as its health is concerned; `WebhookRouter` is one."""

    async def check_store(self) -> None:
        """Ask the store something. Raises if it does not answer."""
        ...


@attrs.frozen
class HealthCheck:
    """The result of one check.

    Attributes:
        name: ``client``, ``credentials``, ``clock``, ``limits``, ``limits store`` or ``webhook store``.
        status: See `HealthStatus`.
        detail: One sentence, without secrets.
        age: Seconds since it was made.
        duration: Seconds that it took.
    """

    name: str
    status: HealthStatus
    detail: str
    age: float = 0.0
    duration: float = 0.0


@attrs.frozen
class Health:
    """All checks. True if none has failed."""

    checks: tuple[HealthCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether no check has failed; unknown and skipped ones do not count."""
        return all(check.status != "failed" for check in self.checks)

    def __bool__(self) -> bool:
        return self.ok

    def __getitem__(self, name: str) -> HealthCheck:
        """Return the check of that name; `KeyError` if it was not made."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"ok": self.ok, "checks": [attrs.asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        return "\n".join(f"{check.name}: {check.status}: {check.detail}" for check in self.checks)


class _Remembered:
    """The last results of a check that asks others, in one event loop."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.begun_at: float | None = None
        self.ended_at = 0.0
        self.findings: list[_Finding] = []


async def check_health(caller: Caller, webhooks: ChecksStore | None, max_age: float, timeout: float) -> Health:
    """Make all checks. Raises `ConfigurationError` for arguments of another kind, and nothing else."""
    check_number("max_age", max_age, "it is seconds, 0 or more and finite", least=0)
    check_number("timeout", timeout, "it is seconds, more than 0 and finite", above=0)
    if webhooks is not None and not hasattr(type(webhooks), "check_store"):
        raise wrong("webhooks", webhooks, "it must be a WebhookRouter, or have its method check_store")
    return await _Checks(caller, max_age, timeout).all(webhooks)


class _Checks:
    def __init__(self, caller: Caller, max_age: float, timeout: float) -> None:
        self._caller = caller
        self._clock = caller.engine.config.clock
        self._max_age = max_age
        self._timeout = timeout

    async def all(self, webhooks: ChecksStore | None) -> Health:
        try:
            local = self._caller.engine.here().local
        except (ClosedError, ConfigurationError) as error:
            detail = "it was closed" if isinstance(error, ClosedError) else "it cannot be opened in this event loop"
            return Health((HealthCheck("client", "failed", detail),))
        memory: dict[object, _Remembered] = local.setdefault(_Remembered, {})
        results: dict[str, list[HealthCheck]] = {}

        async def remember(name: str, key: object, ask: Callable[[], Awaitable[list[_Finding]]]) -> None:
            results[name] = await self._remembered(name, memory.setdefault(key, _Remembered()), ask)

        async with anyio.create_task_group() as group:
            group.start_soon(remember, "credentials", "credentials", self._ask_mux)
            group.start_soon(remember, "limits store", "limits store", self._ask_limits_store)
            if webhooks is not None:
                group.start_soon(remember, "webhook store", webhooks, lambda: _ask_webhook_store(webhooks))
        names = ("credentials", "limits store", "webhook store")
        asked = [check for name in names for check in results.get(name, ())]
        return Health((HealthCheck("client", "ok", "it is open"), self._limits(), *asked))

    async def _remembered(
        self, name: str, memory: _Remembered, ask: Callable[[], Awaitable[list[_Finding]]]
    ) -> list[HealthCheck]:
        with anyio.move_on_after(self._timeout):
            async with memory.lock:
                now = self._clock()
                if memory.begun_at is None or now - memory.begun_at >= self._max_age:
                    memory.begun_at = memory.ended_at = now
                    memory.findings = [(name, "unknown", f"no answer within {self._timeout:g} s, or before the probe ended")]
                    try:
                        memory.findings = await ask()
                    except Exception as error:  # noqa: BLE001 - its text may hold anything
                        memory.findings = [(name, "failed", f"the check itself failed with {type(error).__name__}")]
                    finally:  # also if it took too long, or the caller was cancelled
                        memory.ended_at = self._clock()
        if memory.begun_at is None:
            return [HealthCheck(name, "unknown", "another check is waiting for the answer")]
        age, took = self._clock() - memory.ended_at, memory.ended_at - memory.begun_at
        return [HealthCheck(*found, age=age, duration=took) for found in memory.findings]

    async def _ask_mux(self) -> list[_Finding]:
        """Ask who the token is: the one request that every token may make (facts/BEHAVIOUR.md, section 1.1)."""
        options = CallOptions(priority="interactive", deadline=self._timeout, max_attempts=1)
        name = "credentials"
        try:
            answer = await SystemUtilities(self._caller).with_raw_response.whoami(options=options)
        except AuthenticationError:
            return [(name, "failed", "Mux does not know the access token, or its secret is wrong (401)")]
        except PermissionDeniedError:
            return [(name, "failed", "Mux knows the access token and does not let it in (403)")]
        except DriftError:
            return [(name, "ok", "Mux takes the access token")]
        except MuxError as error:
            status = getattr(error, "status", None)
            shown = type(error).__name__ if status is None else f"status {status}"
            return [(name, "unknown", f"Mux did not say whether the access token is good: {shown}")]
        return [(name, "ok", "Mux takes the access token"), _clock_check(answer.headers.get("Date"), self._caller)]

    async def _ask_limits_store(self) -> list[_Finding]:
        name = "limits store"
        found: list[_Finding] = []
        for limits in self._accounts():
            outcome = await limits.check_store()
            if outcome is None:
                continue
            store, problem = outcome
            found.append((name, "ok", f"{store} answers") if problem is None else (name, "failed", f"{store}: {problem}"))
        return found or [(name, "skipped", "the limits are kept in this process")]

    def _accounts(self) -> list[AccountLimits]:
        engine = self._caller.engine
        return [engine.limits] if engine.batch_limits is engine.limits else [engine.limits, engine.batch_limits]

    def _limits(self) -> HealthCheck:
        waiting, problems, closed = 0, list[str](), list[str]()
        for limits in self._accounts():
            if not limits.settings.enabled:
                return HealthCheck("limits", "skipped", "they are turned off")
            for state in limits.queues():
                waiting += state.queued
                name = state.bucket.value
                patience = max(STUCK_AFTER, 3.0 / state.rate)
                if state.closed_for:
                    closed.append(f"{name} is closed for {state.closed_for:.0f} s after a 429")
                if state.stalled_for > patience:
                    problems.append(
                        f"{state.queued} requests wait for {name}, and none got a grant for {state.stalled_for:.0f} s"
                    )
                elif state.closed_for > CLOSED_TOO_LONG:
                    problems.append(closed[-1])
        if problems:
            return HealthCheck("limits", "failed", "; ".join(problems))
        return HealthCheck("limits", "ok", "; ".join([f"{waiting} requests wait", *closed]))


async def _ask_webhook_store(webhooks: ChecksStore) -> list[_Finding]:
    try:
        await webhooks.check_store()
    except MuxError as error:
        return [("webhook store", "failed", f"it does not answer ({type(error).__name__})")]
    return [("webhook store", "ok", "it answers")]


def _clock_check(date: str | None, caller: Caller) -> _Finding:
    served = parse_http_date(date)
    if served is None:
        return ("clock", "unknown", "the server sends no date")
    skew = caller.engine.config.epoch() - served
    if abs(skew) <= LARGEST_SKEW:
        return ("clock", "ok", "it agrees with Mux's")
    return ("clock", "failed", f"it is off by {skew:+.0f} s: webhooks are refused, and tokens expire early or late")
