"""How waits end that last too long."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from mux_async.testing import VirtualTimeLoop
from mux_async_aiohttp._connection import InactivityTimer


class _Wait:
    def __init__(self) -> None:
        self.ended: tuple[float, BaseException] | None = None

    def set_exception(self, exc: BaseException, /) -> None:
        self.ended = asyncio.get_running_loop().time(), exc


def test_watch() -> None:
    """A wait ends when its time is over, to the moment, unless it was stopped; one that begins later ends later; closing ends none."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        watch = InactivityTimer(10.0)
        first, stopped, second, third = _Wait(), _Wait(), _Wait(), _Wait()
        watch.start(first)
        watch.start(stopped)
        await asyncio.sleep(4.0)
        watch.start(second)
        watch.stop(stopped)
        watch.stop(stopped)
        await asyncio.sleep(20.0)
        watch.start(third)
        watch.close()
        await asyncio.sleep(60.0)

        assert stopped.ended is None
        assert third.ended is None
        for wait, due in ((first, 10.0), (second, 14.0)):
            assert wait.ended is not None
            assert wait.ended[0] - began == pytest.approx(due)
            assert isinstance(wait.ended[1], aiohttp.SocketTimeoutError)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
