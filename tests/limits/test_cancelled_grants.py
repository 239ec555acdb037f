"""A call that is cancelled around the moment of its grant: it is returned, or counted for the sent request, and no call waits longer.

One request in ten seconds, no burst. The first call takes what there is. Of two that wait, a batch call leads the queue, and a person's
call, the one to be cancelled, is served before it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
import pytest

from mux_async import BucketSettings, LimitSettings, Mux, Priority
from mux_async.limits import LimitEvent, RequestDelayed
from mux_async.testing import FakeTransport
from mux_async.transport import HttpRequest, HttpResponse, mark_unsent

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

INTERVAL = 10.0
CONNECTING = 1.0
CANCELLED = "/cancelled"


class Connecting:
    """A transport that connects for a second before each request of the call that is cancelled."""

    def __init__(self) -> None:
        self.sent = FakeTransport()

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        if request.url.endswith(CANCELLED):
            try:
                await anyio.sleep(CONNECTING)
            except anyio.get_cancelled_exc_class() as error:
                mark_unsent(error)
                raise
        return await self.sent.send(request)

    async def aclose(self) -> None:
        await self.sent.aclose()


class Scene:
    """The three calls, and when each of them returned, in seconds since the first."""

    def __init__(self, *, connects: bool = True) -> None:
        connecting = Connecting()
        self.sent = connecting.sent
        self.mux = Mux(
            token_id="id",
            token_secret="secret",
            base_url="https://mux.test",
            account=f"t-{uuid4()}",
            transport=connecting if connects else self.sent,
            clock=self.read_clock,
            limits=LimitSettings(post=BucketSettings(rate=1 / INTERVAL, burst=1), reserve=0.0, jitter=0.0),
        )
        self.victim = anyio.CancelScope()
        self.ended: dict[str, float] = {}
        self.start = anyio.current_time()

    cancels_at_reading = 0
    """After how many readings of the clock, from the moment on at which a grant is there, the call is cancelled; 0 for never."""

    def read_clock(self) -> float:
        if self.cancels_at_reading and self.now() > INTERVAL - 0.01:
            self.cancels_at_reading -= 1
            if not self.cancels_at_reading:
                self.cancel()
        return anyio.current_time()

    def now(self) -> float:
        return anyio.current_time() - self.start

    async def call(self, path: str, priority: Priority = "default") -> None:
        await self.mux.with_options(priority=priority).request("POST", path)
        self.ended[path] = self.now()

    async def cancelled(self) -> None:
        with self.victim:
            await self.call(CANCELLED, "interactive")

    async def run(self, cancel: Callable[[], object], *, leads: bool = False) -> None:
        """Make the calls, and *cancel* beside them; then check that each grant was used for one request.

        With *leads*, the call that is cancelled comes first, and leads the queue.
        """
        await self.call("/first")
        async with anyio.create_task_group() as tasks:
            both: list[Callable[[], Coroutine[Any, Any, None]]] = [partial(self.call, "/batch", "batch"), self.cancelled]
            for call in reversed(both) if leads else both:
                tasks.start_soon(call)
                await anyio.wait_all_tasks_blocked()
            cancel()
        is_sent = any(request.path == CANCELLED for request in self.sent.requests)
        next_at = 2 * INTERVAL if is_sent else max(INTERVAL, self.victim_ended_at)

        assert self.ended["/batch"] == pytest.approx(next_at, abs=0.01)
        assert self.mux.limits.snapshot().post.queued == 0
        assert self.mux.limits.snapshot().post.level == pytest.approx(0.0, abs=0.01)
        before = self.now()
        await self.call("/after")
        assert self.now() - before == pytest.approx(INTERVAL - (before - next_at), abs=0.01)  # it went back once, not twice

    victim_ended_at = 0.0

    def cancel(self) -> None:
        self.victim.cancel()
        self.victim_ended_at = self.now()


@pytest.mark.parametrize("leads", [True, False])
async def test_in_the_queue(leads: bool) -> None:
    """A call that is cancelled while it waits has no grant to return, and the next one does not wait for it."""
    scene = Scene()

    async def cancel() -> None:
        await anyio.sleep(4.0)
        scene.cancel()

    async with anyio.create_task_group() as tasks:
        await scene.run(lambda: tasks.start_soon(cancel), leads=leads)

    assert scene.ended["/batch"] == pytest.approx(INTERVAL, abs=0.01)


@pytest.mark.parametrize("connects", [True, False], ids=["connecting", "sent at once"])
@pytest.mark.parametrize("reading", range(1, 9))
async def test_as_the_grant_is_given(reading: int, connects: bool) -> None:
    """A call that is cancelled at the moment when the leader gives it its grant returns the grant, or has sent its request.

    What hands out grants looks at the clock as it does; at one of these readings the call is cancelled.
    """
    scene = Scene(connects=connects)
    scene.cancels_at_reading = reading
    await scene.run(lambda: None)

    assert scene.victim_ended_at == pytest.approx(INTERVAL, abs=0.01)


@pytest.mark.parametrize("connects", [True, False], ids=["connecting", "sent at once"])
async def test_between_the_grant_and_the_transport(connects: bool) -> None:
    """A call that is cancelled between its grant and the transport returns the grant, or its request is counted."""
    scene = Scene(connects=connects)

    def hear(event: LimitEvent) -> None:
        if isinstance(event, RequestDelayed) and event.priority == "interactive":
            scene.cancel()

    with scene.mux.limits.listen(hear):
        await scene.run(lambda: None)

    assert scene.victim_ended_at == pytest.approx(INTERVAL, abs=0.01)


async def test_while_connecting() -> None:
    """A call that is cancelled while it connects returns its grant, and the next one uses it at once."""
    scene = Scene()

    async def cancel() -> None:
        await anyio.sleep_until(scene.start + INTERVAL + CONNECTING / 2)
        scene.cancel()

    async with anyio.create_task_group() as tasks:
        await scene.run(lambda: tasks.start_soon(cancel))

    assert scene.ended["/batch"] == pytest.approx(INTERVAL + CONNECTING / 2, abs=0.01)
    assert [request.path for request in scene.sent.requests] == ["/first", "/batch", "/after"]
