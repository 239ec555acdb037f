"""The workflows of an item: ``transfer`` until Mux has all its bytes, and ``finish`` until its asset is ready.

What is stored is a format, since other releases continue what this one began, and the reverse. Every step is named `STEP`; its result has
the ``state`` to continue with, and whether the workflow ``is_over``. `next_step` of the last stored state decides what follows, in the
release that performs it (docs/ingest-hosts.md, "Changing the steps").
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import dbos

from mux_async._types import UNSET
from mux_async.ingest._create_refusals import Refusals
from mux_async.ingest._events import IngestEvent, ItemMoved, ItemResult
from mux_async.ingest._failures import MAX_OUTAGES, Fault, pause_after
from mux_async.ingest._item_reporter import ItemReporter
from mux_async.ingest._items import Item
from mux_async.ingest._reconcile import UnknownCreate, reconcile
from mux_async.ingest._steps import ActiveItem, IngestOptions, StepFailure, Steps, dead_state
from mux_async.ingest.dbos._context import WorkerContext
from mux_async.ingest.dbos._database import ItemFailedError
from mux_async.ingest.machine import Began, Create, ItemState, Reconcile, Send, Stage, WaitReady, advance, next_step
from mux_async.uploads import Uploads
from mux_async.uploads.machine import DEFAULT_CHUNK_SIZE

if TYPE_CHECKING:
    from mux_async.errors import MuxError
    from mux_async.ingest._journal_store import Change
    from mux_async.models import Upload

logger = logging.getLogger(__name__)

STEP: Final = "step"
"""Name of every stored step."""
FRESH: Final = 3.0
"""Seconds after its intent, by the server's clock, within which the worker that stored it may create without a lookup."""
_MAX_UPLOAD_FAILURES: Final = 20
HOLD: Final = 10.0
"""Seconds after which an item whose create was refused fails, if too few others were refused to blame the account."""


class _Unwritten:
    """Stores no states: DBOS stores what each step returns."""

    async def commit(self, change: Change) -> None:
        pass

    def enqueue(self, change: Change) -> None:
        pass


class Items:
    """Performs the workflows of items, in a worker. What is not the same in a second execution is in a step.

    Args:
        context: Of the worker.
        wait_timeout: Seconds that an asset may take from its last byte to being ready; ``None`` for no limit.
    """

    def __init__(self, context: WorkerContext, wait_timeout: float | None) -> None:
        self._context = context
        self._wait_timeout = wait_timeout
        self._reporter = ItemReporter()
        self._refusals = Refusals()
        self._intended: dict[str, float | None] = {}
        """By key, the time of an intent that this process has stored."""
        self._uploads: dict[str, Upload] = {}
        """By key, uploads that this process has created: their URLs are secrets and not stored."""

    async def transfer(self, order: Mapping[str, Any]) -> ItemState:
        """Create an item and send its bytes. Returns its state."""
        state, creates = ItemState.from_dict(order["state"]), 0
        is_over = _is_transferred(state)
        while not is_over:
            creates += state.stage is Stage.PLANNED
            if creates > MAX_OUTAGES:
                raise _failure(
                    dead_state(state, ItemFailedError(f"{MAX_OUTAGES} creates failed: the network, or Mux, is out of order"))
                )
            found = await self._store_step(order, state)
            state, is_over = ItemState.from_dict(found["state"]), found["is_over"]
        if state.error is not None:
            raise _failure(state)
        return state

    async def finish(self, order: Mapping[str, Any]) -> dict[str, object]:
        """Wait for the asset of an item. Returns what the report shows of it."""
        state, result = ItemState.from_dict(order["state"]), dict[str, object]()
        while next_step(state) is not None:
            found = await self._store_step(order, state)
            state, result = ItemState.from_dict(found["state"]), found.get("result", {})
        if state.error is not None:
            raise _failure(state)
        return result

    async def _store_step(self, order: Mapping[str, Any], state: ItemState) -> dict[str, Any]:
        # Without arguments: DBOS logs those of a step that is cancelled, and URLs may hold signatures.
        async def perform() -> dict[str, object]:
            return await self._perform(order, state)

        return cast("dict[str, Any]", await dbos.DBOS.run_step_async({"name": STEP}, perform))

    async def _perform(self, order: Mapping[str, Any], state: ItemState) -> dict[str, object]:
        """Perform the next step to its end. After an unexpected error the item is dead, and can be retried from *state*."""
        item, options = Item.from_dict(order["item"]), order["options"]
        active = ActiveItem(item, state, anyio.current_time(), upload=self._uploads.pop(item.key, None))
        chosen = IngestOptions(options["policies"], options["test"], UNSET, self._wait_timeout, DEFAULT_CHUNK_SIZE)
        client, clock = self._context.client, self._context.clock
        uploads = Uploads(client, max_failures=_MAX_UPLOAD_FAILURES)
        reported = state.stage

        def on_event(event: IngestEvent) -> None:
            nonlocal reported
            if isinstance(event, ItemMoved):
                reported = event.state.stage
                self._reporter.report(client, item, event.state)

        steps = Steps(client, uploads, _Unwritten(), clock, chosen, on_event)
        try:
            match next_step(state):
                case Create():
                    await self._repeat(steps, active, steps.intend)
                    self._intended[item.key] = active.state.intended_at
                case Reconcile():
                    await self._create(steps, active)
                case Send():
                    if state.stage is Stage.CREATED:
                        active.state = advance(state, Began())  # an earlier execution of this step may have sent some
                    await self._repeat(steps, active, steps.send)
                case _:
                    await self._repeat(steps, active, steps.wait)
        except Exception as error:
            logger.exception("a step of %r failed unexpectedly", item.source, extra={"mux_item": item.key})
            dead = dead_state(state, error)
            self._reporter.report(client, item, dead)
            return {"state": dead.to_dict(), "is_over": True}
        if active.state.stage is not reported:  # it died, or its create was looked up
            self._reporter.report(client, item, active.state)
        if active.upload is not None and active.state.stage is Stage.CREATED:
            self._uploads[item.key] = active.upload
        stored: dict[str, object] = {"state": active.state.to_dict(), "is_over": _is_transferred(active.state)}
        if active.asset is not None:
            found = ItemResult.of(item, active.state, active.asset, seconds=0.0, base_url=client.base_url)
            stored["result"] = {
                "asset_id": found.asset_id,
                "playback_ids": dict(found.playback_ids),
                "duration": found.duration,
            }
        return stored

    async def _create(self, steps: Steps, active: ActiveItem) -> None:
        """Create, or find what an earlier attempt has created. If nothing was created, a new intent follows."""
        intended_at, clock = active.state.intended_at, self._context.clock
        is_own = intended_at is not None and self._intended.pop(active.item.key, None) == intended_at
        if is_own and clock.now() - cast("float", intended_at) < FRESH:
            failure = await steps.attempt(active, steps.create, is_create=True)
            if failure is None:
                self._refusals.accepted()
                self._refusals.released()
            elif failure.fault is not Fault.UNKNOWN:
                if failure.fault is Fault.ITEM:
                    await self._hold(active, failure.error)
                await self._treat(active, failure)
        if active.state.stage is not Stage.CREATING:
            return
        # The create may have waited for the rate limit after its intent, so that only now bounds when it was sent.
        unknown = {active.item.key: UnknownCreate(active.state, clock.now())}

        async def look_up(_: ActiveItem) -> None:
            while not (found := await reconcile(self._context.client, clock, unknown)):
                active.outages = 0
                await self._context.pause(1.0)
            active.state = advance(active.state, found[active.item.key])

        await self._repeat(steps, active, look_up)

    async def _hold(self, active: ActiveItem, error: MuxError) -> None:
        """Wait while Mux may be refusing every create, as when the plan is used up. If it does, the worker ends, and no item fails."""
        give_up = anyio.current_time() + HOLD
        is_held = self._refusals.hold(active, error)
        while is_held and anyio.current_time() < give_up:
            if self._refusals.reason is not None:
                self._context.end_with(error)
            await self._context.pause(0.2)
            is_held = self._refusals.holds(active)

    async def _repeat(self, steps: Steps, active: ActiveItem, work: Callable[[ActiveItem], Awaitable[object]]) -> None:
        """Perform *work* until it succeeds, or the item is dead. A lookup that fails says nothing about the create."""
        while not active.state.stage.is_final and (failure := await steps.attempt(active, work)) is not None:
            await self._treat(active, failure)

    async def _treat(self, active: ActiveItem, failure: StepFailure) -> None:
        """Do what follows from a failure: end the worker, let the item die, or wait."""
        if failure.fault is Fault.ACCOUNT:
            self._context.end_with(failure.error)
        if failure.fault is Fault.ITEM or active.outages > MAX_OUTAGES:
            active.state = dead_state(active.state, failure.error)
        else:
            await self._context.pause(pause_after(active.outages))


def _is_transferred(state: ItemState) -> bool:
    """Return whether Mux has all bytes of the item, or it is dead."""
    return isinstance(next_step(state), WaitReady | None)


def _failure(state: ItemState) -> ItemFailedError:
    error = state.error
    return ItemFailedError(f"{error.type}: {error.message}" if error is not None else "", state=state.to_dict())
