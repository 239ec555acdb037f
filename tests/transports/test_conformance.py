"""Every adapter keeps the contract of the boundary, on every event loop that it supports."""

from __future__ import annotations

import pytest

from mux_async.testing import CHECKS, Check, check_transport
from mux_async.transport import TransportFactory
from tests.transports.adapters import over_adapters


@over_adapters(uvloop=True)
@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_conformance(make: TransportFactory, check: Check) -> None:
    """The adapter keeps the promise that the check is about."""
    await check_transport(make, [check])
