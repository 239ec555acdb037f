"""What aiohttp's exceptions say about a request, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import aiohttp

from mux_async.transport import ConnectError, Delivery, HttpRequest, Phase, TransportError, TransportTimeoutError

if TYPE_CHECKING:
    from mux_async_aiohttp._payload import RequestPayload

FOREIGN: Final = (aiohttp.ClientError, OSError, ValueError)
"""What aiohttp raises for an exchange that went wrong; ``TimeoutError`` is an ``OSError``."""

Kind: TypeAlias = Literal["no connection", "no connection in time", "silence", "broken"]

TABLE: Final[dict[str, Kind]] = {
    "ClientConnectorCertificateError": "no connection",
    "ClientConnectorDNSError": "no connection",
    "ClientConnectorError": "no connection",
    "ClientConnectorSSLError": "no connection",
    "ClientHttpProxyError": "no connection",  # the proxy refused; the server never heard of it
    "ClientProxyConnectionError": "no connection",
    "ClientSSLError": "no connection",
    "InvalidURL": "no connection",
    "InvalidUrlClientError": "no connection",
    "NonHttpUrlClientError": "no connection",
    "ServerFingerprintMismatch": "no connection",
    "UnixClientConnectorError": "no connection",
    "UnusableConnectionError": "no connection",
    "ValueError": "no connection",  # refused while the request was put together
    "ConnectionTimeoutError": "no connection in time",
    "ServerTimeoutError": "silence",
    "SocketTimeoutError": "silence",
    "TimeoutError": "silence",
    "ClientConnectionError": "broken",
    "ClientConnectionResetError": "broken",
    "ClientError": "broken",
    "ClientOSError": "broken",
    "ClientPayloadError": "broken",
    "ClientResponseError": "broken",  # not HTTP
    "OSError": "broken",
    "ServerConnectionError": "broken",
    "ServerDisconnectedError": "broken",
}
"""By name, because not every release of aiohttp has all of them. Classes that are not in it count as their nearest ancestor."""


def failure(
    error: BaseException | None, request: HttpRequest, payload: RequestPayload | None, *, is_answered: bool = False
) -> Exception:
    """Build what to raise for *error*: what went wrong, in which phase, and what may have reached the server.

    The caller's own body has the first word: what it raised is returned as it is. aiohttp writes the URL, which may hold a signature, into
    some messages; such an exception does not become the cause, but what caused it does.
    """
    if payload is not None and payload.error is not None and not is_answered:
        return payload.error
    result = _build(_kind(error), error, request, payload, is_answered=is_answered)
    while error is not None and "://" in str(error):
        error = error.__cause__
    result.__cause__ = error
    return result


def _kind(error: BaseException | None) -> Kind:
    for cls in type(error).__mro__:
        if cls.__name__ in TABLE:
            return TABLE[cls.__name__]
    return "broken"


def _build(
    kind: Kind, error: BaseException | None, request: HttpRequest, payload: RequestPayload | None, *, is_answered: bool
) -> TransportError:
    origin = request.origin
    text = str(error)
    reason = text if text and "://" not in text else type(error).__name__
    if kind == "no connection" and not is_answered:
        return ConnectError(f"no connection to {origin}: {reason}")
    if kind == "no connection in time" and not is_answered:
        return TransportTimeoutError(
            f"no connection to {origin} within {request.timeouts.connect} s", delivery=Delivery.NEVER_SENT, phase=Phase.CONNECT
        )
    # Without a body, the only write is the whole request, and this is how aiohttp refuses to begin it.
    has_sent = payload.wrote if payload is not None else not isinstance(error, aiohttp.ClientConnectionResetError)
    delivery = Delivery.ANSWERED if is_answered else Delivery.MAYBE_PROCESSED if has_sent else Delivery.NEVER_SENT
    before_answer = Phase.READ_HEAD if payload is None or payload.is_complete else Phase.WRITE
    phase = Phase.READ_BODY if is_answered else before_answer
    if kind == "silence":
        limit = request.timeouts.write if phase is Phase.WRITE else request.timeouts.read
        did = "took no more bytes" if phase is Phase.WRITE else "sent nothing"
        return TransportTimeoutError(f"{origin} {did} for {limit} s ({phase.value})", delivery=delivery, phase=phase)
    return TransportError(f"the connection to {origin} broke ({phase.value}): {reason}", delivery=delivery, phase=phase)
