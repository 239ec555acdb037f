"""A worker: runs DBOS, stores heartbeats, and takes over what workers leave that are gone. See the package for how workers share items."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, cast

import dbos
import sqlalchemy as sa
from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from mux_async._checks import check_number, check_whole
from mux_async._client import Mux, for_long_work
from mux_async._tracebacks import hides_methods
from mux_async._transports import resolve_transport
from mux_async._types import Secret
from mux_async.errors import ConfigurationError
from mux_async.ingest._reconcile import ServerClock
from mux_async.ingest.dbos._context import WorkerContext
from mux_async.ingest.dbos._database import (
    APPLICATION,
    BULK,
    FINISH,
    FINISH_SUFFIX,
    TRANSFER,
    VERSION,
    Database,
    Storage,
    open_database,
    run,
)
from mux_async.ingest.dbos._fence import ADOPT_AFTER, BEAT, Fence, FencedTransport, elapsed
from mux_async.ingest.dbos._items import Items
from mux_async.ingest.dbos._rows import BulkRows
from mux_async.transport import Transport, TransportFactory, TransportSettings

logger = logging.getLogger(__name__)

_CREATE_ATTEMPTS: Final = 8
_only_worker: Final = threading.Lock()
"""Held by the worker of this process: DBOS has its workflows in a registry of the process."""


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
        self._context: WorkerContext | None = None
        self._lost: set[str] = set()
        """Items that DBOS counts as running here, and that were not at the last heartbeat."""
        self._stopping = asyncio.Event()

    _database: Database

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
        manager = open_database(self._url, self._storage)
        self._database = await to_thread.run_sync(manager.__enter__)
        try:
            return await self._work()
        finally:
            await to_thread.run_sync(manager.__exit__, None, None, None)

    async def _work(self) -> bool:
        choice = resolve_transport(self._transport)

        def make_transport(settings: TransportSettings) -> Transport:
            return FencedTransport(choice(settings), self._fence)

        client = self._make_client(cast("TransportFactory", make_transport))
        async with client:
            await to_thread.run_sync(self._beat)
            beats = asyncio.create_task(self._keep_beating())
            try:
                context = await self._make_context(client)
                async with self._running(context):
                    await self._stopping.wait()
                    # Credentials that are refused are refused for every item. Rows store their outcomes first, or they were in doubt.
                    waiting = context.rows if context.failure is not None else context.rows | context.sending
                    if waiting and not self._fence.is_lost:
                        await asyncio.wait(waiting, timeout=self._drain)
            finally:
                beats.cancel()
                with suppress(asyncio.CancelledError):
                    await beats
                await to_thread.run_sync(self._hand_back)
        if context.failure is not None:
            raise context.failure
        return not self._fence.is_lost

    async def _make_context(self, client: Mux) -> WorkerContext:
        """Check the credentials, and read the server's clock."""
        client = for_long_work(client).with_options(priority="batch", max_attempts=_CREATE_ATTEMPTS)
        answer = await client.system.utilities.with_raw_response.whoami()
        environment = getattr(answer.value, "environment_id", None)
        await to_thread.run_sync(self._database.check_environment, environment)
        clock = ServerClock.read(answer.headers, time.time)
        return WorkerContext(client, clock, self._fence, self._database, self._stopping)

    @asynccontextmanager
    async def _running(self, context: WorkerContext) -> AsyncGenerator[None]:
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
        self._context, items, rows = context, Items(context, self._wait_timeout), BulkRows(context)

        @dbos.DBOS.workflow(name=FINISH, max_recovery_attempts=None)
        async def finish(order: dict[str, Any]) -> dict[str, object]:
            return await context.run(items.finish(order))

        @dbos.DBOS.workflow(name=TRANSFER, max_recovery_attempts=None)
        async def transfer(order: dict[str, Any]) -> dict[str, object]:
            state = await context.run(items.transfer(order), context.sending)
            with (
                dbos.SetWorkflowID(state.key + FINISH_SUFFIX),
                dbos.SetWorkflowAttributes({"source": order["item"]["source"]}),
            ):
                await dbos.DBOS.enqueue_workflow_async(FINISH, finish, {**order, "state": state.to_dict()})
            return state.to_dict()

        @dbos.DBOS.workflow(name=BULK, max_recovery_attempts=None)
        async def bulk_row(order: dict[str, Any]) -> dict[str, object]:
            return await context.run(rows.perform(order), context.rows)

        try:
            dbos.DBOS.launch()  # in the thread of the loop: DBOS then runs workflows in it
            for name, places in ((TRANSFER, self._concurrency), (FINISH, self._waiting), (BULK, self._concurrency)):
                await dbos.DBOS.register_queue_async(
                    name, worker_concurrency=places, polling_interval_sec=0.5, on_conflict="always_update"
                )
            yield
        finally:
            for task in context.tasks:
                task.cancel()
            self._context = None
            await to_thread.run_sync(partial(dbos.DBOS.destroy, destroy_registry=True))
            # DBOS has put its own executor into the event loop, and shut it down.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())

    # Heartbeats and adoption, in worker threads

    def _beat(self) -> None:
        at = self._fence.now()
        statement = "INSERT INTO mux_ingest.workers (executor, host) VALUES (:executor, :host)"
        if self._is_registered:
            statement = "UPDATE mux_ingest.workers SET seen_at = now() WHERE executor = :executor"
        with self._database.engine.begin() as sql:
            found = run(sql, statement, executor=self._executor, host=platform.node())
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
                    text = "others have taken over the items of this worker, which was suspended for too long"
                    logger.error(text, extra={"mux_worker": self._executor})
                    self.stop()
                    return
                await to_thread.run_sync(self._adopt)
            except Exception as error:  # noqa: BLE001 - DBOS and the driver raise their own; without heartbeats nothing is sent
                extra = {"mux_worker": self._executor, "mux_error": type(error).__name__}
                logger.warning("the database cannot be used: %s", type(error).__name__, extra=extra)

    def _adopt(self) -> None:
        """Return the items of silent workers to their queues, which are named as their workflows."""
        with self._database.engine.connect() as sql:
            # One adopter at a time: what it finds then belongs to workers that are gone, and to no other.
            if not run(sql, "SELECT pg_try_advisory_lock(4086)").scalar():
                return
            try:
                silent = "DELETE FROM mux_ingest.workers WHERE seen_at < now() - make_interval(secs => :after)"
                run(sql, silent, after=ADOPT_AFTER)
                found = run(
                    sql,
                    "SELECT name, array_agg(workflow_uuid) FROM dbos.workflow_status WHERE status = 'PENDING' AND name = ANY(:names) "
                    "AND executor_id NOT IN (SELECT executor FROM mux_ingest.workers) GROUP BY name",
                    names=[TRANSFER, FINISH, BULK],
                )
                orphans = [(str(row[0]), list(row[1])) for row in found] + self._find_lost(sql)
                sql.commit()
                for queue, workflows in orphans:
                    extra = {"mux_worker": self._executor, "mux_queue": queue, "mux_items": len(workflows)}
                    logger.info("returning %d items that no worker runs to their queue %s", len(workflows), queue, extra=extra)
                    self._database.client.resume_workflows(workflows, queue_name=queue)
            finally:
                run(sql, "SELECT pg_advisory_unlock(4086)")
                sql.commit()

    def _find_lost(self, sql: sa.Connection) -> list[tuple[str, list[str]]]:
        """Return items of this worker whose workflow has ended without an outcome, as when the database takes no writes for a moment."""
        if self._context is None:
            return []
        statement = "SELECT workflow_uuid, name FROM dbos.workflow_status WHERE status = 'PENDING' AND executor_id = :executor"
        held = {str(row[0]): str(row[1]) for row in run(sql, statement, executor=self._executor)}
        before, self._lost = self._lost, held.keys() - set(self._context.tasks.copy().values())
        return [(held[workflow], [workflow]) for workflow in self._lost & before]

    def _hand_back(self) -> None:
        """Remove this worker, and return what it holds to the queues."""
        with suppress(SQLAlchemyError):  # then others adopt it
            with self._database.engine.begin() as sql:
                run(sql, "DELETE FROM mux_ingest.workers WHERE executor = :executor", executor=self._executor)
            self._adopt()
