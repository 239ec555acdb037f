"""One account's limits: its buckets, shared by every client of the account in this process.

The registry below is the one piece of process-wide state. A rate limit belongs to an account, not to an object: two clients of one
token that did not know of each other would together ask for twice what is allowed. It is keyed by base URL and account, and holds
its entries weakly, so they live exactly as long as a client that uses them. After a fork each process paces for itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ClassVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import attrs

from mux_async._operation import Bucket
from mux_async.errors import ConfigurationError
from mux_async.limits._backend import Grant, LimitBackend, MemoryBackend
from mux_async.limits._gate import Gate, Tally
from mux_async.limits._settings import LimitSettings


@attrs.frozen
class BucketSnapshot:
    """One bucket at one moment.

    Attributes:
        level: Requests that could go out at once, 0 to ``burst``.
        rate: Requests a second, sustained.
        burst: Requests at once after a quiet time.
        queued: Requests waiting, in all event loops of this process.
        eta: Seconds that a request arriving now would wait at least.
        closed_for: Seconds until a bucket closed by a 429 opens; 0.0 when open.
        granted: Requests let out by this process so far.
        waited: Seconds that they waited, all together.
        refused: Answers of 429 so far.
    """

    level: float
    rate: float
    burst: int
    queued: int
    eta: float
    closed_for: float
    granted: int
    waited: float
    refused: int


@attrs.frozen
class LimitsSnapshot:
    """All four buckets at one moment."""

    post: BucketSnapshot
    other: BucketSnapshot
    realtime_data: BucketSnapshot
    general_data: BucketSnapshot


Gates = dict[Bucket, Gate]


class AccountLimits:
    """The limits of one account in this process.

    Args:
        settings: What the account is allowed.
        backend: Keeps the buckets; in this process by default.
        clock: Monotonic seconds.
    """

    _registry: ClassVar[WeakValueDictionary[tuple[str, str], AccountLimits]] = WeakValueDictionary()
    _registry_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        settings: LimitSettings,
        backend: LimitBackend | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._backend = backend or MemoryBackend(settings, clock)
        self._gates: WeakKeyDictionary[object, Gates] = WeakKeyDictionary()
        self._tallies = {bucket: Tally() for bucket in Bucket}

    @classmethod
    def shared(
        cls, base_url: str, account: str, settings: LimitSettings | None, clock: Callable[[], float] = time.monotonic
    ) -> AccountLimits:
        """Return the limits that every client of *account* in this process shares, made on first use.

        Args:
            base_url: Of the API; accounts of different servers are different.
            account: Any name; the access token's id when the user gave none.
            settings: What the account is allowed; ``None`` for what is there already, or the published rates.
            clock: Monotonic seconds; used when the limits are made.

        Raises:
            ConfigurationError: A living client of the account has other settings.
        """
        with cls._registry_lock:
            limits = cls._registry.get((base_url, account))
            if limits is None:
                limits = cls._registry[base_url, account] = cls(settings or LimitSettings(), clock=clock)
            elif settings is not None and settings != limits.settings:
                raise ConfigurationError(
                    "another client of this account has other limits, and an account has one set of them: give both the same "
                    "`limits`, leave them out of one, or name two accounts (account='...')"
                )
            return limits

    def gate(self, loop: object, bucket: Bucket) -> Gate:
        """Return the queue of *bucket* for one event loop, made on first use."""
        gates = self._gates.get(loop)
        if gates is None:
            gates = self._gates[loop] = {}
        gate = gates.get(bucket)
        if gate is None:
            gate = gates[bucket] = Gate(self._backend, bucket, self._clock, self._tallies[bucket])
        return gate

    async def give_back(self, grant: Grant) -> None:
        """Return the grant of a request of which nothing was sent."""
        await self._backend.give_back(grant)

    async def close(self, grant: Grant, delay: float | None) -> float:
        """Close a bucket for everybody, after a 429. Returns the seconds for which it is closed."""
        self._tallies[grant.bucket].refused += 1
        return await self._backend.close(grant, delay)

    def snapshot(self) -> LimitsSnapshot:
        """Return all four buckets as they stand, without waiting."""
        return LimitsSnapshot(*(self._look(bucket) for bucket in Bucket))

    def _look(self, bucket: Bucket) -> BucketSnapshot:
        state = self._backend.state(bucket)
        tally = self._tallies[bucket]
        queued = sum(len(gates[bucket]) for gates in list(self._gates.values()) if bucket in gates)
        return BucketSnapshot(
            level=state.level,
            rate=state.rate,
            burst=state.burst,
            queued=queued,
            eta=self._backend.wait(bucket, paced=False, ahead=queued),
            closed_for=state.closed_for,
            granted=tally.granted,
            waited=tally.waited,
            refused=tally.refused,
        )
