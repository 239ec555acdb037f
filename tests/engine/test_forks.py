"""Forked workers of one program that made its client first: each is itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from mux_async import Mux
from mux_async.errors import ServerError
from mux_async.testing import FakeTransport, VirtualTimeLoop, respond

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),  # servers of other tests are threads
]


def in_children(count: int, act: Callable[[], str]) -> list[str]:
    """Return what *act* returns in each of *count* forked processes."""
    told = list[str]()
    for _ in range(count):
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.write(writing, act().encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            told.append(pipe.read())
        os.waitpid(pid, 0)
    return told


def test_workers_wait_for_different_times() -> None:
    """Calls that fail in all workers at once are repeated at different times: the jitter of one is not that of the others."""
    mux = Mux(token_id="id", token_secret="s", transport=FakeTransport(lambda _: respond(503)), account="jitter")

    async def fail() -> str:
        start = asyncio.get_running_loop().time()
        with pytest.raises(ServerError):
            await mux.request("GET", "/x")
        return repr(asyncio.get_running_loop().time() - start)

    def act() -> str:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(fail())

    waits = in_children(3, act)

    assert all(float(wait) > 0.0 for wait in waits)
    assert len(set(waits)) == 3


def test_workers_repeat_chunks_at_different_times() -> None:
    """The same for the chunks of uploads, which have jitter of their own."""
    uploads = Mux(token_id="id", token_secret="s", transport=FakeTransport(), account="jitter").uploads

    drawn = in_children(3, lambda: repr(uploads._random.random()))  # pyright: ignore[reportPrivateUsage]

    assert len(set(drawn)) == 3
