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
import attrs

from mux_async._journal_errors import JournalError
from mux_async._lease import Lease
from mux_async.ingest._journal_store import Change, JournalStore
from mux_async.ingest._runs import end_run

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@attrs.define(eq=False)
class JournalWriter:
    """Writes the journal of one run. *fail* is called if that is impossible, and must cancel the run."""

    store: JournalStore
    """Not closed here."""
    runner: str
    """Id of the run."""
    _lease: Lease | None
    """Dropped at the end."""
    _fail: Callable[[JournalError], object]
    _changes: dict[str, Change] = attrs.field(init=False, factory=dict[str, Change])
    _waiting: list[anyio.Event] = attrs.field(init=False, factory=list[anyio.Event])
    _wake_up: anyio.Event = attrs.field(init=False, factory=anyio.Event)
    _error: JournalError | None = attrs.field(init=False, default=None)

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
        if self._error is not None:
            await anyio.sleep_forever()  # the run is being cancelled

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
