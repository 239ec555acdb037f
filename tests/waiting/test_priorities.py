"""The priority of polls, and the token they go out with. In virtual time, on asyncio and trio."""

from __future__ import annotations

from base64 import b64encode
from functools import partial

import anyio
import pytest

from mux_async import AccessToken, CallOptions, Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Token
from mux_async.transport import HttpRequest, HttpResponse
from tests.waiting.harness import clock

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

TOKENS = (Token("test-token", "test-secret"), Token("night", "secret", priority="low"))


@pytest.mark.parametrize("low_priority", [None, AccessToken("night", "secret")])
async def test_people_do_not_wait_for_the_queue_of_a_batch(low_priority: AccessToken | None) -> None:
    """Polls for an interactive task pass the queue of batch calls, though a batch task leads."""
    emulator = Emulator(EmulatorSettings(time_to_ready=20.0, limits=None, tokens=TOKENS), clock=clock)
    took = 0.0
    async with (
        Mux(
            token_id="test-token",
            token_secret="test-secret",
            low_priority=low_priority,
            transport=EmulatorTransport(emulator),
            clock=anyio.current_time,
        ) as mux,
        anyio.create_task_group() as tasks,
    ):
        assets = mux.with_options(priority="batch").video.assets
        ids = [(await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])).id for _ in range(2)]
        tasks.start_soon(assets.wait_until_ready, ids[0])
        await anyio.sleep(5)
        unshared = CallOptions(share_reads=False)
        for _ in range(300):
            tasks.start_soon(partial(assets.retrieve, ids[0], options=unshared))
        await anyio.sleep(3)  # the poll of the batch task is in the queue, which takes a minute
        began = anyio.current_time()
        await mux.with_options(priority="interactive").video.assets.wait_until_ready(ids[1])
        took = anyio.current_time() - began
        tasks.cancel_scope.cancel()

    assert took < 20


async def test_watches_do_not_wait_for_the_queue_of_a_batch() -> None:
    """The same for ``live.watch``: an interactive watch that shares polls with a batch one sees a change within seconds."""
    emulator = Emulator(EmulatorSettings(limits=None), clock=clock)
    took = 0.0
    async with (
        Mux(
            token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator), clock=anyio.current_time
        ) as mux,
        anyio.create_task_group() as tasks,
    ):
        batch, prompt = mux.with_options(priority="batch"), mux.with_options(priority="interactive")
        streams = [await mux.video.live_streams.create() for _ in range(2)]
        tasks.start_soon(batch.live.watch(streams[0]).__anext__)
        await anyio.sleep(1.2)
        unshared = CallOptions(share_reads=False)
        for _ in range(300):
            tasks.start_soon(partial(batch.video.live_streams.retrieve, streams[0].id, options=unshared))
        await anyio.sleep(3)  # the poll of the batch task is in the queue, which takes a minute
        watch = prompt.live.watch(streams[1])
        emulator.live.connect(streams[1].id)
        began = anyio.current_time()
        await anext(watch)
        took = anyio.current_time() - began
        tasks.cancel_scope.cancel()

    assert took < 5


async def test_the_wait_after_a_create_has_its_priority() -> None:
    """``create_and_wait(options=...)`` waits with the priority of the create, and so with the same token."""
    settings = EmulatorSettings(limits=None, tokens=TOKENS, accept_robots_terms=True)
    emulator = Emulator(settings, clock=clock)
    senders: set[str] = set()

    class Recorded(EmulatorTransport):
        async def send(self, request: HttpRequest) -> HttpResponse:
            senders.add(request.headers["Authorization"])
            return await super().send(request)

    async with Mux(
        token_id="test-token",
        token_secret="test-secret",
        low_priority=AccessToken("night", "secret"),
        transport=Recorded(emulator),
        clock=anyio.current_time,
    ) as mux:
        asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])
        await mux.video.assets.wait_until_ready(asset.id)
        senders.clear()
        await mux.robots.jobs.summarize.create_and_wait(
            parameters={"asset_id": asset.id}, options=CallOptions(priority="batch", deadline=5)
        )

    assert senders == {"Basic " + b64encode(b"night:secret").decode()}
