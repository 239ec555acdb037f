"""Connections: each is checked before a request is written, and closed if the server is silent for too long.

An answer has to belong to the request that was written before it. Bytes that arrive while no request is outstanding are not a response
(RFC 9112, section 9.2), and a connection that the server has closed cannot carry one. aiohttp keeps both kinds in its pool: it parses the
bytes and returns them as the next request's answer, and it notices the closed connection only by writing to it, which leaves the outcome of
a create unknown. So two checks are added to aiohttp's protocol:

1. Bytes that arrive between two exchanges close the connection (`CheckedProtocol.data_received`).
2. Unread bytes and an unread end are detected immediately before the request is written (`CheckedProtocol.begin`): one system call that
   does not wait.

The fast path calls `begin` itself; the session path calls it in a middleware (``_exchange``).

With TLS, unread bytes are encrypted, and a session ticket looks like an answer. Tickets follow the handshake, so they are read before the
first answer. After that, unread bytes are a reason not to use the connection; before the first request they are not.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from mux_async.transport import FRAMING_ALLOWANCE, FRAMING_FACTOR

if TYPE_CHECKING:
    from aiohttp.connector import Connection

Poll: TypeAlias = Callable[[int], list[Any]]
"""Returns what can be read within a number of milliseconds; here always 0."""

_NOTHING: Final[list[Any]] = []
_NO_CAUSE: Final = BaseException()
_USED: Final = "_mux_async_used"


_receive = ResponseHandler.data_received


class UnusableConnectionError(aiohttp.ClientConnectionError):
    """Nothing may be sent over the connection, and nothing was.

    Attributes:
        is_new: Whether it carried no request before. If it did, the next connection may be better.
    """

    def __init__(self, *, is_new: bool) -> None:
        super().__init__("the server closed the connection, or sent bytes on it, before the request was sent")
        self.is_new = is_new


def _is_new(_milliseconds: int) -> list[Any]:
    return ["not registered yet"]


class FramingError(aiohttp.ClientPayloadError):
    """The server sent more around the body of an answer than can be (rule 6 of `mux_async.transport`)."""

    def __init__(self) -> None:
        super().__init__(f"the server sent more than {FRAMING_ALLOWANCE} bytes that are not the body of its answer")


class Waiting(Protocol):
    """What an exchange waits for: aiohttp's protocol, for the head of an answer, or its stream, for a piece of the body."""

    def set_exception(self, exc: BaseException, /) -> None:
        """End the wait with *exc*."""
        ...


class InactivityTimer:
    """Ends waits for the server that last too long, in the running event loop: one timer for all exchanges of a transport.

    aiohttp sets a timer for each request, and cancels and sets it again for each piece that arrives. Here all waits have the same length,
    so the first to start is the first to be due, and a wait that ends in time, as nearly all do, costs an entry in a dictionary.

    Args:
        seconds: How long a wait may last.
    """

    __slots__ = ("_due", "_loop", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._due: dict[Waiting, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, waiting: Waiting) -> None:
        """Let *waiting* fail unless it is stopped in time."""
        self._due[waiting] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._end_overdue)

    def stop(self, waiting: Waiting) -> None:
        """Stop the timer of *waiting*, if it was started."""
        self._due.pop(waiting, None)

    def _end_overdue(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._due:
            waiting, due = next(iter(self._due.items()))
            if due > now:
                self._timer = self._loop.call_at(due, self._end_overdue)
                break
            del self._due[waiting]
            waiting.set_exception(aiohttp.SocketTimeoutError())

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class CheckedProtocol(ResponseHandler):
    """aiohttp's protocol for one connection. Bytes that arrive between two exchanges are never an answer."""

    allowance = FRAMING_ALLOWANCE
    """Bytes that may still arrive; 0 while no request is outstanding: the last answer is complete, and the next request is not begun."""
    _poll: Poll = staticmethod(_is_new)

    @property
    def is_new(self) -> bool:
        """Whether no request was begun on it yet."""
        return self._poll is _is_new

    @property
    def has_unsent(self) -> bool:
        """Whether some of what was written is still to be sent."""
        transport = self.transport
        return transport is not None and transport.get_write_buffer_size() > 0

    def data_received(self, data: bytes) -> None:
        """Parse *data*, or close the connection when no request is outstanding, or more arrived than can be an answer."""
        self.allowance -= len(data)
        if self.allowance < 0:  # not for b"", which aiohttp itself passes to go on with what it holds
            return self._refuse(len(data))
        return _receive(self, data)

    def _refuse(self, length: int) -> None:
        transport, payload = self.transport, self._payload
        if self.allowance + length > 0 and transport is not None:
            error = FramingError()
            self.set_exception(error)
            if payload is not None and not payload.is_eof():
                payload.set_exception(error)
            transport.abort()
        else:
            self.close()

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _NO_CAUSE) -> None:
        """End the wait for the head of an answer; and that for its body, which aiohttp (3.14.5) lets wait when a chunk is malformed."""
        cause = () if exc_cause is _NO_CAUSE else (exc_cause,)
        super().set_exception(exc, *cause)
        payload = self._payload
        if isinstance(exc, HttpProcessingError) and payload is not None and not payload.is_eof():
            payload.set_exception(aiohttp.ClientPayloadError(), *cause)

    def is_usable(self) -> bool:
        """Whether a request may be written now."""
        transport = self.transport
        if transport is None or transport.is_closing() or self.should_close:
            return False
        self.allowance = 0
        if self.is_new:
            return _is_encrypted(transport) or not _make_poll(transport)(0)
        return not self._poll(0)

    def begin(self) -> bool:
        """Note that a request is written now, and what arrives from here on is its answer; return whether it may be."""
        # The pool gives away no connection without a transport, unless it is new.
        if self._poll(0) or self.should_close or self.transport.is_closing():  # type: ignore[union-attr]
            if not self.is_new or not self.is_usable():
                return False
            self._poll = _make_poll(self.transport)
        self.allowance = FRAMING_ALLOWANCE
        return True

    def give(self, length: int) -> None:
        """Note that *length* bytes of the body were taken, and allow for what surrounds them."""
        if self.allowance > 0:  # else the answer is complete
            self.allowance += FRAMING_FACTOR * length

    def end(self) -> None:
        """Note that the answer is complete: what arrives from here on is not asked for."""
        self.allowance = 0


def _is_usable(protocol: ResponseHandler) -> bool:
    """As `CheckedProtocol.is_usable`, of aiohttp's own, which a session that is not ours has."""
    transport, is_new = protocol.transport, _USED not in protocol.__dict__
    if transport is None or transport.is_closing() or protocol.should_close:
        return False
    return (is_new and _is_encrypted(transport)) or not _make_poll(transport)(0)


def check(protocol: ResponseHandler, *, begins: bool) -> None:
    """Make sure that a request may be written; it *begins* to be now, or later, after another check. Otherwise nothing was sent."""
    if isinstance(protocol, CheckedProtocol):
        if not (protocol.begin() if begins else protocol.is_usable()):
            raise UnusableConnectionError(is_new=protocol.is_new)
    elif not _is_usable(protocol):
        raise UnusableConnectionError(is_new=_USED not in protocol.__dict__)
    elif begins:
        protocol.__dict__[_USED] = True


def _is_encrypted(transport: asyncio.BaseTransport) -> bool:
    return transport.get_extra_info("sslcontext") is not None


def _make_poll(transport: asyncio.BaseTransport | None) -> Poll:
    """Return what tells whether bytes or an end wait in the socket of *transport*, without reading them."""
    socket = transport.get_extra_info("socket") if transport is not None else None
    if socket is None:
        return lambda _milliseconds: _NOTHING
    number: int = socket.fileno()
    if not hasattr(select, "poll"):  # Windows
        return lambda _milliseconds: select.select([number], [], [], 0)[0]
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return poll.poll


def check_connection(request: aiohttp.ClientRequest, connection: Connection) -> None:
    """Check *connection* for *request*. Raises `UnusableConnectionError` if it cannot be used; nothing was sent."""
    protocol = connection.protocol
    if protocol is not None:
        check(protocol, begins=not request.body)


def use_checked_protocol(connector: aiohttp.BaseConnector | None) -> bool:
    """Let *connector* make connections with a `CheckedProtocol`; return whether it does.

    aiohttp has no documented place for the class of its protocol. Where this one is not found, connections are checked all the same, but
    one thing is missed: half a head that arrived unasked, which makes the next answer unreadable.
    """
    place = "_factory"
    made_by: Any = getattr(connector, place, None)
    if not isinstance(made_by, partial):
        return False
    if made_by.func is ResponseHandler:
        setattr(connector, place, partial(CheckedProtocol, *made_by.args, **made_by.keywords))
    return made_by.func in (ResponseHandler, CheckedProtocol)
