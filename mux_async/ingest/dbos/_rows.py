"""The workflow of a row of a bulk change: ``begin`` stores that a request follows, ``perform`` sends it, for each attempt.

A row that was begun and has no outcome is in doubt, as in the journal of a run in one process; `mux_async.bulk` decides what may follow.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Any, cast

import anyio
import attrs
import dbos
from anyio import to_thread

from mux_async.bulk import RowFinished, RowStage
from mux_async.bulk._attempt import Postponed, RowProgress, attempt
from mux_async.bulk._operations import find_method
from mux_async.bulk._plan import make_bulk_plan
from mux_async.bulk._rows import Cell
from mux_async.errors import MuxError
from mux_async.ingest.dbos._bulk import count_outcome
from mux_async.ingest.dbos._context import WorkerContext
from mux_async.ingest.dbos._database import ItemFailedError

logger = logging.getLogger(__name__)


class BulkRows:
    """Performs rows, in a worker.

    Args:
        context: Of the worker.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._begun: set[str] = set()
        """Attempts that this process has begun, and not performed."""

    async def perform(self, order: Mapping[str, Any]) -> dict[str, object]:
        """Perform a row to its outcome. What is not the same in a second execution is in a step."""
        progress, pause, begun = RowProgress(), 0.0, dict[str, Any]()

        # Without arguments: DBOS logs those of a step that is cancelled, and rows may hold signed URLs.
        async def begin() -> dict[str, Any]:
            return await self._begin(pause)

        async def attempt_once() -> dict[str, Any]:
            return await self._attempt(order, begun, progress)

        while True:
            begun = await dbos.DBOS.run_step_async({"name": "begin"}, begin)
            found = await dbos.DBOS.run_step_async({"name": "perform"}, attempt_once)
            if "progress" not in found:
                break
            progress, pause = RowProgress(**found["progress"]), found["pause"]
        if found["stage"] != RowStage.DONE:
            raise ItemFailedError(f"{found['type']}: {found['message']}", state=found)
        return {"id": found["id"]}

    async def _begin(self, pause: float) -> dict[str, Any]:
        """Store that a request follows, and when."""
        await self._context.pause(pause)
        token = secrets.token_hex(8)
        self._begun.add(token)
        return {"token": token, "at": self._context.clock.now()}

    async def _attempt(self, order: Mapping[str, Any], begun: Mapping[str, Any], before: RowProgress) -> dict[str, Any]:
        """Send the request. If another process has begun this attempt, or this one twice, its outcome is in doubt."""
        if begun["token"] not in self._begun:
            since = begun["at"] if before.in_doubt_since is None else before.in_doubt_since
            before = attrs.evolve(before, in_doubt_since=since, is_first=False)
        self._begun.discard(begun["token"])
        caller = cast("Any", self._context.client)._caller
        method = find_method(order["operation"])
        values = {**order["values"], **{name: Cell(text) for name, text in order["cells"].items()}}
        row = make_bulk_plan(method, [(order["row"], values)], {}, caller.engine.config, caller.options.timeouts)
        if row.problems:  # this version of the package knows less than the one that submitted it
            return {"stage": RowStage.FAILED, "type": "InvalidRequestError", "message": row.problems[0].message}
        call, now = row.calls[0], self._context.clock.now
        try:
            outcome = await attempt(caller, method.operation, call, order["key"], before, now)
        except Exception as error:
            extra = {"mux_operation": order["operation"], "mux_row": order["row"]}
            logger.exception("the outcome of row %d (%s) is unknown", order["row"], call.label, extra=extra)
            outcome = RowFinished(call, RowStage.UNKNOWN, error=MuxError(f"unexpected {type(error).__name__}: {error}"))
        # In the step, as another worker that replays its outcome need not stop.
        if isinstance(outcome, Postponed) and outcome.fatal is not None:
            self._context.give_up(outcome.fatal)
        # Others may be about to take over: they have to find the row in doubt.
        while not self._context.fence.is_open():  # noqa: ASYNC110 - time opens it
            await anyio.sleep(1.0)
        stored = _stored(outcome)
        if "stage" in stored:
            reason = f"{stored['type']}: {stored['message']}" if "type" in stored else None
            await to_thread.run_sync(count_outcome, self._context.database, order["key"], reason)
        return stored


def _stored(outcome: RowFinished | Postponed) -> dict[str, object]:
    if isinstance(outcome, Postponed):
        return {"progress": attrs.asdict(outcome.progress), "pause": outcome.pause}
    if outcome.error is None:
        return {"stage": outcome.stage, "id": outcome.result}
    return {"stage": outcome.stage, "type": type(outcome.error).__name__, "message": str(outcome.error)}
