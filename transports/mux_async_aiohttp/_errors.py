"""What aiohttp's exceptions say about a request, as a table."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import http_exceptions

from mux_async.transport import ConnectError, Delivery, HttpRequest, Phase, TransportError
from mux_async.transport_errors import Failure, build_error, failure_of, set_cause

if TYPE_CHECKING:
    from mux_async_aiohttp._payload import RequestPayload

FOREIGN: Final = (aiohttp.ClientError, http_exceptions.HttpProcessingError, OSError, ValueError)
"""What aiohttp raises for an exchange that went wrong; ``TimeoutError`` is an ``OSError``. Anything else is of somebody who takes part."""

TABLE: Final[dict[str, Failure]] = {
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


_PERMANENT: Final = {"InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError", "ServerFingerprintMismatch", "ValueError"}
"""Classes of failures that another attempt would repeat."""

_ABOUT_ANSWERS: Final = (
    aiohttp.ClientResponseError,
    aiohttp.ClientPayloadError,
    http_exceptions.HttpProcessingError,
    UnicodeError,
)
"""Classes whose messages hold what the server sent."""

_OF_A_BODY = re.compile(r"Not enough data to satisfy (content|transfer) length header( \(received \d+ of \d+ bytes\))?")
"""What aiohttp says about a body that broke off."""


def failure(
    error: BaseException | None,
    request: HttpRequest,
    payload: RequestPayload | None = None,
    *,
    has_begun: bool | None = None,
    is_answered: bool = False,
) -> Exception:
    """Build what to raise for *error*: what went wrong, in which phase, and what may have reached the server.

    The caller's own body has the first word: what it raised is returned as it is. Some of aiohttp's messages hold the URL, which may be
    signed, and some hold what the server sent; neither is shown, and such an exception does not become the cause, but what caused it may.

    Args:
        error: What was caught.
        request: What was to be sent.
        payload: Of a streamed or large body; it knows whether bytes of it were written.
        has_begun: Whether writing began. Before that nothing left, whatever the class of *error*; after it no class proves that. ``None``
            when somebody stood in for aiohttp's session, and only the class can tell.
        is_answered: Whether the head of the answer had arrived.
    """
    if payload is not None and payload.error is not None and not is_answered:
        return payload.error
    result = _build(error, request, payload, has_begun=has_begun, is_answered=is_answered)
    set_cause(result, error, partial(_may_be_shown, request=request))
    return result


def _is_unfit(text: str, request: HttpRequest) -> bool:
    """Whether a message of aiohttp's may not be shown: it names the URL, or speaks of TLS where there is none (``ssl:default``)."""
    return "://" in text or ("ssl:" in text and request.url.startswith("http:"))


def _may_be_shown(error: BaseException, request: HttpRequest) -> bool:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else it is the head that had arrived
    return not isinstance(error, _ABOUT_ANSWERS) and not _is_unfit(str(error), request)


def _reason(error: BaseException | None, request: HttpRequest) -> str:
    """Say what went wrong, in words that hold nothing of the URL and nothing that the server sent."""
    if error is None:
        return "unknown"
    # The origin is in our own message, so what aiohttp writes around the system's error says nothing more.
    inner: object = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    text = str(inner or error)
    if text and not _is_unfit(text, request) and _may_be_shown(inner if isinstance(inner, BaseException) else error, request):
        return text
    known = _OF_A_BODY.search(text) if isinstance(error, aiohttp.ClientPayloadError) else None
    if known is not None:
        return known[0]
    is_about_answer = isinstance(error, _ABOUT_ANSWERS)
    while error.__cause__ is not None and not _may_be_shown(error.__cause__, request):
        error = error.__cause__  # more precise: BadStatusLine, LineTooLong, TransferEncodingError, ...
    name = type(error).__name__
    return f"what it sent is not HTTP/1.1 ({name})" if is_about_answer else name


def _has_sent(error: BaseException | None, kind: Failure, payload: RequestPayload | None, has_begun: bool | None) -> bool:
    """Whether bytes of the request may have left."""
    if has_begun is None:
        return not (kind in ("no connection", "no connection in time") and isinstance(error, aiohttp.ClientError))
    if not has_begun or payload is not None:
        return has_begun and payload is not None and payload.wrote
    # Without a body, the only write is the whole request, and this is how aiohttp refuses to begin it.
    return not isinstance(error, aiohttp.ClientConnectionResetError)


def _build(
    error: BaseException | None,
    request: HttpRequest,
    payload: RequestPayload | None,
    *,
    has_begun: bool | None,
    is_answered: bool,
) -> TransportError:
    kind = failure_of(error, TABLE)
    reason = _reason(error, request)
    has_sent = _has_sent(error, kind, payload, has_begun)
    if not has_sent and not is_answered and kind.startswith("no connection"):
        if kind == "no connection" and type(error).__name__ in _PERMANENT:
            return ConnectError(f"no connection to {request.origin}: {reason}", is_permanent=True)
        return build_error(kind, reason, request, phase=Phase.CONNECT, delivery=Delivery.NEVER_SENT, cause=error)
    delivery = Delivery.ANSWERED if is_answered else Delivery.MAYBE_PROCESSED if has_sent else Delivery.NEVER_SENT
    before_answer = Phase.READ_HEAD if payload is None or payload.is_complete else Phase.WRITE
    phase = Phase.READ_BODY if is_answered else before_answer if has_begun is not False else Phase.CONNECT
    if not isinstance(error, FOREIGN):
        return TransportError(
            f"{type(error).__name__} was raised by what takes part in the request to {request.origin} ({phase.value}), a middleware, a "
            f"trace or a resolver: {reason}",
            delivery=delivery,
            phase=phase,
        )
    return build_error("broken" if kind == "no connection" else kind, reason, request, phase=phase, delivery=delivery)
