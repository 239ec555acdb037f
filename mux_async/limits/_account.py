"""One account's limits: its buckets, shared by every client of the account in this process.

The registry below is the one piece of process-wide state. A rate limit belongs to an account, not to an object: two clients of one
token that did not know of each other would together ask for twice what is allowed. It is keyed by base URL and account, and holds
its entries weakly, so they live no longer than a client that uses them; one that no open client uses gives way to other settings.
After a fork each process paces for itself.
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

from mux_async._lifetimes import PerLoop, after_fork
from mux_async._operation import Bucket
from mux_async.errors import ConfigurationError
from mux_async.limits._backend import Grant, LimitBackend, MemoryBackend
from mux_async.limits._gate import Gate, Tally
from mux_async.limits._line import PRIORITIES, Priority
from mux_async.limits._retries import RetryBudget
from mux_async.limits._settings import LimitSettings
from mux_async.transport import current_loop

if TYPE_CHECKING:
    from mux_async.limits._events import BackendEvent, LimitEvent, LimitListener
    from mux_async.limits._snapshots import BucketSnapshot, Forecast, LimitsSnapshot

T = TypeVar("T")

logger = logging.getLogger(__name__)

Gates = dict[Bucket, Gate]

_OTHER_LIMITS: Final = (
    "another client of this account has other limits, and an account has one set of them: close it first, give both the same `limits`, "
    "leave them out of one, or name two accounts (account='...')"
)


class LimitsUser(Protocol):
    """A client, as far as its limits know it."""

    @property
    def is_open(self) -> bool:
        """Whether it may send requests without being opened again: false once it was closed, or its event loops have ended."""
        ...


_STORE_TIME: Final = 1.0
"""Seconds that undoing a grant, or recording a refusal, may take: two commands to a shared store that gives no answer."""
_HINT_TIME: Final = 0.1
"""Seconds that an answer may wait until a shared store knows what it said of the limit; later it travels with the next command."""


class AccountLimits:
    """The limits of one account in this process.

    Args:
        settings: What the account is allowed.
        backend: Keeps the buckets; what the settings' URL names by default, or this process.
        clock: Monotonic seconds.
        key: Names the account where several are kept.
    """

    _registry: ClassVar[WeakValueDictionary[tuple[str, str], AccountLimits]] = WeakValueDictionary()
    _registry_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        settings: LimitSettings,
        backend: LimitBackend | None = None,
        clock: Callable[[], float] = time.monotonic,
        key: str = "",
    ) -> None:
        self.settings = settings
        self.retries = RetryBudget(settings.retries)
        self._clock = clock
        if backend is None:
            if settings.url is None or not settings.enabled:
                backend = MemoryBackend(settings, clock)
            else:
                from mux_async.limits._open import open_backend  # most programs share with nobody

                backend = open_backend(settings.url, key, settings, clock, _tell_weakly(WeakMethod(self._tell)))
        self._backend = backend
        self._gates: PerLoop[Gates] = PerLoop()
        self._tallies = {bucket: Tally() for bucket in Bucket}
        self._listeners: list[LimitListener] = []
        self._users: WeakSet[LimitsUser] = WeakSet()
        self._place: tuple[str, str] | None = None
        self._had_users = False
        after_fork(self)

    def start_afresh(self) -> object:
        """Make a new lock, in a forked child: another thread may have held the old one, and does not exist there."""
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
            settings: What the account is allowed; ``None`` for what is there already, or the published rates.
            clock: Monotonic seconds; used when the limits are made.
            url: Where the buckets are kept when the settings do not say.

        Raises:
            ConfigurationError: An open client of the account has other settings, or the URL names no backend.
        """
        if settings is not None and settings.url is None and url:
            settings = attrs.evolve(settings, url=url)
        with cls._registry_lock:
            place = base_url, account
            limits = cls._registry.get(place)
            if limits is not None and settings is not None and settings != limits.settings:
                if limits._is_in_use:
                    raise ConfigurationError(_OTHER_LIMITS)
                limits = None
            if limits is None:
                limits = cls._registry[place] = cls(
                    settings or LimitSettings(url=url or None), clock=clock, key=f"{base_url} {account}"
                )
                limits._place = place
            return limits

    def shared_with(self, user: LimitsUser, *, is_flexible: bool) -> AccountLimits:
        """Return the limits for *user* to open with: these, or those that took their place when no client had these open.

        Args:
            user: Counts from now on, as long as it is open. Held weakly.
            is_flexible: Whether it may have other settings than these.

        Raises:
            ConfigurationError: Other clients of the account are open with other settings.
        """
        with self._registry_lock:
            limits = self
            if self._place is not None:
                current = self._registry.get(self._place)
                if current is not None and current is not self and current._is_in_use:
                    if not is_flexible and current.settings != self.settings:
                        raise ConfigurationError(_OTHER_LIMITS)
                    limits = current
                self._registry[self._place] = limits
            limits._users.add(user)
            limits._had_users = True
            return limits

    @property
    def _is_in_use(self) -> bool:
        """Whether a client has them open. Something that failed may hold a client for long after it was closed."""
        return not self._had_users or any(user.is_open for user in list(self._users))

    def gate(self, loop: object, bucket: Bucket) -> Gate:
        """Return the queue of *bucket* for one event loop, made on first use."""
        gates = self._gates.open.get(loop)
        if gates is None:
            gates = dict[Bucket, Gate]()
            self._gates.put(loop, gates)
        gate = gates.get(bucket)
        if gate is None:
            tell = partial(self._tell_waited, bucket)
            gate = gates[bucket] = Gate(self._backend, bucket, self.settings, self._clock, self._tallies[bucket], tell, loop)
        return gate

    # The three below come after an answer, or a failure, that a caller waits for. They neither lose it nor keep it waiting: a deadline or
    # a cancellation does not cut them off, a store that is slow or broken delays them by a bounded time, and they raise nothing.

    async def give_back(self, grant: Grant) -> None:
        """Return the grant of a request of which nothing was sent."""
        await self._settle(self._backend.give_back(grant), _STORE_TIME)
        here = self._gates.open.get(current_loop(), {})
        if grant.bucket in here:
            here[grant.bucket].look_again()

    async def refuse(self, grant: Grant, delay: float | None) -> float:
        """Close a bucket for everybody, after a 429. Returns the seconds for which it is closed."""
        bucket = grant.bucket
        self._tallies[bucket].refused += 1
        closed_for = await self._settle(self._backend.refuse(grant, delay), _STORE_TIME)
        if closed_for is None:
            closed_for = self._backend.state(bucket).closed_for
        if self._listeners:
            from mux_async.limits._events import Refused

            self._tell(Refused(bucket, closed_for, self._backend.state(bucket).rate))
        return closed_for

    async def hear(self, bucket: Bucket, remaining: int) -> None:
        """Take the server's word for how many requests it would still let through."""
        await self._settle(self._backend.hear(bucket, remaining), _HINT_TIME)

    async def _settle(self, command: Coroutine[Any, Any, T], seconds: float) -> T | None:
        """Carry out *command* of the backend, for *seconds* at most. Returns ``None`` when it failed or took longer."""
        try:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + seconds):
                return await command
        except Exception:
            logger.exception("the backend of the limits failed")
        return None

    async def aclose(self) -> None:
        """Let go of the running event loop's connections to a shared backend. It opens them again when it is used."""
        await self._backend.aclose()

    @contextmanager
    def listen(self, listener: LimitListener) -> Generator[None]:
        """Tell *listener* of every wait and every 429, and when a shared backend is lost or back, while the block runs.

        What it raises is logged, and changes nothing for the call that it was told of.
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
        """Say how long *counts* of requests would take.

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
                leave = self.settings.left_by(priority, self.settings.bucket(bucket).burst)
                longest = max(longest, self._backend.wait(bucket, leave=leave, rank=rank - 1, ahead=ahead + count - 1))
        return longest

    def snapshot(self) -> LimitsSnapshot:
        """Return all four buckets as they stand, without waiting."""
        from mux_async.limits._snapshots import LimitsSnapshot

        return LimitsSnapshot(*(self._look(bucket) for bucket in Bucket))

    def _look(self, bucket: Bucket) -> BucketSnapshot:
        from mux_async.limits._snapshots import BucketSnapshot

        state = self._backend.state(bucket)
        tally = self._tallies[bucket]
        gates = self._gates_of(bucket)
        queued: dict[Priority, int] = {priority: sum(gate.queued(priority) for gate in gates) for priority in PRIORITIES}
        ahead = queued["interactive"] + queued["default"]
        leave = self.settings.left_by("default", state.burst)
        return BucketSnapshot(
            level=state.level,
            rate=state.rate,
            ceiling=state.ceiling,
            burst=state.burst,
            queued=sum(queued.values()),
            queued_by_priority=queued,
            eta=self._backend.wait(bucket, leave=leave, rank=PRIORITIES.index("default"), ahead=ahead),
            closed_for=state.closed_for,
            granted=tally.granted,
            waited=tally.waited,
            refused=tally.refused,
        )

    def _gates_of(self, bucket: Bucket) -> list[Gate]:
        return [gates[bucket] for gates in list(self._gates.open.values()) if bucket in gates]

    def _tell_waited(self, bucket: Bucket, priority: Priority, seconds: float) -> None:
        if self._listeners:
            from mux_async.limits._events import Waited

            self._tell(Waited(bucket, priority, seconds))

    def _tell(self, event: LimitEvent) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                # The call that caused the event holds a grant, or has its answer: neither is the listener's to lose.
                logger.exception("a listener of the limits failed on %r", event)


def _tell_weakly(tell: WeakMethod[Callable[[LimitEvent], None]]) -> Callable[[BackendEvent], None]:
    """Return *tell* without keeping its account alive: the backend would, and its account the backend."""

    def pass_on(event: BackendEvent) -> None:
        if (method := tell()) is not None:
            method(event)

    return pass_on
