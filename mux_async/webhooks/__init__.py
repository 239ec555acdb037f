"""Webhooks: what Mux sends, as typed values. One class for each kind of data is in `mux_async.webhooks.events`."""

from mux_async.webhooks.events import (
    EVENTS,
    Event,
    EventType,
    KnownEvent,
    UnknownEvent,
    WebhookEvent,
    parse_event,
)

__all__ = ["EVENTS", "Event", "EventType", "KnownEvent", "UnknownEvent", "WebhookEvent", "parse_event"]
