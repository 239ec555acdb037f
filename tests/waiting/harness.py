"""A client of an emulator in virtual time, whose webhooks may reach the client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

import anyio
import attrs

from mux_async import LimitSettings, Mux
from mux_async.emulator import (
    Arrival,
    Emulator,
    EmulatorSettings,
    EmulatorTransport,
    WebhookRequest,
    WebhookSettings,
    carrying,
)
from mux_async.models import Asset
from mux_async.webhooks import WebhookRouter

_accounts = count()


def clock() -> float:
    return 1.7e9 + anyio.current_time()


def client(emulator: Emulator, limits: LimitSettings | None = None) -> Mux:
    return Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"waits-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        clock=anyio.current_time,
        limits=limits,
    )


@asynccontextmanager
async def emulated(
    settings: EmulatorSettings | None = None, *, has_webhooks: bool = False, has_limits: bool = True, has_terms: bool = True
) -> AsyncGenerator[tuple[Emulator, Mux]]:
    """An account, whose webhooks reach the client if *has_webhooks*."""
    settings = attrs.evolve(settings or EmulatorSettings(), accept_robots_terms=has_terms)
    limits = None if has_limits else LimitSettings(enabled=False)
    if not has_limits:
        settings = attrs.evolve(settings, limits=None)
    if not has_webhooks:
        emulator = Emulator(settings, clock=clock)
        async with client(emulator, limits) as mux:
            yield emulator, mux
        return
    hook = WebhookSettings("https://app.example/hooks", "secret")
    emulator = Emulator(attrs.evolve(settings, webhooks=(hook,)), clock=clock)
    hooks = WebhookRouter("secret", clock=clock)

    async def carry(request: WebhookRequest) -> int:
        assert (await hooks.receive(request.body, request.headers)).status == 200
        return 200

    async with client(emulator, limits) as mux, carrying(emulator, carry):
        hooks.attach(mux)
        yield emulator, mux


async def ready_asset(mux: Mux) -> Asset:
    asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])
    return await mux.video.assets.wait_until_ready(asset.id)


class Counter:
    """The GETs that arrive at an emulator from now on."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._before = len(emulator.arrivals)

    @property
    def gets(self) -> list[Arrival]:
        return [each for each in self._emulator.arrivals[self._before :] if each.method == "GET"]

    def paths(self) -> set[str]:
        return {each.path for each in self.gets}
