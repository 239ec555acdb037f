"""Webhooks in Litestar."""

from __future__ import annotations

from typing import Any

from litestar import MediaType, Request, Response, post
from litestar.handlers import HTTPRouteHandler

from mux_async.webhooks._router import WebhookRouter

__all__ = ["endpoint"]


def endpoint(hooks: WebhookRouter, path: str) -> HTTPRouteHandler:
    """Return a route handler for deliveries at *path*.

    ::

        app = Litestar([endpoint(hooks, "/webhooks/mux")])
    """

    # The router has its own limit, and Mux sends no CSRF token.
    @post(path, request_max_body_size=None, exclude_from_csrf=True, include_in_schema=False)
    async def receive_webhook(request: Request[Any, Any, Any]) -> Response[str]:
        answer = await hooks.answer(request.headers, request.stream())
        return Response(answer.text, status_code=answer.status, media_type=MediaType.TEXT)

    return receive_webhook
