"""The adapters, each on the event loops that it supports: what tests of all of them run on.

``make test`` leaves two rows to ``make proofs``: httpx on trio (httpx2 has the same code and runs on trio), and uvloop with requests
that go through the session of aiohttp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import pytest

from mux_async.transport import TransportFactory, TransportSettings
from mux_async_aiohttp import AiohttpTransport, create_transport
from mux_async_httpx import HttpxTransport

F = TypeVar("F", bound=Callable[..., Any])


def create_session(settings: TransportSettings) -> AiohttpTransport:
    """Make a transport that sends everything through aiohttp's session, as with any option of it."""
    return create_transport(attrs.evolve(settings, options={"raise_for_status": False}))


def create_httpx(settings: TransportSettings) -> HttpxTransport:
    return HttpxTransport(settings, library="httpx")


def create_httpx2(settings: TransportSettings) -> HttpxTransport:
    return HttpxTransport(settings, library="httpx2")


ADAPTERS: dict[str, tuple[TransportFactory, list[str]]] = {
    "aiohttp": (create_transport, ["asyncio", "uvloop"]),
    "session": (create_session, ["asyncio", "uvloop"]),
    "httpx2": (create_httpx2, ["asyncio", "trio"]),
    "httpx": (create_httpx, ["asyncio", "trio"]),
}
PROOFS = {("session", "uvloop"), ("httpx", "trio")}


def over_adapters(*, uvloop: bool = False) -> Callable[[F], F]:
    """Run a test over each adapter, its argument ``make``, on each event loop that the adapter supports."""
    rows = [
        pytest.param(make, runtime, id=f"{name}-{runtime}", marks=[pytest.mark.proof] if (name, runtime) in PROOFS else [])
        for name, (make, runtimes) in ADAPTERS.items()
        for runtime in runtimes
        if uvloop or runtime != "uvloop"
    ]

    def decorate(test: F) -> F:
        marked: F = pytest.mark.parametrize(("make", "anyio_backend"), rows, indirect=["anyio_backend"])(
            pytest.mark.anyio(test)
        )
        return marked

    return decorate
