"""Buckets in an SQLite file, for the processes of one host.

Every command is one transaction in a worker thread: read the bucket, run the pure method, write it back. ``BEGIN IMMEDIATE`` takes the
file's write lock first, so processes go one after the other. Two things are not obvious:

1. The clock is ``time.monotonic``, which all processes of a host share. It starts again with the machine; `TokenBucket.load` handles that.
2. A thread cannot be cancelled. A call that is cancelled, or takes too long, leaves its thread running and marks the command as abandoned
   (`_Ticket`); the thread rolls back, or undoes what it had committed before it saw the mark.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs
import orjson

from mux_async._operation import Bucket
from mux_async._sqlite import SqliteFile
from mux_async.limits._scheduler import BucketCommand, BucketReply, Requester, Scheduler
from mux_async.limits._settings import LimitSettings
from mux_async.limits._shared_limiter import CALL_TIMEOUT, StoreLostError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS mux_async_limits_1 (
    account TEXT NOT NULL,
    bucket TEXT NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (account, bucket)
) WITHOUT ROWID
"""


class _Ticket:
    """Decides whether a thread or the task that waits for it has to undo an abandoned command."""

    __slots__ = ("_lock", "_reply", "is_abandoned")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_abandoned = False
        self._reply: BucketReply | None = None

    def settle(self, reply: BucketReply) -> bool:
        """Mark the command as done. Returns whether the task still waits; if not, the thread undoes it."""
        with self._lock:
            self._reply = reply
            return not self.is_abandoned

    def abandon(self) -> BucketReply | None:
        """Mark the command as abandoned. Returns the reply that the caller has to undo, if there is one."""
        with self._lock:
            self.is_abandoned = True
            return self._reply


class SqliteLimitStore:
    """Keeps the buckets of *account* in a file, which is created on first use and may hold several accounts.

    Its folder must exist, on a local disk: SQLite's locks do not hold on network file systems. *clock* gives monotonic seconds, the same
    for all processes that share the file; *timeout* is how many seconds a command may take.
    """

    is_local_clock = True  # all processes of the host have the same one

    def __init__(
        self, path: Path, account: str, settings: LimitSettings, clock: Callable[[], float], timeout: float = CALL_TIMEOUT
    ) -> None:
        self.name = f"sqlite:///{path}"
        self._account = account
        self._settings = settings
        self._clock = clock
        self._timeout = timeout
        self._file = SqliteFile(path, _SCHEMA, timeout / 2, lock_timeout=timeout)

    async def perform(self, command: BucketCommand) -> BucketReply:
        """Perform *command* in a worker thread."""
        ticket = _Ticket()
        try:
            with anyio.fail_after(self._timeout):
                return await anyio.to_thread.run_sync(self._run, command, ticket, abandon_on_cancel=True)
        except TimeoutError as error:
            await self._undo(command, ticket.abandon())
            raise StoreLostError(f"no answer within {self._timeout:g} s") from error
        except anyio.get_cancelled_exc_class():
            await self._undo(command, ticket.abandon())
            raise

    async def aclose(self) -> None:
        """Close the file. The next command opens it again."""
        await self._file.aclose()

    def perform_now(self, command: BucketCommand) -> BucketReply:
        """Perform *command* in this thread. If the file cannot be used now, nothing was done."""
        return self._run(command, _Ticket())

    def close(self) -> None:
        """Close the file, in this thread. The next command opens it again."""
        self._file.close()

    async def _undo(self, command: BucketCommand, reply: BucketReply | None) -> None:
        undo = _undo_of(command, reply)
        if undo is not None:
            with anyio.CancelScope(shield=True):  # one short transaction, and a grant must not be lost
                try:
                    await anyio.to_thread.run_sync(self._run, undo, _Ticket())
                except StoreLostError:
                    return  # a grant that is lost with its store is not used twice

    def _run(self, command: BucketCommand, ticket: _Ticket) -> BucketReply:
        try:
            reply = self._file.run_now(partial(self._transact, command, ticket))
            if not ticket.settle(reply) and (undo := _undo_of(command, reply)) is not None:
                self._file.run_now(partial(self._transact, undo, _Ticket()))
            return reply
        except (sqlite3.Error, OSError) as error:
            raise StoreLostError(f"{type(error).__name__}: {error}") from error

    def _transact(self, command: BucketCommand, ticket: _Ticket, connection: sqlite3.Connection) -> BucketReply:
        now = self._clock()
        shared = self._load(connection, command.bucket, now)
        value = shared.perform(command, now)
        self._store(connection, command.bucket, shared)
        if ticket.is_abandoned:
            connection.rollback()
        return shared.reply(command.owner, value, now)

    def _load(self, connection: sqlite3.Connection, bucket: Bucket, now: float) -> Scheduler:
        shared = Scheduler(self._settings.new_bucket(bucket))
        row = connection.execute(
            "SELECT state FROM mux_async_limits_1 WHERE account = ? AND bucket = ?", (self._account, bucket.value)
        ).fetchone()
        if row is None or not _decode(row[0], shared, now):
            # This file does not know who used the account before.
            shared.bucket.drain(now)
        return shared

    def _store(self, connection: sqlite3.Connection, bucket: Bucket, shared: Scheduler) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO mux_async_limits_1 (account, bucket, state) VALUES (?, ?, ?)",
            (self._account, bucket.value, _encode(shared)),
        )


def _undo_of(command: BucketCommand, reply: BucketReply | None) -> BucketCommand | None:
    if reply is None or command.verb != "acquire":
        return None
    if reply.value == 0.0:
        return attrs.evolve(command, verb="give_back", at=reply.now)
    return None  # a reserved slot: the gate releases it, or asks again


def _encode(shared: Scheduler) -> bytes:
    numbers, grants = shared.bucket.dump()
    requesters = {
        name: [requester.seen, requester.due, requester.since, requester.rank] for name, requester in shared.requesters.items()
    }
    # orjson writes -inf and inf as null.
    outage = {"switch_at": shared.switch_at, "drain_at": shared.drain_at}
    return orjson.dumps({"numbers": numbers, "grants": grants, "requesters": requesters} | outage)


def _decode(state: bytes, shared: Scheduler, now: float) -> bool:
    """Load *state* into *shared*. Returns False if it cannot be read; the bucket then counts as new."""
    try:
        kept: dict[str, Any] = orjson.loads(state)
        requesters = {
            name: Requester(seen, -math.inf if due is None else due, -math.inf if since is None else since, rank)
            for name, (seen, due, since, rank) in kept["requesters"].items()
        }
        switch_at, drain_at = kept["switch_at"], kept["drain_at"]
        shared.bucket.load(kept["numbers"], kept["grants"], now)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    shared.requesters = requesters
    shared.switch_at = -math.inf if switch_at is None else switch_at
    shared.drain_at = math.inf if drain_at is None else drain_at
    return True
