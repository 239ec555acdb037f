"""What `Mux.limits` returns."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import attrs

from mux_async._operation import Bucket

if TYPE_CHECKING:
    from mux_async.limits._account import AccountLimits
    from mux_async.limits._events import LimitListener
    from mux_async.limits._settings import LimitSettings
    from mux_async.limits._snapshots import Forecast, LimitsSnapshot


class Limits:
    """The account's rate limits, as this process sees them."""

    def __init__(self, account: AccountLimits, batch: AccountLimits | None = None) -> None:
        self._account = account
        self._batch = batch or account

    @property
    def low_priority(self) -> Limits | None:
        """Those of the token of low priority, which batch calls count against; ``None`` if it has none of its own."""
        return None if self._batch is self._account else Limits(self._batch)

    @property
    def label(self) -> str:
        """A name of the account for metrics: eight hexadecimal digits, the same in every process, without the id of its token."""
        return self._account.label

    async def refresh(self) -> None:
        """Read the buckets from the store that processes share; otherwise do nothing. Sends nothing to Mux and takes no grant.

        A process that sends requests has no need of it. One that only shows limits has, before each `snapshot`. If the store does not
        answer, the buckets are those of this process's own share, as for requests.
        """
        await self._account.refresh()
        if self._batch is not self._account:
            await self._batch.refresh()

    def snapshot(self) -> LimitsSnapshot:
        """Return the state of every bucket: level, rate, queue, wait, and what was granted, waited and throttled so far."""
        return self._account.snapshot()

    def _repr_html_(self) -> str:
        from mux_async.limits._snapshots import limits_html

        return limits_html(self.snapshot())

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """Show the four buckets."""
        snapshot = self.snapshot()
        for name in ("post", "other", "realtime_data", "general_data"):
            yield name, getattr(snapshot, name)

    def forecast(self, *, post: int = 0, other: int = 0, realtime_data: int = 0, general_data: int = 0) -> Forecast:
        """Return how long requests would take if they were all made now, behind those that wait already.

        Args:
            post: Requests of the ``post`` bucket: creates.
            other: Of the ``other`` bucket.
            realtime_data: Of the ``realtime-data`` bucket.
            general_data: Of the ``general-data`` bucket.

        Returns:
            Seconds until the last one is granted, for each priority. At the rates as learned in this process.

        Raises:
            ConfigurationError: A count is negative.
        """
        counts = {
            Bucket.POST: post,
            Bucket.OTHER: other,
            Bucket.REALTIME_DATA: realtime_data,
            Bucket.GENERAL_DATA: general_data,
        }
        return attrs.evolve(self._account.forecast(counts), batch=self._batch.forecast(counts).batch)

    @contextmanager
    def listen(self, listener: LimitListener) -> Generator[None]:
        """Call *listener* with every wait and every 429 of the account while the ``with`` block runs. It must return at once.

        With a token of low priority it is called for both; ``mux.limits.low_priority.listen`` is for that one alone.
        """
        with self._account.listen(listener), nullcontext() if self._batch is self._account else self._batch.listen(listener):
            yield

    @property
    def settings(self) -> LimitSettings:
        """What the account is allowed, as configured."""
        return self._account.settings
