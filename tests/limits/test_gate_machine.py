"""The gate in any history of arrivals, cancellations, 429s and clock changes, as Hypothesis generates them.

``MUX_TEST_EXAMPLES`` says how many runs of up to 50 steps are tried.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
from collections.abc import Callable
from typing import Any

import anyio
import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mux_async.errors import LimitWaitError
from mux_async.limits import PRIORITIES, AdaptiveSettings, Bucket, BucketSettings, LimitSettings, Priority
from mux_async.testing import VirtualTimeLoop
from tests._examples import examples
from tests.limits.gates import AccountLimits, Grant

RATE, BURST, FLOOR = 2.0, 4, 0.1
PATIENCE = 1 / (RATE * FLOOR)
CLASSES = st.sampled_from(PRIORITIES)
ADAPTIVE = AdaptiveSettings(first_pause=1.0, longest_pause=10.0, hold=6.0, recovery=8.0)


@attrs.define(eq=False)
class Caller:
    """One call of `Gate.acquire`."""

    number: int
    priority: Priority
    task: asyncio.Task[None] | None = None
    grant: Grant | None = None
    granted_at: float = math.nan
    """By the loop's clock."""


class Gates(RuleBasedStateMachine):
    """One gate on an event loop whose time passes only in rules, over a bucket whose clock may jump."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.offset = 0.0
        self.limits = AccountLimits(
            LimitSettings(post=BucketSettings(RATE, BURST), adaptive=ADAPTIVE, guaranteed_share=FLOOR, jitter=0.1),
            clock=self.clock,
        )
        self.gate = self.limits.gate(self.loop, Bucket.POST)
        self.numbers = itertools.count()
        self.waiting: list[Caller] = []
        self.served: list[Caller] = []
        self.unused: list[Grant] = []
        self.is_taught = False
        self.starving_since: dict[Priority, float] = dict.fromkeys(PRIORITIES, math.inf)

    def clock(self) -> float:
        return self.loop.time() + self.offset

    def run(self, act: Callable[[], Any]) -> None:
        """Call *act* on the loop, and run everything that needs no time."""

        async def main() -> None:
            outcome = act()
            if asyncio.iscoroutine(outcome):
                await outcome
            await asyncio.sleep(0)

        self.loop.run_until_complete(main())

    def step(self) -> None:
        """Run one iteration of the loop."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def settle(self) -> None:
        for _ in range(8):
            self.loop.run_until_complete(asyncio.sleep(0))

    async def call(self, caller: Caller, patience: float | None) -> None:
        start, refusal = self.loop.time(), None
        try:
            caller.grant = self.gate.acquire_nowait(caller.priority) or await self.gate.acquire(caller.priority, patience)
        except LimitWaitError as error:
            refusal = error
        finally:
            self.waiting.remove(caller)
        if refusal is not None:
            # Refused at once, and only because it would take too long.
            assert self.loop.time() == start
            assert refusal.eta > (patience or 0.0)
            return
        caller.granted_at = self.loop.time()
        self.served.append(caller)
        self.starving_since[caller.priority] = self.loop.time()

    def restart_the_starvation_clocks(self) -> None:
        """Refusals and clock jumps change the longest possible waits."""
        for priority in PRIORITIES:
            self.starving_since[priority] = self.loop.time()

    @rule(priority=CLASSES, patience=st.none() | st.floats(0, 8), count=st.integers(1, 6))
    def arrive(self, priority: Priority, patience: float | None, count: int) -> None:
        for _ in range(count):
            self.start(priority, patience)
        self.step()

    def start(self, priority: Priority, patience: float | None) -> Caller:
        if not any(one.priority == priority for one in self.waiting):
            self.starving_since[priority] = self.loop.time()
        caller = Caller(next(self.numbers), priority)
        self.waiting.append(caller)
        caller.task = self.loop.create_task(self.call(caller, patience))
        return caller

    @rule(priority=CLASSES, turns=st.integers(1, 6))
    def start_and_cancel(self, priority: Priority, turns: int) -> None:
        """Start a call and cancel it after a few iterations of the loop, perhaps as the leader gives it a grant."""
        caller = self.start(priority, None)
        for _ in range(turns):
            self.step()
        assert caller.task is not None
        caller.task.cancel()

    @rule(seconds=st.sampled_from([0.0, 1e-9, 0.1, 0.25, 0.5, 0.5, 1.0, 3.0]))
    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(choice=st.integers(0, 99), share=st.sampled_from([0.0, 0.0, 0.5, 0.9, 1.0]))
    def cancel(self, choice: int, share: float) -> None:
        """Cancel one waiting call, or many; some of them may have been given a grant in this step."""

        def act() -> None:
            count = max(1, int(len(self.waiting) * share))
            for number in range(count):
                if self.waiting:
                    task = self.waiting[(choice + 7 * number) % len(self.waiting)].task
                    assert task is not None
                    task.cancel()

        self.run(act)

    @rule(choice=st.integers(0, 99), in_steps=st.integers(0, 5))
    def cancel_as_it_is_granted(self, choice: int, in_steps: int) -> None:
        """Wait until the next grant is due, and cancel a call a few iterations of the loop later."""
        wait = self.limits._limiter.estimate_wait(Bucket.POST, held_back=0, rank=0, ahead=0)  # pyright: ignore[reportPrivateUsage]
        self.loop.run_until_complete(asyncio.sleep(min(wait, 5.0)))
        for _ in range(in_steps):
            self.step()
        self.cancel(choice, 0.0)

    @rule(choice=st.integers(0, 9))
    def give_back(self, choice: int) -> None:
        """Nothing of a recent request was sent."""
        if self.served:
            caller = self.served[-1 - choice % len(self.served)]
            if caller.grant is not None and self.loop.time() - caller.granted_at < 20:
                grant, caller.grant = caller.grant, None
                self.run(lambda: self.limits.give_back(grant))

    @rule(choice=st.integers(0, 9), delay=st.none() | st.sampled_from([0.0, 0.5, 4.0, 1e9]))
    def on_throttled(self, choice: int, delay: float | None) -> None:
        """A recent request was answered 429."""
        granted = [one.grant for one in self.served if one.grant is not None]
        if granted:
            self.run(lambda: self.limits.on_throttled(granted[-1 - choice % len(granted)], delay))
            self.is_taught = True
            self.restart_the_starvation_clocks()

    @rule(remaining=st.integers(0, BURST))
    def observe_remaining(self, remaining: int) -> None:
        self.run(lambda: self.limits.observe_remaining(Bucket.POST, remaining))
        self.is_taught = True
        self.restart_the_starvation_clocks()

    @rule(seconds=st.sampled_from([-5.0, -0.5, -1e-6, 0.5, 5.0, 3600.0]))
    def jump(self, seconds: float) -> None:
        """The clock is set, or the machine was asleep."""
        self.offset += seconds
        self.is_taught = True
        self.restart_the_starvation_clocks()

    @invariant()
    def first_come_first_served(self) -> None:
        """Calls of one priority are served in the order in which they came."""
        for priority in PRIORITIES:
            numbers = [one.number for one in self.served if one.priority == priority]
            assert numbers == sorted(numbers)

    @invariant()
    def bound_holds(self) -> None:
        """In every window of the bucket's time at most burst + rate x window grants were kept."""
        kept = [one.grant.at for one in self.served if one.grant is not None][-60:]
        for first, last in itertools.combinations_with_replacement(range(len(kept)), 2):
            assert last - first + 1 <= BURST + RATE * (kept[last] - kept[first]) + 1e-6

    @invariant()
    def no_priority_starves(self) -> None:
        """A waiting call gets a grant within the gap of its guaranteed share, plus what two others and a closed bucket take."""
        state = self.limits.snapshot().post
        for priority in ("default", "batch"):
            if any(one.priority == priority for one in self.waiting):
                waited = self.loop.time() - self.starving_since[priority]
                # A class that has the whole burst to wait for still takes turns at the lowest rate there was.
                allowed = PATIENCE + ADAPTIVE.longest_pause + (BURST + 3) / min(state.rate, RATE) + 5.0
                assert waited <= allowed, (priority, waited, allowed)

    @invariant()
    def one_call_leads(self) -> None:
        """The queue consists of the waiting calls, and one of them leads."""
        self.settle()
        assert len(self.gate) == len(self.waiting)
        assert (self.gate._election.leader is not None) == bool(self.waiting)  # pyright: ignore[reportPrivateUsage]

    @invariant()
    def no_grant_is_lost(self) -> None:
        """Without refusals, the level of the bucket follows from the requests that were sent."""
        self.settle()
        if not self.is_taught:
            expected = -math.inf
            for one in self.served:
                if one.grant is not None:
                    expected = max(one.grant.at, expected) + 1 / RATE
            level = min(float(BURST), BURST - max(0.0, expected - self.clock()) * RATE)
            assert abs(self.limits.snapshot().post.level - level) < 1e-6

    def teardown(self) -> None:
        """All waiting calls are served once time passes, and nothing is left."""
        try:
            self.settle()
            left = [one.task for one in self.waiting if one.task is not None]
            slowest = RATE * ADAPTIVE.min_rate_ratio
            patience = ADAPTIVE.longest_pause + 50 + (BURST + len(left)) / slowest

            async def finish() -> None:
                with anyio.fail_after(patience):
                    await asyncio.gather(*left)

            self.loop.run_until_complete(finish())
            self.first_come_first_served()
            self.bound_holds()
            self.no_grant_is_lost()
            assert not self.waiting
            assert len(self.gate) == 0
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.settle()
            self.loop.close()


Gates.TestCase.settings = settings(
    max_examples=int(os.environ.get("MUX_TEST_EXAMPLES", examples(60))), stateful_step_count=50, deadline=None
)
TestGates = Gates.TestCase
