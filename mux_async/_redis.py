"""Redis for the stores that processes share: a client for each event loop, closed with it. asyncio only, as Redis' own client is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, cast

import anyio

from mux_async._forks import detect_fork
from mux_async._per_loop import PerLoop
from mux_async._types import Secret
from mux_async.errors import ConfigurationError, MissingExtraError
from mux_async.transport import callbacks_at_once, current_loop, running_runtime


class RedisClient(Protocol):
    """The methods of Redis' client that are used here."""

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: str) -> Any: ...
    async def eval(self, script: str, numkeys: int, *keys_and_args: str) -> Any: ...
    async def get(self, name: str) -> Any: ...
    async def set(self, name: str, value: str, *, px: int) -> Any: ...
    async def aclose(self) -> None: ...


class RedisClients:
    """The clients of one store, one for each event loop.

    Args:
        connect: Makes a client for the running event loop.
        purpose: What is kept in Redis, in the plural, for messages.
        max_commands: Commands at a time, of one event loop; the others wait in order of arrival. ``None`` for any number.
    """

    def __init__(self, connect: Callable[[], RedisClient], purpose: str, *, max_commands: int | None = None) -> None:
        self._connect = connect
        self._purpose = purpose
        self._max_commands = max_commands
        self._clients: PerLoop[_LoopClient] = PerLoop()

    def here(self) -> _LoopClient:
        """Return the client of the running asyncio event loop: ``async with clients.here() as client`` for the time of one command."""
        detect_fork()
        loop = current_loop()
        client = self._clients.open.get(loop)
        if client is None:
            if running_runtime() != "asyncio":
                raise ConfigurationError(
                    f"{self._purpose} need asyncio, and this is trio; sqlite:///path shares them on one host"
                )
            client = _LoopClient(self._connect(), loop, self._max_commands)
            self._clients.put(loop, client, client)
        return client

    async def aclose(self) -> None:
        """Close the connections of the running event loop, once its commands have ended. The next command opens them again."""
        client = self._clients.pop(current_loop())
        if client is not None:
            await client.aclose()


class _LoopClient:
    """The client of one event loop, closed when its commands have ended."""

    def __init__(self, client: RedisClient, loop: object, max_commands: int | None) -> None:
        self._client = client
        self._loop = loop
        self._slots = None if max_commands is None else anyio.Semaphore(max_commands, fast_acquire=True)
        self._commands = 0
        self._is_closing = False

    async def __aenter__(self) -> RedisClient:
        if self._slots is not None:
            await self._slots.acquire()
        self._commands += 1
        return self._client

    async def __aexit__(self, *_: object) -> None:
        self._commands -= 1
        if self._slots is not None:
            self._slots.release()
        if self._is_closing and self._commands == 0:
            await self._client.aclose()

    async def aclose(self) -> None:
        """Close the connections, once the commands under way have ended."""
        self._is_closing = True
        if self._commands == 0:
            await self._client.aclose()

    def abandon(self) -> None:
        """Close the connections without the event loop. See `mux_async.transport.Abandonable`."""
        # A pool has private names for its connections.
        pool: Any = getattr(self._client, "connection_pool", None)
        idle, in_use = getattr(pool, "_available_connections", ()), getattr(pool, "_in_use_connections", ())
        with callbacks_at_once(self._loop):
            for connection in (*idle, *in_use):
                if (writer := getattr(connection, "_writer", None)) is not None:
                    writer.transport.abort()
                    connection._close()  # or it warns when it is collected


def connect_to(url: Secret, timeout: float, purpose: str) -> Callable[[], RedisClient]:
    """Return a function that makes clients for *url*: ``redis://[user[:password]@]host[:port][/db]``, or ``rediss://`` for TLS.

    Raises:
        MissingExtraError: The ``redis`` library is not installed.
        ConfigurationError: The URL is malformed.
    """
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise MissingExtraError(purpose, "redis", "redis") from error

    def connect() -> RedisClient:
        # The library leaves its keyword arguments untyped.
        client: RedisClient = cast("Any", Redis).from_url(
            url.reveal(),
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # The caller knows whether a command may be sent twice.
            retry=Retry(NoBackoff(), 0),
        )
        return client

    try:
        connect()
    except ValueError:
        # The library's message may hold the URL.
        raise ConfigurationError(
            f"the URL of {purpose} is not of the form redis://[user[:password]@]host[:port][/db]"
        ) from None
    return connect


@cache
def redis_error() -> type[Exception]:
    """Return the base class of the library's errors."""
    from redis.exceptions import RedisError

    return RedisError


@cache
def no_script_error() -> type[Exception]:
    """Return the library's error for a script that the server does not know."""
    from redis.exceptions import NoScriptError

    return NoScriptError
