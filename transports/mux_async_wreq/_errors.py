"""What wreq's exceptions say about a request, as a table."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from wreq import exceptions

from mux_async.transport import ConnectError, Delivery, HttpRequest, Phase, TransportError, TransportTimeoutError

FOREIGN: Final = (
    exceptions.BodyError,
    exceptions.BuilderError,
    exceptions.ConnectionError,
    exceptions.ConnectionResetError,
    exceptions.DecodingError,
    exceptions.ProxyConnectionError,
    exceptions.RequestError,
    exceptions.RustPanic,
    exceptions.TimeoutError,
    exceptions.TlsError,
    exceptions.UpgradeError,
    RuntimeError,
    ValueError,
)
"""What wreq raises for an exchange that went wrong. Its own classes have no common ancestor."""

Kind: TypeAlias = Literal["no connection", "broken"]

TABLE: Final[dict[str, Kind]] = {
    "BuilderError": "no connection",  # refused while the request was put together
    "ConnectionError": "no connection",
    "ProxyConnectionError": "no connection",  # the server never heard of it
    "TlsError": "no connection",
    "ValueError": "no connection",
    "BodyError": "broken",
    "ConnectionResetError": "broken",
    "DecodingError": "broken",  # not HTTP, or less of it than was declared
    "RequestError": "broken",
    "RuntimeError": "broken",
    "RustPanic": "broken",
    "TimeoutError": "broken",
    "UpgradeError": "broken",  # what wreq raises for everything that it has no other class for
}
"""Whether a request that ended so before an answer may have left."""

_OS_MESSAGE = re.compile(r'message: "([^"]*)"')


def failure(error: BaseException, request: HttpRequest, phase: Phase) -> TransportError:
    """Build what to raise for *error*: what went wrong, in which *phase*, and what may have reached the server.

    wreq's messages are Rust's view of the error, and most begin with the URL, which may hold a signature. What stands behind that tells a
    timeout from the rest, and a message of the operating system is quoted; an exception that shows the URL does not become the cause.
    """
    text = str(error)
    result = _build(type(error).__name__, text.partition("source: ")[2], request, phase)
    result.__cause__ = None if "://" in text else error
    return result


def silence(request: HttpRequest, phase: Phase) -> TransportTimeoutError:
    """Build what to raise when nothing moved for as long as *phase* allows."""
    if phase is Phase.CONNECT:
        limit = request.timeouts.connect
        return TransportTimeoutError(
            f"no connection to {request.origin} within {limit} s", delivery=Delivery.NEVER_SENT, phase=phase
        )
    limit = request.timeouts.write if phase is Phase.WRITE else request.timeouts.read
    did = "took no more bytes" if phase is Phase.WRITE else "sent nothing"
    return TransportTimeoutError(
        f"{request.origin} {did} for {limit} s ({phase.value})", delivery=_delivery(phase), phase=phase
    )


def closed_meanwhile(request: HttpRequest) -> TransportError:
    """Build what to raise for a request that was under way when its transport was closed."""
    return TransportError(
        f"the transport was closed while {request.origin} was asked", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD
    )


def _build(name: str, source: str, request: HttpRequest, phase: Phase) -> TransportError:
    if phase is not Phase.READ_BODY and TABLE.get(name) == "no connection":
        phase = Phase.CONNECT
    if "TimedOut" in source:
        return silence(request, phase)
    found = _OS_MESSAGE.search(source)
    reason = found[1] if found else name
    if phase is Phase.CONNECT:
        return ConnectError(f"no connection to {request.origin}: {reason}")
    return TransportError(
        f"the connection to {request.origin} broke ({phase.value}): {reason}", delivery=_delivery(phase), phase=phase
    )


def _delivery(phase: Phase) -> Delivery:
    return Delivery.ANSWERED if phase is Phase.READ_BODY else Delivery.MAYBE_PROCESSED
