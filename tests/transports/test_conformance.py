"""Every adapter keeps the contract of the boundary, on every event loop that it supports."""

from __future__ import annotations

import attrs
import pytest

from mux_async.testing import CHECKS, Check, check_transport
from mux_async.transport import TransportSettings
from mux_async_aiohttp import AiohttpTransport
from mux_async_aiohttp import create_transport as create_aiohttp
from mux_async_httpx import HttpxTransport

pytestmark = pytest.mark.anyio


def create_aiohttp_session(settings: TransportSettings) -> AiohttpTransport:
    """Make one that leaves everything to aiohttp's session, as any option of it does."""
    return create_aiohttp(attrs.evolve(settings, options={"raise_for_status": False}))


def create_httpx(settings: TransportSettings) -> HttpxTransport:
    return HttpxTransport(settings, library="httpx")


def create_httpx2(settings: TransportSettings) -> HttpxTransport:
    return HttpxTransport(settings, library="httpx2")


@pytest.mark.runtimes("asyncio", "uvloop")
@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_aiohttp(check: Check) -> None:
    """The aiohttp adapter keeps the promise that the check is about."""
    await check_transport(create_aiohttp, [check])


@pytest.mark.runtimes("asyncio", "uvloop")
@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_aiohttp_session(check: Check) -> None:
    """So it does where every request goes through aiohttp's session."""
    await check_transport(create_aiohttp_session, [check])


@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_httpx2(check: Check) -> None:
    """The httpx adapter keeps the promise that the check is about, over httpx2."""
    await check_transport(create_httpx2, [check])


@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_httpx(check: Check) -> None:
    """The httpx adapter keeps the promise that the check is about, over httpx."""
    await check_transport(create_httpx, [check])
