"""The stores follow the arithmetic: the same histories on SQLite, on fakeredis and on a real Redis give equal numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from mux_async.limits import PRIORITIES, AdaptiveSettings, Bucket, LimitSettings, Priority
from tests._examples import examples
from tests.limits.stores import (
    STORES,
    BucketCommand,
    BucketReply,
    Clock,
    Driver,
    FakeStore,
    NewDriver,
    SqliteLimitStore,
    drivers,
    one_rate,
)
from tests.limits.windows import worst_window

EXAMPLES = int(os.environ.get("MUX_ASYNC_LIMIT_EXAMPLES", examples(40)))
"""Histories for each store. A few thousand take minutes."""

BUCKET = Bucket.POST
KEPT_BESIDE = {"switch_at", "drain_at", "next_change_at", "version"}
"""Numbers that a store may keep beside those of the bucket."""


@pytest.fixture(params=STORES)
def new_driver(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[NewDriver]:
    with drivers(request.param, tmp_path) as new:
        yield new


@pytest.fixture(params=STORES[1:])
def new_real_driver(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[NewDriver]:
    with drivers(request.param, tmp_path) as new:
        yield new


STEPS = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 0.4), st.floats(0, 5), st.sampled_from([0.0, 0.25, 70.0, -0.5, -5000.0])),
        st.sampled_from(["acquire", "acquire", "acquire", "acquire", "leave", "give_back", "throttled", "observe", "rejoin"]),
        st.integers(0, 4),
        st.integers(0, 2),
    ),
    max_size=60,
)


def seen(reply: BucketReply) -> tuple[object, ...]:
    """Return the parts of *reply* that have to be equal for all stores."""
    numbers = {name: number for name, number in reply.numbers.items() if name not in KEPT_BESIDE}
    return reply.value, reply.now, numbers, reply.others, reply.members


@settings(
    deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.sampled_from([0.5, 1.0, 7.3, 50.0]),
    st.integers(1, 6),
    st.booleans(),
    STEPS,
)
def test_stores_agree_with_the_arithmetic(
    new_real_driver: NewDriver, rate: float, burst: int, discover: bool, steps: list[tuple[float, str, int, int]]
) -> None:
    """For any commands of any requesters at any times, each store answers as the arithmetic does."""
    limits = one_rate(rate, burst, adaptive=AdaptiveSettings(discover=discover, hold=1.0))
    clock = Clock(10_000.0)
    model, store = FakeStore(limits, clock), new_real_driver(limits, clock)
    grants: list[float] = [clock.now]
    try:
        for wait, verb, number, rank in steps:
            clock.now += wait
            command = BucketCommand(
                verb,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
                BUCKET,
                f"owner {number}",
                held_back=limits.held_back(PRIORITIES[rank], limits.post),
                rank=rank,
                at=grants[number % len(grants)] if verb in {"give_back", "throttled"} else None,
                delay=3.0 if verb == "throttled" and number % 2 else None,
                remaining=number,
                settle=4.0,
            )
            expected, got = model.perform_now(command), store.perform_now(command)
            assert seen(got) == seen(expected), command
            if verb == "acquire" and got.value == 0.0:
                grants.append(got.now)
    finally:
        store.close()


def test_a_store_remembers_the_newest_grants(new_real_driver: NewDriver) -> None:
    """A store keeps 256 grants to be given back, and agrees with the arithmetic about the rest."""
    limits, clock = one_rate(128.0, 2), Clock()
    model, store = FakeStore(limits, clock), new_real_driver(limits, clock)
    ask = BucketCommand("acquire", BUCKET, "a")
    granted = list[float]()
    while len(granted) < 300:
        expected, got = model.perform_now(ask), store.perform_now(ask)
        assert seen(got) == seen(expected)
        if got.value:
            clock.now += got.value
        else:
            granted.append(got.now)

    for at in (granted[0], granted[-1], granted[150]):
        give_back = BucketCommand("give_back", BUCKET, "a", at=at)
        assert seen(store.perform_now(give_back)) == seen(model.perform_now(give_back))
    store.close()


@attrs.define
class Simulated:
    """A process that asks again when the last answer said so."""

    name: str
    due: float = 0.0
    grants: list[float] = attrs.field(factory=list[float])


class StoreMachine(RuleBasedStateMachine):
    """Processes of all priorities that start, ask and are killed; restarts of the store, with and without its data, and of the machine."""

    new: ClassVar[NewDriver]
    RATE: ClassVar[float] = 5.0
    BURST: ClassVar[int] = 4

    def __init__(self) -> None:
        super().__init__()
        self.truth = Clock(50_000.0)
        """Time as it passes, whatever the machine's clock says."""
        self.offset = 0.0
        self.limits: LimitSettings = one_rate(
            self.RATE, self.BURST, adaptive=AdaptiveSettings(first_pause=0.5, longest_pause=2.0, hold=1.0)
        )
        self.driver: Driver = type(self).new(self.limits, lambda: self.truth.now + self.offset)
        self.processes: list[Simulated] = []
        self.kept: list[float] = []
        """True times of grants that were not given back."""
        self.undoable: list[tuple[float, float]] = []
        """True and store times of grants that may be given back."""
        self.count = 0

    @initialize()
    def begin(self) -> None:
        self.start()

    @rule()
    def start(self) -> None:
        self.count += 1
        if len(self.processes) < 6:
            self.processes.append(Simulated(f"process {self.count}", self.truth.now))

    @precondition(lambda self: len(self.processes) > 1)
    @rule(choice=st.integers(0, 5))
    def kill(self, choice: int) -> None:
        self.processes.pop(choice % len(self.processes))

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.truth.now += seconds

    @rule(choice=st.integers(0, 5), priority=st.sampled_from(PRIORITIES), early=st.booleans())
    def ask(self, choice: int, priority: Priority, early: bool) -> None:
        process = self.processes[choice % len(self.processes)]
        if not early:
            self.truth.now = max(self.truth.now, process.due)
        self.ask_now(process, priority)

    def ask_now(self, process: Simulated, priority: Priority) -> bool:
        rank = PRIORITIES.index(priority)
        command = BucketCommand(
            "acquire", BUCKET, process.name, held_back=self.limits.held_back(priority, self.limits.post), rank=rank
        )
        reply = self.driver.perform_now(command)
        process.due = self.truth.now + reply.value
        if reply.value == 0.0:
            self.kept.append(self.truth.now)
            self.undoable.append((self.truth.now, reply.now))
        return reply.value == 0.0

    @rule(choice=st.integers(0, 5))
    def release(self, choice: int) -> None:
        process = self.processes[choice % len(self.processes)]
        self.driver.perform_now(BucketCommand("leave", BUCKET, process.name))

    @precondition(lambda self: bool(self.undoable))
    @rule()
    def give_back(self) -> None:
        """Return the newest grant; it counts as returned only if the bucket still knew it."""
        truth, at = self.undoable.pop()
        before = self.driver.perform_now(BucketCommand("leave", BUCKET, "looks"))
        after = self.driver.perform_now(BucketCommand("give_back", BUCKET, "looks", at=at))
        if after.numbers.get("full_at", 0.0) < before.numbers.get("full_at", 0.0):
            self.kept.remove(truth)

    @precondition(lambda self: bool(self.undoable))
    @rule(delay=st.sampled_from([None, 1.0, 1000.0]))
    def on_throttled(self, delay: float | None) -> None:
        self.driver.perform_now(BucketCommand("throttled", BUCKET, "looks", at=self.undoable[-1][1], delay=delay))

    @rule(remaining=st.integers(0, 5))
    def observe_remaining(self, remaining: int) -> None:
        self.driver.perform_now(BucketCommand("observe", BUCKET, "looks", remaining=remaining))

    @rule()
    def lose_everything(self) -> None:
        """The server restarts without its data, or the file is deleted."""
        self.driver.forget()
        self.undoable.clear()

    @rule(seconds=st.floats(0, 10))
    def machine_restarts(self, seconds: float) -> None:
        """The clock starts again; all processes are new."""
        self.truth.now += seconds
        self.offset = seconds - self.truth.now
        self.undoable.clear()
        self.processes = [Simulated(f"{process.name} again", self.truth.now) for process in self.processes]

    @rule()
    def rejoin(self) -> None:
        self.driver.perform_now(BucketCommand("rejoin", BUCKET, self.processes[0].name, settle=1.0))

    @invariant()
    def bound_holds(self) -> None:
        assert worst_window(self.kept, self.RATE, self.BURST) <= 1e-6

    def teardown(self) -> None:
        """At the end every process that asks when it was told to is served: no grant was lost, and none waits for a killed process."""
        for process in self.processes:
            patience = self.truth.now + 30.0
            while not self.ask_now(process, "interactive"):
                assert process.due < patience, "it is not served"
                self.truth.now = process.due + 1e-6  # waits below a rounding error have to end, too
        self.driver.close()


def machine_over(new: NewDriver) -> type[StoreMachine]:
    class Machine(StoreMachine):
        pass

    Machine.new = staticmethod(new)  # pyright: ignore[reportAttributeAccessIssue]
    return Machine


@pytest.mark.timeout(600)
def test_nothing_breaks_the_bound(new_driver: NewDriver) -> None:
    """In any order of arrivals, kills, refusals and restarts the bound holds in every window, and no requester waits for ever."""
    run_state_machine_as_test(
        machine_over(new_driver),
        settings=settings(
            deadline=None, max_examples=EXAMPLES, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
        ),
    )


@pytest.mark.parametrize("damage", ["garbage", "null", "missing fields"])
def test_a_damaged_row_counts_as_new(tmp_path: Path, damage: str) -> None:
    """A stored bucket that cannot be read is replaced by an empty one, instead of blocking all requesters."""
    import sqlite3

    clock = Clock()
    with drivers("sqlite", tmp_path) as new:
        driver = new(one_rate(1.0, 2), clock)
        assert driver.perform_now(BucketCommand("acquire", BUCKET, "a")).value == pytest.approx(1.0 + 0.25)
        (path,) = tmp_path.glob("*.db")
        with sqlite3.connect(path) as connection:
            state = {"garbage": b"\xff\x00", "null": b"null", "missing fields": b'{"requesters": {}}'}[damage]
            connection.execute("UPDATE mux_async_limits_1 SET state = ?", (state,))
        connection.close()
        clock.now += 100.0

        reply = driver.perform_now(BucketCommand("acquire", BUCKET, "a"))
        driver.close()
    assert reply.value == pytest.approx(1.0 + 0.25)


def test_accounts_are_independent(tmp_path: Path) -> None:
    """Two accounts in one file are independent."""
    clock = Clock()
    make: Callable[[str], Any] = lambda account: SqliteLimitStore(tmp_path / "limits.db", account, one_rate(1.0, 1), clock)  # noqa: E731
    one, other = make("one"), make("other")
    ask = BucketCommand("acquire", BUCKET, "a")
    one.perform_now(ask)
    clock.now += 10.0
    assert one.perform_now(ask).value == 0.0
    assert one.perform_now(ask).value == pytest.approx(1.0)

    other.perform_now(ask)
    clock.now += 0.5
    assert other.perform_now(ask).value == pytest.approx(0.5)
    one.close()
    other.close()
