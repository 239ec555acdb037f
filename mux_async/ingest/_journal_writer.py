"""Writes the journal from the event loop: changes are queued, and written in a worker thread in batches.

While one transaction is being written, new changes wait for the next, so that a hundred items that change at once cost one flush. A
transaction has only the newest state of each item; transactions are written in the order of the changes.

If the journal cannot be written, the run ends: `fail` is called and must cancel it. Waiters here wait until they are cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from mux_async._journal_errors import JournalError
from mux_async._lease import Lease
from mux_async.ingest._journal_store import Change, JournalStore
from mux_async.ingest._runs import end_run

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class JournalWriter:
    """Writes the journal of one run.

    Args:
        store: The open journal; not closed here.
        runner: Id of the run.
        lease: Dropped at the end.
        fail: Called if the journal cannot be written; must cancel the run.
    """

    def __init__(self, store: JournalStore, runner: str, lease: Lease | None, fail: Callable[[JournalError], object]) -> None:
        self.store = store
        self.runner = runner
        self._lease = lease
        self._fail = fail
        self._changes: dict[str, Change] = {}
        self._waiting: list[anyio.Event] = []
        self._wake_up = anyio.Event()
        self._error: JournalError | None = None

    def enqueue(self, change: Change) -> None:
        """Queue *change*; it is written with the next transaction."""
        older = self._changes.pop(change.state.key, None)
        if older is not None and change.fingerprint is None and older.fingerprint is not None:
            change = Change(change.state, older.fingerprint, change.outcome, change.seconds)
        self._changes[change.state.key] = change
        self._wake_up.set()

    async def commit(self, change: Change) -> None:
        """Write *change*; return when it is on disk."""
        self.enqueue(change)
        written = anyio.Event()
        self._waiting.append(written)
        await written.wait()
        await self._check()

    async def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a blocking function in a worker thread."""
        try:
            return await anyio.to_thread.run_sync(function, *args)
        except JournalError as error:
            self._end_run(error)
            await anyio.sleep_forever()
            raise  # the line above never returns

    async def run(self) -> None:
        """Write queued changes until cancelled."""
        while True:
            await self._wake_up.wait()
            self._wake_up = anyio.Event()
            await self._flush()

    async def close(self) -> None:
        """Write the remaining changes and release the run's items. Call it shielded from cancellation."""
        try:
            if self._error is None:
                await self._flush()
            await anyio.to_thread.run_sync(end_run, self.store, self.runner, self._lease)
        except JournalError as error:
            self._end_run(error)

    async def _check(self) -> None:
        if self._error is not None:
            await anyio.sleep_forever()  # the run is being cancelled

    async def _flush(self) -> None:
        changes, self._changes = list(self._changes.values()), {}
        waiting, self._waiting = self._waiting, []
        try:
            if changes and self._error is None:
                await anyio.to_thread.run_sync(self.store.write, changes, self.runner)
        except JournalError as error:
            self._end_run(error)
        for written in waiting:
            written.set()

    def _end_run(self, error: JournalError) -> None:
        if self._error is None:
            self._error = error
            self._fail(error)
