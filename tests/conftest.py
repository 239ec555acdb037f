"""Which event loops a test runs on, and signals as programs expect them.

Tests marked ``anyio`` run on asyncio and trio, in real time. Two markers change that, on a test, a class or a module:

* ``virtual_time``: both again, on a clock that jumps to the next timer when there is nothing else to do (`mux_async.testing`);
* ``runtimes(name, ...)``: exactly these, out of `RUNTIMES`.

Tests that are about asyncio alone are marked ``asyncio`` instead and run by pytest-asyncio.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import uvloop

from mux_async.testing import VirtualTimeLoop, virtual_trio_options

Backend = tuple[str, dict[str, Any]]

RUNTIMES: dict[str, Callable[[], Backend]] = {
    "asyncio": lambda: ("asyncio", {}),
    "trio": lambda: ("trio", {}),
    "uvloop": lambda: ("asyncio", {"loop_factory": uvloop.new_event_loop}),
    "virtual-asyncio": lambda: ("asyncio", {"loop_factory": VirtualTimeLoop}),
    "virtual-trio": lambda: ("trio", virtual_trio_options()),
}


# How long a draw of Hypothesis takes says something about the machine, which may be busy,
# and nothing about a test.
hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("any machine")


def _do_nothing(_number: int, _frame: object) -> None:
    """Handle a signal without any effect."""


def give_children_default_signals() -> None:
    """Let programs that tests start get signals as from a terminal, also where pytest was started in the background of a script.

    A process inherits which signals are ignored and which are blocked. One that is handled is back to its default in a program that is
    started, so a handler that does nothing keeps pytest itself as deaf as it was started.
    """
    if not hasattr(signal, "pthread_sigmask"):
        return
    for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGALRM"):
        if signal.getsignal(number := signal.Signals[name]) is signal.SIG_IGN:
            signal.signal(number, _do_nothing)
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # the system would keep no child's exit status
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def pytest_configure(config: pytest.Config) -> None:
    give_children_default_signals()
    config.addinivalue_line("markers", "virtual_time: run on asyncio and trio with clocks that jump instead of waiting")
    config.addinivalue_line("markers", f"runtimes(name, ...): run on exactly these event loops, of {', '.join(RUNTIMES)}")


def pytest_collection_finish() -> None:
    """Exempt what importing and collecting made from garbage collection: it stays, and takes 40 ms to traverse each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" not in metafunc.fixturenames:
        return
    chosen = metafunc.definition.get_closest_marker("runtimes")
    if chosen is not None:
        names = list(chosen.args)
    elif metafunc.definition.get_closest_marker("virtual_time") is not None:
        names = ["virtual-asyncio", "virtual-trio"]
    else:
        return
    # As a mark, and before pytest looks: then it takes the place of the fixture's own parameters.
    metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", names, indirect=True))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """The event loop of the test, as anyio's plugin wants it: a fresh clock for each test."""
    return RUNTIMES[request.param]()
