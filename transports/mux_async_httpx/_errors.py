"""What httpx's exceptions say about a request, as a table, together with how far it got."""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeAlias

import anyio

from mux_async.transport import (
    ConnectError,
    Delivery,
    HttpRequest,
    Phase,
    TransportError,
    TransportTimeoutError,
    is_permanent,
)

Kind: TypeAlias = Literal["no connection", "no connection in time", "silence", "broken"]

TABLE: Final[dict[str, Kind]] = {
    "ConnectError": "no connection",
    "InvalidURL": "no connection",
    "ProxyError": "no connection",  # the proxy refused; the server never heard of it
    "UnsupportedProtocol": "no connection",
    "ConnectTimeout": "no connection in time",
    "PoolTimeout": "no connection in time",
    "ReadTimeout": "silence",
    "TimeoutException": "silence",
    "WriteTimeout": "silence",
    "CloseError": "broken",
    "HTTPError": "broken",
    "LocalProtocolError": "broken",  # the body is longer or shorter than declared
    "NetworkError": "broken",
    "OSError": "broken",
    "ProtocolError": "broken",
    "ReadError": "broken",
    "RemoteProtocolError": "broken",
    "RequestError": "broken",
    "StreamClosed": "broken",
    "StreamError": "broken",
    "TransportError": "broken",
    "ValueError": "broken",
    "WriteError": "broken",
}
"""By name, so that one table serves httpx and httpx2. Classes that are not in it count as their nearest ancestor."""


class Progress:
    """How far one request got, as httpcore tells it by the ``trace`` extension of the request.

    Args:
        method: Of the request.
    """

    def __init__(self, method: str) -> None:
        self._method = method.encode()
        self.phase = Phase.CONNECT
        self._connecting: Any = None
        """A network stream of httpcore's that is not yet a connection."""

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Note an event: ``connection.connect_tcp.complete``, ``http11.send_request_headers.started``, ...

        httpcore writes *info* to its log at debug level after this. What the server sent does not belong there.
        """
        _, step, moment = event.split(".")
        if moment == "failed":
            info["exception"] = type(info["exception"])
        elif step == "receive_response_headers" and moment == "complete":
            info["return_value"] = info["return_value"][:2]  # without the reason and the headers
        if step in ("connect_tcp", "start_tls") or self._is_for_proxy(info.get("request")):
            self.phase = Phase.CONNECT
            self._connecting = info.get("return_value", self._connecting)
        elif step == "send_request_headers" and moment == "started":
            self.phase = Phase.WRITE
            self._connecting = None
        elif step == "receive_response_headers" and moment == "started":
            self.phase = Phase.READ_HEAD

    def _is_for_proxy(self, request: Any) -> bool:
        """Whether *request*, of httpcore, is the one that asks a proxy for a connection; the server does not hear of that."""
        return request is not None and request.method == b"CONNECT" != self._method

    async def abandon(self) -> None:
        """Close what a cancellation left between TCP and TLS: httpcore 1.0.9 and httpcore2 2.16.2 close it for errors only."""
        if self._connecting is not None:
            with anyio.CancelScope(shield=True):
                await self._connecting.aclose()


_PERMANENT: Final = {"InvalidURL", "UnsupportedProtocol", "ValueError"}
"""What would happen again, whenever it is tried."""

_HOLD_WHAT_WAS_SENT: Final = {"RemoteProtocolError", "ProxyError", "ValueError"}
"""Classes whose messages hold what the server sent, of h11, httpcore and httpx."""
_FIXED = re.compile(
    r"Server disconnected without sending a response\.?"
    r"|peer closed connection without sending complete message body \((received \d+ bytes, expected \d+|incomplete chunked read)\)"
)
"""Such messages that do not."""


def failure(error: BaseException, request: HttpRequest, phase: Phase) -> TransportError:
    """Build what to raise for *error*: what went wrong, in which *phase*, and what may have reached the server.

    Some messages hold the URL, which may be signed, and some hold what the server sent; neither is shown, and such an exception does
    not become the cause, but what caused it may.
    """
    result = _build(_kind(error), error, request, phase)
    cause: BaseException | None = error
    while cause is not None and not _may_be_attached(cause):
        cause = cause.__cause__
    result.__cause__ = cause
    return result


def _may_be_shown(error: BaseException) -> bool:
    text = str(error)
    if any(cls.__name__ in _HOLD_WHAT_WAS_SENT for cls in type(error).__mro__):
        return _FIXED.fullmatch(text) is not None
    return "://" not in text


def _may_be_attached(error: BaseException | None) -> bool:
    for _ in range(10):  # exceptions can cause each other
        if error is None:
            return True
        if not _may_be_shown(error):
            return False
        error = error.__cause__ or error.__context__
    return False


def _kind(error: BaseException | None) -> Kind:
    for cls in type(error).__mro__:
        if cls.__name__ in TABLE:
            return TABLE[cls.__name__]
    return "broken"


def _build(kind: Kind, error: BaseException, request: HttpRequest, phase: Phase) -> TransportError:
    origin = request.origin
    text = str(error)
    reason = text if text and _may_be_shown(error) else type(error).__name__
    if reason == "RemoteProtocolError":
        reason = f"what it sent is not HTTP/1.1 ({reason})"
    timeouts = request.timeouts
    if phase is Phase.CONNECT or kind in ("no connection", "no connection in time"):
        if kind in ("no connection in time", "silence"):
            return TransportTimeoutError(
                f"no connection to {origin} within {timeouts.connect} s", delivery=Delivery.NEVER_SENT, phase=Phase.CONNECT
            )
        is_final = type(error).__name__ in _PERMANENT or is_permanent(error)
        return ConnectError(f"no connection to {origin}: {reason}", is_permanent=is_final)
    delivery = Delivery.ANSWERED if phase is Phase.READ_BODY else Delivery.MAYBE_PROCESSED
    if kind == "silence":
        limit = timeouts.write if phase is Phase.WRITE else timeouts.read
        did = "took no more bytes" if phase is Phase.WRITE else "sent nothing"
        return TransportTimeoutError(f"{origin} {did} for {limit} s ({phase.value})", delivery=delivery, phase=phase)
    return TransportError(f"the connection to {origin} broke ({phase.value}): {reason}", delivery=delivery, phase=phase)
