"""Records in Redis, for the processes of many hosts: the database that also holds their rate limits.

A command reads the record and the server's time, is performed here, and the result is written if no other process wrote in between, else
all of it is repeated. Redis' asyncio client runs on asyncio only, and so does this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import attrs
import orjson

from mux_async._idempotency.keys._records import KEEP, KeyCommand, KeyRecord, KeyReply, KeyStoreLostError, perform
from mux_async._redis import RedisClient, RedisClients, redis_error

TIMEOUT: Final = 1.0
"""Seconds that a command may take, once it has a connection."""
_MAX_COMMANDS: Final = 16
"""At a time, of one event loop. Others wait in order of arrival, without their time running."""
_PREFIX: Final = "mux-async:once:1:"
_READ: Final = (
    "local t = redis.call('TIME') return {redis.call('GET', KEYS[1]) or '', t[1] .. '.' .. string.format('%06d', t[2])}"
)
_WRITE: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


class RedisKeyStore:
    """Keeps records in Redis.

    Args:
        connect: Makes a client for the running event loop.
    """

    def __init__(self, connect: Callable[[], RedisClient]) -> None:
        self._clients = RedisClients(connect, "idempotency keys in Redis", max_commands=_MAX_COMMANDS)

    async def perform(self, key: str, command: KeyCommand) -> KeyReply:
        """See `KeyStore.perform`."""
        clients = self._clients.here()
        try:
            async with clients as client:
                # Shielded: the outcome of a cancelled command would not be known.
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + TIMEOUT):
                    return await self._perform(client, _PREFIX + key, command)
        except (redis_error(), OSError, ValueError, TypeError, IndexError) as error:
            problem = type(error).__name__  # the library's message may hold the URL: its class is enough
        else:
            problem = f"no answer within {TIMEOUT:g} s"
        raise KeyStoreLostError(problem)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.aclose()

    async def _perform(self, client: RedisClient, key: str, command: KeyCommand) -> KeyReply:
        while True:
            before, now = await client.eval(_READ, 1, key)
            record, reply = perform(KeyRecord(**orjson.loads(before)) if before else None, command, float(now))
            after = "" if record is None else orjson.dumps(attrs.asdict(record)).decode()
            if after == before or int(await client.eval(_WRITE, 1, key, before, after, str(int(KEEP * 1000)))) == 1:
                return reply
