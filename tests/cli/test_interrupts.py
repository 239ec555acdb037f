"""Interrupts as something to await."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from mux_async.cli._interrupts import open_interrupts


def refuse(*_: object) -> None:
    raise NotImplementedError


@pytest.mark.asyncio
async def test_without_help_from_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupts arrive in order on a loop that offers no signal handlers, as on Windows, and what handled them before is put back."""
    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse, raising=False)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with open_interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        first = await anext(interrupts)
        os.kill(os.getpid(), signal.SIGTERM)
        second = await anext(interrupts)

    assert (first, second) == (signal.SIGINT, signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.asyncio
async def test_a_loop_that_waits() -> None:
    """An interrupt wakes a loop that has nothing else to do."""
    with open_interrupts() as interrupts:
        asyncio.get_running_loop().run_in_executor(None, os.kill, os.getpid(), signal.SIGINT)

        assert await anext(interrupts) is signal.SIGINT


@pytest.mark.asyncio
async def test_what_was_ignored_stays_ignored() -> None:
    """In the background of a script, where Ctrl-C is for the script, SIGINT does nothing, and SIGTERM what it always does."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with open_interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert await anext(interrupts) is signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
