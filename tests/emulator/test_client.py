"""The SDK's own client against the emulator, in process, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault
from mux_async.errors import (
    AmbiguousOutcomeError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    NotReadyError,
    ServerError,
)
from tests.emulator.harness import START

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


@asynccontextmanager
async def emulated(settings: EmulatorSettings | None = None, **options: Any) -> AsyncGenerator[tuple[Emulator, Mux], None]:
    began = anyio.current_time()
    emulator = Emulator(settings, clock=lambda: START + anyio.current_time() - began)
    given: dict[str, Any] = {"token_id": "test-token", "token_secret": "test-secret", "clock": anyio.current_time, **options}
    async with Mux(transport=EmulatorTransport(emulator), account=f"account {id(emulator)}", **given) as mux:
        yield emulator, mux


async def test_typed_road() -> None:
    """Typed calls create, wait for, list and delete an asset; times and enums decode; nothing unknown is left over."""
    async with emulated() as (_, mux):
        asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], playback_policies=["public"])
        ready = await mux.video.assets.wait_until_ready(asset.id)
        listed = [found.id async for found in mux.video.assets.list(limit=1)]
        stream = await mux.video.live_streams.create()
        who = await mux.system.utilities.whoami()
        await mux.video.assets.delete(asset.id)

        assert ready.status == "ready"
        assert ready.duration is not None
        assert listed == [asset.id]
        assert stream.status == "idle"
        assert who.environment_name == "development"
        for value in (asset, ready, stream, who):
            assert not value.extra
        with pytest.raises(NotFoundError):
            await mux.video.assets.retrieve(asset.id)


async def test_errors() -> None:
    """Every recorded error is raised as its class."""
    async with emulated(token_secret="wrong") as (_, mux):
        with pytest.raises(AuthenticationError):
            await mux.video.assets.list()
    async with emulated() as (_, mux):
        asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])
        with pytest.raises(BadRequestError) as bad:
            await mux.video.assets.retrieve("somefakeid")
        with pytest.raises(NotReadyError):
            await mux.video.assets.retrieve_input_info(asset.id)

    assert bad.value.messages == ('Asset id "somefakeid" was invalid',)
    assert bad.value.request_id


async def test_paced() -> None:
    """A hundred concurrent calls under the published limits are paced by the client: the emulator refuses none."""
    async with emulated() as (emulator, mux):

        async def create() -> None:
            await mux.video.uploads.create(cors_origin="*")

        async def read() -> None:
            await each.video.assets.list()

        each = mux.with_options(share_reads=False)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(create)
            for _ in range(80):
                tasks.start_soon(read)

    statuses = [arrival.status for arrival in emulator.arrivals]
    assert len(statuses) == 100
    assert 429 not in statuses


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_nothing_twice(cut: Any) -> None:
    """A create whose response was lost raises an error and is not retried, whether it was executed or not."""
    async with emulated() as (emulator, mux):
        emulator.faults.add(Fault(method="POST", path="/video/v1/assets", nth=1, cut=cut))
        with pytest.raises(AmbiguousOutcomeError):
            await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])
        made = await mux.video.assets.list()

    assert len(made.data) == (1 if cut == "after" else 0)
    assert len([arrival for arrival in emulator.arrivals if arrival.method == "POST"]) == 1


async def test_read_again() -> None:
    """A failed read is retried until it succeeds; if it never does, the server's error is raised."""
    async with emulated() as (emulator, mux):
        emulator.faults.add(Fault(method="GET", nth=1, status=503), Fault(method="GET", nth=2, cut="after"))
        await mux.video.assets.list()
        emulator.faults.clear()
        emulator.faults.add(Fault(method="GET", status=500))
        with pytest.raises(ServerError):
            await mux.with_options(max_attempts=2).video.assets.list()

    assert [arrival.status for arrival in emulator.arrivals] == [503, None, 200, 500, 500]
