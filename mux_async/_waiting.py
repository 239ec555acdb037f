"""Waiting for assets: one sweep of the asset list serves everybody who waits.

A GET per asset and poll is what the rate limit forbids: ten thousand waiters at 5 requests a second would look once in half an
hour. The list gives a hundred assets a request, newest first, and what is waited for is mostly new. So all waiters of a client (in
one event loop) share a `WaitHub`, and the hub looks once per tick for all of them. Rules of the file:

1. No task of its own. One of the waiters leads: it does the looking, and the others sleep. When the leader is done, or cancelled, it names
   another. Nothing is left running when nobody waits.
2. Nobody is woken before there is something for them: a result, an error, or the lead.
3. An asset is known by its id or by the upload that makes it; both are on the list, so an upload needs no request of its own.
4. What a webhook says is believed at once (`WaitHub.hear`). As long as webhooks say everything, looking is a safety net and gets rare;
   what a look finds that no webhook had said brings the usual pace back.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import anyio
import attrs

from mux_async._pace import Pace
from mux_async.errors import (
    APIStatusError,
    AssetErroredError,
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    DeadlineExceededError,
    Delivery,
    MuxError,
    PermissionDeniedError,
    UploadError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mux_async.models import Asset

REMEMBERED: Final = 256
"""Things of which webhooks told the end before anybody waited for them."""
PAGE_LIMIT: Final = 100
"""Assets on a page, at most (facts/BEHAVIOUR.md, section 3.1)."""
SPARE_PAGES: Final = 2
"""Pages looked at beyond those that the waited-for assets would fill, for others' assets in between."""
SINGLES: Final = 10
"""Assets asked for one by one in a tick, among those that the pages did not show."""
PATIENCE: Final = 10
"""Ticks in a row that may fail before the waiters are told."""

Goal: TypeAlias = Literal["created", "ready"]

News: TypeAlias = "Asset | MuxError | None"
"""What is said of something: the asset as it is, why there is or will be none, or only that it is time to look."""

FATAL = (AuthenticationError, ClosedError, ConfigurationError, PermissionDeniedError)
"""Errors that the next tick, or another waiter, would meet again."""

ABOUT_THE_REQUEST = frozenset({400, 404, 410, 422})
"""Statuses that say that this one id is wrong or gone, and nothing about the others."""


class AssetSource(Protocol):
    """What the hub looks at; `_asset_waits` puts the API behind it."""

    async def retrieve(self, asset_id: str) -> Asset: ...

    async def of_upload(self, upload_id: str) -> Asset | None:
        """Return the asset that an upload has become; ``None`` while there is none.

        Raises:
            UploadError: There will be none.
        """
        ...

    async def page(self, cursor: str | None) -> tuple[Sequence[Asset], str | None]:
        """Return a page of the asset list, newest first, and the cursor of the next; ``None`` stands for the first, and for the end."""
        ...


@attrs.frozen
class Subject:
    """What is waited for: an asset by its own id, or by its upload's."""

    kind: Literal["asset", "upload"]
    id: str


@attrs.define(eq=False)
class Waiter:
    """One task that waits."""

    goal: Goal
    source: AssetSource
    woken: anyio.Event = attrs.field(factory=anyio.Event)
    outcome: Asset | MuxError | None = None


@attrs.define(eq=False)
class _Watch:
    """One thing waited for, by any number of tasks."""

    waiters: list[Waiter] = attrs.field(factory=list[Waiter])
    seen_at: int = 0
    """Number of the tick that last looked at it, to take turns."""


class WaitHub:
    """Everybody of one client who waits for an asset, in one event loop.

    Bounds: a tick takes at most ``ceil(n / 100) + 2`` list requests for *n* things waited for, and looks at 10 of them one by one. Ticks
    are 1 s apart at first, and that grows by 1.3 to 10 s while nothing happens; whatever settles, and whoever joins, brings it back.
    After a look that took longer than that, the hub pauses for as long as the look took. While webhooks are heard, ticks are 10 to 60 s
    apart, but for the first look of somebody who waits alone.
    """

    def __init__(self) -> None:
        self._watched: dict[Subject, _Watch] = {}
        self._leader: Waiter | None = None
        self._pace = Pace()
        self._ticks = 0
        self._failed_ticks = 0
        self._turn: anyio.CancelScope | None = None
        self._ends: OrderedDict[Subject, Asset | MuxError] = OrderedDict()

    def __len__(self) -> int:
        """How many tasks wait."""
        return sum(len(watch.waiters) for watch in self._watched.values())

    async def wait(self, source: AssetSource, subject: Subject, goal: Goal, timeout: float | None = None) -> Asset:
        """Wait until *subject* is there (``created``) or can be played (``ready``).

        Args:
            source: Used for looking, whenever this task leads.
            subject: What to wait for.
            goal: ``created`` for any asset at all, ``ready`` for a playable one.
            timeout: Seconds; ``None`` for no limit.

        Raises:
            AssetErroredError: The asset is errored.
            UploadError: The upload will not become an asset.
            NotFoundError: There is no such asset or upload (any more).
            BadRequestError: The id is none.
            DeadlineExceededError: *timeout* ran out.
            MuxError: Looking failed, for good or ten times in a row.
        """
        waiter = Waiter(goal, source)
        self._join(subject, waiter)
        try:
            if timeout is None:
                await self._wait(waiter)
            else:
                with anyio.move_on_after(timeout):
                    await self._wait(waiter)
        finally:
            self._leave(subject, waiter)
        outcome = waiter.outcome
        if outcome is None:
            raise _too_late(subject, goal, timeout or 0.0)
        if isinstance(outcome, MuxError):
            # Everybody is told by an error of their own: one that is raised again and again grows by a traceback each time.
            raise copy(outcome).with_traceback(outcome.__traceback__) from outcome.__cause__
        return outcome

    async def _wait(self, waiter: Waiter) -> None:
        while waiter.outcome is None:
            if self._leader is None:
                self._leader = waiter
            if self._leader is waiter:
                await self._lead(waiter)
            else:
                await waiter.woken.wait()

    def hear(self, news: Iterable[tuple[Subject, News]]) -> None:
        """Take what a webhook said. Whoever waits for it is woken now; waits for nothing.

        Args:
            news: Of each subject: the asset as it is, why there will be none, or ``None`` when it is time to look.
        """
        self._pace.heard()
        for subject, said in news:
            self._remember(subject, said)
            self._tell(subject, said)
        if self._turn is not None and self._leader is not None and self._leader.outcome is not None:
            self._turn.cancel()  # it has what it came for; somebody else goes on looking

    def _tell(self, subject: Subject, said: News) -> None:
        if isinstance(said, MuxError):
            self._settle(subject, said, "ready")
        elif said is not None:
            self._show(subject, said)
        elif (watch := self._watched.get(subject)) and any(waiter.goal == "created" for waiter in watch.waiters):
            self._pace.at_once()

    def _remember(self, subject: Subject, said: News) -> None:
        """Keep how something ended, for those who come to wait for it later."""
        if isinstance(said, MuxError) or (said is not None and said.status in {"ready", "errored"}):
            self._ends[subject] = said
            self._ends.move_to_end(subject)
            if len(self._ends) > REMEMBERED:
                self._ends.popitem(last=False)

    async def _lead(self, leader: Waiter) -> None:
        while leader.outcome is None:
            with anyio.CancelScope() as self._turn:
                try:
                    await self._tick(leader)
                finally:
                    self._turn = None

    async def _tick(self, leader: Waiter) -> None:
        await self._pace.until_due()
        self._ticks += 1
        began, hearings = anyio.current_time(), self._pace.hearings
        try:
            is_news = await self._look(leader.source)
        except FATAL as error:
            self._settle_all(error)
            return
        except MuxError as error:
            is_news = False
            self._failed_ticks += 1
            if self._failed_ticks >= PATIENCE:
                self._failed_ticks = 0
                if isinstance(error, DeadlineExceededError):  # that is the leader's own, and others may have more time
                    leader.outcome = error
                else:
                    self._settle_all(error)
                return
        else:
            self._failed_ticks = 0
        self._pace.looked(began, hearings, is_news=is_news)

    def _join(self, subject: Subject, waiter: Waiter) -> None:
        if not self._watched:
            self._pace.at_once()  # the first one looks at once
            self._failed_ticks = 0
        self._watched.setdefault(subject, _Watch()).waiters.append(waiter)
        if (end := self._ends.get(subject)) is not None:
            self._tell(subject, end)
            return
        self._pace.soon()

    def _leave(self, subject: Subject, waiter: Waiter) -> None:
        watch = self._watched.get(subject)
        if watch is not None and waiter in watch.waiters:
            watch.waiters.remove(waiter)
            if not watch.waiters:
                del self._watched[subject]
        if self._leader is waiter:
            self._leader = next((each for watch in self._watched.values() for each in watch.waiters), None)
            if self._leader is not None:
                self._leader.woken.set()

    async def _look(self, source: AssetSource) -> bool:
        """Look at everything waited for, once. Returns whether anything was settled."""
        before = len(self._watched)
        missing = dict.fromkeys(self._watched)
        if before > 1:
            await self._sweep(source, missing)
        for subject in sorted(missing, key=self._last_seen)[:SINGLES]:
            await self._look_at(source, subject)
        return len(self._watched) < before

    async def _sweep(self, source: AssetSource, missing: dict[Subject, None]) -> None:
        """Go through the list until everything was seen, within bounds; what was seen is taken out of *missing*."""
        allowed = math.ceil(len(missing) / PAGE_LIMIT) + SPARE_PAGES
        cursor: str | None = None
        while missing and allowed:
            page, cursor = await source.page(cursor)
            for asset in page:
                subjects = [Subject("asset", asset.id)]
                if asset.upload_id:
                    subjects.append(Subject("upload", asset.upload_id))
                for subject in subjects:
                    missing.pop(subject, None)
                    self._show(subject, asset)
            allowed -= 1
            if cursor is None:
                return

    async def _look_at(self, source: AssetSource, subject: Subject) -> None:
        try:
            if subject.kind == "asset":
                self._show(subject, await source.retrieve(subject.id))
            elif (asset := await source.of_upload(subject.id)) is not None:
                self._show(subject, asset)
            elif subject in self._watched:
                self._watched[subject].seen_at = self._ticks
        except UploadError as error:
            self._settle(subject, error, "ready")
        except APIStatusError as error:
            if error.status not in ABOUT_THE_REQUEST:
                raise
            self._settle(subject, error, "ready")

    def _last_seen(self, subject: Subject) -> int:
        watch = self._watched.get(subject)
        return watch.seen_at if watch is not None else 0

    def _show(self, subject: Subject, asset: Asset) -> None:
        """Tell those who wait for *subject* how it is."""
        watch = self._watched.get(subject)
        if watch is None:
            return
        watch.seen_at = self._ticks
        if asset.status == "ready":
            self._settle(subject, asset, "ready")
        elif asset.status == "errored":
            errors = asset.errors
            error = AssetErroredError(
                asset.id, type=errors.type if errors else None, messages=(errors.messages or ()) if errors else ()
            )
            self._settle(subject, asset, "created")
            self._settle(subject, error, "ready")
        else:
            self._settle(subject, asset, "created")

    def _settle(self, subject: Subject, outcome: Asset | MuxError, reached: Goal) -> None:
        """Give *outcome* to all waiters of *subject* whose goal is reached; ``ready`` includes ``created``."""
        watch = self._watched.get(subject)
        if watch is None:
            return
        waiting = watch.waiters
        watch.waiters = []
        for waiter in waiting:
            if reached == "ready" or waiter.goal == "created":
                waiter.outcome = outcome
                waiter.woken.set()
            else:
                watch.waiters.append(waiter)
        if not watch.waiters:
            del self._watched[subject]

    def _settle_all(self, error: MuxError) -> None:
        for subject in list(self._watched):
            self._settle(subject, error, "ready")


def _too_late(subject: Subject, goal: Goal, timeout: float) -> DeadlineExceededError:
    what = f"asset {subject.id!r}" if subject.kind == "asset" else f"the asset of upload {subject.id!r}"
    return DeadlineExceededError(
        f"{what} was not {goal} within {timeout:g} s; wait again, it goes on all the same",
        deadline=timeout,
        delivery=Delivery.ANSWERED,
    )
