"""Bulk ingest: thousands of files or URLs into ready assets, at the rate that the account allows.

::

    plan = make_plan(["films/"], manifest="more.csv")
    summary = await Ingest(mux, plan.items, journal="films.journal").run()

The journal makes it resumable: after a crash at any point, the next run continues without losing items or creating assets twice.

A manifest is a list of URLs and files: plain lines, JSON lines, or CSV (`make_plan`).
"""

from mux_async._journal_errors import JournalError
from mux_async.ingest._events import (
    EventCallback,
    IngestEvent,
    IngestSummary,
    ItemFinished,
    ItemMoved,
    ItemProgress,
    ItemResult,
    ItemSkipped,
    RunsAdopted,
)
from mux_async.ingest._file_types import MEDIA_SUFFIXES
from mux_async.ingest._items import Item, ItemOptions, file_item, remote_item, url_item
from mux_async.ingest._journal import Journal, JournalEntry, JournalSummary
from mux_async.ingest._manifest import Manifest
from mux_async.ingest._manifest_rows import ManifestForm, Problem
from mux_async.ingest._plan import Dedup, OnBadLine, Plan, PlanError, make_plan
from mux_async.ingest._report import ReportError, write_report
from mux_async.ingest._runner import Ingest
from mux_async.ingest.machine import ItemError, ItemState, Stage

__all__ = [
    "MEDIA_SUFFIXES",
    "Dedup",
    "EventCallback",
    "Ingest",
    "IngestEvent",
    "IngestSummary",
    "Item",
    "ItemError",
    "ItemFinished",
    "ItemMoved",
    "ItemOptions",
    "ItemProgress",
    "ItemResult",
    "ItemSkipped",
    "ItemState",
    "Journal",
    "JournalEntry",
    "JournalError",
    "JournalSummary",
    "Manifest",
    "ManifestForm",
    "OnBadLine",
    "Plan",
    "PlanError",
    "Problem",
    "ReportError",
    "RunsAdopted",
    "Stage",
    "file_item",
    "make_plan",
    "remote_item",
    "url_item",
    "write_report",
]
