"""Forked workers that use the limits of their parent: connections and locks are not shared by two processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

from mux_async import Mux
from mux_async.limits import Bucket, BucketSettings, LimitSettings
from mux_async.testing import FakeTransport
from mux_async.webhooks import EventKey, SqliteEventStore
from tests.limits.stores import BucketCommand, SqliteLimitStore

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings(
        "ignore:.*fork.*:DeprecationWarning"
    ),  # that a thread is in the middle of something is the point
]

SETTINGS = LimitSettings(post=BucketSettings(rate=100.0, burst=10))


class Clock:
    """A clock that blocks one thread while it reads the time, with the locks that it holds at that moment."""

    def __init__(self) -> None:
        self.is_asked, self.may_go = threading.Event(), threading.Event()
        self.may_go.set()

    def __call__(self) -> float:
        if threading.current_thread().name == "stopped":
            self.is_asked.set()
            self.may_go.wait(60)
        return time.monotonic()

    @contextmanager
    def stopped(self, act: Callable[[], object]) -> Generator[None]:
        """Keep a thread in the middle of *act* while the block runs, and let it finish after."""
        self.may_go.clear()
        thread = threading.Thread(target=act, name="stopped")
        thread.start()
        try:
            assert self.is_asked.wait(60)
            yield
        finally:
            self.may_go.set()
            thread.join()


_before_forks = list[Callable[[], object]]()


def _before_fork() -> None:
    while _before_forks:
        _before_forks.pop()()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)  # runs before what was registered earlier, and cannot be taken back


def forked(clock: Clock, act: Callable[[], object], child: Callable[[], object], *, goes_on: bool) -> int:
    """Fork while another thread is in the middle of *act*, perform *child* there when *act* has ended here, and return how that ended.

    With *goes_on* the thread goes on when the fork begins, which may wait for it. A child that hangs is killed by an alarm, and returns
    less than 0.
    """
    reading, writing = os.pipe()
    with clock.stopped(act):
        if goes_on:
            _before_forks.append(clock.may_go.set)
        pid = os.fork()
        if not pid:
            status = 1
            try:
                signal.alarm(30)
                os.read(reading, 1)
                child()
                status = 0
            finally:
                os._exit(status)
    os.write(writing, b"x")
    os.close(reading)
    os.close(writing)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_sqlite_store(tmp_path: Path) -> None:
    """A fork waits for the transaction of a thread, and both processes go on with connections of their own."""
    clock = Clock()
    store = SqliteLimitStore(tmp_path / "limits.db", "account", SETTINGS, clock)
    ask = BucketCommand("acquire", Bucket.POST, "owner")
    store.perform_now(ask)

    def child() -> None:
        store.perform_now(ask)
        store.close()

    assert forked(clock, lambda: store.perform_now(ask), child, goes_on=True) == 0
    store.perform_now(ask)
    store.close()


def test_a_child_leaves_the_log_of_sqlite_alone(tmp_path: Path) -> None:
    """What a parent writes while its child starts and ends is in the file when it is opened later."""
    path = tmp_path / "limits.db"
    store = SqliteLimitStore(path, "account", SETTINGS, time.monotonic)
    ask = BucketCommand("acquire", Bucket.POST, "owner")
    store.perform_now(ask)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            store.perform_now(ask)
            store.close()
            status = 0
        finally:
            os._exit(status)
    store.perform_now(BucketCommand("leave", Bucket.POST, "owner"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store.perform_now(BucketCommand("acquire", Bucket.POST, "other"))
    store.close()

    with closing(sqlite3.connect(path)) as reader:
        ((state,),) = reader.execute("SELECT state FROM mux_async_limits_1").fetchall()
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert b'"other"' in state


def test_a_sqlite_event_store(tmp_path: Path) -> None:
    """The same for handled events: a claim that was being made when the process forked is made once, and the child sees it."""
    clock = Clock()
    store = SqliteEventStore(tmp_path / "events.db", clock=clock)
    seen = EventKey("event", None, 0)

    def claim(token: str = "token") -> str:
        return anyio.run(store.claim, seen, token, 60.0).state

    def stop_in_the_middle() -> None:
        clock.is_asked.set()
        clock.may_go.wait(60)
        assert claim() == "mine"

    def child() -> None:
        assert claim("another") == "busy"
        anyio.run(store.aclose)

    assert forked(clock, stop_in_the_middle, child, goes_on=True) == 0
    assert claim() == "busy"
    anyio.run(store.aclose)


def test_locks_of_a_parent() -> None:
    """A child does not wait for a lock that a thread of its parent held, because that thread does not exist in the child."""
    clock = Clock()
    limits = Mux(
        token_id="id", token_secret="secret", account="forks", transport=FakeTransport(), limits=SETTINGS, clock=clock
    ).limits

    assert forked(clock, limits.snapshot, limits.snapshot, goes_on=False) == 0
