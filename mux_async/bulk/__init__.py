"""Bulk changes: any operation of the API, once for each row of a list, at the rate that the account allows.

::

    bulk = mux.bulk("video.assets.update", "titles.csv", journal="titles.mux-bulk")
    print(bulk.plan)
    summary = await bulk.run()

The journal makes it resumable: after a crash at any point, the next run with the same list and journal continues. What the replay class
of the operation allows to repeat is repeated; creates are recognised by an idempotency key; anything else whose outcome is unknown is
reported, and not repeated.

Operations that destroy something need a confirmation that names the operation and the number of rows.
"""

from mux_async.bulk._attempt import RowFinished
from mux_async.bulk._journal import BulkJournal, RowStage
from mux_async.bulk._plan import BulkPlan, BulkPlanError, PlannedCall, RowProblem
from mux_async.bulk._report import write_bulk_report
from mux_async.bulk._rows import ListForm
from mux_async.bulk._runner import Bulk, BulkSummary

__all__ = [
    "Bulk",
    "BulkJournal",
    "BulkPlan",
    "BulkPlanError",
    "BulkSummary",
    "ListForm",
    "PlannedCall",
    "RowFinished",
    "RowProblem",
    "RowStage",
    "write_bulk_report",
]
