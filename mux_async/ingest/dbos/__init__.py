"""Ingest on many hosts: DBOS Transact, on PostgreSQL, runs the steps of each item. Needs the extra ``dbos``, and asyncio.

::

    submit("postgresql://db/ingest", plan.items, storage_key=key)  # once, on any host
    await Worker("postgresql://db/ingest", storage_key=key).run()  # on every host

Two workflows per item: ``transfer`` (intend, create, send) on a queue with few places on each worker, and ``finish`` (wait for the asset)
on another, so that waiting items do not keep others from being sent. The id of a workflow is the key of its item, so an item that is
submitted twice is ingested once. DBOS does not limit the rates of requests: share limits in Redis (``MUX_LIMITS_URL``) with every other
program of the account.

DBOS does not detect that a worker has died. So each worker stores heartbeats, and any other takes over its items when the last one is too
old (`ADOPT_AFTER`). A worker that was only suspended finds its own heartbeat too old (`FENCE_AFTER`) and sends nothing more. Steps can be
repeated: the intent of a create is a step of its own, and a create that does not follow its intent at once begins with a lookup of the
asset or upload that an earlier attempt may have created.
"""

from mux_async.ingest.dbos._bulk import bulk_counts, bulk_entries, bulk_reason, retry_bulk, submit_bulk
from mux_async.ingest.dbos._database import ItemFailedError
from mux_async.ingest.dbos._status import DistributedStatus, entries, retry_failed, status
from mux_async.ingest.dbos._submit import submit
from mux_async.ingest.dbos._worker import Worker

__all__ = [
    "DistributedStatus",
    "ItemFailedError",
    "Worker",
    "bulk_counts",
    "bulk_entries",
    "bulk_reason",
    "entries",
    "retry_bulk",
    "retry_failed",
    "status",
    "submit",
    "submit_bulk",
]
