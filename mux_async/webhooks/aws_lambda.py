"""Webhooks in AWS Lambda: behind API Gateway (payload formats 1.0 and 2.0), a function URL, or an Application Load Balancer.

These pass a request as a dictionary. Its ``body`` is text, or Base64 with ``isBase64Encoded``; its headers are in ``headers``, in
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
from mux_async.webhooks._router import WebhookAnswer, WebhookRouter

__all__ = ["LambdaDelivery", "endpoint", "read_event"]


@attrs.frozen
class LambdaDelivery:
    """The request in an event of AWS Lambda.

    Attributes:
        body: The bytes that arrived; empty if there is no body.
        headers: For `unwrap` and `verify`.
    """

    body: bytes
    headers: Headers


def read_event(event: Mapping[str, Any]) -> LambdaDelivery:
    """Return body and headers of a request, for `unwrap` and `verify`.

    Args:
        event: The first argument of the function.

    Raises:
        SignatureError: The event is not an HTTP request, or its body cannot be decoded.
    """
    if not isinstance(cast("object", event), Mapping) or not {"headers", "multiValueHeaders", "body"} & event.keys():
        raise SignatureError(
            f"this {type(event).__name__} is not an event of AWS Lambda with headers and body: it did not come from API Gateway, a "
            "function URL or a load balancer",
            reason="missing",
        )
    headers: Headers = event.get("multiValueHeaders") or event.get("headers")
    body: object = event.get("body")
    if body is None:
        return LambdaDelivery(b"", headers)
    if not isinstance(body, str):
        raise SignatureError(f"the body of the event is {type(body).__name__}, but AWS passes text", reason="mismatch")
    try:
        return LambdaDelivery(b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode(), headers)
    except (binascii.Error, ValueError):
        pass
    raise SignatureError(
        "the body of the event cannot be decoded: it is not Base64 or text as AWS passes it", reason="mismatch"
    )


def endpoint(hooks: WebhookRouter) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """Return an AWS Lambda function for deliveries.

    Each call runs the handlers in its own event loop, and closes the router's store at its end.

    ::

        handler = endpoint(hooks)  # the name in Lambda's configuration
    """

    async def receive(event: Mapping[str, Any]) -> WebhookAnswer:
        try:
            delivery = read_event(event)
        except SignatureError as error:
            return hooks.refuse(error)
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
            "multiValueHeaders": {"Content-Type": [kind]},  # for load balancers with multi-value headers
            "body": answer.text,
            "isBase64Encoded": False,
        }

    return receive_webhook
