"""One request on its way through aiohttp's session: the middleware next to the network, and how it is kept from being sent twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from multidict import CIMultiDict

from mux_async.transport import HttpRequest
from mux_async_aiohttp._connection import CheckedProtocol, check_connection
from mux_async_aiohttp._interception import is_genuine

AUTO_HEADERS: Final = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSENDABLE = re.compile(r"[\r\n\0]")


class ConnectionLostError(Exception):
    """Carries aiohttp's exception, as its cause, past aiohttp's own retry."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Hide a lost connection from aiohttp, which would put the request on the wire a second time. Whether to is the engine's call."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionLostError from error


def middlewares_of(session: aiohttp.ClientSession, *, is_ours: bool) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Keep *session* from sending a request twice, and return the middlewares that requests need for that, with its own.

    A session of our own has a switch for it, as aiohttp's own test client uses it. It is not documented: where it is not found, and for
    somebody else's session, a middleware does the same for a few microseconds a request.
    """
    # A request's own middlewares replace those of its session, which have to be passed on. There is no public name for them.
    own: tuple[aiohttp.ClientMiddlewareType, ...] = tuple(getattr(session, "_middlewares", ()))
    switch = "_retry_connection"
    if is_ours and getattr(session, switch, None) is True:
        setattr(session, switch, False)
        return own
    return (_send_once, *own)


def check_head(request: HttpRequest) -> None:
    """Refuse what aiohttp would refuse after it has begun to write, when it does not say any more whether something left."""
    for name, value in [("", request.method), *request.headers.items()]:
        if not _TOKEN.fullmatch(name or value) or _UNSENDABLE.search(value):
            raise ValueError(f"the {f'header {name!r}' if name else 'method'} holds what cannot be written in a line")


class Exchange:
    """The innermost middleware, for one request: checks the connection that it is given, and sees whether it was written to.

    Attributes:
        has_begun: Whether bytes may have been written; ``None`` when that cannot be seen, because a method of the session is replaced.
        headers: To pass to the session.
        protocol: Of the connection that was written to, if it is one of ours; ``None`` before that.
    """

    def __init__(self, session: aiohttp.ClientSession, request: HttpRequest) -> None:
        self.has_begun = False if is_genuine(session) else None
        self.headers: Mapping[str, str] = request.headers
        self.protocol: CheckedProtocol | None = None
        self._authorization: str | None = None
        if session.trust_env and hdrs.AUTHORIZATION in request.headers:
            # The session would refuse the header where a .netrc names the host; it is put in its place afterwards.
            headers = CIMultiDict(request.headers)
            self._authorization = headers.pop(hdrs.AUTHORIZATION)
            self.headers = headers

    async def __call__(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Perform *request*, over a connection that is fit for it. If it is not, nothing was written (`UnusableConnectionError`)."""
        send = request.send

        async def begin(connection: Connection) -> aiohttp.ClientResponse:
            check_connection(request, connection)
            self.protocol = connection.protocol if isinstance(connection.protocol, CheckedProtocol) else None
            self.has_begun = True
            return await send(connection)

        vars(request)["send"] = begin  # whoever made the session may have chosen the class of its requests
        if self._authorization is not None:
            request.headers[hdrs.AUTHORIZATION] = self._authorization
        response = await handler(request)
        if self.protocol is not None:
            response.content.on_eof(self.protocol.end)
        return response
