"""Webhooks: what Mux sends, verified, as typed values. One class for each kind of data is in `mux_async.webhooks.events`.

::

    event = unwrap(body, headers, secret)
    if event.type == "video.asset.ready":
        print(event.data.playback_ids)
"""

from mux_async.webhooks._errors import BodyTooLargeError, EventFormatError, EventStoreError, SignatureError, WebhookError
from mux_async.webhooks._signature import Headers, Secrets, sign, verify
from mux_async.webhooks._unwrap import unwrap
from mux_async.webhooks.events import (
    EVENTS,
    Event,
    EventType,
    KnownEvent,
    UnknownEvent,
    WebhookEvent,
    parse_event,
)

__all__ = [
    "EVENTS",
    "BodyTooLargeError",
    "Event",
    "EventFormatError",
    "EventStoreError",
    "EventType",
    "Headers",
    "KnownEvent",
    "Secrets",
    "SignatureError",
    "UnknownEvent",
    "WebhookError",
    "WebhookEvent",
    "parse_event",
    "sign",
    "unwrap",
    "verify",
]
