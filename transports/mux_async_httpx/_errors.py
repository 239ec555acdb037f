"""What httpx's exceptions say about a request, as a table, together with how far it got."""

from __future__ import annotations

import re
from typing import Any, Final

import anyio

from mux_async.transport import ConnectError, Delivery, HttpRequest, Phase, TransportError
from mux_async.transport_errors import Failure, build_error, failure_of, set_cause

TABLE: Final[dict[str, Failure]] = {
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
"""Classes of failures that another attempt would repeat."""

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
    result = _build(failure_of(error, TABLE), error, request, phase)
    set_cause(result, error, _may_be_shown)
    return result


def _may_be_shown(error: BaseException) -> bool:
    text = str(error)
    if any(cls.__name__ in _HOLD_WHAT_WAS_SENT for cls in type(error).__mro__):
        return _FIXED.fullmatch(text) is not None
    return "://" not in text


def _build(kind: Failure, error: BaseException, request: HttpRequest, phase: Phase) -> TransportError:
    text = str(error)
    reason = text if text and _may_be_shown(error) else type(error).__name__
    if reason == "RemoteProtocolError":
        reason = f"what it sent is not HTTP/1.1 ({reason})"
    if phase is Phase.CONNECT or kind.startswith("no connection"):
        is_late = kind in ("no connection in time", "silence")
        if not is_late and type(error).__name__ in _PERMANENT:
            return ConnectError(f"no connection to {request.origin}: {reason}", is_permanent=True)
        kind = "no connection in time" if is_late else "no connection"
        return build_error(kind, reason, request, phase=Phase.CONNECT, delivery=Delivery.NEVER_SENT, cause=error)
    delivery = Delivery.ANSWERED if phase is Phase.READ_BODY else Delivery.MAYBE_PROCESSED
    return build_error(kind, reason, request, phase=phase, delivery=delivery)
