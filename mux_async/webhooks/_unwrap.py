"""From the bytes of a delivery to a typed event that can be trusted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

# Events are read in the event loop; what they are read with is imported here, because that takes a while.
import mux_async.models.webhooks as _  # noqa: F401
from mux_async._models.json_reader import NotJsonError
from mux_async._tracebacks import hides_locals
from mux_async.webhooks._errors import EventFormatError
from mux_async.webhooks._headers import Headers
from mux_async.webhooks._signature import MAX_BODY, TOLERANCE, Body, Secrets, Verifier, verifier
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

    The event is typed by its ``type``; one that this version does not know is an `UnknownEvent`. It reads itself when an attribute
    besides ``id`` and ``type`` is first touched. Reading never fails: what does not fit its type is kept as it is.

    Args:
        body: The bytes as they arrived, or their text if nothing but UTF-8 was decoded. A body that was parsed and written anew does
            not verify.
        headers: Of the request, in any shape that `Headers` names; or the text of the signature alone. Only ``Mux-Signature`` is looked at.
        secrets: The endpoint's secret; several while it is being changed, or when several endpoints lead here. ``None`` for that in
            ``MUX_WEBHOOK_SECRET``.
        tolerance: Seconds between the signature and now, either way; ``math.inf`` for any.
        max_body: Bytes; what is larger is refused before anything else. A mebibyte takes about a millisecond for each secret.
        now: Unix seconds; ``None`` for the clock of this machine.

    Raises:
        BodyTooLargeError: The body has more than *max_body* bytes.
        SignatureError: It cannot be told from a forgery; the message names the likely cause.
        BodyTypeError: A `SignatureError` too: *body* is neither bytes nor the text that was signed.
        EventFormatError: It is authentic, and not a JSON object.
        ConfigurationError: There is no secret, or one that cannot be right.
    """
    return open_delivery(verifier(secrets, tolerance, max_body), body, headers, time.time() if now is None else now)


def open_delivery(checked_by: Verifier, body: Body, headers: Headers, now: float) -> WebhookEvent:
    """Do what `unwrap` says, with settings that were made ready before."""
    content = checked_by.verify(body, headers, now)
    try:
        return parse_event_text(content)
    except NotJsonError as error:
        problem = str(error)
    raise EventFormatError(f"the signature is right, but the body is {problem}")
