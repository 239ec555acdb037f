"""What the frontends share: waiting for pending responses and reading files, without blocking the event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from mux_async.emulator.http._messages import Feed, FileSlice, Response

_PIECE = 256 * 1024
HEARTBEAT: Final = 15.0
"""Seconds after which a comment is sent in a stream of events that has none."""
_COMMENT: Final = b": heartbeat\n\n"
_SHORTEST: Final = 0.001
"""Seconds. Clocks that count from 1970 do not resolve shorter times reliably."""


class _TrioToken(Protocol):
    def run_sync_soon(self, function: Callable[[], None], /) -> None: ...


async def settled(response: Response) -> Response:
    """Wait for a pending response. Cancelling the wait does not cancel the work: the next request for it gets the result."""
    while response.pending is not None:
        await _done(response.pending[0])
        response = response.settled()
    return response


async def _done(future: Future[Path]) -> None:
    woken = anyio.Event()
    loop = anyio.lowlevel.current_token().native_token

    def wake(_: Future[Path]) -> None:
        # `anyio.from_thread` waits for the loop. If the loop has ended, that would block the thread of the media backend forever.
        with suppress(RuntimeError):
            if isinstance(loop, asyncio.AbstractEventLoop):
                loop.call_soon_threadsafe(woken.set)
            else:
                cast("_TrioToken", loop).run_sync_soon(woken.set)

    future.add_done_callback(wake)
    await woken.wait()


async def read(file: FileSlice) -> AsyncGenerator[bytes, None]:
    """Yield a slice of a file in pieces. Raises `OSError`: the file is gone."""
    left = file.size
    # Not opened in a thread: a cancellation on the way back would leave the file open.
    with file.path.open("rb") as stored:
        stored.seek(file.offset)
        while left and (piece := await anyio.to_thread.run_sync(stored.read, min(left, _PIECE))):
            left -= len(piece)
            yield piece


async def follow(feed: Feed, *, runs_steps: bool) -> AsyncGenerator[bytes, None]:
    """Yield a feed until it ends, with a comment where it is silent.

    Args:
        feed: The body of a response.
        runs_steps: Whether to run scheduled steps meanwhile. A server has a task for that.
    """
    woken = anyio.Event()

    def wake() -> None:
        woken.set()  # the current one

    stop_watching = feed.watch(wake)
    try:
        silent_at = anyio.current_time() + HEARTBEAT
        while True:
            woken = anyio.Event()
            next_in = feed.next_in() if runs_steps else None
            piece = feed.take()
            if piece is None:
                return
            if not piece and anyio.current_time() >= silent_at:
                piece = _COMMENT
            if piece:
                yield piece
                silent_at = anyio.current_time() + HEARTBEAT
                await anyio.lowlevel.checkpoint()  # lets other requests run, however many events there are
                continue
            until_step = math.inf if next_in is None else max(_SHORTEST, next_in)
            with anyio.move_on_after(min(until_step, silent_at - anyio.current_time())):
                await woken.wait()
    finally:
        stop_watching()
