"""Webhooks in AWS Lambda: behind API Gateway (payload formats 1.0 and 2.0), a function URL, or an Application Load Balancer.

These hand over a request as a dictionary. Its ``body`` is text, or Base64 with ``isBase64Encoded``; its headers are in ``headers``, in
``multiValueHeaders`` (a list for each name), or in both
(https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html,
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html).
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, cast

import anyio
import attrs

from mux_async.webhooks._errors import SignatureError
from mux_async.webhooks._headers import Headers
from mux_async.webhooks._router import WebhookAnswer, WebhookRouter, refused

__all__ = ["LambdaDelivery", "endpoint", "read_event"]


@attrs.frozen
class LambdaDelivery:
    """The request in an event of AWS Lambda.

    Attributes:
        body: The bytes that arrived; empty when there is none.
        headers: For `unwrap` and `verify`.
    """

    body: bytes
    headers: Headers


def read_event(event: Mapping[str, Any]) -> LambdaDelivery:
    """Return body and headers of a request, for `unwrap` and `verify`.

    Args:
        event: The first argument of the function.

    Raises:
        SignatureError: It is no HTTP request, or its body is not the Base64 that it is said to be.
    """
    if not isinstance(cast("object", event), Mapping) or not {"headers", "multiValueHeaders", "body"} & event.keys():
        raise SignatureError(
            f"an event of AWS Lambda with headers and body is needed, and this {type(event).__name__} is none: it did not come from "
            "API Gateway, a function URL or a load balancer",
            reason="missing",
        )
    headers: Headers = event.get("multiValueHeaders") or event.get("headers")
    body: object = event.get("body")
    if body is None:
        return LambdaDelivery(b"", headers)
    if not isinstance(body, str):
        raise SignatureError(f"the body of the event is {type(body).__name__}, and AWS passes text", reason="mismatch")
    try:
        return LambdaDelivery(b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode(), headers)
    except (binascii.Error, ValueError):
        pass
    raise SignatureError(
        "the body of the event cannot be decoded: it is not the Base64 or text that AWS passes", reason="mismatch"
    )


def endpoint(hooks: WebhookRouter) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """Return a function for AWS Lambda that takes deliveries.

    Each call has an event loop of its own, in which the handlers run; the router's store is closed at its end.

    ::

        handler = endpoint(hooks)  # the name that Lambda is configured with
    """

    async def receive(event: Mapping[str, Any]) -> WebhookAnswer:
        try:
            delivery = read_event(event)
        except SignatureError as error:
            return refused(error)
        try:
            return await hooks.receive(delivery.body, delivery.headers)
        finally:
            await hooks.aclose()

    def receive_webhook(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
        answer = anyio.run(receive, event)
        kind = "text/plain; charset=utf-8"
        return {
            "statusCode": answer.status,
            "headers": {"Content-Type": kind},
            "multiValueHeaders": {"Content-Type": [kind]},  # what a load balancer reads that sends such
            "body": answer.text,
            "isBase64Encoded": False,
        }

    return receive_webhook
