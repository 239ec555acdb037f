"""Stores for tests: one in memory that can fail, and every real one behind the same three synchronous methods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import attrs
import fakeredis
from redis.asyncio import Redis

from mux_async._redis import RedisClient
from mux_async.limits import Bucket, BucketSettings, LimitSettings
from mux_async.limits._open import open_limiter
from mux_async.limits._redis_store import RedisLimitStore
from mux_async.limits._scheduler import BucketCommand, BucketReply, Requester, Scheduler
from mux_async.limits._shared_limiter import LONGEST_RETRY, SETTLE, SharedLimiter, StoreLostError
from mux_async.limits._sqlite_store import SqliteLimitStore
from tests._servers import free_port, require, running

__all__ = [
    "LONGEST_RETRY",
    "SETTLE",
    "BucketCommand",
    "BucketReply",
    "Driver",
    "FakeStore",
    "SharedLimiter",
    "SqliteLimitStore",
    "open_limiter",
]

T = TypeVar("T")


def one_rate(rate: float, burst: int, **settings: Any) -> LimitSettings:
    """Return settings with the same allowance for every bucket."""
    allowance = BucketSettings(rate, burst)
    return LimitSettings(post=allowance, other=allowance, realtime_data=allowance, general_data=allowance, **settings)


class FakeStore:
    """Buckets in memory, dumped and loaded for every command, behind a connection that can break."""

    def __init__(self, settings: LimitSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.clock = clock
        self.is_down = False
        self.commands: list[BucketCommand] = []
        self._kept: dict[Bucket, tuple[dict[str, float], list[float], dict[str, Requester], float, float]] = {}

    name = "fake://store"
    is_local_clock = True

    def perform_now(self, command: BucketCommand) -> BucketReply:
        if self.is_down:
            raise StoreLostError("it is down")
        self.commands.append(command)
        now = self.clock()
        shared = Scheduler(self.settings.new_bucket(command.bucket))
        kept = self._kept.get(command.bucket)
        if kept is None:
            shared.bucket.drain(now)
        else:
            numbers, grants, requesters, shared.switch_at, shared.drain_at = kept
            shared.bucket.load(numbers, grants, now)
            shared.requesters = dict(requesters)
        value = shared.perform(command, now)
        self._kept[command.bucket] = (*shared.bucket.dump(), shared.requesters, shared.switch_at, shared.drain_at)
        return shared.reply(command.owner, value, now)

    async def perform(self, command: BucketCommand) -> BucketReply:
        return self.perform_now(command)

    async def aclose(self) -> None:
        return None

    def forget(self) -> None:
        """Lose everything, as a server that restarts."""
        self._kept.clear()

    def close(self) -> None:
        return None


class Driver(Protocol):
    """A store, driven from synchronous code."""

    def perform_now(self, command: BucketCommand) -> BucketReply: ...
    def forget(self) -> None: ...
    def close(self) -> None: ...


class SqliteDriver:
    def __init__(self, path: Path, settings: LimitSettings, clock: Callable[[], float]) -> None:
        self._path = path
        self._store = SqliteLimitStore(path, "account", settings, clock)
        self.forget()

    def perform_now(self, command: BucketCommand) -> BucketReply:
        return self._store.perform_now(command)

    def forget(self) -> None:
        for path in self._path.parent.glob(self._path.name + "*"):
            path.unlink()

    def close(self) -> None:
        self._store.close()


class RedisDriver:
    def __init__(self, connect: Callable[[], Redis], settings: LimitSettings, clock: Callable[[], float]) -> None:
        self._runner = asyncio.Runner()
        self._client = connect()
        self._store = RedisLimitStore(
            "redis://test", "account", settings, lambda: cast("RedisClient", self._client), clock=clock, timeout=10.0
        )
        self.forget()

    def perform_now(self, command: BucketCommand) -> BucketReply:
        return self._run(self._store.perform(command))

    def forget(self) -> None:
        self._run(cast("Any", self._client).flushall())

    def close(self) -> None:
        self._run(self._store.aclose())
        self._run(self._client.aclose())
        self._runner.close()

    def _run(self, call: Coroutine[Any, Any, T] | Any) -> T:
        async def wait() -> T:
            return cast("T", await call)

        return self._runner.run(wait())


NewDriver = Callable[[LimitSettings, Callable[[], float]], Driver]
STORES = ["fake", "sqlite", "fakeredis", "redis"]


@contextmanager
def drivers(kind: str, folder: Path) -> Generator[NewDriver]:
    """Yield a function that makes empty stores of *kind*; a server that they need runs meanwhile."""
    match kind:
        case "fake":
            yield FakeStore
        case "sqlite":
            numbers: Iterator[int] = iter(range(1_000_000))
            yield lambda settings, clock: SqliteDriver(folder / f"limits-{next(numbers)}.db", settings, clock)
        case "fakeredis":
            yield lambda settings, clock: RedisDriver(
                lambda: fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(), decode_responses=True), settings, clock
            )
        case _:
            with redis_server(folder) as url:
                yield lambda settings, clock: RedisDriver(lambda: new_client(url), settings, clock)


def new_client(url: str) -> Redis:
    client: Redis = cast("Any", Redis).from_url(url, decode_responses=True)
    return client


@contextmanager
def redis_server(folder: Path, port: int | None = None, arguments: Sequence[str] = ()) -> Generator[str]:
    """Run a Redis that keeps nothing on disk, and yield its URL."""
    port = port or free_port()
    command = [require("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running([*command, "--dir", str(folder), *arguments], port, folder / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"


@attrs.define
class Clock:
    """A clock that is set by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now
