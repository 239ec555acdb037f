"""Stores of handled events: the same claims on all of them, and one handler for concurrent deliveries."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import attrs
import pytest

from mux_async.errors import ConfigurationError
from mux_async.webhooks import (
    EventKey,
    EventStore,
    EventStoreError,
    MemoryEventStore,
    RedisEventStore,
    SqliteEventStore,
    open_event_store,
)

pytestmark = pytest.mark.anyio

EVENT = EventKey("app:1", "asset:a", 1_000)


@attrs.define
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_life(store: EventStore) -> None:
    """An event is claimed once, busy until released or finished, and then stays done."""
    states = [(await store.claim(EVENT, token, 60)).state for token in ("a", "b")]
    await store.release(EVENT, "b")
    states.append((await store.claim(EVENT, "b", 60)).state)
    await store.release(EVENT, "a")
    states.append((await store.claim(EVENT, "b", 60)).state)
    await store.finish(EVENT)
    states.append((await store.claim(EVENT, "c", 60)).state)
    await store.release(EVENT, "b")
    states.append((await store.claim(EVENT, "c", 60)).state)
    await store.aclose()

    assert states == ["mine", "busy", "busy", "mine", "done", "done"]
    await store.aclose()


async def test_order(store: EventStore) -> None:
    """An event older than the newest of its object is stale; events of the same time and of other objects are not."""
    ats = {"1": 5, "2": 9, "3": 8, "4": 9, "5": 10}
    stale = [(await store.claim(EventKey(key, "asset:a", at), "t", 60)).is_stale for key, at in ats.items()]
    other = await store.claim(EventKey("6", "asset:b", 1), "t", 60)
    none = await store.claim(EventKey("7", None, 1), "t", 60)

    assert stale == [False, False, True, False, False]
    assert not other.is_stale
    assert not none.is_stale
    assert await store.newest("asset:a") == 10
    assert await store.newest("asset:c") is None
    await store.aclose()


async def test_order_survives_what_is_stale(store: EventStore) -> None:
    """Times are compared to the microsecond, also in the far future, and a stale one does not replace the newest."""
    newest = 1_795_231_471_000_001
    for key, at in (("1", newest), ("2", newest - 1), ("3", newest - 1)):
        claim = await store.claim(EventKey(key, "asset:a", at), "t", 60)
        assert claim.is_stale == (key != "1")

    assert await store.newest("asset:a") == newest
    await store.aclose()


@pytest.mark.parametrize("claims", [100, pytest.param(1000, marks=pytest.mark.proof)])
async def test_concurrent_claims(store: EventStore, claims: int) -> None:
    """Of many claims at once, exactly one gets the event."""
    states: list[str] = []

    async def claim(number: int) -> None:
        states.append((await store.claim(EVENT, str(number), 60)).state)

    async with anyio.create_task_group() as tasks:
        for number in range(claims):
            tasks.start_soon(claim, number)

    assert sorted(set(states)) == ["busy", "mine"]
    assert states.count("mine") == 1
    await store.aclose()


@contextmanager
def timed(kind: str, folder: Path, clock: Clock, keep: float) -> Generator[EventStore]:
    yield (
        MemoryEventStore(clock=clock, keep=keep)
        if kind == "memory"
        else SqliteEventStore(folder / "events.db", clock=clock, keep=keep)
    )


@pytest.mark.parametrize("timed_kind", ["memory", "sqlite"])
async def test_leases_and_memory_run_out(timed_kind: str, tmp_path: Path) -> None:
    """An expired lease can be claimed again, and so can an event done long ago; the old token can neither release nor hold it."""
    clock = Clock()
    with timed(timed_kind, tmp_path, clock, keep=100) as store:
        states = [(await store.claim(EVENT, "a", 10)).state]
        clock.now += 9.9
        states.append((await store.claim(EVENT, "b", 10)).state)
        clock.now += 0.1
        states.append((await store.claim(EVENT, "b", 10)).state)
        await store.release(EVENT, "a")
        states.append((await store.claim(EVENT, "c", 10)).state)
        await store.finish(EVENT)
        clock.now += 99.9
        states.append((await store.claim(EVENT, "d", 10)).state)
        clock.now += 0.2
        states.append((await store.claim(EVENT, "d", 10)).state)
        await store.aclose()

    assert states == ["mine", "busy", "mine", "busy", "done", "mine"]


@pytest.mark.runtimes("asyncio")
async def test_redis_leases_run_out(redis_url: str) -> None:
    """By the server's clock a lease has the requested length, and *done* expires."""
    import redis.asyncio

    store = RedisEventStore(redis_url, keep=50)
    seen = EventKey("ttl:1", "asset:ttl", 1)
    await store.claim(seen, "a", 30)
    client: Any = cast("Any", redis.asyncio.Redis).from_url(redis_url)
    (key,) = await client.keys("*event:ttl:1")
    lease = await client.pttl(key)
    await store.finish(seen)
    kept = await client.pttl(key)
    # The server's clock is not ours to set: let the lease run out on the spot.
    await store.claim(attrs.evolve(seen, key="ttl:2"), "a", 30)
    await client.pexpire((await client.keys("*event:ttl:2"))[0], 0)
    again = await store.claim(attrs.evolve(seen, key="ttl:2"), "b", 30)
    await client.aclose()
    await store.aclose()

    assert 20_000 < lease <= 30_000
    assert 40_000 < kept <= 50_000
    assert again.state == "mine"


async def test_memory_is_bounded() -> None:
    """The store in memory forgets the oldest beyond its capacity, of events and of objects."""
    store = MemoryEventStore(capacity=10)
    for number in range(100):
        seen = EventKey(str(number), f"asset:{number}", 1)
        await store.claim(seen, "t", 60)
        await store.finish(seen)

    assert (await store.claim(EventKey("0", None, 1), "t", 60)).state == "mine"
    assert (await store.claim(EventKey("99", None, 1), "t", 60)).state == "done"
    assert await store.newest("asset:0") is None
    assert await store.newest("asset:99") == 1


async def test_two_processes_on_one_file(tmp_path: Path) -> None:
    """Two stores of one file share their records, also after a restart."""
    first, second = (SqliteEventStore(tmp_path / "events.db") for _ in range(2))
    states = [(await first.claim(EVENT, "a", 60)).state, (await second.claim(EVENT, "b", 60)).state]
    await second.finish(EVENT)
    await first.aclose()
    states.append((await first.claim(EVENT, "c", 60)).state)
    await first.aclose()
    await second.aclose()

    assert states == ["mine", "busy", "done"]


async def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    """A file that cannot be opened, or is not a SQLite file, raises `EventStoreError`, and is opened again the next time."""
    store = SqliteEventStore(tmp_path / "nowhere" / "events.db")
    with pytest.raises(EventStoreError, match=r"events\.db"):
        await store.claim(EVENT, "a", 60)
    (tmp_path / "nowhere").mkdir()

    assert (await store.claim(EVENT, "a", 60)).state == "mine"
    await store.aclose()
    (tmp_path / "text.db").write_text("no database" * 100)
    with pytest.raises(EventStoreError):
        await SqliteEventStore(tmp_path / "text.db").claim(EVENT, "a", 60)


@pytest.mark.runtimes("asyncio")
async def test_no_redis() -> None:
    """A server that is not there is an `EventStoreError` without the password in it."""
    store = RedisEventStore("redis://:CANARY@127.0.0.1:1/0")
    with pytest.raises(EventStoreError) as caught:
        await store.claim(EVENT, "a", 60)

    assert "CANARY" not in str(caught.value) + repr(caught.value.__cause__) + repr(vars(store))
    await store.aclose()


@pytest.mark.runtimes("trio")
async def test_redis_on_trio() -> None:
    """Redis on trio is refused, with the alternative."""
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        await RedisEventStore("redis://127.0.0.1:1").claim(EVENT, "a", 60)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryEventStore),
        ("sqlite:///events.db", SqliteEventStore),
        ("redis://127.0.0.1", RedisEventStore),
        ("rediss://user:pw@redis.example:6380/2", RedisEventStore),
    ],
)
def test_urls(url: str, kind: type[Any]) -> None:
    """A URL selects the store; nothing is opened for that."""
    assert isinstance(open_event_store(url), kind)


@pytest.mark.parametrize(
    "url", ["", "events.db", "sqlite://", "sqlite:///", "sqlite://host/x", "mysql://CANARY", "sqlite:///:memory:"]
)
def test_urls_that_name_nothing(url: str) -> None:
    """Any other URL is refused, without being repeated."""
    with pytest.raises(ConfigurationError) as caught:
        open_event_store(url)

    assert "CANARY" not in str(caught.value)
    assert "sqlite:///" in str(caught.value)
