"""A pytest plugin: fixtures that put an emulated Mux into a test.

``pip install mux-async`` is all that it takes (``pytest -p mux_async.testing.plugin`` where entry points are off)::

    async def test_film(mux: Mux, mux_emulator: Emulator) -> None:
        asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])
        assert [event.type for event in mux_emulator.events] == ["video.asset.created"]

The fixtures are not asynchronous themselves, so that they work alike under pytest-asyncio, anyio's plugin and anything else that runs a
test's coroutine. Every test gets an account of its own. pytest imports this module at its start, in every project that has mux_async
installed; so nothing is imported here before a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mux_async import Mux
    from mux_async.emulator import Emulator, EmulatorSettings


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--mux-strict`` and the setting ``mux_strict``: the fixture `mux` is ``Mux(strict=True)``."""
    about = "make the fixture mux strict: what the emulator sends and this version has no name for is a DriftError"
    parser.getgroup("mux_async").addoption("--mux-strict", action="store_true", default=False, help=about)
    parser.addini("mux_strict", about, type="bool", default=False)


__all__ = ["mux", "mux_emulator", "mux_emulator_settings"]


@pytest.fixture
def mux_emulator_settings() -> EmulatorSettings:
    """How `mux_emulator` is set up: no rate limits, and what Mux works on is done at once. Define your own to change that."""
    from mux_async.emulator import EmulatorSettings

    return EmulatorSettings(limits=None, time_to_ready=0.0, instant=True)


@pytest.fixture
def mux_emulator(mux_emulator_settings: EmulatorSettings) -> Generator[Emulator, None, None]:
    """An emulated account with nothing in it: for its faults, its logs, and for clients of your own."""
    from mux_async.emulator import Emulator

    emulator = Emulator(mux_emulator_settings)
    yield emulator
    emulator.close()


@pytest.fixture
def mux(mux_emulator: Emulator, pytestconfig: pytest.Config) -> Mux:
    """A client of `mux_emulator`, in process and without waiting for rate limits. It needs no closing. ``--mux-strict`` makes it strict."""
    from mux_async import LimitSettings, Mux
    from mux_async.emulator import EmulatorTransport

    token = mux_emulator.settings.tokens[0]
    return Mux(
        token_id=token.id,
        token_secret=token.secret,
        transport=EmulatorTransport(mux_emulator),
        limits=LimitSettings(enabled=False),
        strict=bool(pytestconfig.getoption("mux_strict") or pytestconfig.getini("mux_strict")),
    )
