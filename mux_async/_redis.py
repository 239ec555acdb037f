"""A client of Redis that belongs to one event loop, for all that is kept there."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from mux_async.transport import callbacks_at_once


class _Closable(Protocol):
    async def aclose(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class LoopClient(Generic[C]):
    """One client, closed when its commands have ended.

    Args:
        client: Of Redis, for asyncio.
        loop: The event loop that it is for.
    """

    def __init__(self, client: C, loop: object) -> None:
        self.client = client
        self._loop = loop
        self._under_way = 0
        self._is_closing = False

    async def __aenter__(self) -> C:
        self._under_way += 1
        return self.client

    async def __aexit__(self, *_: object) -> None:
        self._under_way -= 1
        if self._is_closing and self._under_way == 0:
            await self.client.aclose()

    async def aclose(self) -> None:
        """Close the connections, once the commands under way have ended."""
        self._is_closing = True
        if self._under_way == 0:
            await self.client.aclose()

    def abandon(self) -> None:
        """Close the connections without the event loop. See `mux_async.transport.Abandonable`."""
        # A pool knows its connections under names of its own.
        pool: Any = getattr(self.client, "connection_pool", None)
        idle, in_use = getattr(pool, "_available_connections", ()), getattr(pool, "_in_use_connections", ())
        with callbacks_at_once(self._loop):
            for connection in (*idle, *in_use):
                if (writer := getattr(connection, "_writer", None)) is not None:
                    writer.transport.abort()
                    connection._close()  # or it warns when it is collected
