"""The lookup of a create with an unknown outcome, which a worker on another host may have sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mux_async import LimitSettings, Mux
from mux_async.errors import ConnectError
from mux_async.ingest import Stage, url_item
from mux_async.ingest.dbos import Worker
from mux_async.ingest.machine import ItemState
from mux_async.testing import FakeTransport, SentRequest, respond

pytestmark = [pytest.mark.anyio, pytest.mark.runtimes("virtual-asyncio")]

NOW = 1_800_000_000.0


async def test_a_lookup_that_fails_is_repeated() -> None:
    """The asset that another worker created is found when the network is back; nothing is created before or afterwards."""
    item = url_item("https://example.com/film.mp4")
    asset = {"id": "a1", "status": "preparing", "created_at": str(int(NOW) - 60), "meta": {"external_id": item.key}}

    def answer(_: SentRequest) -> object:
        return respond(json={"data": [asset]}) if len(transport.requests) > 2 else ConnectError("connection refused")

    transport = FakeTransport(cast("Any", answer))
    limits = LimitSettings(enabled=False)
    async with Mux(token_id="id", token_secret="secret", transport=transport, max_attempts=1, limits=limits) as mux:
        worker: Any = Worker("postgresql://user@host/name")
        worker._client, worker._clock = mux, SimpleNamespace(now=lambda: NOW, slack=1.0)
        state = ItemState(item.key, stage=Stage.CREATING, is_fetched=True, intended_at=NOW - 60)
        found = await worker._create(item, state, {"policies": ["public"], "test": False})
    assert (found["stage"], found["asset_id"]) == ("created", "a1")
    assert [request.method for request in transport.requests] == ["GET"] * 3
