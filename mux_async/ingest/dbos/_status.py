"""The progress over all hosts, the report, and retries of failed items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

import attrs

from mux_async._types import Secret
from mux_async.ingest._items import Item
from mux_async.ingest.dbos._database import (
    FAILED,
    FINISH,
    FINISH_SUFFIX,
    TRANSFER,
    Database,
    begun,
    open_database,
    open_engine,
    run,
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
    with open_engine(url) as engine, engine.begin() as sql:
        statement = f"SELECT name, status, count(*) FROM dbos.workflow_status AS one WHERE {_LAST_OF_ITEM} GROUP BY 1, 2"  # noqa: S608 - a constant
        counts = {(str(row[0]), str(row[1])): int(row[2]) for row in run(sql, statement, **_NAMES)}
        alive = run(
            sql,
            "SELECT executor, extract(epoch FROM now() - seen_at) FROM mux_ingest.workers "
            "WHERE seen_at > now() - make_interval(secs => :after) ORDER BY executor",
            after=ADOPT_AFTER,
        )
        workers = {str(row[0]): float(row[1]) for row in alive}
    failed = sum(count for (_, state), count in counts.items() if state in FAILED)
    return DistributedStatus(
        waiting=counts.get((TRANSFER, "ENQUEUED"), 0) + counts.get((TRANSFER, "DELAYED"), 0),
        transferring=counts.get((TRANSFER, "PENDING"), 0),
        preparing=sum(count for (name, state), count in counts.items() if name == FINISH and state not in {"SUCCESS", *FAILED}),
        ready=counts.get((FINISH, "SUCCESS"), 0),
        failed=failed,
        workers=workers,
    )


def entries(url: str, *, storage_key: str | Secret | None = None) -> Iterator[dict[str, object]]:
    """Return an iterator of an object for each item, in no particular order: key, source, status, asset, playback ids or error. Blocks.

    Raises:
        ConfigurationError: The database or the key cannot be used.
    """
    return begun(_entries(url, storage_key))


def _entries(url: str, storage_key: str | Secret | None) -> Iterator[dict[str, object]]:
    with open_database(url, storage_key) as database:
        for one in database.workflows(_LAST_OF_ITEM, **_NAMES):
            entry: dict[str, object] = {
                "key": one.id.removesuffix(FINISH_SUFFIX),
                "source": one.attributes.get("source"),
                "status": _STATUSES.get(one.state, "failed"),
            }
            if one.state == "SUCCESS":
                entry |= cast("Mapping[str, object]", one.outcome)
            elif one.outcome is not None:
                entry["error"] = str(one.outcome)
            yield entry


_NAMES: Final = {"transfer": TRANSFER, "finish": FINISH, "suffix": FINISH_SUFFIX}
_LAST_OF_ITEM: Final = (
    "(one.name = :finish OR one.name = :transfer AND one.status <> 'SUCCESS' AND NOT EXISTS "
    "(SELECT FROM dbos.workflow_status AS next WHERE next.workflow_uuid = one.workflow_uuid || :suffix))"
)
"""Selects one workflow of each item. A transfer has its second workflow a moment before it is a success."""
_STATUSES: Final = {"SUCCESS": "ready", "ENQUEUED": "waiting", "DELAYED": "waiting", "PENDING": "running"}


def retry_failed(url: str, *, storage_key: str | Secret | None = None) -> int:
    """Let the workers retry every failed item, from the step in which it failed. Returns their number. Blocks.

    An asset that Mux could not process is made anew; the errored one is kept until you delete it.

    Raises:
        ConfigurationError: The database or the key cannot be used.
    """
    with open_database(url, storage_key) as database:
        found = database.workflows(f"{_LAST_OF_ITEM} AND one.status = ANY(:failed)", **_NAMES, failed=list(FAILED))
        return sum(_retry(database, one.id) for one in found)


def _retry(database: Database, workflow: str) -> bool:
    """Store a failed item anew, in one transaction. Returns ``False`` if it is no longer failed: another process has retried it."""
    values = {"id": workflow, "failed": list(FAILED)}
    with database.engine.begin() as sql:
        if not run(
            sql, "SELECT 1 FROM dbos.workflow_status WHERE workflow_uuid = :id AND status = ANY(:failed) FOR UPDATE", **values
        ).first():
            return False
        inputs, error = run(
            sql,
            "SELECT i.inputs, o.error FROM dbos.workflow_input AS i LEFT JOIN dbos.workflow_output AS o USING (workflow_uuid) "
            "WHERE workflow_uuid = :id",
            id=workflow,
        ).one()
        steps = run(
            sql,
            "SELECT output FROM dbos.operation_outputs WHERE workflow_uuid = :id AND output IS NOT NULL ORDER BY function_id DESC",
            id=workflow,
        ).scalars()
        read = database.storage.deserialize
        order = cast("dict[str, Any]", read(inputs)["args"][0])
        known = [getattr(read(error), "state", None)] if error is not None else []
        state = _last_state([*known, *map(read, steps), order["state"]])
        if state.stage is Stage.DEAD:
            state = advance(state, Retried())
        item = Item.from_dict(order["item"])
        for table in ("workflow_input", "workflow_output", "operation_outputs", "workflow_status"):
            run(
                sql,
                f"DELETE FROM dbos.{table} WHERE workflow_uuid = ANY(:ids)",  # noqa: S608 - constants
                ids=[item.key, item.key + FINISH_SUFFIX],
            )
        database.client.enqueue_in_transaction(sql, options_of(item), {**order, "state": state.to_dict()})
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
