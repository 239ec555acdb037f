"""Webhooks in Django, served by ASGI.

Django itself receives the whole body before any view runs, beyond ``FILE_UPLOAD_MAX_MEMORY_SIZE`` into a temporary file; the router's bound
keeps the rest of the way short. Bound what is received at all in the server in front.
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
    """Return a view that takes deliveries. Mux sends no token against forged requests from browsers, so none is asked for.

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
    # Not `request.body`: that refuses what the project's DATA_UPLOAD_MAX_MEMORY_SIZE does, with a 400. What is read is in memory, or in
    # a file of this machine.
    while chunk := request.read(_CHUNK):
        yield chunk
