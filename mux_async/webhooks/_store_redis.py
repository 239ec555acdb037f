"""An event store in Redis, for processes on several hosts.

Leases and records expire by themselves, by the server's clock. Every operation is one script or one command, so that it is atomic, and the
same caller may repeat it. Redis' asyncio client runs only on asyncio, and so does this store.

A thousand concurrent deliveries must not make each other fail. Operations wait in order of arrival for one of a few connections, and their
timeout starts when they have it. Concurrent claims of one event send one request: at most one of them can succeed, and the others use its
response.
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
from mux_async.webhooks._store import KEEP, Claim, ClaimState, EventKey

_CONNECTIONS: Final = 16
"""Connections per event loop. More would not be faster: the server executes one command after the other."""
_PREFIX: Final = "mux-async:webhooks:1:{all}"
"""The braces keep all keys on one node of a cluster, because scripts use two keys."""
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
    """The methods of Redis' client that are used."""

    async def eval(self, script: str, numkeys: int, *keys_and_args: str) -> Any: ...
    async def get(self, name: str) -> Any: ...
    async def set(self, name: str, value: str, *, px: int) -> Any: ...
    async def aclose(self) -> None: ...


class _PendingClaim:
    """A claim in progress and its result; ``None`` if it failed."""

    __slots__ = ("claim", "ended")

    def __init__(self) -> None:
        self.claim: Claim | None = None
        self.ended = anyio.Event()


@attrs.define(eq=False)
class _Connected:
    """The connections and pending claims of one event loop."""

    connection: LoopClient[Client]
    slots: anyio.Semaphore = attrs.field(factory=lambda: anyio.Semaphore(_CONNECTIONS, fast_acquire=True))
    claims: dict[str, _PendingClaim] = attrs.field(factory=dict[str, _PendingClaim])
    """Pending claims by event."""


@hides_methods
class RedisEventStore:
    """An event store in Redis.

    Args:
        url: ``redis://[user[:password]@]host[:port][/db]``, or ``rediss://`` for TLS. The first delivery opens connections.
        keep: Seconds for which *done* is kept.
        timeout: Seconds for one operation, after it has a connection; Mux waits 5 s for the response. An operation that times out is
            repeated once.

    Raises:
        MissingExtraError: The ``redis`` library is not installed.
        ConfigurationError: The URL is not valid. The message does not repeat it, because it may contain a password.
    """

    def __init__(self, url: str | Secret, *, keep: float = KEEP, timeout: float = 2.0) -> None:
        if find_spec("redis") is None:
            raise MissingExtraError("the event store in Redis", "redis", "redis")
        check_secret("url", url)
        check_period("keep", keep)
        check_period("timeout", timeout)
        self._url = Secret(url)
        if not self._url.reveal().startswith(("redis://", "rediss://")):
            raise ConfigurationError("the URL of the event store must be redis://host[:port][/db], or rediss:// for TLS")
        self._keep = _milliseconds(keep)
        self._timeout = timeout
        self._connected: PerLoop[_Connected] = PerLoop()

    async def claim(self, event: EventKey, token: str, lease: float) -> Claim:
        """See `EventStore.claim`."""
        claims = self._here().claims
        while (first := claims.get(event.key)) is not None:
            await first.ended.wait()
            if first.claim is not None:
                return Claim("done" if first.claim.state == "done" else "busy")
        mine = claims[event.key] = _PendingClaim()
        try:
            mine.claim = await self._claim(event, token, lease)
            return mine.claim
        finally:
            del claims[event.key]
            mine.ended.set()

    async def _claim(self, event: EventKey, token: str, lease: float) -> Claim:
        keys = [_event(event.key)] if event.subject is None else [_event(event.key), _object(event.subject)]
        arguments = [token, _milliseconds(lease), str(event.at), self._keep]
        state, is_stale = await self._run(lambda client: client.eval(_CLAIM, len(keys), *keys, *arguments))
        return Claim(cast("ClaimState", state), is_stale=bool(is_stale))

    async def finish(self, event: EventKey) -> None:
        """See `EventStore.finish`."""
        await self._run(lambda client: client.set(_event(event.key), _DONE, px=int(self._keep)))

    async def release(self, event: EventKey, token: str) -> None:
        """See `EventStore.release`."""
        await self._run(lambda client: client.eval(_RELEASE, 1, _event(event.key), token))

    async def newest(self, subject: str) -> int | None:
        """See `EventStore.newest`."""
        found = await self._run(lambda client: client.get(_object(subject)))
        return None if found is None else int(found)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        connected = self._connected.pop(current_loop())
        if connected is not None:
            await connected.connection.aclose()

    async def _run(self, command: Callable[[Client], Awaitable[Any]]) -> Any:
        connected = self._here()
        async with connected.slots:
            try:
                return await self._run_once(connected.connection.client, command)
            except EventStoreError:
                # Repeated once: a connection that was idle for long breaks on its next use, and a blocked event loop causes timeouts.
                return await self._run_once(connected.connection.client, command)

    async def _run_once(self, client: Client, command: Callable[[Client], Awaitable[Any]]) -> Any:
        try:
            # Shielded, because it would be unknown whether a cancelled command was executed.
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._timeout):
                return await command(client)
        except (_redis_error(), OSError) as error:
            # The library's exception may contain the URL, so only its class is reported.
            problem = type(error).__name__
        else:
            problem = f"no response within {self._timeout:g} s"
        raise EventStoreError(f"the event store in Redis failed: {problem}")

    def _here(self) -> _Connected:
        detect_fork()
        loop = current_loop()
        connected = self._connected.open.get(loop)
        if connected is None:
            if running_runtime() != "asyncio":
                raise ConfigurationError("the event store in Redis needs asyncio, and this is trio; use SqliteEventStore")
            connection = LoopClient(self._connect(), loop)
            connected = _Connected(connection)
            self._connected.put(loop, connected, connection)
        return connected

    def _connect(self) -> Client:
        from redis.asyncio import BlockingConnectionPool, Redis

        # The library's keyword arguments are untyped.
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
