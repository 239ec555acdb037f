"""One account's limits: its buckets, shared by every client of the account in this process.

The registry below is process-wide state. A rate limit belongs to an account, not to an object: two clients of one token that did not
share it would together send twice what is allowed. Its key is the base URL and the account. It holds its entries weakly, so they live no
longer than a client that uses them, and an entry that no open client uses is replaced when other settings are given. After a fork each
process has its own limits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar
from weakref import WeakMethod, WeakSet, WeakValueDictionary

import anyio
import attrs

from mux_async._forks import after_fork
from mux_async._operation import Bucket
from mux_async._per_loop import PerLoop
from mux_async.errors import ConfigurationError
from mux_async.limits._gate import Counters, Gate
from mux_async.limits._limiter import Grant, Limiter, MemoryLimiter
from mux_async.limits._retry_budget import RetryBudget
from mux_async.limits._settings import LimitSettings
from mux_async.limits._wait_queue import PRIORITIES, Priority
from mux_async.transport import current_loop

if TYPE_CHECKING:
    from mux_async.limits._events import LimitEvent, LimitListener, StoreEvent
    from mux_async.limits._snapshots import BucketSnapshot, Forecast, LimitsSnapshot, QueueState

T = TypeVar("T")

logger = logging.getLogger(__name__)

Gates = dict[Bucket, Gate]

_CONFLICT: Final = (
    "another client of this account has other limits, and an account has one set of them: close it first, give both the same `limits`, "
    "leave them out of one, or name two accounts (account='...')"
)


class LimitsUser(Protocol):
    """A client, as its limits see it."""

    @property
    def is_open(self) -> bool:
        """Whether it may send requests. False once it was closed, or its event loops have ended."""
        ...


_STORE_TIME: Final = 1.0
"""Seconds that giving a grant back, or recording a 429, may take: two commands to a shared store that does not answer."""
_HINT_TIME: Final = 0.1
"""Seconds that an answer may wait until a shared store knows what it said of the limit; after that, the next command brings it there."""


class AccountLimits:
    """The limits of one account in this process.

    Args:
        settings: What the account is allowed.
        limiter: Keeps the buckets; by default the one that the settings' URL names, or one in this process.
        clock: Monotonic seconds.
        key: Names the account where several are kept.
    """

    _registry: ClassVar[WeakValueDictionary[tuple[str, str], AccountLimits]] = WeakValueDictionary()
    _registry_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        settings: LimitSettings,
        limiter: Limiter | None = None,
        clock: Callable[[], float] = time.monotonic,
        key: str = "",
    ) -> None:
        self.settings = settings
        self.retries: RetryBudget = RetryBudget(settings.retries)
        self._clock = clock
        if limiter is None:
            if settings.url is None or not settings.enabled:
                limiter = MemoryLimiter(settings, clock)
            else:
                from mux_async.limits._open import open_limiter  # most programs do not share limits

                limiter = open_limiter(settings.url, key, settings, clock, _notify_weakly(WeakMethod(self._notify)))
        self._limiter = limiter
        self._gates: PerLoop[Gates] = PerLoop()
        self._counters = {bucket: Counters() for bucket in Bucket}
        self._listeners: list[LimitListener] = []
        self._users: WeakSet[LimitsUser] = WeakSet()
        self._name = key
        self._key: tuple[str, str] | None = None
        self._had_users = False
        after_fork(self)

    def reset_after_fork(self) -> object:
        """Make a new lock, in a forked child: a thread of the parent may have held the old one, and does not exist here."""
        type(self)._registry_lock = threading.Lock()
        return None

    @classmethod
    def shared(
        cls,
        base_url: str,
        account: str,
        settings: LimitSettings | None,
        clock: Callable[[], float] = time.monotonic,
        url: str | None = None,
    ) -> AccountLimits:
        """Return the limits that every client of *account* in this process shares, made on first use.

        Args:
            base_url: Of the API; accounts of different servers are different.
            account: Any name; the access token's id when the user gave none.
            settings: What the account is allowed; ``None`` for the existing settings, or the published rates.
            clock: Monotonic seconds; used when the limits are made.
            url: Where the buckets are kept when the settings do not say.

        Raises:
            ConfigurationError: An open client of the account has other settings, or the URL names no store.
        """
        if settings is not None and settings.url is None and url:
            settings = attrs.evolve(settings, url=url)
        with cls._registry_lock:
            place = base_url, account
            limits = cls._registry.get(place)
            if limits is not None and settings is not None and settings != limits.settings:
                if limits._is_in_use:
                    raise ConfigurationError(_CONFLICT)
                limits = None
            if limits is None:
                limits = cls._registry[place] = cls(
                    settings or LimitSettings(url=url or None), clock=clock, key=f"{base_url} {account}"
                )
                limits._key = place
            return limits

    @property
    def label(self) -> str:
        """A name of the account for metrics, without the id of its token."""
        import hashlib  # most programs never ask

        return hashlib.sha256(self._name.encode("utf-8", "surrogatepass")).hexdigest()[:8]

    def attach(self, user: LimitsUser, *, is_flexible: bool) -> AccountLimits:
        """Return the limits for *user* to open with: these, or the ones that replaced them while no client had these open.

        Args:
            user: Uses the limits from now on, as long as it is open. Held weakly.
            is_flexible: Whether it may have other settings than these.

        Raises:
            ConfigurationError: Other clients of the account are open with other settings.
        """
        with self._registry_lock:
            limits = self
            if self._key is not None:
                current = self._registry.get(self._key)
                if current is not None and current is not self and current._is_in_use:
                    if not is_flexible and current.settings != self.settings:
                        raise ConfigurationError(_CONFLICT)
                    limits = current
                self._registry[self._key] = limits
            limits._users.add(user)
            limits._had_users = True
            return limits

    @property
    def _is_in_use(self) -> bool:
        """Whether a client has them open. An exception may hold a client long after it was closed."""
        return not self._had_users or any(user.is_open for user in list(self._users))

    def gate(self, loop: object, bucket: Bucket) -> Gate:
        """Return the queue of *bucket* for one event loop, made on first use."""
        gates = self._gates.open.get(loop)
        if gates is None:
            gates = dict[Bucket, Gate]()
            self._gates.put(loop, gates)
        gate = gates.get(bucket)
        if gate is None:
            notify = partial(self._notify_delayed, bucket)
            gate = gates[bucket] = Gate(self._limiter, bucket, self.settings, self._clock, self._counters[bucket], notify, loop)
        return gate

    # A caller waits for the answer, or the failure, that the next three methods follow. They neither lose it nor delay it for long: a
    # deadline or a cancellation does not cut them off, a slow or broken store delays them by a bounded time, and they raise nothing.

    async def give_back(self, grant: Grant) -> None:
        """Return the grant of a request of which nothing was sent."""
        await self._run_bounded(self._limiter.give_back(grant), _STORE_TIME)
        here = self._gates.open.get(current_loop(), {})
        if grant.bucket in here:
            here[grant.bucket].wake_leader()

    async def on_throttled(self, grant: Grant, delay: float | None) -> float:
        """Close the bucket for all requests, after a 429. Returns the seconds for which it is closed."""
        bucket = grant.bucket
        self._counters[bucket].throttled += 1
        closed_for = await self._run_bounded(self._limiter.on_throttled(grant, delay), _STORE_TIME)
        if closed_for is None:
            closed_for = self._limiter.state(bucket).closed_for
        if self._listeners:
            from mux_async.limits._events import RequestThrottled

            self._notify(RequestThrottled(bucket, closed_for, self._limiter.state(bucket).rate))
        return closed_for

    async def check_store(self) -> tuple[str, str | None] | None:
        """Return the address of the store, and what is wrong with it, if anything; ``None`` if there is none."""
        return await self._limiter.check_store()

    async def refresh(self) -> None:
        """Read the buckets from the store, if there is one."""
        await self._limiter.refresh()

    def queues(self) -> list[QueueState]:
        """Return how the queue of each bucket moves."""
        from mux_async.limits._snapshots import QueueState

        found: list[QueueState] = []
        for bucket in Bucket:
            state, gates = self._limiter.state(bucket), self._gates_of(bucket)
            stalled = max((gate.stalled_for() for gate in gates), default=0.0)
            found.append(QueueState(bucket, sum(map(len, gates)), stalled, state.closed_for, state.rate))
        return found

    def rate(self, bucket: Bucket) -> float:
        """Return the requests a second that a bucket allows now, as learned."""
        return self._limiter.state(bucket).rate

    async def observe_headers(self, bucket: Bucket, remaining: str, limit: str | None) -> None:
        """Record what a response says of a bucket: ``X-RateLimit-Remaining`` and ``X-RateLimit-Limit``.

        What the two mean is not published (facts/NEWER.md, section 6). Here they are the number of requests that the server would still
        accept, and the largest such number. Anything else is ignored.
        """
        left, most = _count(remaining), _count(limit)
        if left is None or (most is not None and left > most):
            return
        counters = self._counters[bucket]
        counters.reported_remaining, counters.reported_limit = left, most
        await self.observe_remaining(bucket, left)

    async def observe_remaining(self, bucket: Bucket, remaining: int) -> None:
        """Record how many requests the server would still accept."""
        await self._run_bounded(self._limiter.observe_remaining(bucket, remaining), _HINT_TIME)

    async def _run_bounded(self, command: Coroutine[Any, Any, T], seconds: float) -> T | None:
        """Await *command* of the limiter, for *seconds* at most. Returns ``None`` when it failed or took longer."""
        try:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + seconds):
                return await command
        except Exception:
            logger.exception("the limits' store failed", extra={"mux_account": self.label})
        return None

    async def aclose(self) -> None:
        """Close the running event loop's connections to a shared store. The next command opens them again."""
        await self._limiter.aclose()

    @contextmanager
    def listen(self, listener: LimitListener) -> Generator[None]:
        """Call *listener* with every wait and every 429, and when a shared store is lost or restored, while the block runs.

        Its exceptions are logged, and do not affect the call that caused the event.
        """
        # Here, and not with the first event: by then the process may be unable to open another file.
        import_module("mux_async.limits._events")
        import_module("mux_async.limits._snapshots")

        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def forecast(self, counts: Mapping[Bucket, int]) -> Forecast:
        """Return how long *counts* of requests would take.

        Raises:
            ConfigurationError: A count is negative.
        """
        from mux_async.limits._snapshots import Forecast

        return Forecast(*(self._forecast(counts, priority) for priority in PRIORITIES))

    def _forecast(self, counts: Mapping[Bucket, int], priority: Priority) -> float:
        longest = 0.0
        for bucket, count in counts.items():
            if count < 0:
                raise ConfigurationError(f"{count} requests of {bucket.value!r} cannot be forecast")
            if count and self.settings.enabled:
                rank = PRIORITIES.index(priority) + 1
                ahead = sum(gate.queued(other) for gate in self._gates_of(bucket) for other in PRIORITIES[:rank])
                held_back = self.settings.held_back(priority, self.settings.bucket(bucket))
                longest = max(
                    longest, self._limiter.estimate_wait(bucket, held_back=held_back, rank=rank - 1, ahead=ahead + count - 1)
                )
        return longest

    def snapshot(self) -> LimitsSnapshot:
        """Return the state of all four buckets, without waiting."""
        from mux_async.limits._snapshots import LimitsSnapshot

        return LimitsSnapshot(*(self._snapshot_of(bucket) for bucket in Bucket))

    def _snapshot_of(self, bucket: Bucket) -> BucketSnapshot:
        from mux_async.limits._snapshots import BucketSnapshot

        state = self._limiter.state(bucket)
        counters = self._counters[bucket]
        gates = self._gates_of(bucket)
        queued: dict[Priority, int] = {priority: sum(gate.queued(priority) for gate in gates) for priority in PRIORITIES}
        ahead = queued["interactive"] + queued["default"]
        held_back = self.settings.held_back("default", self.settings.bucket(bucket))
        return BucketSnapshot(
            level=state.level,
            rate=state.rate,
            ceiling=state.ceiling,
            burst=state.burst,
            queued=sum(queued.values()),
            queued_by_priority=queued,
            eta=self._limiter.estimate_wait(bucket, held_back=held_back, rank=PRIORITIES.index("default"), ahead=ahead),
            closed_for=state.closed_for,
            granted=counters.granted,
            waited=counters.waited,
            throttled=counters.throttled,
            reported_limit=counters.reported_limit,
            reported_remaining=counters.reported_remaining,
            since_throttled=state.since_throttled,
            others_waiting=dict(zip(PRIORITIES, state.others, strict=True)),
            loops=state.loops,
        )

    def _gates_of(self, bucket: Bucket) -> list[Gate]:
        return [gates[bucket] for gates in list(self._gates.open.values()) if bucket in gates]

    def _notify_delayed(self, bucket: Bucket, priority: Priority, seconds: float) -> None:
        if self._listeners:
            from mux_async.limits._events import RequestDelayed

            self._notify(RequestDelayed(bucket, priority, seconds))

    def _notify(self, event: LimitEvent) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                # The call that caused the event holds a grant, or has its answer: a listener must not lose it.
                logger.exception("a listener of the limits failed on %r", event, extra={"mux_account": self.label})


def _count(text: str | None) -> int | None:
    """Return the number that *text* writes with up to nine digits; ``None`` if it is anything else."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None


def _notify_weakly(notify: WeakMethod[Callable[[LimitEvent], None]]) -> Callable[[StoreEvent], None]:
    """Return *notify* without keeping its account alive: the limiter would, and the account keeps the limiter."""

    def pass_on(event: StoreEvent) -> None:
        if (method := notify()) is not None:
            method(event)

    return pass_on
