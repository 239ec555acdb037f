"""Webhooks: verified and parsed into typed events. `mux_async.webhooks.events` has a class for each kind of data.

::

    event = unwrap(body, headers, secret)
    if event.type == "video.asset.ready":
        print(event.data.playback_ids)

`WebhookRouter` calls handlers by event type, handles each event once and returns the right response. Endpoints for web frameworks are in
`mux_async.webhooks.starlette` (FastAPI too), ``litestar``, ``aiohttp_web``, ``django``, ``quart`` and ``aws_lambda``.
"""

from mux_async.webhooks._errors import (
    BodyTooLargeError,
    BodyTypeError,
    EventFormatError,
    EventStoreError,
    SignatureError,
    WebhookError,
)
from mux_async.webhooks._headers import Headers
from mux_async.webhooks._open_store import open_event_store
from mux_async.webhooks._router import WebhookAnswer, WebhookRouter
from mux_async.webhooks._signature import Body, Secrets, sign, verify
from mux_async.webhooks._store import Claim, EventKey, EventStore, MemoryEventStore
from mux_async.webhooks._store_redis import RedisEventStore
from mux_async.webhooks._store_sqlite import SqliteEventStore
from mux_async.webhooks._unwrap import unwrap
from mux_async.webhooks.events import EVENTS, Event, EventType, KnownEvent, UnknownEvent, WebhookEvent, parse_event

__all__ = [
    "EVENTS",
    "Body",
    "BodyTooLargeError",
    "BodyTypeError",
    "Claim",
    "Event",
    "EventFormatError",
    "EventKey",
    "EventStore",
    "EventStoreError",
    "EventType",
    "Headers",
    "KnownEvent",
    "MemoryEventStore",
    "RedisEventStore",
    "Secrets",
    "SignatureError",
    "SqliteEventStore",
    "UnknownEvent",
    "WebhookAnswer",
    "WebhookError",
    "WebhookEvent",
    "WebhookRouter",
    "open_event_store",
    "parse_event",
    "sign",
    "unwrap",
    "verify",
]
