"""What adapters share to map the exceptions of an HTTP library to `TransportError`.

An adapter has a table from class names to a `Failure`, and knows which of the library's messages are safe to show. The rest is here.

Messages of HTTP libraries may hold the URL, which may be signed, or bytes that the server sent. An exception with such a message is neither
quoted nor attached as a cause; what caused it may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from mux_async.transport import ConnectError, Delivery, HttpRequest, Phase, TransportError, TransportTimeoutError, is_permanent

__all__ = ["Failure", "build_error", "failure_of", "is_safe_to_attach", "set_cause"]

Failure: TypeAlias = Literal["no connection", "no connection in time", "silence", "broken"]
"""What went wrong: no connection was made, or not in time; the server was silent for too long; an open connection broke."""


def failure_of(error: BaseException | None, table: Mapping[str, Failure]) -> Failure:
    """Look *error* up in *table* by the name of its class; a class that is not in it counts as its nearest ancestor that is."""
    for cls in type(error).__mro__:
        if cls.__name__ in table:
            return table[cls.__name__]
    return "broken"


def build_error(
    failure: Failure, reason: str, request: HttpRequest, *, phase: Phase, delivery: Delivery, cause: BaseException | None = None
) -> TransportError:
    """Build the error for a request that failed.

    Args:
        failure: What went wrong.
        reason: In words, without anything of the URL and without bytes of the server.
        request: What was to be sent.
        phase: Where it failed.
        delivery: What may have reached the server.
        cause: Of a connection that was not made: says whether another attempt would fail in the same way.
    """
    origin, timeouts = request.origin, request.timeouts
    if phase is Phase.CONNECT and delivery is Delivery.NEVER_SENT and failure == "no connection":
        return ConnectError(f"no connection to {origin}: {reason}", is_permanent=is_permanent(cause))
    if phase is Phase.CONNECT and delivery is Delivery.NEVER_SENT and failure == "no connection in time":
        return TransportTimeoutError(
            f"no connection to {origin} within {timeouts.connect} s", delivery=Delivery.NEVER_SENT, phase=Phase.CONNECT
        )
    if failure in ("silence", "no connection in time"):
        limit = timeouts.write if phase is Phase.WRITE else timeouts.read
        did = "took no more bytes" if phase is Phase.WRITE else "sent nothing"
        return TransportTimeoutError(f"{origin} {did} for {limit} s ({phase.value})", delivery=delivery, phase=phase)
    return TransportError(f"the connection to {origin} broke ({phase.value}): {reason}", delivery=delivery, phase=phase)


def is_safe_to_attach(error: BaseException | None, is_safe: Callable[[BaseException], bool]) -> bool:
    """Whether *error* and everything that caused it is safe to show, as *is_safe* says of one exception."""
    for _ in range(10):  # exceptions can cause each other
        if error is None:
            return True
        if not is_safe(error):
            return False
        error = error.__cause__ or error.__context__
    return False


def set_cause(result: Exception, error: BaseException | None, is_safe: Callable[[BaseException], bool]) -> None:
    """Set as the cause of *result* the first of *error* and its causes that is safe to attach."""
    while error is not None and not is_safe_to_attach(error, is_safe):
        error = error.__cause__
    result.__cause__ = error
