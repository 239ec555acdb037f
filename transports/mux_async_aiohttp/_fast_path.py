"""The fast path: a request is written to a connection of aiohttp's pool and its answer read from aiohttp's parser, without a session.

A session follows redirects, keeps cookies, traces, looks up proxies, merges headers and sets timers. None of that is wanted here, and
checking for each request that it is not wanted costs more than everything else. So only aiohttp's pool (names, TLS, limits) and parser are
used, and a request with a small body, or none, is one write. docs/performance.md has the numbers.

Four rules keep it correct:

1. The names of aiohttp that it uses have no underscore, but are not documented. `can_use_fast_path` checks once that they exist, in a
   release that this was tested with. Otherwise, and for unusual requests, the session path is used.
2. A tool that replaces the session's methods, as aioresponses and VCR.py do, or traces them, sees every request.
3. It passes the same conformance checks as the session path.
4. The connection is checked (``_connection``) with no await between the check and the write.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from mux_async.transport import HttpRequest, HttpResponse, TransportClosedError, TransportError, TransportSettings, mark_unsent
from mux_async_aiohttp._connection import InactivityTimer, UnusableConnectionError
from mux_async_aiohttp._errors import failure
from mux_async_aiohttp._interception import GENUINE, sending_methods

TESTED: Final = {"3.12", "3.13", "3.14"}
"""Releases of aiohttp that this was tested with."""
SMALL: Final = 32 * 1024
"""Bytes of a body that go out with the head at once, without waiting for the socket."""

_READ_AHEAD: Final = 256 * 1024
"""Unread bytes of an answer, above twice of which reading from the socket pauses. With aiohttp's 64 KiB, a page of a hundred assets
would be paused on its way, which takes a tenth more CPU."""

_ORIGIN = re.compile(r"https?://[a-z0-9_.-]+(:\d+)?(?=/)")
_TARGET = re.compile(r"[!\"$-~]+")
"""Nothing that would end the line, or be left out of it (a fragment)."""
_METHOD = re.compile(r"[A-Z]+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~]*")
_FRAMING: Final = {"connection", "content-length", "expect", "host", "transfer-encoding", "upgrade"}
_BODILESS: Final = {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS, hdrs.METH_TRACE}
_Head: TypeAlias = tuple[object, str, str]
"""Headers, their lines, and what follows the request line of a request without a body."""
_MANY: Final = 16
"""Origins that are remembered."""


def can_use_fast_path(session: aiohttp.ClientSession, settings: TransportSettings) -> bool:
    """Whether requests may bypass *session*, which was made with *settings*."""
    if (
        session.trace_configs
        or settings.proxy is not None
        or settings.trust_env
        or not settings.options.keys() <= {"connector", "connector_owner"}
    ):
        return False
    if ".".join(aiohttp.__version__.split(".")[:2]) not in TESTED:
        return False
    asked = {"skip_payload", "read_until_eof", "auto_decompress", "read_bufsize"}
    return (
        isinstance(session.connector, aiohttp.BaseConnector)
        and asked <= _parameters(ResponseHandler, "set_response_params")
        and {"req", "traces", "timeout"} <= _parameters(aiohttp.BaseConnector, "connect")
        and all(hasattr(ResponseHandler, name) for name in ("read", "set_exception"))
        and all(hasattr(Connection, name) for name in ("protocol", "release", "close"))
    )


def _parameters(cls: type, name: str) -> set[str]:
    method = getattr(cls, name, None)
    return set(inspect.signature(method).parameters) if method is not None else set()


class FastPath:
    """The fast path over the connections of one session.

    Args:
        session: Made by the transport, for which `can_use_fast_path` is true.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        assert session.connector is not None  # noqa: S101 - `can_use_fast_path`
        self._session = session
        self._class = type(session)
        self._connector = session.connector
        self._origins: dict[str, _Origin] = {}
        self._origin: _Origin | None = None

    def write(self, request: HttpRequest) -> tuple[_Origin, bytes] | None:
        """Return where *request* goes and all its bytes; ``None`` when it has to go through the session."""
        body = request.body
        if sending_methods(self._class) != GENUINE:  # rule 2
            return None
        if body is not None and (not isinstance(body, bytes) or len(body) > SMALL):
            return None
        url, origin = request.url, self._origin
        if origin is None or not url.startswith(origin.start):
            origin = self._origin = self._find(url)
            if origin is None:
                return None
        start = origin.length
        if not _TARGET.fullmatch(url, start):
            return None
        head = origin.heads.get(request.method)
        if head is None or head[0] is not request.headers:
            head = origin.head(request.method, request.headers)
            if head is None:
                return None
        if not body:
            return origin, f"{request.method} {url[start:]} HTTP/1.1\r\n{head[2]}".encode()
        text = f"{request.method} {url[start:]} HTTP/1.1\r\n{head[1]}Content-Length: {len(body)}\r\n\r\n"
        return origin, text.encode() + body

    def _find(self, url: str) -> _Origin | None:
        match = _ORIGIN.match(url)
        if match is None:
            return None
        origin = self._origins.get(match[0])
        if origin is None:
            try:
                found = URL(f"{match[0]}/", encoded=True)
                destination = _Destination(hdrs.METH_GET, found, loop=asyncio.get_running_loop(), session=self._session)
            except ValueError:
                return None
            if len(self._origins) >= _MANY:
                self._origins.clear()
            origin = self._origins[match[0]] = _Origin(f"{match[0]}/", destination)
        return origin

    async def send(
        self,
        request: HttpRequest,
        written: tuple[_Origin, bytes],
        timeout: aiohttp.ClientTimeout,
        timer: InactivityTimer | None,
    ) -> HttpResponse:
        """Perform one exchange, up to the head of the answer.

        *written* is what `write` made of *request*; *timeout* is for the connection, and *timer* ends the wait for a silent server.
        """
        origin, data = written
        connection: Connection | None = None
        has_begun = False
        try:
            connection = await self._connector.connect(origin.destination, [], timeout)
            protocol: Any = connection.protocol  # a CheckedProtocol
            while not protocol.begin():
                connection = await self._replace(connection, origin, timeout)
                protocol = connection.protocol
            protocol.set_response_params(
                skip_payload=request.method == hdrs.METH_HEAD,
                read_until_eof=True,
                auto_decompress=False,
                read_bufsize=_READ_AHEAD,
            )
            has_begun = True
            protocol.transport.write(data)
            while True:
                if timer is not None:
                    timer.start(protocol)
                try:
                    message, payload = await protocol.read()
                finally:
                    if timer is not None:
                        timer.stop(protocol)
                status = message.code
                if status >= 200 or status == 101 or status < 100:  # anything else is followed by the answer
                    break
            if request.body and protocol.has_unsent:
                protocol.force_close()
            return HttpResponse(status, message.headers, FastPathBody(connection, payload, request, timer))
        except Exception as error:  # noqa: BLE001 - aiohttp's, its parser's, and those of a connector or resolver that was passed
            problem: Exception = error
            if connection is not None:
                connection.close()
            elif type(error) is TimeoutError:
                problem = aiohttp.ConnectionTimeoutError()
            elif self._connector.closed:
                problem = TransportClosedError("aiohttp")
        except BaseException as error:
            if connection is not None:
                connection.close()
            if not has_begun:
                mark_unsent(error)
            raise
        # Raised out here, so that the original, which may name the URL, is only attached where it is safe to show.
        raise problem if isinstance(problem, TransportError) else failure(problem, request, has_begun=has_begun)

    async def _replace(self, connection: Connection, origin: _Origin, timeout: aiohttp.ClientTimeout) -> Connection:
        """Close a connection that cannot be used, and return another one. A new one is not replaced: the next would be no better."""
        protocol: Any = connection.protocol
        connection.close()
        if protocol.is_new:
            raise UnusableConnectionError(is_new=True)
        try:
            return await self._connector.connect(origin.destination, [], timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error


class _Destination(aiohttp.ClientRequest):
    """Names the destination to aiohttp's pool. It is never sent."""

    _key: ConnectionKey | None = None

    @property
    def connection_key(self) -> ConnectionKey:
        """That of any request, computed once."""
        if self._key is None:
            self._key = super().connection_key
        return self._key


class _Origin:
    """What all requests to one origin have in common."""

    __slots__ = ("destination", "heads", "length", "start")

    def __init__(self, start: str, destination: _Destination) -> None:
        self.start = start
        """With the slash that every target begins with."""
        self.length = len(start) - 1
        self.destination = destination
        self.heads: dict[str, _Head] = {}
        """The last headers, by method, and how they are written."""

    def head(self, method: str, headers: Mapping[str, str]) -> _Head | None:
        """Return how *headers* are written, in ASCII; ``None`` when aiohttp has to look at them."""
        if not _METHOD.fullmatch(method) or method == hdrs.METH_CONNECT:
            return None
        lines = [f"Host: {self.destination.headers[hdrs.HOST]}\r\n"]
        for name, value in headers.items():
            if name.lower() in _FRAMING or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                return None
            lines.append(f"{name}: {value}\r\n")
        text = "".join(lines)
        head = headers, text, f"{text}\r\n" if method in _BODILESS else f"{text}Content-Length: 0\r\n\r\n"
        if isinstance(headers, CIMultiDictProxy):  # anything else may have changed by the next request
            self.heads[method] = head
        return head


class FastPathBody:
    """The body of an answer. An iterator of itself, so that there is no generator to finalise when reading stops early."""

    __slots__ = ("_connection", "_payload", "_request", "_timer")

    def __init__(
        self, connection: Connection, payload: StreamReader, request: HttpRequest, timer: InactivityTimer | None
    ) -> None:
        self._connection = connection
        self._payload = payload
        self._request = request
        self._timer = timer

    def __aiter__(self) -> FastPathBody:
        return self

    async def __anext__(self) -> bytes:
        payload, timer = self._payload, self._timer
        try:
            if timer is not None and not payload.is_eof():
                timer.start(payload)
            chunk = await payload.readany()
        except Exception as error:  # noqa: BLE001 - as above
            problem = error
        except BaseException:
            self._connection.close()
            raise
        else:
            if chunk:
                protocol: Any = self._connection.protocol
                if protocol is not None:
                    protocol.give(len(chunk))
                return chunk
            self._release()
            raise StopAsyncIteration
        finally:
            if timer is not None:
                timer.stop(payload)
        self._connection.close()
        raise failure(problem, self._request, is_answered=True)

    def take_whole(self) -> bytes | None:
        """See `mux_async.transport.WholeBody`."""
        payload = self._payload
        if not payload.is_eof() or payload.exception() is not None:
            return None
        whole = payload.read_nowait()
        connection = self._connection
        if (protocol := connection.protocol) is not None:  # as in `_release`, without a call
            protocol.allowance = 0  # type: ignore[attr-defined]
            connection.release()
        return whole

    async def aclose(self) -> None:
        # The pool keeps a connection whose answer was read to its end, and cuts it when bytes remain.
        if not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientConnectionError("the body was closed"))
        self._release()

    def _release(self) -> None:
        connection = self._connection
        protocol: Any = connection.protocol
        if protocol is not None:  # else it was released before
            protocol.allowance = 0
            connection.release()
