"""How calls wait for their grant in real time: the sleep of the leader and the events of the others, on asyncio and on trio.

The same queue on a clock that jumps is in ``test_gate`` and ``test_cancelled_grants``.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from uuid import uuid4

import anyio
import pytest

from mux_async import BucketSettings, LimitSettings, Mux
from mux_async.testing import FakeTransport
from mux_async.transport import HttpRequest, HttpResponse, mark_unsent

pytestmark = pytest.mark.anyio

UNSENT = "/unsent"


class NeverConnects:
    """A transport that connects for ever for `UNSENT`, and answers everything else at once."""

    def __init__(self) -> None:
        self.inner = FakeTransport()

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        if request.url.endswith(UNSENT):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class() as error:
                mark_unsent(error)
                raise
        return await self.inner.send(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


def client(rate: float, account: str | None = None) -> Mux:
    """Return a client that may make one POST request at once, and then *rate* a second."""
    return Mux(
        token_id="id",
        token_secret="secret",
        base_url="https://mux.test",
        account=account or f"wakeups-{uuid4()}",
        transport=NeverConnects(),
        limits=LimitSettings(post=BucketSettings(rate, 1), jitter=0.0),
    )


async def test_a_wait_lasts_as_long_as_the_rate_says() -> None:
    """A wait that nothing ends lasts an interval, and the next one too."""
    mux = client(rate=100.0)
    await mux.request("POST", "/first")
    for _ in range(2):
        before = anyio.current_time()
        await mux.request("POST", "/next")
        assert anyio.current_time() - before >= 0.008


async def test_a_returned_grant_wakes_the_queue() -> None:
    """A grant that comes back is used at once by the first in the queue, who would sleep for an hour, and the second waits on."""
    mux, unsent = client(rate=1 / 3600), anyio.CancelScope()
    served = anyio.Event()

    async def fail() -> None:
        with unsent:
            await mux.request("POST", UNSENT)

    async def call() -> None:
        await mux.request("POST", "/next")
        served.set()

    async with anyio.create_task_group() as tasks:
        for work in (fail, call, call):
            tasks.start_soon(work)
            await anyio.wait_all_tasks_blocked()
        assert not served.is_set()
        assert mux.limits.snapshot().post.queued == 2
        unsent.cancel()
        with anyio.fail_after(10):
            await served.wait()
        assert mux.limits.snapshot().post.queued == 1
        tasks.cancel_scope.cancel()
    assert mux.limits.snapshot().post.queued == 0


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_a_cancelled_wait_leaves_nothing(cancelled: int) -> None:
    """Whether the leader or a follower of the queue is cancelled, the others are served when they would have been."""
    mux, scopes, served = client(rate=50.0), [anyio.CancelScope() for _ in range(3)], list[int]()
    await mux.request("POST", "/first")

    async def call(number: int) -> None:
        with scopes[number]:
            await mux.request("POST", f"/{number}")
            served.append(number)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(call, number)
            await anyio.wait_all_tasks_blocked()
            scopes[cancelled].cancel()
    await mux.request("POST", "/after")
    assert {0, 1, 2} - {cancelled} <= set(served)  # on a busy machine, the cancelled one may have been served before
    assert mux.limits.snapshot().post.queued == 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_limits_do_not_keep_the_event_loop() -> None:
    """Limits that outlive an event loop in which a call waited release it once they are used in another one."""
    account = f"wakeups-{uuid4()}"
    later = client(rate=1000.0, account=account)

    def use() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = asyncio.new_event_loop()
        mux = client(rate=1000.0, account=account)
        for _ in range(2):
            loop.run_until_complete(mux.request("POST", "/"))
        loop.close()
        return weakref.ref(loop)

    gone = await anyio.to_thread.run_sync(use)
    await later.request("POST", "/")
    gc.collect()
    assert gone() is None
