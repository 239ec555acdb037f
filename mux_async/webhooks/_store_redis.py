"""Handled events in Redis, for the processes of many hosts.

Leases and memory run out by themselves, under the server's clock. Every command is one call of a short script, or of one command, so that
none is ever half done. Redis' asyncio client runs on asyncio alone, and so does this.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, Protocol, cast
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

from mux_async._types import Secret
from mux_async.errors import ConfigurationError, MissingExtraError
from mux_async.transport import running_runtime
from mux_async.webhooks._errors import EventStoreError
from mux_async.webhooks._store import KEEP, Answer, Claim, Sighting

_CONNECTIONS: Final = 16
"""Of one event loop. Commands that find none free wait for one."""
_PREFIX: Final = "mux-async:webhooks:1:{all}"
"""The braces keep all keys on one node of a cluster, for scripts touch two."""
_DONE: Final = "done"

_CLAIM: Final = """
local held = redis.call('GET', KEYS[1])
if held == 'done' then return {'done', 0} end
if held then return {'busy', 0} end
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


class RedisEventStore:
    """Remembers in Redis.

    Args:
        url: ``redis://[user[:password]@]host[:port][/db]``, or ``rediss://`` for TLS. Nothing is opened yet.
        keep: Seconds that *done* is kept.
        timeout: Seconds that a command may take, waiting for a connection included; Mux waits 5 for the answer.

    Raises:
        MissingExtraError: The ``redis`` library is not installed.
        ConfigurationError: The URL is none. The message does not repeat it, for it may hold a password.
    """

    def __init__(self, url: str | Secret, *, keep: float = KEEP, timeout: float = 2.0) -> None:
        if find_spec("redis") is None:
            raise MissingExtraError("remembering webhooks in Redis", "redis", "redis")
        self._url = Secret(url)
        if not self._url.reveal().startswith(("redis://", "rediss://")):
            raise ConfigurationError("the URL of events kept in Redis is redis://host[:port][/db], or rediss:// for TLS")
        self._keep = _milliseconds(keep)
        self._timeout = timeout
        self._clients: WeakKeyDictionary[object, Client] = WeakKeyDictionary()

    async def claim(self, seen: Sighting, token: str, lease: float) -> Claim:
        """See `EventStore.claim`."""
        keys = [_event(seen.key)] if seen.subject is None else [_event(seen.key), _object(seen.subject)]
        arguments = [token, _milliseconds(lease), str(seen.at), self._keep]
        state, is_stale = await self._within(self._here().eval(_CLAIM, len(keys), *keys, *arguments))
        return Claim(cast("Answer", state), is_stale=bool(is_stale))

    async def finish(self, seen: Sighting) -> None:
        """See `EventStore.finish`."""
        await self._within(self._here().set(_event(seen.key), _DONE, px=int(self._keep)))

    async def release(self, seen: Sighting, token: str) -> None:
        """See `EventStore.release`."""
        await self._within(self._here().eval(_RELEASE, 1, _event(seen.key), token))

    async def newest(self, subject: str) -> int | None:
        """See `EventStore.newest`."""
        found = await self._within(self._here().get(_object(subject)))
        return None if found is None else int(found)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        client = self._clients.pop(anyio.lowlevel.current_token().native_token, None)
        if client is not None:
            await client.aclose()

    async def _within(self, command: Awaitable[Any]) -> Any:
        try:
            # Shielded, because nobody would know whether a command that was cancelled has been carried out.
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._timeout):
                return await command
        except (_redis_error(), OSError) as error:
            # What the library raises may hold the URL somewhere: its class is enough.
            problem = type(error).__name__
        else:
            problem = f"no answer within {self._timeout:g} s"
        raise EventStoreError(f"events cannot be kept in Redis: {problem}")

    def _here(self) -> Client:
        loop = anyio.lowlevel.current_token().native_token
        client = self._clients.get(loop)
        if client is None:
            if running_runtime() != "asyncio":
                raise ConfigurationError("events kept in Redis need asyncio, and this is trio; SqliteEventStore does not")
            client = self._clients[loop] = self._connect()
        return client

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
