"""Webhooks in aiohttp's server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from mux_async.webhooks._router import WebhookRouter

__all__ = ["endpoint"]


def endpoint(hooks: WebhookRouter) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a request handler for deliveries.

    ::

        app.router.add_post("/webhooks/mux", endpoint(hooks))
    """

    async def receive_webhook(request: web.Request) -> web.Response:
        answer = await hooks.answer(request.headers, _chunks(request))
        return web.Response(status=answer.status, text=answer.text)

    return receive_webhook


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    if request.content.at_eof():
        # A middleware has read the body; the request still has its bytes, but the stream is empty.
        yield await request.read()
        return
    # Not `request.read()`, which refuses bodies above the application's client_max_size: the router has its own limit.
    async for chunk in request.content.iter_any():
        yield chunk
