"""Records in Redis, for the processes of many hosts: the database in which their rate limits are.

A command reads the record and the server's time, carries the command out here, and writes the result if nobody wrote in between, else
again. Redis' asyncio client runs on asyncio alone, and so does this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import anyio
import attrs
import orjson

from mux_async._forks import detect_fork
from mux_async._idempotency.keys._records import KEEP, KeyCommand, KeyRecord, KeyReply, KeyStoreLostError, perform
from mux_async._per_loop import PerLoop
from mux_async._redis import LoopClient
from mux_async.errors import ConfigurationError
from mux_async.transport import current_loop, running_runtime

TIMEOUT: Final = 1.0
"""Seconds that a command may take, from its turn on."""
_CONNECTIONS: Final = 16
"""Of one event loop. Commands wait for one in order of arrival, without their time running."""
_PREFIX: Final = "mux-async:once:1:"
_READ: Final = (
    "local t = redis.call('TIME') return {redis.call('GET', KEYS[1]) or '', t[1] .. '.' .. string.format('%06d', t[2])}"
)
_WRITE: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


class Client(Protocol):
    """What is used of Redis' client."""

    async def eval(self, script: str, numkeys: int, *keys_and_args: str) -> Any: ...
    async def aclose(self) -> None: ...


@attrs.define(eq=False)
class _Connected:
    """What belongs to one event loop."""

    connection: LoopClient[Client]
    turns: anyio.Semaphore = attrs.field(factory=lambda: anyio.Semaphore(_CONNECTIONS, fast_acquire=True))


class RedisKeyStore:
    """Keeps records in Redis.

    Args:
        connect: Makes a client for the running event loop.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._clients: PerLoop[_Connected] = PerLoop()

    async def perform(self, key: str, command: KeyCommand) -> KeyReply:
        """See `KeyStore.perform`."""
        from redis.exceptions import RedisError

        connected = self._here()
        try:
            # Shielded: whether a command that was cancelled has been carried out would not be known.
            async with connected.turns, connected.connection as client:
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + TIMEOUT):
                    return await self._carry_out(client, _PREFIX + key, command)
        except (RedisError, OSError, ValueError, TypeError, IndexError) as error:
            problem = type(error).__name__  # what the library says may hold the URL: its class is enough
        else:
            problem = f"no answer within {TIMEOUT:g} s"
        raise KeyStoreLostError(problem)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        connected = self._clients.pop(current_loop())
        if connected is not None:
            await connected.connection.aclose()

    async def _carry_out(self, client: Client, key: str, command: KeyCommand) -> KeyReply:
        while True:
            before, now = await client.eval(_READ, 1, key)
            record, reply = perform(KeyRecord(**orjson.loads(before)) if before else None, command, float(now))
            after = "" if record is None else orjson.dumps(attrs.asdict(record)).decode()
            if after == before or int(await client.eval(_WRITE, 1, key, before, after, str(int(KEEP * 1000)))) == 1:
                return reply

    def _here(self) -> _Connected:
        detect_fork()
        loop = current_loop()
        connected = self._clients.open.get(loop)
        if connected is None:
            if running_runtime() != "asyncio":
                raise ConfigurationError(
                    "once keys in Redis need asyncio, and this is trio; sqlite:///path shares them on one host"
                )
            connection = LoopClient(self._connect(), loop)
            connected = _Connected(connection)
            self._clients.put(loop, connected, connection)
        return connected
