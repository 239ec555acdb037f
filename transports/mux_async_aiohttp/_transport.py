"""The transport over aiohttp: opens and closes it, and chooses the path of each request.

Most requests take the fast path (``_fast_path``), which bypasses aiohttp's session. The others take the session path (``_session_path``).
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import aiohttp

from mux_async.errors import ConfigurationError
from mux_async.transport import (
    HttpRequest,
    HttpResponse,
    Timeouts,
    TransportClosedError,
    TransportSettings,
    callbacks_at_once,
    clear_locals,
    require_runtime,
)
from mux_async_aiohttp._connection import InactivityTimer, use_checked_protocol
from mux_async_aiohttp._fast_path import FastPath, can_use_fast_path
from mux_async_aiohttp._options import check_session, open_session
from mux_async_aiohttp._session_path import SessionPath

_AFTER_FIRST_ANSWER = 1.0
"""Seconds after which the first answer has usually arrived."""


class AiohttpTransport:
    """A `mux_async.transport.Transport` over an `aiohttp.ClientSession`.

    Args:
        settings: Of the connections; ``options`` are arguments of `aiohttp.ClientSession` (docs/transports.md lists which).
        session: A session to use instead of making one. It is not closed here. Its connector, cookie jar, default headers, proxy,
            middlewares, trace configs and bounds of headers apply; its ``timeout``, ``raise_for_status``, ``auto_decompress`` and
            ``base_url`` do not, because a request and its answer are the client's.

    Raises:
        ConfigurationError: A setting cannot be used or would have no effect, or the session has credentials of its own.
        WrongRuntimeError: The running event loop is not asyncio's (nor uvloop).
    """

    def __init__(self, settings: TransportSettings | None = None, *, session: aiohttp.ClientSession | None = None) -> None:
        require_runtime("aiohttp", "asyncio")
        self._owns_session = session is None
        if session is not None:
            if settings is not None:
                raise ConfigurationError("TransportSettings have no effect on a session that is handed in: set up the session")
            check_session(session)
        settings = settings or TransportSettings()
        self._session = session if session is not None else open_session(settings)
        # A connector that is shared would also carry other people's requests, unchecked, and their answers would look like stray bytes.
        is_ours = session is None and settings.options.get("connector_owner", True) is True
        is_checked = is_ours and use_checked_protocol(self._session.connector)
        self._fast_path = FastPath(self._session) if is_checked and can_use_fast_path(self._session, settings) else None
        self._session_path = SessionPath(self._session, is_ours=self._owns_session, trusts_env=settings.trust_env)
        self._closed = False
        # Handling a failure needs anyio's back end, which takes longer to import than this client. It is imported after the first answer,
        # and before a failure: a process without free file descriptors can import nothing.
        self._loop = asyncio.get_running_loop()
        self._preparing = self._loop.call_later(_AFTER_FIRST_ANSWER, import_module, "anyio._backends._asyncio")
        self._timeouts: Timeouts | None = None
        self._use(Timeouts())

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Perform one exchange. See `mux_async.transport.Transport.send`."""
        if self._closed:
            raise TransportClosedError("aiohttp")
        if request.timeouts is not self._timeouts:
            self._use(request.timeouts)
        fast_path = self._fast_path
        written = fast_path.write(request) if fast_path is not None else None
        try:
            if fast_path is not None and written is not None:
                return await fast_path.send(request, written, self._client_timeout, self._timer)
            if not self._session.closed:  # one that was handed in may be
                return await self._session_path.send(request, self._client_timeout)
        except asyncio.CancelledError as error:
            if not self._was_closed_meanwhile():
                del self, request, fast_path, written
                clear_locals(error)
                raise
        except BaseException as error:
            del self, request, fast_path, written
            clear_locals(error)
            raise
        raise TransportClosedError("aiohttp")

    def _was_closed_meanwhile(self) -> bool:
        """Whether a request ended because the session was closed: aiohttp cancels the wait for a connection, and not the task."""
        task = asyncio.current_task()
        return self._session.closed and task is not None and not task.cancelling()

    def _use(self, timeouts: Timeouts) -> None:
        """Prepare for requests with *timeouts*. Requests that are under way keep theirs.

        Clients that share a transport have equal ones of their own: they also share the timer, which lasts for as long as a timeout.
        """
        is_same = timeouts == self._timeouts
        self._timeouts = timeouts
        if is_same:
            return
        self._client_timeout = aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_read=timeouts.read)
        self._timer = InactivityTimer(timeouts.read) if timeouts.read is not None else None

    async def aclose(self) -> None:
        """Close every connection, unless the session was handed in."""
        self._closed = True
        self._preparing.cancel()
        if self._timer is not None:
            self._timer.close()
        if self._owns_session:
            await self._session.close()

    def abandon(self) -> None:
        """Close every connection without the event loop. See `mux_async.transport.Abandonable`."""
        self._closed = True
        # A connector knows its connections under names of its own, and closes them by its event loop alone.
        connector: Any = self._session.connector
        if self._owns_session and connector is not None:
            pools = getattr(connector, "_conns", {}).values()
            protocols = [protocol for pool in pools for protocol, _ in pool] + list(getattr(connector, "_acquired", ()))
            with callbacks_at_once(self._loop):
                for protocol in protocols:
                    if protocol.transport is not None:
                        protocol.transport.abort()
            self._session.detach()
            connector._close()


def create_transport(settings: TransportSettings) -> AiohttpTransport:
    """Make the transport for the running event loop. The factory behind ``Mux(transport="aiohttp")``.

    Raises:
        WrongRuntimeError: The running event loop is not asyncio's (nor uvloop).
    """
    return AiohttpTransport(settings)
