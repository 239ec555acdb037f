"""The queue in front of a bucket: order, cancellation, deadlines, priorities, and clocks that jump. In virtual time.

A call of a client waits in it. What a cancelled call leaves behind at the moment of its grant is in ``test_cancelled_grants``.
"""

from __future__ import annotations

import gc
import itertools
import random
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import anyio
import attrs
import pytest

from mux_async import BucketSettings, LimitSettings, Mux, Priority
from mux_async.errors import ConfigurationError, ConnectError, LimitWaitError, RateLimitedError
from mux_async.limits import (
    PRIORITIES,
    AdaptiveSettings,
    Bucket,
    BucketSnapshot,
    LimitEvent,
    RequestDelayed,
    RequestThrottled,
)
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse
from tests.limits.windows import worst_window

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

UNSENT = "/unsent"
CONNECTING = 0.5
SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.proof) for seed in range(4, 20))]


async def answer(request: SentRequest) -> HttpResponse | Exception:
    """Answer at once: ``/429/SECONDS`` is refused for that long, and nothing of `UNSENT` is sent, which takes half a second to find out."""
    if request.path == UNSENT:
        await anyio.sleep(CONNECTING)
        return ConnectError("refused")
    _, kind, *seconds = request.path.split("/")
    return respond(429, headers={"Retry-After": seconds[0]}) if kind == "429" else respond(json={})


@attrs.define
class Account:
    """A client that has its account to itself."""

    mux: Mux
    start: float = attrs.field(factory=anyio.current_time)

    async def call(self, priority: Priority = "default", deadline: float | None = None, path: str = "/") -> None:
        """Make a POST request, which waits for a grant."""
        await self.mux.with_options(priority=priority, deadline=deadline).request("POST", path)

    async def fail_to_connect(self) -> None:
        """Make a request of which nothing is sent."""
        with pytest.raises(ConnectError):
            await self.call(path=UNSENT)

    async def be_refused(self, seconds: int, priority: Priority = "interactive") -> None:
        """Make a request that is answered 429."""
        with pytest.raises(RateLimitedError):
            await self.call(priority, path=f"/429/{seconds}")

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return anyio.current_time() - self.start

    @property
    def post(self) -> BucketSnapshot:
        return self.mux.limits.snapshot().post


def make(rate: float = 1.0, burst: int = 2, *, clock: Callable[[], float] = anyio.current_time, **settings: Any) -> Account:
    """Return a client with settings for POST requests, without jitter."""
    limits = LimitSettings(post=BucketSettings(rate, burst), jitter=0.0, **settings)
    return Account(
        Mux(
            token_id="id",
            token_secret="secret",
            base_url="https://mux.test",
            account=f"gate-{uuid4()}",
            transport=FakeTransport(answer),
            limits=limits,
            clock=clock,
            max_attempts=1,
        )
    )


async def test_first_come_first_served() -> None:
    """Calls are served in the order in which they came, an interval apart once the burst is used."""
    account = make(rate=2.0, burst=3)
    served: list[tuple[int, float]] = []

    async def wait(number: int) -> None:
        await account.call()
        served.append((number, round(account.now, 6)))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
    assert served == [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.5), (4, 1.0), (5, 1.5), (6, 2.0), (7, 2.5)]


async def test_paced_calls_leave_the_burst_alone() -> None:
    """Batch calls are served an interval apart, and a default call between them is served at once."""
    account = make(rate=1.0, burst=3)
    paced_at, served_at = list[float](), list[float]()

    async def batch() -> None:
        for _ in range(4):
            await account.call("batch")
            paced_at.append(account.now)

    async def default() -> None:
        await anyio.sleep(0.5)
        await account.call()
        served_at.append(account.now)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batch)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(default)
    assert paced_at[0] == 0.0
    assert all(later - earlier >= 1.0 - 1e-9 for earlier, later in itertools.pairwise(paced_at))
    assert served_at == [pytest.approx(0.5)]


@pytest.mark.parametrize("seed", SEEDS)
async def test_cancelled_calls_lose_nothing(seed: int) -> None:
    """With 9 of 10 waiting calls cancelled at random moments, the others are all served, in order, at the full rate."""
    account = make(rate=10.0, burst=2)
    chance = random.Random(seed)
    arrived, served = list[int](), list[int]()
    survivors = {number for number in range(200) if chance.random() < 0.1}

    async def wait(number: int) -> None:
        arrived.append(number)
        patience = float("inf") if number in survivors else chance.choice([0.0, 0.0, chance.uniform(0, 3)])
        with anyio.move_on_after(patience):
            await account.call()
            if number in survivors:
                served.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(wait, number)
    assert served == [number for number in arrived if number in survivors]
    assert account.post.queued == 0
    assert account.now <= 20.0


async def test_a_free_grant_is_used_at_once() -> None:
    """While no call waits, a free grant is used at once, and counted; if there is none, nothing is taken."""
    account = make(rate=1.0, burst=2)
    for _ in range(2):
        await account.call()
    for priority in PRIORITIES:
        with pytest.raises(LimitWaitError):
            await account.call(priority, deadline=0.5)

    assert account.now == 0.0
    assert account.post.granted == 2


async def test_no_call_passes_those_that_wait() -> None:
    """A grant that is there before the first in the queue has woken is given to the first, not to a call that comes meanwhile."""
    late = 0.0
    account = make(rate=1.0, burst=1, clock=lambda: anyio.current_time() + late)
    served: list[str] = []

    async def wait(name: str) -> None:
        await account.call()
        served.append(name)

    await account.call()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "waiting")
        await anyio.wait_all_tasks_blocked()
        late = 5.0
        tasks.start_soon(wait, "coming")
    assert served == ["waiting", "coming"]
    assert account.post.granted == 3


async def test_cancelling_the_leader_hands_its_place_on() -> None:
    """When the call that sleeps for the queue is cancelled, the next one is served when the first would have been."""
    account = make(rate=1.0, burst=1)
    await account.call()
    served_at: list[float] = []

    async def first() -> None:
        with anyio.move_on_after(0.4):
            await account.call()

    async def second() -> None:
        await account.call()
        served_at.append(account.now)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(second)
    assert served_at == [pytest.approx(1.0)]


async def test_a_wait_beyond_the_deadline_is_refused_at_once() -> None:
    """A call whose deadline comes before its grant would is refused at once, with the time that it would have waited."""
    account = make(rate=1.0, burst=1)
    await account.call()

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(account.call)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LimitWaitError) as caught:
            await account.call(deadline=5.9)
        assert account.now == 0.0
        assert caught.value.eta == pytest.approx(6.0)
        await account.call(deadline=6.1)
    assert account.now == pytest.approx(6.0)
    assert account.post.queued == 0


async def test_what_was_never_sent_is_not_counted() -> None:
    """The grant of a request that was never sent is used by the next one."""
    account = make(rate=0.1, burst=1)
    await account.fail_to_connect()
    await account.call()

    assert account.now == pytest.approx(CONNECTING)


async def test_a_returned_grant_is_used_at_once() -> None:
    """When a request could not be sent, the first call in the queue wakes and uses its grant."""
    account = make(rate=0.1, burst=1)
    served_at: list[float] = []

    async def wait() -> None:
        await account.call()
        served_at.append(account.now)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(account.fail_to_connect)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait)
    assert served_at == [pytest.approx(CONNECTING)]


async def test_a_429_holds_every_call() -> None:
    """After a 429 no call is served until the pause is over, and then calls are served at the sustained rate."""
    account = make(rate=1.0, burst=5, adaptive=AdaptiveSettings(backoff=1.0))
    await account.be_refused(10)
    served_at: list[float] = []

    async def wait() -> None:
        await account.call("interactive")
        served_at.append(account.now)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
    assert served_at == [pytest.approx(10.0), pytest.approx(11.0), pytest.approx(12.0)]
    assert account.post.throttled == 1


async def test_a_snapshot_shows_the_queue() -> None:
    """A snapshot shows the queue, the wait and what was granted, while requests wait."""
    account = make(rate=1.0, burst=2)
    snapshots: list[BucketSnapshot] = []

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(account.call)
        await anyio.wait_all_tasks_blocked()
        snapshots.append(account.post)
    (seen,) = snapshots
    assert (seen.queued, seen.granted, seen.rate, seen.burst) == (2, 2, 1.0, 2)
    assert seen.level == pytest.approx(0.0)
    assert seen.eta == pytest.approx(3.0)
    assert account.post.waited == pytest.approx(3.0)


async def test_clients_of_one_account_share() -> None:
    """Clients with the same base URL and account share limits, others do not, and nothing outlives the clients."""
    name = f"gate-{uuid4()}"

    def client(host: str = "a", account: str = name, limits: LimitSettings | None = None) -> Mux:
        transport = FakeTransport(answer)
        url = f"https://{host}.test"
        return Mux(token_id="id", token_secret="secret", base_url=url, account=account, transport=transport, limits=limits)

    clients = [client(), client(limits=LimitSettings()), client(account=f"{name}-2"), client(host="b")]
    await clients[0].request("POST", "/")
    assert [mux.limits.snapshot().post.granted for mux in clients] == [1, 1, 0, 0]

    other = LimitSettings(guaranteed_share=0.2)
    with pytest.raises(ConfigurationError, match="has other limits"):
        client(limits=other)
    clients.clear()
    gc.collect()
    assert client(limits=other).limits.settings.guaranteed_share == 0.2


@pytest.mark.parametrize("seed", SEEDS)
async def test_bound_holds_under_a_storm(seed: int) -> None:
    """Arrivals, cancellations, unsent requests and pacing at random: no window sees more than burst + rate x window requests."""
    rate, burst = 4.0, 3
    account = make(rate, burst)
    chance = random.Random(seed)
    used: list[float] = []

    async def work() -> None:
        await anyio.sleep(chance.uniform(0, 20))
        with anyio.move_on_after(chance.choice([0.0, 1.0, 100.0])):
            priority = chance.choice(PRIORITIES)
            if chance.random() < 0.2:
                await account.fail_to_connect()
            else:
                await account.call(priority)
                used.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        for _ in range(150):
            tasks.start_soon(work)
    assert worst_window(sorted(used), rate, burst) <= 1e-6
    assert account.post.queued == 0


async def test_interactive_calls_go_before_a_batch() -> None:
    """With 1,000 batch calls in the queue, an interactive call is served within one interval."""
    account = make(rate=1.0, burst=2)
    waits: list[float] = []

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(account.call, "batch")
        await anyio.sleep(10.5)
        for _ in range(3):
            before = account.now
            await account.call("interactive")
            waits.append(account.now - before)
        assert waits[0] == 0.0
        assert max(waits) <= 1.0 + 1e-6
        assert 980 <= account.post.queued <= 990
        tasks.cancel_scope.cancel()
    assert account.post.queued == 0


async def test_no_priority_starves() -> None:
    """While interactive calls alone would use the whole account, default and batch calls get a tenth of it each."""
    account = make(rate=10.0, burst=5)
    served: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)

    async def ask(priority: Priority) -> None:
        while True:
            await account.call(priority)
            served[priority] += 1

    async with anyio.create_task_group() as tasks:
        for priority in PRIORITIES:
            for _ in range(4):
                tasks.start_soon(ask, priority)
        await anyio.sleep(100.0)
        tasks.cancel_scope.cancel()
    assert served["batch"] >= 95
    assert served["default"] >= 95
    assert served["interactive"] >= 750
    assert sum(served.values()) == pytest.approx(1005, abs=2)


async def test_a_share_of_the_burst_is_kept_for_interactive_calls() -> None:
    """Default calls leave a fifth of the burst, and batch calls leave all of it but one."""
    account = make(rate=0.001, burst=10)

    async def at_once(priority: Priority) -> int:
        count = 0
        with anyio.move_on_after(0.5):
            while True:
                await account.call(priority)
                count += 1
        return count

    assert [await at_once(priority) for priority in ("batch", "default", "interactive")] == [1, 7, 2]


@pytest.mark.parametrize("queued", [0, 1, 3])
async def test_the_estimate_by_the_guaranteed_share(queued: int) -> None:
    """Behind many interactive calls, a batch call waits a gap of its guaranteed share for each waiting batch call, and one for itself."""
    account = make(rate=1.0, burst=1, guaranteed_share=0.1)
    gap = (1.0 / 0.1 - 1.0) / 1.0
    await account.call()
    eta: float | None = None
    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(account.call, "interactive")
        await anyio.wait_all_tasks_blocked()
        for _ in range(queued):
            tasks.start_soon(account.call, "batch")
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(LimitWaitError) as caught:
            await account.call("batch", deadline=0.5)
        eta = caught.value.eta
        tasks.cancel_scope.cancel()

    assert eta == pytest.approx((queued + 1) * gap)


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_a_closed_bucket_refuses_at_once(priority: Priority) -> None:
    """A call that a closed bucket cannot serve before its deadline is refused at once, with a guaranteed share too."""
    account = make(rate=5.0, burst=1)
    await account.be_refused(30)
    with pytest.raises(LimitWaitError) as caught:
        await account.call(priority, deadline=20.0)

    assert account.now == 0.0
    assert caught.value.eta >= 30.0


async def test_listeners() -> None:
    """A listener is called with every wait and every 429, and with nothing after its block."""
    account = make(rate=1.0, burst=1)
    events: list[LimitEvent] = []
    with account.mux.limits.listen(events.append):
        await account.call()
        await account.be_refused(3, "batch")
    await account.call()

    waited, refused = events
    assert isinstance(waited, RequestDelayed)
    assert isinstance(refused, RequestThrottled)
    assert (waited.bucket, waited.priority) == (Bucket.POST, "batch")
    assert waited.seconds == pytest.approx(1.0)
    assert (refused.bucket, refused.closed_for) == (Bucket.POST, 3.0)
    assert refused.rate == pytest.approx(0.7)


async def test_a_forecast_comes_true() -> None:
    """A hundred requests take what the forecast says, for each priority."""
    for priority in PRIORITIES:
        account = make(rate=2.0, burst=10)
        forecast = account.mux.limits.forecast(post=100)

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(account.call, priority)
        assert account.now == pytest.approx(getattr(forecast, priority))


async def test_forecasts_count_the_queue() -> None:
    """A forecast that is made while requests wait includes them."""
    account = make(rate=1.0, burst=1)

    async with anyio.create_task_group() as tasks:
        for _ in range(11):
            tasks.start_soon(account.call)
        await anyio.wait_all_tasks_blocked()
        forecast = account.mux.limits.forecast(post=10)
        assert forecast.default == pytest.approx(20.0)
        assert forecast.interactive == pytest.approx(10.0)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("rate", [3.0, 7.0, 11.0])
async def test_a_wait_too_short_for_the_clock_ends(rate: float) -> None:
    """After weeks of uptime a clock moves in coarser steps; a rest of a wait that it cannot express does not keep the queue busy."""
    await anyio.sleep(2.0**20)
    base = anyio.current_time()
    account = make(rate, burst=1, clock=lambda: anyio.current_time() - base)
    for _ in range(50):
        await account.call()

    assert account.now == pytest.approx(49 / rate, abs=1e-3)


async def test_a_clock_that_is_set_back() -> None:
    """When the clock goes back by an hour, the queue continues at its rate, neither faster nor an hour later."""
    offset = 0.0
    account = make(rate=1.0, burst=1, clock=lambda: anyio.current_time() + offset)
    served_at: list[float] = []

    async def wait() -> None:
        await account.call()
        served_at.append(account.now)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(wait)
        await anyio.sleep(1.5)
        offset = -3600.0
    assert served_at[:2] == pytest.approx([0.0, 1.0])
    assert served_at[2] <= 3.0 + 1e-3
    assert [later - earlier for earlier, later in itertools.pairwise(served_at[2:])] == pytest.approx([1.0, 1.0])
