"""``mux.video.assets.wait_until_ready`` against the emulator, limits and all."""

from __future__ import annotations

import math
from itertools import count
from typing import Any

import anyio
import pytest

from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, InputProblem, MediaSource, RateRules
from mux_async.errors import AssetErroredError, BadRequestError, DeadlineExceededError, MuxError, NotFoundError

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

_accounts = count()


def emulated(settings: EmulatorSettings) -> tuple[Emulator, Mux]:
    emulator = Emulator(settings, clock=lambda: 1.7e9 + anyio.current_time())
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"waits-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        clock=anyio.current_time,
    )
    return emulator, mux


async def create(mux: Mux) -> str:
    return (await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])).id


async def test_one() -> None:
    """A single wait costs one GET per poll, within the limits, and returns the ready asset."""
    emulator, mux = emulated(EmulatorSettings(time_to_ready=7.0))
    asset = await mux.video.assets.wait_until_ready(await create(mux))

    assert asset.status == "ready"
    assert {each.path for each in emulator.arrivals if each.method == "GET"} == {f"/video/v1/assets/{asset.id}"}
    assert len(emulator.arrivals) < 8


async def test_many_share_a_sweep() -> None:
    """Two hundred and fifty waits, on clients with different options, take at most three list requests per poll.

    Assets get ready one a second here, so there is a look a second; only the last one left is asked for by itself.
    """
    emulator, mux = emulated(EmulatorSettings(time_to_ready=400.0, limits=RateRules()))
    ids = [await create(mux) for _ in range(250)]
    other = mux.with_options(priority="batch")
    before = len(emulator.arrivals)
    async with anyio.create_task_group() as tasks:
        for number, asset_id in enumerate(ids):
            tasks.start_soon((mux if number % 2 else other).video.assets.wait_until_ready, asset_id)

    seen = emulator.arrivals[before:]
    assert {each.path for each in seen} <= {"/video/v1/assets", f"/video/v1/assets/{ids[-1]}"}
    assert {each.status for each in seen} == {200}
    assert len(seen) <= 3 * (250 + 5)


async def test_an_id_that_is_none() -> None:
    """A malformed id raises in its wait at once, and other waits go on."""
    _, mux = emulated(EmulatorSettings(time_to_ready=30.0))
    asset_id = await create(mux)

    async def wrong() -> None:
        with pytest.raises(BadRequestError):
            await mux.video.assets.wait_until_ready("nonsense")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wrong)
        asset = await mux.video.assets.wait_until_ready(asset_id)
        assert asset.status == "ready"


async def test_errored() -> None:
    """An asset that cannot be processed raises with Mux's reason."""

    def probe(source: MediaSource) -> InputProblem:
        del source
        return InputProblem("download_failed", "nobody there")

    _, mux = emulated(EmulatorSettings(probe=probe))
    asset_id = await create(mux)
    with pytest.raises(AssetErroredError, match="nobody there") as caught:
        await mux.video.assets.wait_until_ready(asset_id)

    assert (caught.value.asset_id, caught.value.type) == (asset_id, "download_failed")


async def test_deleted_meanwhile() -> None:
    """Deleting an asset ends the wait for it."""
    _, mux = emulated(EmulatorSettings(time_to_ready=1e6, can_delete_preparing=True))
    asset_id = await create(mux)

    async def delete() -> None:
        await anyio.sleep(20)
        await mux.video.assets.delete(asset_id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delete)
        with pytest.raises(NotFoundError):
            await mux.video.assets.wait_until_ready(asset_id)


async def test_timeout() -> None:
    """A wait has its own timeout, and the asset can be awaited again."""
    _, mux = emulated(EmulatorSettings(time_to_ready=60.0))
    asset_id = await create(mux)
    with pytest.raises(DeadlineExceededError, match="within 5 s"):
        await mux.video.assets.wait_until_ready(asset_id, timeout=5.0)

    assert (await mux.video.assets.wait_until_ready(asset_id)).status == "ready"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"timeout": "5"}, "timeout is '5'; it must be a number of seconds"),
        ({"timeout": math.nan}, "timeout is nan"),
        ({"timeout": True}, "timeout is True"),
        ({"until": "redy"}, "until is 'redy'; it is one of 'created', 'ready'"),
        ({"upload_id": ""}, "upload_id is empty"),
        ({"upload_id": None}, "upload_id is None"),
    ],
)
async def test_arguments_that_cannot_be_right(arguments: dict[str, Any], words: str) -> None:
    """Wrong arguments of a wait raise at once, and nothing is sent. An empty id would find the asset of another upload."""
    given: dict[str, Any] = {"upload_id": "u", "timeout": 5.0, **arguments}
    emulator, mux = emulated(EmulatorSettings())
    async with mux:
        await mux.video.assets.wait_until_ready(await create(mux))
        before = len(emulator.arrivals)
        with pytest.raises(MuxError, match=words):
            await mux.video.assets.wait_for_upload(**given)

    assert len(emulator.arrivals) == before
