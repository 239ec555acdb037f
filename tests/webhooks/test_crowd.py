"""A thousand deliveries at once, on every store with its default settings."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from mux_async.webhooks import (
    Event,
    EventStore,
    MemoryEventStore,
    RedisEventStore,
    SqliteEventStore,
    WebhookRouter,
    sign,
)

pytestmark = [pytest.mark.proof, pytest.mark.anyio]

SECRET = "a webhook secret of some length"
CROWD = 1000


@pytest.fixture
def default_store(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> EventStore:
    """Return a store of each kind with default settings."""
    made: dict[str, Callable[[], EventStore]] = {
        "memory": MemoryEventStore,
        "sqlite": lambda: SqliteEventStore(tmp_path / "events.db"),
        "fakeredis": lambda: RedisEventStore(request.getfixturevalue("fake_redis_url")),
        "redis": lambda: RedisEventStore(request.getfixturevalue("redis_url")),
    }
    return made[kind]()


def delivery(event_id: str) -> tuple[bytes, dict[str, str]]:
    """Return a signed delivery: body and headers."""
    event: dict[str, Any] = {
        "type": "video.asset.ready",
        "id": event_id,
        "created_at": "2026-11-30T10:00:00.000000Z",
        "object": {"type": "asset", "id": f"asset-of-{event_id}"},
        "data": {"id": f"asset-of-{event_id}", "status": "ready"},
    }
    body = json.dumps(event).encode()
    return body, {"Mux-Signature": sign(body, SECRET)}


async def deliver(store: EventStore, name: str, ids: list[str]) -> tuple[Counter[str], Counter[int]]:
    """Deliver events at once. Returns how often each was handled, and the statuses."""
    hooks = WebhookRouter(SECRET, store=store, name=name)
    handled: Counter[str] = Counter()
    statuses: Counter[int] = Counter()

    @hooks.on("video.asset.ready")
    async def handle(event: Event) -> None:
        handled[event.id] += 1
        await anyio.sleep(0.01)

    async def one(event_id: str) -> None:
        body, headers = delivery(event_id)
        statuses[(await hooks.receive(body, headers)).status] += 1

    async with anyio.create_task_group() as tasks:
        for event_id in ids:
            tasks.start_soon(one, event_id)
    await hooks.aclose()
    return handled, statuses


async def test_one_event(default_store: EventStore) -> None:
    """A thousand deliveries of one event run its handlers once; the others get a 409 or a 200."""
    handled, statuses = await deliver(default_store, f"one-{time.time()}", ["event"] * CROWD)

    assert handled == {"event": 1}
    assert statuses[200] >= 1
    assert set(statuses) <= {200, 409}


async def test_many_events(default_store: EventStore) -> None:
    """A thousand deliveries of as many events, each delivered twice, run the handlers of each once."""
    ids = [f"event-{number}" for number in range(CROWD // 2)] * 2
    handled, statuses = await deliver(default_store, f"many-{time.time()}", ids)

    assert handled == dict.fromkeys(ids, 1)
    assert set(statuses) <= {200, 409}
