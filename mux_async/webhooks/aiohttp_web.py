"""Webhooks in aiohttp's server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from mux_async.webhooks._router import WebhookRouter

__all__ = ["endpoint"]


def endpoint(hooks: WebhookRouter) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that takes deliveries.

    ::

        app.router.add_post("/webhooks/mux", endpoint(hooks))
    """

    async def receive_webhook(request: web.Request) -> web.Response:
        answer = await hooks.answer(request.headers, _chunks(request))
        return web.Response(status=answer.status, text=answer.text)

    return receive_webhook


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    if request.content.at_eof():
        # A middleware read the body, and the request keeps what it read; the stream has nothing any more.
        yield await request.read()
        return
    # Not `request.read()`: that refuses what is larger than the application's client_max_size, and the router has a bound of its own.
    async for chunk in request.content.iter_any():
        yield chunk
