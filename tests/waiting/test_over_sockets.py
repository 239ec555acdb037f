"""All waits against the emulator over a real socket: both transports, asyncio and trio."""

from __future__ import annotations

from collections.abc import Generator

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.server import serve

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(
        ("anyio_backend", "transport"),
        [("asyncio", "aiohttp"), ("asyncio", "httpx"), ("trio", "httpx")],
        indirect=["anyio_backend"],
    ),
]


@pytest.fixture
def origin() -> Generator[str]:
    """A server on a thread of its own, whose work is finished at once."""
    emulator = Emulator(EmulatorSettings(instant=True, limits=None, accept_robots_terms=True))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(emulator)) as origin:
        yield origin


async def test_everything(origin: str, transport: str) -> None:
    """Waits for an asset, its parts, a stream, jobs that share the list, and runs end with the object."""
    limits = LimitSettings(enabled=False)
    async with Mux(
        token_id="test-token", token_secret="test-secret", base_url=origin, transport=transport, limits=limits
    ) as mux:
        assets, runs = mux.video.assets, mux.robots.directives.runs
        asset = await assets.create(inputs=[{"url": "https://example.com/film.mp4"}], master_access="temporary")
        asset = await assets.wait_until_ready(asset.id)
        track = await assets.create_track(asset.id, language_code="en", type="text", url="https://example.com/en.vtt")
        rendition = await assets.create_static_rendition(asset.id, resolution="highest")
        assert (await assets.wait_for_track(asset.id, track.id or "")).status == "ready"
        assert (await assets.wait_for_static_rendition(asset.id, rendition.id or "")).status == "ready"
        assert (await assets.wait_for_master(asset.id)).url
        stream = await mux.video.live_streams.create()
        assert (await mux.video.live_streams.wait_until_idle(stream.id)).id == stream.id

        titles: list[str | None] = []

        async def wait(words: int) -> None:
            summarize = mux.robots.jobs.summarize
            job = await summarize.create_and_wait(parameters={"asset_id": asset.id, "title_length": words})
            assert job.outputs is not None
            titles.append(job.outputs.title)

        async with anyio.create_task_group() as tasks:
            for words in range(1, 6):
                tasks.start_soon(wait, words)
        assert len(titles) == 5
        assert all(titles)

        directive = await mux.robots.directives.create(workflows=[{"workflow": "moderate"}])
        run = await runs.create(directive.id or "", asset_id=asset.id)
        assert (await runs.wait_until_done(directive.id or "", run.run_id or "")).status == "completed"
