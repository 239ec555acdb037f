"""Limits shared through a store, as its gates see them: one bound for all, cancellation, and outages of the store."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import subprocess
import sys
import time
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from mux_async import Mux
from mux_async.errors import ConfigurationError, LimitWaitError, MissingExtraError
from mux_async.limits import (
    PRIORITIES,
    AdaptiveSettings,
    Bucket,
    LimitEvent,
    LimitSettings,
    RequestDelayed,
    StoreLost,
    StoreRestored,
)
from tests._servers import free_port
from tests.limits.gates import AccountLimits, Gate, Grant, MemoryLimiter, gate_of
from tests.limits.stores import (
    LONGEST_RETRY,
    SETTLE,
    FakeStore,
    SharedLimiter,
    new_client,
    one_rate,
    open_limiter,
    redis_server,
)
from tests.limits.windows import worst_window

SEEDS = [0, 7, *(pytest.param(seed, marks=pytest.mark.proof) for seed in range(1, 40) if seed != 7)]
virtual = [pytest.mark.anyio, pytest.mark.virtual_time]


class Process:
    """A simulated process: limits of its own, over a store that it shares."""

    def __init__(self, store: FakeStore, settings: LimitSettings) -> None:
        self.events: list[LimitEvent] = []
        self.limiter = SharedLimiter(store, settings, anyio.current_time, self.events.append)
        self.limits = AccountLimits(settings, self.limiter, anyio.current_time)
        self.gate: Gate = gate_of(self.limits)

    async def take(self, used: list[float], count: int = 10**9) -> None:
        for _ in range(count):
            await self.gate.acquire("interactive", None)
            used.append(anyio.current_time())


def processes(count: int, rate: float, burst: int, **settings: Any) -> tuple[FakeStore, list[Process]]:
    limits = one_rate(rate, burst, **settings)
    store = FakeStore(limits, anyio.current_time)
    return store, [Process(store, limits) for _ in range(count)]


class TestSharing:
    pytestmark = virtual

    async def test_all_have_one_budget(self) -> None:
        """Four saturated processes use the rate between them, evenly, and not more than the bound."""
        _, sharers = processes(4, rate=10.0, burst=5)
        used = [list[float]() for _ in sharers]
        with anyio.move_on_after(20.0):
            async with anyio.create_task_group() as tasks:
                for process, mine in zip(sharers, used, strict=True):
                    tasks.start_soon(process.take, mine)
                    tasks.start_soon(process.take, mine)

        together = sorted(moment for mine in used for moment in mine)
        assert worst_window(together, 10.0, 5) <= 1e-6
        assert len(together) >= 196  # the store begins empty
        assert max(map(len, used)) - min(map(len, used)) <= 2

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_bound_holds_under_a_storm(self, seed: int) -> None:
        """Arrivals, cancellations, give-backs and pacing at random, in three processes: the bound holds for all of them together."""
        _, sharers = processes(3, rate=4.0, burst=3, jitter=0.1)
        chance, used = random.Random(seed), list[float]()

        async def work(process: Process) -> None:
            await anyio.sleep(chance.uniform(0, 20))
            with anyio.move_on_after(chance.choice([0.0, 1.0, 100.0])):
                grant = await process.gate.acquire(chance.choice(PRIORITIES), None)
                if chance.random() < 0.2:
                    await process.limits.give_back(grant)
                else:
                    used.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            for _ in range(120):
                tasks.start_soon(work, chance.choice(sharers))
        assert worst_window(sorted(used), 4.0, 3) <= 1e-6
        assert [len(process.gate) for process in sharers] == [0, 0, 0]

    async def test_a_429_holds_every_process(self) -> None:
        """After a 429 in one process, no call of another is served until the pause is over."""
        _, (one, other) = processes(2, rate=1.0, burst=5, adaptive=AdaptiveSettings(backoff=1.0), jitter=0.0)
        await anyio.sleep(60.0)
        grant = await one.gate.acquire("interactive", None)
        start, used = anyio.current_time(), list[float]()
        await one.limits.on_throttled(grant, 10.0)

        await other.take(used, 2)
        assert [moment - start for moment in used] == [pytest.approx(10.0), pytest.approx(11.0)]
        assert one.limits.snapshot().post.closed_for == pytest.approx(0.0)

    async def test_interactive_calls_go_before_batches_of_other_processes(self) -> None:
        """With batch calls queued in three processes, an interactive call of a fourth is served within one interval."""
        _, (*crowd, person) = processes(4, rate=1.0, burst=2, jitter=0.0)
        waits = list[float]()
        async with anyio.create_task_group() as tasks:
            for process in crowd:
                for _ in range(50):
                    tasks.start_soon(process.gate.acquire, "batch", None)
            await anyio.sleep(10.3)
            for _ in range(3):
                start = anyio.current_time()
                await person.gate.acquire("interactive", None)
                waits.append(anyio.current_time() - start)
            tasks.cancel_scope.cancel()

        assert max(waits) <= 1.0 + 1e-6

    async def test_the_last_to_leave_releases_the_slot(self) -> None:
        """When the only waiter of a process is cancelled, the slot that was reserved for it goes to another process."""
        _, (one, other) = processes(2, rate=0.1, burst=1)
        await one.take([], 1)
        start = anyio.current_time()
        used = list[float]()
        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(1.0):
                await one.gate.acquire("interactive", None)
            tasks.start_soon(other.take, used, 1)

        assert used == [pytest.approx(start + 10.0)]

    async def test_a_wait_beyond_the_deadline_is_refused(self) -> None:
        """A call is refused if its deadline comes before its grant, and the estimate counts the requests of other processes."""
        _, (one, other) = processes(2, rate=1.0, burst=1)
        eta: float | None = None
        async with anyio.create_task_group() as tasks:
            for process in (one, other):
                for _ in range(5):
                    tasks.start_soon(process.gate.acquire, "interactive", None)
            await anyio.sleep(2.5)
            with pytest.raises(LimitWaitError) as caught:
                await one.gate.acquire("interactive", 3.0)
            eta = caught.value.eta
            tasks.cancel_scope.cancel()

        assert eta is not None
        assert 5.0 <= eta <= 11.0

    async def test_only_lower_counts_are_stored(self) -> None:
        """The server's count is written to the store if it is lower than the known one, not after every response."""
        store, (one, other) = processes(2, rate=1.0, burst=10, jitter=0.0)
        await one.take([], 1)
        await anyio.sleep(60.0)
        await one.take([], 1)
        for _ in range(5):
            await one.limits.observe_remaining(Bucket.POST, 9)
        before = sum(command.verb == "observe" for command in store.commands)
        await one.limits.observe_remaining(Bucket.POST, 2)
        await other.take([], 1)

        assert before <= 1  # the first shows how much room the server has
        assert other.limits.snapshot().post.level == pytest.approx(1.0)

    async def test_counts_during_an_outage(self) -> None:
        """A count that arrives while the store does not answer is used here at once, and is stored with the next grant, with its time."""
        store, (one, other) = processes(2, rate=1.0, burst=10, jitter=0.0)
        await one.take([], 1)
        await anyio.sleep(60.0)
        await one.take([], 1)
        store.is_down = True
        await one.limits.observe_remaining(Bucket.POST, 2)
        level = one.limits.snapshot().post.level
        store.is_down = False
        await anyio.sleep(3.0)
        await one.take([], 1)
        await other.take([], 1)

        assert level == pytest.approx(2.0)
        assert other.limits.snapshot().post.level == pytest.approx(2.0 + 3.0 - 2.0)


class TestAway:
    pytestmark = virtual

    async def test_a_share_until_it_is_back(self, caplog: pytest.LogCaptureFixture) -> None:
        """During an outage two processes take half of the rate each; then they share again. The bound holds all the time."""
        rate, burst = 10.0, 5
        store, sharers = processes(2, rate, burst)
        used = [list[float]() for _ in sharers]
        async with anyio.create_task_group() as tasks:
            for process, mine in zip(sharers, used, strict=True):
                tasks.start_soon(process.take, mine)
            await anyio.sleep(10.05)
            store.is_down = True
            await anyio.sleep(20.0)
            store.is_down = False
            await anyio.sleep(20.0)
            tasks.cancel_scope.cancel()

        together = sorted(moment for mine in used for moment in mine)
        assert worst_window(together, rate, burst) <= 1e-6
        during = [moment for moment in together if 11.0 <= moment < 30.0]
        assert len(during) == pytest.approx(19.0 * rate, abs=4)
        after = [moment for moment in together if moment >= 30.0 + LONGEST_RETRY + SETTLE + 1.0]
        assert len(after) == pytest.approx((50.05 - 30.0 - LONGEST_RETRY - SETTLE - 1.0) * rate, abs=4)
        for process in sharers:
            lost, back = process.events
            assert lost == StoreLost("fake://store", "it is down", 2)
            assert isinstance(back, StoreRestored)
            assert 20.0 <= back.seconds <= 20.0 + LONGEST_RETRY + SETTLE
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 4

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_bound_holds_through_outages(self, seed: int) -> None:
        """A store that goes down and up at random, with and without its data: the bound holds for four processes together."""
        rate, burst = 8.0, 4
        store, sharers = processes(4, rate, burst, jitter=0.0)
        chance, used = random.Random(seed), list[float]()
        async with anyio.create_task_group() as tasks:
            for process in sharers:
                tasks.start_soon(process.take, used)
            await anyio.sleep(5.0)  # so that each knows of the others
            for _ in range(5):
                store.is_down = True
                await anyio.sleep(chance.uniform(0.5, 15))
                if chance.random() < 0.5:
                    store.forget()
                store.is_down = False
                await anyio.sleep(chance.uniform(LONGEST_RETRY + SETTLE, 20))
            tasks.cancel_scope.cancel()

        assert worst_window(sorted(used), rate, burst) <= 1e-6

    async def test_a_store_that_was_never_reached(self) -> None:
        """A process that never reached the store takes half the rate, without a burst."""
        store, (one,) = processes(1, rate=2.0, burst=10)
        store.is_down = True
        start, used = anyio.current_time(), list[float]()
        await one.take(used, 3)

        assert [moment - start for moment in used] == [pytest.approx(1.0), pytest.approx(2.0), pytest.approx(3.0)]

    async def test_a_429_while_away(self) -> None:
        """A 429 during an outage closes this process's share, whether its grant was made before or after the store was lost."""
        store, (one,) = processes(1, rate=2.0, burst=1, adaptive=AdaptiveSettings(backoff=1.0))
        shared = await one.gate.acquire("interactive", None)
        store.is_down = True
        local = await one.gate.acquire("interactive", None)
        for grant, pause in ((shared, 5.0), (local, 9.0)):
            assert await one.limits.on_throttled(grant, pause) == pytest.approx(pause)
        start, used = anyio.current_time(), list[float]()
        await one.take(used, 1)

        assert used[0] - start == pytest.approx(9.0)

    async def test_grants_of_another_time_are_dropped(self) -> None:
        """A grant made before the store was lost is not given back to the local share, nor one of the share to the store."""
        store, (one,) = processes(1, rate=1.0, burst=1)
        shared = await one.gate.acquire("interactive", None)
        store.is_down = True
        local = await one.gate.acquire("interactive", None)
        start = anyio.current_time()
        await one.limits.give_back(shared)
        assert await one.limiter.acquire(Bucket.POST, held_back=0, rank=0) != 0.0
        store.is_down = False
        while one.limits.snapshot().post.rate < 1.0:
            await one.gate.acquire("interactive", None)
        count = len(store.commands)
        await one.limits.give_back(local)

        assert anyio.current_time() > start
        assert not any(command.verb == "give_back" for command in store.commands[:count])
        assert len(store.commands) == count

    async def test_one_bad_answer_is_not_yet_an_outage(self) -> None:
        """A command that fails once is repeated at once, without an event."""
        store, (one,) = processes(1, rate=1.0, burst=1)
        perform, failures = store.perform, [True]

        async def shaky(command: Any) -> Any:
            store.is_down = bool(failures) and failures.pop()
            return await perform(command)

        store.perform = shaky  # type: ignore[method-assign]
        await one.take([], 2)

        assert one.events == []


@contextmanager
def place(kind: str, folder: Path) -> Generator[str]:
    """Yield the URL of a limiter of *kind* with nothing in it."""
    match kind:
        case "redis":
            with redis_server(folder) as url:
                yield url
        case _:
            yield f"sqlite:///{folder / 'limits.db'}"


async def fill(url: str, key: str, burst: int) -> None:
    """Wait until the account's buckets are full: they start empty, and refill at the rate."""
    fast = open_limiter(url, key, one_rate(1e6, burst, jitter=0.0), time.monotonic)
    await fast.acquire(Bucket.POST, held_back=0, rank=0)
    await fast.release_slot(Bucket.POST)
    await anyio.sleep(0.001)
    await fast.aclose()


@pytest.mark.proof
@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_cancelled_calls_take_nothing(kind: str, tmp_path: Path, anyio_backend_name: str) -> None:
    """Calls that are cancelled at any moment, also during a command, take no grants from the others."""
    if (kind, anyio_backend_name) == ("redis", "trio"):
        return  # refused: see below
    with place(kind, tmp_path) as url:
        await fill(url, "account", 40)
        limiter = open_limiter(url, "account", one_rate(0.001, 40, jitter=0.0), time.monotonic)
        chance, taken = random.Random(1), 0
        for _ in range(60):
            with anyio.move_on_after(chance.choice([0.0, 0.0002, 0.0005, 0.001, 0.002])):
                taken += isinstance(await limiter.acquire(Bucket.POST, held_back=0, rank=0), Grant)
        await anyio.sleep(0.2)  # threads that were left behind undo what they did, in their own time
        cancelled = 60 - taken
        while isinstance(await limiter.acquire(Bucket.POST, held_back=0, rank=0), Grant):
            taken += 1
        await limiter.aclose()

    assert cancelled > 0
    assert taken == 40


def delete(path: Path) -> None:
    for file in path.parent.glob(path.name + "*"):
        file.unlink()


@pytest.mark.anyio
async def test_a_file_that_goes_away(tmp_path: Path) -> None:
    """A deleted file is created again, empty; one that cannot be opened, or is not a database, counts as an outage."""
    path, events = tmp_path / "limits.db", list[LimitEvent]()
    limits = AccountLimits(one_rate(1000.0, 2, url=f"sqlite:///{path}"), key="account")
    gate = gate_of(limits)
    with limits.listen(lambda event: events.append(event) if not isinstance(event, RequestDelayed) else None):
        await gate.acquire("interactive", None)
        delete(path)
        await gate.acquire("interactive", None)
        assert path.exists()
        assert events == []
        await limits.aclose()
        delete(path)
        path.write_bytes(b"this is no database, and long enough to be sure of it " * 100)
        await gate.acquire("interactive", None)
    await limits.aclose()

    (lost,) = events
    assert isinstance(lost, StoreLost)
    assert "not a database" in lost.problem
    assert path.read_bytes().startswith(b"this is no database")


@pytest.mark.anyio
async def test_a_file_that_is_locked(tmp_path: Path) -> None:
    """While another program holds the file's lock, calls continue with the local share."""
    path = tmp_path / "limits.db"
    limits = AccountLimits(one_rate(100.0, 2, url=f"sqlite:///{path}"), key="account")
    gate = gate_of(limits)
    await gate.acquire("interactive", None)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    events = list[LimitEvent]()
    with limits.listen(events.append):
        await gate.acquire("interactive", None)
    holder.close()
    await limits.aclose()

    assert any(isinstance(event, StoreLost) for event in events)


@pytest.mark.proof
@pytest.mark.asyncio
async def test_a_redis_that_restarts(tmp_path: Path) -> None:
    """A stopped Redis counts as an outage; when an empty one is started at the same address, it is used again."""
    port = free_port()
    events = list[LimitEvent]()
    with redis_server(tmp_path, port) as url:
        limits = AccountLimits(one_rate(50.0, 2, url=url), key="account")
        gate = gate_of(limits)
        await gate.acquire("interactive", None)
    with limits.listen(lambda event: events.append(event) if not isinstance(event, RequestDelayed) else None):
        await gate.acquire("interactive", None)
        with redis_server(tmp_path, port):
            with anyio.fail_after(3 * (LONGEST_RETRY + SETTLE)):
                while len(events) < 2:
                    await gate.acquire("interactive", None)
            snapshot = limits.snapshot().post
            await limits.aclose()

    assert [type(event) for event in events] == [StoreLost, StoreRestored]
    assert snapshot.rate == 50.0


@pytest.mark.proof
@pytest.mark.asyncio
async def test_a_redis_that_does_not_answer(tmp_path: Path) -> None:
    """If Redis hangs, the command times out, and the call is sent with the local share."""
    events = list[LimitEvent]()
    with redis_server(tmp_path) as url:
        limits = AccountLimits(one_rate(100.0, 2, url=url), key="account")
        gate = gate_of(limits)
        await gate.acquire("interactive", None)
        sleeper = new_client(url)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: cast("Any", sleeper).execute_command("CLIENT", "PAUSE", "3600000", "ALL"))
        with limits.listen(events.append):
            await gate.acquire("interactive", None)
        await limits.aclose()
        await sleeper.aclose()

    assert any(isinstance(event, StoreLost) for event in events)


@pytest.mark.anyio
@pytest.mark.runtimes("trio")
async def test_redis_needs_asyncio() -> None:
    """On trio, limits in Redis are refused, and the message says what to do."""
    limiter = open_limiter("redis://127.0.0.1:1/0", "account", LimitSettings(), time.monotonic)

    with pytest.raises(ConfigurationError, match=r"need asyncio, and this is trio; sqlite:///"):
        await limiter.acquire(Bucket.POST, held_back=0, rank=0)


@pytest.mark.anyio
@pytest.mark.runtimes("asyncio", "uvloop")
async def test_redis_runs_on_any_asyncio(tmp_path: Path) -> None:
    """Limits in Redis work on asyncio's own event loop and on uvloop."""
    with redis_server(tmp_path) as url:
        await fill(url, "account", 2)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        (
            "postgres://user:s3cret@host/db",
            r"unknown scheme 'postgres'; it is memory://, sqlite:///path or redis://",
        ),
        ("s3cret", r"unknown scheme ''"),
        ("sqlite://s3cret/x", r"names no file; it is sqlite:///relative/path or sqlite:////absolute/path"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", r"and memory://"),
        ("sqlite:///x?s3cret=1", "names no file"),
        ("redis://:s3cret@/0", "names no host"),
        ("redis://:s3cret@host:port/0", "is not a URL"),
        ("redis://:s3cret@host:1/zero", "names a database that is not a number"),
        ("redis://:s3cret@[host/0", "is not a URL"),
    ],
)
def test_urls_that_are_refused(url: str, complaint: str) -> None:
    """A URL that names no store is refused when the client is made; the message does not repeat it, because it may hold a password."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        Mux(token_id="id", token_secret="secret", account=url, limits=LimitSettings(url=url))

    shown = caught.value
    assert "s3cret" not in f"{shown} {shown!r} {shown.__cause__!r}"


def test_urls_that_are_fine(tmp_path: Path) -> None:
    """Each form of URL opens its limiter, and nothing is opened before the first use."""
    for url, kind in [
        ("memory://", MemoryLimiter),
        (f"sqlite:///{tmp_path}/x%20y.db", SharedLimiter),
        ("sqlite:///relative.db", SharedLimiter),
        ("redis://127.0.0.1:1", SharedLimiter),
        ("rediss://user:password@[::1]:6380/2", SharedLimiter),
    ]:
        assert type(open_limiter(url, "account", LimitSettings(), time.monotonic)) is kind

    assert list(tmp_path.iterdir()) == []


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the redis library, the error says what to install; SQLite needs nothing."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mux-async\[redis\]'"):
        open_limiter("redis://127.0.0.1", "account", LimitSettings(), time.monotonic)

    open_limiter("sqlite:///x.db", "account", LimitSettings(), time.monotonic)


@pytest.mark.asyncio
async def test_the_password_does_not_show(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The password of a URL is in no repr, event or log line, whether the server refuses it or does not run."""
    caplog.set_level(logging.DEBUG)
    told = list[LimitEvent]()
    shown = ""
    with redis_server(tmp_path, arguments=["--requirepass", "another"]) as url:
        for place in (url, f"redis://127.0.0.1:{free_port()}/0"):
            secret = place.replace("redis://", "redis://:s3cret@")
            settings = one_rate(100.0, 1, url=secret)
            limits = AccountLimits(settings, key="account")
            with limits.listen(told.append):
                await gate_of(limits).acquire("interactive", None)
            await limits.aclose()
            shown += repr(settings) + repr(vars(limits))

    lost = [event for event in told if isinstance(event, StoreLost)]
    assert len(lost) == 2
    assert "s3cret" not in shown + repr(told) + caplog.text


def test_the_environment_names_the_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``MUX_LIMITS_URL`` is used for limits without a URL, whatever their other settings; an argument takes precedence."""
    monkeypatch.setenv("MUX_LIMITS_URL", f"sqlite:///{tmp_path}/limits.db")
    clients = [
        Mux(token_id="id", token_secret="secret", account=str(number), limits=limits)
        for number, limits in enumerate([None, LimitSettings(guaranteed_share=0.2), LimitSettings(url="memory://")])
    ]
    urls = [client.limits.settings.url for client in clients]

    assert [url.reveal() if url else None for url in urls] == [f"sqlite:///{tmp_path}/limits.db"] * 2 + ["memory://"]
    assert clients[1].limits.settings.guaranteed_share == 0.2
    with pytest.raises(ConfigurationError, match="has other limits"):
        Mux(token_id="id", token_secret="secret", account="0", limits=LimitSettings(url="memory://"))


def test_limits_that_are_off_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If limits are turned off, their store is not opened."""
    monkeypatch.setenv("MUX_LIMITS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)

    Mux(token_id="id", token_secret="secret", account="off", limits=LimitSettings(enabled=False))


def test_an_account_with_shared_limits_is_freed(tmp_path: Path) -> None:
    """Limits without a user are freed at once: the limiter holds no reference to them."""
    limits = AccountLimits(one_rate(1.0, 1, url=f"sqlite:///{tmp_path}/limits.db"))
    gone = weakref.ref(limits)
    del limits

    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_has_a_connection_of_its_own(tmp_path: Path) -> None:
    """After a fork the child has a connection and a name of its own, and shares the bucket with its parent."""
    program = """
import os, sys, time, warnings
import anyio
from mux_async.limits import Bucket
from tests.limits.stores import one_rate, open_limiter

limiter = open_limiter(sys.argv[1], "account", one_rate(0.01, 2, jitter=0.0), time.monotonic)

async def drain():
    outcome = await limiter.acquire(Bucket.POST, held_back=0, rank=0)
    return outcome

before = anyio.run(drain)
child = os.fork()
if child == 0:
    after = anyio.run(drain)
    # It stands behind its parent, whose slot is an interval away.
    os._exit(0 if after > before + 50 else 1)
_, status = os.waitpid(child, 0)
assert anyio.run(drain) > 0  # and the parent's connection is as good as before
sys.exit(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{tmp_path}/limits.db"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stderr
