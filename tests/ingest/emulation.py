"""An emulator in the same process and clients of it, on the clock of the test's event loop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from random import Random

import anyio
import attrs

from mux_async import Mux
from mux_async.emulator import Arrival, Emulator, EmulatorSettings, EmulatorTransport, Request
from mux_async.ingest import Ingest, Item, url_item
from mux_async.limits import Bucket, LimitSettings
from mux_async.transport import HttpRequest, HttpResponse

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


def urls(number: int) -> list[Item]:
    """Return items that Mux fetches; their URLs hold a canary."""
    return [url_item(f"https://example.com/{each}.mp4?signature=canary") for each in range(number)]


@attrs.define
class WithoutCreates:
    """A transport over which POST requests never arrive.

    Attributes:
        inner: Sends the others.
        expected: POST requests until `all_lost` is set.
        all_lost: Whether they were sent.
    """

    inner: EmulatorTransport
    expected: int
    all_lost: anyio.Event = attrs.field(factory=anyio.Event)

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        if request.method == "POST":
            self.expected -= 1
            if not self.expected:
                self.all_lost.set()
            await anyio.sleep_forever()
        return await self.inner.send(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def left_unknown(emulator: Emulator, journal: Path, items: Sequence[Item], planned: Sequence[Item] = ()) -> None:
    """Leave *items* as a run that ends while their creates are on the way, and *planned* as the same run before it begins them."""
    transport = WithoutCreates(EmulatorTransport(emulator), len(items))
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"emulation-{next(_accounts)}",
        transport=transport,
        clock=anyio.current_time,
        limits=LimitSettings(enabled=False),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Ingest(mux, [*items, *planned], journal=journal, concurrency=len(items)).run)
        await transport.all_lost.wait()
        tasks.cancel_scope.cancel()


def make_asset(emulator: Emulator, key: str) -> None:
    """Create the asset that a create with *key* would have created."""
    body = json.dumps({"inputs": [{"url": "https://example.com/x.mp4"}], "meta": {"external_id": key}}).encode()
    headers = {"Authorization": "Basic dGVzdC10b2tlbjp0ZXN0LXNlY3JldA==", "Content-Type": "application/json"}
    assert emulator.handle(Request("POST", "/video/v1/assets", headers, body)).status == 201
