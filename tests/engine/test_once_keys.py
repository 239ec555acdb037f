"""Which keys were used, and who works with them: the same rules in this process, in SQLite and in Redis."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import anyio
import attrs
import fakeredis
import pytest

from mux_async._idempotency.keys._memory import MemoryKeyStore
from mux_async._idempotency.keys._records import KEEP, KeyCommand, KeyRecord, KeyStore, KeyStoreLostError, perform
from mux_async._idempotency.keys._redis import RedisKeyStore
from mux_async._idempotency.keys._registry import KeyRegistry, open_key_store
from mux_async._idempotency.keys._sqlite import SqliteKeyStore
from mux_async._redis import RedisClient, connect_to
from mux_async._types import Secret
from mux_async.errors import ConfigurationError
from tests.limits.stores import redis_server

pytestmark = pytest.mark.anyio


@attrs.define
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "fakeredis", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend_name: str) -> KeyStore:
    if "redis" in request.param and anyio_backend_name == "trio":
        pytest.skip("Redis' client runs on asyncio alone")
    server = fakeredis.FakeServer()
    made: dict[str, Callable[[], KeyStore]] = {
        "memory": MemoryKeyStore,
        "sqlite": lambda: SqliteKeyStore(tmp_path / "limits.db"),
        "fakeredis": lambda: RedisKeyStore(
            lambda: cast("RedisClient", fakeredis.FakeAsyncRedis(server=server, decode_responses=True))
        ),
        "redis": lambda: RedisKeyStore(connect_to(Secret(request.getfixturevalue("redis_url")), 1.0, "keys")),
    }
    return made[request.param]()


async def test_life(store: KeyStore) -> None:
    """A key has one holder; what it announced and made is known to the next; what made nothing is forgotten."""
    key = uuid4().hex
    assert (await store.perform(key, KeyCommand("claim", "a"))).is_mine
    assert not (await store.perform(key, KeyCommand("claim", "b"))).is_mine
    assert (await store.perform(key, KeyCommand("claim", "a"))).is_mine
    assert not (await store.perform(key, KeyCommand("announce", "b"))).is_mine
    assert (await store.perform(key, KeyCommand("announce", "a"))).is_mine
    assert (await store.perform(key, KeyCommand("renew", "a"))).is_mine
    assert not (await store.perform(key, KeyCommand("made", "b", made_id="x"))).is_mine
    assert (await store.perform(key, KeyCommand("made", "a", made_id="thing"))).is_mine

    after = await store.perform(key, KeyCommand("claim", "b"))
    assert after.is_mine
    assert after.made_id == "thing"
    assert after.first_age is not None
    assert after.last_age is not None
    assert 0 <= after.last_age <= after.first_age < 60
    await store.perform(key, KeyCommand("nothing", "b"))
    assert (await store.perform(key, KeyCommand("claim", "c"))).first_age is None
    await store.aclose()
    await store.aclose()


async def test_an_outcome_that_is_not_known_stays(store: KeyStore) -> None:
    """An announced attempt stays on record when its outcome is unknown, and says whether Mux acted; without one the key is unused."""
    key = uuid4().hex
    await store.perform(key, KeyCommand("claim", "a"))
    await store.perform(key, KeyCommand("unknown", "a"))
    assert (await store.perform(key, KeyCommand("claim", "b"))).first_age is None
    await store.perform(key, KeyCommand("announce", "b"))
    await store.perform(key, KeyCommand("unknown", "b", is_acted=True))
    found = await store.perform(key, KeyCommand("claim", "c"))

    assert found.first_age is not None
    assert found.made_id is None
    assert found.is_acted
    await store.perform(key, KeyCommand("unknown", "c"))
    assert (await store.perform(key, KeyCommand("claim", "d"))).is_acted
    await store.aclose()


async def test_a_dead_holder(store: KeyStore) -> None:
    """A lease that ran out is anybody's; the former holder can announce, renew and finish nothing; its attempt is still known."""
    key = uuid4().hex
    await store.perform(key, KeyCommand("claim", "dead", 0.05))
    await store.perform(key, KeyCommand("announce", "dead", 0.05))
    await anyio.sleep(0.1)  # the server's clock is not ours to set
    found = await store.perform(key, KeyCommand("claim", "next"))

    assert found.is_mine
    assert found.first_age is not None
    for verb in ("announce", "renew", "made", "nothing", "unknown"):
        assert not (await store.perform(key, KeyCommand(verb, "dead", made_id="x"))).is_mine
    assert (await store.perform(key, KeyCommand("renew", "next"))).is_mine
    await store.aclose()


async def test_five_hundred_claims(store: KeyStore) -> None:
    """Of five hundred claims at once exactly one gets the key."""
    key = uuid4().hex
    mine: list[str] = []

    async def claim(token: str) -> None:
        if (await store.perform(key, KeyCommand("claim", token))).is_mine:
            mine.append(token)

    async with anyio.create_task_group() as tasks:
        for number in range(500):
            tasks.start_soon(claim, str(number))

    assert len(mine) == 1
    await store.aclose()


def test_times() -> None:
    """Ages are those of the announced attempts, by the store's clock; after a day without a command a key is forgotten."""
    record, _ = perform(None, KeyCommand("claim", "a"), 100.0)
    record, _ = perform(record, KeyCommand("announce", "a"), 110.0)
    record, _ = perform(record, KeyCommand("announce", "a"), 130.0)
    record, _ = perform(record, KeyCommand("unknown", "a"), 131.0)
    _, found = perform(record, KeyCommand("claim", "b"), 150.0)
    _, late = perform(record, KeyCommand("claim", "b"), 131.0 + KEEP)
    _, back = perform(record, KeyCommand("claim", "b"), 90.0)

    assert (found.first_age, found.last_age) == (40.0, 20.0)
    assert late.first_age is None
    assert (back.first_age, back.last_age) == (0.0, 0.0)


def test_memory_is_bounded() -> None:
    """The keys that were used longest ago are forgotten first, and none that a call works with."""
    store = MemoryKeyStore(capacity=10)
    store.perform_now("held", KeyCommand("claim", "a"))
    for number in range(100):
        store.perform_now(str(number), KeyCommand("claim", "a"))
        store.perform_now(str(number), KeyCommand("announce", "a"))
        store.perform_now(str(number), KeyCommand("made", "a", made_id="x"))

    assert len(store) == 10
    assert not store.perform_now("held", KeyCommand("claim", "b")).is_mine
    assert store.perform_now("99", KeyCommand("claim", "b")).made_id == "x"
    assert store.perform_now("0", KeyCommand("claim", "b")).made_id is None


def test_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child knows the keys of its parent and is not held up by its parent's calls."""
    store = MemoryKeyStore()
    store.perform_now("used", KeyCommand("claim", "a"))
    store.perform_now("used", KeyCommand("announce", "a"))
    store.perform_now("unused", KeyCommand("claim", "a"))
    monkeypatch.setattr("mux_async._idempotency.keys._memory.os.getpid", lambda: -1)

    used, unused = (store.perform_now(key, KeyCommand("claim", "b")) for key in ("used", "unused"))
    assert used.is_mine
    assert used.first_age is not None
    assert unused.is_mine
    assert unused.first_age is None


async def test_a_store_that_cannot_be_used(tmp_path: Path) -> None:
    """A file that is no database is a lost store; a registry goes on with what this process knows, and says so."""
    (tmp_path / "text.db").write_text("no database" * 100)
    store = SqliteKeyStore(tmp_path / "text.db")
    with pytest.raises(KeyStoreLostError):
        await store.perform("k", KeyCommand("claim", "a"))
    registry = KeyRegistry("scope", MemoryKeyStore(), store)
    held = await registry.claim("k", "a")

    assert held.is_mine
    assert held.is_store_lost
    assert await registry.announce("k", "a")
    await registry.finish("k", KeyCommand("made", "a", made_id="x"))
    assert (await registry.claim("k", "b")).made_id == "x"


async def test_two_registries_of_one_file(tmp_path: Path) -> None:
    """What one process holds, another does not get; what one knows alone counts too."""
    one, other = (KeyRegistry("scope", MemoryKeyStore(), SqliteKeyStore(tmp_path / "limits.db")) for _ in range(2))
    assert (await one.claim("k", "a")).is_mine
    assert not (await other.claim("k", "b")).is_mine
    assert await one.announce("k", "a")
    await one.finish("k", KeyCommand("made", "a", made_id="x"))
    found = await other.claim("k", "b")

    assert found.is_mine
    assert found.made_id == "x"
    await other.finish("k", KeyCommand("nothing", "b"))
    assert (await one.claim("k", "a")).made_id == "x"
    await one.aclose()
    await other.aclose()


class _Transport:
    """Something that can be referred to weakly."""


def test_whose_keys_they_are() -> None:
    """Clients of one scope share keys; other scopes and parts of names do not; a transport object has keys of its own while it lives."""
    first, second = (KeyRegistry.of("scope", None, None, time.monotonic) for _ in range(2))
    first._local.perform_now(first.name("a", "b"), KeyCommand("claim", "t"))  # pyright: ignore[reportPrivateUsage]
    assert not second._local.perform_now(second.name("a", "b"), KeyCommand("claim", "u")).is_mine  # pyright: ignore[reportPrivateUsage]
    assert len({first.name("a", "b"), first.name("ab", ""), KeyRegistry("other", MemoryKeyStore()).name("a", "b")}) == 3

    transport = _Transport()
    mine = KeyRegistry.of("scope", None, transport, time.monotonic)
    assert mine._local is KeyRegistry.of("scope", None, transport, time.monotonic)._local  # pyright: ignore[reportPrivateUsage]
    assert mine._local is not first._local  # pyright: ignore[reportPrivateUsage]
    number, known = id(transport), KeyRegistry._by_transport  # pyright: ignore[reportPrivateUsage]
    assert number in known
    del transport, mine
    gc.collect()
    assert number not in known


def test_stores_by_url(tmp_path: Path) -> None:
    """The URL of shared limits names the store of keys too."""
    assert open_key_store(Secret("memory://")) is None
    assert isinstance(open_key_store(Secret(f"sqlite:///{tmp_path}/limits.db")), SqliteKeyStore)
    assert isinstance(open_key_store(Secret("redis://127.0.0.1")), RedisKeyStore)
    with pytest.raises(ConfigurationError):
        open_key_store(Secret("postgres://x"))


@pytest.mark.runtimes("trio")
async def test_redis_on_trio() -> None:
    """Redis' client does not run on trio, and the error says what does."""
    store: Any = open_key_store(Secret("redis://127.0.0.1:1"))
    with pytest.raises(ConfigurationError, match="sqlite"):
        await store.perform("k", KeyCommand("claim", "a"))


@pytest.mark.runtimes("asyncio")
async def test_no_redis() -> None:
    """A server that is not there is a lost store, without the password in the message."""
    store: Any = open_key_store(Secret("redis://:CANARY@127.0.0.1:1/0"))
    with pytest.raises(KeyStoreLostError) as caught:
        await store.perform("k", KeyCommand("claim", "a"))

    assert "CANARY" not in str(caught.value)
    await store.aclose()


def test_records_are_values() -> None:
    """A record goes through JSON and back."""
    record = KeyRecord("a", 1.0, 2.0, 3.0, is_acted=True, made_id="x", expires_at=4.0)

    assert KeyRecord(**attrs.asdict(record)) == record
