"""Runs an ingest: *concurrency* workers create and send items; thousands of items wait for their assets at the same time.

A worker takes an item from the queue, creates and sends it, leaves the wait to a task of its own and takes the next item. Waiting is cheap:
one poller lists assets for all items. Creates are spaced evenly and leave the account's burst to interactive calls. Mux allows one create
a second, so small files take a second each at any *concurrency*.

The journal has the intent of every request before it is sent (`_steps`), so the process may end at any point. There are four kinds of
failures:

1. The item is at fault: it is dead, with a reason; a retry can be requested.
2. The network or Mux is at fault: the item is retried for about half an hour, then it is dead.
3. The outcome of a create is unknown: it is looked up (`_reconcile`) before the item continues.
4. Every item would fail (wrong credentials, a closed client, a journal that cannot be written, a used-up plan: `_create_refusals`): the run
   ends, no item is marked as failed, and the next run continues.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from mux_async._checks import check_callable, check_flag, check_instance, check_path, check_period, check_whole, wrong
from mux_async._client import Mux, for_long_work
from mux_async._tracebacks import hides_methods, single_error
from mux_async._types import UNSET, Unset
from mux_async.errors import ConfigurationError, InvalidRequestError, MuxError
from mux_async.ingest._create_refusals import Refusals
from mux_async.ingest._events import (
    EventCallback,
    FailureCounts,
    IngestEvent,
    IngestSummary,
    ItemFinished,
    ItemMoved,
    ItemResult,
    ItemSkipped,
    RunsAdopted,
)
from mux_async.ingest._failures import MAX_OUTAGES, MAX_UNKNOWN_OUTCOMES, Fault, pause_after
from mux_async.ingest._item_queue import ItemQueue
from mux_async.ingest._item_reporter import ItemReporter
from mux_async.ingest._items import Item
from mux_async.ingest._journal import Journal, store_of
from mux_async.ingest._journal_store import Change
from mux_async.ingest._journal_writer import JournalWriter
from mux_async.ingest._reconcile import Reconciler, check_account
from mux_async.ingest._runs import begin_run, expire_runs
from mux_async.ingest._steps import ActiveItem, IngestOptions, Steps, dead_state
from mux_async.ingest.machine import (
    Create,
    ItemState,
    Reconcile,
    Send,
    Stage,
    WaitReady,
    next_step,
)
from mux_async.uploads import Uploads, UploadState
from mux_async.uploads.machine import DEFAULT_CHUNK_SIZE

if TYPE_CHECKING:
    from mux_async.params import PlaybackPolicyParam

DEFAULT_CONCURRENCY: Final = 4
MAX_WAITING: Final = 10_000
"""Items that wait for their assets at the same time; each needs a few KiB. At this limit, workers pause until some are ready."""
_MAX_UPLOAD_FAILURES = 20
"""Failures in a row after which an upload fails: about four minutes without a network."""
_CREATE_ATTEMPTS = 8
_RUN_CHECK_INTERVAL = 5.0
"""Seconds between two checks for killed runs on the same journal."""

_KIND_CHANGED: Final = (
    "{!r} has the key {!r} of an item that was begun as a file and is now a URL, or the reverse: give it another key"
)


@hides_methods
class Ingest:
    """A bulk ingest. Each object runs once; another run with the same journal, in any process, continues where the last one ended.

    Args:
        client: Makes the calls, with priority ``batch`` and without a deadline, whatever its own options are.
        items: What to ingest; see `make_plan`. Any iterable: a sequence is stored in the journal at once and begun by priority; anything
            else is read on demand, in worker threads.
        journal: An open journal, or the path of one, which is created if missing. Items are recognised by their keys; finished ones are
            skipped, unfinished ones continued. ``None`` for no journal: a second run creates the assets again.
        concurrency: Items that are created or sent at the same time.
        playback_policies: Of assets whose items set none. An empty list makes assets that cannot be played.
        test: Make test assets: watermarked, cut to 10 s, deleted after a day, free.
        upload_timeout: Seconds for which upload URLs are valid, 60 to 604 800; Mux uses 3600 if not given.
        wait_timeout: Seconds that an asset may take from its last byte to being ready; ``None`` for no limit.
        chunk_size: Bytes of an upload's first chunk, a multiple of 256 KiB; later ones adapt to the connection. A killed run loses at
            most one chunk of each upload.
        on_event: Called with every event.
    """

    def __init__(
        self,
        client: Mux,
        items: Iterable[Item],
        *,
        journal: Journal | str | os.PathLike[str] | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
        playback_policies: PlaybackPolicyParam | Sequence[PlaybackPolicyParam] = ("public",),
        test: bool = False,
        upload_timeout: int | Unset = UNSET,
        wait_timeout: float | None = None,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        on_event: EventCallback | None = None,
    ) -> None:
        check_instance("client", client, Mux, "it must be a Mux")
        check_whole("concurrency", concurrency, 1, "it must be at least 1, and whole")
        given = cast("object", items)
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            kind = type(given).__name__
            raise ConfigurationError(f"items is of type {kind}; it must be an iterable of items, as make_plan gives them")
        if journal is not None and not isinstance(journal, Journal):
            check_path("journal", journal)
        check_flag("test", test)
        if upload_timeout is not UNSET:
            check_whole("upload_timeout", upload_timeout, 1, "it must be above 0 seconds, and whole")
        check_period("wait_timeout", wait_timeout, none_means="no limit")
        check_whole("chunk_size", chunk_size, 1, "it must be a multiple of 256 KiB")
        check_callable("on_event", on_event, "it must be a function that takes an event", allow_none=True)
        self._client = for_long_work(client).with_options(priority="batch", max_attempts=_CREATE_ATTEMPTS)
        self._items = items
        self._journal = journal
        self._concurrency = concurrency
        policies = _policies(playback_policies)
        try:
            UploadState(1, chunk_size=chunk_size)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        self._options = IngestOptions(policies, test, upload_timeout, wait_timeout, chunk_size)
        self._on_event = on_event
        self._reporter = ItemReporter()
        self._is_stopping = False
        self._reason: str | None = None
        self._scope: anyio.CancelScope | None = None
        self._queue: ItemQueue | None = None
        self._open: dict[str, ActiveItem] = {}
        self._unknown_outcomes: dict[str, int] = {}
        self._refusals = Refusals()
        self._failures = FailureCounts()
        self._skipped: dict[Stage, int] = {Stage.DONE: 0, Stage.DEAD: 0}
        self._ready = 0
        self._failed = 0
        self._size = 0

    _writer: JournalWriter
    _reconciler: Reconciler
    _steps: Steps
    _room: anyio.Semaphore
    """Parts of the run, which `run` sets; the last one for items that wait for their assets."""

    def stop(self) -> None:
        """Begin no more items. Items that were begun are finished, then `run` returns."""
        self._is_stopping = True
        if self._queue is not None:
            self._queue.stop()

    async def run(self) -> IngestSummary:
        """Ingest all items. A failed item is reported and does not stop the others.

        Also waits for items of other runs with the same journal, and continues them if their run is killed. Cancelling is safe at any
        time: the journal has every intent and outcome, and the next run continues from there.

        Raises:
            JournalError: The journal cannot be opened; nothing was sent. If it fails later, the run ends with a ``reason``.
        """
        started = anyio.current_time()
        given = self._journal
        journal = given if isinstance(given, Journal) else await _open_journal(given)
        store = store_of(journal)
        try:
            runner, lease = await anyio.to_thread.run_sync(begin_run, store)
            self._writer = JournalWriter(store, runner, lease, self._end_run)
            queue = self._queue = ItemQueue(self._items, self._writer, self._concurrency * 2, self._skip)
            if self._is_stopping:
                queue.stop()
            try:
                with anyio.CancelScope() as self._scope:
                    await self._run(queue)
            except BaseExceptionGroup as group:
                raise single_error(group) from None
            finally:
                with anyio.CancelScope(shield=True):  # one or two transactions
                    await self._writer.close()
        finally:
            if journal is not given:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(journal.close)
        unfinished = sum(active.state.stage is not Stage.PLANNED for active in self._open.values())
        ended = self._ready + self._failed + sum(self._skipped.values())
        return IngestSummary(
            ready=self._ready,
            failed=self._failed + self._skipped[Stage.DEAD],
            not_started=queue.total - ended - unfinished,
            size=self._size,
            elapsed=anyio.current_time() - started,
            reason=self._reason,
            ready_before=self._skipped[Stage.DONE],
            unfinished=unfinished,
            errors=self._failures.most_common(),
        )

    @asynccontextmanager
    async def events(self) -> AsyncGenerator[AsyncIterator[IngestEvent]]:
        """Run in the background of an ``async with`` block, whose value iterates over the events.

        Leaving the block early cancels the ingest. Unread events are kept in memory.
        """
        send, receive = anyio.create_memory_object_stream[IngestEvent](float("inf"))
        callback = self._on_event

        def on_event(event: IngestEvent) -> None:
            send.send_nowait(event)
            if callback is not None:
                callback(event)

        async def run() -> None:
            with send:
                await self.run()

        self._on_event = on_event
        with receive:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                yield receive
                tasks.cancel_scope.cancel()

    async def _run(self, queue: ItemQueue) -> None:
        async with anyio.create_task_group() as background:
            background.start_soon(self._writer.run)
            try:
                clock = await check_account(self._client, self._writer, time.time)
            except MuxError as error:
                self._end_run(error)
                return
            await queue.register()
            self._reconciler = Reconciler(self._client, self._writer, clock, queue.wake)
            background.start_soon(self._reconciler.run)
            await self._adopt_items(queue, is_first=True)
            background.start_soon(self._watch_runs, queue)
            uploads = Uploads(self._client, max_failures=_MAX_UPLOAD_FAILURES)
            self._steps = Steps(self._client, uploads, self._writer, clock, self._options, self._emit)
            self._room = anyio.Semaphore(MAX_WAITING)
            async with anyio.create_task_group() as waits, anyio.create_task_group() as workers:
                for _ in range(self._concurrency):
                    workers.start_soon(self._work, queue, waits)
            self._refusals.accepted()  # too few refusals to end the run
            await self._finish_refused()
            background.cancel_scope.cancel()

    async def _watch_runs(self, queue: ItemQueue) -> None:
        while True:
            await anyio.sleep(_RUN_CHECK_INTERVAL)
            await self._adopt_items(queue)

    async def _adopt_items(self, queue: ItemQueue, *, is_first: bool = False) -> None:
        """Adopt the items of killed runs, and look up the creates that they may have sent."""
        writer = self._writer
        freed = await writer.call(expire_runs, writer.store, writer.runner)
        if freed or is_first:
            self._reconciler.add(*await writer.call(writer.store.claim_unknown, writer.runner))
        if freed:
            self._emit(RunsAdopted(freed))
            queue.wake()

    async def _work(self, queue: ItemQueue, waits: TaskGroup) -> None:
        while (claimed := await queue.next()) is not None:
            active = ActiveItem(claimed.item, claimed.state, anyio.current_time(), is_changed=claimed.is_changed)
            self._open[claimed.item.key] = active
            if active.state.is_fetched != (active.item.url is not None):
                self._fail(active, InvalidRequestError(_KIND_CHANGED.format(active.item.source, active.item.key)))
            await self._run_steps(active, until_waiting=True)
            await self._finish_refused()
            step = next_step(active.state)
            if step is None:
                await self._finish(active)
            elif isinstance(step, Reconcile):
                queue.defer(active.item)
                self._reconciler.add(active.state)
            elif isinstance(step, WaitReady) and self._reason is None:
                await self._room.acquire()
                waits.start_soon(self._wait, active)

    async def _wait(self, active: ActiveItem) -> None:
        try:
            await self._run_steps(active)
            if active.state.stage.is_final:
                await self._finish(active)
        finally:
            self._room.release()

    async def _run_steps(self, active: ActiveItem, *, until_waiting: bool = False) -> None:
        """Perform the steps of an item, up to its end, a lookup of its create, the end of the run, or, if set, the wait for its asset."""
        steps = self._steps
        while (step := next_step(active.state)) is not None and not isinstance(step, Reconcile):
            match step:
                case Create():
                    failure = await steps.attempt(active, steps.intend)
                    failure = failure or await steps.attempt(active, steps.create, is_create=True)
                    if failure is None:
                        self._refusals.accepted()
                case Send():
                    failure = await steps.attempt(active, steps.send)
                case WaitReady():
                    if until_waiting:
                        break
                    failure = await steps.attempt(active, steps.wait)
            if failure is None:
                active.outages = 0
                continue
            if failure.fault is Fault.ACCOUNT:
                self._end_run(failure.error, is_orderly=True)
                break
            may_retry = self._may_retry(active, failure.fault)
            if may_retry and self._is_stopping:
                break  # a stopped run does not wait for the end of an outage; the next run continues
            if not may_retry and isinstance(step, Create) and self._refusals.hold(active, failure.error):
                if self._refusals.reason is not None:
                    self._end_run(self._refusals.reason, is_orderly=True)
                break
            if not may_retry:
                self._fail(active, failure.error)
            elif active.state.stage is not Stage.CREATING:  # the lookup of a create waits by itself
                await anyio.sleep(pause_after(active.outages))

    def _may_retry(self, active: ActiveItem, fault: Fault) -> bool:
        """Return whether the item may be retried, and count its creates with an unknown outcome."""
        if fault is Fault.UNKNOWN:
            doubts = self._unknown_outcomes[active.item.key] = self._unknown_outcomes.get(active.item.key, 0) + 1
            return doubts <= MAX_UNKNOWN_OUTCOMES
        return fault is Fault.OUTAGE and active.outages <= MAX_OUTAGES

    def _fail(self, active: ActiveItem, error: MuxError) -> None:
        active.state = dead_state(active.state, error)
        self._emit(ItemMoved(active.item, active.state))

    async def _finish(self, active: ActiveItem) -> None:
        item, state = active.item, active.state
        seconds = anyio.current_time() - active.started
        result = ItemResult.of(item, state, active.asset, seconds=seconds, base_url=self._client.base_url)
        outcome: dict[str, object] = {"playback_ids": dict(result.playback_ids), "duration": result.duration}
        await self._writer.commit(Change(state, outcome=outcome, seconds=round(seconds, 3)))
        del self._open[item.key]
        if state.stage is Stage.DONE:
            self._ready += 1
            self._size += item.size or 0
        else:
            self._failed += 1
            self._failures.add(state.error)
        self._emit(ItemFinished(item, result))

    async def _finish_refused(self) -> None:
        """Finish held items that were refused for reasons of their own."""
        for active, error in self._refusals.released():
            self._fail(active, error)
            await self._finish(active)

    def _skip(self, item: Item, state: ItemState) -> None:
        self._open.pop(item.key, None)
        self._skipped[state.stage] += 1
        self._failures.add(state.error)
        self._emit(ItemSkipped(item, state))

    def _end_run(self, reason: MuxError | str, *, is_orderly: bool = False) -> None:
        """End the run: at once, or if *is_orderly* after the items that were begun."""
        self._reason = self._reason or str(reason)
        self.stop()
        if not is_orderly and self._scope is not None:
            self._scope.cancel()

    def _emit(self, event: IngestEvent) -> None:
        if isinstance(event, ItemMoved | ItemSkipped):
            self._reporter.report(self._client, event.item, event.state, is_skipped=isinstance(event, ItemSkipped))
        if self._on_event is not None:
            self._on_event(event)


async def _open_journal(path: str | os.PathLike[str] | None) -> Journal:
    return Journal.in_memory() if path is None else await anyio.to_thread.run_sync(Journal.open, path)


def _policies(given: object) -> list[str]:
    policies = [given] if isinstance(given, str) else given
    if not isinstance(policies, Sequence) or not all(isinstance(each, str) for each in cast("Sequence[object]", policies)):
        raise wrong("playback_policies", given, "it must be a list of names such as 'public'")
    return list(cast("Sequence[str]", policies))
