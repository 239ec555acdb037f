"""The HTTP frontend: one origin on aiohttp.web that serves API, uploads, playback and images.

Upload bodies go to the emulator as they arrive. Only method, path and status are logged. While the server runs, scheduled steps run by
themselves and webhooks are sent over HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from ssl import SSLContext
from typing import TYPE_CHECKING

import attrs
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, web
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict

from mux_async.emulator._emulator import Emulator
from mux_async.emulator.frontends._origins import origin_of_client, url_host
from mux_async.emulator.frontends._responses import follow, read, settled
from mux_async.emulator.http._messages import Feed, Request, Response
from mux_async.emulator.routing._exchange import Reply
from mux_async.emulator.webhooks._deliveries import WebhookRequest
from mux_async.emulator.webhooks._sender import carry_webhooks

if TYPE_CHECKING:  # needs an extra
    from mux_async.emulator.tls._certificates import ServerCertificates

READ_BUFFER = 1024 * 1024
"""Bytes of a body that may wait in memory, per connection."""
GRACE = 1.0
"""Seconds that requests in flight get when the server stops."""
SLOWEST_READ = 30.0
"""Seconds that a reader of events may take for one piece. Then its connection is closed."""


_log = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether an error is the emulator's own. Malformed HTTP is the client's error, which the response reports."""
    error = None if record.exc_info is None else record.exc_info[1]
    return not isinstance(error, HttpProcessingError)


_log.addFilter(_is_ours)


@asynccontextmanager
async def serve(emulator: Emulator, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str, None]:
    """Serve *emulator* over HTTP/1.1 while the block runs. `serve_tls` adds HTTPS.

    Args:
        emulator: May be used directly meanwhile, on the same event loop.
        host: Address to listen on; keep it this machine's own.
        port: 0 picks a free one.

    Yields:
        The origin: ``http://127.0.0.1:40123``.

    Raises:
        OSError: The address is taken.
    """
    async with _listening(emulator, host, port, None) as origin, _delivering(emulator):
        yield origin


@asynccontextmanager
async def serve_tls(
    emulator: Emulator, certificates: ServerCertificates, host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[str, None]:
    """Serve *emulator* over HTTPS while the block runs, beside `serve`, which alone sends webhooks.

    Args:
        emulator: As for `serve`.
        certificates: The certificates; names of *host* and of `EmulatorSettings.allowed_hosts` are theirs to have.
        host: Address to listen on.
        port: 0 picks a free one.

    Yields:
        The origin: ``https://127.0.0.1:40123``.

    Raises:
        OSError: The address is taken.
    """
    async with _listening(emulator, host, port, certificates.ssl_context()) as origin:
        yield origin


@asynccontextmanager
async def _listening(emulator: Emulator, host: str, port: int, context: SSLContext | None) -> AsyncGenerator[str, None]:
    emulator.listens_at(host)
    frontend = _HttpFrontend(emulator)
    server = web.Server(
        frontend.handle,
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,
        lingering_time=GRACE,
        read_bufsize=READ_BUFFER,
        logger=_log,
    )
    runner = web.ServerRunner(server, shutdown_timeout=GRACE)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=context).start()
        bound = runner.addresses[0][1]
        yield f"http{'' if context is None else 's'}://{url_host(host)}:{bound}"
    finally:
        frontend.end_feeds()
        await runner.cleanup()


@asynccontextmanager
async def _delivering(emulator: Emulator) -> AsyncGenerator[None, None]:
    """Deliver webhooks while the block runs.

    A task rather than a task group: the block may be entered and left in two tasks, as in fixtures of pytest-asyncio.
    """
    # Addresses are taken as they are: no proxy from the environment, no cookies, no redirects.
    async with ClientSession(cookie_jar=DummyCookieJar(), trust_env=False) as session:

        async def carry(request: WebhookRequest) -> int:
            timeout = ClientTimeout(total=request.timeout)
            try:
                async with session.post(
                    request.url, data=request.body, headers=request.headers, allow_redirects=False, timeout=timeout
                ) as response:
                    return response.status
            except (
                ClientError,
                ValueError,
            ) as error:  # a URL that aiohttp cannot read is a ValueError, but not always a ClientError
                raise ConnectionError(str(error) or type(error).__name__) from error

        sender = asyncio.create_task(carry_webhooks(emulator, carry))
        try:
            yield
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender


class _HttpFrontend:
    """Turns aiohttp's requests into the emulator's, and its replies back."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._feeds: set[Feed] = set()

    def end_feeds(self) -> None:
        """End all responses that have no end of their own."""
        for feed in tuple(self._feeds):
            feed.end()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        origin = origin_of_client(request)
        exchange = self._emulator.begin(Request(request.method, request.raw_path, request.headers, origin=origin))
        if exchange.is_refused:
            exchange.cut()
            return _abort(request)
        try:
            if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
                request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if request.can_read_body:
                while chunk := await request.content.readany():
                    if not exchange.feed(chunk):
                        break
            reply = exchange.finish()
        except (web.RequestPayloadError, ConnectionError):
            return _abort(request)
        finally:
            exchange.cut()  # no effect after `finish`
        if reply.response is not None:
            reply = attrs.evolve(reply, response=await settled(reply.response))
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.response is not None and reply.response.feed is not None:
            return await self._send_feed(request, reply.response, reply.response.feed, reply.truncate)
        return await _send(request, reply)

    async def _send_feed(
        self, request: web.BaseRequest, response: Response, feed: Feed, truncate: int | None
    ) -> web.StreamResponse:
        stream = web.StreamResponse(status=response.status, headers=CIMultiDict(response.headers))
        self._feeds.add(feed)
        left = truncate
        try:
            await stream.prepare(request)
            async with aclosing(follow(feed, runs_steps=False)) as pieces:
                async for piece in pieces:
                    async with asyncio.timeout(SLOWEST_READ):
                        await stream.write(piece if left is None else piece[:left])
                    if left is not None and (left := left - len(piece)) <= 0:
                        return _abort(request)
        except (TimeoutError, ConnectionError):  # the reader is too slow, or gone
            return _abort(request)
        finally:
            self._feeds.discard(feed)
        await stream.write_eof()
        return stream


async def _send(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    response = reply.response
    if response is None:
        return _abort(request)
    headers = CIMultiDict(response.headers)
    if reply.truncate is None and response.file is None:
        return web.Response(status=response.status, headers=headers, body=response.body or None)
    headers["Content-Length"] = str(response.length)
    stream = web.StreamResponse(status=response.status, headers=headers)
    await stream.prepare(request)
    if reply.truncate is not None:
        await stream.write((await asyncio.to_thread(response.loaded)).body[: reply.truncate])
        return _abort(request)
    if response.file is not None and request.method != "HEAD":
        try:
            async with aclosing(read(response.file)) as pieces:
                async for piece in pieces:
                    await stream.write(piece)
        except OSError:  # the media file was deleted meanwhile, or the client closed the connection
            return _abort(request)
    await stream.write_eof()
    return stream


def _abort(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection. aiohttp needs a response nevertheless, which is not sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
