"""Where the buckets live: in this process (here), or in a file or a server that several processes share (`_open`)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

from mux_async._lifetimes import after_fork
from mux_async._operation import Bucket
from mux_async.limits._bucket import PacedBucket
from mux_async.limits._settings import LimitSettings

if TYPE_CHECKING:
    from mux_async.limits._snapshots import BucketState


@attrs.define  # not frozen, which would make it twice as dear, and each call has one; nobody changes it all the same
class Grant:
    """Leave to send one request.

    Attributes:
        bucket: It was taken from.
        at: When, by the backend's clock; identifies it.
    """

    bucket: Bucket
    at: float


class LimitBackend(Protocol):
    """Keeps the buckets of one account. The gate in front of it does the queueing: it asks for one grant at a time and bucket."""

    def take_now(self, bucket: Bucket, *, leave: int) -> Grant | None:
        """Take a grant if that needs neither waiting nor asking anybody; ``None`` when it does.

        Args:
            bucket: Which.
            leave: Grants of the burst that are left to others.
        """
        ...

    async def take(self, bucket: Bucket, *, leave: int, rank: int) -> Grant | float:
        """Take a grant, or return the seconds to wait before asking again; a slot may be reserved for then.

        A cancelled call has taken nothing.

        Args:
            bucket: Which.
            leave: Grants of the burst that are left to others.
            rank: Class of service: 0 goes before 1, and 1 before 2, where others share the bucket.
        """
        ...

    async def release(self, bucket: Bucket) -> None:
        """Give up the slot that was reserved for this event loop, because nobody waits any more."""
        ...

    async def give_back(self, grant: Grant) -> None:
        """Undo a grant for a request of which nothing was sent."""
        ...

    async def refuse(self, grant: Grant, delay: float | None) -> float:
        """Record that the request of *grant* was answered 429; the server asked for *delay* seconds, or did not say.

        Returns:
            Seconds for which the bucket is closed now.
        """
        ...

    async def hear(self, bucket: Bucket, remaining: int) -> None:
        """Record that the server would let through *remaining* more requests now.

        It comes with an answer that a caller waits for, and may be cut off at any time.
        """
        ...

    def wait(self, bucket: Bucket, *, leave: int, rank: int, ahead: int) -> float:
        """Estimate the seconds until a grant, were *ahead* others made first. From what is known here, asking nobody."""
        ...

    def state(self, bucket: Bucket) -> BucketState:
        """Return a bucket as it stands, from what is known here, asking nobody."""
        ...

    async def aclose(self) -> None:
        """Let go of files and connections. Any number of times; it opens them again when used."""
        ...


class MemoryBackend:
    """Buckets in this process. Shared by threads: each method holds a lock for its few microseconds, and never waits.

    Args:
        settings: The account's allowance.
        clock: Monotonic seconds. ``time.monotonic`` is the same for every event loop of the process, and is why it is the default.
        buckets: To start with; full ones by default.
    """

    def __init__(
        self,
        settings: LimitSettings,
        clock: Callable[[], float] = time.monotonic,
        buckets: Mapping[Bucket, PacedBucket] | None = None,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latest = -math.inf
        self._skew = 0.0
        """Seconds by which the clock stepped back so far."""
        self._buckets = dict(buckets) if buckets is not None else {bucket: settings.new_bucket(bucket) for bucket in Bucket}
        after_fork(self)

    def start_afresh(self) -> object:
        """Make a new lock, in a forked child: another thread may have held the old one, and does not exist there."""
        self._lock = threading.Lock()
        return None

    def _now(self) -> float:
        """Return the clock's time, going on from where it was when the clock steps back. Called with the lock held."""
        now = self._clock() + self._skew
        if now < self._latest:
            self._skew += self._latest - now
            return self._latest
        self._latest = now
        return now

    def take_now(self, bucket: Bucket, *, leave: int) -> Grant | None:
        """Take a grant, if there is one."""
        held = self._buckets[bucket]
        with self._lock:
            return None if held.take(self._now(), leave=leave) else Grant(bucket, held.now)

    async def take(self, bucket: Bucket, *, leave: int, rank: int) -> Grant | float:  # noqa: ARG002 - the line sees to ranks
        """Take a grant, or return the seconds to wait. Never suspends."""
        held = self._buckets[bucket]
        with self._lock:
            wait = held.take(self._now(), leave=leave)
            return wait or Grant(bucket, held.now)

    async def release(self, bucket: Bucket) -> None:
        """Nothing was reserved. Never suspends."""

    async def give_back(self, grant: Grant) -> None:
        """Undo a grant of the last minute. Never suspends."""
        with self._lock:
            self._buckets[grant.bucket].give_back(grant.at)

    async def refuse(self, grant: Grant, delay: float | None) -> float:
        """Close the grant's bucket after a 429, and learn from it. Never suspends."""
        with self._lock:
            return self._buckets[grant.bucket].refuse(self._now(), granted_at=grant.at, delay=delay)

    async def hear(self, bucket: Bucket, remaining: int) -> None:
        """Lower a bucket to what the server has left. Never suspends."""
        with self._lock:
            self._buckets[bucket].hear(self._now(), remaining=remaining)

    def wait(self, bucket: Bucket, *, leave: int, rank: int, ahead: int) -> float:  # noqa: ARG002 - `ahead` counts them all
        """Return the seconds until a grant, were *ahead* others made first."""
        with self._lock:
            now = self._now()
            return self._buckets[bucket].ready_at(now, leave=leave, ahead=ahead) - now

    def state(self, bucket: Bucket) -> BucketState:
        """Return a bucket as it stands."""
        from mux_async.limits._snapshots import BucketState

        with self._lock:
            now = self._now()
            held = self._buckets[bucket]
            return BucketState(held.level(now), held.rate, held.ceiling, held.burst, max(0.0, held.closed_until - now))

    async def aclose(self) -> None:
        """Nothing to let go of."""
