"""Wait for assets: one poll of the asset list serves all tasks that wait.

A GET per asset and poll does not fit into the rate limit: with ten thousand waiters at 5 requests a second, each asset would be polled
every half hour. A list request returns a hundred assets, newest first, and most tasks wait for new ones. So all waiters of a client (in one
event loop) share an `AssetPoller`. Rules of the file:

1. There is no background task. One waiter is the leader (`_leader`): it polls for all, and the others sleep.
2. A waiter wakes only for a result, for an error, or to become the leader.
3. An asset is identified by its id or by the id of its upload. The list contains both, so uploads need no requests of their own.
4. Webhooks take effect at once (`AssetPoller.update`). While webhooks report all changes, polling is a rare safety net; a poll that finds a
   change that no webhook reported restores the usual intervals.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import anyio
import attrs

from mux_async._leader import LeaderElection
from mux_async._poll_schedule import PollSchedule
from mux_async.errors import (
    APIStatusError,
    AssetErroredError,
    DeadlineExceededError,
    Delivery,
    MuxError,
    UploadError,
    copied,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mux_async.models import Asset

REMEMBERED: Final = 256
"""Maximum number of final states that are kept from webhooks for tasks that start to wait later."""
PAGE_LIMIT: Final = 100
"""Maximum assets per page (facts/BEHAVIOUR.md, section 3.1)."""
EXTRA_PAGES: Final = 2
"""Pages per poll beyond those that the awaited assets would fill, because other assets lie between them."""
SINGLE_REQUESTS: Final = 10
"""Maximum assets that a poll requests one by one, of those that were not on the pages."""

Goal: TypeAlias = Literal["created", "ready"]

Update: TypeAlias = "Asset | MuxError | None"
"""What a webhook reports: the asset's new state, the error for its waiters, or ``None`` if a poll is needed to find out."""

BAD_ID_STATUSES = frozenset({400, 404, 410, 422})
"""Statuses that concern one id, which is wrong or was deleted, and not the other waiters."""


class AssetSource(Protocol):
    """The requests of a poll; `resources._asset_waits` implements it with the API."""

    async def retrieve(self, asset_id: str) -> Asset: ...

    async def of_upload(self, upload_id: str) -> Asset | None:
        """Return the asset of an upload; ``None`` while it has none.

        Raises:
            UploadError: The upload will not become an asset.
        """
        ...

    async def page(self, cursor: str | None) -> tuple[Sequence[Asset], str | None]:
        """Return a page of the asset list, newest first, and the next cursor. ``None`` means the first page, or that there is no next."""
        ...


@attrs.frozen
class AssetRef:
    """Identifies an asset by its own id or by the id of its upload."""

    kind: Literal["asset", "upload"]
    id: str


@attrs.define(eq=False)
class Waiter:
    """One waiting task."""

    goal: Goal
    source: AssetSource
    event: anyio.Event | None = None
    outcome: Asset | MuxError | None = None


@attrs.define(eq=False)
class _Awaited:
    """One asset and the tasks that wait for it."""

    waiters: list[Waiter] = attrs.field(factory=list[Waiter])
    last_poll: int = 0
    """Number of the last poll that returned it; single requests go to the longest unseen first."""


class AssetPoller:
    """Polls for all tasks of one client that wait for an asset, in one event loop.

    Bounds: a poll makes at most ``ceil(n / 100) + 2`` list requests for *n* awaited assets, and 10 single requests. Polls are 1 s apart at
    first; the interval grows by 1.3 to 10 s while nothing changes, and every result and every new waiter resets it. After a poll that took
    longer than the interval, the pause is as long as the poll. While webhooks arrive, polls are 10 to 60 s apart, except the first poll
    for the first waiter.
    """

    def __init__(self) -> None:
        self._awaited: dict[AssetRef, _Awaited] = {}
        self._election: LeaderElection[Waiter] = LeaderElection()
        self._schedule = PollSchedule()
        self._polls = 0
        self._poll_scope: anyio.CancelScope | None = None
        self._final: OrderedDict[AssetRef, Asset | MuxError] = OrderedDict()

    def __len__(self) -> int:
        """Number of waiting tasks."""
        return sum(len(awaited.waiters) for awaited in self._awaited.values())

    async def wait(self, source: AssetSource, ref: AssetRef, goal: Goal, timeout: float | None = None) -> Asset:
        """Wait until an asset exists (``created``) or can be played (``ready``).

        Args:
            source: Makes the requests while this task is the leader.
            ref: The asset.
            goal: ``created`` for an asset in any state, ``ready`` for a playable one.
            timeout: Seconds; ``None`` for no limit.

        Raises:
            AssetErroredError: The asset is errored.
            UploadError: The upload will not become an asset.
            NotFoundError: The asset or upload does not exist (any more).
            BadRequestError: The id is not valid.
            DeadlineExceededError: *timeout* expired.
            MuxError: A poll failed with a fatal error, or ten polls in a row failed.
        """
        waiter = Waiter(goal, source)
        self._add(ref, waiter)
        try:
            if timeout is None:
                await self._wait(waiter)
            else:
                with anyio.move_on_after(timeout):
                    await self._wait(waiter)
        finally:
            self._remove(ref, waiter)
        outcome = waiter.outcome
        if outcome is None:
            raise _timeout_error(ref, goal, timeout or 0.0)
        if isinstance(outcome, MuxError):
            raise copied(outcome) from outcome.__cause__
        return outcome

    async def _wait(self, waiter: Waiter) -> None:
        if waiter.outcome is None and not self._election.try_lead(waiter):
            waiter.event = anyio.Event()
            await waiter.event.wait()
        while waiter.outcome is None:
            with anyio.CancelScope() as self._poll_scope:
                try:
                    await self._lead(waiter)
                finally:
                    self._poll_scope = None

    def update(self, updates: Iterable[tuple[AssetRef, Update]]) -> None:
        """Apply the updates of a webhook and wake the waiters that they concern. Returns at once."""
        self._schedule.webhook_received()
        for ref, update in updates:
            self._remember(ref, update)
            self._apply(ref, update)
        leader = self._election.leader
        if self._poll_scope is not None and leader is not None and leader.outcome is not None:
            self._poll_scope.cancel()  # the leader has its result; another waiter continues to poll

    def _apply(self, ref: AssetRef, update: Update) -> None:
        if isinstance(update, MuxError):
            self._resolve(ref, update, "ready")
        elif update is not None:
            self._observe(ref, update)
        elif (awaited := self._awaited.get(ref)) and any(waiter.goal == "created" for waiter in awaited.waiters):
            self._schedule.poll_now()

    def _remember(self, ref: AssetRef, update: Update) -> None:
        """Keep a final state for tasks that start to wait later."""
        if isinstance(update, MuxError) or (update is not None and update.status in {"ready", "errored"}):
            self._final[ref] = update
            self._final.move_to_end(ref)
            if len(self._final) > REMEMBERED:
                self._final.popitem(last=False)

    async def _lead(self, leader: Waiter) -> None:
        error = await self._schedule.run(lambda: self._poll(leader.source))
        if isinstance(error, DeadlineExceededError):  # the deadline is the leader's; others may have more time
            leader.outcome = error
        elif error is not None:
            self._resolve_all(error)

    def _add(self, ref: AssetRef, waiter: Waiter) -> None:
        if not self._awaited:
            self._schedule.restart()
        self._awaited.setdefault(ref, _Awaited()).waiters.append(waiter)
        if (final := self._final.get(ref)) is not None:
            self._apply(ref, final)
            return
        self._schedule.poll_soon()

    def _remove(self, ref: AssetRef, waiter: Waiter) -> None:
        awaited = self._awaited.get(ref)
        if awaited is not None and waiter in awaited.waiters:
            awaited.waiters.remove(waiter)
            if not awaited.waiters:
                del self._awaited[ref]
        self._election.leave(waiter, self._next_waiter)

    def _next_waiter(self) -> Waiter | None:
        return next((each for awaited in self._awaited.values() for each in awaited.waiters), None)

    async def _poll(self, source: AssetSource) -> bool:
        """Request the state of all awaited assets once. Returns whether any wait ended."""
        self._polls += 1
        before = len(self._awaited)
        missing = dict.fromkeys(self._awaited)
        if before > 1:
            await self._poll_list(source, missing)
        for ref in sorted(missing, key=self._last_poll)[:SINGLE_REQUESTS]:
            await self._poll_one(source, ref)
        return len(self._awaited) < before

    async def _poll_list(self, source: AssetSource, missing: dict[AssetRef, None]) -> None:
        """Read pages of the list until all assets were found, within bounds. Assets that were found are removed from *missing*."""
        allowed = math.ceil(len(missing) / PAGE_LIMIT) + EXTRA_PAGES
        cursor: str | None = None
        while missing and allowed:
            page, cursor = await source.page(cursor)
            for asset in page:
                refs = [AssetRef("asset", asset.id)]
                if asset.upload_id:
                    refs.append(AssetRef("upload", asset.upload_id))
                for ref in refs:
                    missing.pop(ref, None)
                    self._observe(ref, asset)
            allowed -= 1
            if cursor is None:
                return

    async def _poll_one(self, source: AssetSource, ref: AssetRef) -> None:
        try:
            if ref.kind == "asset":
                self._observe(ref, await source.retrieve(ref.id))
            elif (asset := await source.of_upload(ref.id)) is not None:
                self._observe(ref, asset)
            elif ref in self._awaited:
                self._awaited[ref].last_poll = self._polls
        except UploadError as error:
            self._resolve(ref, error, "ready")
        except APIStatusError as error:
            if error.status not in BAD_ID_STATUSES:
                raise
            self._resolve(ref, error, "ready")

    def _last_poll(self, ref: AssetRef) -> int:
        awaited = self._awaited.get(ref)
        return awaited.last_poll if awaited is not None else 0

    def _observe(self, ref: AssetRef, asset: Asset) -> None:
        """Resolve the waiters whose goal is reached by the state of *asset*."""
        awaited = self._awaited.get(ref)
        if awaited is None:
            return
        awaited.last_poll = self._polls
        if asset.status == "ready":
            self._resolve(ref, asset, "ready")
        elif asset.status == "errored":
            errors = asset.errors
            error = AssetErroredError(
                asset.id, type=errors.type if errors else None, messages=(errors.messages or ()) if errors else ()
            )
            self._resolve(ref, asset, "created")
            self._resolve(ref, error, "ready")
        else:
            self._resolve(ref, asset, "created")

    def _resolve(self, ref: AssetRef, outcome: Asset | MuxError, reached: Goal) -> None:
        """Give *outcome* to all waiters of *ref* whose goal is reached; ``ready`` includes ``created``."""
        awaited = self._awaited.get(ref)
        if awaited is None:
            return
        waiters = awaited.waiters
        awaited.waiters = []
        for waiter in waiters:
            if reached == "ready" or waiter.goal == "created":
                waiter.outcome = outcome
                if waiter.event is not None:
                    waiter.event.set()
            else:
                awaited.waiters.append(waiter)
        if not awaited.waiters:
            del self._awaited[ref]

    def _resolve_all(self, error: MuxError) -> None:
        for ref in list(self._awaited):
            self._resolve(ref, error, "ready")


def _timeout_error(ref: AssetRef, goal: Goal, timeout: float) -> DeadlineExceededError:
    what = f"asset {ref.id!r}" if ref.kind == "asset" else f"the asset of upload {ref.id!r}"
    return DeadlineExceededError(
        f"{what} was not {goal} within {timeout:g} s; Mux continues to process it, so you can wait again",
        deadline=timeout,
        delivery=Delivery.ANSWERED,
    )
