"""`HttpRequest` to aiohttp and back.

There are two ways. Most requests pass aiohttp's session by (``_direct``); whatever that does not take goes through it, here. Three habits
of the session are turned off: it sends a request of an idempotent verb again by itself when a kept connection turns out to be
closed, adds headers of its own (both ``_exchange``), and decompresses. How far a request got is seen there and by the payload
(``_payload``), what aiohttp's exceptions mean stands in a table (``_errors``).
"""

from __future__ import annotations

import asyncio
import re
from importlib import import_module
from typing import Any

import aiohttp
from yarl import URL

from mux_async.errors import ConfigurationError
from mux_async.transport import (
    HttpRequest,
    HttpResponse,
    Timeouts,
    TransportClosedError,
    TransportSettings,
    callbacks_at_once,
    clear_locals,
    environment_proxy,
    mark_unsent,
    require_runtime,
)
from mux_async_aiohttp._checked import CheckedProtocol, UnusableConnectionError, use_checked_protocol
from mux_async_aiohttp._direct import Direct, can_go_directly
from mux_async_aiohttp._errors import failure
from mux_async_aiohttp._exchange import AUTO_HEADERS, ConnectionLostError, Exchange, brings_all, check_head, middlewares_of
from mux_async_aiohttp._interception import perform
from mux_async_aiohttp._options import check_session, open_session
from mux_async_aiohttp._payload import RequestPayload
from mux_async_aiohttp._watch import Watch

_PLAIN_AUTHORITY = re.compile(r"[\w.-]+(:\d+)?", re.ASCII)
_WHEN_CALM = 1.0
"""Seconds after which the first answer is usually there."""


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
        self._trusts_env = settings.trust_env
        self._session = session if session is not None else open_session(settings)
        # Requests of somebody else over a connector that is shared would go on unchecked, and their answers be taken for stray ones.
        is_ours = session is None and settings.options.get("connector_owner", True) is True
        is_checked = is_ours and use_checked_protocol(self._session.connector)
        self._direct = Direct(self._session) if is_checked and can_go_directly(self._session, settings) else None
        self._middlewares = middlewares_of(self._session, is_ours=self._owns_session)
        self._closed = False
        self._origin = URL()
        self._origin_text = "no URL begins like this"
        # What deals with failures stands on anyio, whose back end takes longer to import than this client. The first answer need not
        # wait for it; but the first failure may be a process that can open no more files, and then it is too late.
        self._loop = asyncio.get_running_loop()
        self._preparing = self._loop.call_later(_WHEN_CALM, import_module, "anyio._backends._asyncio")
        self._use(Timeouts())

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Perform one exchange. See `mux_async.transport.Transport.send`."""
        if self._closed:
            raise TransportClosedError("aiohttp")
        if request.timeouts is not self._timeouts:
            self._use(request.timeouts)
        direct = self._direct
        written = direct.write(request) if direct is not None else None
        try:
            if direct is not None and written is not None:
                return await direct.send(request, written, self._client_timeout, self._watch)
            if not self._session.closed:  # one that was handed in may be
                return await self._send_by_session(request)
        except asyncio.CancelledError as error:
            if not self._was_closed_meanwhile():
                del self, request, direct, written
                clear_locals(error)
                raise
        except BaseException as error:
            del self, request, direct, written
            clear_locals(error)
            raise
        raise TransportClosedError("aiohttp")

    def _was_closed_meanwhile(self) -> bool:
        """Whether closing the session is what ended a request: aiohttp cancels what waits for a connection, and not the task."""
        task = asyncio.current_task()
        return self._session.closed and task is not None and not task.cancelling()

    def _use(self, timeouts: Timeouts) -> None:
        """Prepare for requests with *timeouts*. What waits with others goes on with those."""
        self._timeouts = timeouts
        self._client_timeout = aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_read=timeouts.read)
        self._watch = Watch(timeouts.read) if timeouts.read is not None else None

    async def _send_by_session(self, request: HttpRequest) -> HttpResponse:
        while True:
            payload = RequestPayload(request.body, request.timeouts.write) if request.body else None
            result = await self._try_by_session(request, payload)
            if not isinstance(result, UnusableConnectionError):
                return result
            is_taken = payload is not None and payload.is_begun and not isinstance(request.body, bytes)
            if result.is_new or is_taken:
                raise failure(result, request, payload)

    async def _try_by_session(
        self, request: HttpRequest, payload: RequestPayload | None
    ) -> HttpResponse | UnusableConnectionError:
        exchange = Exchange(self._session, request)
        try:
            check_head(request)
            response = await perform(
                self._session,
                request.method,
                self._parse(request.url),
                data=payload,
                headers=exchange.headers,
                skip_auto_headers=None if brings_all(request) else AUTO_HEADERS,
                timeout=self._client_timeout,
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
                middlewares=(*self._middlewares, exchange),
                proxy=environment_proxy(request.url) if self._trusts_env else None,
            )
        except ConnectionLostError as lost:
            problem = lost.__cause__
        except Exception as error:  # noqa: BLE001 - aiohttp's, and those of middlewares, trace configs and whatever else was passed
            problem = error
        except BaseException as error:
            if payload is not None:
                await payload.settle()
            if exchange.has_begun is False or (exchange.has_begun and payload is not None and not payload.wrote):
                mark_unsent(error)
            raise
        else:
            if payload is None or payload.wrote or not payload.is_begun:
                return HttpResponse(response.status, response.headers, _Body(response, request, payload, exchange.protocol))
            response.close()  # it answers nothing: the body was still waited for
            problem = UnusableConnectionError(is_new=False)
        # Raised out here, so that the original, which may name the URL, is only attached where it is safe to show.
        if payload is not None:
            await payload.settle()
            problem = payload.refusal or problem
        if isinstance(problem, UnusableConnectionError):
            return problem
        raise failure(problem, request, payload, has_begun=exchange.has_begun)

    def _parse(self, text: str) -> URL:
        # Most URLs differ from the one before in their path, and to take in that alone costs half the time.
        if not text.startswith(self._origin_text):
            scheme, _, rest = text.partition("://")
            authority, slash, _ = rest.partition("/")
            if not slash or not _PLAIN_AUTHORITY.fullmatch(authority):
                return URL(text, encoded=True)
            self._origin_text = f"{scheme}://{authority}/"
            self._origin = URL(self._origin_text, encoded=True)
        if "?" in text or "#" in text:
            return URL(text, encoded=True)
        return self._origin.with_path(text[len(self._origin_text) - 1 :], encoded=True)

    async def aclose(self) -> None:
        """Close every connection, unless the session was handed in."""
        self._closed = True
        self._preparing.cancel()
        if self._watch is not None:
            self._watch.close()
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


class _Body:
    """The body of an answer. An iterator of itself, so that there is no generator to finalise when reading stops early."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        request: HttpRequest,
        payload: RequestPayload | None,
        protocol: CheckedProtocol | None,
    ) -> None:
        self._response = response
        self._protocol = protocol
        self._request = request
        self._payload = payload

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except Exception as error:  # noqa: BLE001 - as above
            problem = error
        except BaseException:
            self._response.close()
            raise
        else:
            if chunk:
                if self._protocol is not None:
                    self._protocol.give(len(chunk))
                return chunk
            raise StopAsyncIteration
        await self.aclose()
        raise failure(problem, self._request, self._payload, is_answered=True)

    async def aclose(self) -> None:
        # aiohttp keeps the connection when everything was read, and closes it when bytes remain or the request is still being sent.
        if not self._response.closed:
            self._response.release()
        if self._payload is not None:
            await self._payload.settle()


def create_transport(settings: TransportSettings) -> AiohttpTransport:
    """Make the transport for the running event loop. The factory behind ``Mux(transport="aiohttp")``.

    Raises:
        WrongRuntimeError: The running event loop is not asyncio's (nor uvloop).
    """
    return AiohttpTransport(settings)
