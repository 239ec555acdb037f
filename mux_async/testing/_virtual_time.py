"""Clocks for tests that jump to the next timer instead of waiting for it, so that hours pass in milliseconds.

The rule is the same on both event loops: time stands still while a task can run, while a socket or pipe is open in the loop, and while a
worker thread is at work for it; when all that is left is to wait for a timer, the clock jumps there. So real I/O takes no time
at all: no timeout fires because a disk was slow, and a timeout never fires while real I/O is awaited. Tests about sockets belong
on a real clock.

Code under test has to read the loop's clock: hand `anyio.current_time` to whatever takes a clock (``Mux(clock=anyio.current_time)``).

With anyio's pytest plugin, the fixture ``anyio_backend`` returns ``("asyncio", {"loop_factory": VirtualTimeLoop})`` or ``("trio",
virtual_trio_options())``; without it, ``asyncio.Runner(loop_factory=VirtualTimeLoop)`` and ``trio.run(main, **virtual_trio_options())``.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVarTuple

import anyio.to_thread

Ts = TypeVarTuple("Ts")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock starts at 0 and jumps. See the module's text for when."""

    def __init__(self) -> None:
        self._now = 0.0
        self._working = 0
        super().__init__(_JumpingSelector(self._is_waiting_for_time, self._advance))

    def time(self) -> float:
        """Return seconds since the loop was made, all of them virtual."""
        return self._now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], Any], *args: *Ts) -> asyncio.Future[Any]:
        """Call *func* in a thread; the clock stands still until it has returned."""
        future = super().run_in_executor(executor, func, *args)
        self._working += 1

        def done(_: object) -> None:
            self._working -= 1

        future.add_done_callback(done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads of `run_in_executor` to end; the clock stands still meanwhile, so no limit of time cuts it short."""
        self._working += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._working -= 1

    def _is_waiting_for_time(self) -> bool:
        return not self._working and not _busy_threads()

    def _advance(self, seconds: float) -> None:
        self._now += seconds


def _busy_threads() -> float:
    try:
        return anyio.to_thread.current_default_thread_limiter().borrowed_tokens
    except anyio.NoEventLoopError:
        # Between two tasks sniffio, which anyio asks where it is installed, sees no event loop: say which one it is.
        import sniffio

        token = sniffio.current_async_library_cvar.set("asyncio")
        try:
            return anyio.to_thread.current_default_thread_limiter().borrowed_tokens
        finally:
            sniffio.current_async_library_cvar.reset(token)


class _JumpingSelector(selectors.DefaultSelector):
    """Where it would wait for a timer, it moves the clock."""

    def __init__(self, is_waiting_for_time: Callable[[], bool], advance: Callable[[float], None]) -> None:
        super().__init__()
        self._is_waiting_for_time = is_waiting_for_time
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        # One descriptor is always there: the pipe by which threads and signals wake the loop.
        if timeout is None or len(self.get_map()) > 1 or not self._is_waiting_for_time():
            return super().select(None)
        self._advance(timeout)
        return []


def virtual_trio_options() -> dict[str, Any]:
    """Return arguments for ``trio.run`` with a new clock that starts at 0 and jumps. See the module's text for when.

    Raises:
        ImportError: trio is not installed.
    """
    from trio.abc import Instrument
    from trio.testing import MockClock

    clock = MockClock(autojump_threshold=0)

    class HoldDuringIO(Instrument):
        """Stops the clock from jumping while something outside of it is awaited; looks after every step of a task."""

        def after_task_step(self, task: object) -> None:  # noqa: ARG002 - trio's signature
            threshold = float("inf") if _is_busy() else 0.0
            if clock.autojump_threshold != threshold:
                clock.autojump_threshold = threshold

    return {"clock": clock, "instruments": [HoldDuringIO()]}


def _is_busy() -> bool:
    import trio

    if trio.to_thread.current_default_thread_limiter().borrowed_tokens:
        return True
    io = trio.lowlevel.current_statistics().io_statistics
    # Names on kqueue; epoll and Windows; Windows. One task always waits: trio's own, for other threads and signals.
    names = ("tasks_waiting", "tasks_waiting_read", "tasks_waiting_write", "tasks_waiting_overlapped")
    return sum(getattr(io, name, 0) for name in names) > 1
