"""Where the buckets are kept: in this process (here), or in a file or a server that several processes share (`_shared_limiter`)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

from mux_async._forks import after_fork
from mux_async._operation import Bucket
from mux_async.limits._settings import LimitSettings
from mux_async.limits._token_bucket import TokenBucket

if TYPE_CHECKING:
    from mux_async.limits._snapshots import BucketState


@attrs.define  # not frozen: twice as slow to build, and each call has one; treat as immutable
class Grant:
    """Permission to send one request.

    Attributes:
        bucket: It was taken from.
        at: When, by the limiter's clock; identifies it.
    """

    bucket: Bucket
    at: float


class Limiter(Protocol):
    """Keeps the buckets of one account. It does not queue: the `Gate` of each bucket does, and asks for one grant at a time."""

    def local_bucket(self, bucket: Bucket) -> LocalBucket | None:
        """Return the bucket if it is in this process, for grants that need no waiting; ``None`` if it is in a store."""
        ...

    async def check_store(self) -> tuple[str, str | None] | None:
        """Return the address of the store, and what is wrong with it, if anything; ``None`` if the buckets are in this process."""
        ...

    async def refresh(self) -> None:
        """Bring what `state` and `estimate_wait` say up to date, if the buckets are not in this process."""
        ...

    async def acquire(self, bucket: Bucket, *, held_back: float, rank: int) -> Grant | float:
        """Take a grant, or return the seconds to wait before asking again; a slot may be reserved for then.

        A cancelled call has taken nothing.

        Args:
            bucket: Which.
            held_back: Grants of the burst that are left to others.
            rank: Of the priority: 0 goes before 1, and 1 before 2, where other processes share the bucket.
        """
        ...

    async def release_slot(self, bucket: Bucket) -> None:
        """Cancel the slot that was reserved for this event loop, because nobody waits any more."""
        ...

    async def give_back(self, grant: Grant) -> None:
        """Undo a grant for a request of which nothing was sent."""
        ...

    async def on_throttled(self, grant: Grant, delay: float | None) -> float:
        """Record that the request of *grant* was answered 429; the server asked for *delay* seconds, or did not say.

        Returns:
            Seconds for which the bucket is closed now.
        """
        ...

    async def observe_remaining(self, bucket: Bucket, remaining: int) -> None:
        """Record that the server would accept *remaining* more requests now.

        A caller waits for the answer that said so, so this may be cut off at any time.
        """
        ...

    def estimate_wait(self, bucket: Bucket, *, held_back: float, rank: int, ahead: int) -> float:
        """Estimate the seconds until a grant, were *ahead* others made first. From what this process knows; does no I/O."""
        ...

    def state(self, bucket: Bucket) -> BucketState:
        """Return the state of a bucket, from what this process knows; does no I/O."""
        ...

    async def aclose(self) -> None:
        """Close files and connections. May be called any number of times; they are opened again when used."""
        ...


class LocalBucket:
    """A bucket of this process, shared by its threads. Hold `lock` while using `tokens` or calling `clock`.

    Attributes:
        tokens: The allowance.
        clock: Monotonic seconds.
        lock: Held for a few microseconds.
    """

    __slots__ = ("clock", "lock", "tokens")

    def __init__(self, tokens: TokenBucket, clock: Callable[[], float]) -> None:
        self.tokens: TokenBucket = tokens
        # Only a clock of the caller's own can step back.
        self.clock: Callable[[], float] = clock if clock is time.monotonic else _SteadyClock(clock)
        self.lock: threading.Lock = threading.Lock()


class _SteadyClock:
    """A clock that goes on from where it was when the clock behind it steps back."""

    __slots__ = ("_clock", "_latest", "_skew")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._latest = -math.inf
        self._skew = 0.0
        """Seconds by which the clock stepped back so far."""

    def __call__(self) -> float:
        now = self._clock() + self._skew
        if now < self._latest:
            self._skew += self._latest - now
            return self._latest
        self._latest = now
        return now


class MemoryLimiter:
    """Buckets in this process. Its methods never wait.

    Args:
        settings: The account's allowance.
        clock: Monotonic seconds. ``time.monotonic`` is the same for every event loop of the process, which is why it is the default.
        buckets: To start with; full ones by default.
    """

    def __init__(
        self,
        settings: LimitSettings,
        clock: Callable[[], float] = time.monotonic,
        buckets: Mapping[Bucket, TokenBucket] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._buckets = {bucket: LocalBucket(tokens, clock) for bucket, tokens in (buckets or {}).items()}
        after_fork(self)

    def reset_after_fork(self) -> object:
        """Make new locks, in a forked child: a thread of the parent may have held the old ones, and does not exist here."""
        for local in list(self._buckets.values()):
            local.lock = threading.Lock()
        return None

    def local_bucket(self, bucket: Bucket) -> LocalBucket:
        """Return the bucket, made on first use: most clients use one or two of the four, and a process may have thousands of accounts."""
        local = self._buckets.get(bucket)
        if local is None:  # `setdefault` is atomic: threads agree on one bucket
            local = self._buckets.setdefault(bucket, LocalBucket(self._settings.new_bucket(bucket), self._clock))
        return local

    async def check_store(self) -> tuple[str, str | None] | None:
        """See `Limiter.check_store`."""
        return None

    async def refresh(self) -> None:
        """Do nothing: the buckets are here."""

    async def acquire(self, bucket: Bucket, *, held_back: float, rank: int) -> Grant | float:  # noqa: ARG002 - the gate orders by rank
        """Take a grant, or return the seconds to wait."""
        local = self.local_bucket(bucket)
        with local.lock:
            wait = local.tokens.take(local.clock(), held_back=held_back)
            return wait or Grant(bucket, local.tokens.now)

    async def release_slot(self, bucket: Bucket) -> None:
        """Do nothing: no slot is reserved."""

    async def give_back(self, grant: Grant) -> None:
        """Undo a grant of the last minute."""
        local = self.local_bucket(grant.bucket)
        with local.lock:
            local.tokens.give_back(grant.at)

    async def on_throttled(self, grant: Grant, delay: float | None) -> float:
        """Close the grant's bucket after a 429, and adapt its rate."""
        local = self.local_bucket(grant.bucket)
        with local.lock:
            return local.tokens.on_throttled(local.clock(), granted_at=grant.at, delay=delay)

    async def observe_remaining(self, bucket: Bucket, remaining: int) -> None:
        """Lower a bucket to what the server has left."""
        local = self.local_bucket(bucket)
        with local.lock:
            local.tokens.observe_remaining(local.clock(), remaining=remaining)

    def estimate_wait(self, bucket: Bucket, *, held_back: float, rank: int, ahead: int) -> float:  # noqa: ARG002 - `ahead` counts all
        """Return the seconds until a grant, were *ahead* others made first."""
        local = self.local_bucket(bucket)
        with local.lock:
            now = local.clock()
            return local.tokens.ready_at(now, held_back=held_back, ahead=ahead) - now

    def state(self, bucket: Bucket) -> BucketState:
        """Return the state of a bucket."""
        from mux_async.limits._snapshots import state_of

        local = self.local_bucket(bucket)
        with local.lock:
            return state_of(local.tokens, local.clock())

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""
