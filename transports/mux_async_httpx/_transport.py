"""`HttpRequest` to httpx and back.

Not httpx's client but its transport does the work: that leaves redirects, cookies, default headers and decompression out from the start.
Bodies on their way out and in are in ``_bodies``, what httpx's exceptions mean stands in a table (``_errors``).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import anyio
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async.errors import ConfigurationError, MissingExtraError
from mux_async.transport import (
    Body,
    ConnectError,
    HttpRequest,
    HttpResponse,
    Phase,
    TransportClosedError,
    TransportSettings,
    TransportTimeoutError,
    callbacks_at_once,
    clear_locals,
    current_loop,
    environment_proxy,
    mark_unsent,
    require_runtime,
)
from mux_async_httpx._bodies import RequestStream, ResponseBody
from mux_async_httpx._connection import UnusableConnectionError, use_checked_backend
from mux_async_httpx._connection_limit import ConnectionLimit, Slot
from mux_async_httpx._errors import Progress, failure
from mux_async_httpx._options import check_settings

if TYPE_CHECKING:
    import ssl

    import httpx2 as httpx


class HttpxTransport:
    """A `mux_async.transport.Transport` over httpx2 or httpx, HTTP/1.1.

    `Timeouts.connect` is granted to each step on the way to a connection: waiting for a free one, TCP, TLS.

    Args:
        settings: Of the connections; ``options`` are arguments of the library's ``AsyncHTTPTransport`` (docs/transports.md lists which).
        library: Which of the two to use; ``None`` takes httpx2 where it is installed, else httpx.

    Raises:
        MissingExtraError: The library is not installed.
        ConfigurationError: A setting cannot be used, or would have no effect.
        WrongRuntimeError: No event loop is running.
    """

    def __init__(self, settings: TransportSettings | None = None, *, library: Literal["httpx", "httpx2"] | None = None) -> None:
        require_runtime("httpx", "asyncio", "trio")
        self._loop = current_loop()
        self._httpx = _import(library)
        self._settings = settings or TransportSettings()
        check_settings(self._settings)
        self._pools: dict[str | None, httpx.AsyncHTTPTransport] = {}
        self._limit = ConnectionLimit(self._settings.max_connections)
        self._closed = False
        self._under_way: dict[anyio.CancelScope, Progress] = {}
        # httpx insists on an instance of its own class, which is only known now.
        self._stream_class = type("RequestStream", (RequestStream, self._httpx.AsyncByteStream), {})
        # A failure to load certificates or options shows here, and not at the first request.
        self._pools[self._settings.proxy] = self._open_pool(self._settings.proxy)

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Perform one exchange. See `mux_async.transport.Transport.send`."""
        if self._closed:
            raise TransportClosedError("httpx")
        try:
            return await self._send(request)
        except BaseException as error:
            del self, request
            clear_locals(error)
            raise

    async def _send(self, request: HttpRequest) -> HttpResponse:
        while True:
            try:
                return await self._try(request)
            except UnusableConnectionError as error:
                if error.is_new:
                    problem = ConnectError(f"no connection to {request.origin}: {error}")
                    break
        raise problem

    async def _try(self, request: HttpRequest) -> HttpResponse:
        progress = Progress(request.method)
        stream: Any = self._stream_class(request.body) if isinstance(request.body, Body) else None
        scope = anyio.CancelScope()
        self._under_way[scope] = progress
        response: httpx.Response | None = None
        problem: BaseException | None = None
        slot: Slot | None = None
        try:
            proxy = self._proxy_for(request.url)
            translated = self._translate(request, stream, progress, proxy)
            with scope:
                pool = self._pool(proxy)
                slot = await self._limit.acquire(request, pool)
                response = await pool.handle_async_request(translated)
        except (UnusableConnectionError, TransportTimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 - the library's, that of the network below it, and of a proxy that cannot be used
            problem = error
        except BaseException as error:
            if progress.phase is Phase.CONNECT:
                mark_unsent(error)
            raise
        finally:
            del self._under_way[scope]
            if response is None and slot is not None:
                slot.end()
            await progress.abandon()
            if stream is not None:
                await stream.close()
        if response is not None and slot is not None:
            items = ((name.decode("ascii"), value.decode("utf-8", "surrogateescape")) for name, value in response.headers.raw)
            headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict(items))
            return HttpResponse(response.status_code, headers, ResponseBody(response, request, slot))
        if stream is not None and stream.error is not None:
            raise stream.error from stream.cause
        if problem is None:
            raise TransportClosedError("httpx")  # while it waited for a connection
        raise failure(problem, request, progress.phase)

    async def aclose(self) -> None:
        """Close every connection. What waits for one, which httpcore would let wait, is refused."""
        self._closed = True
        for scope, progress in self._under_way.items():
            if progress.phase is Phase.CONNECT:
                scope.cancel()
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.aclose()

    def abandon(self) -> None:
        """Close every connection without the event loop, if it is asyncio's. See `mux_async.transport.Abandonable`."""
        self._closed = True
        pools: list[Any] = [getattr(pool, "_pool", None) for pool in self._pools.values()]
        transports = [_asyncio_transport(connection) for pool in pools for connection in getattr(pool, "connections", ())]
        with callbacks_at_once(self._loop):
            for transport in transports:
                if transport is not None:
                    transport.abort()

    def _translate(self, request: HttpRequest, stream: Any, progress: Progress, proxy: str | None) -> httpx.Request:
        headers = [(name.encode("ascii"), value.encode()) for name, value in request.headers.items()]
        timeouts = request.timeouts
        limits = {"pool": timeouts.connect, "connect": timeouts.connect, "read": timeouts.read, "write": timeouts.write}
        extensions: dict[str, Any] = {"timeout": limits, "trace": progress}
        parts = urlsplit(request.url)
        _ = parts.port  # raises where httpcore would fail in its own way
        url = self._httpx.URL(request.url)
        raw_target = request.url[len(f"{parts.scheme}://{parts.netloc}") :].partition("#")[0].encode("ascii") or b"/"
        if url.raw_path != raw_target and proxy is None:
            extensions["target"] = raw_target  # httpx would have quoted it in its own way
        make_request: type[httpx.Request] = self._httpx.Request
        if stream is None:
            content = request.body if isinstance(request.body, bytes) else None
            return make_request(request.method, url, headers=headers, content=content, extensions=extensions)
        length = stream.body.length
        framing = (b"Transfer-Encoding", b"chunked") if length is None else (b"Content-Length", str(length).encode())
        # A request that is given a stream instead of content gets no headers from httpx.
        headers = [(b"Host", url.netloc), *headers, framing]
        return make_request(request.method, url, headers=headers, stream=stream, extensions=extensions)

    def _proxy_for(self, url: str) -> str | None:
        if self._settings.proxy is not None or not self._settings.trust_env:
            return self._settings.proxy
        return environment_proxy(url)

    def _pool(self, proxy: str | None) -> httpx.AsyncHTTPTransport:
        if proxy not in self._pools:
            self._pools[proxy] = self._open_pool(proxy)
        return self._pools[proxy]

    def _open_pool(self, proxy: str | None) -> httpx.AsyncHTTPTransport:
        settings = self._settings
        limits = self._httpx.Limits(
            max_connections=settings.max_connections,
            max_keepalive_connections=settings.max_connections,
            keepalive_expiry=settings.keepalive,
        )
        options: dict[str, Any] = dict(settings.options)
        try:
            pool: httpx.AsyncHTTPTransport = self._httpx.AsyncHTTPTransport(
                verify=settings.ssl_context or self._default_context(),
                trust_env=settings.trust_env,
                limits=limits,
                proxy=proxy,
                **options,
            )
        except (ImportError, TypeError, ValueError, OSError, self._httpx.InvalidURL) as error:
            # socksio is missing, or a value is of a wrong type. What names the proxy may hold its password.
            reason = type(error).__name__ if "://" in str(error) else str(error)
            raise ConfigurationError(f"httpx cannot be set up with these TransportSettings: {reason}") from None
        use_checked_backend(pool)
        return pool

    def _default_context(self) -> ssl.SSLContext:
        named = [os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")] if self._settings.trust_env else []
        return _load_context(self._httpx, tuple(named))


_INWARDS = ("_connection", "_network_stream", "_stream", "transport_stream", "_transport")
"""Where connections of httpcore, and streams of anyio, keep what is inside them."""


def _asyncio_transport(connection: Any) -> Any:
    """Return what asyncio calls a transport; ``None`` where *connection* has none, or is built in another way."""
    inner = connection
    while inner is not None and not hasattr(inner, "abort"):
        inner = next((found for name in _INWARDS if (found := getattr(inner, name, None)) is not None), None)
    return inner


@lru_cache(maxsize=8)
def _load_context(library: Any, named: tuple[str | None, ...]) -> ssl.SSLContext:
    """Load the library's default certificates, which takes 20 ms; transports share them, as aiohttp's connectors do.

    *named* is what the environment says about certificates; empty if it is not trusted.
    """
    context: ssl.SSLContext = library.create_ssl_context(trust_env=bool(named))
    return context


def _import(library: str | None) -> Any:
    for name in (library,) if library is not None else ("httpx2", "httpx"):
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    raise MissingExtraError("the 'httpx' transport", library or "httpx2 or httpx", "httpx")


def create_transport(settings: TransportSettings) -> HttpxTransport:
    """Make the transport for the running event loop. The factory behind ``Mux(transport="httpx")``.

    Raises:
        MissingExtraError: Neither httpx2 nor httpx is installed.
        WrongRuntimeError: No event loop is running.
    """
    return HttpxTransport(settings)
