"""A worker: DBOS runs the steps of items as tasks of this event loop. See the package for how workers share them."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs
import dbos
import sqlalchemy as sa
from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from mux_async._checks import check_number, check_whole
from mux_async._client import Mux, for_long_work
from mux_async._tracebacks import hides_methods
from mux_async._transports import resolve_transport
from mux_async._types import UNSET, Secret
from mux_async.errors import ConfigurationError, MuxError
from mux_async.ingest._events import ItemResult
from mux_async.ingest._failures import MAX_OUTAGES, Fault, fault_of, pause_after
from mux_async.ingest._items import Item
from mux_async.ingest._reconcile import ServerClock, UnknownCreate, reconcile
from mux_async.ingest._steps import ActiveItem, IngestOptions, Steps
from mux_async.ingest.dbos._bulk import BulkRows
from mux_async.ingest.dbos._database import (
    APPLICATION,
    BULK,
    FINISH,
    FINISH_SUFFIX,
    TRANSFER,
    VERSION,
    ItemFailedError,
    Storage,
    keep_setting,
    open_client,
    prepare_items,
)
from mux_async.ingest.dbos._fence import ADOPT_AFTER, BEAT, Fence, FencedTransport, elapsed
from mux_async.ingest.machine import (
    Began,
    Create,
    Died,
    ItemError,
    ItemState,
    NothingCreated,
    Reconcile,
    Send,
    Stage,
    WaitReady,
    advance,
    next_step,
)
from mux_async.transport import Transport, TransportFactory, TransportSettings
from mux_async.uploads import Uploads
from mux_async.uploads.machine import DEFAULT_CHUNK_SIZE

if TYPE_CHECKING:
    from mux_async.ingest._journal_store import Change
    from mux_async.models import Upload

logger = logging.getLogger(__name__)

T = TypeVar("T")

FRESH: Final = 3.0
"""Seconds after its intent, by the server's clock, within which the worker that stored it may create without looking first."""
_MAX_UPLOAD_FAILURES: Final = 20
_CREATE_ATTEMPTS: Final = 8
_only_worker: Final = threading.Lock()
"""Held by the worker of this process: DBOS has its workflows in a registry of the process."""


class _Unwritten:
    """Stores no states: DBOS stores what each step returns."""

    async def commit(self, change: Change) -> None:
        pass

    def enqueue(self, change: Change) -> None:
        pass


@hides_methods
class Worker:
    """Works on submitted items, with others on other hosts. asyncio only; one in a process, which must not use DBOS for anything else.

    Args:
        url: The database.
        make_client: Makes the client, with the transport that it is given; ``None`` for ``Mux(transport=...)``, which takes its settings
            from the environment. Its limits should be shared with the other workers (``MUX_LIMITS_URL``).
        transport: Name of the transport.
        storage_key: With which the items were submitted.
        concurrency: Items that are created or sent at the same time, and rows of bulk changes that are performed at the same time.
        waiting: Items that wait for their assets at the same time.
        wait_timeout: Seconds that an asset may take from its last byte to being ready; ``None`` for no limit.
        drain: Seconds that `run` waits at its end for items that are being sent.
    """

    def __init__(
        self,
        url: str,
        *,
        make_client: Callable[[TransportFactory], Mux] | None = None,
        transport: str = "aiohttp",
        storage_key: str | Secret | None = None,
        concurrency: int = 4,
        waiting: int = 1000,
        wait_timeout: float | None = 21_600.0,
        drain: float = 20.0,
    ) -> None:
        check_whole("concurrency", concurrency, 1, "it must be at least 1, and whole")
        check_whole("waiting", waiting, 1, "it must be at least 1, and whole")
        check_number("drain", drain, "it must be 0 seconds or more", least=0)
        self._url = url
        self._make_client: Callable[[TransportFactory], Mux] = make_client or (lambda factory: Mux(transport=factory))
        self._transport = transport
        self._storage = Storage(storage_key)
        self._concurrency = concurrency
        self._waiting = waiting
        self._wait_timeout = wait_timeout
        self._drain = drain
        self._fence = Fence(elapsed)
        self._executor = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._is_registered = False
        self._stopping = asyncio.Event()
        self._transfers: set[asyncio.Task[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: MuxError | None = None
        """Why no item can be worked on, such as credentials that were revoked."""
        self._intended: dict[str, float | None] = {}
        """By key, the time of an intent that this process has stored."""
        self._uploads: dict[str, Upload] = {}
        """By key, uploads that this process has created: their URLs are secrets and not stored."""

    _client: Mux
    _clock: ServerClock
    _engine: sa.Engine

    def stop(self) -> None:
        """Take no more items. Those that are being sent get *drain* seconds; then `run` hands back what is left, and returns."""
        self._stopping.set()

    async def run(self) -> bool:
        """Work until `stop` is called.

        Returns:
            ``False`` if others have taken over, because this process was suspended for too long: start it again.

        Raises:
            ConfigurationError: The database or the key cannot be used, the database belongs to another Mux environment, another worker
                runs in this process, or something about the client.
            MuxError: The credentials cannot be checked, or were refused later. What this worker held was handed back.
        """
        if not _only_worker.acquire(blocking=False):
            raise ConfigurationError("a worker runs in this process already: start another process, or raise its concurrency")
        try:
            return await self._run()
        finally:
            _only_worker.release()

    async def _run(self) -> bool:
        self._engine = await to_thread.run_sync(prepare_items, self._url, self._storage)
        choice = resolve_transport(self._transport)

        def make_transport(settings: TransportSettings) -> Transport:
            return FencedTransport(choice(settings), self._fence)

        client = self._make_client(cast("TransportFactory", make_transport))
        async with client:
            self._client = for_long_work(client).with_options(priority="batch", max_attempts=_CREATE_ATTEMPTS)
            await to_thread.run_sync(self._beat)
            beats = asyncio.create_task(self._keep_beating())
            try:
                answer = await self._client.system.utilities.with_raw_response.whoami()
                self._clock = ServerClock.read(answer.headers, time.time)
                await self._check_environment(getattr(answer.value, "environment_id", None))
                async with self._running():
                    await self._stopping.wait()
                    if self._transfers and not self._fence.is_lost and self._failure is None:
                        await asyncio.wait(self._transfers, timeout=self._drain)
            finally:
                beats.cancel()
                with suppress(asyncio.CancelledError):
                    await beats
                await to_thread.run_sync(self._hand_back)
                self._engine.dispose()
        if self._failure is not None:
            raise self._failure
        return not self._fence.is_lost

    async def _check_environment(self, environment: object) -> None:
        """Refuse a database of another environment: its assets would not be found there, and be made twice."""
        if isinstance(environment, str):
            first = await to_thread.run_sync(keep_setting, self._engine, "environment", environment)
            if first != environment:
                raise ConfigurationError(
                    f"the items of this database belong to the environment {first!r}, and these credentials are for {environment!r}: "
                    "use those of the first worker, or another database"
                )

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        """Run DBOS, whose workflows run as tasks of this event loop."""
        dbos.DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": self._url,
                "application_version": VERSION,
                "executor_id": self._executor,
                "serializer": self._storage,
                "log_level": "WARNING",
                "sys_db_pool_size": 10,
            }
        )

        @dbos.DBOS.workflow(name=FINISH, max_recovery_attempts=None)
        async def finish(order: dict[str, Any]) -> dict[str, object]:
            return await self._as_task(self._finish(order))

        @dbos.DBOS.workflow(name=TRANSFER, max_recovery_attempts=None)
        async def transfer(order: dict[str, Any]) -> dict[str, object]:
            state = await self._as_task(self._transfer(order))
            with (
                dbos.SetWorkflowID(state.key + FINISH_SUFFIX),
                dbos.SetWorkflowAttributes({"source": order["item"]["source"]}),
            ):
                await dbos.DBOS.enqueue_workflow_async(FINISH, finish, {**order, "state": state.to_dict()})
            return state.to_dict()

        rows = BulkRows(self._client, self._clock, self._fence, self.stop)

        @dbos.DBOS.workflow(name=BULK, max_recovery_attempts=None)
        async def bulk_row(order: dict[str, Any]) -> dict[str, object]:
            return await self._as_task(self._sending(rows.perform(order)))

        try:
            dbos.DBOS.launch()  # in the thread of the loop: DBOS then runs workflows in it
            for name, places in ((TRANSFER, self._concurrency), (FINISH, self._waiting), (BULK, self._concurrency)):
                await dbos.DBOS.register_queue_async(
                    name, worker_concurrency=places, polling_interval_sec=0.5, on_conflict="always_update"
                )
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await to_thread.run_sync(partial(dbos.DBOS.destroy, destroy_registry=True))
            # DBOS has put its own executor into the event loop, and shut it down.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())

    # Heartbeats and adoption, in worker threads

    def _beat(self) -> None:
        at = self._fence.now()
        with self._engine.begin() as sql:
            statement = "INSERT INTO mux_ingest.workers (executor, host) VALUES (:executor, :host)"
            if self._is_registered:
                statement = "UPDATE mux_ingest.workers SET seen_at = now() WHERE executor = :executor"
            found = sql.execute(sa.text(statement), {"executor": self._executor, "host": platform.node()})
        if found.rowcount:
            self._is_registered = True
            self._fence.seen(at)
        else:
            self._fence.is_lost = True

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                await to_thread.run_sync(self._beat)
                if self._fence.is_lost:
                    logger.error("others have taken over the items of this worker, which was suspended for too long")
                    self.stop()
                    return
                await to_thread.run_sync(self._adopt)
            except Exception as error:  # noqa: BLE001 - DBOS and the driver raise their own; without heartbeats nothing is sent
                logger.warning("the database cannot be reached: %s", type(error).__name__)

    def _adopt(self) -> None:
        """Return the items of silent workers to their queues."""
        with self._engine.connect() as sql:
            # One adopter at a time: what it finds then belongs to workers that are gone, and to no other.
            if not sql.execute(sa.text("SELECT pg_try_advisory_lock(4086)")).scalar():
                return
            try:
                sql.execute(
                    sa.text("DELETE FROM mux_ingest.workers WHERE seen_at < now() - make_interval(secs => :after)"),
                    {"after": ADOPT_AFTER},
                )
                found = sql.execute(
                    sa.text(
                        "SELECT workflow_uuid, name FROM dbos.workflow_status WHERE status = 'PENDING' "
                        "AND name = ANY(:names) AND executor_id NOT IN (SELECT executor FROM mux_ingest.workers)"
                    ),
                    {"names": [TRANSFER, FINISH, BULK]},
                )
                orphans = [(str(row[0]), str(row[1])) for row in found]
                sql.commit()
                self._resume(orphans)
            finally:
                sql.execute(sa.text("SELECT pg_advisory_unlock(4086)"))
                sql.commit()

    def _resume(self, workflows: Sequence[tuple[str, str]]) -> None:
        """Return workflows, each with its id and name, to their queues, which are named as they are."""
        if not workflows:
            return
        logger.info("returning %d items of workers that are gone to their queues", len(workflows))
        client = open_client(self._url, self._storage)
        try:
            for queue in (TRANSFER, FINISH, BULK):
                if ids := [workflow for workflow, name in workflows if name == queue]:
                    client.resume_workflows(ids, queue_name=queue)
        finally:
            client.destroy()

    def _hand_back(self) -> None:
        """Remove this worker, and return what it holds to the queues."""
        with suppress(SQLAlchemyError):  # then others adopt it
            with self._engine.begin() as sql:
                sql.execute(sa.text("DELETE FROM mux_ingest.workers WHERE executor = :executor"), {"executor": self._executor})
            self._adopt()

    # Workflows. Everything that is not the same in a second execution is in a step.

    async def _as_task(self, work: Coroutine[Any, Any, T]) -> T:
        """Await *work* in a task that `run` cancels at its end. A worker that stops takes no item: another one will."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._tasks.add(task)
        try:
            if self._stopping.is_set():
                work.close()
                await asyncio.Event().wait()
            return await work
        finally:
            self._tasks.discard(task)

    async def _sending(self, work: Coroutine[Any, Any, T]) -> T:
        """Await *work*, for whose end `run` waits when it stops."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._transfers.add(task)
        try:
            return await work
        finally:
            self._transfers.discard(task)

    async def _transfer(self, order: dict[str, Any]) -> ItemState:
        state = await self._sending(self._send_item(order))
        _check_alive(state)
        return state

    async def _send_item(self, order: dict[str, Any]) -> ItemState:
        state = ItemState.from_dict(order["state"])
        item, options = Item.from_dict(order["item"]), order["options"]
        steps = {Create: self._intend, Reconcile: self._create, Send: self._send}
        creates = 0
        while (step := next_step(state)) is not None and not isinstance(step, WaitReady):
            creates += isinstance(step, Create)
            if creates > MAX_OUTAGES:
                return advance(
                    state, Died(ItemError("TransportError", f"{creates} creates failed for reasons of the network or of Mux"))
                )
            name = type(step).__name__.lower()
            stored = await dbos.DBOS.run_step_async({"name": name}, _keep_state, steps[type(step)], item, state, options)
            state = ItemState.from_dict(cast("Mapping[str, object]", stored))
        return state

    async def _finish(self, order: dict[str, Any]) -> dict[str, object]:
        item, state = Item.from_dict(order["item"]), ItemState.from_dict(order["state"])
        stored = await dbos.DBOS.run_step_async({"name": "wait"}, _keep_state, self._wait, item, state, order["options"])
        found = cast("dict[str, Any]", stored)
        _check_alive(ItemState.from_dict(found.get("state", found)))
        return cast("dict[str, object]", found["result"])

    # Steps

    def _steps(self, options: Mapping[str, Any]) -> Steps:
        uploads = Uploads(self._client, max_failures=_MAX_UPLOAD_FAILURES)
        chosen = IngestOptions(options["policies"], options["test"], UNSET, self._wait_timeout, DEFAULT_CHUNK_SIZE)
        return Steps(self._client, uploads, _Unwritten(), self._clock, chosen, lambda _event: None)

    async def _intend(self, item: Item, state: ItemState, options: Mapping[str, Any]) -> dict[str, object]:
        """Store that a create follows, when, and by whom."""
        active = ActiveItem(item, state, 0.0)
        try:
            await self._steps(options).intend(active)
        except MuxError as error:
            active.state = _dead(active.state, error)
        self._intended[item.key] = active.state.intended_at
        return active.state.to_dict()

    async def _create(self, item: Item, state: ItemState, options: Mapping[str, Any]) -> dict[str, object]:
        """Create, or find what an earlier attempt has created."""
        active = ActiveItem(item, state, 0.0)
        is_own = state.intended_at is not None and self._intended.pop(item.key, None) == state.intended_at
        if is_own and self._clock.now() - cast("float", state.intended_at) < FRESH:
            try:
                await self._steps(options).create(active)
            except MuxError as error:
                fault = fault_of(error, is_create=True)
                if fault is Fault.ACCOUNT:
                    await self._give_up(error)
                if fault is not Fault.UNKNOWN:
                    active.state = advance(active.state, NothingCreated())
                if fault is Fault.ITEM:
                    active.state = _dead(active.state, error)
                elif fault is not Fault.UNKNOWN:
                    await asyncio.sleep(pause_after(3))
        if active.state.stage is Stage.CREATING:
            active.state = await self._look_up(active.state)  # if nothing was created, a new intent follows
        if active.upload is not None:
            self._uploads[item.key] = active.upload
        return active.state.to_dict()

    async def _look_up(self, state: ItemState) -> ItemState:
        """Return the state with what became of the create. A lookup that fails says nothing about the create, and is repeated."""
        outages = 0
        # The create may have waited for the rate limit after its intent, so that only now bounds when it was sent.
        unknown = UnknownCreate(state, self._clock.now())
        while True:
            try:
                found = await reconcile(self._client, self._clock, {state.key: unknown})
            except MuxError as error:
                outages += 1
                if outages > MAX_OUTAGES:
                    return _dead(state, error)
                await asyncio.sleep(pause_after(outages))
            else:
                if state.key in found:
                    return advance(state, found[state.key])
                outages = 0
                await asyncio.sleep(1.0)

    async def _send(self, item: Item, state: ItemState, options: Mapping[str, Any]) -> dict[str, object]:
        """Send the bytes that the upload does not hold yet."""
        if state.stage is Stage.CREATED:
            state = advance(state, Began())  # an earlier execution of this step may have sent some
        active = ActiveItem(item, state, 0.0, upload=self._uploads.pop(item.key, None))
        await self._repeat(
            active, lambda: self._steps(options).send(active), until=lambda: active.state.stage is not Stage.SENDING
        )
        return active.state.to_dict()

    async def _wait(self, item: Item, state: ItemState, options: Mapping[str, Any]) -> dict[str, object]:
        """Wait for the asset."""
        active = ActiveItem(item, state, asyncio.get_running_loop().time())
        steps = self._steps(options)
        result: dict[str, object] = {}

        async def wait() -> None:
            asset = await steps.wait(active, WaitReady(active.state.asset_id, active.state.upload_id))
            found = ItemResult.of(item, active.state, asset, seconds=0.0, base_url=self._client.base_url)
            result.update(asset_id=found.asset_id, playback_ids=dict(found.playback_ids), duration=found.duration)

        await self._repeat(active, wait, until=lambda: active.state.stage.is_final)
        return {"state": active.state.to_dict(), "result": result}

    async def _give_up(self, error: MuxError) -> None:
        """Stop the worker: every other item would fail as well. The caller is cancelled, and its item handed back."""
        if not self._stopping.is_set():
            logger.error("no item can be worked on: %s", error)
            self._failure = error
            self.stop()
        await asyncio.Event().wait()

    async def _repeat(self, active: ActiveItem, step: Callable[[], Any], *, until: Callable[[], bool]) -> None:
        """Perform a step until *until*, or until the item is dead."""
        while not until():
            try:
                await step()
                active.outages = 0
            except MuxError as error:
                active.outages += 1
                fault = fault_of(error, is_create=False)
                if fault is Fault.ACCOUNT:
                    await self._give_up(error)
                if fault is Fault.ITEM or active.outages > MAX_OUTAGES:
                    active.state = _dead(active.state, error)
                    return
                await asyncio.sleep(pause_after(active.outages))


async def _keep_state(
    step: Callable[[Item, ItemState, Mapping[str, Any]], Coroutine[Any, Any, dict[str, object]]],
    item: Item,
    state: ItemState,
    options: Mapping[str, Any],
) -> dict[str, object]:
    """Perform a step. After an unexpected error the item is dead in the state in which it was, and can be retried from there."""
    try:
        return await step(item, state, options)
    except Exception as error:
        logger.exception("a step of %r failed unexpectedly", item.source)
        return advance(state, Died(ItemError(type(error).__name__, str(error)))).to_dict()


def _dead(state: ItemState, error: MuxError) -> ItemState:
    asset_id = getattr(error, "asset_id", None)
    if isinstance(asset_id, str):
        state = attrs.evolve(state, asset_id=asset_id)
    return advance(state, Died(ItemError(type(error).__name__, str(error))))


def _check_alive(state: ItemState) -> None:
    if state.error is not None:
        raise ItemFailedError(f"{state.error.type}: {state.error.message}", state=state.to_dict())
