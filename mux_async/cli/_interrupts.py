"""Ctrl-C as an async iterator. `anyio.open_signal_receiver` does not work on Windows with asyncio."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress
from types import FrameType

import anyio


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
