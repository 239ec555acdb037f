"""An emulator in the same process and clients of it, on the clock of the test's event loop."""

from __future__ import annotations

from itertools import count
from random import Random

import anyio

from mux_async import Mux
from mux_async.emulator import Arrival, Emulator, EmulatorSettings, EmulatorTransport
from mux_async.limits import Bucket

_accounts = count()


def emulate(settings: EmulatorSettings | None = None) -> Emulator:
    """Return an emulator whose time is the event loop's."""
    return Emulator(settings, clock=lambda: 1.7e9 + anyio.current_time())


def client_of(emulator: Emulator, *, token_id: str = "test-token", secret: str = "test-secret") -> Mux:
    """Return a client with an account of its own."""
    return Mux(
        token_id=token_id,
        token_secret=secret,
        account=f"emulation-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        clock=anyio.current_time,
        random=Random(1),
    )


def posts(emulator: Emulator) -> list[Arrival]:
    """Return the creates that arrived."""
    return [each for each in emulator.arrivals if each.bucket is Bucket.POST]
