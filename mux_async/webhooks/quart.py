"""Webhooks in Quart.

Quart receives a body while the handler runs, up to its ``MAX_CONTENT_LENGTH``, 16 MB by default; the router stops reading at its own limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart import Response, request

from mux_async.webhooks._router import WebhookRouter

__all__ = ["endpoint"]


def endpoint(hooks: WebhookRouter) -> Callable[[], Awaitable[Response]]:
    """Return a view for deliveries.

    ::

        app.add_url_rule("/webhooks/mux", view_func=endpoint(hooks), methods=["POST"])
    """

    async def receive_webhook() -> Response:
        answer = await hooks.answer(request.headers.items(), request.body)
        return Response(answer.text, status=answer.status, content_type="text/plain; charset=utf-8")

    return receive_webhook
