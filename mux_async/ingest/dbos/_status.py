"""The progress over all hosts, the report, and retries of failed items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import attrs
import dbos
import sqlalchemy as sa

from mux_async._types import Secret
from mux_async.ingest._items import Item
from mux_async.ingest.dbos._database import FINISH, FINISH_SUFFIX, TRANSFER, Storage, open_client, prepare
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
                sa.text(
                    "SELECT name, status, count(*) FROM dbos.workflow_status WHERE name IN (:transfer, :finish) GROUP BY 1, 2"
                ),
                {"transfer": TRANSFER, "finish": FINISH},
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
    ended = {"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"}
    failed = sum(count for (_, state), count in counts.items() if state in ended - {"SUCCESS"})
    return DistributedStatus(
        waiting=counts.get((TRANSFER, "ENQUEUED"), 0) + counts.get((TRANSFER, "DELAYED"), 0),
        transferring=counts.get((TRANSFER, "PENDING"), 0),
        preparing=sum(count for (name, state), count in counts.items() if name == FINISH and state not in ended),
        ready=counts.get((FINISH, "SUCCESS"), 0),
        failed=failed,
        workers=workers,
    )


def entries(url: str, *, storage_key: str | Secret | None = None, page: int = 1000) -> Iterator[dict[str, object]]:
    """Yield an object for each item, in no particular order: key, source, status, asset, playback ids or error. Blocks."""
    prepare(url).dispose()
    client = open_client(url, Storage(storage_key))
    try:
        for name in (FINISH, TRANSFER):
            offset = 0
            while found := client.list_workflows(name=name, limit=page, offset=offset, load_input=False):
                offset += len(found)
                for one in found:
                    is_passed_on = name == TRANSFER and one.status == "SUCCESS"
                    if not is_passed_on:
                        yield _entry(one)
    finally:
        client.destroy()


def _entry(one: dbos.WorkflowStatus) -> dict[str, object]:
    source = (one.attributes or {}).get("source")
    key = one.workflow_id.removesuffix(FINISH_SUFFIX)
    entry: dict[str, object] = {"key": key, "source": source, "status": _STATUSES.get(one.status, "failed")}
    if one.status == "SUCCESS":
        entry |= cast("dict[str, object]", one.output)
    elif one.error is not None:
        entry["error"] = str(one.error)
    return entry


_STATUSES: Final = {"SUCCESS": "ready", "ENQUEUED": "waiting", "DELAYED": "waiting", "PENDING": "running"}


def retry_failed(url: str, *, storage_key: str | Secret | None = None) -> int:
    """Let the workers retry every failed item, from the step in which it failed. Returns their number. Blocks.

    An asset that Mux could not process is made anew; the errored one is kept until you delete it.
    """
    prepare(url).dispose()
    client = open_client(url, Storage(storage_key))
    count = 0
    try:
        for name in (FINISH, TRANSFER):
            for one in client.list_workflows(name=name, status=["ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]):
                order = cast("dict[str, Any]", cast("Any", one.input)["args"][0])
                state = ItemState.from_dict(cast("Mapping[str, object]", getattr(one.error, "state", None) or order["state"]))
                if state.stage is Stage.DEAD:
                    state = advance(state, Retried())
                item = Item.from_dict(order["item"])
                client.delete_workflows([item.key, item.key + FINISH_SUFFIX])
                client.enqueue(options_of(item), {**order, "state": state.to_dict()})
                count += 1
    finally:
        client.destroy()
    return count
