"""The journal from the event loop's side: changes are collected, written in a worker thread, and waited for where that matters.

While one transaction is on its way to the disk, what comes in waits for the next, so that a hundred items that move at once cost one
flush and not a hundred. Within a transaction only the newest state of an item counts; transactions are written in the order in which
the states came about. So the journal never shows an item later than another one that followed it.

A journal that can no longer be written ends the run: `fail` is called, which cancels it, and whoever waits here waits until it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from mux_async.ingest._journal_errors import JournalError
from mux_async.ingest._lease import Lease
from mux_async.ingest._runs import end_run
from mux_async.ingest._store import Change, Store

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class JournalWriter:
    """The journal of one run.

    Args:
        store: The journal's; open, and stays so.
        runner: Id of the run.
        lease: To be dropped at the end.
        fail: Told why the journal cannot be written; must end the run.
    """

    def __init__(self, store: Store, runner: str, lease: Lease | None, fail: Callable[[JournalError], object]) -> None:
        self.store = store
        self.runner = runner
        self._lease = lease
        self._fail = fail
        self._changes: dict[str, Change] = {}
        self._waiting: list[anyio.Event] = []
        self._wake_up = anyio.Event()
        self._error: JournalError | None = None

    def enqueue(self, change: Change) -> None:
        """Have *change* written soon."""
        older = self._changes.pop(change.state.key, None)
        if older is not None and change.fingerprint is None and older.fingerprint is not None:
            change = Change(change.state, older.fingerprint, change.outcome, change.seconds)
        self._changes[change.state.key] = change
        self._wake_up.set()

    async def commit(self, change: Change) -> None:
        """Have *change* written, and return when it is on disk."""
        self.enqueue(change)
        written = anyio.Event()
        self._waiting.append(written)
        await written.wait()
        await self._check()

    async def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a method of the store in a worker thread."""
        try:
            return await anyio.to_thread.run_sync(function, *args)
        except JournalError as error:
            self._end_run(error)
            await anyio.sleep_forever()
            raise  # the line above never returns

    async def run(self) -> None:
        """Write what comes, for ever."""
        while True:
            await self._wake_up.wait()
            self._wake_up = anyio.Event()
            await self._flush()

    async def close(self) -> None:
        """Write what is left, and let go of everything. To be shielded."""
        try:
            if self._error is None:
                await self._flush()
            await anyio.to_thread.run_sync(end_run, self.store, self.runner, self._lease)
        except JournalError as error:
            self._end_run(error)

    async def _check(self) -> None:
        if self._error is not None:
            await anyio.sleep_forever()  # and not long: the run is being cancelled

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
