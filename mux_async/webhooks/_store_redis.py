"""An event store in Redis, for processes on several hosts.

Leases and records expire by themselves, by the server's clock. Every operation is one script or one command, so that it is atomic, and the
same caller may repeat it. Redis' asyncio client runs only on asyncio, and so does this store.

A thousand concurrent deliveries must not make each other fail. Operations wait in order of arrival for one of a few connections, and their
timeout starts when they have it. Concurrent claims of one event send one request: at most one of them can succeed, and the others use its
response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, cast

import anyio
import attrs

from mux_async._checks import check_period, check_secret
from mux_async._per_loop import PerLoop
from mux_async._redis import RedisClient, RedisClients, connect_to, redis_error
from mux_async._tracebacks import hides_methods
from mux_async._types import Secret
from mux_async.errors import ConfigurationError, MissingExtraError
from mux_async.transport import current_loop
from mux_async.webhooks._errors import EventStoreError
from mux_async.webhooks._store import KEEP, Claim, ClaimState, EventKey

_CONNECTIONS: Final = 16
"""Connections per event loop. More would not be faster: the server executes one command after the other."""
_PREFIX: Final = "mux-async:webhooks:1:{all}"
"""The braces keep all keys on one node of a cluster, because scripts use two keys."""
_DONE: Final = "done"
_PURPOSE: Final = "webhook events in Redis"

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


@attrs.define(eq=False)
class _PendingClaim:
    """A claim in progress and its result; ``None`` if it failed."""

    claim: Claim | None = None
    ended: anyio.Event = attrs.field(factory=anyio.Event)


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
            raise MissingExtraError(_PURPOSE, "redis", "redis")
        check_secret("url", url)
        check_period("keep", keep)
        check_period("timeout", timeout)
        self._url = Secret(url)
        if not self._url.reveal().startswith(("redis://", "rediss://")):
            raise ConfigurationError("the URL of the event store must be redis://host[:port][/db], or rediss:// for TLS")
        self._keep = _milliseconds(keep)
        self._timeout = timeout
        self._clients = RedisClients(partial(_connect, self._url, timeout), _PURPOSE, max_commands=_CONNECTIONS)
        self._claims: PerLoop[dict[str, _PendingClaim]] = PerLoop()
        """Pending claims by event."""

    async def claim(self, event: EventKey, token: str, lease: float) -> Claim:
        """See `EventStore.claim`."""
        claims = self._pending()
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
        await self._clients.aclose()

    async def _run(self, command: Callable[[RedisClient], Awaitable[Any]]) -> Any:
        async with self._clients.here() as client:
            try:
                return await self._run_once(client, command)
            except EventStoreError:
                # Repeated once: a connection that was idle for long breaks on its next use, and a blocked event loop causes timeouts.
                return await self._run_once(client, command)

    async def _run_once(self, client: RedisClient, command: Callable[[RedisClient], Awaitable[Any]]) -> Any:
        try:
            # Shielded, because it would be unknown whether a cancelled command was executed.
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._timeout):
                return await command(client)
        except (redis_error(), OSError) as error:
            # The library's exception may contain the URL, so only its class is reported.
            problem = type(error).__name__
        else:
            problem = f"no response within {self._timeout:g} s"
        raise EventStoreError(f"the event store in Redis failed: {problem}")

    def _pending(self) -> dict[str, _PendingClaim]:
        loop = current_loop()
        claims = self._claims.open.get(loop)
        if claims is None:
            claims = dict[str, _PendingClaim]()
            self._claims.put(loop, claims)
        return claims


def _connect(url: Secret, timeout: float) -> RedisClient:
    return connect_to(url, timeout, _PURPOSE)()


def _event(key: str) -> str:
    return f"{_PREFIX}:event:{key}"


def _object(subject: str) -> str:
    return f"{_PREFIX}:object:{subject}"


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
