"""Bulk changes on many hosts: `submit_bulk` stores the rows, and the workers of an ingest perform them.

A workflow per row, with two steps for each attempt: ``begin`` stores that a request follows, ``perform`` sends it. A row that was begun and
has no outcome is in doubt, as in the journal of a run in one process; `mux_async.bulk` decides what may be done then.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import anyio
import attrs
import dbos
import sqlalchemy as sa

from mux_async._client import Mux
from mux_async._types import Secret
from mux_async.bulk import BulkPlan, PlannedCall, RowStage
from mux_async.bulk._attempt import Postponed, RowFinished, RowProgress, attempt
from mux_async.bulk._journal import StoredRow
from mux_async.bulk._operations import find_method
from mux_async.bulk._plan import make_bulk_plan
from mux_async.bulk._rows import Cell
from mux_async.errors import ConfigurationError, InvalidRequestError
from mux_async.ingest._reconcile import ServerClock
from mux_async.ingest.dbos._database import BULK, VERSION, ItemFailedError, Storage, open_client, prepare_items
from mux_async.ingest.dbos._fence import Fence

logger = logging.getLogger(__name__)

_BATCH: Final = 500
"""Rows in a transaction."""
_ENDED_BADLY: Final = ["ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_STAGES: Final = {
    "ENQUEUED": RowStage.PLANNED,
    "DELAYED": RowStage.PLANNED,
    "PENDING": RowStage.BEGUN,
    "SUCCESS": RowStage.DONE,
}
_SECRET_URL: Final = re.compile(r"://[^\s\"]*[?@]")
"""URLs with a query, which may be a signature, or with a password."""


def submit_bulk(
    url: str, plan: BulkPlan, *, name: str, confirm: str | None = None, storage_key: str | Secret | None = None
) -> tuple[int, int]:
    """Store the rows of a bulk change for the workers. Sends nothing to Mux. Blocks.

    Args:
        url: The database: ``postgresql://user@host/name``.
        plan: `Bulk.plan`.
        name: Of the change in the database. Rows that were submitted under this name before are skipped.
        confirm: For operations that destroy something: `BulkPlan.confirmation`.
        storage_key: Encrypts rows in the database. Required for rows with URLs that have a query, which may be a signature.

    Returns:
        The number of rows that are new, and of those that were submitted before.

    Raises:
        ConfigurationError: The confirmation is missing, the name belongs to another operation, or the database or the key cannot be used.
            Nothing was stored.
        InvalidRequestError: A row cannot be stored; nothing was.
    """
    plan.check_confirmation(confirm)
    storage = Storage(storage_key)
    orders = [_order(plan, call, is_encrypted=storage.is_encrypted) for call in plan.calls]
    engine = prepare_items(url, storage)
    client = open_client(url, storage)
    new = 0
    try:
        job = _job(engine, name, plan.operation)
        for start in range(0, len(orders), _BATCH):
            with engine.begin() as sql:
                found = sql.execute(sa.text("SELECT rows FROM mux_ingest.bulk WHERE id = :id FOR UPDATE"), {"id": job})
                count = int(found.scalar_one())
                ids = {f"{_prefix(job)}{call.key}": call for call in plan.calls[start : start + _BATCH]}
                stored = sql.execute(
                    sa.text("SELECT workflow_uuid FROM dbos.workflow_status WHERE workflow_uuid = ANY(:ids)"),
                    {"ids": list(ids)},
                )
                known = {str(row[0]) for row in stored}
                for order, (workflow, call) in zip(orders[start : start + _BATCH], ids.items(), strict=True):
                    if workflow in known:
                        continue
                    count += 1
                    new += 1
                    options: dbos.EnqueueOptions = {
                        "workflow_name": BULK,
                        "queue_name": BULK,
                        "workflow_id": workflow,
                        "app_version": VERSION,
                        "attributes": {"label": call.label, "number": count},
                    }
                    client.enqueue_in_transaction(sql, options, {**order, "key": f"bulk-{job}-{count}"})
                sql.execute(sa.text("UPDATE mux_ingest.bulk SET rows = :rows WHERE id = :id"), {"rows": count, "id": job})
    finally:
        client.destroy()
        engine.dispose()
    return new, len(orders) - new


def bulk_counts(url: str, name: str, *, storage_key: str | Secret | None = None) -> Mapping[RowStage, int]:
    """Return the number of rows of a bulk change by stage; empty stages are left out. Blocks.

    Raises:
        ConfigurationError: There is no bulk change with this name, or the database or the key cannot be used.
    """
    storage = Storage(storage_key)
    engine = prepare_items(url, storage)
    client = open_client(url, storage)
    try:
        prefix = _prefix(_known_job(engine, name))
        counts: Counter[RowStage] = Counter()
        with engine.begin() as sql:
            for state, count in sql.execute(
                sa.text(
                    "SELECT status, count(*) FROM dbos.workflow_status WHERE name = :name AND starts_with(workflow_uuid, :prefix) "
                    "GROUP BY 1"
                ),
                {"name": BULK, "prefix": prefix},
            ):
                if str(state) in _STAGES:
                    counts[_STAGES[str(state)]] += int(count)
        for one in _workflows(client, prefix, _ENDED_BADLY):
            counts[_stored_row(one, prefix).stage] += 1
    finally:
        client.destroy()
        engine.dispose()
    return dict(counts)


def bulk_entries(url: str, name: str, *stages: RowStage, storage_key: str | Secret | None = None) -> Iterator[StoredRow]:
    """Yield the rows of a bulk change, as `BulkJournal.entries` does, or those of some *stages*. Blocks.

    Raises:
        ConfigurationError: There is no bulk change with this name, or the database or the key cannot be used.
    """
    storage = Storage(storage_key)
    engine = prepare_items(url, storage)
    client = open_client(url, storage)
    try:
        prefix = _prefix(_known_job(engine, name))
        states = _ENDED_BADLY if stages and set(stages) <= {RowStage.FAILED, RowStage.UNKNOWN} else None
        for one in _workflows(client, prefix, states):
            row = _stored_row(one, prefix)
            if not stages or row.stage in stages:
                yield row
    finally:
        client.destroy()
        engine.dispose()


def retry_bulk(url: str, name: str, *stages: RowStage, storage_key: str | Secret | None = None) -> int:
    """Let the workers send failed rows again, or those of other *stages*. Returns their number. Blocks.

    Rows that are unknown may have been performed: look before you retry them.

    Raises:
        ConfigurationError: There is no bulk change with this name, or the database or the key cannot be used.
    """
    chosen = stages or (RowStage.FAILED,)
    storage = Storage(storage_key)
    engine = prepare_items(url, storage)
    client = open_client(url, storage)
    try:
        prefix = _prefix(_known_job(engine, name))
        found = [one for one in _workflows(client, prefix, _ENDED_BADLY) if _stored_row(one, prefix).stage in chosen]
        for one in found:
            client.rewind_workflow(one.workflow_id, queue_name=BULK, application_version=VERSION)
    finally:
        client.destroy()
        engine.dispose()
    return len(found)


class BulkRows:
    """Performs rows, in a worker.

    Args:
        client: Of the worker.
        clock: The server's clock, which is the same for all workers.
        fence: Of the worker.
        stop: Stops the worker.
    """

    def __init__(self, client: Mux, clock: ServerClock, fence: Fence, stop: Callable[[], None]) -> None:
        self._client = client
        self._clock = clock
        self._fence = fence
        self._stop = stop
        self._is_refused = False
        """Whether every row would fail here."""
        self._begun: set[str] = set()
        """Attempts that this process has begun, and not performed."""

    async def perform(self, order: dict[str, Any]) -> dict[str, object]:
        """Perform a row to its outcome. A workflow: what is not the same in a second execution is in its steps."""
        progress, pause = RowProgress(), 0.0
        while True:
            begun = await dbos.DBOS.run_step_async({"name": "begin"}, self._begin, pause)
            stored = await dbos.DBOS.run_step_async({"name": "perform"}, self._attempt, order, begun, attrs.asdict(progress))
            found = cast("dict[str, Any]", stored)
            if "progress" not in found:
                break
            progress, pause = RowProgress(**found["progress"]), found["pause"]
        if found["stage"] != RowStage.DONE:
            raise ItemFailedError(f"{found['type']}: {found['message']}", state=found)
        return {"id": found["id"]}

    async def _begin(self, pause: float) -> dict[str, object]:
        """Store that a request follows, and when."""
        await anyio.sleep(pause)
        if self._is_refused:
            await anyio.sleep_forever()  # until the worker, which stops, cancels it
        token = secrets.token_hex(8)
        self._begun.add(token)
        return {"token": token, "at": self._clock.now()}

    async def _attempt(self, order: dict[str, Any], begun: dict[str, Any], progress: dict[str, Any]) -> dict[str, object]:
        """Send the request. If another process has begun this attempt, or this one twice, its outcome is in doubt."""
        before = RowProgress(**progress)
        if begun["token"] not in self._begun:
            since = begun["at"] if before.in_doubt_since is None else before.in_doubt_since
            before = attrs.evolve(before, in_doubt_since=since, is_first=False)
        self._begun.discard(begun["token"])
        caller = cast("Any", self._client)._caller
        method = find_method(order["operation"])
        values = {**order["values"], **{name: Cell(text) for name, text in order["cells"].items()}}
        row = make_bulk_plan(method, [(order["row"], values)], {}, caller.engine.config, caller.options.timeouts)
        if row.problems:  # this version of the package knows less than the one that submitted it
            return {"stage": RowStage.FAILED, "type": "InvalidRequestError", "message": row.problems[0].message}
        outcome = await attempt(caller, method.operation, row.calls[0], order["key"], before, self._clock.now)
        # In the step, as another worker that replays its outcome need not stop.
        if isinstance(outcome, Postponed) and outcome.fatal is not None:
            logger.error("%s: the worker ends, and the rows stay for others", outcome.fatal)
            self._is_refused = True
            self._stop()
        # Others may be about to take over: they have to find the row in doubt.
        while not self._fence.is_open():  # noqa: ASYNC110 - time opens it
            await anyio.sleep(1.0)
        return _stored(outcome)


def _stored(outcome: RowFinished | Postponed) -> dict[str, object]:
    if isinstance(outcome, Postponed):
        return {"progress": attrs.asdict(outcome.progress), "pause": outcome.pause}
    if outcome.error is None:
        return {"stage": outcome.stage, "id": outcome.result}
    return {"stage": outcome.stage, "type": type(outcome.error).__name__, "message": str(outcome.error)}


def _order(plan: BulkPlan, call: PlannedCall, *, is_encrypted: bool) -> dict[str, object]:
    cells = {name: str(value) for name, value in call.values.items() if isinstance(value, Cell)}
    values = {name: value for name, value in call.values.items() if name not in cells}
    try:
        text = json.dumps([cells, values], ensure_ascii=False)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            f"row {call.row} has a value that is not JSON, and cannot be stored for the workers: give dates and the like as text"
        ) from None
    if not is_encrypted and _SECRET_URL.search(text):
        raise InvalidRequestError(
            f"row {call.row} has a URL with a query, which may be a signature, or with a password, and would be stored as it is: "
            "give a storage key (MUX_INGEST_KEY)"
        )
    return {"operation": plan.operation, "row": call.row, "cells": cells, "values": values}


def _prefix(job: str) -> str:
    return f"bulk/{job}/"


def _job(engine: sa.Engine, name: str, operation: str) -> str:
    """Return the id of the change *name*, which is made if it is not there: a random text, part of the idempotency keys."""
    with engine.begin() as sql:
        sql.execute(
            sa.text("INSERT INTO mux_ingest.bulk (name, id, operation) VALUES (:name, :id, :operation) ON CONFLICT DO NOTHING"),
            {"name": name, "id": secrets.token_hex(8), "operation": operation},
        )
        job, stored = sql.execute(sa.text("SELECT id, operation FROM mux_ingest.bulk WHERE name = :name"), {"name": name}).one()
    if stored != operation:
        raise ConfigurationError(f"{name!r} in the database is of {stored}, and this is {operation}: take another name")
    return str(job)


def _known_job(engine: sa.Engine, name: str) -> str:
    with engine.begin() as sql:
        found = sql.execute(sa.text("SELECT name, id FROM mux_ingest.bulk ORDER BY name"))
        names = {str(row[0]): str(row[1]) for row in found}
    if name not in names:
        known = ", ".join(map(repr, list(names)[:10])) or "none"
        raise ConfigurationError(f"there is no bulk change {name!r} in the database; there are: {known}")
    return names[name]


def _workflows(client: dbos.DBOSClient, prefix: str, states: list[str] | None = None) -> Iterator[dbos.WorkflowStatus]:
    offset = 0
    while found := client.list_workflows(
        name=BULK, workflow_id_prefix=prefix, status=states, limit=1000, offset=offset, load_input=False
    ):
        offset += len(found)
        yield from found


def _stored_row(one: dbos.WorkflowStatus, prefix: str) -> StoredRow:
    attributes = one.attributes or {}
    stage = _STAGES.get(one.status, RowStage.FAILED)
    result = error_type = message = None
    if one.status == "SUCCESS":
        result = cast("dict[str, Any]", one.output)["id"]
    elif stage is RowStage.FAILED:
        state = cast("dict[str, Any]", getattr(one.error, "state", None) or {})
        stage = RowStage(state.get("stage", RowStage.FAILED))
        error_type, message = state.get("type", one.status), state.get("message", str(one.error))
    return StoredRow(
        attributes["number"],
        one.workflow_id.removeprefix(prefix),
        attributes["label"],
        stage,
        (one.updated_at or 0) / 1000,
        result,
        error_type,
        message,
    )
