"""Handled events in Redis, for the processes of many hosts.

Leases and memory run out by themselves, under the server's clock. Every command is one call of a short script, or of one command, so that
none is ever half done; the same caller may repeat any of them. Redis' asyncio client runs on asyncio alone, and so does this.

A thousand deliveries at once must not fail each other. Commands wait in order of arrival for one of a few connections, and their time
begins when they have it. Claims of one event at the same time ask once: one of them can get it, and the others learn that from its answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, Protocol, cast

import anyio
import attrs

from mux_async._checks import check_period, check_secret
from mux_async._forks import detect_fork
from mux_async._per_loop import PerLoop
from mux_async._redis import LoopClient
from mux_async._tracebacks import hides_methods
from mux_async._types import Secret
from mux_async.errors import ConfigurationError, MissingExtraError
from mux_async.transport import current_loop, running_runtime
from mux_async.webhooks._errors import EventStoreError
from mux_async.webhooks._store import KEEP, Answer, Claim, Sighting

_CONNECTIONS: Final = 16
"""Of one event loop. More would not be faster: the server carries out one command after the other."""
_PREFIX: Final = "mux-async:webhooks:1:{all}"
"""The braces keep all keys on one node of a cluster, for scripts touch two."""
_DONE: Final = "done"

_CLAIM: Final = """
local held = redis.call('GET', KEYS[1])
if held == 'done' then return {'done', 0} end
if held and held ~= ARGV[1] then return {'busy', 0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if #KEYS == 1 then return {'mine', 0} end
local newest = redis.call('GET', KEYS[2])
if newest and tonumber(newest) > tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  return {'mine', 1}
end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
return {'mine', 0}
"""
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Client(Protocol):
    """What is used of Redis' client."""

    async def eval(self, script: str, numkeys: int, *keys_and_args: str) -> Any: ...
    async def get(self, name: str) -> Any: ...
    async def set(self, name: str, value: str, *, px: int) -> Any: ...
    async def aclose(self) -> None: ...


class _Claiming:
    """A claim under way, and what came of it; ``None`` when it failed."""

    __slots__ = ("claim", "ended")

    def __init__(self) -> None:
        self.claim: Claim | None = None
        self.ended = anyio.Event()


@attrs.define(eq=False)
class _Connected:
    """What belongs to one event loop."""

    connection: LoopClient[Client]
    turns: anyio.Semaphore = attrs.field(factory=lambda: anyio.Semaphore(_CONNECTIONS, fast_acquire=True))
    claims: dict[str, _Claiming] = attrs.field(factory=dict[str, _Claiming])
    """Those under way, by event."""


@hides_methods
class RedisEventStore:
    """Remembers in Redis.

    Args:
        url: ``redis://[user[:password]@]host[:port][/db]``, or ``rediss://`` for TLS. Nothing is opened yet.
        keep: Seconds that *done* is kept.
        timeout: Seconds that a command may take, from having a connection on; Mux waits 5 for the answer. One that takes longer is
            tried once more.

    Raises:
        MissingExtraError: The ``redis`` library is not installed.
        ConfigurationError: The URL is none. The message does not repeat it, for it may hold a password.
    """

    def __init__(self, url: str | Secret, *, keep: float = KEEP, timeout: float = 2.0) -> None:
        if find_spec("redis") is None:
            raise MissingExtraError("remembering webhooks in Redis", "redis", "redis")
        check_secret("url", url)
        check_period("keep", keep)
        check_period("timeout", timeout)
        self._url = Secret(url)
        if not self._url.reveal().startswith(("redis://", "rediss://")):
            raise ConfigurationError("the URL of events kept in Redis is redis://host[:port][/db], or rediss:// for TLS")
        self._keep = _milliseconds(keep)
        self._timeout = timeout
        self._connected: PerLoop[_Connected] = PerLoop()

    async def claim(self, seen: Sighting, token: str, lease: float) -> Claim:
        """See `EventStore.claim`."""
        claims = self._here().claims
        while (first := claims.get(seen.key)) is not None:
            await first.ended.wait()
            if first.claim is not None:
                return Claim("done" if first.claim.state == "done" else "busy")
        mine = claims[seen.key] = _Claiming()
        try:
            mine.claim = await self._claim(seen, token, lease)
            return mine.claim
        finally:
            del claims[seen.key]
            mine.ended.set()

    async def _claim(self, seen: Sighting, token: str, lease: float) -> Claim:
        keys = [_event(seen.key)] if seen.subject is None else [_event(seen.key), _object(seen.subject)]
        arguments = [token, _milliseconds(lease), str(seen.at), self._keep]
        state, is_stale = await self._within(lambda client: client.eval(_CLAIM, len(keys), *keys, *arguments))
        return Claim(cast("Answer", state), is_stale=bool(is_stale))

    async def finish(self, seen: Sighting) -> None:
        """See `EventStore.finish`."""
        await self._within(lambda client: client.set(_event(seen.key), _DONE, px=int(self._keep)))

    async def release(self, seen: Sighting, token: str) -> None:
        """See `EventStore.release`."""
        await self._within(lambda client: client.eval(_RELEASE, 1, _event(seen.key), token))

    async def newest(self, subject: str) -> int | None:
        """See `EventStore.newest`."""
        found = await self._within(lambda client: client.get(_object(subject)))
        return None if found is None else int(found)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        connected = self._connected.pop(current_loop())
        if connected is not None:
            await connected.connection.aclose()

    async def _within(self, command: Callable[[Client], Awaitable[Any]]) -> Any:
        connected = self._here()
        async with connected.turns:
            try:
                return await self._carry_out(connected.connection.client, command)
            except EventStoreError:
                # Once more: a connection that was idle for long breaks when it is used, and an event loop that was held up sees timeouts.
                return await self._carry_out(connected.connection.client, command)

    async def _carry_out(self, client: Client, command: Callable[[Client], Awaitable[Any]]) -> Any:
        try:
            # Shielded, because nobody would know whether a command that was cancelled has been carried out.
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._timeout):
                return await command(client)
        except (_redis_error(), OSError) as error:
            # What the library raises may hold the URL somewhere: its class is enough.
            problem = type(error).__name__
        else:
            problem = f"no answer within {self._timeout:g} s"
        raise EventStoreError(f"events cannot be kept in Redis: {problem}")

    def _here(self) -> _Connected:
        detect_fork()
        loop = current_loop()
        connected = self._connected.open.get(loop)
        if connected is None:
            if running_runtime() != "asyncio":
                raise ConfigurationError("events kept in Redis need asyncio, and this is trio; SqliteEventStore does not")
            connection = LoopClient(self._connect(), loop)
            connected = _Connected(connection)
            self._connected.put(loop, connected, connection)
        return connected

    def _connect(self) -> Client:
        from redis.asyncio import BlockingConnectionPool, Redis

        # The library leaves its keyword arguments untyped.
        pool = cast("Any", BlockingConnectionPool).from_url(
            self._url.reveal(),
            max_connections=_CONNECTIONS,
            timeout=self._timeout,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            decode_responses=True,
        )
        return cast("Client", cast("Any", Redis).from_pool(pool))


def _event(key: str) -> str:
    return f"{_PREFIX}:event:{key}"


def _object(subject: str) -> str:
    return f"{_PREFIX}:object:{subject}"


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


@cache
def _redis_error() -> type[Exception]:
    from redis.exceptions import RedisError

    return RedisError
