"""`HttpRequest` to aiohttp and back.

Three habits of aiohttp are turned off here: it sends a request of an idempotent verb again by itself when a kept connection turns out to
be closed (``_send_once``), adds headers of its own, and decompresses. How far a request got is seen by the payload (``_payload``),
what aiohttp's exceptions mean stands in a table (``_errors``).
"""

from __future__ import annotations

from typing import Any

import aiohttp
from yarl import URL

from mux_async.transport import (
    HttpRequest,
    HttpResponse,
    Timeouts,
    TransportClosedError,
    TransportSettings,
    require_runtime,
)
from mux_async_aiohttp._errors import FOREIGN, failure
from mux_async_aiohttp._payload import RequestPayload

_NO_AUTO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class _ConnectionLost(Exception):  # noqa: N818 - never leaves this module
    """Carries aiohttp's exception, as its cause, past aiohttp's own retry."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Hide a lost connection from aiohttp, which would put the request on the wire a second time. Whether to is the engine's call."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLost from error


class AiohttpTransport:
    """A `mux_async.transport.Transport` over an `aiohttp.ClientSession`.

    Args:
        settings: Of the connections; ``options`` are arguments of `aiohttp.ClientSession`.
        session: A session to use instead of making one. It is not closed here, *settings* do not apply to it, and what it was set up
            with does: its cookie jar, default headers and proxy. Its client middlewares are not run.

    Raises:
        WrongRuntimeError: The running event loop is not asyncio's (nor uvloop).
    """

    def __init__(self, settings: TransportSettings | None = None, *, session: aiohttp.ClientSession | None = None) -> None:
        require_runtime("aiohttp", "asyncio")
        self._owns_session = session is None
        self._session = session if session is not None else _open_session(settings or TransportSettings())
        self._closed = False
        self._timeouts = Timeouts()
        self._client_timeout = _client_timeout(self._timeouts)

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Perform one exchange. See `mux_async.transport.Transport.send`."""
        session = self._session
        if self._closed or session.closed:
            raise TransportClosedError("aiohttp")
        if request.timeouts is not self._timeouts:
            self._timeouts, self._client_timeout = request.timeouts, _client_timeout(request.timeouts)
        payload = RequestPayload(request.body, request.timeouts.write) if request.body else None
        try:
            response = await session.request(
                request.method,
                URL(request.url, encoded=True),
                data=payload,
                headers=request.headers,
                skip_auto_headers=_NO_AUTO_HEADERS,
                timeout=self._client_timeout,
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
                middlewares=(_send_once,),
            )
        except _ConnectionLost as lost:
            problem = lost.__cause__
        except FOREIGN as error:
            problem = error
        except BaseException:
            if payload is not None:
                await payload.settle()
            raise
        else:
            return HttpResponse(response.status, response.headers, _Body(response, request, payload))
        # Raised out here, so that the original, which may name the URL, is only attached where it is safe to show.
        if payload is not None:
            await payload.settle()
        raise failure(problem, request, payload)

    async def aclose(self) -> None:
        """Close every connection, unless the session was handed in."""
        self._closed = True
        if self._owns_session:
            await self._session.close()


class _Body:
    """The body of an answer. An iterator of itself, so that there is no generator to finalise when reading stops early."""

    def __init__(self, response: aiohttp.ClientResponse, request: HttpRequest, payload: RequestPayload | None) -> None:
        self._response = response
        self._request = request
        self._payload = payload

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except FOREIGN as error:
            problem = error
        except BaseException:
            self._response.close()
            raise
        else:
            if chunk:
                return chunk
            raise StopAsyncIteration
        await self.aclose()
        raise failure(problem, self._request, self._payload, is_answered=True)

    async def aclose(self) -> None:
        # aiohttp keeps the connection when everything was read, and closes it when bytes remain or the request is still being sent.
        self._response.release()
        if self._payload is not None:
            await self._payload.settle()


def _open_session(settings: TransportSettings) -> aiohttp.ClientSession:
    options: dict[str, Any] = dict(settings.options)
    if "connector" not in options:
        options["connector"] = aiohttp.TCPConnector(
            limit=settings.max_connections,
            keepalive_timeout=settings.keepalive,
            ssl=settings.ssl_context if settings.ssl_context is not None else True,
        )
    options.setdefault("cookie_jar", aiohttp.DummyCookieJar())
    return aiohttp.ClientSession(proxy=settings.proxy, trust_env=settings.trust_env, **options)


def _client_timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_read=timeouts.read)


def create_transport(settings: TransportSettings) -> AiohttpTransport:
    """Make the transport for the running event loop. The factory behind ``Mux(transport="aiohttp")``.

    Raises:
        WrongRuntimeError: The running event loop is not asyncio's (nor uvloop).
    """
    return AiohttpTransport(settings)
