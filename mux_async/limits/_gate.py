"""The queue in front of a bucket, for one event loop: first come, first served, and nobody is lost.

The naive way is a task that hands out permits, or a lock around "sleep until free". The first needs an owner that a client used
without ``async with`` does not have; the second admits waiters in any order and holds up everybody when its holder is cancelled. Here
whoever stands first in the queue does the sleeping, and on leaving it, served or cancelled, wakes the next. So:

1. Only the first in the queue talks to the backend.
2. Leaving the queue is one synchronous step (`_leave`), reached on every way out; there is no ``await`` between taking a grant
   and leaving with it.
3. A cancelled waiter costs its neighbours nothing: it is unlinked at once, wherever it stands.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import anyio

from mux_async._operation import Bucket
from mux_async.errors import LimitWaitError
from mux_async.limits._backend import Grant, LimitBackend


class Tally:
    """What has gone through a bucket, in all event loops together: grants, seconds waited for them, answers of 429."""

    __slots__ = ("granted", "refused", "waited")

    def __init__(self) -> None:
        self.granted = 0
        self.waited = 0.0
        self.refused = 0


class _Waiter:
    __slots__ = ("is_first", "paced")

    def __init__(self, paced: bool) -> None:
        self.paced = paced
        self.is_first: anyio.Event | None = None


class Gate:
    """Lets requests through to one bucket in order of arrival.

    Args:
        backend: Keeps the bucket.
        bucket: Which.
        clock: Monotonic seconds, for measuring how long a request waited.
        tally: Where to count.
    """

    def __init__(self, backend: LimitBackend, bucket: Bucket, clock: Callable[[], float], tally: Tally) -> None:
        self._backend = backend
        self._bucket = bucket
        self._clock = clock
        self._queue: OrderedDict[_Waiter, None] = OrderedDict()
        self._paced = 0
        self._tally = tally

    def __len__(self) -> int:
        return len(self._queue)

    def eta(self, *, paced: bool) -> float:
        """Return the least number of seconds that a request arriving now would wait."""
        backend, bucket = self._backend, self._bucket
        through_burst = backend.wait(bucket, paced=False, ahead=len(self._queue))
        if not (paced or self._paced):
            return through_burst
        return max(through_burst, backend.wait(bucket, paced=True, ahead=self._paced - (not paced)))

    async def acquire(self, *, paced: bool, patience: float | None) -> Grant:
        """Wait for a turn and a grant.

        Args:
            paced: Whether to leave the burst to others, and go out evenly spaced.
            patience: Seconds that the caller can wait; ``None`` for any time.

        Raises:
            LimitWaitError: The wait cannot end within *patience*. Raised at once; nothing was taken.
        """
        if patience is not None:
            eta = self.eta(paced=paced)
            if eta > patience:
                raise LimitWaitError(
                    f"the rate limit's {self._bucket.value!r} bucket has no permit within {patience:.3g} s: "
                    f"the wait is {eta:.3g} s at least, with {len(self._queue)} requests ahead",
                    deadline=patience,
                    eta=eta,
                )
        waiter = _Waiter(paced)
        self._queue[waiter] = None
        self._paced += paced
        arrived: float | None = None
        try:
            if len(self._queue) > 1:
                arrived = self._clock()
                waiter.is_first = anyio.Event()
                await waiter.is_first.wait()
            while not isinstance(grant := await self._backend.take(self._bucket, paced=paced), Grant):
                if arrived is None:
                    arrived = self._clock()
                await anyio.sleep(grant)
        finally:
            self._leave(waiter)
        self._tally.granted += 1
        if arrived is not None:
            self._tally.waited += self._clock() - arrived
        return grant

    def _leave(self, waiter: _Waiter) -> None:
        was_first = next(iter(self._queue)) is waiter
        del self._queue[waiter]
        self._paced -= waiter.paced
        if was_first and self._queue:
            successor = next(iter(self._queue))
            if successor.is_first is not None:
                successor.is_first.set()
