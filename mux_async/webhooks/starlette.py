"""Webhooks in Starlette and FastAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse

from mux_async.webhooks._router import WebhookRouter

__all__ = ["endpoint"]


def endpoint(hooks: WebhookRouter) -> Callable[[Request], Awaitable[PlainTextResponse]]:
    """Return an endpoint for deliveries.

    ::

        app = Starlette(routes=[Route("/webhooks/mux", endpoint(hooks), methods=["POST"])])
        fastapi_app.add_route("/webhooks/mux", endpoint(hooks), methods=["POST"])
    """

    async def receive_webhook(request: Request) -> PlainTextResponse:
        answer = await hooks.answer(request.headers, request.stream())
        return PlainTextResponse(answer.text, answer.status)

    return receive_webhook
