"""`HttpRequest` to wreq and back.

wreq runs connections in a thread of its own, which does not take Python's lock: it wakes the event loop through a socket. Two things it
leaves to others. It opens as many connections as it is asked for, so that those in use are counted here (``_places``). And a body that is
streamed has it take Python's lock in its thread after all, where the end of the interpreter aborts the process (0.13); nor has it a timeout
for writing. Such bodies go by the aiohttp adapter. What wreq's exceptions mean stands in a table (``_errors``).
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import wreq
from multidict import CIMultiDict, CIMultiDictProxy
from wreq.redirect import Policy

from mux_async.transport import (
    Body,
    ConnectError,
    HttpRequest,
    HttpResponse,
    Phase,
    Timeouts,
    TransportClosedError,
    TransportSettings,
    require_runtime,
)
from mux_async_wreq._bodies import ForwardedBody, ResponseBody
from mux_async_wreq._errors import FOREIGN, closed_meanwhile, failure, silence
from mux_async_wreq._exit import watch_running_loop
from mux_async_wreq._places import Places

if TYPE_CHECKING:
    from mux_async_aiohttp import AiohttpTransport

_METHODS = {
    "DELETE": wreq.Method.DELETE,
    "GET": wreq.Method.GET,
    "HEAD": wreq.Method.HEAD,
    "OPTIONS": wreq.Method.OPTIONS,
    "PATCH": wreq.Method.PATCH,
    "POST": wreq.Method.POST,
    "PUT": wreq.Method.PUT,
    "TRACE": wreq.Method.TRACE,
}
_WITH_CONTENT = frozenset(["PATCH", "POST", "PUT"])
"""Methods that say so when their content is empty (RFC 9110, section 8.6)."""
_SMALL = 64 * 1024
"""Bytes that the system's buffers take at once, so that no write timeout could say anything about them; larger bodies are streamed."""


class WreqTransport:
    """A `mux_async.transport.Transport` over a `wreq.Client`, HTTP/1.1.

    `Timeouts.connect` is granted to waiting for a free connection, and again to making one. With ``trust_env``, proxies of the environment
    are used; a ``.netrc`` is not. Of an ``ssl_context`` three things are taken: the authorities that it has loaded, whether it verifies,
    and its lowest version. A client certificate is an option: ``options={"tls_identity": ...}``. How long to connect is a matter of wreq's
    clients, so that connections are kept apart by `Timeouts.connect`.

    Args:
        settings: Of the connections; ``options`` are arguments of `wreq.Client`.

    Raises:
        WrongRuntimeError: The running event loop is not asyncio's (nor uvloop).
    """

    def __init__(self, settings: TransportSettings | None = None) -> None:
        require_runtime("wreq", "asyncio")
        watch_running_loop()
        self._settings = settings or TransportSettings()
        # Its own and not wreq's shared one: threads do not survive a fork, and after one there is a new event loop and so a new transport.
        # One worker carries more than a Python thread can ask for; passing work between several costs CPU.
        self._runtime = wreq.Runtime(workers=1, thread_name="mux-async-wreq")
        self._clients: dict[float | None, wreq.Client] = {}
        self._places = Places(self._settings.max_connections)
        self._open_bodies: set[ResponseBody] = set()
        self._other: AiohttpTransport | None = None
        self._closed = False
        self._origin = "no URL begins like this"
        self._adopt(Timeouts())

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Perform one exchange. See `mux_async.transport.Transport.send`."""
        if self._closed:
            raise TransportClosedError("wreq")
        if request.method not in _METHODS or not request.url.startswith(self._origin):
            self._admit(request)
        body = request.body
        if body is not None and not isinstance(body, bytes):
            if body.length is None or body.length > _SMALL:
                return await self._forward(request)
            body = await _collect(body)
        elif body is not None and len(body) > _SMALL:
            return await self._forward(request)
        if not self._places.take_nowait():
            await self._wait_for_a_place(request)
        try:
            response = await self._ask(request, body)
        except BaseException as error:
            self._places.give_back()
            if self._is_closing(error):
                raise closed_meanwhile(request) from None
            raise
        answer = ResponseBody(response.stream(), request, self._let_go)
        self._open_bodies.add(answer)
        items = [(str(name, "ascii"), str(value, "utf-8", "surrogateescape")) for name, value in response.headers]
        headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict(items))
        return HttpResponse(response.status.as_int(), headers, answer)

    async def aclose(self) -> None:
        """Close every connection."""
        if not self._closed:
            self._closed = True
            for body in list(self._open_bodies):
                body.close()
            for client in self._clients.values():
                client.close()
            # Idle connections go with the last reference to the client that keeps them.
            self._clients.clear()
            del self._client
        if self._other is not None:
            await self._other.aclose()

    async def _ask(self, request: HttpRequest, body: bytes | None) -> wreq.Response:
        if self._closed:  # while the body was collected
            raise TransportClosedError("wreq")
        if request.timeouts is not self._timeouts:
            self._adopt(request.timeouts)
        options = self._options.copy()
        options["headers"] = headers = dict(request.headers)
        if body:
            options["body"] = body
        elif request.method in _WITH_CONTENT:
            headers["Content-Length"] = "0"
        try:
            return await self._client.request(_METHODS[request.method], request.url, **options)
        except FOREIGN as error:
            problem = failure(error, request, Phase.READ_HEAD)
        # Raised out here, so that the original, which names the URL, is only attached where it is safe to show.
        raise problem

    async def _forward(self, request: HttpRequest) -> HttpResponse:
        """Send a body that takes its time by the other transport; its connections count like wreq's."""
        if not self._places.take_nowait():
            await self._wait_for_a_place(request)
        if self._other is None:
            from mux_async_aiohttp import AiohttpTransport

            self._other = AiohttpTransport(attrs.evolve(self._settings, options={}))
        try:
            response = await self._other.send(request)
        except BaseException:
            self._places.give_back()
            raise
        return attrs.evolve(response, body=ForwardedBody(response.body, self._places.give_back))

    async def _wait_for_a_place(self, request: HttpRequest) -> None:
        try:
            await self._places.take(request.timeouts.connect)
        except TimeoutError:
            problem = silence(request, Phase.CONNECT)
        else:
            if not self._closed:
                return
            self._places.give_back()
            raise TransportClosedError("wreq")
        raise problem

    def _is_closing(self, error: BaseException) -> bool:
        """Whether *error* is how a client that is closed ends its requests, and no cancellation of this task."""
        task = asyncio.current_task()
        return self._closed and isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()

    def _let_go(self, body: ResponseBody) -> None:
        self._open_bodies.discard(body)
        self._places.give_back()

    def _admit(self, request: HttpRequest) -> None:
        """Refuse what wreq could not ask. It would ask port 80 in the place of a port that is none."""
        try:
            parts = urlsplit(request.url)
            is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            origin = f"{parts.scheme}://{parts.netloc}/"
        except ValueError:
            is_fit, origin = False, ""
        if not is_fit:
            raise ConnectError(f"no connection to {request.origin}: it is no address of a web server")
        if request.method not in _METHODS:
            raise ConnectError(f"no connection to {request.origin}: wreq has no method {request.method!r}")
        self._origin = origin

    def _adopt(self, timeouts: Timeouts) -> None:
        """Set up for *timeouts*: most requests have those of the one before. How long to connect is a matter of the client, in wreq."""
        self._timeouts = timeouts
        self._options: dict[str, Any] = {} if timeouts.read is None else {"read_timeout": timedelta(seconds=timeouts.read)}
        if timeouts.connect not in self._clients:
            self._clients[timeouts.connect] = _open_client(self._settings, timeouts.connect, self._runtime)
        self._client = self._clients[timeouts.connect]


async def _collect(body: Body) -> bytes:
    """Read a body that is small in any case, its generator closed after it."""
    async with aclosing(body.pieces()) as pieces:
        return b"".join([piece async for piece in pieces])


def _open_client(settings: TransportSettings, connect: float | None, runtime: wreq.Runtime) -> wreq.Client:
    options: dict[str, Any] = {
        "runtime": runtime,
        "http1_only": True,
        "redirect": Policy.none(),
        "referer": False,
        "gzip": False,
        "brotli": False,
        "deflate": False,
        "zstd": False,
        "pool_idle_timeout": timedelta(seconds=settings.keepalive),
        "pool_max_idle_per_host": settings.max_connections,
        "pool_max_size": settings.max_connections,
        "tcp_user_timeout": timedelta(0),  # the system's; silence is what the timeouts of a request are for
    }
    if connect is not None:
        options["connect_timeout"] = timedelta(seconds=connect)
    if settings.proxy is not None:
        options["proxies"] = [wreq.Proxy.all(settings.proxy)]
    elif not settings.trust_env:
        options["no_proxy"] = True
    if settings.ssl_context is not None:
        options |= _tls(settings.ssl_context)
    options |= settings.options
    return wreq.Client(**options)


def _tls(context: ssl.SSLContext) -> dict[str, Any]:
    if context.verify_mode is ssl.CERT_NONE:
        return {"tls_verify": False, "tls_verify_hostname": False}
    options: dict[str, Any] = {
        "tls_verify": wreq.CertStore(der_certs=context.get_ca_certs(binary_form=True)),
        "tls_verify_hostname": context.check_hostname,
    }
    lowest = {ssl.TLSVersion.TLSv1_2: wreq.TlsVersion.TLS_1_2, ssl.TLSVersion.TLSv1_3: wreq.TlsVersion.TLS_1_3}
    if context.minimum_version in lowest:
        options["tls_min_version"] = lowest[context.minimum_version]
    return options


def create_transport(settings: TransportSettings) -> WreqTransport:
    """Make the transport for the running event loop. The factory behind ``Mux(transport="wreq")``.

    Raises:
        WrongRuntimeError: The running event loop is not asyncio's (nor uvloop).
    """
    return WreqTransport(settings)
