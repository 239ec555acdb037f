"""Bulk changes on many hosts: `submit_bulk` stores the rows, and the workers of an ingest perform them (`_rows`).

A change that ends early has its waiting rows cancelled. They are planned again when its list is submitted again.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, cast

import dbos
from sqlalchemy.exc import DBAPIError

from mux_async._checks import check_whole
from mux_async._types import Secret
from mux_async.bulk import BulkPlan, PlannedCall, RowStage
from mux_async.bulk._journal import StoredRow
from mux_async.bulk._rows import Cell
from mux_async.errors import ConfigurationError, InvalidRequestError
from mux_async.ingest.dbos._database import (
    BULK,
    FAILED,
    VERSION,
    Database,
    Storage,
    StoredWorkflow,
    begun,
    known_ids,
    open_database,
    run,
)

logger = logging.getLogger(__name__)

_BATCH: Final = 500
"""Rows in a transaction."""
_STAGES: Final = {
    "ENQUEUED": RowStage.PLANNED,
    "DELAYED": RowStage.PLANNED,
    "CANCELLED": RowStage.PLANNED,
    "PENDING": RowStage.BEGUN,
    "SUCCESS": RowStage.DONE,
}
_OF_CHANGE: Final = "one.name = :bulk AND starts_with(one.workflow_uuid, :prefix)"
"""Selects the rows of a change."""


def submit_bulk(
    url: str,
    plan: BulkPlan,
    *,
    name: str,
    confirm: str | None = None,
    max_failures: int = 25,
    environment: str | None = None,
    storage_key: str | Secret | None = None,
) -> tuple[int, int]:
    """Store the rows of a bulk change for the workers. Sends nothing to Mux. Blocks.

    Args:
        url: The database: ``postgresql://user@host/name``.
        plan: `Bulk.plan`.
        name: Of the change in the database. Rows that were submitted under this name before are skipped; if the change ended early, they
            go on.
        confirm: For operations that destroy something: `BulkPlan.confirmation`.
        max_failures: Rows that fail one after the other, on all hosts, before the change ends early; 0 for no bound.
        environment: Of the credentials that the rows were made for: `Bulk.environment`. Workers of another one are refused.
        storage_key: Encrypts rows in the database. Required for rows with URLs that have a query, which may be a signature.

    Returns:
        The number of rows that are new, and of those that were submitted before.

    Raises:
        ConfigurationError: The confirmation is missing, the name belongs to another operation, the database to another environment, or it
            or the key cannot be used. Nothing was stored.
        InvalidRequestError: A row cannot be stored; nothing was.
    """
    plan.check_confirmation(confirm)
    check_whole("max_failures", max_failures, 0, "it must be 0 or more, and whole")
    storage, new = Storage(storage_key), 0
    orders = [_order(plan, call, storage) for call in plan.calls]
    with open_database(url, storage) as database:
        database.check_environment(environment)
        job = _job(database, name, plan.operation, max_failures)
        for start in range(0, len(orders), _BATCH):
            with database.engine.begin() as sql:
                count = int(run(sql, "SELECT rows FROM mux_ingest.bulk WHERE id = :id FOR UPDATE", id=job).scalar_one())
                batch = plan.calls[start : start + _BATCH]
                known = known_ids(sql, _ids(job, batch))
                _resume(database, sorted(known))
                for order, call in zip(orders[start : start + _BATCH], batch, strict=True):
                    workflow = f"{_prefix(job)}{call.key}"
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
                    database.client.enqueue_in_transaction(sql, options, {**order, "key": f"bulk-{job}-{count}"})
                run(sql, "UPDATE mux_ingest.bulk SET rows = :rows WHERE id = :id", rows=count, id=job)
    return new, len(orders) - new


def bulk_counts(url: str, name: str, *, storage_key: str | Secret | None = None) -> Mapping[RowStage, int]:
    """Return the number of rows of a bulk change by stage; empty stages are left out. Blocks.

    Raises:
        ConfigurationError: There is no bulk change with this name, or the database or the key cannot be used.
    """
    counts: Counter[RowStage] = Counter()
    with open_database(url, storage_key) as database:
        rows = {"bulk": BULK, "prefix": _prefix(_known_job(database, name)[0])}
        with database.engine.begin() as sql:
            statement = f"SELECT status, count(*) FROM dbos.workflow_status AS one WHERE {_OF_CHANGE} GROUP BY 1"  # noqa: S608 - a constant
            for state, count in run(sql, statement, **rows):
                if state in _STAGES:
                    counts[_STAGES[state]] += int(count)
        for one in database.workflows(f"{_OF_CHANGE} AND status <> ALL(:counted)", **rows, counted=list(_STAGES)):
            counts[_stored_row(one).stage] += 1
    return dict(counts)


def bulk_reason(url: str, name: str, *, storage_key: str | Secret | None = None) -> str | None:
    """Return why a bulk change ended early; ``None`` if it did not. Submitting its list again continues it. Blocks.

    Raises:
        ConfigurationError: There is no bulk change with this name, or the database or the key cannot be used.
    """
    with open_database(url, storage_key) as database:
        return _known_job(database, name)[1]


def bulk_entries(url: str, name: str, *stages: RowStage, storage_key: str | Secret | None = None) -> Iterator[StoredRow]:
    """Return an iterator of the rows of a bulk change, as `BulkJournal.entries` does, or of those of some *stages*. Blocks.

    Raises:
        ConfigurationError: There is no bulk change with this name, or the database or the key cannot be used.
    """
    return begun(_entries(url, name, stages, storage_key))


def _entries(url: str, name: str, stages: tuple[RowStage, ...], storage_key: str | Secret | None) -> Iterator[StoredRow]:
    with open_database(url, storage_key) as database:
        where = _OF_CHANGE
        values: dict[str, object] = {"bulk": BULK, "prefix": _prefix(_known_job(database, name)[0])}
        if stages and not {*stages} & {*_STAGES.values()}:
            where += " AND status = ANY(:failed)"
            values["failed"] = list(FAILED)
        for one in database.workflows(where, "ORDER BY (one.attributes->>'number')::integer", **values):
            row = _stored_row(one)
            if not stages or row.stage in stages:
                yield row


def retry_bulk(
    url: str,
    plan: BulkPlan,
    *stages: RowStage,
    name: str,
    confirm: str | None = None,
    storage_key: str | Secret | None = None,
) -> int:
    """Let the workers send failed rows of *plan* again, or those of other *stages*. Returns their number. Blocks.

    Rows that are unknown may have been performed: look before you retry them. What destroys needs the confirmation again.

    Raises:
        ConfigurationError: The confirmation is missing, there is no bulk change with this name, or the database or the key cannot be used.
    """
    plan.check_confirmation(confirm)
    chosen, count = stages or (RowStage.FAILED,), 0
    with open_database(url, storage_key) as database, database.engine.begin() as sql:
        job = _known_job(database, name)[0]
        _begin_anew(database, job)
        # One retry at a time: DBOS rewinds a row also if another process has rewound it, and a worker has begun it, meanwhile.
        run(sql, "SELECT pg_advisory_xact_lock(4087)")
        ids, failed = _ids(job, plan.calls), list(FAILED)
        for one in database.workflows("one.workflow_uuid = ANY(:ids) AND status = ANY(:failed)", ids=ids, failed=failed):
            if _stored_row(one).stage in chosen:
                database.client.rewind_workflow(one.id, queue_name=BULK, application_version=VERSION)
                count += 1
    return count


def count_outcome(database: Database, key: str, error: str | None) -> None:
    """Count rows that fail one after the other, and end the change if they are too many: its waiting rows are cancelled.

    Args:
        database: The database.
        key: Idempotency key of the row.
        error: Why it is not done; ``None`` if it is.
    """
    job = key.split("-")[1]
    with suppress(DBAPIError), database.engine.begin() as sql:
        if error is None:
            run(sql, "UPDATE mux_ingest.bulk SET failures = 0 WHERE id = :id AND failures > 0", id=job)
            return
        statement = "UPDATE mux_ingest.bulk SET failures = failures + 1 WHERE id = :id RETURNING failures, max_failures"
        failures, most = run(sql, statement, id=job).one()
        if most and failures >= most:
            reason = f"{failures} rows failed one after the other, the last with: {error}"
            logger.error("a bulk change ends early: %s", reason, extra={"mux_bulk": job, "mux_failures": failures})
            stored = database.storage.serialize(reason)
            run(sql, "UPDATE mux_ingest.bulk SET reason = coalesce(reason, :reason) WHERE id = :id", reason=stored, id=job)
            run(
                sql,
                "UPDATE dbos.workflow_status SET status = 'CANCELLED' WHERE status = 'ENQUEUED' AND name = :bulk "
                "AND starts_with(workflow_uuid, :prefix)",
                bulk=BULK,
                prefix=_prefix(job),
            )


def _order(plan: BulkPlan, call: PlannedCall, storage: Storage) -> dict[str, object]:
    cells = {name: str(value) for name, value in call.values.items() if isinstance(value, Cell)}
    values = {name: value for name, value in call.values.items() if name not in cells}
    try:
        text = json.dumps([cells, values], ensure_ascii=False)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            f"row {call.row} has a value that is not JSON, and cannot be stored for the workers: give dates and the like as text"
        ) from None
    storage.check_secrets(text, f"row {call.row}")
    return {"operation": plan.operation, "row": call.row, "cells": cells, "values": values}


def _prefix(job: str) -> str:
    return f"bulk/{job}/"


def _ids(job: str, calls: tuple[PlannedCall, ...]) -> list[str]:
    return [f"{_prefix(job)}{call.key}" for call in calls]


def _resume(database: Database, ids: list[str]) -> None:
    """Return the cancelled ones to their queue."""
    found = [one.id for one in database.workflows("one.workflow_uuid = ANY(:ids) AND status = 'CANCELLED'", ids=ids)]
    if found:
        database.client.resume_workflows(found, queue_name=BULK)


def _job(database: Database, name: str, operation: str, max_failures: int) -> str:
    """Return the id of the change *name*, which is made if it is not there: a random text, part of the idempotency keys."""
    with database.engine.begin() as sql:
        run(
            sql,
            "INSERT INTO mux_ingest.bulk (name, id, operation) VALUES (:name, :id, :operation) ON CONFLICT DO NOTHING",
            name=name,
            id=secrets.token_hex(8),
            operation=operation,
        )
        job, stored = run(sql, "SELECT id, operation FROM mux_ingest.bulk WHERE name = :name", name=name).one()
        if stored != operation:
            raise ConfigurationError(f"{name!r} in the database is of {stored}, and this is {operation}: take another name")
        run(sql, "UPDATE mux_ingest.bulk SET max_failures = :most WHERE id = :id", most=max_failures, id=job)
    _begin_anew(database, job)
    return str(job)


def _begin_anew(database: Database, job: str) -> None:
    """Count failures from 0 again."""
    with database.engine.begin() as sql:
        run(sql, "UPDATE mux_ingest.bulk SET failures = 0, reason = NULL WHERE id = :id", id=job)


def _known_job(database: Database, name: str) -> tuple[str, str | None]:
    """Return the id of a change, and why it ended early."""
    with database.engine.begin() as sql:
        changes = {row[0]: row[1:] for row in run(sql, "SELECT name, id, reason FROM mux_ingest.bulk ORDER BY name")}
    if name not in changes:
        known = ", ".join(map(repr, list(changes)[:10])) or "none"
        raise ConfigurationError(f"there is no bulk change {name!r} in the database; there are: {known}")
    job, reason = changes[name]
    return str(job), None if reason is None else str(database.storage.deserialize(reason))


def _stored_row(one: StoredWorkflow) -> StoredRow:
    stage = _STAGES.get(one.state, RowStage.FAILED)
    result = error_type = message = None
    if stage is RowStage.DONE:
        result = cast("dict[str, Any]", one.outcome)["id"]
    elif stage is RowStage.FAILED:
        state = cast("dict[str, Any]", getattr(one.outcome, "state", None) or {})
        stage = RowStage(state.get("stage", RowStage.FAILED))
        error_type, message = state.get("type", one.state), state.get("message", str(one.outcome))
    key = one.id.rpartition("/")[2]
    number, label = one.attributes["number"], one.attributes["label"]
    return StoredRow(number, key, label, stage, one.changed_at, result, error_type, message)
