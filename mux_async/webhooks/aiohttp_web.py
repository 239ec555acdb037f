"""Webhooks in aiohttp's server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from mux_async.webhooks._router import WebhookRouter


def endpoint(hooks: WebhookRouter) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that takes deliveries.

    ::

        app.router.add_post("/webhooks/mux", endpoint(hooks))
    """

    async def receive_webhook(request: web.Request) -> web.Response:
        answer = await hooks.answer(request.headers, request.content.iter_any())
        return web.Response(status=answer.status, text=answer.text)

    return receive_webhook
