"""What the workflows of a worker share: its client, the server's clock, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NoReturn, TypeVar, cast

import attrs
import dbos
from sqlalchemy.exc import InternalError, OperationalError

from mux_async._client import Mux
from mux_async.errors import MuxError
from mux_async.ingest._reconcile import ServerClock
from mux_async.ingest.dbos._database import Database
from mux_async.ingest.dbos._fence import Fence

logger = logging.getLogger(__name__)

T = TypeVar("T")


@attrs.define(eq=False)
class WorkerContext:
    """Of one worker. Workflows end by cancellation when it ends: DBOS keeps them, and others continue them."""

    client: Mux
    clock: ServerClock
    fence: Fence
    database: Database
    stopping: asyncio.Event
    failure: MuxError | None = None
    """Why no item can be worked on, such as credentials that were revoked."""
    tasks: dict[asyncio.Task[Any], str] = attrs.field(factory=dict["asyncio.Task[Any]", str])
    """All workflows, with their ids."""
    sending: set[asyncio.Task[Any]] = attrs.field(factory=set["asyncio.Task[Any]"])
    """Those that send items."""
    rows: set[asyncio.Task[Any]] = attrs.field(factory=set["asyncio.Task[Any]"])
    """Those that perform rows of bulk changes."""

    async def run(self, work: Coroutine[Any, Any, T], *groups: set[asyncio.Task[Any]]) -> T:
        """Await *work* as a member of *groups*. A worker that stops takes no item: another one will."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.tasks[task] = dbos.DBOS.workflow_id or ""
        for group in groups:
            group.add(task)
        try:
            if self.stopping.is_set():
                work.close()
                raise asyncio.CancelledError
            return await work
        except (InternalError, OperationalError) as error:
            extra = {"mux_workflow": self.tasks[task], "mux_error": type(error.orig).__name__}
            logger.warning("a step cannot be stored, and is repeated: %s", extra["mux_error"], extra=extra)
            raise asyncio.CancelledError from error  # without an outcome; the worker finds it later
        finally:
            del self.tasks[task]
            for group in groups:
                group.discard(task)

    async def pause(self, seconds: float) -> None:
        """Wait between two attempts. If the worker stops meanwhile, the workflow ends: nothing of it is being sent."""
        if seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), seconds)
        if self.stopping.is_set():
            raise asyncio.CancelledError

    def give_up(self, error: MuxError) -> None:
        """Stop the worker: every other item and row would fail as well. They stay for others."""
        if self.failure is None:
            extra = {"mux_error": type(error).__name__}
            logger.error("no item can be worked on, so that this worker ends: %s", error, extra=extra)
            self.failure = error
        self.stopping.set()

    def end_with(self, error: MuxError) -> NoReturn:
        """Stop the worker, and end this workflow without an outcome."""
        self.give_up(error)
        raise asyncio.CancelledError
