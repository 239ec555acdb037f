"""Webhooks in Django under ASGI.

Django receives the whole body before a view runs; bodies above ``FILE_UPLOAD_MAX_MEMORY_SIZE`` go into a temporary file. The router's limit
applies after that, so set a limit in the server in front as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from mux_async.webhooks._router import WebhookRouter

__all__ = ["endpoint"]

_CHUNK = 64 * 1024


def endpoint(hooks: WebhookRouter) -> Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]:
    """Return a view for deliveries. It is exempt from CSRF protection, because Mux sends no CSRF token.

    ::

        urlpatterns = [path("webhooks/mux", endpoint(hooks))]
    """

    @csrf_exempt
    @require_POST
    async def receive_webhook(request: HttpRequest) -> HttpResponse:
        answer = await hooks.answer(request.headers, _chunks(request))
        return HttpResponse(answer.text, status=answer.status, content_type="text/plain; charset=utf-8")

    return receive_webhook


async def _chunks(request: HttpRequest) -> AsyncIterator[bytes]:
    # Not `request.body`, which answers 400 to bodies above the project's DATA_UPLOAD_MAX_MEMORY_SIZE. `read` blocks only on memory or a
    # local file.
    while chunk := request.read(_CHUNK):
        yield chunk
