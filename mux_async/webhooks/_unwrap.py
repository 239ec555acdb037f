"""Verify a delivery and parse it into a typed event."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

# Imported here because the import takes a while, and events are parsed in the event loop.
import mux_async.models.webhooks as _  # noqa: F401
from mux_async._models.json_reader import NotJsonError
from mux_async._tracebacks import hides_locals
from mux_async.webhooks._errors import EventFormatError
from mux_async.webhooks._headers import Headers
from mux_async.webhooks._signature import MAX_BODY, TOLERANCE, Body, Secrets, Verifier, make_verifier
from mux_async.webhooks.events import parse_event_text

if TYPE_CHECKING:
    from mux_async.webhooks.events import WebhookEvent


@hides_locals
def unwrap(
    body: Body,
    headers: Headers,
    secrets: Secrets = None,
    *,
    tolerance: float = TOLERANCE,
    max_body: int = MAX_BODY,
    now: float | None = None,
) -> WebhookEvent:
    """Verify a delivery and return its event.

    The class of the event depends on its ``type``; an unknown type is an `UnknownEvent`. The event is decoded when an attribute other than
    ``id`` and ``type`` is first read. Decoding never fails: a value that does not fit its type is kept unchanged.

    Args:
        body: The bytes as they arrived, or their text if only UTF-8 was decoded. A body that was parsed and serialised again does not
            verify.
        headers: Headers of the request in any form of `Headers`, or only the text of the signature. Only ``Mux-Signature`` is read.
        secrets: The secret of the endpoint; several during a change of the secret, or for several endpoints. ``None`` for the secret in
            ``MUX_WEBHOOK_SECRET``.
        tolerance: Maximum difference in seconds between the signature's time and now, in both directions; ``math.inf`` for no limit.
        max_body: Maximum bytes of the body. A mebibyte takes about a millisecond per secret.
        now: Unix seconds; ``None`` for the system clock.

    Raises:
        BodyTooLargeError: The body has more than *max_body* bytes.
        SignatureError: The signature is not valid; the message names the likely cause.
        BodyTypeError: A `SignatureError` too: *body* is neither bytes nor the signed text.
        EventFormatError: The signature is valid, but the body is not a JSON object.
        ConfigurationError: There is no secret, or a secret is not valid.
    """
    return verify_and_parse(make_verifier(secrets, tolerance, max_body), body, headers, time.time() if now is None else now)


def verify_and_parse(verifier: Verifier, body: Body, headers: Headers, now: float) -> WebhookEvent:
    """Do what `unwrap` does, with a `Verifier` that was created before."""
    content = verifier.verify(body, headers, now)
    try:
        return parse_event_text(content)
    except NotJsonError as error:
        problem = str(error)
    raise EventFormatError(f"the signature is valid, but the body is {problem}")
