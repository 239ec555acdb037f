"""Connections that are checked before each request: an answer belongs to the request that was written before it.

httpcore closes an idle connection whose socket has something to read. It does not see what was read from the socket already: bytes after
the end of an answer, which h11 keeps for the next one, and records of TLS that wait to be decrypted. It does not look again between
choosing a connection and writing to it. Here both are done, by what stands between httpcore and the network.

anyio and trio run the event loop once between the check and the write, trio with TLS a few times; what arrives then is taken for an
answer.
"""

from __future__ import annotations

from typing import Any

from mux_async.transport import FRAMING_ALLOWANCE, FRAMING_FACTOR


class UnusableConnectionError(Exception):
    """Nothing may be sent over the connection, and nothing was.

    Attributes:
        is_new: Whether it carried no request before. If it did, the next connection may be better.
    """

    def __init__(self, *, is_new: bool) -> None:
        super().__init__("the server closed the connection, or sent bytes on it, before the request was sent")
        self.is_new = is_new


class FramingError(Exception):
    """The server sent more around the body of an answer than can be (rule 6 of `mux_async.transport`)."""

    def __init__(self) -> None:
        super().__init__(f"the server sent more than {FRAMING_ALLOWANCE} bytes that are not the body of its answer")


class CheckedBackend:
    """A network backend of httpcore's whose connections are checked.

    Args:
        backend: Makes them.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    async def connect_tcp(self, *arguments: Any, **options: Any) -> CheckedStream:
        """Connect to a host."""
        return CheckedStream(await self._backend.connect_tcp(*arguments, **options))

    async def connect_unix_socket(self, *arguments: Any, **options: Any) -> CheckedStream:
        """Connect to a path."""
        return CheckedStream(await self._backend.connect_unix_socket(*arguments, **options))

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts to connect."""
        await self._backend.sleep(seconds)


class CheckedStream:
    """A network stream of httpcore's. It refuses to begin a request when something is there to read.

    Args:
        stream: The connection.
        is_encrypted: Whether it speaks TLS. Session tickets follow the handshake, so a new one is not checked; they are read before the
            first answer is.
    """

    def __init__(self, stream: Any, *, is_encrypted: bool = False) -> None:
        self._stream = stream
        self._is_encrypted = is_encrypted
        self._is_new = True
        self._is_idle = True
        self._allowance = FRAMING_ALLOWANCE

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read some bytes. Raises `FramingError` if the server sent more than can be an answer."""
        data: bytes = await self._stream.read(max_bytes, timeout=timeout)
        self._allowance -= len(data)
        if self._allowance < 0:
            raise FramingError
        return data

    def give(self, length: int) -> None:
        """Note that *length* bytes of the body were taken, and allow for what surrounds them."""
        self._allowance += FRAMING_FACTOR * length

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write bytes; the first of a request only when there is nothing to read. If there is, nothing is sent."""
        if self._is_idle:
            if self.has_input():
                raise UnusableConnectionError(is_new=self._is_new)
            self._is_idle = self._is_new = False
            self._allowance = FRAMING_ALLOWANCE
        await self._stream.write(buffer, timeout=timeout)

    def end(self) -> None:
        """Note that the answer is complete."""
        self._is_idle = True

    def has_input(self) -> bool:
        """Whether bytes or an end wait to be read."""
        if self._is_new and self._is_encrypted:
            return False
        try:
            if self._stream.get_extra_info("is_readable"):
                return True
        except ValueError:  # trio's way to say that the socket is closed
            return True
        return self._is_encrypted and _holds_records(self._stream)

    async def start_tls(self, *arguments: Any, **options: Any) -> CheckedStream:
        """Return the same connection with TLS."""
        return CheckedStream(await self._stream.start_tls(*arguments, **options), is_encrypted=True)

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks for by name.

        It asks whether there is something to read of each idle connection for each request. The answer is in time when a request is about
        to be written, and costs one question instead of a hundred.
        """
        return False if info == "is_readable" else self._stream.get_extra_info(info)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()


def _holds_records(stream: Any) -> bool:
    """Whether bytes were read from the socket that are not decrypted yet, or decrypted and not taken.

    anyio and trio have no public name for the first.
    """
    ssl_object = stream.get_extra_info("ssl_object")
    if ssl_object is not None and ssl_object.pending():
        return True
    inner = getattr(stream, "_stream", None)
    held = getattr(inner, "_read_bio", None) or getattr(inner, "_incoming", None)
    return held is not None and held.pending > 0


def use_checked_backend(transport: Any) -> bool:
    """Let the pool of *transport*, of httpx, make checked connections; return whether it does. It has no public argument for it."""
    pool: Any = getattr(transport, "_pool", None)
    backend = getattr(pool, "_network_backend", None)
    if backend is None:
        return False
    pool._network_backend = CheckedBackend(backend)
    return True


def give(response: Any, length: int) -> None:
    """Note that *length* bytes of the body of *response* were taken."""
    stream = response.extensions.get("network_stream")
    if isinstance(stream, CheckedStream):
        stream.give(length)


async def end_exchange(response: Any) -> None:
    """Note that *response* was read to its end, and keep its connection from being used again when more arrived than that.

    h11 takes what arrives after the end for the next answer. httpcore shows only the network stream, so where its h11 is not found, the
    connection is closed.
    """
    stream = response.extensions.get("network_stream")
    h11: Any = response.stream
    for name in ("_httpcore_stream", "_stream", "_connection", "_h11_state"):
        h11 = getattr(h11, name, None)
    if h11 is None:
        if stream is not None:
            await stream.aclose()
    elif h11.trailing_data != (b"", False):
        h11.send_failed()  # httpcore closes a connection in this state
    if isinstance(stream, CheckedStream):
        stream.end()
