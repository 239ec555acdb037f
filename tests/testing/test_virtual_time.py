"""Virtual time: jumps when there is only time to wait for, and not before."""

from __future__ import annotations

import asyncio
import socket
import threading

import anyio
import anyio.to_thread
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


async def test_hours() -> None:
    """A thousand tasks that sleep for hours, in steps, are done long before the limit of a test, and the clock shows all of it."""
    woken: list[float] = []

    async def sleeper(delay: float) -> None:
        for _ in range(3):
            await anyio.sleep(delay)
        woken.append(anyio.current_time())

    begin = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(sleeper, 3600.0 + number)

    assert woken == sorted(woken)
    assert woken[-1] - begin == pytest.approx(3 * (3600.0 + 999))


async def test_order_and_deadlines() -> None:
    """A deadline fires before a longer sleep ends and not after a shorter one."""
    with anyio.move_on_after(10) as short:
        await anyio.sleep(11)
    with anyio.move_on_after(10) as long:
        await anyio.sleep(9)

    assert short.cancelled_caught
    assert not long.cancelled_caught


async def test_days() -> None:
    """A month can be slept through in one go, though event loops look up once a day."""
    begin = anyio.current_time()
    await anyio.sleep(31 * 86_400)

    assert anyio.current_time() - begin == pytest.approx(31 * 86_400)


async def test_worker_thread() -> None:
    """A worker thread takes no virtual time: a short timeout around slow work does not fire."""
    release = threading.Event()

    def work() -> str:
        return "done" if release.wait(10) else "stuck"

    timer = threading.Timer(0.05, release.set)
    timer.start()
    begin = anyio.current_time()
    with anyio.fail_after(0.001):
        result = await anyio.to_thread.run_sync(work)

    assert result == "done"
    assert anyio.current_time() == begin
    timer.join()


async def test_time_goes_on_after_a_thread() -> None:
    """After work in a thread the clock jumps again."""
    await anyio.to_thread.run_sync(lambda: None)
    begin = anyio.current_time()
    await anyio.sleep(3600)

    assert anyio.current_time() - begin == pytest.approx(3600)


async def test_socket() -> None:
    """Waiting for bytes takes no virtual time, and a timer set meanwhile does not fire."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    timer = threading.Timer(0.05, theirs.send, [b"x"])
    with ours, theirs:
        timer.start()
        begin = anyio.current_time()
        with anyio.fail_after(0.001):
            await anyio.wait_readable(ours)

        assert anyio.current_time() == begin
    timer.join()


@pytest.mark.runtimes("virtual-asyncio")
async def test_executor() -> None:
    """`asyncio.to_thread`, which anyio knows nothing of, takes no virtual time either."""
    release = threading.Event()
    timer = threading.Timer(0.05, release.set)
    timer.start()
    async with asyncio.timeout(0.001):
        assert await asyncio.to_thread(release.wait, 10)
    timer.join()


async def test_fresh_clock() -> None:
    """Each test begins at (about) 0, whatever the tests before did."""
    assert anyio.current_time() == pytest.approx(0, abs=1e-6)
