"""The whole boundary between `mux_async` and an HTTP library: three values and one protocol.

A transport takes an `HttpRequest`, performs exactly one HTTP exchange and returns an `HttpResponse`. It translates
and nothing else. The rules, checked by `mux_async.testing.check_transport`:

1. No retries, no rate limits, no authentication, no JSON.
2. Redirects are never followed: a 3xx is an answer like any other. (A 308 without ``Location`` is how a resumable
   upload says "go on".)
3. Bodies are bytes as they were on the wire. Decompression belongs to the core, where it is bounded.
4. Environment variables for proxies are not consulted unless `TransportSettings.trust_env` says so, and a ``.netrc`` never is.
   No cookies are kept.
5. Every failure of the library is raised as a `TransportError` that says what may have reached the server (`Delivery`)
   and which phase failed (`Phase`). Cancellation, and whatever the request's own body raises, pass through; neither leaves anything
   open. A cancellation that arrives before a byte of the request was written is marked (`mark_unsent`): a create that is not marked
   counts as one that may have happened.
6. An exchange is given up when the server has sent more than `FRAMING_ALLOWANCE` bytes, and `FRAMING_FACTOR` for each byte of the body,
   that are not its body: informational answers, heads, chunk sizes and their extensions, trailers.
7. ``aclose`` may be called twice; a response body may be closed at any time, read or not.

An adapter registers a factory under the entry point group ``mux_async.transports``::

    [project.entry-points."mux_async.transports"]
    mine = "my_package:create_transport"

where ``create_transport(settings: TransportSettings) -> Transport`` is called inside the running event loop, once per loop. The transport
is closed when the client is, or when the loop ends; it may also be `Abandonable`. In a forked child it is neither used nor closed.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, cast, runtime_checkable
from urllib.parse import urlsplit

import anyio
import attrs
from multidict import CIMultiDictProxy

from mux_async._checks import check_flag, check_mapping, check_period, check_seconds, check_whole, explains_arguments, wrong
from mux_async._tracebacks import clear_locals, hides_arguments
from mux_async.errors import (
    ConfigurationError,
    ConnectError,
    Delivery,
    Phase,
    TransportClosedError,
    TransportError,
    TransportTimeoutError,
    WrongRuntimeError,
)

if TYPE_CHECKING:
    import ssl

__all__ = [
    "FRAMING_ALLOWANCE", "FRAMING_FACTOR", "Abandonable", "Body", "ConnectError", "Delivery", "Headers",
    "HttpRequest", "HttpResponse", "Phase", "ResponseBody", "Timeouts", "Transport", "TransportClosedError",
    "TransportError", "TransportFactory", "TransportSettings", "TransportTimeoutError", "WholeBody",
    "WrongRuntimeError", "callbacks_at_once", "check_options", "clear_locals", "environment_proxy",
    "is_permanent", "is_unsent", "mark_unsent", "require_runtime", "running_runtime",
]  # fmt: skip

ENTRY_POINT_GROUP = "mux_async.transports"
"""Where adapters announce themselves: ``name = "package:factory"``."""

FRAMING_ALLOWANCE: Final = 1024 * 1024
"""Bytes of an answer that may be something else than its body (rule 6)."""
FRAMING_FACTOR: Final = 8
"""How many more there may be for each byte of the body: chunks of a single byte take 6."""

Headers: TypeAlias = CIMultiDictProxy[str]
"""Response headers: case-insensitive, ordered, repeated names kept."""


@explains_arguments
@attrs.frozen
class Timeouts:
    """How long one attempt may be silent, in seconds, above 0; ``None`` means no limit.

    The time over everything (queue, attempts, waits, body) is not here: the engine holds it.
    """

    connect: float | None = 10.0
    """From wanting a connection (waiting for a free one included) to having it, TLS included."""
    read: float | None = 60.0
    """From one byte of the answer to the next, the first included. A transport may take the head of an answer for one piece."""
    write: float | None = 60.0
    """From one piece of the request body accepted by the network to the next. Libraries that cannot time a write alone
    may leave it to `read` and the engine's deadline."""

    def __attrs_post_init__(self) -> None:
        # Libraries do not agree on 0: no time to one, no limit to another.
        for name, value in [("connect", self.connect), ("read", self.read), ("write", self.write)]:
            check_period(f"the {name} timeout", value, none_means="no limit")


@attrs.frozen
class Body:
    """A request body that is sent as it is produced.

    Attributes:
        chunks: Called once per attempt; yields the bytes, or views of bytes that do not change while they are kept. Closed (``aclose``)
            when the exchange ends, however it ends.
        length: Bytes in all, for ``Content-Length``; ``None`` sends chunked transfer encoding.
    """

    chunks: Callable[[], AsyncIterator[bytes | memoryview]]
    length: int | None = None

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield what the body gives, for adapters to send: non-empty pieces, exactly `length` bytes, the generator closed after it.

        A library that takes nothing but bytes is given ``bytes(piece)``.

        What may be the last piece is held back until the caller's generator has ended, so that a body which turns out too long is never
        completed. Close what this returns (``aclosing``) where it may be left early.

        Raises:
            TransportError: The body gave more or less than it declares. Its own exceptions pass through.
        """
        chunks = self.chunks()
        given = 0
        last: bytes | memoryview = b""
        try:
            async for chunk in chunks:
                if chunk:
                    given += len(chunk)
                    if self.length is not None and given > self.length:
                        break
                    if last:
                        yield last
                        last = b""
                    if self.length is not None and given < self.length:
                        yield chunk
                    else:
                        last = chunk
            if self.length is not None and given != self.length:
                relation = "more" if given > self.length else f"only {given}"
                raise TransportError(
                    f"the request body was declared as {self.length} bytes and gave {relation}",
                    delivery=Delivery.MAYBE_PROCESSED,
                    phase=Phase.WRITE,
                )
            if last:
                yield last
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()


@attrs.frozen(repr=False)
class HttpRequest:
    """One HTTP request, complete: the URL is absolute and encoded, the headers are final.

    Attributes:
        method: In capitals.
        url: Absolute, percent-encoded, sent as it stands (never re-quoted). It may hold a signature; ``repr`` leaves
            the query out.
        headers: Names and values as they are sent; already checked for CR, LF and NUL. ``Host`` and ``Content-Length``
            are the transport's. ``repr`` shows names only.
        body: Bytes, a `Body` to stream, or ``None`` for no body.
        timeouts: For this exchange.
    """

    method: str
    # Not shown: rich goes by the fields, and not by `__repr__`.
    url: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    body: bytes | Body | None = attrs.field(default=None, repr=False)
    timeouts: Timeouts = Timeouts()

    @property
    def origin(self) -> str:
        """Scheme, host and port of the URL: what may stand in a message."""
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return "<no URL>"
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def __repr__(self) -> str:
        path, has_query, _ = self.url.partition("://")[2].partition("#")[0].partition("?")
        shown = "/".join([self.origin, *path.split("/")[1:]]) + ("?..." if has_query else "")
        return f"<HttpRequest {self.method} {shown} headers={sorted(self.headers)}>"


class ResponseBody(Protocol):
    """The bytes of an answer, as they arrive.

    Iterated at most once. Errors while reading are `TransportError` with `Delivery.ANSWERED`.
    """

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield non-empty pieces, undecoded, until the end the server declared."""
        ...

    async def aclose(self) -> None:
        """Give the connection back, or cut it when bytes remain. Any number of times; never raises."""
        ...


class WholeBody(ResponseBody, Protocol):
    """A body that may have arrived as a whole by the time it is asked for, as small ones have. No transport needs to offer this."""

    def take_whole(self) -> bytes | None:
        """Return all of the body without waiting, and give the connection back; ``None`` when it has to be iterated.

        Raises:
            TransportError: As iterating it would.
        """
        ...


@attrs.frozen(repr=False, eq=False)
class HttpResponse:
    """An answer whose head has arrived; the body is still to be read, and must be read or closed."""

    status: int
    headers: Headers = attrs.field(repr=False)
    body: ResponseBody = attrs.field(repr=False)

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status} headers={sorted(set(self.headers))}>"


@runtime_checkable
class Transport(Protocol):
    """What the engine needs of an HTTP library."""

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Perform one exchange, up to the end of the response head.

        Raises:
            ConnectError: No connection, so nothing was sent.
            TransportTimeoutError: A limit of ``request.timeouts`` ran out; ``phase`` and ``delivery`` say where.
            TransportError: Anything else that went wrong between the two ends.
            TransportClosedError: ``aclose`` was called before.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection. Any number of times."""
        ...


@runtime_checkable
class Abandonable(Protocol):
    """What can be closed although its event loop does not run. No transport needs to offer this."""

    def abandon(self) -> None:
        """Close every connection without the event loop, which was closed with them still open, and without a warning.

        Called at most once, from any thread. Where a transport does not offer it, its connections are left to the garbage collector.
        """
        ...


@explains_arguments
@hides_arguments
@attrs.frozen
class TransportSettings:
    """The settings that an adapter is created with. The defaults are the client's."""

    max_connections: int = 100
    """Connections open at once to all hosts together; more requests wait for one (counted by `Timeouts.connect`)."""
    keepalive: float = 30.0
    """Seconds an idle connection is kept."""
    ssl_context: ssl.SSLContext | None = None
    """How to verify servers; ``None`` means the library's default, which verifies."""
    proxy: str | None = attrs.field(default=None, repr=False)
    """Proxy for every request, as ``http://[user:password@]host[:port]``; ``None`` means none. It may hold a password, and is not shown."""
    trust_env: bool = False
    """Whether the environment's proxies are used: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, or those of the system. A
    ``.netrc`` is not read: credentials are the client's."""
    options: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=False)
    """For the HTTP library's own client, by the names of its arguments: what this class does not name. An adapter refuses those that would
    have no effect (`check_options`)."""

    def __attrs_post_init__(self) -> None:
        check_whole("max_connections", self.max_connections, 1, "a transport needs at least 1, and it is a whole number")
        check_seconds("keepalive", self.keepalive)
        ssl_module = sys.modules.get("ssl")  # a program that has a context has imported it
        if self.ssl_context is not None and not (ssl_module and isinstance(self.ssl_context, ssl_module.SSLContext)):
            raise wrong("ssl_context", self.ssl_context, "it must be an ssl.SSLContext, or None")
        check_flag("trust_env", self.trust_env)
        check_mapping("options", self.options, "it must be a mapping of names of the HTTP library's own arguments")
        if self.proxy is not None:
            if not isinstance(cast("object", self.proxy), str):  # not shown: it may hold a password
                raise ConfigurationError(f"proxy is of type {type(self.proxy).__name__}; it must be a str, or None")
            _check_proxy(self.proxy)


def _check_proxy(proxy: str) -> None:
    try:
        parts = urlsplit(proxy)
        is_url = bool(parts.scheme and parts.hostname) and "://" in proxy and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:  # not shown: it may hold a password
        raise ConfigurationError("the proxy is not of the form http://[user:password@]host[:port]")


TransportFactory: TypeAlias = Callable[[TransportSettings], Transport]
"""Makes a transport for the event loop that is running. See the entry point group in the module's text."""


def is_permanent(error: BaseException | None) -> bool:
    """Whether a failed connection would fail in the same way again, as far as *error* and what caused it say.

    So it does when a name does not exist (``EAI_NONAME``: a name server said so), and when a certificate is not trusted, has expired or is
    for another name. A name that cannot be looked up now (``EAI_AGAIN``: no name server answered) may be found the next time.
    """
    import socket
    import ssl

    for _ in range(10):  # exceptions can cause each other
        if error is None:
            break
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        if isinstance(error, socket.gaierror):
            return error.errno == socket.EAI_NONAME
        error = error.__cause__ or error.__context__
    return False


_UNSENT: Final = "_mux_async_unsent"


def mark_unsent(error: BaseException) -> None:
    """Note on *error*, a cancellation that ends an exchange, that nothing of the request was written: it was still connecting.

    For adapters to HTTP libraries. A failure that is a `TransportError` says the same by its ``delivery``.
    """
    vars(error)[_UNSENT] = True


def is_unsent(error: BaseException) -> bool:
    """Whether `mark_unsent` was called with *error*."""
    return _UNSENT in vars(error)


def current_loop() -> object:
    """Return the event loop that runs the current task, as anyio's token names it, and on asyncio at a fifth of that one's cost.

    Raises:
        anyio.NoEventLoopError: None does.
    """
    # Its loop runs only where asyncio was imported, and then this finds it at a third of an import's cost.
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            # A task, and not only a loop: trio can run as a guest inside the callbacks of an asyncio loop.
            if asyncio.current_task() is not None:
                loop: object = asyncio.get_running_loop()
                return loop
        except RuntimeError:
            pass
    from anyio.lowlevel import current_token

    return current_token().native_token


@contextmanager
def callbacks_at_once(loop: object) -> Generator[None]:
    """Run what *loop* is asked to call soon at once, while the block runs. For `Abandonable.abandon`.

    Closing a connection of asyncio ends in such a callback, which a closed loop refuses; the socket then stays open.

    Args:
        loop: An event loop of asyncio that does not run, closed or not.
    """

    def call_soon(callback: Callable[..., object], *args: object, context: object = None) -> None:  # noqa: ARG001 - asyncio's
        callback(*args)

    instance: dict[str, Any] = loop.__dict__
    instance["call_soon"] = call_soon
    try:
        yield
    finally:
        del instance["call_soon"]


def running_runtime() -> Literal["asyncio", "trio"] | None:
    """Name the event loop family that is running here; ``None`` when none is. uvloop counts as asyncio."""
    try:
        loop = current_loop()
    except anyio.NoEventLoopError:
        return None
    import asyncio

    return "asyncio" if isinstance(loop, asyncio.AbstractEventLoop) else "trio"


def require_runtime(transport: str, *supported: Literal["asyncio", "trio"]) -> None:
    """Raise unless the running event loop is one of *supported*.

    Raises:
        WrongRuntimeError: It is not; the message says what would do.
    """
    running = running_runtime()
    if running not in supported:
        raise WrongRuntimeError(transport, running=running, supported=supported)


def check_options(
    transport: str, options: Mapping[str, object], *, valid: Collection[str], refused: Mapping[str, str] | None = None
) -> None:
    """Refuse what an adapter would not honour in `TransportSettings.options`.

    Args:
        transport: Name of the adapter.
        options: As given.
        valid: Names that it honours.
        refused: Names that the library has and the adapter does not honour, each with what to use instead, in words.

    Raises:
        ConfigurationError: A name is not in *valid*; the message lists those that are.
    """
    for name in options:
        if name in valid:
            continue
        if refused is not None and name in refused:
            why = f"has no effect: {refused[name]}"
        else:
            import difflib

            close = difflib.get_close_matches(str(name), valid, n=1)
            why = f"is not known{f'; did you mean {close[0]!r}?' if close else ''}"
        raise ConfigurationError(
            f"option {name!r} of the {transport!r} transport {why} (TransportSettings(options=...) takes {', '.join(sorted(valid))})"
        )


def environment_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for *url*, for adapters whose settings say ``trust_env``; ``None`` when it names none."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
