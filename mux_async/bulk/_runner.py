"""Runs a bulk change: *concurrency* workers, each of which takes a row, stores it as begun, sends it, and stores its outcome.

Four kinds of failures:

1. The row is at fault (a 4xx): it is failed, and the others go on.
2. The network or Mux is at fault: the row is sent again for some minutes, then it is failed.
3. The outcome is unknown. Requests that may be repeated are repeated. Creates are searched for by their idempotency key. Other rows are
   unknown: they are reported, and not sent again.
4. Every row would fail (wrong credentials, a closed client, many failures in a row): the run ends, and the next one continues.

A row that was begun by a run that died is of the third kind.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast

import anyio
import anyio.to_thread
import attrs

from mux_async._checks import check_callable, check_choice, check_instance, check_mapping, check_path, check_whole, wrong
from mux_async._journal_errors import JournalError
from mux_async._resource import Caller
from mux_async._tracebacks import hides_methods, single_error
from mux_async.bulk._attempt import RowFinished, RowProgress, attempt
from mux_async.bulk._journal import BulkJournal, RowStage, StoredRow
from mux_async.bulk._operations import find_method
from mux_async.bulk._plan import BulkPlan, BulkPlanError, PlannedCall, make_bulk_plan, numbered
from mux_async.bulk._rows import ListForm, parse_list, read_list
from mux_async.errors import ConfigurationError, PermissionDeniedError

Rows: TypeAlias = "str | os.PathLike[str] | bytes | Iterable[str | Mapping[str, object]]"
"""A list: the path of a file, the content of one, or rows as mappings of argument names to values (or texts)."""


@attrs.frozen
class BulkSummary:
    """The end of a run, or its state at a moment; see `Bulk.summary`.

    Attributes:
        done: Rows that this run performed.
        done_before: Rows that earlier runs performed.
        failed: Rows that are failed, in this run or before.
        unknown: Rows that may have been performed; see `RowStage`.
        not_started: Rows that were not sent, because the run was stopped or ended; and those that were sent and have no outcome, if it was
            cancelled.
        elapsed: Seconds.
        reason: Why the run ended early; ``None`` for a run that reached its end or was stopped.
        errors: Number of failed rows of this run by the class of their error.
    """

    done: int
    done_before: int
    failed: int
    unknown: int
    not_started: int
    elapsed: float
    reason: str | None
    errors: Mapping[str, int]

    @property
    def is_complete(self) -> bool:
        """Whether every row is done."""
        return not (self.failed or self.unknown or self.not_started)


class BulkClient(Protocol):
    """The part of `mux_async.Mux` that `Bulk` needs. `Mux` itself cannot be named here: it imports this package."""

    @property
    def _caller(self) -> Caller: ...


@hides_methods
class Bulk:
    """A bulk change: one operation, once for each row of a list. ``Mux.bulk(...)`` makes one. Each object runs once.

    Reading the list and checking every row happens at once and blocks: call it in a thread for very long lists.

    Args:
        client: A `Mux`. Makes the calls, with priority ``batch`` and without a deadline, whatever its own options are.
        operation: Id of the operation, which is the name of its method: ``video.assets.update``.
        rows: The list. A file is a table (``.csv``, ``.tsv``), JSON (``.jsonl``, ``.json``), or has one value per line, for operations with
            one required argument: ids of assets to delete. Columns are named as the arguments of the method, ``meta.title`` is a member;
            cells of a table are converted to the type of their argument; empty ones are left out.
        form: The form of the list; ``None`` for that of the file's suffix.
        values: Arguments of all rows; those of a row win.
        journal: An open journal, or the path of one, which is created if missing. Rows are recognised by their requests: finished ones are
            skipped. ``None`` for no journal: nothing is resumed.
        concurrency: Requests at the same time. The account's rate limits space them anyway.
        on_bad_row: Whether a row that cannot be sent stops everything before it begins (``stop``), or is left out (``skip``).
        confirm: For operations that destroy something: `BulkPlan.confirmation`.
        max_failures: Rows that fail one after the other before the run ends; 0 for no bound.
        on_event: Called for each finished row. Must not block.

    Raises:
        BulkPlanError: Rows cannot be sent.
        ConfigurationError: Something else about the arguments.
        InvalidRequestError: The list cannot be read.
    """

    def __init__(
        self,
        client: BulkClient,
        operation: str,
        rows: Rows,
        *,
        form: ListForm | None = None,
        values: Mapping[str, object] | None = None,
        journal: BulkJournal | str | os.PathLike[str] | None = None,
        concurrency: int = 8,
        on_bad_row: Literal["stop", "skip"] = "stop",
        confirm: str | None = None,
        max_failures: int = 25,
        on_event: Callable[[RowFinished], object] | None = None,
    ) -> None:
        caller: Caller | None = getattr(client, "_caller", None)
        if caller is None:
            raise wrong("client", client, "it must be a Mux")
        check_mapping("values", values, "it must be a mapping of argument names to values", allow_none=True)
        if journal is not None and not isinstance(journal, BulkJournal):
            check_path("journal", journal)
        check_whole("concurrency", concurrency, 1, "it must be at least 1, and whole")
        check_choice("on_bad_row", on_bad_row, ("stop", "skip"))
        check_whole("max_failures", max_failures, 0, "it must be 0 or more, and whole")
        check_callable("on_event", on_event, "it must be a function that takes an event", allow_none=True)
        check_instance("confirm", confirm, str, "it must be a text", allow_none=True)
        options = attrs.evolve(caller.for_long_work.options, priority="batch")
        self._caller = Caller(caller.engine, options)
        self._journal = journal
        self._concurrency = concurrency
        self._confirm = confirm
        self._started: float | None = None
        self._max_failures = max_failures
        self._on_event = on_event
        self._reason: str | None = None
        self._is_stopping = False
        self._failures_in_a_row = 0
        self._counts: Counter[RowStage] = Counter()
        self._before: Counter[RowStage] = Counter()
        self._errors: Counter[str] = Counter()
        config = caller.engine.config
        self.plan: BulkPlan = make_bulk_plan(
            find_method(operation), _numbered(rows, form), values or {}, config, options.timeouts
        )
        """What the run does."""
        if self.plan.problems and on_bad_row == "stop":
            raise BulkPlanError(self.plan.problems)

    def forecast(self) -> float:
        """Return the seconds that the rate limits make the requests of all rows take, at least."""
        bucket = self.plan.api.bucket
        return 0.0 if bucket is None else self._caller.engine.batch_limits.forecast({bucket: len(self.plan.calls)}).batch

    def confirm(self, text: str) -> None:
        """Confirm an operation that destroys something, after a look at the plan, where the argument ``confirm`` was not given.

        Args:
            text: `BulkPlan.confirmation`, as a person has typed it.
        """
        self._confirm = text

    async def environment(self) -> str | None:
        """Return the id of the credentials' environment; ``None`` if they may not ask for it.

        Raises:
            MuxError: The credentials cannot be checked.
        """
        from mux_async.resources.system import System

        try:
            token = await System(self._caller).utilities.whoami()
        except PermissionDeniedError:
            return None
        found = cast("object", token.environment_id)
        return found if isinstance(found, str) else None

    def stop(self) -> None:
        """Begin no more rows. Those that were begun are finished, then `run` returns."""
        self._is_stopping = True

    async def run(self) -> BulkSummary:
        """Perform the calls of all rows that are not finished.

        Cancelling is safe at any time: the next run with the same journal continues.

        Raises:
            ConfigurationError: The operation destroys something, and ``confirm`` is not `BulkPlan.confirmation`, or it has run before;
                nothing was sent.
            JournalError: The journal cannot be used, or belongs to another change, server or environment.
            MuxError: The credentials cannot be checked.
        """
        self.plan.check_confirmation(self._confirm)
        if self._started is not None:
            raise ConfigurationError("this bulk change has run: make another one, with the same journal to continue it")
        self._started = anyio.current_time()
        given = self._journal
        journal = given if isinstance(given, BulkJournal) else await anyio.to_thread.run_sync(_open, given)
        try:
            lease = await anyio.to_thread.run_sync(journal.acquire)
            try:
                await self._run(journal)
            finally:
                if lease is not None:
                    lease.drop()
        except BaseExceptionGroup as group:
            raise single_error(group) from None
        finally:
            if journal is not given:
                journal.close()
        return self.summary

    @property
    def summary(self) -> BulkSummary:
        """What this run has done so far; the end of a run that was cancelled."""
        finished = {RowStage.DONE, RowStage.FAILED, RowStage.UNKNOWN}
        return BulkSummary(
            done=self._counts[RowStage.DONE],
            done_before=self._before[RowStage.DONE],
            failed=self._counts[RowStage.FAILED] + self._before[RowStage.FAILED],
            unknown=self._counts[RowStage.UNKNOWN] + self._before[RowStage.UNKNOWN],
            not_started=len(self.plan.calls) - sum((self._counts + self._before)[stage] for stage in finished),
            elapsed=0.0 if self._started is None else anyio.current_time() - self._started,
            reason=self._reason,
            errors=dict(self._errors.most_common()),
        )

    async def _run(self, journal: BulkJournal) -> None:
        await self._check_owner(journal)
        await anyio.to_thread.run_sync(journal.add, self.plan.calls)
        stored = {row.key: row for row in await anyio.to_thread.run_sync(lambda: list(journal.entries()))}
        open_rows: list[tuple[PlannedCall, StoredRow]] = []
        for call in self.plan.calls:
            row = stored[call.key]
            if row.stage in {RowStage.PLANNED, RowStage.BEGUN}:
                open_rows.append((call, row))
            else:
                self._before[row.stage] += 1
        open_rows.sort(key=lambda each: each[1].stage is not RowStage.BEGUN)  # what is in doubt comes first
        pending = iter(open_rows)
        prefix = f"bulk-{journal.id}"
        async with anyio.create_task_group() as workers:
            for _ in range(min(self._concurrency, len(open_rows))):
                workers.start_soon(self._work, pending, journal, prefix)

    async def _check_owner(self, journal: BulkJournal) -> None:
        """Check that the journal is of this change, and the credentials of the environment in which it began."""
        name = str(journal.path)
        noted = await anyio.to_thread.run_sync(journal.note, "operation", self.plan.operation)
        if noted != self.plan.operation:
            raise JournalError(f"the journal {name!r} is of {noted}, and this is {self.plan.operation}: name another one")
        base_url = self._caller.engine.config.base_url
        if (noted := await anyio.to_thread.run_sync(journal.note, "server", base_url)) != base_url:
            raise JournalError(
                f"the journal {name!r} belongs to {noted}, and this is {base_url}: use that server, or another journal"
            )
        if (environment := await self.environment()) is not None:
            noted = await anyio.to_thread.run_sync(journal.note, "environment", environment)
            if noted != environment:
                raise JournalError(
                    f"the journal {name!r} belongs to the environment {noted!r}, and these credentials are for {environment!r}: use those "
                    "of the first run, or another journal"
                )

    async def _work(self, pending: Iterator[tuple[PlannedCall, StoredRow]], journal: BulkJournal, prefix: str) -> None:
        for call, row in pending:
            if self._is_stopping:
                return
            finished = await self._perform(call, row, journal, f"{prefix}-{row.number}")
            if finished is None:
                return
            with anyio.CancelScope(shield=True):  # a transaction
                await self._store(journal, finished)
            self._count(finished)

    async def _perform(self, call: PlannedCall, row: StoredRow, journal: BulkJournal, key: str) -> RowFinished | None:
        """Perform a call to its outcome. ``None``: the run ends, and the row is stored for the next one."""
        progress = RowProgress()
        if row.stage is RowStage.BEGUN:
            progress = RowProgress(in_doubt_since=row.changed_at, is_first=False)
        while True:
            await anyio.to_thread.run_sync(journal.set_stage, call.key, RowStage.BEGUN)
            outcome = await attempt(self._caller, self.plan.api, call, key, progress, time.time)
            if isinstance(outcome, RowFinished):
                return outcome
            if outcome.is_unsent:
                await anyio.to_thread.run_sync(journal.set_stage, call.key, RowStage.PLANNED)
            if outcome.fatal is not None:
                self._end(str(outcome.fatal))
                return None
            if outcome.is_outage and self._is_stopping:
                return None
            await anyio.sleep(outcome.pause)
            progress = outcome.progress

    async def _store(self, journal: BulkJournal, finished: RowFinished) -> None:
        await anyio.to_thread.run_sync(
            lambda: journal.set_stage(finished.call.key, finished.stage, result=finished.result, error=finished.error)
        )

    def _count(self, finished: RowFinished) -> None:
        self._counts[finished.stage] += 1
        if finished.error is not None:
            self._errors[type(finished.error).__name__] += 1
        self._failures_in_a_row = self._failures_in_a_row + 1 if finished.stage is not RowStage.DONE else 0
        if self._max_failures and self._failures_in_a_row >= self._max_failures:
            self._end(f"{self._failures_in_a_row} rows failed one after the other, the last with: {finished.error}")
        if self._on_event is not None:
            self._on_event(finished)

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self.stop()


def _numbered(rows: Rows, form: ListForm | None) -> Iterator[tuple[int, Any]]:
    if isinstance(rows, bytes):
        return parse_list(rows, form or "lines", "the list")
    if isinstance(rows, str | os.PathLike):
        return read_list(Path(rows), form)
    found: object = rows
    if isinstance(found, Mapping) or not hasattr(found, "__iter__"):
        raise wrong("rows", cast("object", rows), "it must be the path of a list, or an iterable of mappings")
    return numbered(rows)


def _open(path: str | os.PathLike[str] | None) -> BulkJournal:
    return BulkJournal.in_memory() if path is None else BulkJournal.open(path)
