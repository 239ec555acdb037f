"""The progress over all hosts, the report, and retries of failed items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

import attrs
import dbos
import sqlalchemy as sa

from mux_async._types import Secret
from mux_async.ingest._items import Item
from mux_async.ingest.dbos._database import (
    FINISH,
    FINISH_SUFFIX,
    TRANSFER,
    Storage,
    open_client,
    prepare,
    prepare_items,
)
from mux_async.ingest.dbos._fence import ADOPT_AFTER
from mux_async.ingest.dbos._submit import options_of
from mux_async.ingest.machine import ItemState, Retried, Stage, advance


@attrs.frozen
class DistributedStatus:
    """The progress over all hosts.

    Attributes:
        waiting: Items that no worker has taken.
        transferring: Items that are created and sent.
        preparing: Items that have all their bytes, and wait for their assets.
        ready: Items whose assets are ready.
        failed: Items that failed; see `retry_failed`.
        workers: Hosts of the workers that are alive, and the seconds since each was seen.
    """

    waiting: int
    transferring: int
    preparing: int
    ready: int
    failed: int
    workers: Mapping[str, float]

    @property
    def total(self) -> int:
        """Number of items."""
        return self.waiting + self.transferring + self.preparing + self.ready + self.failed


def status(url: str) -> DistributedStatus:
    """Count the items by what they are doing. Blocks, for less than a second with 100,000 items.

    Raises:
        ConfigurationError: The database cannot be used.
    """
    engine = prepare(url)
    try:
        with engine.begin() as sql:
            rows = sql.execute(
                sa.text(f"SELECT name, status, count(*) FROM dbos.workflow_status AS one WHERE {_LAST_OF_ITEM} GROUP BY 1, 2"),  # noqa: S608 - a constant
                _NAMES,
            )
            counts = {(str(row[0]), str(row[1])): int(row[2]) for row in rows}
            alive = sql.execute(
                sa.text(
                    "SELECT executor, extract(epoch FROM now() - seen_at) FROM mux_ingest.workers "
                    "WHERE seen_at > now() - make_interval(secs => :after) ORDER BY executor"
                ),
                {"after": ADOPT_AFTER},
            )
            workers = {str(row[0]): float(row[1]) for row in alive}
    finally:
        engine.dispose()
    failed = sum(count for (_, state), count in counts.items() if state in _FAILED)
    return DistributedStatus(
        waiting=counts.get((TRANSFER, "ENQUEUED"), 0) + counts.get((TRANSFER, "DELAYED"), 0),
        transferring=counts.get((TRANSFER, "PENDING"), 0),
        preparing=sum(
            count for (name, state), count in counts.items() if name == FINISH and state not in {"SUCCESS", *_FAILED}
        ),
        ready=counts.get((FINISH, "SUCCESS"), 0),
        failed=failed,
        workers=workers,
    )


def entries(url: str, *, storage_key: str | Secret | None = None) -> Iterator[dict[str, object]]:
    """Return an iterator of an object for each item, in no particular order: key, source, status, asset, playback ids or error. Blocks.

    Raises:
        ConfigurationError: The database or the key cannot be used.
    """
    storage = Storage(storage_key)
    return _entries(prepare_items(url, storage), storage)


def _entries(engine: sa.Engine, storage: Storage) -> Iterator[dict[str, object]]:
    try:
        with engine.connect().execution_options(yield_per=1000) as sql:
            rows = sql.execute(
                sa.text(
                    "SELECT workflow_uuid, status, attributes->>'source', o.output, o.error "  # noqa: S608 - a constant
                    "FROM dbos.workflow_status AS one "
                    f"LEFT JOIN dbos.workflow_output AS o USING (workflow_uuid) WHERE {_LAST_OF_ITEM}"
                ),
                _NAMES,
            )
            for row in rows:
                yield _entry(storage, *row)
    finally:
        engine.dispose()


def _entry(
    storage: Storage, workflow: str, state: str, source: str, output: str | None, error: str | None
) -> dict[str, object]:
    is_ready = state == "SUCCESS"
    entry: dict[str, object] = {
        "key": workflow.removesuffix(FINISH_SUFFIX),
        "source": source,
        "status": _STATUSES.get(state, "failed"),
    }
    if is_ready and output is not None:
        entry |= cast("dict[str, object]", storage.deserialize(output))
    elif error is not None:
        entry["error"] = str(storage.deserialize(error))
    return entry


_NAMES: Final = {"transfer": TRANSFER, "finish": FINISH, "suffix": FINISH_SUFFIX}
_LAST_OF_ITEM: Final = (
    "(one.name = :finish OR one.name = :transfer AND one.status <> 'SUCCESS' AND NOT EXISTS "
    "(SELECT FROM dbos.workflow_status AS next WHERE next.workflow_uuid = one.workflow_uuid || :suffix))"
)
"""Selects one workflow of each item. A transfer has its second workflow a moment before it is a success."""
_FAILED: Final = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_STATUSES: Final = {"SUCCESS": "ready", "ENQUEUED": "waiting", "DELAYED": "waiting", "PENDING": "running"}


def retry_failed(url: str, *, storage_key: str | Secret | None = None) -> int:
    """Let the workers retry every failed item, from the step in which it failed. Returns their number. Blocks.

    An asset that Mux could not process is made anew; the errored one is kept until you delete it.

    Raises:
        ConfigurationError: The database or the key cannot be used.
    """
    storage = Storage(storage_key)
    engine = prepare_items(url, storage)
    client = open_client(url, storage)
    try:
        with engine.connect() as sql:
            found = sql.execute(
                sa.text(
                    f"SELECT workflow_uuid FROM dbos.workflow_status AS one WHERE {_LAST_OF_ITEM} AND status = ANY(:failed)"  # noqa: S608 - a constant
                ),
                {**_NAMES, "failed": list(_FAILED)},
            )
            failed = [str(row[0]) for row in found]
        return sum(_retry(engine, client, storage, workflow) for workflow in failed)
    finally:
        client.destroy()
        engine.dispose()


def _retry(engine: sa.Engine, client: dbos.DBOSClient, storage: Storage, workflow: str) -> bool:
    """Store a failed item anew, in one transaction. Returns ``False`` if it is no longer failed: another process has retried it."""
    with engine.begin() as sql:
        locked = sql.execute(
            sa.text("SELECT FROM dbos.workflow_status WHERE workflow_uuid = :id AND status = ANY(:failed) FOR UPDATE"),
            {"id": workflow, "failed": list(_FAILED)},
        )
        if locked.first() is None:
            return False
        inputs, error = sql.execute(
            sa.text(
                "SELECT i.inputs, o.error FROM dbos.workflow_input AS i LEFT JOIN dbos.workflow_output AS o USING (workflow_uuid) "
                "WHERE workflow_uuid = :id"
            ),
            {"id": workflow},
        ).one()
        steps = sql.execute(
            sa.text(
                "SELECT output FROM dbos.operation_outputs WHERE workflow_uuid = :id AND output IS NOT NULL "
                "ORDER BY function_id DESC"
            ),
            {"id": workflow},
        )
        order = cast("dict[str, Any]", storage.deserialize(inputs)["args"][0])
        known = [getattr(storage.deserialize(error), "state", None)] if error is not None else []
        state = _last_state([*known, *(storage.deserialize(row[0]) for row in steps), order["state"]])
        if state.stage is Stage.DEAD:
            state = advance(state, Retried())
        item = Item.from_dict(order["item"])
        ids = [item.key, item.key + FINISH_SUFFIX]
        for table in ("workflow_input", "workflow_output", "operation_outputs", "workflow_status"):
            sql.execute(sa.text(f"DELETE FROM dbos.{table} WHERE workflow_uuid = ANY(:ids)"), {"ids": ids})  # noqa: S608
        client.enqueue_in_transaction(sql, options_of(item), {**order, "state": state.to_dict()})
    return True


def _last_state(stored: Iterable[object]) -> ItemState:
    """Return the first of *stored* that is a state.

    A workflow that was cancelled, or failed for a reason that is not an item's, has no state in its error, but in its last step.
    """
    for each in stored:
        if isinstance(each, Mapping):
            members = cast("Mapping[str, object]", each)
            state = members.get("state", members)
            if isinstance(state, Mapping) and "stage" in state:
                return ItemState.from_dict(cast("Mapping[str, object]", state))
    raise ValueError("a stored item has no state")
