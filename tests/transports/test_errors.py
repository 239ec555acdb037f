"""The tables of foreign errors are complete: an exception class that a library gains has to be placed before the tests pass."""

from __future__ import annotations

import importlib
from typing import Any

import aiohttp
import pytest

import mux_async_aiohttp._errors as aiohttp_errors
import mux_async_httpx._errors as httpx_errors
from mux_async.transport import (
    ConnectError,
    Delivery,
    HttpRequest,
    Phase,
    Timeouts,
    TransportError,
    TransportTimeoutError,
)

REQUEST = HttpRequest("POST", "https://api.test/v1?Signature=secret", timeouts=Timeouts(1, 2, 3))

NOT_OF_A_REQUEST = {
    # Raised by parts of the libraries that the adapters do not use.
    "ContentTypeError": "decoding JSON",
    "InvalidUrlRedirectClientError": "following redirects",
    "NonHttpUrlRedirectClientError": "following redirects",
    "RedirectClientError": "following redirects",
    "TooManyRedirects": "following redirects",
    "UploadAbortedError": "awaiting an UploadTracker",
    "WSMessageTypeError": "websockets",
    "WSServerHandshakeError": "websockets",
    "WebSocketError": "websockets",
    "EofStream": "reading streams to their end by hand",
    "CookieConflict": "the cookie jar",
    "DecodingError": "decompression",
    "HTTPStatusError": "raise_for_status",
    "SSEError": "server-sent events",
    "RequestNotRead": "reading through the client",
    "ResponseNotRead": "reading through the client",
    "StreamConsumed": "reading through the client",
}


def _exceptions(module: Any) -> dict[str, type[Exception]]:
    found = {name: getattr(module, name) for name in module.__all__}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, Warning)
    }


def test_aiohttp_table_is_complete() -> None:
    """Every exception that aiohttp exports is in the table, or is known to be about something else."""
    missing = set(_exceptions(aiohttp)) - set(aiohttp_errors.TABLE) - set(NOT_OF_A_REQUEST)

    assert not missing


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_httpx_table_is_complete(library: str) -> None:
    """Every exception that httpx and httpx2 export is in the table, or is known to be about something else."""
    missing = set(_exceptions(importlib.import_module(library))) - set(httpx_errors.TABLE) - set(NOT_OF_A_REQUEST)

    assert not missing


@pytest.mark.parametrize("name", [name for name in aiohttp_errors.TABLE if hasattr(aiohttp, name)])
def test_aiohttp_exceptions_are_caught(name: str) -> None:
    """What is in the table is caught by the adapter."""
    assert issubclass(getattr(aiohttp, name), aiohttp_errors.FOREIGN)


@pytest.mark.parametrize(
    ("error", "kind", "delivery", "phase"),
    [
        (aiohttp.ConnectionTimeoutError(), TransportTimeoutError, Delivery.NEVER_SENT, Phase.CONNECT),
        (aiohttp.ServerFingerprintMismatch(b"a", b"b", "h", 1), ConnectError, Delivery.NEVER_SENT, Phase.CONNECT),
        (aiohttp.SocketTimeoutError(), TransportTimeoutError, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD),
        (aiohttp.ServerDisconnectedError(), TransportError, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD),
        (aiohttp.ClientOSError(104, "reset"), TransportError, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD),
        (aiohttp.ClientConnectionResetError("closing"), TransportError, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD),
        (ValueError("by a mock"), TransportError, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD),
        (aiohttp.ClientPayloadError("cut"), TransportError, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD),
    ],
)
def test_aiohttp_mapping(error: Exception, kind: type[TransportError], delivery: Delivery, phase: Phase) -> None:
    """Errors of the library before a response are mapped, with delivery and phase."""
    mapped = aiohttp_errors.failure(error, REQUEST, None)

    assert type(mapped) is kind
    assert isinstance(mapped, TransportError)
    assert (mapped.delivery, mapped.phase) == (delivery, phase)


@pytest.mark.parametrize(
    "error", [aiohttp.InvalidURL("x"), ValueError("x"), aiohttp.SocketTimeoutError(), KeyError("x")], ids=repr
)
def test_aiohttp_writing_decides(error: Exception) -> None:
    """If it is known whether writing began, that decides on the delivery, not the class of the error."""
    before, after = (aiohttp_errors.failure(error, REQUEST, has_begun=begun) for begun in (False, True))
    refused = aiohttp_errors.failure(aiohttp.ClientConnectionResetError("closing"), REQUEST, has_begun=True)

    for mapped, wanted in [(before, Delivery.NEVER_SENT), (after, Delivery.MAYBE_PROCESSED), (refused, Delivery.NEVER_SENT)]:
        assert isinstance(mapped, TransportError)
        assert mapped.delivery is wanted


def test_aiohttp_class_of_tomorrow() -> None:
    """An exception class that the table does not know counts as its nearest ancestor that it does."""

    class BrandNewError(aiohttp.SocketTimeoutError):
        pass

    assert isinstance(aiohttp_errors.failure(BrandNewError(), REQUEST, None), TransportTimeoutError)


def test_signatures_stay_out_of_sight() -> None:
    """A foreign message that holds the URL is neither quoted nor chained; what caused it is."""
    cause = TimeoutError("inner")
    error = aiohttp.ConnectionTimeoutError(f"Connection timeout to host {REQUEST.url}")
    error.__cause__ = cause
    for mapped in (
        aiohttp_errors.failure(error, REQUEST, None),
        aiohttp_errors.failure(aiohttp.ClientOSError(None, f"Can not write request body for {REQUEST.url}"), REQUEST, None),
        httpx_errors.failure(ValueError(REQUEST.url), REQUEST, Phase.CONNECT),
    ):
        assert "secret" not in str(mapped)
        assert "secret" not in str(mapped.__cause__)

    assert aiohttp_errors.failure(error, REQUEST, None).__cause__ is cause


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_httpx_mapping(library: str) -> None:
    """For httpx the phase of the request decides on the delivery; the class only tells timeouts from other errors."""
    module = importlib.import_module(library)
    failure = httpx_errors.failure

    assert isinstance(failure(module.ReadError("x"), REQUEST, Phase.CONNECT), ConnectError)
    assert isinstance(failure(module.ProxyError("x"), REQUEST, Phase.READ_HEAD), ConnectError)
    pool = failure(module.PoolTimeout("x"), REQUEST, Phase.CONNECT)
    assert isinstance(pool, TransportTimeoutError)
    assert pool.delivery is Delivery.NEVER_SENT
    late = failure(module.ReadTimeout("x"), REQUEST, Phase.READ_BODY)
    assert isinstance(late, TransportTimeoutError)
    assert late.delivery is Delivery.ANSWERED
    stalled = failure(module.WriteTimeout("x"), REQUEST, Phase.WRITE)
    assert (stalled.delivery, stalled.phase) == (Delivery.MAYBE_PROCESSED, Phase.WRITE)
    assert "3 s" in str(stalled)
