"""Every store of handled events, as a fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import fakeredis
import pytest
import redis
import redis.asyncio

from mux_async.webhooks import EventStore, MemoryEventStore, RedisEventStore, SqliteEventStore
from tests.limits.stores import redis_server


@pytest.fixture
def fake_redis_url(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a Redis inside this process, which stands in for every server while the test runs."""
    server = fakeredis.FakeServer()

    def connect(_url: str, **options: Any) -> fakeredis.FakeAsyncRedis:
        return fakeredis.FakeAsyncRedis(server=server, decode_responses=options["decode_responses"])

    monkeypatch.setattr(redis.asyncio.Redis, "from_url", connect)
    return "redis://fake"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "fakeredis", "redis"])
def kind(request: pytest.FixtureRequest, anyio_backend_name: str) -> str:
    if "redis" in request.param and anyio_backend_name == "trio":
        pytest.skip("Redis' client runs on asyncio alone")
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> EventStore:
    if kind == "redis":
        # A database for each test: the server is shared.
        url = request.getfixturevalue("redis_url")
        number = abs(hash(request.node.name)) % 15 + 1
        flush: Any = cast("Any", redis.Redis).from_url(f"{url[:-1]}{number}")
        flush.flushdb()
        flush.close()
        return RedisEventStore(f"{url[:-1]}{number}", timeout=30)
    made: dict[str, Callable[[], EventStore]] = {
        "memory": MemoryEventStore,
        "sqlite": lambda: SqliteEventStore(tmp_path / "events.db"),
        "fakeredis": lambda: RedisEventStore(request.getfixturevalue("fake_redis_url"), timeout=30),
    }
    return made[kind]()
