"""Ctrl-C as an async iterator, and runs that it stops. `anyio.open_signal_receiver` does not work on Windows with asyncio."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol, TypeVar

import anyio

from mux_async import Mux
from mux_async.cli._output import FAILED, STOPPED

_FRAME = 0.2
"""Seconds between two redraws of a live display."""


class _Summary(Protocol):
    @property
    def is_complete(self) -> bool: ...


S = TypeVar("S", bound=_Summary)
S_co = TypeVar("S_co", bound=_Summary, covariant=True)
S_contra = TypeVar("S_contra", bound=_Summary, contravariant=True)


class StoppableRun(Protocol[S_co]):
    """An `Ingest` or a `Bulk`."""

    def stop(self) -> None: ...

    async def run(self) -> S_co: ...


class RunReporter(Protocol[S_contra]):
    """Shows a run. Called on the event loop, so it must return at once."""

    def begin(self) -> None: ...

    def tick(self) -> None:
        """Redraw; called a few times a second."""
        ...

    def note(self, text: str) -> None:
        """Show a message."""
        ...

    def end(self, summary: S_contra | None) -> None:
        """Show the summary; ``None`` if the run was cancelled."""
        ...


async def run_to_end(client: Mux, run: StoppableRun[S], reporter: RunReporter[S]) -> int:
    """Run until the end; an interrupt stops the run in order, a second one at once. Returns the exit code."""
    summary: S | None = None
    interrupts = 0

    async def watch(signals: AsyncIterator[signal.Signals]) -> None:
        nonlocal interrupts
        async for _ in signals:
            interrupts += 1
            if interrupts > 1:
                tasks.cancel_scope.cancel()
            else:
                run.stop()
                reporter.note("finishing what was begun; press Ctrl-C again to stop at once")

    async def draw() -> None:
        while True:
            await anyio.sleep(_FRAME)
            reporter.tick()

    with open_interrupts() as signals:
        reporter.begin()
        try:
            async with client, anyio.create_task_group() as tasks:
                tasks.start_soon(watch, signals)
                tasks.start_soon(draw)
                summary = await run.run()
                tasks.cancel_scope.cancel()
        finally:
            reporter.end(summary)
    if interrupts:
        return STOPPED
    return 0 if summary is not None and summary.is_complete else FAILED


@contextmanager
def open_interrupts() -> Generator[AsyncIterator[signal.Signals]]:
    """Iterate over SIGINT and SIGTERM while the block runs, in place of the exception that they would raise.

    A signal that is ignored, as in the background of a shell script, stays ignored. Only for the main thread, on asyncio.
    """
    loop = asyncio.get_running_loop()
    send, receive = anyio.create_memory_object_stream[signal.Signals](float("inf"))

    def arrived(number: int) -> None:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # the block ended meanwhile
            send.send_nowait(signal.Signals(number))

    def on_signal(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(arrived, number)  # wakes the loop, which may be waiting

    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in heard}
    try:
        with send, receive:
            yield receive
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
